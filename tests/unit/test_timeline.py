"""Order, gaps and rollbacks, case by case: messages are offered, and pages are read from a twin in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from circman_redis.errors import CircmanError, CorruptTwin
from circman_redis.events import Event, ForeignWrite, HistoryGap, StateEvent, StateRolledBack
from circman_redis.protocol import Call
from circman_redis.timeline import Timeline
from tests.property.model import World, dumped

Between = dict[str, Callable[[], object]]


def timeline_of(world: World, since: int | None = None, epoch: str = "", **how: Any) -> Timeline:
    """One that begins after a version, and has read what there was."""
    timeline = Timeline(world.keys, epoch, since, **how)
    if since is None:
        assert read(timeline, world) == []
    return timeline


def read(timeline: Timeline, world: World, **before: Callable[[], object]) -> list[Event]:
    """Reads until it is not behind; `before` a call of this name (the first one) something happens."""
    events: list[Event] = []
    while timeline.behind:
        steps = timeline.catch_up()
        try:
            call: Call[Any] = next(steps)
            while True:
                before.pop(call.target, lambda: None)()
                try:
                    value = world.call(call)
                except CircmanError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(value)
        except StopIteration as done:
            events += done.value
    return events


def offered(timeline: Timeline, *messages: bytes) -> list[Event]:
    return [event for message in messages for event in timeline.offer(message)]


def versions(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.kind, event.version) for event in events]


def commits(*numbers: int) -> list[tuple[str, int]]:
    return [("commit", number) for number in numbers]


def made(count: int, **how: Any) -> World:
    world = World(**how)
    for _ in range(count):
        world.commit()
    return world


@pytest.fixture
def world() -> World:
    """A twin at version 3."""
    return made(3)


@pytest.fixture
def timeline(world: World) -> Timeline:
    """Begun at version 3."""
    return timeline_of(world)


# --- where it begins ------------------------------------------------------------------------------------------


def test_it_begins_after_the_newest_commit(world: World, timeline: Timeline) -> None:
    """Whose state it knows then."""
    assert (timeline.epoch, timeline.version, timeline.state) == ("epoch0", 3, {"n": 3})
    assert not timeline.behind


def test_it_begins_before_the_first_commit() -> None:
    """An empty state, of no epoch."""
    timeline = timeline_of(World())
    assert (timeline.epoch, timeline.version, timeline.state) == ("", 0, {})


def test_it_begins_after_a_version(world: World) -> None:
    """Each that came since, with the state before it."""
    timeline = timeline_of(world, 1)
    events = read(timeline, world)
    assert versions(events) == commits(2, 3)
    assert [(event.previous, event.state) for event in events if isinstance(event, StateEvent)] == [
        ({"n": 1}, {"n": 2}),
        ({"n": 2}, {"n": 3}),
    ]


def test_it_begins_after_the_head(world: World) -> None:
    """Nothing came since; the state is known."""
    timeline = timeline_of(world, 3)
    assert read(timeline, world) == []
    assert timeline.state == {"n": 3}


def test_it_begins_beyond_the_head(world: World) -> None:
    """The twin was there once, so it was set back."""
    timeline = timeline_of(world, 7)
    (rollback,) = read(timeline, world)
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_version, rollback.version, rollback.epoch) == (7, 3, "epoch0")
    assert rollback.snapshot.state == timeline.state == {"n": 3}
    world.commit()
    assert versions(offered(timeline, world.published[-1])) == commits(4)


def test_it_begins_after_a_version_of_a_twin_that_is_gone() -> None:
    """The same."""
    (rollback,) = read(timeline_of(World(), 7), World())
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_version, rollback.version, rollback.epoch) == (7, 0, "")


def test_it_begins_in_an_epoch_that_is_over(world: World) -> None:
    """Back to the start, and then the new epoch from its first version on."""
    assert versions(read(timeline_of(world, 2, "another"), world)) == [("rollback", 0), *commits(1, 2, 3)]


def test_it_begins_after_a_commit_that_is_another_one_now(world: World) -> None:
    """The time of the commit tells."""
    timeline = Timeline(world.keys, "epoch0", 2, "2020-01-01T00:00:00Z")
    assert versions(read(timeline, world)) == [("rollback", 3)]


# --- messages -------------------------------------------------------------------------------------------------


def test_the_next_message_is_taken_as_it_is(world: World, timeline: Timeline) -> None:
    """Nothing is read."""
    world.commit("merge", {"a": {"b": 1}}, actor="me")
    world.commit("set", {"a": 2})
    merge, whole = offered(timeline, *world.published[-2:])
    assert isinstance(merge, StateEvent)
    assert isinstance(whole, StateEvent)
    assert (merge.op, merge.actor, merge.patch, merge.state) == (
        "merge",
        "me",
        {"a": {"b": 1}},
        {"n": 3, "a": {"b": 1}},
    )
    assert (whole.op, whole.actor, whole.patch, whole.state) == ("set", None, None, {"a": 2})
    assert whole.previous is merge.state
    assert not timeline.behind


def test_states_share_what_did_not_change(world: World, timeline: Timeline) -> None:
    """And cannot be changed."""
    world.commit("set", {"a": {"b": [1]}, "n": 1})
    world.commit("merge", {"n": 2})
    first, second = offered(timeline, *world.published[-2:])
    assert isinstance(first, StateEvent)
    assert isinstance(second, StateEvent)
    assert second.state["a"] is first.state["a"]
    with pytest.raises(TypeError):
        second.state["a"]["b"].append(2)


def test_a_doubled_message_is_handed_out_once(world: World, timeline: Timeline) -> None:
    """Whichever it is."""
    world.commit()
    world.commit()
    assert versions(offered(timeline, *world.published, *world.published)) == commits(4, 5)
    assert not timeline.behind


def test_a_jump_is_read(world: World, timeline: Timeline) -> None:
    """5 after 3: 4 is read, in order; the message of 4 that comes then brings nothing."""
    world.commit()
    world.commit()
    late, early = world.published[-2:]
    assert offered(timeline, early) == []
    assert timeline.behind
    assert versions(read(timeline, world)) == commits(4, 5)
    assert offered(timeline, late, early) == []
    assert not timeline.behind


def test_an_omitted_body_is_read(world: World, timeline: Timeline) -> None:
    """A message that was too long for its patch or state."""
    world.commit("set", {"large": "x"}, omitted=True)
    assert offered(timeline, world.published[-1]) == []
    (event,) = read(timeline, world)
    assert isinstance(event, StateEvent)
    assert (event.version, event.op, event.state) == (4, "set", {"large": "x"})


def test_a_cleared_history_is_no_event(world: World, timeline: Timeline) -> None:
    """The state and its version stay."""
    world.clear()
    assert offered(timeline, world.published[-1]) == []
    assert not timeline.behind


NO_COMMITS = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[1]",
    "no UTF-8": b"\xff",
    "no version": b'{"twin":"t","epoch":"epoch0","op":"merge","committed_at":"x","patch":{}}',
    "a version that is no integer": b'{"twin":"t","epoch":"epoch0","version":4.0,"op":"merge","committed_at":"x"}',
    "true for a version": b'{"twin":"t","epoch":"epoch0","version":true,"op":"merge","committed_at":"x"}',
    "a patch that is no object": b'{"twin":"t","epoch":"epoch0","version":4,"op":"merge","committed_at":"x","patch":1}',
    "a state that is no object": b'{"twin":"t","epoch":"epoch0","version":4,"op":"set","committed_at":"x","state":[]}',
    "deeper than a state may be": dumped(
        {"twin": "t", "epoch": "epoch0", "version": 4, "op": "merge", "committed_at": "x"}
    )[:-1]
    + b',"patch":'
    + b'{"a":' * 900
    + b"1"
    + b"}" * 901,
}


@pytest.mark.parametrize("case", NO_COMMITS)
def test_a_junk_message_is_not_believed(
    world: World, timeline: Timeline, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and Redis is asked what is so."""
    world.commit()
    assert offered(timeline, NO_COMMITS[case]) == []
    assert timeline.behind
    assert "no commit published" in caplog.text
    assert versions(read(timeline, world)) == commits(4)


def test_an_epoch_that_nobody_knows_is_not_believed(world: World, timeline: Timeline) -> None:
    """A forged message: it is looked into once, and then no more."""
    forged = world.published[-1].replace(b"epoch0", b"epoch9")
    assert offered(timeline, forged) == []
    assert timeline.behind
    assert read(timeline, world) == []
    assert offered(timeline, forged) == []
    assert not timeline.behind


# --- gaps -----------------------------------------------------------------------------------------------------


def test_a_gap_is_named() -> None:
    """Which versions are lost, and the state to go on from; then its event."""
    world = made(3, history_length=2)
    timeline = timeline_of(world)
    for _ in range(5):
        world.commit("merge", {f"m{world.version + 1}": 1})
    assert offered(timeline, world.published[-1]) == []
    gap, *rest = read(timeline, world)
    assert isinstance(gap, HistoryGap)
    assert (gap.lost, gap.version, gap.epoch) == (range(4, 6), 6, "epoch0")
    assert (gap.snapshot.version, gap.snapshot.state) == (6, {"n": 3, "m4": 1, "m5": 1, "m6": 1})
    assert versions(rest) == commits(6, 7, 8)
    assert isinstance(rest[0], StateEvent)
    assert rest[0].previous is None
    assert rest[0].changed == ("/m6",)
    assert timeline.state == world.state


def test_no_gap_where_the_next_version_is_the_oldest() -> None:
    """Only what comes before it has left the history."""
    world = made(3, history_length=2)
    timeline = timeline_of(world)
    for _ in range(3):
        world.commit("merge", {f"m{world.version + 1}": 1})
    timeline.behind = True
    events = read(timeline, world)
    assert versions(events) == commits(4, 5, 6)
    assert isinstance(events[0], StateEvent)
    assert events[0].previous == {"n": 3}


def test_a_gap_up_to_the_head(world: World, timeline: Timeline) -> None:
    """After the history was cleared."""
    world.commit()
    world.commit()
    world.clear()
    timeline.behind = True
    gap, event = read(timeline, world)
    assert isinstance(gap, HistoryGap)
    assert (gap.lost, event.version) == (range(4, 5), 5)


def test_pages(world: World, timeline: Timeline) -> None:
    """One at a time; it stays behind until the last one."""
    world.page = 2
    for _ in range(5):
        world.commit()
    timeline.behind = True
    assert versions(read(timeline, world)) == commits(4, 5, 6, 7, 8)


# --- deleted, and made again ----------------------------------------------------------------------------------


def test_a_delete(world: World, timeline: Timeline) -> None:
    """By its message; twice is once."""
    world.delete()
    (rollback,) = offered(timeline, world.published[-1], world.published[-1])
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.epoch, rollback.version, rollback.snapshot.state) == ("", 0, {})
    assert (rollback.previous_epoch, rollback.previous_version) == ("epoch0", 3)
    assert (timeline.epoch, timeline.version, timeline.state) == ("", 0, {})


def test_a_delete_that_nobody_told_of(world: World, timeline: Timeline) -> None:
    """It is seen by reading."""
    world.delete()
    timeline.behind = True
    assert versions(read(timeline, world)) == [("rollback", 0)]


def test_a_delete_before_all_was_read(world: World, timeline: Timeline) -> None:
    """What is known to have been is named as lost, and then the delete."""
    world.commit()
    world.commit()
    world.delete()
    gap, rollback = offered(timeline, world.published[-1])
    assert isinstance(gap, HistoryGap)
    assert isinstance(rollback, StateRolledBack)
    assert (gap.lost, gap.snapshot.version, gap.snapshot.state) == (range(4, 6), 0, {})
    assert rollback.previous_version == 3


def test_a_twin_that_was_made_again(world: World, timeline: Timeline) -> None:
    """By messages, or by reading: first the delete, then every version of the new epoch."""
    by_reading = timeline_of(world)
    world.delete()
    world.commit()
    world.commit()
    events = offered(timeline, *world.published[-3:]) + (read(timeline, world) if timeline.behind else [])
    by_reading.behind = True
    assert versions(events) == versions(read(by_reading, world)) == [("rollback", 0), *commits(1, 2)]
    assert {event.epoch for event in events[1:]} == {"epoch1"}
    assert timeline.epoch == by_reading.epoch == "epoch1"


def test_a_message_of_the_new_epoch_before_that_of_the_delete(world: World, timeline: Timeline) -> None:
    """It is read; the delete's message comes too late to do anything."""
    world.delete()
    world.commit()
    gone, again = world.published[-2:]
    assert offered(timeline, again) == []
    assert versions(read(timeline, world)) == [("rollback", 0), *commits(1)]
    assert offered(timeline, gone) == []
    assert (timeline.epoch, timeline.version) == ("epoch1", 1)


def test_late_messages_of_an_epoch_that_is_over(world: World, timeline: Timeline) -> None:
    """They are not handed out, and nothing is read."""
    late = list(world.published)
    world.delete()
    world.commit()
    timeline.behind = True
    read(timeline, world)
    assert offered(timeline, *late) == []
    assert not timeline.behind


def test_late_messages_of_an_epoch_that_was_over_before_it_was_heard_of() -> None:
    """They are not handed out after those of a newer one."""
    world = World()
    timeline = timeline_of(world)
    world.commit()
    late = world.published[-1]
    world.delete()
    world.commit()
    world.delete()
    offered(timeline, *world.published[2:])
    read(timeline, world)
    assert offered(timeline, late) + read(timeline, world) == []
    assert (timeline.epoch, timeline.version) == ("", 0)


# --- set back within its epoch --------------------------------------------------------------------------------


def test_a_failover_to_a_replica_that_was_behind(world: World, timeline: Timeline) -> None:
    """Back to the last commit that is in both, and on from there."""
    world.commit()
    world.commit()
    offered(timeline, *world.published[-2:])
    world.set_back(4, commits=2)
    timeline.behind = True
    rollback, *rest = read(timeline, world)
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.previous_epoch, rollback.previous_version) == ("epoch0", 5)
    assert (rollback.epoch, rollback.version, rollback.snapshot.state) == ("epoch0", 4, {"n": 4})
    assert versions(rest) == commits(5, 6)
    assert isinstance(rest[0], StateEvent)
    assert rest[0].committed_at == world.line[4].entry.facts["committed_at"]


def test_a_failover_after_which_nobody_committed(world: World, timeline: Timeline) -> None:
    """The version is lower than before."""
    world.commit()
    offered(timeline, world.published[-1])
    world.set_back(3)
    timeline.behind = True
    assert versions(read(timeline, world)) == [("rollback", 3)]
    assert timeline.state == {"n": 3}


def test_a_failover_to_before_it_began(world: World, timeline: Timeline) -> None:
    """Nothing that it handed out is in both: it goes on from the newest."""
    world.set_back(1, commits=3)
    timeline.behind = True
    rollback, *rest = read(timeline, world)
    assert (rollback.version, rest) == (4, [])
    assert timeline.state == world.state


def test_a_message_of_another_line_is_looked_into(world: World, timeline: Timeline) -> None:
    """A version that is not newer, of a commit that is."""
    world.set_back(2, commits=1)
    assert offered(timeline, world.published[-1]) == []
    assert timeline.behind
    assert versions(read(timeline, world)) == [("rollback", 3)]


@pytest.mark.parametrize("handed_out", [10, 100, 1000, 3000])
def test_the_last_common_version_is_found_in_few_calls(handed_out: int) -> None:
    """Among the last thousand."""
    world = made(1, history_length=10_000)
    timeline = timeline_of(world)
    for _ in range(handed_out):
        world.commit("set", {})
        offered(timeline, world.published[-1])
    world.set_back(world.version - 7, commits=20)
    back = world.version - 20
    timeline.behind = True
    calls: list[str] = []
    ask = world.call
    world.call = lambda call: calls.append(call.target) or ask(call)  # type: ignore[method-assign, func-returns-value]
    rollback, *rest = read(timeline, world)
    assert rollback.version == back
    assert len(rest) == 20
    assert len(calls) < 16


def test_a_failover_whose_last_common_version_has_left_the_history() -> None:
    """There may be no telling that it was set back; but no state is made of one that it is not of."""
    world = made(1, history_length=2)
    timeline = timeline_of(world)
    for name in ("a", "b"):
        world.commit("merge", {name: 1})
        offered(timeline, world.published[-1])
    world.set_back(1)
    for name in ("c", "d", "e", "f", "g"):
        world.commit("merge", {name: 1})
    assert (timeline.version, world.oldest, world.version) == (3, 4, 6)
    timeline.behind = True
    read(timeline, world)
    assert timeline.state == world.state
    assert timeline.version == world.version


# --- what no commit wrote -------------------------------------------------------------------------------------


@pytest.fixture
def comparing(world: World) -> Timeline:
    return timeline_of(world, compare=True)


def look(timeline: Timeline, world: World, **before: Callable[[], object]) -> list[Event]:
    timeline.behind = True
    return read(timeline, world, **before)


def test_a_state_of_the_same_length(world: World, comparing: Timeline) -> None:
    """The scripts cannot tell; whoever compares can. It is reported once."""
    world.write(b'{"n":9}')
    (event,) = look(comparing, world)
    assert isinstance(event, ForeignWrite)
    assert (event.version, event.key, event.state) == (3, world.keys.state, {"n": 9})
    assert look(comparing, world) == []
    assert comparing.state == {"n": 9}


def test_nothing_foreign_is_reported_where_there_was_nothing(world: World, comparing: Timeline) -> None:
    """Also not on a twin that has no state yet, and on one that was deleted."""
    assert look(comparing, world) == []
    world.delete()
    assert versions(look(comparing, world)) == [("rollback", 0)]
    assert look(comparing, world) == []
    world.commit()
    assert versions(look(comparing, world)) == commits(1)
    assert look(comparing, world) == []


FOREIGN = {"another length": (b'{"n":10}', {"n": 10}), "no JSON": (b"junk", None), "no object": (b"[1]", None),
           "gone": (None, None)}  # fmt: skip


@pytest.mark.parametrize("compare", [True, False])
@pytest.mark.parametrize("case", FOREIGN)
def test_a_state_that_the_scripts_refuse(world: World, case: str, compare: bool) -> None:
    """Reported once, by whoever reads, with what stands there."""
    timeline = timeline_of(world, compare=compare)
    text, state = FOREIGN[case]
    world.write(text)
    (event,) = look(timeline, world)
    assert isinstance(event, ForeignWrite)
    assert (event.version, event.key, event.state) == (3, world.keys.state, state)
    assert look(timeline, world) == []


@pytest.mark.parametrize("compare", [True, False])
def test_a_state_that_was_put_right_again(world: World, compare: bool) -> None:
    """That is a change as well: who keeps a copy of what is reported has the right one."""
    timeline = timeline_of(world, compare=compare)
    right = world.text
    world.write(b'{"n":10}')
    assert len(look(timeline, world)) == 1
    world.write(right)
    (event,) = look(timeline, world)
    assert isinstance(event, ForeignWrite)
    assert event.state == {"n": 3}
    assert look(timeline, world) == []


@pytest.mark.parametrize("compare", [True, False])
def test_a_state_key_of_another_type(world: World, compare: bool) -> None:
    """It is reported too, though there is no text to show."""
    timeline = timeline_of(world, compare=compare)
    world.write(["a list"])
    (event,) = look(timeline, world)
    assert isinstance(event, ForeignWrite)
    assert event.state is None
    assert look(timeline, world) == []


def test_a_state_that_changes_between_two_calls(world: World, comparing: Timeline) -> None:
    """The page was fine, and what is compared then is not: reported as ever."""
    (event,) = look(comparing, world, lookup=lambda: world.write(b'{"n":10}'))
    assert isinstance(event, ForeignWrite)
    assert event.state == {"n": 10}


def test_a_failover_between_two_calls(world: World, comparing: Timeline) -> None:
    """What is compared then is of another line: that is a rollback, and nothing foreign."""
    events = look(comparing, world, lookup=lambda: world.set_back(2, commits=1))
    comparing.behind = True
    assert versions(events + read(comparing, world)) == [("rollback", 3)]


def test_a_state_that_changes_while_a_rollback_is_looked_into(world: World, timeline: Timeline) -> None:
    """Reported as ever; the rollback is, once it can be read."""
    world.set_back(2)
    right = world.text
    (event,) = look(timeline, world, lookup=lambda: world.write(b'{"n":10}'))
    assert isinstance(event, ForeignWrite)
    world.write(right)
    assert ("rollback", 2) in versions(look(timeline, world))


def test_a_twin_made_again_while_a_rollback_is_looked_into(world: World, timeline: Timeline) -> None:
    """No state is told of under an epoch that it is not of."""

    def made_again() -> None:
        world.delete()
        for _ in range(3):
            world.commit("set", {"again": world.version})

    world.set_back(2)
    events = look(timeline, world, lookup=made_again)
    for event in events:
        if isinstance(event, StateRolledBack) and event.epoch == "epoch0":
            assert "again" not in event.snapshot.state
    assert (timeline.epoch, timeline.version, timeline.state) == ("epoch1", 3, world.state)


def test_commits_go_on_upon_a_foreign_state(world: World, comparing: Timeline) -> None:
    """Where the script did not see it: the next commit is made of what stands there."""
    world.write(b'{"n":9}')
    look(comparing, world)
    world.commit("merge", {"a": 1})
    assert versions(offered(comparing, world.published[-1])) == commits(4)
    assert comparing.state == world.state == {"n": 9, "a": 1}


def test_a_corrupt_twin_to_begin_with() -> None:
    """An error for whoever wants to begin now; an event for whoever goes on from a version."""
    world = made(2)
    world.write(b"junk")
    with pytest.raises(CorruptTwin):
        read(Timeline(world.keys, "", None), world)
    (event,) = read(Timeline(world.keys, "", 2), world)
    assert isinstance(event, ForeignWrite)


# --- giving up in the middle ----------------------------------------------------------------------------------


def test_a_reading_that_is_given_up_loses_nothing(world: World, timeline: Timeline) -> None:
    """Nothing was taken over yet: it is read again."""
    world.commit()
    timeline.behind = True
    steps: Iterator[Any] = timeline.catch_up()
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert timeline.behind
    assert versions(read(timeline, world)) == commits(4)


def test_its_position_is_that_of_the_last_event(world: World, timeline: Timeline) -> None:
    """For whoever goes on somewhere else."""
    world.commit()
    (event,) = offered(timeline, world.published[-1])
    assert timeline.position == event.position
    assert json.loads(world.published[-1])["committed_at"] in timeline.position
