"""Domain events: said once, in order, from a log that can be resumed, whoever says them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from circman_redis import LeaseLost, StateManager, StateValidationError, UsageError
from circman_redis.events import HistoryGap, StateRolledBack
from circman_redis.twin.branches import fork
from circman_redis.twin.domain import KINDS, DomainEvent, DomainEvents, Happening
from circman_redis.twin.leases import Lease, holders
from tests.servers import Server, contents


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as manager:
        manager.set_state({"n": 0})
        yield manager


def said(happenings: list[Happening]) -> list[object]:
    assert all(isinstance(one, DomainEvent) for one in happenings), happenings
    return [one.data["n"] for one in happenings if isinstance(one, DomainEvent)]


def say(events: DomainEvents, *numbers: int) -> None:
    for number in numbers:
        events.publish("error", {"n": number})


def test_each_comes_once_in_order(events: DomainEvents, twin: StateManager) -> None:
    """With who said it and when; the twin's own commits are not among them."""
    with events.subscribe(timeout=0.3) as following:
        say(events, 1, 2)
        twin.update_state({"n": 1})
        events.publish("simulation_result", {"n": 3}, actor="ada")
        came = list(following)
    assert said(came) == [1, 2, 3]
    last = came[-1]
    assert isinstance(last, DomainEvent)
    assert (last.kind, last.twin, last.actor, last.version) == ("simulation_result", twin.twin, "ada", 3)
    assert twin.snapshot().version == 2


def test_the_same_twice_is_said_twice(events: DomainEvents) -> None:
    """Unless it is the same commit."""
    say(events, 1, 1)
    for _ in range(2):
        events.publish("error", {"n": 2}, commit_id="once")
    assert said(list(events.get_events())) == [1, 1, 2]


def test_go_on_where_one_was(events: DomainEvents) -> None:
    """Also between the events of one commit: none is passed over."""
    say(events, 1)
    three = [{"kind": "error", "data": {"n": number}} for number in (2, 3, 4)]
    events.decide(lambda state: {"events": three})
    say(events, 5)
    everything = list(events.subscribe(since=0, timeout=0.2))
    assert said(everything) == [1, 2, 3, 4, 5]
    after = [said(list(events.subscribe(since=one.position, timeout=0.2))) for one in everything]
    assert after == [[2, 3, 4, 5], [2, 3, 4, 5], [2, 3, 4, 5], [5], []]


def test_only_some_kinds(events: DomainEvents) -> None:
    for number, kind in enumerate(KINDS):
        events.publish(kind, {"n": number})
    assert said(list(events.subscribe(since=0, kinds=["error", "worker_left"], timeout=0.2))) == [3, 5]
    assert said(list(events.get_events(kinds="error"))) == [3]  # type: ignore[arg-type] - one is some
    assert said(list(events.get_events(limit=2))) == [4, 5]


@pytest.mark.parametrize("kinds", [["nonsense"], [3], [""]])
def test_kinds_that_are_none(events: DomainEvents, kinds: list[object]) -> None:
    with pytest.raises(UsageError, match="use some of threshold_breached"):
        events.subscribe(kinds=kinds)  # type: ignore[arg-type]


def test_no_such_kind_is_said(events: DomainEvents) -> None:
    """The rule binds every writer: it stands in Redis."""
    with pytest.raises(StateValidationError, match="/events/0/kind"):
        events.publish("nonsense", {})  # type: ignore[arg-type]
    assert events.get_events() == []


def test_what_only_tidies_up_says_nothing(events: DomainEvents) -> None:
    """What was said before is not said again by it."""
    say(events, 1)
    events.decide(lambda state: {"workers": {"a": None}, "other": 1})
    assert said(list(events.subscribe(since=0, timeout=0.2))) == [1]
    assert events.decide(lambda state: None) is None
    assert events.manager.snapshot().version == 2


def test_a_decision_is_made_once(events: DomainEvents) -> None:
    """By whichever thread, on the very state that was read."""
    start = threading.Barrier(4)

    def decide() -> None:
        start.wait()
        for number in range(5):
            events.decide(lambda state, n=number: None if state.get("n", -1) >= n else _counted(n))

    threads = [threading.Thread(target=decide) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert said(list(events.get_events())) == [0, 1, 2, 3, 4]


def _counted(number: int) -> dict[str, object]:
    return {"n": number, "events": [{"kind": "error", "data": {"n": number}}]}


def test_the_same_is_decided_and_said_twice(events: DomainEvents) -> None:
    """Also where what was decided first was undone without a word."""
    for _ in range(2):
        events.decide(lambda state: None if state.get("n") == 7 else _counted(7))
        events.manager.update_state({"n": None})
    assert said(list(events.get_events())) == [7, 7]
    assert said(list(events.subscribe(since=0, timeout=0.2))) == [7, 7]


def test_who_lost_a_role_says_nothing_in_it(twin: StateManager, events: DomainEvents) -> None:
    """What is said carries the role's token, as commits do; and to delete what was said leaves the roles."""
    with Lease(twin, "line", "a"):
        say(events, 1)
        assert Lease(twin, "line", "a").take()
        for say_it in (lambda: say(events, 2), lambda: events.decide(lambda state: _counted(3))):
            with pytest.raises(LeaseLost, match="line"):
                say_it()
    assert said(list(events.get_events())) == [1]
    events.manager.delete()
    assert [one.role for one in holders(twin)] == ["line"]


def test_the_log_is_capped_and_says_so(events: DomainEvents) -> None:
    """As that of the twin is."""
    events.manager.set_history_length(2)
    say(events, 1, 2, 3, 4, 5)
    gap, *rest = events.subscribe(since=1, timeout=0.2)
    assert isinstance(gap, HistoryGap)
    assert list(gap.lost) == [2]
    assert said(rest) == [3, 4, 5]


def test_a_log_made_anew_says_so(events: DomainEvents) -> None:
    say(events, 0)
    with events.subscribe(timeout=0.3) as following:
        say(events, 1)
        events.manager.delete()
        say(events, 2)
        first, gone, last = following
    assert isinstance(gone, StateRolledBack)
    assert said([first, last]) == [1, 2]


def test_a_branch_has_none(twin: StateManager) -> None:
    """And no branch takes their place."""
    with fork(twin, "b").manager as branch, pytest.raises(UsageError, match="branches have no domain events"):
        DomainEvents(branch)
    with pytest.raises(UsageError, match="'domain': the domain events"):
        fork(twin, "domain")


def test_to_look_leaves_no_trace(server: Server, twin: StateManager) -> None:
    """The rules come with the first event; also where another process removed them meanwhile."""
    with server.client() as client, DomainEvents(twin) as events:
        before = contents(client)
        assert (events.get_events(), events.state()) == ([], {})
        assert list(events.subscribe(timeout=0.1)) == []
        assert contents(client) == before
        for _ in range(2):
            say(events, 1)
            assert events.manager.config.model == "DomainState"
            client.delete(*events.manager.keys.stored.values())
