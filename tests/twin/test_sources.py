"""Data sources: asked all at once and in time; one that fails, hangs or talks nonsense is told of, the rest go on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from circman_redis import InvalidJSON, UsageError
from circman_redis.codec import JSONText
from circman_redis.twin.layers import Layer
from circman_redis.twin.sources import Collected, Sources
from tests.servers import wait_until

LONG = 60.0
SHORT = 0.05


class Hanging:
    """A source that comes back when it is let go."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.calls = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        number = self.calls
        self.released.wait(LONG)
        return {"n": number}


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    one = Hanging()
    yield one
    one.released.set()


@pytest.fixture
def sources() -> Sources:
    return Sources()


def broken() -> dict[str, Any]:
    raise OSError(5, "no sensor")


def failing(collected: Collected) -> dict[str, str]:
    return {one.name: one.why for one in collected.failures}


def test_they_are_merged_in_the_order_of_registration(sources: Sources) -> None:
    """A later one goes over an earlier one; a null stays, for it removes."""
    first_may_end = threading.Event()

    def first() -> dict[str, Any]:
        assert first_may_end.wait(LONG)  # so it is the last to come back
        return {"line": {"t": 1, "rate": 1}, "a": 1}

    def second() -> dict[str, Any]:
        first_may_end.set()
        return {"line": {"t": 2, "gone": None}, "a": None}

    sources.register("first", first)
    sources.register("second", second)
    collected = sources.collect(LONG)
    assert [one.source for one in collected.layers] == ["first", "second"]
    assert collected.data == {"line": {"t": 2, "rate": 1, "gone": None}, "a": None}
    assert collected.failures == ()


def test_they_are_asked_all_at_once(sources: Sources) -> None:
    """Each waits until all of them were asked."""
    together = threading.Barrier(5, timeout=LONG)
    for number in range(5):
        sources.register(str(number), lambda: {} if together.wait() >= 0 else None)
    assert len(sources.collect(LONG).layers) == 5


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (broken, "OSError(5, 'no sensor')"),
        (lambda: None, "its data must be a JSON object"),
        (lambda: [1], "its data must be a JSON object"),
        (lambda: {"n": float("nan")}, "its data at /n: NaN"),
        (lambda: {"n": {1}}, "its data at /n: a type that has no JSON form"),
        (lambda: JSONText("{"), "its data, line 1"),
        (lambda: sys.exit(3), "SystemExit(3)"),
    ],
)
def test_one_that_fails_does_not_hold_up_the_rest(sources: Sources, source: Callable[[], Any], why: str) -> None:
    """It is told of, with the reason, since when, and how often; and forgotten once it delivers."""
    answers: list[Callable[[], Any]] = [source, source, lambda: {"back": True}]
    sources.register("bad", lambda: answers.pop(0)())  # noqa: PLW0108 - another one each time
    sources.register("good", lambda: {"n": 1})
    first, second = sources.collect(LONG), sources.collect(LONG)
    assert [one.data for one in (*first.layers, *second.layers)] == [{"n": 1}] * 2
    (one,), (again,) = first.failures, second.failures
    assert (one.name, one.times, again.times) == ("bad", 1, 2)
    assert one.why.startswith(why)
    assert one.since == again.since
    status = sources.status
    assert status["bad"].error == one.why
    assert (status["bad"].failures, status["bad"].last_ok, status["bad"].since) == (2, None, one.since)
    assert (status["good"].failures, status["good"].error) == (0, None)
    assert sources.collect(LONG).data == {"back": True, "n": 1}
    status = sources.status
    assert (status["bad"].error, status["bad"].failures, status["bad"].since) == (None, 0, None)
    assert status["bad"].last_ok


def test_one_that_hangs_is_given_up_and_not_asked_again(sources: Sources, hanging: Hanging) -> None:
    """Until it has come back; what it says then is dropped, and what it says next counts."""
    sources.register("slow", hanging, timeout=SHORT)
    sources.register("good", lambda: {"good": 1})
    for times in (1, 2, 3):
        collected = sources.collect(LONG)
        assert failing(collected) == {"slow": "no answer within 0.05 s"}
        assert collected.data == {"good": 1}
        assert sources.status["slow"].failures == times
    assert hanging.calls == 1
    hanging.released.set()
    wait_until(lambda: "slow" not in failing(sources.collect(LONG)))
    assert sources.collect(LONG).data["n"] == hanging.calls > 1


def test_what_comes_late_is_dropped_even_while_others_are_waited_for(sources: Sources) -> None:
    """It was given up already."""
    late = threading.Event()

    def slow() -> dict[str, Any]:
        wait_until(late.is_set)
        return {"slow": 1}

    def patient() -> dict[str, Any]:
        wait_until(lambda: any(thread.name == "source slow" for thread in threading.enumerate()))
        time.sleep(4 * SHORT)  # longer than the other one's time
        late.set()
        wait_until(lambda: all(thread.name != "source slow" for thread in threading.enumerate()))
        return {"patient": 1}

    sources.register("slow", slow, timeout=SHORT)
    sources.register("patient", patient)
    collected = sources.collect(LONG)
    assert collected.data == {"patient": 1}
    assert failing(collected) == {"slow": "no answer within 0.05 s"}


def test_told_to_stop_it_waits_for_nobody(sources: Sources, hanging: Hanging) -> None:
    """What did not come by then has not failed."""
    stop = threading.Event()
    sources.register("slow", hanging)
    sources.register("good", lambda: {"good": 1})
    threading.Timer(SHORT, stop.set).start()
    collected = sources.collect(LONG, stop)
    assert (collected.data, collected.failures) == ({"good": 1}, ())
    assert sources.status["slow"].error is None


def test_a_source_that_hangs_does_not_hang_the_end_of_the_process() -> None:
    """Nor do many."""
    program = """
import threading
from circman_redis.twin.sources import Sources

sources = Sources()
for number in range(20):
    sources.register(str(number), threading.Event().wait)
print(len(sources.collect(0.05).failures))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "20\n"


def test_what_was_of_no_use_did_not_count(sources: Sources) -> None:
    """As where the rules refused it: it fails on, as it did before it was asked."""
    sources.register("a", lambda: {"n": 1})
    assert [(sources.collect(LONG), sources.refuse("a", "odd").times)[1] for _ in range(3)] == [1, 2, 3]
    status = sources.status["a"]
    assert (status.last_ok, status.error, status.failures) == (None, "odd", 3)
    sources.collect(LONG)
    assert sources.status["a"].failures == 0
    assert sources.refuse("unknown", "odd").times == 1


def test_the_callers_values_are_read_when_they_are_delivered(sources: Sources) -> None:
    """Numbers keep their digits, and what is changed afterwards is not in it."""
    mine = {"list": [1], "price": Decimal("22.10")}
    sources.register("a", lambda: mine)
    sources.register("b", lambda: JSONText('{"exact":1.50}'))
    collected = sources.collect(LONG)
    mine["list"] = []
    assert repr(collected.data) == "{'list': [1], 'price': 22.10, 'exact': 1.50}"
    assert collected.layers[0] == Layer("a", {"list": [1], "price": 22.10})


async def tasks() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("name", "fn", "timeout", "match"),
    [
        ("", dict, None, "give it a name"),
        (7, dict, None, "give it a name"),
        ("x", {}, None, "no plain function"),
        ("x", tasks, None, "no plain function"),
        ("x", dict, 0, "timeout=0"),
        ("x", dict, float("nan"), "timeout=nan"),
        ("x", dict, "1", "timeout='1'"),
        ("x", dict, 1e300, "timeout="),
        ("there", dict, None, "there is a source 'there' already"),
    ],
)
def test_what_cannot_be_registered(sources: Sources, name: Any, fn: Any, timeout: Any, match: str) -> None:
    """And leaves nothing behind."""
    sources.register("there", dict)
    with pytest.raises(UsageError, match=match):
        sources.register(name, fn, timeout)
    assert list(sources.status) == ["there"]


def test_one_that_was_removed_is_not_asked(sources: Sources) -> None:
    """And another one may have its name."""
    sources.register("a", broken)
    sources.unregister("a")
    assert sources.collect(LONG) == Collected((), ())
    with pytest.raises(UsageError, match="there is no source 'a'; there are none"):
        sources.unregister("a")
    sources.register("a", lambda: {"n": 1})
    assert sources.collect(LONG).data == {"n": 1}


def test_no_more_threads_than_the_machine_has(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is a failure of the source too, and the next time it is asked again."""
    sources.register("a", lambda: {"n": 1})

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert failing(sources.collect(LONG)) == {"a": 'RuntimeError("can\'t start new thread")'}
    assert sources.collect(LONG).data == {"n": 1}


def test_errors_that_cannot_be_written(sources: Sources) -> None:
    """Whatever somebody's error is made of."""

    class OddError(Exception):
        def __repr__(self) -> str:
            raise ValueError

    def odd() -> None:
        raise OddError

    def ours() -> None:
        raise InvalidJSON("as it says")

    sources.register("odd", odd)
    sources.register("ours", ours)
    why = failing(sources.collect(LONG))
    assert why["odd"].startswith("<OddError")
    assert why["ours"] == "as it says"
