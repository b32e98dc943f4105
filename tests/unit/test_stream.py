"""When a subscription connects, listens, reads and gives up, case by case, with a clock that is turned by hand."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from circman_redis.errors import StoreError, StoreUnavailable, UsageError
from circman_redis.events import Event, Heartbeat, HistoryGap, StateEvent
from circman_redis.protocol import Call
from circman_redis.stream import LOOK, Join, Leave, Ping, Read, Rest
from circman_redis.wish import Wish
from tests.property.model import World
from tests.property.schedule import Run


def standing(world: World, *script: tuple[str, int], patience: float = 10.0, **wishes: Any) -> Run:
    """A subscription that has begun, and what is to happen then."""
    run = Run(world, Wish.of(**wishes), patience=patience)
    run.begin()
    run.script = list(script)[::-1]
    run.log.clear()
    return run


def made(count: int, **how: Any) -> World:
    world = World(**how)
    for _ in range(count):
        world.commit()
    return world


def targets(log: Iterable[Any]) -> list[str]:
    """What was asked for: the scripts and commands by name, the actions by type; a rest once, however long."""
    names = [one.target if isinstance(one, Call) else type(one).__name__ for one in log]
    return [name for name, before in zip(names, ["", *names], strict=False) if name != "Rest" or before != "Rest"]


def versions(events: Iterable[Event | None]) -> list[int | None]:
    return [event and event.version for event in events]


# --- what can be wished for -----------------------------------------------------------------------------------

REFUSED: list[dict[str, Any]] = [
    {"since": -1},
    {"since": True},
    {"since": 1.0},
    {"since": ""},
    {"since": "x"},
    {"since": "epoch:"},
    {"since": "epoch:x"},
    {"since": "epoch:-1"},
    {"since": "\u0661"},
    {"since": "epoch:²"},
    {"since": b"5"},
    {"since": "9" * 5000},
    {"source": "pubsub"},
    {"source": None},
    {"paths": "a"},
    {"paths": ["/a", "b"]},
    {"paths": "/~"},
    {"timeout": -1},
    {"timeout": "5"},
    {"timeout": True},
    {"timeout": float("nan")},
    {"heartbeat": -0.1},
    {"heartbeat": "x"},
    {"pulse": -1},
]


@pytest.mark.parametrize("wishes", REFUSED, ids=lambda one: ascii(one)[:40])
def test_what_cannot_be_wished_for(wishes: dict[str, Any]) -> None:
    """Refused at once, and what was given is named."""
    with pytest.raises(UsageError) as caught:
        Wish.of(**wishes)
    ((name, value),) = wishes.items()
    assert name == "paths" or repr(value)[:20] in str(caught.value)


def test_what_can_be_wished_for() -> None:
    """A version, a position, with and without the time of its commit; one path or many."""
    assert [Wish(since=since).start() for since in (None, 0, 7, "7", "e:7", ":0")] == [
        ("", None, ""),
        *(("", 0, ""), ("", 7, ""), ("", 7, ""), ("e", 7, ""), ("", 0, "")),
    ]
    assert Wish(since="e:7:2026-01-01T00:00:00.000001Z").start() == ("e", 7, "2026-01-01T00:00:00.000001Z")
    assert Wish.of(paths="/a").paths == ("/a",)
    assert Wish.of(paths=iter(["/a", ""])).paths == ("/a", "")
    assert Wish.of().paths is None
    Wish.of(timeout=0, heartbeat=0.5, source="keyspace")


# --- how it begins --------------------------------------------------------------------------------------------


def test_it_subscribes_first_and_reads_then() -> None:
    """So that nothing falls between the two."""
    world = made(2)
    run = Run(world, Wish())
    run.begin()
    assert targets(run.log) == ["Join", "Read", "resume"]
    assert world.channel == world.keys.events
    assert (run.stream.connected, run.stream.timeline.version) == (True, 2)


def test_it_begins_with_the_key_of_the_state() -> None:
    """The other source: notifications of the database that it is in."""
    run = Run(World(), Wish(source="keyspace"))
    run.stream.database = 3
    run.begin()
    assert run.log[1] == Join(f"__keyspace@3__:{run.world.keys.state}")


@pytest.mark.parametrize("flags", [b"", b"K", b"K$", b"Kg", b"$lhg", b"AE"])
def test_notifications_that_are_not_enabled(flags: bytes) -> None:
    """Said at once, with the setting that it takes."""
    with pytest.raises(StoreError, match="notify-keyspace-events") as caught:
        Run(World(flags=flags), Wish(source="keyspace")).begin()
    assert not isinstance(caught.value, StoreUnavailable)
    assert f"is {flags.decode()!r}" in str(caught.value)
    assert "CONFIG SET notify-keyspace-events K$lhg" in str(caught.value)


@pytest.mark.parametrize("flags", [b"K$g", b"g$lshKE", b"AKE", b"KA"])
def test_notifications_that_are_enabled(flags: bytes) -> None:
    """More than is needed does no harm."""
    Run(World(flags=flags), Wish(source="keyspace")).begin()


def test_notifications_that_nobody_may_ask_about() -> None:
    """A user without CONFIG subscribes all the same."""
    run = Run(made(1), Wish(source="keyspace"))
    answer = run.world.call

    def refusing(call: Call[Any]) -> Any:
        if call.target == "CONFIG":
            raise StoreError("NOPERM")
        return answer(call)

    run.world.call = refusing  # type: ignore[method-assign]
    run.begin()
    assert run.stream.timeline.version == 1


def test_a_server_that_is_not_there_at_first() -> None:
    """It tries again within its patience."""
    world = made(1)
    world.refused_joins = 3
    run = Run(world, Wish())
    run.begin()
    assert targets(run.log) == [*(["Join", "Leave", "Rest"] * 3), "Join", "Read", "resume"]


def test_a_server_that_is_not_there() -> None:
    """After its patience it says so, and why."""
    world = World()
    world.refused_joins = 10_000
    start = world.now
    run = Run(world, Wish(), patience=3.0)
    with pytest.raises(StoreUnavailable, match="connection refused"):
        run.begin()
    assert 3.0 <= world.now - start < 5.0


def test_a_subscription_that_is_never_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as no connection."""
    monkeypatch.setattr(random, "random", lambda: 0.0)
    run = standing(made(1), ("cut", 0), ("wait", 0), ("wait", 0), ("drop", 0), patience=1.0)
    run.world.commit()
    assert versions([run.next()]) == [2]
    assert [one for one in targets(run.log) if one != "Read"] == ["Leave", "Join", "Leave", "Join", "resume"]


# --- listening ------------------------------------------------------------------------------------------------


def test_a_message_is_an_event_without_reading() -> None:
    """The usual case."""
    run = standing(made(1))
    run.world.commit()
    assert versions([run.next()]) == [2]
    assert targets(run.log) == ["Read"]


def test_a_jump_is_read_and_handed_out_in_order() -> None:
    """Five messages of which one comes: one reading."""
    run = standing(made(1), ("newest", 0))
    for _ in range(5):
        run.world.commit()
    assert versions(run.next() for _ in range(5)) == [2, 3, 4, 5, 6]
    assert targets(run.log) == ["Read", "resume"]


def test_a_gap_comes_before_what_is_left() -> None:
    """In the order of the versions."""
    run = standing(made(1, history_length=1), ("newest", 0))
    for _ in range(4):
        run.world.commit()
    gap, *rest = (run.next() for _ in range(3))
    assert isinstance(gap, HistoryGap)
    assert gap.lost == range(2, 4)
    assert versions(rest) == [4, 5]


def test_notifications_only_wake_it_up() -> None:
    """Many of them, one reading."""
    run = standing(made(1), source="keyspace")
    for _ in range(20):
        run.world.commit()
    assert versions(run.next() for _ in range(20)) == list(range(2, 22))
    assert targets(run.log).count("resume") == 1


def test_notifications_without_a_pause() -> None:
    """It does not wait for their end for ever."""
    run = standing(made(1), source="keyspace")
    for _ in range(1000):
        run.world.commit()
    assert versions([run.next()]) == [2]
    assert len(run.world.inbox) > 700


def test_a_junk_message_is_looked_into() -> None:
    """And brings nothing."""
    run = standing(made(1), timeout=0)
    run.world.publish(b"junk")
    assert run.next() is None
    assert targets(run.log) == ["Read", "resume"]


def test_a_connection_that_was_made_anew_by_itself() -> None:
    """redis-py does so; what was missed in between is read."""
    run = standing(made(1))
    run.world.mute = True
    run.world.commit()
    run.world.mute = False
    run.world.inbox.append(("subscribe", 1))
    assert versions([run.next()]) == [2]


def test_a_subscription_that_the_server_ends() -> None:
    """It connects anew."""
    run = standing(made(1), timeout=5)
    run.world.inbox.append(("unsubscribe", 0))
    run.world.commit()
    assert versions([run.next()]) == [2]
    assert "Join" in targets(run.log)


def test_the_version_is_read_from_time_to_time() -> None:
    """Whatever the connection looks like: what it lost is found."""
    run = standing(made(1))
    start = run.world.now
    run.world.mute = True
    run.world.commit()
    run.world.mute = False
    assert versions([run.next()]) == [2]
    assert LOOK <= run.world.now - start < LOOK + 1
    assert "Join" not in targets(run.log)


def unheard(world: World) -> None:
    """A commit of which no message comes."""
    world.mute = True
    world.commit()
    world.mute = False


@pytest.mark.parametrize("source", ["channel", "keyspace"])
def test_commits_that_no_message_announced_have_it_connect_anew(source: str) -> None:
    """The twin went to another server, and the one that is listened to has nothing to say of it."""
    run = standing(made(1), source=source)
    unheard(run.world)
    assert versions([run.next()]) == [2]
    unheard(run.world)
    assert versions([run.next()]) == [3]
    assert [one for one in targets(run.log) if one in {"Ping", "Leave", "Join"}][-3:] == ["Ping", "Leave", "Join"]
    start = run.world.now
    run.world.commit()
    assert versions([run.next()]) == [4]
    assert run.world.now - start < 1, "it listens where messages come"


@pytest.mark.parametrize("source", ["channel", "keyspace"])
def test_a_message_that_was_on_its_way_during_a_look_is_no_reason_to(source: str) -> None:
    run = standing(made(1), source=source, timeout=5)
    run.world.now += LOOK
    run.world.commit()
    assert versions([run.next(), run.next()]) == [2, None]
    run.world.now += LOOK
    run.world.commit()
    assert versions([run.next(), run.next()]) == [3, None]
    assert "Leave" not in targets(run.log)


def test_the_answer_to_a_ping_before_the_look_says_nothing() -> None:
    """The message may come after it."""
    run = standing(made(1), pulse=LOOK - 1, patience=20)
    run.script = [("wait", 0)] * 50  # nothing is received, until the look
    run.world.mute = True
    run.world.commit()
    run.world.mute = False
    assert versions([run.next()]) == [2]
    assert targets(run.log).count("Ping") == 1
    run.script = []
    run.world.publish(run.world.published[-1])
    run.world.commit()
    assert versions([run.next()]) == [3]
    assert "Leave" not in targets(run.log)


# --- signs of life --------------------------------------------------------------------------------------------


def test_a_ping_without_an_answer_is_a_lost_connection() -> None:
    """It connects anew, and reads what it missed."""
    run = standing(made(1), patience=2.0, pulse=1.0)
    start = run.world.now
    run.world.mute = True
    run.world.commit()
    assert versions([run.next()]) == [2]
    assert [one for one in targets(run.log) if one != "Read"] == ["Ping", "Leave", "Rest", "Join", "resume"]
    assert 3.0 <= run.world.now - start < 5.0


def test_a_ping_is_asked_for_once_at_a_time() -> None:
    """And again a pulse after the answer."""
    run = standing(made(1), timeout=9.5, pulse=2.0)
    assert run.next() is None
    assert targets(run.log).count("Ping") == 4


def test_an_answer_tells_how_current_it_is() -> None:
    """As of the ping, for messages come in order."""
    run = standing(made(1), timeout=3.0, pulse=1.0)
    begun = run.stream.current_at
    assert begun is not None
    assert run.next() is None
    assert run.stream.current_at is not None
    assert begun + 1.0 <= run.stream.current_at <= run.world.now - 0.2


def test_without_a_connection_it_grows_old() -> None:
    """It is known when it was current, and not after that."""
    run = standing(made(1), ("cut", 0), timeout=3.0)
    run.world.refused_joins = 10_000
    begun = run.stream.current_at
    with pytest.raises(StoreUnavailable):
        run.next()
    assert run.stream.current_at == begun
    assert not run.stream.connected


# --- the time is up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 0.1, 1.0, 30.0])
def test_a_time_out(timeout: float) -> None:
    """Nothing came for so long; it may go on afterwards."""
    run = standing(made(1), timeout=timeout)
    start = run.world.now
    assert run.next() is None
    assert timeout <= run.world.now - start <= timeout + 0.3
    run.world.commit()
    assert versions([run.next(), run.next()]) == [2, None]


def test_no_time_out_takes_what_is_there() -> None:
    """Zero seconds: what has come already, and not more."""
    run = standing(made(1), since=0, timeout=0)
    run.world.commit()
    assert versions([run.next(), run.next(), run.next()]) == [1, 2, None]


def test_an_event_begins_the_time_anew() -> None:
    """It is the time without one."""
    run = standing(made(1), *[("wait", 0)] * 2, ("merge", 0), timeout=1.0)
    start = run.world.now
    assert versions([run.next(), run.next()]) == [2, None]
    assert run.world.now - start > 1.7


@pytest.mark.parametrize("timeout", [0, 2.0])
def test_a_time_out_without_a_connection_is_an_error(timeout: float) -> None:
    """It cannot know that nothing happened."""
    run = standing(made(1), timeout=timeout)
    run.world.refused_joins = 10_000
    run.world.cut()
    start = run.world.now
    with pytest.raises(StoreUnavailable, match="no events, for there is no connection"):
        run.next()
    assert timeout <= run.world.now - start <= timeout + 0.5


@pytest.mark.parametrize("timeout", [0, 2.0])
def test_after_that_error_it_connects_anew(timeout: float) -> None:
    """Whoever asks again has what came in the meantime, in the end."""
    run = standing(made(1), timeout=timeout)
    run.world.cut()
    run.world.commit()
    for _ in range(20):
        run.world.now += 0.5
        try:
            event = run.next()
        except StoreUnavailable:
            continue
        if event is not None:
            assert event.version == 2
            return
    pytest.fail("it does not connect anew")


def test_after_that_error_the_time_begins_anew() -> None:
    """Heartbeats that came before it count no more."""
    run = standing(made(1), ("cut", 0), heartbeat=1.0, timeout=3.5)
    run.world.refused_joins = 10_000
    assert [type(run.next()) for _ in range(3)] == [Heartbeat] * 3
    with pytest.raises(StoreUnavailable):
        run.next()
    assert [type(run.next()) for _ in range(3)] == [Heartbeat] * 3


def test_a_time_out_while_it_connects_anew() -> None:
    """The time is up only once it is certain that there was nothing."""
    run = standing(made(1), ("cut", 0), ("merge", 0), timeout=0.5)
    assert versions([run.next(), run.next()]) == [2, None]


# --- heartbeats -----------------------------------------------------------------------------------------------


def test_heartbeats() -> None:
    """Each time that nothing came for so long."""
    run = standing(made(2), heartbeat=2.0)
    for _ in range(3):
        start = run.world.now
        beat = run.next()
        assert beat == Heartbeat("t", "epoch0", 2, connected=True)
        assert 2.0 <= run.world.now - start < 2.4


def test_heartbeats_without_a_connection() -> None:
    """They say so."""
    run = standing(made(2), ("cut", 0), heartbeat=2.0)
    run.world.refused_joins = 10_000
    assert run.next() == Heartbeat("t", "epoch0", 2, connected=False)


def test_an_event_comes_before_a_heartbeat() -> None:
    """Also when both are due."""
    run = standing(made(1), heartbeat=0)
    run.world.commit()
    event, beat = run.next(), run.next()
    assert isinstance(event, StateEvent)
    assert beat == Heartbeat("t", "epoch0", 2, connected=True)


def test_heartbeats_do_not_put_off_the_time_out() -> None:
    """It is the time without news."""
    run = standing(made(1), heartbeat=1.0, timeout=3.5)
    assert [type(run.next()).__name__ for _ in range(4)] == ["Heartbeat", "Heartbeat", "Heartbeat", "NoneType"]


# --- connecting anew ------------------------------------------------------------------------------------------


def rests_of(run: Run, count: int) -> list[float]:
    """How long it rested each time before it tried again."""
    rests: list[float] = []
    rested = 0.0
    for one in run.log:
        if isinstance(one, Rest):
            rested += one.seconds
        elif isinstance(one, Join):
            rests.append(rested)
            rested = 0.0
    return rests[1:][:count]


def outage(failures: int, monkeypatch: pytest.MonkeyPatch, jitter: float) -> Run:
    monkeypatch.setattr(random, "random", lambda: jitter)
    run = standing(made(1), ("cut", 0))
    run.world.refused_joins = failures
    run.world.commit()
    assert versions([run.next()]) == [2]
    return run


def test_the_rests_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """From tens of milliseconds to a second, by the dice."""
    rests = rests_of(outage(12, monkeypatch, 0.9), 12)
    assert rests == sorted(rests)
    assert rests[0] < 0.25
    assert rests[-1] == pytest.approx(1.0, abs=0.02)
    assert max(rests_of(outage(12, monkeypatch, 0.0), 12)) == 0.0


def test_a_long_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it failed, it tries again."""
    monkeypatch.setattr(Run, "most", 20_000)
    rests = rests_of(outage(1500, monkeypatch, 0.5), 1500)
    assert rests[-1] == pytest.approx(1.0, abs=0.02)


def test_after_a_success_the_rests_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next outage is another one."""
    run = outage(12, monkeypatch, 0.9)
    run.log.clear()
    run.script = [("cut", 0)]
    run.world.refused_joins = 1
    run.world.commit()
    assert versions([run.next()]) == [3]
    assert max(one.seconds for one in run.log if isinstance(one, Rest)) < 0.3


def test_a_reading_that_fails_is_a_lost_connection() -> None:
    """It connects anew and reads again."""
    run = standing(made(1), ("newest", 0), ("fail", 0))
    run.world.commit()
    run.world.commit()
    assert versions([run.next(), run.next()]) == [2, 3]
    assert [one for one in targets(run.log) if one not in {"Read", "Rest"}] == ["resume", "Leave", "Join", "resume"]


def test_what_the_server_refuses_is_raised() -> None:
    """A right that was taken away is nothing to wait for; it may go on once it is given back."""
    run = standing(made(1), ("newest", 0))
    answer = run.world.call

    def refusing(_: Call[Any]) -> Any:
        raise StoreError("NOPERM")

    run.world.commit()
    run.world.commit()
    run.world.call = refusing  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="NOPERM"):
        run.next()
    run.world.call = answer  # type: ignore[method-assign]
    assert versions([run.next(), run.next()]) == [2, 3]


# --- closing, and giving up in the middle ---------------------------------------------------------------------


def test_closing_while_it_waits() -> None:
    """It is noticed within one wait."""
    run = standing(made(1), ("close", 0))
    start = run.world.now
    assert run.next() is None
    assert run.world.now - start < 0.5


def test_closing_before_it_has_begun() -> None:
    """It does not begin."""
    run = Run(made(1), Wish())
    run.stream.closed = True
    run.begin()
    assert run.log == []
    assert run.next() is None


def test_closing_leaves_out_what_was_read_ahead() -> None:
    """Who closed it wants no more."""
    run = standing(made(5), since=0)
    assert versions([run.next()]) == [1]
    run.stream.closed = True
    assert run.next() is None


def test_giving_up_in_the_middle() -> None:
    """At whichever step: the next one who waits gets the event."""
    for step in range(3):
        run = standing(made(1), *[("wait", 0)] * step, ("lose", 0))
        run.world.commit()
        run.world.commit()
        assert versions([run.next(), run.next()]) == [2, 3]


def test_its_position_is_that_of_what_was_handed_out() -> None:
    """Not of what was read ahead: who goes on from it somewhere else misses nothing."""
    run = standing(made(5), since=0)
    event = run.next()
    assert event is not None
    again = standing(run.world, since=run.stream.position, timeout=0)
    assert versions([again.next()]) == [event.version + 1]


def test_what_it_does_has_a_name() -> None:
    """Each step says what it is."""
    assert repr([Join("c"), Leave(), Read(1), Ping(), Rest(0.5)]) == (
        "[Join(channel='c', sharded=False), Leave(), Read(seconds=1), Ping(), Rest(seconds=0.5)]"
    )
