"""When a threshold is breached and when that is over; by one observer, and by many that are apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circman_redis.errors import UsageError
from circman_redis.frozen import freeze
from circman_redis.patch import merge
from circman_redis.timestamps import format_timestamp
from circman_redis.twin import standing
from circman_redis.twin.standing import Moment, Standing, Watch
from circman_redis.twin.threshold_rule import ThresholdRule
from circman_redis.twin.thresholds import _checked, rules_in

START = datetime(2026, 11, 1, tzinfo=UTC)
HOT = ThresholdRule(name="hot", pointer="/t", comparison="greater_than", value=80.0, hysteresis=5.0)


def moment(version: int, value: object, seconds: float | None = None, **other: Any) -> Moment:
    state = {} if value is None else {"t": value}
    at = format_timestamp(START + timedelta(seconds=version if seconds is None else seconds))
    return Moment(**{"epoch": "e", "version": version, "committed_at": at, "state": freeze(state), **other})


@dataclass
class Log:
    """The state of ``plant@domain``, and what was said there."""

    rule: ThresholdRule
    domain: Any = field(default_factory=dict)
    said: list[tuple[bool, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.apply(standing.published(freeze({}), {self.rule.name: self.rule}, moment(0, None), replacing=True))

    def apply(self, patch: Any) -> bool:
        if patch is None:
            return False
        self.domain = freeze(merge(self.domain, patch))
        for event in patch["events"]:
            self.said.append((event["kind"] == "threshold_breached", event["data"].get("version", 0)))
        return True

    def decide(self, turn: standing.Turn) -> bool:
        return self.apply(standing.decided(self.domain, self.rule, turn))


@dataclass
class Observer:
    """Judges at a pace of its own, on what it knows of the log."""

    log: Log
    known: Any = None
    at: int = 0
    watch: Watch | None = None

    def __post_init__(self) -> None:
        self.watch = self.watch or Watch(self.log.rule)
        self.refresh()

    def refresh(self) -> None:
        self.known = self.log.domain

    def judge(self, moments: list[Moment]) -> None:
        if self.at == len(moments):
            return
        assert self.watch
        while True:
            turns, after = self.watch.judge(Standing.of(self.known, "hot"), moments[self.at])
            done = all(self.log.decide(turn) for turn in turns)
            if turns:
                self.refresh()
            if done:
                break
        self.watch, self.at = after, self.at + 1


def expected(values: list[float], times: list[float], rule: ThresholdRule) -> list[tuple[bool, int]]:
    """The turns, from the runs of values above the limit; versions count from 1."""
    turns, here, back = [], 0, rule.value - rule.hysteresis
    while here < len(values):
        if values[here] <= rule.value:
            here += 1
            continue
        end = next((n for n in range(here, len(values)) if values[n] <= rule.value), len(values))
        known_by = [
            n for n in range(here, end + 1) if n < len(values) and times[n] - times[here] >= rule.minimum_duration
        ]
        if not known_by:
            here = end
            continue
        first = known_by[0]
        turns.append((True, first + 1 if first == here else first))
        after = next((n for n in range(first, len(values)) if values[n] <= back), None)
        if after is None:
            break
        turns.append((False, after + 1))
        here = after + 1
    return turns


VALUES = st.lists(st.sampled_from([60.0, 75.0, 75.1, 78.0, 80.0, 80.1, 90.0]), min_size=1, max_size=25)


@given(VALUES, st.sampled_from([0.0, 2.0, 5.0]), st.sampled_from([0.0, 1.0, 3.0]), st.data())
def test_many_observers_say_what_one_would(
    values: list[float], back: float, duration: float, data: st.DataObject
) -> None:
    """However they are apart, and however old is what they know of each other."""
    rule = HOT.model_copy(update={"hysteresis": back, "minimum_duration": duration})
    gaps = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(values), max_size=len(values)))
    times = [sum(gaps[: n + 1]) for n in range(len(values))]
    moments = [moment(n + 1, value, times[n]) for n, value in enumerate(values)]
    log = Log(rule)
    observers = [Observer(log) for _ in range(data.draw(st.integers(1, 4)))]
    for who in data.draw(st.lists(st.integers(0, len(observers) - 1), max_size=60)):
        observers[who].judge(moments)
    survivor = observers[data.draw(st.integers(0, len(observers) - 1))]  # the others are killed
    for _ in values:
        survivor.judge(moments)
    assert log.said == expected(values, times, rule)


def test_one_that_begins_anew_goes_on_where_the_last_turn_was() -> None:
    """And judges what nobody judged while there was none."""
    log = Log(HOT)
    moments = [moment(n, value) for n, value in enumerate([70.0, 90.0, 70.0, 91.0, 60.0], 1)]
    first = Observer(log)
    first.judge(moments)
    first.judge(moments)
    second = Observer(log, at=Standing.of(log.domain, "hot").version)
    for _ in moments:
        second.judge(moments)
    assert log.said == [(True, 2), (False, 3), (True, 4), (False, 5)]


def test_a_breach_that_is_too_short_is_none() -> None:
    """And the time counts from its first commit, not from the first that came after another break."""
    rule = HOT.model_copy(update={"minimum_duration": 3.0})
    watch, how = Watch(rule), Standing()
    for version, value in [(1, 90.0), (2, 60.0), (3, 90.0), (5, 90.0)]:
        turns, watch = watch.judge(how, moment(version, value))
        assert turns == []
    assert watch.since == moment(3, 90.0)
    turns, _ = watch.judge(how, moment(6, 60.0))
    assert [(turn.breached, turn.moment.version, turn.since) for turn in turns] == [
        (True, 5, moment(3, 0).committed_at),
        (False, 6, ""),
    ]


def test_what_is_judged_is_not_judged_again() -> None:
    log, old = Log(HOT), Watch(HOT)
    (turn,), _ = old.judge(Standing(), moment(5, 90.0))
    assert log.decide(turn)
    assert not log.decide(turn)
    how = Standing.of(log.domain, "hot")
    assert old.judge(how, moment(4, 60.0))[0] == []
    (earlier,), _ = old.judge(Standing(breached=True, epoch="e"), moment(4, 60.0))
    assert not log.decide(earlier)
    assert log.said == [(True, 5)]


def test_what_was_decided_by_a_commit_that_is_no_more() -> None:
    """A twin that was set back, deleted or made anew is judged as it is now; and once."""
    log = Log(HOT)
    log.decide(Watch(HOT).judge(Standing(), moment(9, 90.0))[0][0])
    how = Standing.of(log.domain, "hot")
    for one in [moment(5, 60.0), moment(0, None, epoch="", committed_at="")]:
        assert Watch(HOT).judge(how, one)[0] == []
        (turn,), _ = Watch(HOT).judge(how, one, void=True)
        assert not turn.breached
    assert log.decide(turn)
    assert not log.decide(turn)
    assert log.said == [(True, 9), (False, 0)]


def test_which_comes_after_which() -> None:
    """Within an epoch by version, among epochs by the server's clock."""
    how = Standing(breached=True, epoch="e", version=9, committed_at=moment(9, 0).committed_at)
    assert how.precedes(moment(10, 0))
    assert not how.precedes(moment(8, 0))
    assert how.precedes(moment(1, 0, seconds=20, epoch="f"))
    assert not how.precedes(moment(1, 0, seconds=2, epoch="d"))  # somebody is behind


def test_what_a_deletion_cleared_is_not_breached_by_who_is_behind() -> None:
    """Its commits came before; what is committed to the next twin comes after."""
    log = Log(HOT)
    log.decide(Watch(HOT).judge(Standing(), moment(5, 90.0))[0][0])
    gone = moment(0, None, seconds=8.5, epoch="")
    how = Standing.of(log.domain, "hot")
    log.decide(Watch(HOT).judge(how, gone, void=True)[0][0])
    how = Standing.of(log.domain, "hot")
    assert Watch(HOT).judge(how, moment(8, 90.0))[0] == []
    assert Watch(HOT).judge(how, gone)[0] == []
    assert log.decide(Watch(HOT).judge(how, moment(1, 90.0, seconds=9, epoch="f"))[0][0])
    assert log.said == [(True, 5), (False, 0), (True, 1)]


@pytest.mark.parametrize("value", ["x" * 3000, [[]] * 40, {str(n): {} for n in range(40)}])
def test_a_long_value_is_not_told(value: object) -> None:
    """An event has limits, as the state has; and the value stands deeper there."""
    other = HOT.model_copy(update={"comparison": "not_equal", "value": 1, "hysteresis": 0.0})
    log = Log(other)
    log.decide(Watch(other).judge(Standing(), moment(1, value))[0][0])
    data = log.domain["events"][0]["data"]
    assert (data["value_omitted"], "value" in data) == (True, False)


def test_a_breach_that_does_not_count_yet_ends_with_its_epoch() -> None:
    rule = HOT.model_copy(update={"minimum_duration": 1.0})
    _, watch = Watch(rule).judge(Standing(), moment(1, 90.0))
    assert watch.since
    turns, watch = watch.judge(Standing(), moment(1, 60.0, seconds=100, epoch="f"))
    assert (turns, watch.since) == ([], None)


def test_the_event_says_it_all() -> None:
    log = Log(HOT)
    turns, _ = Watch(HOT).judge(Standing(), moment(7, 90.0))
    assert log.decide(turns[0])
    at = moment(7, 0).committed_at
    rule = {"threshold": "hot", "pointer": "/t", "comparison": "greater_than", "limit": 80.0, "severity": "warning"}
    commit = {"epoch": "e", "version": 7, "committed_at": at}
    assert log.domain["events"] == [
        {"kind": "threshold_breached", "data": {**rule, "value": 90.0, "since": at, **commit}}
    ]
    assert log.domain["thresholds"] == {"hot": {"breached": True, **commit}}


def test_a_value_that_went_away_clears() -> None:
    """And the event has no value."""
    log = Log(HOT)
    log.decide(Watch(HOT).judge(Standing(), moment(1, 90.0))[0][0])
    log.decide(Watch(HOT).judge(Standing.of(log.domain, "hot"), moment(2, None))[0][0])
    assert log.said == [(True, 1), (False, 2)]
    assert "value" not in log.domain["events"][0]["data"]


def test_another_rule_of_the_name() -> None:
    """A turn that was judged by the old one is none; how it stands is kept, and judged by the new one."""
    log = Log(HOT)
    log.decide(Watch(HOT).judge(Standing(), moment(5, 90.0))[0][0])
    (old,), _ = Watch(HOT).judge(Standing.of(log.domain, "hot"), moment(6, 60.0))
    cooler = HOT.model_copy(update={"value": 95.0})
    log.apply(standing.published(log.domain, {"hot": cooler}, moment(6, 0), replacing=True))
    assert not log.decide(old)
    how = Standing.of(log.domain, "hot")
    assert (how.breached, how.version) == (True, 5)
    log.rule = cooler
    (turn,), _ = Watch(cooler).judge(how, moment(6, 90.0))
    assert log.decide(turn)
    assert log.said == [(True, 5), (False, 6)]


def test_rules_that_are_there() -> None:
    """Are left alone: by whoever adds, and by whoever sets the same."""
    log = Log(HOT)
    other = HOT.model_copy(update={"value": 95.0})
    whole = HOT.model_copy(update={"value": 80})
    for rule, replacing in [(other, False), (HOT, True), (whole, True)]:
        assert standing.published(log.domain, {"hot": rule}, moment(1, 0), replacing=replacing) is None
    assert list(rules_in(log.domain)) == [HOT]


def test_to_remove_a_rule_clears_it() -> None:
    log = Log(HOT)
    assert standing.removed(log.domain, "cold") is None
    log.decide(Watch(HOT).judge(Standing(), moment(1, 90.0))[0][0])
    log.apply(standing.removed(log.domain, "hot"))
    assert log.said == [(True, 1), (False, 0)]
    assert log.domain["rules"] == log.domain["thresholds"] == {}
    assert log.domain["events"][0]["data"]["why"] == "removed"
    again = Log(HOT)
    again.apply(standing.removed(again.domain, "hot"))
    assert again.said == []


def test_junk_in_the_place_of_a_rule() -> None:
    """Is none, for everybody, and can be removed."""
    domain = freeze({"rules": {"hot": {"pointer": "no pointer"}, "cold": 3}})
    assert list(rules_in(domain)) == []
    assert standing.removed(domain, "hot") is not None


def test_rules_that_cannot_be_kept() -> None:
    nothing = HOT.model_copy(update={"comparison": "equal", "hysteresis": 0.0, "value": None})
    with pytest.raises(UsageError, match="'hot': a null"):
        _checked([nothing])
    with pytest.raises(UsageError, match="a name of its own"):
        _checked([HOT, replace_name(HOT)])


def replace_name(rule: ThresholdRule) -> ThresholdRule:
    return rule.model_copy(update={"value": 1.0})
