"""The way from a command to its twin. To look at a twin leaves no trace: its model is published by writers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, TypeVar

import redis

from circman_redis import connection, protocol
from circman_redis.cli._json import loads
from circman_redis.cli._options import Target, Write
from circman_redis.cli._read import load_model
from circman_redis.driver import Driver
from circman_redis.errors import CorruptTwin, UsageError
from circman_redis.flows import Flow, Options, Twin
from circman_redis.keys import TwinKeys, state_keys_pattern, twin_of_state_key
from circman_redis.protocol import Call
from circman_redis.settings import Settings, read_password
from circman_redis.subscription import Subscription
from circman_redis.upstream import ours
from circman_redis.wish import Source, Wish

T = TypeVar("T")

_PAGE = 100  # commits per round trip
_PATIENCE = 3.0  # seconds for a connection that listens to give a sign of life


class Session:
    """One twin, for as long as a command runs.

    Attributes:
        settings: from the command line, then the environment.
        keys: the twin's.
        twin: the calls that it takes.
        store: the server.
    """

    def __init__(self, target: Target) -> None:
        self.settings = settings_of(target)
        self.keys = TwinKeys(self.settings.twin, self.settings.prefix)
        self.twin = Twin(self.keys, self.settings, load_model(target.model) if target.model else None)
        self._driver = Driver(connect(self.settings), self.keys)
        self.store = self._driver.store
        self.twin.sharded = self.store.sharded
        self._opened = False

    def run(self, call: Call[T]) -> T:
        """One round trip; errors as a manager raises them."""
        return self._driver.run(call)

    def ask(self, flow: Flow[T]) -> T:
        """Runs a flow that only looks."""
        return self._driver.drive(flow)

    def write(self, flow: Flow[T]) -> T:
        """Runs a flow that commits or publishes; before the first, the twin is opened as a manager does it."""
        if not self._opened:
            self._driver.drive(self.twin.open())
            self._opened = True
        return self._driver.drive(flow)

    def subscribe(
        self,
        since: int | str | None,
        *,
        paths: Iterable[str] | None = None,
        source: Source = "channel",
        timeout: float | None = None,
        heartbeat: float | None = None,
    ) -> Subscription:
        """The twin's events; arguments as those of ``StateManager.subscribe``."""
        # A lost connection is for the command to tell: not for the last resort of `logging` as well.
        logging.getLogger("circman_redis").addHandler(logging.NullHandler())
        wish = Wish.of(since, paths, source, timeout, heartbeat)
        return Subscription(self._driver, self.keys, wish, min(self.settings.timeout, _PATIENCE))

    @property
    def client(self) -> connection.Client:
        """The client underneath."""
        return self.store.client

    @property
    def server(self) -> redis.Redis:
        """A client of the server that has the twin: in a cluster, its node."""
        with explained(self.store):
            return self.store.server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.close()


def settings_of(target: Target) -> Settings:
    """The settings that the command line and the environment make."""
    retries = None if "CIRCMAN_RETRIES" in os.environ else target.retries
    return Settings.from_arguments(
        redis_url=target.url,
        twin=target.twin,
        prefix=target.prefix,
        actor=target.actor,
        retries=retries,
        username=target.user,
        # Named on the command line, it counts before a password of the environment's.
        password=read_password(target.password_file, "--password-file") if target.password_file else None,
        ca_file=target.ca_file,
        cert_file=target.cert_file,
        key_file=target.key_file,
    )


def connect(settings: Settings) -> connection.Store:
    """The store that the settings name."""
    try:
        return connection.connect(settings)
    except UsageError:
        raise
    except ValueError as error:  # what urllib says of brackets that do not match
        raise UsageError(f"--url cannot be read: {error}") from error


def raw(call: Call[Any]) -> Call[Any]:
    """The same call, for the reply as it came: text whose numbers have all their digits."""
    return replace(call, parse=lambda reply: reply)


def commits(
    session: Session, limit: int | None = None, before: int | None = None, *, states: bool = False
) -> Iterator[dict[str, Any]]:
    """The commits, newest first, page by page, so that a long history is never in memory at once.

    Args:
        session: the twin's.
        limit: at most so many; None for all.
        before: only versions below this one.
        states: with the state that each made.

    Raises:
        CorruptTwin: the twin was deleted while it was read.
    """
    epoch, left = None, limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(_PAGE, left)
        found, *page = session.run(raw(protocol.commits(session.keys, size, before))) or [None]
        if epoch not in {None, found}:
            raise CorruptTwin(f"twin {session.keys.twin!r} was deleted or replaced meanwhile: look again")
        epoch = found
        for text in page:
            entry = loads(text)
            before = int(entry["version"])
            if not states:
                del entry["state"]
            yield entry
        if len(page) < size:
            return
        left = None if left is None else left - size


def twin_names(session: Session, *, branches: bool = False) -> list[str]:
    """The twins on the server that have a state, under the prefix (SCAN); with their branches, if asked for."""
    prefix = session.settings.prefix
    with explained(session.store):
        keys = set(session.client.scan_iter(state_keys_pattern(prefix), count=1000))
        if branches:
            keys.update(session.client.scan_iter(state_keys_pattern(prefix, "*"), count=1000))
    names = (twin_of_state_key(key.decode(errors="replace"), prefix) for key in keys)
    return sorted(filter(None, names))


def options(write: Write) -> Options:
    """What a flow takes."""
    return Options(write.expected_version, None, write.commit_id)


@contextmanager
def explained(store: connection.Store) -> Iterator[Any]:
    """Lets what redis-py raises be an error of ours, where a command speaks with the server by itself."""
    try:
        yield
    except redis.RedisError as error:
        raise ours(error, store.name) from error
