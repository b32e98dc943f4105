"""What the roles are made of, without a twin."""

from __future__ import annotations

from typing import Any

import pytest

from circman_redis.errors import StateValidationError, UsageError, Violation
from circman_redis.patch import merge
from circman_redis.twin.roles import RESTOCK, ROLES, STOCK, next_hour, short_of
from circman_redis.twin.threshold_rule import ThresholdRule
from circman_redis.twin.weather import measured_hours
from circman_redis.twin.worker import WorkerConfig

HOURS = [{"measured_at": f"{n}"} for n in range(3)]


@pytest.mark.parametrize(
    ("measured_at", "wanted"),
    [("0", "1"), ("1", "2"), ("2", "0"), (None, "0"), ("nothing", "0"), (7, "0"), ([], "0"), ({"a": 1}, "0")],
)
def test_the_next_hour(measured_at: object, wanted: str) -> None:
    """From wherever the last one got to; and from the beginning again."""
    assert next_hour(HOURS, measured_at)["measured_at"] == wanted


def test_the_measured_hours_have_each_their_own_time() -> None:
    """So none of them is a dead end."""
    hours = measured_hours()
    seen = [next_hour(hours, hour["measured_at"]) for hour in hours]
    assert seen == [*hours[1:], hours[0]]


def refusal(*violations: Violation) -> StateValidationError:
    return StateValidationError(list(violations))


def below(pointer: str, rule: dict[str, Any] | None = None) -> Violation:
    return Violation(pointer, rule or {"minimum": 0}, -3)


def test_what_is_not_in_stock() -> None:
    said = refusal(below("/materials/glass/inventory"), below("/materials/film/inventory"))
    assert short_of(said, {"film": 1, "glass": 2, "wafer": 3}) == ["glass", "film"]


@pytest.mark.parametrize(
    "other",
    [
        below("/materials/wafer/inventory"),  # was not taken
        below("/materials/glass/inventory", {"maximum": 0}),
        below("/materials/glass/inventory", {"type": "integer"}),
        below("/production_line/temperature"),
    ],
)
def test_what_is_wrong_otherwise_is_raised(other: Violation) -> None:
    """Also where something is not in stock as well."""
    with pytest.raises(StateValidationError):
        short_of(refusal(below("/materials/glass/inventory"), other), {"glass": 2})


@pytest.mark.parametrize("role", ROLES.values(), ids=lambda role: role.name)
@pytest.mark.parametrize(
    "state",
    [
        {},
        {"production_line": {}},
        {"production_line": {"temperature": 80.0, "status": "idle"}},
        {"materials": {"glass": {"inventory": 1}}},
        {"production_line": "junk", "materials": {}},
    ],
    ids=str,
)
def test_what_a_role_needs_is_put_there_once(role: Any, state: dict[str, Any]) -> None:
    """And what is there stays as it is."""
    after = merge(state, role.missing(state))
    assert role.missing(after) == {}
    for section, there in state.items():
        for name in there if isinstance(there, dict) else ():
            assert after[section][name] == there[name]


def test_what_is_put_there() -> None:
    assert ROLES["environment"].missing({}) == ROLES["monitor"].missing({}) == ROLES["simulation"].missing({}) == {}
    assert ROLES["quality"].missing({}) == {"production_line": {"defect_rate": 0.02}}
    assert ROLES["materials"].missing({}) == {"materials": {name: {"inventory": RESTOCK} for name in STOCK}}


@pytest.mark.parametrize(
    "given",
    [{"roles": ()}, {"roles": ("nothing",)}, {"rate": 0}, {"rate": -1.0}, {"rate": float("nan")}, {"rate": 1e7}],
)
def test_a_worker_that_is_none(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="use "):
        WorkerConfig(**{"name": "a", "roles": ("monitor",), **given})


def test_a_worker_that_is_one() -> None:
    rule = ThresholdRule(name="hot", pointer="/t", comparison="greater_than", value=80.0)
    assert WorkerConfig("a", tuple(ROLES), rules=(rule,)).ttl == 10.0
