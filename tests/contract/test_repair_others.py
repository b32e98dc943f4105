"""Repairing while others write and follow; missing rights; and any damage at all."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import redis

from circman_redis import (
    ForeignWrite,
    HistoryGap,
    ModelMismatch,
    RepairReport,
    StateConflict,
    StateEvent,
    StateManager,
    StateRolledBack,
    StoreError,
)
from circman_redis.connection import adopt
from circman_redis.driver import Driver, drive
from circman_redis.keys import TwinKeys
from circman_redis.repair import repair
from circman_redis.settings import Settings
from tests.contract.conftest import Managers
from tests.contract.damage import FOREIGN, Plant, as_stored, filled, keys_of, stream
from tests.servers import Server

# --- others meanwhile ------------------------------------------------------------------------------------------------


def flow_of(twin: StateManager) -> Any:
    return repair(keys_of(twin), apply=True, adopt=None, model=None, actor="")


def between(twin: StateManager, client: redis.Redis, meanwhile: Callable[[int], object]) -> RepairReport:
    """Repairs, and has something happen between each plan and its script."""
    driver, plans = Driver(adopt(client, Settings()), keys_of(twin)), 0

    def run(call: Any) -> Any:
        nonlocal plans
        if call.target == "repair" and call.args[0]:
            plans += 1
            meanwhile(plans)
        return driver.run(call)

    report: RepairReport = drive(flow_of(twin), run)
    return report


def test_somebody_commits_between_the_plan_and_the_repair(twin: StateManager, raw: redis.Redis) -> None:
    """It is planned anew, and what was committed is there."""
    filled(twin)
    raw.delete(keys_of(twin).times)
    found = []

    def commit(plan: int) -> None:
        if plan < 4:
            found.append(twin.update_state({"n": 100 + plan}).version)
            raw.delete(keys_of(twin).times)

    assert between(twin, raw, commit).applied
    assert found == [8, 9, 10]
    assert twin.verify() == []
    assert twin.snapshot().version == 10
    assert len(twin.get_history()) == 9


def test_somebody_who_commits_all_the_time_is_not_overwritten(twin: StateManager, raw: redis.Redis) -> None:
    """The repair gives up, and has changed nothing."""
    filled(twin)

    def commit(_: int) -> None:
        twin.update_state({"n": 1})
        raw.delete(keys_of(twin).times)

    commit(0)
    with pytest.raises(StateConflict, match="nothing was repaired"):
        between(twin, raw, commit)
    assert not list(raw.scan_iter("*kept*"))


def test_an_answer_that_was_lost(twin: StateManager, raw: redis.Redis) -> None:
    """Sent again, the script finds the twin well: what was done is told all the same."""
    filled(twin)
    raw.delete(keys_of(twin).state)
    stream("times")(raw, keys_of(twin))
    driver, sent = Driver(adopt(raw, Settings()), keys_of(twin)), []

    def run(call: Any) -> Any:
        if call.target == "repair" and call.args[0]:
            sent.append(driver.run(call))  # and once more, as a client does
        return driver.run(call)

    report: RepairReport = drive(flow_of(twin), run)
    assert len(sent) == 1
    assert report.applied
    assert report.found
    assert raw.exists(*report.kept) == len(report.kept) == 1
    assert twin.verify() == []


def test_what_is_kept_stays(twin: StateManager, raw: redis.Redis) -> None:
    """One repair after the other, each with keys of its own, none of which expires."""
    filled(twin)
    keys = keys_of(twin)
    for n in range(3):
        raw.set(keys.state, f'{{"foreign":{n}}}', ex=1000)
        (kept,) = twin.repair(apply=True).kept
        assert raw.get(kept) == f'{{"foreign":{n}}}'.encode()
        assert raw.ttl(kept) == raw.ttl(keys.state) == -1
    assert len(list(raw.scan_iter(f"{keys.state.removesuffix('state')}kept:*:state"))) == 3
    twin.update_state({"n": 8})
    assert twin.verify() == []


@pytest.mark.parametrize(
    "missing", ["rename", "persist", "set", "hset", "zadd", "zremrangebyscore", "publish", "lpush"]
)
def test_a_missing_right_is_named_before_anything_is_written(
    manager: Managers, twin: StateManager, raw: redis.Redis, server: Server, missing: str
) -> None:
    """Of each command that this repair needs."""
    filled(twin)
    raw.set(keys_of(twin).state, FOREIGN)
    raw.delete(keys_of(twin).times)
    rights = ["~circman:*", "&circman:*", "+@all", f"-{missing}"]
    raw.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rights)
    before = as_stored(raw)
    with manager(twin.twin, client=server.client(username="limited", password="secret")) as limited:
        with pytest.raises(StoreError, match=missing.upper()):
            limited.repair(apply=True, adopt=True)
        assert as_stored(raw) == before
    assert twin.repair(apply=True, adopt=True).is_whole


# --- who follows -----------------------------------------------------------------------------------------------------


def test_a_subscriber_gets_an_adopted_state_as_a_commit(server: Server, twin_id: str, raw: redis.Redis) -> None:
    """With its op, in order, without a gap."""
    with StateManager(twin_id, url=server.url) as twin, twin.subscribe(timeout=60) as events:
        filled(twin)
        for _ in range(7):
            next(events)
        raw.set(keys_of(twin).state, FOREIGN)
        twin.repair(apply=True, adopt=True)
        event = next(one for one in events if not isinstance(one, ForeignWrite))
        assert isinstance(event, StateEvent)
        assert (event.version, event.op, event.patch) == (8, "external", None)
        assert event.state == json.loads(FOREIGN)
        assert event.previous["n"] == 7
        twin.update_state({"n": 71})
        assert next(events).state["n"] == 71


def test_a_subscriber_is_told_of_a_new_epoch(server: Server, twin_id: str, raw: redis.Redis) -> None:
    """As a rollback, with the state to go on from."""
    with StateManager(twin_id, url=server.url) as twin, twin.subscribe(timeout=60) as events:
        filled(twin)
        for _ in range(7):
            next(events)
        raw.delete(keys_of(twin).meta)
        twin.repair(apply=True)
        found = []
        for one in events:
            found.append(one)
            if isinstance(one, StateEvent):
                break
        assert [type(one) for one in found if not isinstance(one, ForeignWrite | HistoryGap)][:1] == [StateRolledBack]
        assert (found[-1].op, found[-1].epoch, found[-1].state["n"]) == ("external", twin.snapshot().epoch, 7)


def test_a_subscriber_is_told_where_no_state_is_left(server: Server, twin_id: str, raw: redis.Redis) -> None:
    """As of a twin that was deleted."""
    with StateManager(twin_id, url=server.url) as twin, twin.subscribe(timeout=60) as events:
        twin.set_state({"n": 1})
        next(events)
        raw.delete(keys_of(twin).state)
        twin.repair(apply=True)
        event = next(one for one in events if not isinstance(one, ForeignWrite))
        assert isinstance(event, StateRolledBack)
        assert (event.version, event.epoch) == (0, "")


# --- any damage ------------------------------------------------------------------------------------------------------


def random_damage(choose: random.Random, raw: redis.Redis, keys: TwinKeys) -> str:
    """Something else does anything to any key."""
    part = choose.choice(list(keys.stored))
    key, how = keys.stored[part], choose.choice(["delete", "stream", "string", "list", "hash", "own"])
    if how == "own":
        return how + " " + tampering(choose, raw, keys, part)
    raw.delete(key)
    if how == "stream":
        raw.xadd(key, {"x": "y"})
    elif how == "string":
        raw.set(key, choose.choice(["", "junk", "{}", '{"n":5}', '{"n":5,"timestamp":"2026-01-01T00:00:00Z"}']))
    elif how == "list":
        raw.rpush(key, *["{}"] * choose.randint(1, 9))
    elif how == "hash":
        raw.hset(key, "version", choose.choice(["1", "x"]))
    return f"{how} {part}"


def tampering(choose: random.Random, raw: redis.Redis, keys: TwinKeys, part: str) -> str:
    """In the type that the key has to have."""
    try:
        if part == "state":
            text = raw.get(keys.state) or b"{}"
            at = choose.randrange(len(text))
            raw.set(keys.state, text[:at] + choose.choice([b"1", b"x", b"}", b""]) + text[at + 1 :])
        elif part == "history":
            size = raw.llen(keys.history)
            index = choose.randrange(size) if size else 0
            what = choose.choice(["pop", "trim", "junk", "push", "byte", "twice"])
            text = raw.lindex(keys.history, index) or b"{}"
            at = choose.randrange(len(text))
            {
                "pop": lambda: raw.lpop(keys.history),
                "trim": lambda: raw.ltrim(keys.history, 0, index),
                "junk": lambda: raw.lset(keys.history, index, "junk"),
                "push": lambda: raw.lpush(keys.history, "junk"),
                "byte": lambda: raw.lset(keys.history, index, text[:at] + b"7" + text[at + 1 :]),
                "twice": lambda: raw.rpush(keys.history, text),
            }[what]()
            return f"{part} {what} {index} {at}"
        elif part == "times":
            raw.zadd(keys.times, {choose.choice(["1", "3", "99", "x"]): choose.randrange(10**16)})
        else:
            names = sorted(raw.hkeys(keys.stored[part]))
            name = choose.choice(names) if names else b"version"
            value = choose.choice([None, "x", "5", "{}", "9" * 20])
            raw.hdel(keys.stored[part], name) if value is None else raw.hset(keys.stored[part], name, value)
            return f"{part} {name!r} {value}"
    except redis.ResponseError:
        return f"{part} not"
    return part


@pytest.mark.parametrize("seed", range(12))
def test_any_damage(server: Server, raw: redis.Redis, seed: int) -> None:
    """Whatever it is: where verify has something to say, repair makes it well; and then commits go on."""
    choose = random.Random(seed)
    for _ in range(12):
        raw.flushdb()
        form = choose.choice(["full", "compact"])
        with StateManager(f"any-{seed}", client=server.client(), history=form, model=Plant) as twin:
            for _ in range(choose.randint(1, 6)):
                filled(twin) if choose.random() < 0.3 else twin.update_state({"n": choose.randint(1, 99)})
            keys = keys_of(twin)
            said = [form, *(random_damage(choose, raw, keys) for _ in range(choose.randint(1, 3)))]
            broken = twin.verify()
            before = as_stored(raw)
            plan = twin.repair()
            assert as_stored(raw) == before, said
            report = twin.repair(apply=True)
            assert bool(broken) == bool(plan.found) == bool(report.found), (said, broken)
            if report.left:  # rules of a model that nobody has
                assert any("model" in one for one in said), (said, report)
                continue
            assert twin.verify() == [], (said, report, list(map(str, twin.verify())))
            if not broken:
                continue  # what verify cannot see, a commit may refuse
            version = twin.snapshot().version
            try:
                assert twin.update_state({"n": 50}).version == version + 1, said
            except ModelMismatch:  # as if somebody had published another
                assert any("model" in one for one in said)
            assert twin.verify() == [], said
