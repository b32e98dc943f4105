"""The twin that the tests of the scripts work on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.lua.support import RawTwin
from tests.servers import Server


@pytest.fixture
def bytes_client(server: Server) -> Iterator[redis.Redis]:
    """A client that hands out replies as they are."""
    with server.client() as client:
        yield client


@pytest.fixture
def raw(bytes_client: redis.Redis) -> RawTwin:
    """A twin without a state, whose commits the server does not stamp."""
    return RawTwin(bytes_client)


@pytest.fixture
def stamped(bytes_client: redis.Redis) -> RawTwin:
    """A twin without a state, with the settings that a twin has by itself."""
    return RawTwin(bytes_client, stamped=True)
