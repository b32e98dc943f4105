"""Any schedule of delivered, dropped, doubled and reordered messages gives the same ordered stream.

Hypothesis draws what happens between any two things that a subscription does. There is no server.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from circman_redis import patch as patches
from circman_redis.events import ForeignWrite, StateEvent
from circman_redis.wish import Wish
from tests.property.model import World
from tests.property.schedule import COMMITS, MESSAGES, QUIET, TROUBLE, Run, Step, Witness, commit, foreign

many = settings(max_examples=4 * settings().max_examples)

SOURCES = st.sampled_from(["channel", "keyspace"])
NUMBERS = st.integers(0, 255)


def scripts(*kinds: str, most: int = 40) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from(kinds), NUMBERS), max_size=most)


# Where to begin: at the newest version, at the first, at a version, at a position.
SINCE = st.sampled_from([None, 0, 1, 3, "epoch0:1", "epoch0:2", "epoch0:4"])
BEFORE = st.integers(0, 6)  # commits before the subscription


def started(
    world: World, since: Any, source: str, script: list[Step], before: int = 0, **wishes: Any
) -> tuple[Run, Witness]:
    """A subscription that stands, and who watches it. A version to begin after is one that was reached."""
    for i in range(before):
        commit(("set", "merge")[i % 2], world, i)
    run = Run(world, Wish.of(since=since, source=source, timeout=QUIET, **wishes), script)
    epoch, version = run.stream.timeline.epoch, run.stream.timeline.version
    while not run.begun():
        pass
    if since is None:
        epoch, version = run.stream.timeline.epoch, run.stream.timeline.version
    return run, Witness(world, epoch, version or 0, run.stream.timeline.state)


def watched(run: Run, witness: Witness) -> None:
    """All events, each as it has to be; and then the copy that the stream keeps, and that of whoever listened."""
    for event in run.events():
        witness.saw(event)
    timeline, world = run.stream.timeline, run.world
    assert (timeline.epoch, timeline.version) == (world.epoch, world.version)
    assert patches.same(timeline.state, world.state)
    assert patches.same(witness.state, world.state)


def reached(since: Any, before: int) -> Any:
    """The wish, or the version that there is instead."""
    if isinstance(since, int):
        return min(since, before)
    return since if before and since and int(since[-1]) <= before else None


@many
@given(script=scripts(*COMMITS, "burst", "clear", *MESSAGES, *TROUBLE), since=SINCE, before=BEFORE, source=SOURCES)
def test_every_commit_comes_once_and_in_order(script: list[Step], since: Any, before: int, source: str) -> None:
    """Whatever becomes of the messages, of the connection, of calls and of who waits."""
    script = [("wait", 0) if kind == "clear" else (kind, number) for kind, number in script]
    world = World(page=3)
    run, witness = started(world, reached(since, before), source, script, before)
    first = witness.version + 1
    watched(run, witness)
    assert witness.versions == list(range(first, world.version + 1))
    assert witness.lost == witness.rollbacks == witness.foreign == []


@many
@given(
    script=scripts(*COMMITS, "burst", "burst", "clear", *MESSAGES, *TROUBLE),
    since=SINCE,
    before=BEFORE,
    source=SOURCES,
    length=st.integers(1, 4),
)
def test_what_left_the_history_is_named(script: list[Step], since: Any, before: int, source: str, length: int) -> None:
    """Each run of versions that nobody can hand out any more by one gap, and the others come all the same."""
    world = World(history_length=length, page=3)
    run, witness = started(world, reached(since, before), source, script, before)
    first = witness.version + 1
    watched(run, witness)
    assert witness.rollbacks == witness.foreign == []
    assert sorted(witness.versions + witness.lost) == list(range(first, world.version + 1))


@many
@given(
    script=scripts(*COMMITS, "burst", "delete", "delete", "set back", "set back", "clear", *MESSAGES, *TROUBLE),
    since=SINCE,
    before=BEFORE,
    source=SOURCES,
    length=st.sampled_from([1, 2, 3, 1000]),
)
def test_a_twin_that_is_not_what_it_was(script: list[Step], since: Any, before: int, source: str, length: int) -> None:
    """Deleted, made again, set back: that is said once, and what comes next goes on from there."""
    world = World(history_length=length, page=3)
    run, witness = started(world, reached(since, before), source, script, before)
    watched(run, witness)
    assert witness.foreign == []


@many
@given(script=scripts("merge", "delete", "deliver", "newest", "any", "drop", "stale", most=16))
def test_messages_of_an_epoch_that_is_over(script: list[Step]) -> None:
    """They come late, and in any order: what they tell of is not handed out any more."""
    run, witness = started(World(), None, "channel", script)
    watched(run, witness)


FOREIGN = ("foreign", "foreign", "foreign", *COMMITS, *MESSAGES)


@many
@given(script=scripts(*FOREIGN, *TROUBLE), before=BEFORE)
def test_a_state_that_no_commit_wrote_is_told_of(script: list[Step], before: int) -> None:
    """Whoever listens has what stands there in the end; and what is told of was written.

    Twice at most: a look takes two calls, and something may be written between them.
    """
    world = World(page=3)
    run, witness = started(world, 0, "keyspace", script, before)
    witness.strict = False
    for event in run.events():
        witness.saw(event)
    assert len(witness.foreign) <= 2 * world.foreign_writes
    assert same_as(witness.state, world)
    assert witness.lost == witness.rollbacks == []
    assert witness.versions == list(range(1, len(witness.versions) + 1))
    assert len(witness.versions) == world.version or world.is_corrupt


@many
@given(numbers=st.lists(NUMBERS, max_size=8), before=st.integers(1, 3))
def test_each_foreign_write_that_can_be_seen_is_told_of_once(numbers: list[int], before: int) -> None:
    """With what stands there then; also where that is what a commit wrote."""
    world = World()
    run, _ = started(world, None, "keyspace", [], before)
    for number in numbers:
        writes = world.foreign_writes
        foreign(world, number)
        told = list(run.events())
        assert len(told) == world.foreign_writes - writes
        for event in told:
            assert isinstance(event, ForeignWrite)
            assert same_as(event.state, world)


def same_as(state: Any, world: World) -> bool:
    """Whether it is what stands there; None for what is no JSON object."""
    try:
        return patches.same(state, world.state if world.text is not None or not world.line else None)
    except ValueError:
        return state is None


PATHS = ["", "/a", "/a/b", "/a/c/1", "/n", "/patch/state/patch", "/z~1~0", "/f", "/nowhere"]


def value_at(state: Any, path: str) -> str:
    """What stands at a JSON Pointer, as text; nothing for nothing."""
    for token in path.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        try:
            state = state[int(name) if isinstance(state, list) else name]
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    return json.dumps(state, sort_keys=True)


@many
@given(
    script=scripts(*COMMITS, "burst", *MESSAGES, *TROUBLE),
    paths=st.lists(st.sampled_from(PATHS), max_size=3),
    since=SINCE,
    before=BEFORE,
    source=SOURCES,
)
def test_paths_leave_out_what_changed_elsewhere(
    script: list[Step], paths: list[str], since: Any, before: int, source: str
) -> None:
    """A commit comes if, and only if, it changed what stands at one of the paths, or below it."""
    world = World(page=3)
    run, witness = started(world, reached(since, before), source, script, before, paths=paths)
    wanted = []
    events = list(run.events())
    for made in world.line[witness.version :]:
        states = (made.parent.state if made.parent else {}, made.state)
        if any(value_at(states[0], path) != value_at(states[1], path) for path in paths):
            wanted.append(made.version)
    assert [event.version for event in events if isinstance(event, StateEvent)] == wanted
    assert len(events) == len(wanted)


@many
@given(
    script=scripts(*COMMITS, "burst", "delete", "set back", *MESSAGES, *TROUBLE),
    at=NUMBERS,
    since=SINCE,
    before=BEFORE,
    source=SOURCES,
)
def test_closing_ends_it(script: list[Step], at: int, since: Any, before: int, source: str) -> None:
    """Wherever it is; at most what was being handed out just then still comes."""
    at %= len(script) + 1
    world = World(page=3)
    for i in range(before):
        commit("merge", world, i)
    run = Run(world, Wish(since=since, source=source, timeout=QUIET), [*script[:at], ("close", 0), *script[at:]])
    while not run.begun():
        pass
    after = [event for event in run.events() if run.stream.closed]
    assert run.stream.closed
    assert len(after) <= 1
    assert run.next() is None


@many
@given(
    script=scripts(*COMMITS, "burst", "burst", "delete", "set back", "clear", *MESSAGES, *TROUBLE),
    stops=st.lists(st.integers(1, 12), max_size=6),
    before=BEFORE,
    length=st.sampled_from([2, 1000]),
)
def test_going_on_from_the_position_of_an_event(script: list[Step], stops: list[int], before: int, length: int) -> None:
    """Somewhere else and later: nothing is lost, and nothing comes twice."""
    world = World(history_length=length, page=3)
    run, witness = started(world, 0, "channel", script, before)
    for stop in stops:
        position = None
        for event, _ in zip(run.events(), range(stop), strict=False):
            witness.saw(event)
            position = event.position
        if position is None:
            break
        world.cut()
        run = Run(world, Wish(since=position, timeout=QUIET), run.script[::-1])
        while not run.begun():
            pass
    watched(run, witness)
