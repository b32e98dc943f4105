"""Domain events in words."""

from __future__ import annotations

from typing import Any

import pytest

from circman_redis.frozen import freeze
from circman_redis.twin.domain import KINDS, DomainEvent
from circman_redis.view.happenings import happening_line, in_words

RULE = {"threshold": "hot", "pointer": "/t", "comparison": "greater_than", "limit": 80.0, "severity": "critical"}
WORKER = {"worker": "line-1", "roles": ["production", "quality"], "host": "h", "pid": 1, "started": "now"}

SAID = [
    ("threshold_breached", {**RULE, "value": 85.5}, "BREACHED hot (critical): /t is 85.5, over 80.0"),
    (
        "threshold_breached",
        {**RULE, "comparison": "less_than", "value": 1},
        "BREACHED hot (critical): /t is 1, under 80.0",
    ),
    (
        "threshold_breached",
        {**RULE, "comparison": "equal", "limit": "error", "value": "error"},
        'BREACHED hot (critical): /t is "error", equal to "error"',
    ),
    (
        "threshold_breached",
        {**RULE, "comparison": "not_equal", "value_omitted": True},
        "BREACHED hot (critical): /t is long, other than 80.0",
    ),
    ("threshold_cleared", {**RULE, "value": 70}, "cleared hot: /t is 70"),
    ("threshold_cleared", RULE, "cleared hot: /t is not there"),
    ("threshold_cleared", {**RULE, "why": "removed"}, "cleared hot: its rule was removed"),
    ("threshold_cleared", {"threshold": "hot", "why": "removed"}, "cleared hot: its rule was removed"),
    ("simulation_result", {"steps": 60, "runs": 20, "version": 7}, "simulated 60 steps in 20 runs from version 7 on"),
    ("simulation_result", {"steps": 60, "version": 7}, "simulated 60 steps from version 7 on"),
    ("error", {"source": "sensors", "error": "no answer"}, 'sensors fails: "no answer"'),
    ("worker_joined", WORKER, "line-1 joined, as production, quality"),
    ("worker_left", {**WORKER, "why": "vanished"}, "line-1 left: vanished"),
]


def event(kind: str, data: Any, actor: str | None = "ada") -> DomainEvent:
    return DomainEvent(kind, "plant", freeze(data), actor, "2026-11-22T14:00:00.123456Z", "e", 1, "e:1")


@pytest.mark.parametrize(("kind", "data", "wanted"), SAID)
def test_in_words(kind: str, data: dict[str, Any], wanted: str) -> None:
    assert in_words(event(kind, data)) == wanted


def test_each_kind_has_words() -> None:
    assert {kind for kind, _, _ in SAID} == set(KINDS)


@pytest.mark.parametrize("kind", [*KINDS, "nonsense"])
@pytest.mark.parametrize("data", [{}, {"n": 1}, {"steps": 1, "runs": "x", "version": []}, {"worker": 1, "roles": 3}])
def test_what_somebody_else_said_is_told_as_it_is(kind: str, data: dict[str, Any]) -> None:
    assert in_words(event(kind, data)).startswith(f"{kind} {{")


def test_a_line_has_who_and_when() -> None:
    line = happening_line(event("error", {"source": "s", "error": "x" * 1000}, actor=None))
    assert line[2] == line[5] == ":"
    assert "(nobody)  s fails: " in line
    assert len(line) < 200
