"""redis-py's own metrics of the commands that we send beside its ``execute_command``.

They are recorded where the application has switched them on
(``redis.observability.get_observability_instance().init(...)``): each command as redis-py would have done it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from redis.observability import get_observability_instance
from redis.observability.attributes import PubSubDirection
from redis.observability.recorder import record_error_count, record_operation_duration, record_pubsub_message


def are_on() -> bool:
    """Whether the application wants them."""
    return get_observability_instance().get_provider_manager() is not None


@contextmanager
def timed(connection: Any, name: str) -> Iterator[None]:
    """While a command is sent and its reply is read.

    Args:
        connection: where.
        name: the command's.
    """
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        _record(connection, name, began, error)
        raise
    _record(connection, name, began, None)


def watch(connection: Any, commands: Iterable[bytes], replies: Iterable[asyncio.Future[Any]]) -> None:
    """Has each of the commands recorded as soon as it has its reply.

    Args:
        connection: where they are sent, now.
        commands: as they are sent.
        replies: where their replies will be.
    """
    began = time.monotonic()
    for command, reply in zip(commands, replies, strict=True):
        reply.add_done_callback(partial(_replied, connection, _name(command), began))


def message_received(channel: bytes) -> None:
    """A message came over a channel, and redis-py's PubSub did not see it."""
    record_pubsub_message(PubSubDirection.RECEIVE, channel.decode(errors="replace"))


def _replied(connection: Any, name: str, began: float, reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled():  # then nobody waited for it any more
        error = reply.exception()
        _record(connection, name, began, error if isinstance(error, Exception) else None)


def _name(command: bytes) -> str:
    """The name in a packed command: ``*3 $7 EVALSHA ...``, with an end of line after each part."""
    return command.split(b"\r\n", 3)[2].decode()


def _record(connection: Any, name: str, began: float, error: Exception | None) -> None:
    host, port = getattr(connection, "host", None), getattr(connection, "port", None)
    seconds, database = time.monotonic() - began, str(getattr(connection, "db", 0))
    record_operation_duration(name, seconds, host, port, database, error)
    if error is not None:
        # Without attempts: whoever sends it again does so with another command.
        record_error_count(host, port, host, port, error, retry_attempts=0, is_internal=False)
