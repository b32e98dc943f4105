"""What repair does about each kind of damage: it is refused and named before, whole again afterwards, and nothing is lost."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import redis
from pydantic import BaseModel

from circman_redis import (
    CorruptTwin,
    ForeignWrite,
    HistoryGap,
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
from tests.servers import Server

Damage = Callable[[redis.Redis, TwinKeys], object]


class Plant(BaseModel):
    """A model of the test's own."""

    n: int = 0
    x: Any = None


def filled(twin: StateManager) -> StateManager:
    """Seven versions; the first and the fourth set, the others merged."""
    twin.set_state({"n": 1, "x": {"a": [], "b": "[]{}"}})
    twin.update_many([{"n": 2}, {"n": 3, "x": {"c": 1.50}}])
    twin.set_state({"n": 4, "x": {}})
    twin.update_many([{"n": 5}, {"n": 6, "x": {"d": None, "e": 1}}, {"n": 7}])
    return twin


def swap(client: redis.Redis, keys: TwinKeys) -> None:
    client.set(keys.state, client.get(keys.state).replace(b'"n":7', b'"n":9'))


def stream(part: str) -> Damage:
    def damage(client: redis.Redis, keys: TwinKeys) -> None:
        client.delete(keys.stored[part])
        client.xadd(keys.stored[part], {"x": "y"})

    return damage


def edit(index: int, old: bytes, new: bytes) -> Damage:
    def damage(client: redis.Redis, keys: TwinKeys) -> None:
        text = client.lindex(keys.history, index)
        assert old in text
        client.lset(keys.history, index, text.replace(old, new))

    return damage


RESTORED: dict[str, Damage] = {
    "state gone": lambda client, keys: client.delete(keys.state),
    "state junk": lambda client, keys: client.set(keys.state, b"\xff\x00junk"),
    "state empty": lambda client, keys: client.set(keys.state, ""),
    "state of another length": lambda client, keys: client.set(keys.state, '{"n":1}'),
    "state of the same length": swap,
    "state a stream": stream("state"),
    "bytes junk": lambda client, keys: client.hset(keys.meta, "bytes", "many"),
    "bytes another": lambda client, keys: client.hset(keys.meta, "bytes", "5"),
    "version junk": lambda client, keys: client.hset(keys.meta, "version", "x"),
    "version another": lambda client, keys: client.hset(keys.meta, "version", "9"),
    "no stamp": lambda client, keys: client.hdel(keys.meta, "stamp", "committed", "version"),
    "calls junk": lambda client, keys: client.hset(keys.meta, "calls", "x"),
    "entries junk": lambda client, keys: client.hset(keys.meta, "entries", "x"),
    "entries another": lambda client, keys: client.hset(keys.meta, "entries", "99"),
    "history_length junk": lambda client, keys: client.hset(keys.meta, "history_length", "x"),
    "times gone": lambda client, keys: client.delete(keys.times),
    "times a stream": stream("times"),
    "times wrong": lambda client, keys: client.zadd(keys.times, {"3": 5, "99": 9e15, "x": 1}),
    "ids a stream": stream("ids"),
    "old ids a stream": stream("old_ids"),
    "junk on top of the history": lambda client, keys: client.lpush(keys.history, "junk"),
    "junk below the history": lambda client, keys: client.rpush(keys.history, "junk", "x"),
    "rules gone": lambda client, keys: client.delete(keys.rules),
    "rules a stream": stream("rules"),
    "schema a stream": stream("schema"),
}
"""What leaves state and version as they were, and the history whole."""

SHORTER: dict[str, tuple[Damage, int]] = {
    "history gone": (lambda client, keys: client.delete(keys.history), 0),
    "history a stream": (stream("history"), 0),
    "newest entry gone": (lambda client, keys: client.lpop(keys.history), 0),
    "oldest entries gone": (lambda client, keys: client.ltrim(keys.history, 0, 2), 3),
    "an entry junk": (lambda client, keys: client.lset(keys.history, 3, "junk"), 3),
    "an entry removed": (lambda client, keys: client.lrem(keys.history, 1, client.lindex(keys.history, 2)), 2),
    "an entry's state": (edit(4, b'"n":2,"x"', b'"n":8,"x"'), 4),
}
"""What leaves state and version, and so many entries of six."""

ADOPTED: dict[str, tuple[Damage, int]] = {
    "meta gone": (lambda client, keys: client.delete(keys.meta), 7),
    "meta a stream": (stream("meta"), 7),
    "head gone": (lambda client, keys: client.hdel(keys.meta, "head"), 7),
    "head junk": (lambda client, keys: client.hset(keys.meta, "head", "{}"), 7),
    "epoch gone": (lambda client, keys: client.hdel(keys.meta, "epoch"), 7),
    "meta and history gone": (lambda client, keys: client.delete(keys.meta, keys.history), 7),
    "meta and state gone": (lambda client, keys: client.delete(keys.meta, keys.state), 7),
}
"""What begins a new epoch at a version."""


def keys_of(twin: StateManager) -> TwinKeys:
    return TwinKeys(twin.twin)


def assert_refused(twin: StateManager, raw: redis.Redis) -> None:
    before = as_stored(raw)
    with pytest.raises(CorruptTwin):
        twin.update_state({"n": 100})
    assert as_stored(raw) == before


def as_stored(client: redis.Redis) -> dict[bytes, tuple[bytes, object]]:
    """Everything, as bytes that tell; streams too."""
    kinds = {key: client.type(key) for key in client.scan_iter()}
    # A hash has no order: two dumps of the same one may differ.
    return {key: (kind, client.hgetall(key) if kind == b"hash" else client.dump(key)) for key, kind in kinds.items()}


def assert_kept(raw: redis.Redis, before: dict[bytes, Any], report: RepairReport) -> None:
    """Each value that was damaged is there again, under its new name, and does not expire."""
    after = as_stored(raw)
    for name in report.kept:
        prefix, _, rest = name.partition(":kept:")
        assert after[name.encode()] == before[f"{prefix}:{rest.partition(':')[2]}".encode()]
        assert raw.ttl(name) == -1


def repaired(twin: StateManager, raw: redis.Redis, **how: Any) -> RepairReport:
    """Dry first, which changes not one byte."""
    assert twin.verify()
    before = as_stored(raw)
    plan = twin.repair(**how)
    assert as_stored(raw) == before
    assert plan.found
    assert not plan.applied
    assert not plan.is_whole
    report = twin.repair(apply=True, **how)
    assert (report.found, report.steps, report.left) == (plan.found, plan.steps, plan.left)
    assert report.applied
    assert_kept(raw, before, report)
    assert twin.verify() == []
    assert report.is_whole
    return report


def assert_goes_on(twin: StateManager) -> None:
    version = twin.snapshot().version
    assert twin.update_state({"n": 8}).version == version + 1
    assert twin.update_many([{"n": 9}, {"x": None}])[-1].version == version + 3
    assert twin.verify() == []
    assert twin.repair().is_whole
    assert twin.repair().steps == ()


NOT_NAMED = {"state of the same length", "times gone", "times wrong", "schema a stream", "an entry junk", "bytes another",
             "old ids a stream", "an entry's state"}  # fmt: skip


@pytest.fixture(params=["full", "compact"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("damage", RESTORED)
def test_what_commits_made_is_restored(open_twin: Managers, raw: redis.Redis, damage: str, form: str) -> None:
    """State, version, epoch and the past states are byte for byte what they were."""
    with open_twin(history=form) as twin:
        filled(twin)
        keys = keys_of(twin)
        state, before, past = raw.get(keys.state), twin.snapshot(), twin.get_history()
        RESTORED[damage](raw, keys)
        if damage not in NOT_NAMED:
            assert_refused(twin, raw)
        repaired(twin, raw)
        assert raw.get(keys.state) == state
        assert twin.snapshot() == before
        assert twin.get_history() == past
        assert_goes_on(twin)


@pytest.mark.parametrize("damage", SHORTER)
def test_the_newest_sound_part_of_the_history_is_kept(open_twin: Managers, raw: redis.Redis, damage: str) -> None:
    """The state is what it was."""
    with open_twin() as twin:
        filled(twin)
        before, past = twin.snapshot(), twin.get_history()
        spoil, left = SHORTER[damage]
        spoil(raw, keys_of(twin))
        if damage not in NOT_NAMED:
            assert_refused(twin, raw)
        repaired(twin, raw)
        assert twin.snapshot() == before
        assert twin.get_history() == past[len(past) - left :]
        assert raw.hget(keys_of(twin).meta, "entries") == str(left).encode()
        assert_goes_on(twin)


@pytest.mark.parametrize("damage", ADOPTED)
def test_where_meta_does_not_tell_a_new_epoch_begins(open_twin: Managers, raw: redis.Redis, damage: str) -> None:
    """The state that stands there, or the newest that is known, becomes its first commit."""
    with open_twin() as twin:
        filled(twin)
        before, past = twin.snapshot(), twin.get_history()
        spoil, version = ADOPTED[damage]
        spoil(raw, keys_of(twin))
        assert_refused(twin, raw)
        repaired(twin, raw)
        after = twin.snapshot()
        assert after.op == "external"
        assert after.epoch not in {before.epoch, ""}
        assert after.version == version
        assert after.state == (past[-1] if damage == "meta and state gone" else before.state)
        assert after.committed_at >= before.committed_at
        assert twin.get_history() == ([] if damage == "meta and history gone" else past)
        assert_goes_on(twin)


FOREIGN = '{"n": 70, "x": {"y": "{"}, "timestamp": "2030-01-01T00:00:00Z"}'


def test_a_state_that_something_else_wrote_is_adopted_where_that_is_wanted(open_twin: Managers, raw: redis.Redis) -> None:
    """On top of the one before, which is not lost: the next version, in the stored form, with its own timestamp."""
    with open_twin() as twin:
        filled(twin)
        keys, before, past = keys_of(twin), twin.snapshot(), twin.get_history()
        raw.set(keys.state, FOREIGN)
        repaired(twin, raw, adopt=True)
        after = twin.snapshot()
        assert (after.version, after.epoch, after.op) == (8, before.epoch, "external")
        assert after.state == json.loads(FOREIGN)
        assert after.timestamp == "2030-01-01T00:00:00Z"
        assert raw.get(keys.state) == FOREIGN.replace(" ", "").replace('"{"', '"\\u007b"').encode()
        assert twin.get_history() == [*past, before.state]
        assert twin.get_state_at_time("2030-01-01T00:00:00Z") == after.state
        assert_goes_on(twin)


def test_what_cannot_be_restored_is_adopted(open_twin: Managers, raw: redis.Redis) -> None:
    """A set has no patch: its state is lost, and with it the way from the history to the next version."""
    with open_twin() as twin:
        filled(twin)
        before = twin.snapshot()
        twin.set_state({"n": 8})
        raw.set(keys_of(twin).state, FOREIGN)
        report = repaired(twin, raw)
        after = twin.snapshot()
        assert (after.version, after.epoch, after.op) == (9, before.epoch, "external")
        assert twin.get_history() == []
        assert any("history" in name for name in report.kept)
        assert_goes_on(twin)


@pytest.mark.parametrize("foreign", [None, "junk", '{"n":"no number"}', FOREIGN])
def test_what_can_be_neither_goes_on_from_the_newest_state_that_is_known(
    open_twin: Managers, raw: redis.Redis, foreign: str | None
) -> None:
    """As after an older copy was restored: the version again, of a new epoch."""
    with open_twin(model=Plant) as twin:
        filled(twin)
        before, past = twin.snapshot(), twin.get_history()
        twin.set_state({"n": 8})
        keys = keys_of(twin)
        raw.delete(keys.state) if foreign is None else raw.set(keys.state, foreign)
        repaired(twin, raw, adopt=False if foreign == FOREIGN else None)
        after = twin.snapshot()
        assert (after.version, after.op, after.state) == (8, "external", before.state)
        assert after.epoch != before.epoch
        assert twin.get_history() == [*past, before.state]
        assert_goes_on(twin)


def test_where_nothing_is_left_there_is_no_state(open_twin: Managers, raw: redis.Redis) -> None:
    """Settings and model stay, and the next commit is the first of a new twin."""
    with open_twin(model=Plant, history_length=5) as twin:
        twin.set_state({"n": 1}, commit_id="one")
        raw.set(keys_of(twin).state, "junk")
        repaired(twin, raw)
        assert twin.snapshot().version == 0
        assert (twin.config.model, twin.history_length) == ("Plant", 5)
        assert twin.set_state({"n": 2}, commit_id="one").version == 1
        assert twin.verify() == []


@pytest.mark.parametrize("how", ["gone", "a stream"])
def test_rules_cannot_be_made_up(open_twin: Managers, raw: redis.Redis, server: Server, how: str, twin_id: str) -> None:
    """Without the model the twin stays refused, and is told how to publish it; with it, it is published again."""
    with open_twin(model=Plant) as twin:
        filled(twin)
        keys = keys_of(twin)
        rules = raw.hgetall(keys.rules)
        RESTORED["rules gone" if how == "gone" else "rules a stream"](raw, keys)
        with StateManager(twin_id, client=server.client()) as other:
            report = other.repair(apply=True)
            assert not report.is_whole
            assert "Plant" in report.left[0]
            assert "schema publish" in report.left[0]
            with pytest.raises(CorruptTwin, match="rules"):
                other.update_state({"n": 8})
            assert other.repair(apply=True).kept == ()
            report = other.repair(apply=True, model=Plant)
            assert report.is_whole
        assert raw.hgetall(keys.rules) == rules
        assert_goes_on(twin)


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


@pytest.mark.parametrize("missing", ["rename", "persist", "set", "hset", "zadd", "zremrangebyscore", "publish", "lpush"])
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
            rounds = 1
            while twin.verify() and rounds < 4:
                report, rounds = twin.repair(apply=True), rounds + 1
            assert twin.verify() == [], (said, report, list(map(str, twin.verify())))
            assert report.left == (), (said, report)
            if not broken:
                continue  # what verify cannot see, a commit may refuse
            version = twin.snapshot().version
            assert twin.update_state({"n": 50}).version == version + 1, said
            assert twin.verify() == [], said
