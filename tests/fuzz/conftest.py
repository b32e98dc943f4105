"""The twin that the fuzz is about, once per server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.support import Subject
from tests.servers import Server, lanes


@pytest.fixture(scope="module", params=list(lanes()))
def subject(servers: dict[str, Server], request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A twin with everything in it; each test leaves it as it was."""
    with servers[request.param].client() as client:
        client.config_set("slowlog-log-slower-than", 50_000)
        one = Subject(client)
        one.build()
        yield one
        client.config_set("slowlog-log-slower-than", 10_000)
        client.flushall()
