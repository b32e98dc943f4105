"""What repair does about each damage: it is refused and named before, whole afterwards, and nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from circman_redis import (
    CorruptTwin,
    RepairReport,
    StateManager,
)
from circman_redis.keys import TwinKeys
from tests.contract.conftest import Managers
from tests.contract.damage import FOREIGN, Damage, Plant, as_stored, filled, keys_of, stream
from tests.servers import Server


def swap(client: redis.Redis, keys: TwinKeys) -> None:
    client.set(keys.state, client.get(keys.state).replace(b'"n":7', b'"n":9'))


def edit(index: int, old: bytes, new: bytes) -> Damage:
    def damage(client: redis.Redis, keys: TwinKeys) -> None:
        text = client.lindex(keys.history, index)
        assert old in text
        client.lset(keys.history, index, text.replace(old, new))

    return damage


RESTORED: dict[str, Damage] = {
    "state gone": lambda client, keys: client.delete(keys.state),
    "state junk": lambda client, keys: client.set(keys.state, b"\xff\x00junk"),
    "state empty, too": lambda client, keys: client.set(keys.state, "{}"),
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
    "a rule junk": lambda client, keys: client.hset(keys.rules, "/timestamp", "junk"),
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


def assert_refused(twin: StateManager, raw: redis.Redis) -> None:
    before = as_stored(raw)
    with pytest.raises(CorruptTwin):
        twin.update_state({"n": 100})
    assert as_stored(raw) == before


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


NOT_NAMED = {
    *("state of the same length", "times gone", "times wrong", "schema a stream", "an entry junk"),
    *("old ids a stream", "a rule junk", "an entry's state"),
}
"""What a commit does not see, and verify does."""


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


def test_a_state_that_something_else_wrote_is_adopted_where_that_is_wanted(
    open_twin: Managers, raw: redis.Redis
) -> None:
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


@pytest.mark.parametrize("foreign", ["junk", ""])
def test_where_nothing_is_left_there_is_no_state(open_twin: Managers, raw: redis.Redis, foreign: str) -> None:
    """Settings and model stay, and the next commit is the first of a new twin."""
    with open_twin(model=Plant, history_length=5) as twin:
        twin.set_state({"n": 1}, commit_id="one")
        raw.set(keys_of(twin).state, foreign)
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


def test_what_meta_says_of_anything_else_stays(open_twin: Managers, raw: redis.Redis) -> None:
    """A repair changes nothing that is well: retries are recognised as before."""
    with open_twin() as twin:
        filled(twin)
        keys = keys_of(twin)
        raw.hset(keys.meta, mapping={"ids_since": "1767225600000000", "ids_rotated": "1767225600000001", "other": "1"})
        first = twin.update_state({"n": 8}, commit_id="known")
        before = raw.hgetall(keys.meta)
        raw.hset(keys.meta, "bytes", "x")
        repaired(twin, raw)
        assert raw.hgetall(keys.meta) == before
        again = twin.update_state({"n": 8}, commit_id="known")
        assert (again.version, again.duplicate) == (first.version, True)


def test_commit_ids_that_are_gone_are_said_to_be_forgotten(open_twin: Managers, raw: redis.Redis) -> None:
    """A retry from before is refused, for nobody can tell any more; a call from afterwards is made."""
    with open_twin() as twin:
        filled(twin)
        RESTORED["ids a stream"](raw, keys_of(twin))
        report = repaired(twin, raw)
        assert any("retries" in step for step in report.steps)
        assert int(raw.hget(keys_of(twin).meta, "ids_since")) > 1e15
        assert twin.update_state({"n": 9}, commit_id="new").version == 8
