"""Pure: when a threshold is breached and when that is over, from one commit of the twin to the next.

Any number of observers judge the same commits by the same rules, each at its own pace. What was decided stands in
Redis, with the commit that decided it; whoever comes later, or is behind, finds that there and has nothing to add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self

from circman_redis.codec import encode
from circman_redis.events import FrozenState
from circman_redis.frozen import EMPTY, thaw
from circman_redis.patch import MISSING, resolve
from circman_redis.results import State
from circman_redis.timestamps import parse_timestamp
from circman_redis.twin.domain import Kind, said
from circman_redis.twin.threshold_rule import ThresholdRule, alike

LONGEST_VALUE = 2000
"""Bytes of JSON of a value that an event tells."""

MOST_NESTED = 32
"""Objects and arrays in it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The twin as one commit left it.

    Attributes:
        epoch: the twin's; empty where it was deleted.
        version: the twin's.
        committed_at: when it was committed (ISO 8601, the server's clock); of a twin that was deleted, a time at which
            there was none; empty where none is known.
        state: the state.
    """

    epoch: str
    version: int
    committed_at: str
    state: FrozenState


@dataclass(frozen=True, slots=True)
class Standing:
    """How a threshold stands, as it was decided last.

    Attributes:
        breached: whether it is breached.
        epoch: of the commit of the twin by which that was decided.
        version: of that commit; commits up to it are judged.
        committed_at: when that was committed, or there was no twin; empty where nothing was decided yet.
    """

    breached: bool = False
    epoch: str = ""
    version: int = 0
    committed_at: str = ""

    @classmethod
    def of(cls, domain: FrozenState, name: str) -> Self:
        """That of a threshold in the state of ``plant@domain``."""
        facts = domain.get("thresholds", EMPTY).get(name, EMPTY)
        return cls(**{one: facts[one] for one in cls.__dataclass_fields__ if one in facts})

    def precedes(self, moment: Moment) -> bool:
        """Whether the moment is not judged yet."""
        if self.epoch != moment.epoch:
            return moment.committed_at > self.committed_at
        return moment.version > self.version


@dataclass(frozen=True, slots=True)
class Turn:
    """A threshold is to be breached, or cleared.

    Attributes:
        breached: which of the two.
        on: how it stood, when that was judged.
        moment: the commit that decides it.
        since: when the first of the commits was made that breached it without a break; empty for one that is cleared.
    """

    breached: bool
    on: Standing
    moment: Moment
    since: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """What one observer knows of one threshold, beside how it stands.

    Attributes:
        rule: its rule.
        since: the first of the commits that breach the rule without a break, while it does not count yet.
        last: the last of them.
    """

    rule: ThresholdRule
    since: Moment | None = None
    last: Moment | None = None

    def judge(self, standing: Standing, moment: Moment, *, void: bool = False) -> tuple[list[Turn], Watch]:
        """What the next commit means: the turns that the threshold takes, and what is known from then on.

        Args:
            standing: how the threshold stands.
            moment: the commit.
            void: the commit by which it stands so is no more: the twin was set back, or made anew.
        """
        mine = self._up_to_date(standing, moment)
        if not (void or standing.precedes(moment)):
            return [], mine
        value = resolve(moment.state, self.rule.pointer, MISSING)
        breached = self.rule.is_breached(value, standing.breached)
        if standing.breached:
            return ([] if breached else [Turn(False, standing, moment)]), mine._reset()
        if mine.since and mine.last and mine.has_lasted(moment.committed_at):
            turns = [Turn(True, standing, mine.last, mine.since.committed_at)]
            # It counts from then on, and is over only when the value has come back far enough.
            over = not self.rule.is_breached(value, True)
            return ([*turns, Turn(False, standing, moment)] if over else turns), mine._reset()
        if not breached:
            return [], mine._reset()
        mine = replace(mine, since=mine.since or moment, last=moment)
        if self.rule.minimum_duration:
            return [], mine
        return [Turn(True, standing, moment, moment.committed_at)], mine._reset()

    def has_lasted(self, until: str) -> bool:
        """Whether the breach that is under way counts at a time by the server's clock (ISO 8601)."""
        if self.since is None or not until:
            return False
        return parse_timestamp(until) - parse_timestamp(self.since.committed_at) >= self._duration

    @property
    def _duration(self) -> timedelta:
        return timedelta(seconds=self.rule.minimum_duration)

    def _up_to_date(self, standing: Standing, moment: Moment) -> Watch:
        if self.since is None:
            return self
        is_judged = not standing.precedes(self.since)
        return self._reset() if is_judged or self.since.epoch != moment.epoch else self

    def _reset(self) -> Watch:
        return Watch(self.rule)


def decided(domain: FrozenState, rule: ThresholdRule, turn: Turn) -> State | None:
    """The merge patch for the state of ``plant@domain`` by which a threshold takes a turn, and says so.

    Args:
        domain: that state, as it is now.
        rule: the rule that the turn was judged by.
        turn: what an observer came to.

    Returns:
        None where somebody else decided that already, or more, or the rule is another one by now.
    """
    standing = Standing.of(domain, rule.name)
    if standing.breached is turn.breached or not (standing == turn.on or standing.precedes(turn.moment)):
        return None
    if not same_rule(stored_rule(domain, rule.name), rule):
        return None
    facts = {"epoch": turn.moment.epoch, "version": turn.moment.version, "committed_at": turn.moment.committed_at}
    kind: Kind = "threshold_breached" if turn.breached else "threshold_cleared"
    seen = _seen(resolve(turn.moment.state, rule.pointer, MISSING))
    since = {"since": turn.since} if turn.since else {}
    return {
        "thresholds": {rule.name: {"breached": turn.breached, **facts}},
        "events": [said(kind, {"threshold": rule.name, **rule_facts(rule), **seen, **since, **facts})],
    }


def published(
    domain: FrozenState, rules: Mapping[str, ThresholdRule], head: Moment, *, replacing: bool
) -> State | None:
    """The merge patch that adds rules; each is judged from the twin's newest commit on.

    Args:
        domain: the state of ``plant@domain``.
        rules: those that are to be there, by name.
        head: the twin's newest commit.
        replacing: whether a rule that is there already, and another one, is replaced.

    Returns:
        None where there is nothing to add.
    """
    there = domain.get("rules", EMPTY)
    new = {
        name: rule
        for name, rule in rules.items()
        if name not in there or (replacing and not same_rule(stored_rule(domain, name), rule))
    }
    if not new:
        return None
    start = {"epoch": head.epoch, "version": max(head.version - 1, 0), "committed_at": ""}
    return {
        "rules": {name: rule_json(rule) for name, rule in new.items()},
        "thresholds": {name: {"breached": Standing.of(domain, name).breached, **start} for name in new},
        "events": [],
    }


def removed(domain: FrozenState, name: str) -> State | None:
    """The merge patch that removes a rule; a threshold that is breached is cleared.

    Returns:
        None where there is no such rule.
    """
    rule = stored_rule(domain, name)
    if name not in domain.get("rules", EMPTY):
        return None
    told = [said("threshold_cleared", {"threshold": name, **(rule_facts(rule) if rule else {}), "why": "removed"})]
    breached = Standing.of(domain, name).breached
    return {"rules": {name: None}, "thresholds": {name: None}, "events": told if breached else []}


def stored_rule(domain: FrozenState, name: str) -> ThresholdRule | None:
    """A rule as it stands in the state of ``plant@domain``; None where there is none, or somebody wrote junk there."""
    facts = domain.get("rules", EMPTY).get(name)
    if not isinstance(facts, Mapping):
        return None
    try:
        return ThresholdRule.model_validate({**thaw(facts), "name": name})
    except ValueError:  # pydantic's is one
        return None


def rule_json(rule: ThresholdRule) -> State:
    """A rule as it stands there."""
    return {**rule.model_dump(exclude={"name", "value"}), "value": thaw(rule.value)}


def _seen(value: Any) -> State:
    """What an event says of a value: an event has limits of its own, and the value stands deeper there."""
    if value is MISSING:
        return {}
    text = encode(value, what="value", root="any")
    fits = len(text) <= LONGEST_VALUE and text.count(b"{") + text.count(b"[") <= MOST_NESTED
    return {"value": thaw(value)} if fits else {"value_omitted": True}


def rule_facts(rule: ThresholdRule) -> dict[str, Any]:
    """What an event says of the rule."""
    facts = rule_json(rule)
    return {
        "pointer": facts["pointer"],
        "comparison": facts["comparison"],
        "limit": facts["value"],
        "severity": facts["severity"],
    }


def same_rule(one: ThresholdRule | None, other: ThresholdRule) -> bool:
    """Whether two rules are the same: 1 is 1.0, but not true."""
    return one is not None and one.name == other.name and alike(rule_json(one), rule_json(other))
