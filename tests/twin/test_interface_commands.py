"""Commands of a person, answered with what was done: accepted, refused, said by two at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from circman_redis import MISSING, StateManager, UsageError, patch
from circman_redis.twin.commands import CommandResult
from circman_redis.twin.interface import HumanInterface
from tests.servers import Server
from tests.twin.faces import Faces, faces_of

pytestmark = pytest.mark.bundled_first

STATE = {
    "production_line": {"status": "running", "production_rate": 60.0},
    "materials": {"glass": {"inventory": 7}},
    "cells": [{"volts": 0.5}, {"volts": 0.6}],
    "note": "hi",
}
RATE = "/production_line/production_rate"


@pytest.fixture(params=["sync", "async"])
def faces(request: pytest.FixtureRequest) -> Iterator[Faces]:
    with faces_of(request.param) as made:
        yield made


@pytest.fixture
def writer(server: Server, twin_id: str) -> Iterator[StateManager]:
    """Somebody else who looks at the twin, and writes to it."""
    with StateManager(twin_id, client=server.client()) as one:
        one.set_state(STATE)
        yield one


@pytest.fixture
def interface(faces: Faces, server: Server, twin_id: str, writer: StateManager) -> Any:
    return faces.of(faces.manager(twin_id, url=server.url))


def assert_unchanged(writer: StateManager, answer: CommandResult, *words: str) -> None:
    """That it was not done, and says why."""
    assert answer.done is False
    assert (answer.version, answer.position, answer.before, answer.commit_id) == (None, None, MISSING, None)
    for word in words:
        assert word in str(answer.error)
    assert str(answer).startswith("not done: ")
    json.dumps(answer.to_json(), allow_nan=False)
    assert writer.snapshot().version == 1


def test_what_was_done(interface: Any, writer: StateManager) -> None:
    """One merge of the value, by the operator; the rest of the state keeps its bytes."""
    answer = interface.set_target(RATE, 75, operator="Änne")
    snapshot = writer.snapshot()
    assert answer == CommandResult(True, RATE, 75, "Änne", 60.0, 2, snapshot.position)
    assert (snapshot.actor, snapshot.op) == ("Änne", "merge")
    (entry,) = writer.get_commits(1)
    assert entry.patch == {"production_line": {"production_rate": 75}, "timestamp": snapshot.timestamp}
    assert str(answer) == f"done: {RATE} = 75 by Änne, version 2, 60.0 before"
    assert answer.to_json()["before"] == 60.0


def test_objects_on_the_way_are_made(interface: Any, writer: StateManager) -> None:
    answer = interface.set_target("/plan/a~1b/shift", "night", operator="anna")
    assert (answer.done, answer.before) == (True, MISSING)
    assert "before" not in answer.to_json()
    assert "nothing before" in str(answer)
    assert writer.get_current_state()["plan"] == {"a/b": {"shift": "night"}}


def test_on_a_twin_without_a_state(faces: Faces, server: Server) -> None:
    interface = faces.of(faces.manager("new-one", url=server.url))
    answer = interface.set_target(RATE, 5.0, operator="anna")
    assert (answer.done, answer.before, answer.version) == (True, MISSING, 1)
    assert interface.get_current_state()["production_line"] == {"production_rate": 5.0}


def test_through_an_array(interface: Any, writer: StateManager) -> None:
    """By the index of an item that is there; the others stay."""
    answer = interface.set_target("/cells/1/volts", 0.7, operator="anna")
    assert (answer.done, answer.before) == (True, 0.6)
    assert interface.set_target("/cells/0", "out", operator="anna").before == {"volts": 0.5}
    assert writer.get_current_state()["cells"] == ["out", {"volts": 0.7}]


def test_an_object_takes_the_place_of_one(interface: Any, writer: StateManager) -> None:
    answer = interface.set_target("/materials", {"steel": {"inventory": 1}}, operator="anna")
    assert answer.before == {"glass": {"inventory": 7}}
    assert writer.get_current_state()["materials"] == {"steel": {"inventory": 1}}


def test_the_same_value_is_a_commit_too(interface: Any, writer: StateManager) -> None:
    """The operator confirmed it."""
    answer = interface.set_target(RATE, 60.0, operator="anna")
    assert (answer.done, answer.before, answer.version) == (True, 60.0, 2)
    assert writer.snapshot().actor == "anna"


# --- refused -----------------------------------------------------------------------------------------------------


def test_the_rules_refuse(interface: Any, writer: StateManager) -> None:
    answer = interface.set_target(RATE, -1, operator="anna")
    assert_unchanged(writer, answer, RATE, "minimum")
    (violation,) = answer.violations
    assert (violation.pointer, violation.value) == (RATE, -1)
    assert answer.to_json()["violations"][0]["pointer"] == RATE


@pytest.mark.parametrize(
    ("pointer", "word"),
    [
        ("", "the whole state is no target"),
        ("production_line", "JSON Pointer"),
        ("/a~2", "JSON Pointer"),
        (7, "is text"),
        (None, "is text"),
        (["a"], "is text"),
        ("/note/x", "/note is 'hi'"),
        (f"{RATE}/x/y", f"{RATE} is 60.0"),
        ("/cells/2", "/cells is an array of 2"),
        ("/cells/-", "/cells is an array of 2"),
        ("/cells/01/volts", "/cells is an array of 2"),
        ("/cells/0/volts/x", "/cells/0/volts is 0.5"),
    ],
)
def test_a_pointer_that_leads_nowhere(interface: Any, writer: StateManager, pointer: Any, word: str) -> None:
    assert_unchanged(writer, interface.set_target(pointer, 1, operator="anna"), word)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "null cannot be set"),
        ({"a": {"b": None}}, "value at /a/b: null cannot be set"),
        (float("nan"), "NaN"),
        ({"a": float("inf")}, "/a"),
        (object(), "no JSON form"),
        ({1: 2}, "not a string"),
        ("\ud800", "surrogate"),
        (2**70, "64 bits"),
        ("x" * 2_000_000, "over the limit"),
    ],
)
def test_a_value_that_cannot_be_set(interface: Any, writer: StateManager, value: Any, word: str) -> None:
    assert_unchanged(writer, interface.set_target("/plan", value, operator="anna"), word)


def test_nulls_in_an_array_are_values(interface: Any, writer: StateManager) -> None:
    assert interface.set_target("/plan", [None, {"a": None}], operator="anna").done
    assert writer.get_current_state()["plan"] == [None, {"a": None}]


class Checked(BaseModel):
    """A rule that only Python can check."""

    low: int
    high: int

    @model_validator(mode="after")
    def _ordered(self) -> Checked:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


def test_checks_that_only_python_can_make(faces: Faces, server: Server) -> None:
    manager = faces.manager("checked", url=server.url, model=Checked)
    faces.do(manager.set_state, {"low": 1, "high": 3})
    answer = faces.of(manager).set_target("/low", 9, operator="anna")
    assert answer.done is False
    assert "low is above high" in str(answer.error)
    assert answer.violations
    assert faces.of(manager).set_target("/low", 2, operator="anna").before == 1


@pytest.mark.parametrize("operator", ["", " ", None, 7, "x" * 129, "ä" * 65, "a\nb", "\ud800"])
def test_an_operator_is_required(interface: Any, writer: StateManager, operator: Any) -> None:
    """And an id has to be one: these are the program's mistakes, not the operator's."""
    with pytest.raises(UsageError, match="operator="):
        interface.set_target(RATE, 1, operator=operator)
    with pytest.raises(UsageError, match="operator="):
        interface.set_target(RATE, 1)
    if operator is not None:
        with pytest.raises(UsageError, match="commit_id="):
            interface.set_target(RATE, 1, operator="anna", commit_id=operator)
    assert writer.snapshot().version == 1


def test_a_closed_manager(faces: Faces, server: Server, twin_id: str, writer: StateManager) -> None:
    manager = faces.manager(twin_id, url=server.url)
    interface = faces.of(manager)
    faces.do(manager.close)
    assert_unchanged(writer, interface.set_target(RATE, 1, operator="anna"), "is closed")


def test_a_damaged_twin(interface: Any, writer: StateManager) -> None:
    writer.client.set(writer.keys.state, '{"written":"by something else"}')
    answer = interface.set_target(RATE, 1, operator="anna")
    assert answer.done is False
    assert "repair" in str(answer.error) or "something else" in str(answer.error)


# --- two operators -----------------------------------------------------------------------------------------------


def test_two_operators_at_once(faces: Faces, server: Server, twin_id: str, writer: StateManager) -> None:
    """On the same place and beside it: each answer's `before` is what the very version before it had."""

    def set_twenty(operator: str) -> list[CommandResult]:
        with StateManager(twin_id, client=server.client()) as manager:
            own = HumanInterface(manager)
            answers = []
            for number in range(10):
                answers.append(own.set_target("/plan/rate", f"{operator}-{number}", operator=operator))
                answers.append(own.set_target(f"/plan/{operator}", number, operator=operator))
            return answers

    with ThreadPoolExecutor() as pool:
        told = [answer for answers in pool.map(set_twenty, ["anna", "bert", "carl"]) for answer in answers]
    assert all(answer.done for answer in told)
    assert sorted(answer.version for answer in told if answer.version) == list(range(2, 62))
    entries = {entry.version: entry for entry in writer.get_commits()}
    for answer in told:
        assert answer.version
        entry, earlier = entries[answer.version], entries[answer.version - 1]
        assert entry.actor == answer.operator
        assert patch.resolve(entry.state, answer.pointer) == answer.value
        assert patch.resolve(earlier.state, answer.pointer, MISSING) == answer.before
    assert faces.of(faces.manager(twin_id, url=server.url)).get_current_state()["plan"].keys() == {
        "rate",
        "anna",
        "bert",
        "carl",
    }
