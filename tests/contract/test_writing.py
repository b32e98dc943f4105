"""What the calls that write promise, on each server."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from circman_redis import (
    InvalidJSON,
    JSONText,
    NoState,
    RetryExpired,
    StateConflict,
    StateManager,
    StateTooLarge,
    StateValidationError,
    TwinState,
    UsageError,
)
from tests.contract.conftest import Managers
from tests.servers import contents

SAMPLE: dict[str, Any] = {
    "timestamp": "2025-02-24T14:20:07.123456",
    "system_status": "running",
    "production_line": {"status": "running", "temperature": 22.5, "production_rate": 8.5},
    "materials": {"silicon_wafer": {"inventory": 1000, "quality": 0.95}},
}


def without_time(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "timestamp"}


def test_versions_count_from_one_without_a_gap(twin: StateManager) -> None:
    """Every accepted change is one version."""
    commits = [twin.set_state(SAMPLE), twin.update_state({"a": 1}), twin.adjust({"/a": 1})]
    assert [commit.version for commit in commits] == [1, 2, 3]
    assert len({commit.epoch for commit in commits}) == 1


def test_set_replaces_the_whole_state(twin: StateManager) -> None:
    """A set leaves nothing of the state before."""
    twin.set_state({"old": 1})
    twin.set_state(SAMPLE)
    assert twin.get_current_state() == SAMPLE


def test_update_merges_and_none_removes(twin: StateManager) -> None:
    """An update is a JSON Merge Patch (RFC 7396)."""
    twin.set_state(SAMPLE)
    twin.update_state({"production_line": {"temperature": 23.0, "status": None}, "new": {"x": 1, "y": None}})
    state = without_time(twin.get_current_state())
    assert state["production_line"] == {"temperature": 23.0, "production_rate": 8.5}
    assert state["new"] == {"x": 1}
    assert state["materials"] == SAMPLE["materials"]


def test_update_on_no_state_becomes_the_state(twin: StateManager) -> None:
    """The first update needs no set before it."""
    assert twin.update_state({"a": {"b": 1, "c": None}}).version == 1
    assert without_time(twin.get_current_state()) == {"a": {"b": 1}}


def test_update_touches_no_other_byte(twin: StateManager, raw: redis.Redis) -> None:
    """Numbers keep their digits, empty lists stay lists, keys keep their order."""
    before = (
        b'{"z":22.0,"a":[],"b":{},"n":12345678901234567890,"t":1740407422.123456,"x":1.50,'
        b'"timestamp":"2025-01-01T00:00:00Z"}'
    )
    twin.set_state(JSONText(before))
    twin.update_state({"b": {"k": 1}, "timestamp": "2025-01-02T00:00:00Z"})
    after = before.replace(b'"b":{}', b'"b":{"k":1}').replace(b"2025-01-01", b"2025-01-02")
    assert raw.get(twin.keys.state) == after


def test_update_many_is_a_version_each_and_all_or_none(twin: StateManager) -> None:
    """One round trip; one bad update among them, and none is made."""
    assert [commit.version for commit in twin.update_many([{"n": i} for i in range(5)])] == [1, 2, 3, 4, 5]
    assert [state["n"] for state in twin.get_history()] == [0, 1, 2, 3]
    with pytest.raises(StateValidationError):
        twin.update_many([{"n": 5}, {"environment": {"humidity": 101}}, {"n": 7}])
    assert twin.snapshot().version == 5
    assert twin.update_many([]) == []


def test_adjust_is_exact_atomic_and_bounded(twin: StateManager) -> None:
    """Several places at once, all or none; a sum that breaks a rule changes nothing."""
    twin.set_state(SAMPLE)
    twin.adjust({"/materials/silicon_wafer/inventory": -5, "/production_line/temperature": 0.25})
    state = twin.get_current_state()
    assert state["materials"]["silicon_wafer"]["inventory"] == 995
    assert state["production_line"]["temperature"] == 22.75
    with pytest.raises(StateValidationError) as caught:
        twin.adjust({"/production_line/temperature": 1, "/materials/silicon_wafer/inventory": -996})
    assert [violation.pointer for violation in caught.value.violations] == ["/materials/silicon_wafer/inventory"]
    assert twin.get_current_state() == state


@pytest.mark.parametrize(
    "deltas",
    [{"/nothing": 1}, {"/system_status": 1}, {"/production_line": 1}, {"/production_line/temperature": "1"}],
)
def test_adjust_wants_numbers_at_its_pointers(twin: StateManager, deltas: dict[str, Any]) -> None:
    """What is no number, or is not there, is refused by name."""
    twin.set_state(SAMPLE)
    with pytest.raises(StateValidationError) as caught:
        twin.adjust(deltas)
    assert caught.value.violations[0].pointer == next(iter(deltas))


def test_adjust_refuses_what_is_not_a_pointer_or_not_there(twin: StateManager) -> None:
    """Mistakes of the caller are named before anything is sent; a twin with no state says so."""
    with pytest.raises(NoState):
        twin.adjust({"/a": 1})
    with pytest.raises(UsageError):
        twin.adjust({"a": 1})
    with pytest.raises(InvalidJSON):
        twin.adjust({"/a": True})


def test_modify_commits_what_the_function_made(twin: StateManager) -> None:
    """It may change the state that it gets, or return another."""
    twin.set_state(SAMPLE)
    twin.modify(lambda state: state["production_line"].update(temperature=30.0))
    assert twin.get_current_state()["production_line"]["temperature"] == 30.0
    twin.modify(lambda state: {**state, "system_status": "idle"})
    assert twin.get_current_state()["system_status"] == "idle"
    assert twin.get_commits(limit=1)[0].patch is not None


def test_modify_can_write_a_null(twin: StateManager) -> None:
    """What no merge patch can say is committed as a set."""
    twin.set_state({"a": 1, "timestamp": "2025-01-01T00:00:00Z"})
    twin.modify(lambda state: {**state, "a": None})
    assert twin.get_current_state()["a"] is None


def test_modify_goes_again_when_somebody_was_faster(twin: StateManager, writer: StateManager) -> None:
    """The function sees the newer state, and nothing of it is lost."""
    twin.set_state({"n": 0})
    seen = []

    def change(state: dict[str, Any]) -> None:
        seen.append(state["n"])
        if len(seen) == 1:
            writer.update_state({"n": 10})
        state["n"] += 1

    twin.modify(change)
    assert seen == [0, 10]
    assert twin.get_current_state()["n"] == 11


def test_modify_is_not_taken_in_by_a_twin_made_again(twin: StateManager, writer: StateManager) -> None:
    """At the same version, but of another epoch: the function sees the new state."""
    twin.set_state({"n": 0})
    seen = []

    def change(state: dict[str, Any]) -> None:
        seen.append(state["n"])
        if len(seen) == 1:
            writer.delete()
            writer.set_state({"n": 100})
        state["n"] += 1

    twin.modify(change)
    assert seen == [0, 100]
    assert twin.get_current_state()["n"] == 101


def test_modify_is_not_taken_in_by_a_twin_that_was_set_back(
    twin: StateManager, writer: StateManager, raw: redis.Redis
) -> None:
    """As a failover does: the same epoch, the same version, another commit."""
    twin.set_state({"n": 0})
    keys = [getattr(twin.keys, name) for name in ("state", "history", "meta", "rules", "schema", "ids", "times")]
    copy = {key: raw.dump(key) for key in keys}
    twin.update_state({"n": 1})
    seen = []

    def change(state: dict[str, Any]) -> None:
        seen.append(state["n"])
        if len(seen) == 1:
            for key, value in copy.items():
                raw.delete(key)
                if value is not None:
                    raw.restore(key, 0, value)
            writer.update_state({"n": 100})
        state["n"] += 1

    assert twin.modify(change).version == 3
    assert seen == [1, 100]
    assert twin.get_current_state()["n"] == 101


def test_modify_gives_up_after_its_attempts(twin: StateManager, writer: StateManager) -> None:
    """Bounded: then it is a StateConflict, with both versions."""
    twin.set_state({"n": 0})

    def change(state: dict[str, Any]) -> None:
        writer.update_state({"n": 1})
        state["n"] = -1

    with pytest.raises(StateConflict) as caught:
        twin.modify(change, attempts=3)
    assert caught.value.actual == caught.value.expected + 1
    assert twin.snapshot().version == 4


@pytest.mark.parametrize("write", ["set_state", "update_state"])
def test_expected_version(twin: StateManager, write: str) -> None:
    """Optimistic concurrency: only on top of the version that the caller saw; 0 is no state yet."""
    call = getattr(twin, write)
    assert call({"a": 1}, expected_version=0).version == 1
    assert call({"a": 2}, expected_version=1).version == 2
    with pytest.raises(StateConflict) as caught:
        call({"a": 3}, expected_version=1)
    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert twin.get_current_state()["a"] == 2


def test_a_repeated_commit_id_applies_once(twin: StateManager) -> None:
    """The repeated call returns the commit that the first one made, also after others came."""
    twin.set_state({"n": 0})
    first = twin.adjust({"/n": 1}, commit_id="mine")
    twin.adjust({"/n": 1})
    again = twin.adjust({"/n": 1}, commit_id="mine", expected_version=77)
    assert not first.duplicate
    assert again.duplicate
    assert (again.version, again.epoch, again.timestamp, again.committed_at) == (
        first.version,
        first.epoch,
        first.timestamp,
        first.committed_at,
    )
    assert twin.get_current_state()["n"] == 2


def test_an_id_tells_an_old_retry_from_a_new_commit(
    twin: StateManager, other_process: Managers, raw: redis.Redis
) -> None:
    """Whoever says it again, and however idle the one was who makes a new one."""
    late = other_process()
    twin.update_state({"n": -1})
    kept = twin.new_commit_id()
    for n in range(2 * 2048 // 512 + 1):
        twin.update_many([{"n": n}])
        raw.hset(twin.keys.meta, "calls", 512 * n + 511)  # or it would take thousands of calls
    assert int(raw.hget(twin.keys.meta, "ids_since") or 0) > 0
    before = twin.snapshot().version
    with pytest.raises(RetryExpired, match="look in the history"):
        late.update_state({"late": 1}, commit_id=kept)
    assert late.update_state({"late": 2}).version == before + 1
    assert late.modify(lambda state: state | {"late": 3}).version == before + 2
    assert late.update_state({"late": 4}, commit_id=late.new_commit_id()).version == before + 3
    assert late.update_state({"late": 5}, commit_id="of-my-own").version == before + 4


def test_a_repeated_batch_applies_once(twin: StateManager) -> None:
    """The same for update_many: the same versions come back."""
    first = twin.update_many([{"n": 1}, {"n": 2}], commit_id="batch")
    again = twin.update_many([{"n": 1}, {"n": 2}], commit_id="batch")
    assert [one.version for one in again] == [one.version for one in first]
    assert all(one.duplicate for one in again)
    assert [entry.id for entry in twin.get_commits()] == ["batch#2", "batch#1"]


def test_the_author_is_recorded(twin: StateManager) -> None:
    """Of the call, else of the manager: host name and process id."""
    twin.update_state({"a": 1}, actor="worker-3")
    twin.update_state({"a": 2})
    newest, oldest = twin.get_commits()
    assert oldest.actor == "worker-3"
    assert newest.actor is not None
    assert ":" in newest.actor


def test_the_server_stamps_what_has_no_time(twin: StateManager) -> None:
    """A timestamp of the caller's own stays; otherwise it is the server's, in the state too."""
    own = twin.set_state({"timestamp": "2025-02-24T14:20:07.123456"})
    assert own.timestamp == "2025-02-24T14:20:07.123456"
    stamped = twin.update_state({"a": 1})
    assert stamped.timestamp == stamped.committed_at == twin.get_current_state()["timestamp"]
    assert own.committed_at < stamped.committed_at


def test_auto_timestamp_can_be_off(open_twin: Managers) -> None:
    """Then the state is what the callers made of it."""
    with open_twin(auto_timestamp=False) as twin:
        assert twin.set_state({"a": 1}).timestamp is None
        twin.update_state({"b": 2})
        assert twin.get_current_state() == {"a": 1, "b": 2}


def test_all_violations_come_together_and_nothing_changes(twin: StateManager, raw: redis.Redis) -> None:
    """Each with its JSON Pointer, the rule and the value."""
    twin.set_state(SAMPLE)
    before = contents(raw)
    with pytest.raises(StateValidationError) as caught:
        twin.update_state(
            {
                "production_line": {"temperature": -300, "efficiency": 1.5},
                "environment": {"humidity": "wet"},
                "materials": {"glass": {"inventory": -1}},
            }
        )
    found = {one.pointer: (dict(one.rule), one.value) for one in caught.value.violations}
    assert found == {
        "/production_line/temperature": ({"exclusiveMinimum": -273.15}, -300),
        "/production_line/efficiency": ({"maximum": 1.0}, 1.5),
        "/environment/humidity": ({"type": "number"}, "wet"),
        "/materials/glass/inventory": ({"minimum": 0.0}, -1),
    }
    assert contents(raw) == before


def test_what_is_too_large_is_refused_before_it_is_sent(open_twin: Managers) -> None:
    """And by the script, where only the result is too large."""
    with open_twin(max_bytes=1000) as twin:
        with pytest.raises(StateTooLarge):
            twin.set_state({"a": "x" * 1000})
        twin.set_state({"a": "x" * 600})
        with pytest.raises(StateTooLarge):
            twin.update_state({"b": "x" * 600})
        assert twin.snapshot().version == 1


@pytest.mark.parametrize("state", [[], None, "text", 1, [{"a": 1}]])
def test_only_an_object_is_a_state(twin: StateManager, state: Any) -> None:
    """Anything else is refused before it is sent."""
    for write in (twin.set_state, twin.update_state):
        with pytest.raises(InvalidJSON, match="JSON object"):
            write(state)


def test_a_pydantic_model_is_a_state(twin: StateManager) -> None:
    """It is written as JSON."""
    twin.set_state(TwinState.model_validate(SAMPLE))
    assert twin.get_current_state()["materials"] == SAMPLE["materials"]


def test_a_limit_that_somebody_raised_holds_for_everybody(twin: StateManager, other_process: Managers) -> None:
    """Also for a manager that learned another one."""
    twin.set_state({"a": 1})
    with other_process(max_bytes=3_000_000):
        assert twin.update_state({"a": "x" * 2_000_000}).version == 2


def test_a_null_that_modify_writes_is_stamped_anew(twin: StateManager) -> None:
    """Like any other change that leaves the timestamp alone."""
    first = twin.set_state({"a": 1})
    assert twin.modify(lambda state: {**state, "a": None}).timestamp != first.timestamp


@pytest.mark.parametrize("wrong", [None, 5, "x", {"a": 1}, b"x"])
def test_updates_are_a_list(twin: StateManager, wrong: Any) -> None:
    """One patch alone is no list of them."""
    with pytest.raises(UsageError, match="a list of merge patches"):
        twin.update_many(wrong)


@pytest.mark.parametrize("wrong", [None, 5, "x", [("/a", 1)], {5: 1}])
def test_deltas_are_a_dict_of_pointers(twin: StateManager, wrong: Any) -> None:
    """Named before anything is sent."""
    with pytest.raises(UsageError, match="JSON Pointer"):
        twin.adjust(wrong)


@pytest.mark.parametrize(("change", "attempts"), [(None, 1), ("x", 1), (dict, 0), (dict, "3"), (dict, True)])
def test_modify_wants_a_function_and_a_number(twin: StateManager, change: Any, attempts: Any) -> None:
    """Named before anything is sent."""
    with pytest.raises(UsageError, match=r"change=|attempts="):
        twin.modify(change, attempts=attempts)


def test_what_the_caller_does_to_its_dicts_changes_nothing(twin: StateManager) -> None:
    """Neither what was given nor what was returned is shared."""
    given = {"a": {"b": 1}}
    twin.set_state(given)
    given["a"]["b"] = 2
    got = twin.get_current_state()
    got["a"]["b"] = 3
    twin.snapshot().state["a"]["b"] = 4
    twin.update_state({"c": 1})
    twin.get_history()[0]["a"]["b"] = 5
    assert twin.get_current_state()["a"] == {"b": 1}
    assert twin.get_history()[0]["a"] == {"b": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"expected_version": -1},
        {"expected_version": "1"},
        {"expected_version": True},
        {"actor": ""},
        {"actor": "x" * 129},
        {"commit_id": 5},
        {"commit_id": "é" * 65},
        {"commit_id": "\ud800"},
    ],
)
def test_wrong_options_are_named(twin: StateManager, options: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError, match=next(iter(options))):
        twin.update_state({"a": 1}, **options)
    assert twin.get_current_state() == {}
