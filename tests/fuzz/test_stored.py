"""A twin whose keys hold junk: every call of a manager gives a value or an error of ours, and refuses before it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from circman_redis import CircmanError, StateManager
from circman_redis.models import TwinState
from tests.fuzz.junk import drawn, fuzz, junk
from tests.fuzz.support import KEYS, Subject
from tests.property.texts import Decisions

READS: dict[str, Callable[[StateManager], object]] = {
    "get_current_state": lambda twin: twin.get_current_state(),
    "snapshot": lambda twin: twin.snapshot(),
    "get_history": lambda twin: twin.get_history(),
    "get_history, 3": lambda twin: twin.get_history(3),
    "state_history": lambda twin: (len(twin.state_history), list(twin.state_history[-3:]), twin.state_history[-1]),
    "history_length": lambda twin: twin.history_length,
    "history": lambda twin: twin.history,
    "get_commits": lambda twin: twin.get_commits(),
    "get_commits, a page": lambda twin: twin.get_commits(5, 20),
    "at version": lambda twin: twin.get_state_at_version(20),
    "at time": lambda twin: twin.get_state_at_time("2026-03-01T12:00:00Z"),
    "diff": lambda twin: twin.diff(20, 30),
    "diff to now": lambda twin: twin.diff(33),
    "validate_state": lambda twin: twin.validate_state({"system_status": "running"}),
    "verify": lambda twin: twin.verify(),
    "audit": lambda twin: twin.audit(),
    "config": lambda twin: twin.config,
    "schema": lambda twin: twin.schema,
    "subscribe": lambda twin: list(twin.subscribe(20, timeout=0)),
    "mirror": lambda twin: twin.mirror().close(),
}
WRITES: dict[str, Callable[[StateManager], object]] = {
    "set_state": lambda twin: twin.set_state({"timestamp": "2026-03-01T12:00:00Z", "n": 1}),
    "update_state": lambda twin: twin.update_state({"n": 1, "production_line": {"temperature": 3.5}}),
    "update_many": lambda twin: twin.update_many([{"n": 1}, {"n": None}]),
    "adjust": lambda twin: twin.adjust({"/n": 1}),
    "a retry": lambda twin: twin.update_state({"n": 1}, commit_id="id-15"),
    "modify": lambda twin: twin.modify(lambda state: state | {"n": 2}),
    "set_history_length": lambda twin: twin.set_history_length(30),
    "set_history": lambda twin: twin.set_history("full"),
    "publish_model": lambda twin: twin.publish_model(TwinState),
    "clear_history": lambda twin: twin.clear_history(),
    "delete": lambda twin: twin.delete(),
}
CALLS = READS | WRITES


@pytest.fixture(scope="module")
def manager(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateManager]:
    path: Path = tmp_path_factory.mktemp("results")
    socket = subject.client.connection_pool.connection_kwargs["path"]
    with StateManager(KEYS.twin, url=f"unix://{socket}", results=path, timeout=0.5) as one:
        yield one


def damage(draw: Decisions, subject: Subject) -> None:
    """Something else writes one of the keys, or a few: another value, another field, another type, or none."""
    client = subject.client
    for _ in range(1 + draw.below(2)):
        kind = draw.pick(
            ["state", "entry", "field", "field", "field", "rule", "id", "time", "schema", "type", "gone", "extra"]
        )
        if kind == "state":
            right = client.get(KEYS.state) if client.type(KEYS.state) == b"string" else b"{}"
            client.set(KEYS.state, junk(draw, [right or b"{}"]))
        elif kind == "schema":
            client.set(KEYS.schema, junk(draw, [b'{"a":1}']))
        elif kind == "entry" and client.type(KEYS.history) == b"list":
            at = draw.below(client.llen(KEYS.history))
            client.lset(KEYS.history, at, junk(draw, [client.lindex(KEYS.history, at)]))
        elif kind in {"field", "rule", "id"}:
            key = {"field": KEYS.meta, "rule": KEYS.rules, "id": KEYS.ids}[kind]
            if client.type(key) == b"hash":
                name, value = draw.pick(sorted(client.hgetall(key).items()))
                client.hset(key, name, junk(draw, [value]))
        elif kind == "time" and client.type(KEYS.times) == b"zset":
            client.zadd(KEYS.times, {junk(draw, [b"33"]): draw.pick([0, -1e300, float("inf"), 1.5, 1e15])})
        elif kind == "extra":
            client.hset(KEYS.rules, junk(draw, [b"/n", b""]), junk(draw, [b'{"minimum":0}', b'{"enum":[1]}']))
        else:
            key = draw.pick([KEYS.state, KEYS.history, KEYS.meta, KEYS.rules, KEYS.schema, KEYS.ids, KEYS.times])
            client.delete(key)
            if kind == "type":
                put: list[Callable[[], Any]] = [
                    lambda: client.set(key, junk(draw)),
                    lambda: client.rpush(key, junk(draw)),
                    lambda: client.hset(key, junk(draw), junk(draw)),
                    lambda: client.zadd(key, {junk(draw): 1}),
                ]
                draw.pick(put)()


def try_calls(subject: Subject, manager: StateManager, names: list[str]) -> None:
    for name in names:
        before = subject.dump()
        refusal: Exception | None = None
        try:
            CALLS[name](manager)
        except (CircmanError, IndexError) as error:  # IndexError: no such past state, as of any sequence
            refusal = error
        if name in READS or refusal:
            assert subject.dump() == before, f"{name}: {refusal!r}"


@fuzz(20, draw=drawn)
def test_every_call_on_a_twin_that_holds_junk(subject: Subject, manager: StateManager, draw: Decisions) -> None:
    """All that read, and one that writes."""
    subject.put_back()
    damage(draw, subject)
    try_calls(subject, manager, [*READS, draw.pick(list(WRITES))])


@fuzz(60, draw=drawn)
def test_every_write_on_a_twin_that_holds_junk(subject: Subject, manager: StateManager, draw: Decisions) -> None:
    """One after the other: what the first made of it, the others meet."""
    subject.put_back()
    damage(draw, subject)
    writes = list(WRITES)
    try_calls(subject, manager, [draw.pick(writes) for _ in range(3)])


@fuzz(30, draw=drawn)
def test_opening_a_twin_that_holds_junk(subject: Subject, manager: StateManager, draw: Decisions) -> None:
    """A manager is made, or says what is wrong."""
    subject.put_back()
    damage(draw, subject)
    socket = subject.client.connection_pool.connection_kwargs["path"]
    before = subject.dump()
    try:
        StateManager(KEYS.twin, url=f"unix://{socket}?protocol=2").close()
    except CircmanError:
        pass
    assert subject.dump() == before
