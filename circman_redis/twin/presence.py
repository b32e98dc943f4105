"""Which workers are there: each says so again and again, and whoever notices that one stopped says that it left.

What a worker says of itself expires (``SET ... PX``). Who joined and has not left stands beside the domain events of
the twin: so a worker joins once and leaves once, whoever notices, and nobody has to look through all keys.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from circman_redis import protocol
from circman_redis.errors import CircmanError, UsageError
from circman_redis.events import FrozenState
from circman_redis.frozen import EMPTY
from circman_redis.manager import StateManager
from circman_redis.results import State
from circman_redis.shown import shown
from circman_redis.timestamps import format_timestamp, moment_of
from circman_redis.twin.domain import DomainEvents, said

log = logging.getLogger("circman_redis.twin")

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_BEATS = 3  # within the time that a worker is believed to be there


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that joined and has not left.

    Attributes:
        name: its name.
        roles: what it does.
        host: the machine that it is on.
        pid: its process there.
        started: when it joined (ISO 8601, the server's clock).
        present: whether it said so within its time; where it did not, nobody has noticed yet.
    """

    name: str
    roles: tuple[str, ...]
    host: str
    pid: int
    started: str
    present: bool

    def to_json(self) -> dict[str, Any]:
        """The worker as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__} | {"roles": list(self.roles)}


def workers(manager: StateManager, events: DomainEvents) -> list[Worker]:
    """The workers of a twin, by name."""
    joined = events.state().get("workers", {})
    there = _present(manager, joined)
    return [
        Worker(name, tuple(one["roles"]), one["host"], one["pid"], one["started"], present=name in there)
        for name, one in sorted(joined.items())
    ]


class Presence:
    """A worker is there for as long as the block lasts; a thread says so.

    Args:
        manager: the twin's.
        events: its domain events.
        name: the worker's: 1 to 128 of ``A-Z a-z 0-9 _ . : -``. Whoever takes it over from a living one is that worker
            from then on, and the other one is told.
        roles: what it does.
        ttl: seconds without a word after which it counts as gone.

    Raises:
        UsageError: a name or a time that is not allowed.
    """

    def __init__(
        self, manager: StateManager, events: DomainEvents, name: str, roles: Iterable[str] = (), *, ttl: float = 10.0
    ) -> None:
        check_name(name)
        if not 0.01 <= ttl <= 86_400:  # noqa: PLR2004 - to a day
            raise UsageError(f"ttl={shown(ttl)}: use 0.01 to 86400 seconds")
        self._manager, self._events, self.name, self.ttl = manager, events, name, ttl
        self._facts = {"roles": list(roles), "host": socket.gethostname(), "pid": os.getpid(), "started": ""}
        self._over = threading.Event()
        self.replaced = threading.Event()
        """Set when another worker has taken the name over."""
        self._thread = threading.Thread(target=self._go_on, name=f"presence of {name}", daemon=True)

    def __enter__(self) -> Self:
        # By the server's clock: of two workers of one name, that of the machine which is behind is not the older one.
        self._facts["started"] = format_timestamp(moment_of(self._manager.run(protocol.server_time())))
        self._beat()
        self._events.decide(lambda domain: joined(domain, self.name, self._facts, is_new=True), actor=self.name)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._leave()
        except CircmanError as error:  # it expires by itself, and the block's own error is the one to see
            log.warning("worker %r could not say that it leaves: %s", self.name, error)

    def _leave(self) -> None:
        if self.replaced.is_set():
            return
        # In this order: else another one would notice first, and say that it vanished.
        self._events.decide(lambda domain: left(domain, self.name, self._facts, "stopped"), actor=self.name)
        (there,) = self._manager.run(protocol.present(self._manager.keys, [self.name]))
        if there == self._text:  # not one's that has taken the name just now
            self._manager.run(protocol.leave(self._manager.keys, self.name))

    def _go_on(self) -> None:
        while not self._over.wait(self.ttl / _BEATS) and not self.replaced.is_set():
            try:
                self._look()
            except CircmanError as error:
                log.warning("worker %r cannot say that it is there, trying again: %s", self.name, error)

    def _look(self) -> None:
        """Says that it is there, and notices who is not."""
        listed = self._events.state().get("workers", {})
        mine = listed.get(self.name)
        if mine is not None and mine["started"] > self._facts["started"]:
            log.error("another worker took over the name %r, on %s: this one is to stop", self.name, mine["host"])
            self.replaced.set()
            return
        self._beat()
        if mine != self._facts:  # somebody took it for gone, or the list is another one
            self._events.decide(lambda domain: joined(domain, self.name, self._facts), actor=self.name)
        there = _present(self._manager, listed)
        for name, facts in listed.items():
            if name not in there and name != self.name:
                self._notice(name, facts)

    def _notice(self, name: str, facts: FrozenState) -> None:
        made = self._events.decide(lambda domain: left(domain, name, facts, "vanished"), actor=self.name)
        if made is not None:
            log.warning("worker %r on %s is gone, without having said so", name, facts["host"])

    def _beat(self) -> None:
        self._manager.run(protocol.beat(self._manager.keys, self.name, self._text, max(round(self.ttl * 1000), 1)))

    @property
    def _text(self) -> str:
        return json.dumps(self._facts, separators=(",", ":"))


def check_name(name: str) -> None:
    """Refuses what cannot be a worker's name.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"worker {shown(name)}: use 1 to 128 of A-Z a-z 0-9 _ . : -")


def _present(manager: StateManager, listed: Iterable[str]) -> set[str]:
    names = list(listed)
    if not names:
        return set()
    said_so = manager.run(protocol.present(manager.keys, names))
    return {name for name, text in zip(names, said_so, strict=True) if text is not None}


# --- pure ------------------------------------------------------------------------------------------------------------


def joined(domain: FrozenState, name: str, facts: FrozenState, *, is_new: bool = False) -> State | None:
    """The merge patch for the state of ``plant@domain`` by which a worker joins, and it is said.

    Args:
        domain: that state, as it is now.
        name: the worker's.
        facts: what it says of itself.
        is_new: it was started just now: then it takes the place of one that has its name.

    Returns:
        None where it is there already, or another one has its name since.
    """
    there = domain.get("workers", EMPTY).get(name)
    if there == facts or (there is not None and not is_new and there["started"] > facts["started"]):
        return None
    before = [] if there is None else [said("worker_left", {"worker": name, **there, "why": "replaced"})]
    return {"workers": {name: dict(facts)}, "events": [*before, said("worker_joined", {"worker": name, **facts})]}


def left(domain: FrozenState, name: str, facts: FrozenState, why: str) -> State | None:
    """The merge patch by which a worker leaves, and it is said.

    Args:
        domain: the state, as it is now.
        name: the worker's.
        facts: what it said of itself: another one of its name stays.
        why: stopped or vanished.

    Returns:
        None where it left already.
    """
    if domain.get("workers", EMPTY).get(name) != facts:
        return None
    return {"workers": {name: None}, "events": [said("worker_left", {"worker": name, **facts, "why": why})]}
