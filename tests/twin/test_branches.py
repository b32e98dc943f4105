"""What-if branches: made of any version, changed freely, held against their twin, merged back or refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from circman_redis import BranchConflict, NoState, StateConflict, StateManager, StateValidationError, UsageError, patch
from circman_redis.twin.branches import Branch, branches, changes_of, clashes, fork
from circman_redis.twin.domain import DomainEvents
from tests.servers import Server

STATE = {"line": {"temperature": 22.0, "rate": 10}, "materials": {"glass": {"inventory": 7}}, "tags": ["a"]}


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as manager:
        manager.set_state(STATE)
        yield manager


@pytest.fixture
def branch(twin: StateManager) -> Iterator[Branch]:
    made = fork(twin, "what-if-1", actor="me")
    with made.manager:
        yield made


def text_of(manager: StateManager) -> bytes:
    return bytes(manager.client.get(manager.keys.state) or b"")


def test_it_begins_with_the_state_of_the_twin(twin: StateManager, branch: Branch) -> None:
    """Byte for byte, and says where it comes from."""
    assert text_of(branch.manager) == text_of(twin)
    assert branch.manager.twin == f"{twin.twin}@what-if-1"
    assert (branch.origin.twin, branch.origin.version) == (twin.twin, 1)
    assert branch.origin.state == twin.get_current_state()
    (entry,) = branch.manager.get_commits()
    assert (entry.version, entry.op, entry.actor) == (1, "import", "me")
    assert branch.manager.verify() == []
    assert branch.diff_to_origin() == []


def test_it_goes_its_own_way(twin: StateManager, branch: Branch) -> None:
    """With everything that a twin has: history, events, an audit; and the twin notices nothing."""
    before = twin.snapshot()
    with branch.manager.subscribe(since=0, timeout=0.2) as events:
        branch.manager.update_state({"line": {"temperature": 30.0}})
        branch.manager.adjust({"/materials/glass/inventory": -2})
        assert [event.version for event in events] == [1, 2, 3]
    assert branch.manager.get_state_at_version(1) == before.state
    assert branch.manager.audit().ok
    assert twin.snapshot() == before
    changed = {change.pointer: (change.before, change.after) for change in branch.diff_to_origin()}
    assert changed == {"/line/temperature": (22.0, 30.0), "/materials/glass/inventory": (7, 5)}


def test_a_version_of_the_past(twin: StateManager) -> None:
    """And none that there is not."""
    twin.update_state({"line": {"rate": 11}})
    with fork(twin, "old", version=1).manager as old:
        assert old.get_current_state()["line"]["rate"] == 10
    with pytest.raises(NoState, match="has no state of version 9"):
        fork(twin, "none", version=9)


def test_a_name_is_taken_once(twin: StateManager, branch: Branch) -> None:
    """Until the branch is deleted, without a trace."""
    with pytest.raises(StateConflict):
        fork(twin, "what-if-1")
    branch.manager.delete()
    assert list(twin.client.scan_iter(f"{twin.keys.prefix}:{{{twin.twin}}}@*")) == []
    with fork(twin, "what-if-1").manager as again:
        assert again.snapshot().version == 1


def test_a_twin_goes_with_its_branches(twin: StateManager, branch: Branch) -> None:
    """Each tells who follows it; others, whose names are alike, stay."""
    with (
        StateManager(f"{twin.twin}x", client=twin.client) as other,
        fork(twin, "b").manager as second,
        second.subscribe(timeout=30) as events,
    ):
        other.set_state(STATE)
        with fork(other, "b").manager:
            assert branches(twin) == [f"{twin.twin}@b", f"{twin.twin}@what-if-1"]
            assert branches(second) == []
            assert twin.delete() == 1
            assert [event.version for event in islice(events, 1)] == [0]
            left = {bytes(key).decode() for key in twin.client.scan_iter(f"{twin.keys.prefix}:*")}
            assert {other.keys.state, other.keys.branch("b").state} <= left
            assert not {key for key in left if f"{{{twin.twin}}}" in key}
            assert twin.delete() == 0


def test_the_domain_events_go_too(twin: StateManager, branch: Branch) -> None:
    """Though they are no branch; unless both are to stay."""
    with DomainEvents(twin) as domain:
        domain.publish("error", {"error": "it is hot"})
    assert twin.client.exists(twin.keys.branch("domain").state)
    assert branches(twin) == [branch.manager.twin]
    twin.delete(branches=False)
    assert twin.client.exists(twin.keys.branch("domain").state)
    twin.delete()
    assert not twin.client.exists(twin.keys.branch("domain").state)
    assert list(twin.client.scan_iter(f"{twin.keys.prefix}:{{{twin.twin}}}*")) == []


def test_a_branch_goes_alone(twin: StateManager, branch: Branch) -> None:
    """And a twin without its branches, where that is asked for."""
    with fork(twin, "b").manager as second:
        second.delete()
    assert branches(twin) == [branch.manager.twin]
    assert twin.delete(branches=False) == 1
    assert branches(twin) == [branch.manager.twin]


def test_many_branches_among_many_keys(twin: StateManager) -> None:
    """The server tells of them in many steps."""
    for n in range(40):
        fork(twin, f"b{n}").manager.close()
    for n in range(3000):
        twin.client.set(f"other:{n}", "")
    assert len(branches(twin)) == 40
    twin.delete()
    assert branches(twin) == []


@pytest.mark.parametrize("name", ["", "a/b", "a@b", "a:b", "x" * 65, "{a}", "ä"])
def test_names_that_are_none(twin: StateManager, name: str) -> None:
    """Nothing of them reaches a key."""
    with pytest.raises(UsageError):
        fork(twin, name)


def test_a_branch_has_no_branches(branch: Branch) -> None:
    with pytest.raises(UsageError):
        fork(branch.manager, "b")


def test_what_is_no_branch(twin: StateManager) -> None:
    """It is said, with what to do."""
    with twin.branch("nothing") as nothing, pytest.raises(NoState, match=r"make it with fork\(\)"):
        Branch(nothing, twin)


# --- merging back ----------------------------------------------------------------------------------------------


def test_it_is_merged_back(twin: StateManager, branch: Branch) -> None:
    """What the branch changed, and nothing that others changed meanwhile."""
    branch.manager.update_state({"line": {"temperature": 30.5}, "tags": None, "plan": {"shift": "night"}})
    twin.update_state({"line": {"rate": 12}, "materials": {"glass": {"inventory": 6}}})
    commit = branch.merge_back(actor="planner")
    assert commit is not None
    assert commit.version == 3
    expected = {"line": {"temperature": 30.5, "rate": 12}, "materials": {"glass": {"inventory": 6}}}
    now = twin.get_current_state()
    now.pop("timestamp")
    assert now == expected | {"plan": {"shift": "night"}}
    assert twin.snapshot().actor == "planner"
    patch_of = twin.get_commits(1)[0].patch
    assert patch_of is not None
    assert patch_of.keys() == {"line", "tags", "plan", "timestamp"}


def test_nothing_changed(twin: StateManager, branch: Branch) -> None:
    """No commit is made."""
    branch.manager.update_state({"line": {"rate": 10}})
    assert branch.merge_back() is None
    assert twin.snapshot().version == 1


@pytest.mark.parametrize(
    ("mine", "theirs", "places"),
    [
        ({"line": {"rate": 1}}, {"line": {"rate": 2}}, ["/line/rate"]),
        ({"line": {"rate": 1, "temperature": 2.0}}, {"line": {"rate": None}}, ["/line/rate"]),
        ({"line": None}, {"line": {"rate": 2}}, ["/line"]),
        ({"line": {"rate": 1}}, {"line": None}, ["/line/rate"]),
        ({"line": {"rate": 1}}, {"line": "off"}, ["/line/rate"]),
        ({"tags": ["a", "b"]}, {"tags": ["c"]}, ["/tags"]),
        ({"new": {"a": 1}}, {"new": {"a": 2}}, ["/new/a"]),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, ["/a", "/b"]),
    ],
)
def test_the_same_places_changed_otherwise(
    twin: StateManager, branch: Branch, mine: dict[str, Any], theirs: dict[str, Any], places: list[str]
) -> None:
    """They are named, and the twin stays as it is."""
    branch.manager.update_state(mine)
    twin.update_state(theirs)
    before = twin.snapshot()
    with pytest.raises(BranchConflict, match=", ".join(places)) as found:
        branch.merge_back()
    assert list(found.value.pointers) == places
    assert (found.value.expected, found.value.actual) == (1, 2)
    assert twin.snapshot() == before


def test_the_same_places_changed_to_the_same(twin: StateManager, branch: Branch) -> None:
    """That is no conflict."""
    for one in (twin, branch.manager):
        one.update_state({"line": {"rate": 3}})
    branch.manager.update_state({"line": {"temperature": 1.0}})
    assert branch.merge_back() is not None
    assert twin.get_current_state()["line"] == {"temperature": 1.0, "rate": 3}


@pytest.mark.parametrize("version", [1, 3])
def test_a_twin_that_was_made_again(twin: StateManager, version: int) -> None:
    """It is not the one that the branch is of; also where it has no such version yet."""
    twin.update_many([{"line": {"rate": 11}}, {"line": {"rate": 12}}])
    with fork(twin, "b", version=version).manager as manager:
        manager.update_state({"more": 1})
        twin.delete(branches=False)
        twin.set_state(STATE)
        before = twin.snapshot()
        with pytest.raises(StateConflict, match="was made again"):
            Branch(manager, twin).merge_back()
        assert twin.snapshot() == before


def test_a_twin_that_is_gone(twin: StateManager, branch: Branch) -> None:
    """It is not made again of what the branch changed."""
    branch.manager.update_state({"more": 1})
    twin.delete(branches=False)
    with pytest.raises(StateConflict, match="was deleted"):
        branch.merge_back()
    assert twin.snapshot().version == 0


def test_a_branch_that_is_gone(twin: StateManager, branch: Branch) -> None:
    """That is no branch that removed everything."""
    before = twin.snapshot()
    branch.manager.delete()
    for call in (branch.merge_back, branch.diff_to_origin):
        with pytest.raises(NoState):
            call()
    assert twin.snapshot() == before


def test_a_branch_that_was_made_anew(twin: StateManager, branch: Branch) -> None:
    """It is held against what it begins with now."""
    branch.manager.delete()
    twin.update_state({"line": {"rate": 11}})
    with fork(twin, "what-if-1").manager as again:
        again.update_state({"line": {"rate": 12}})
        assert [change.before for change in branch.diff_to_origin()] == [11]
        assert branch.merge_back() is not None


class Line(BaseModel):
    """Two rules."""

    rate: int = Field(ge=0)
    limit: int = Field(le=5)


def test_the_rules_bind_the_branch_and_the_merge(server: Server, twin_id: str) -> None:
    """The branch goes by the twin's model; what both changed together may break a rule that neither broke."""
    with StateManager(f"{twin_id}-rules", url=server.url, model=Line) as twin:
        twin.set_state({"rate": 1, "limit": 1})
        branch = fork(twin, "b")
        with branch.manager as manager:
            assert manager.config.model_hash == twin.config.model_hash
            with pytest.raises(StateValidationError):
                manager.update_state({"rate": -1})
            manager.update_state({"rate": 2})
            assert branch.merge_back() is not None
        assert twin.get_current_state()["rate"] == 2


def test_a_null_that_no_merge_can_say(branch: Branch) -> None:
    branch.manager.set_state(STATE | {"nothing": None})
    with pytest.raises(UsageError, match="null"):
        branch.merge_back()


# --- pure ------------------------------------------------------------------------------------------------------

LEAVES = st.integers(0, 2) | st.lists(st.integers(0, 1), max_size=2)
STATES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), LEAVES | inner, max_size=3),
    max_leaves=8,
)


@given(STATES, STATES, STATES)
def test_without_a_clash_both_changes_are_there(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """Whichever comes first; and a clash of one is a clash of the other."""
    mine, others = changes_of(base, ours), changes_of(base, theirs)
    places, back = clashes(base, mine, theirs), clashes(base, others, ours)
    assert bool(places) == bool(back)
    if not places:
        merged = patch.merge(theirs, mine)
        assert patch.same(merged, patch.merge(ours, others))
        assert not clashes(base, mine, merged)


@given(STATES, STATES)
def test_a_twin_that_nobody_changed_takes_it_all(base: dict[str, Any], ours: dict[str, Any]) -> None:
    mine = changes_of(base, ours)
    assert clashes(base, mine, base) == []
    assert patch.same(patch.merge(base, mine), ours)


def test_a_branch_goes_by_its_twin_and_not_by_the_environment(
    server: Server, twin_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may say something else than the twin's makers did."""
    with StateManager(twin_id, url=server.url, validation="standard", history_length=7) as twin:
        twin.set_state({"n": 0})
        for name, value in (("HISTORY_LENGTH", "3"), ("VALIDATION", "none"), ("MAX_BYTES", "100")):
            monkeypatch.setenv(f"CIRCMAN_{name}", value)
        with fork(twin, "b").manager as branch:
            assert (branch.config.validation, branch.config.history_length) == ("standard", 7)
            assert branch.config.max_bytes == twin.config.max_bytes
