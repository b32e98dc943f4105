"""All operations in any order, against a plain Python model of a twin."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from circman_redis import NoState, StateConflict, StateManager, StateValidationError, patch
from tests.servers import Server

KEYS = st.sampled_from(["a", "b", "count", "{}", 'q"', "é", "deep"])
SCALARS = (
    st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.booleans()
    | st.none()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)
HOURS = st.integers(0, 20)
START = datetime(2026, 1, 1, tzinfo=UTC)


def moment(hour: float) -> str:
    return (START + timedelta(hours=hour)).isoformat()


class TwinMachine(RuleBasedStateMachine):
    """A twin in Redis beside a list of states in Python.

    Every state carries its own hour, so that what the server would stamp does not come in, and times may go back.
    """

    open: Callable[[], StateManager]

    def __init__(self) -> None:
        super().__init__()
        self.twin = self.open()
        self.twin.delete()
        self.twin.history_length = 4
        self.length = 4
        self.states: list[dict[str, Any]] = []
        self.kept = 0  # how many of the past are in the history
        self.epoch = ""
        self.ids: dict[str, int] = {}

    def committed(self, state: dict[str, Any]) -> None:
        if self.states:
            self.kept = min(self.kept + 1, self.length)
        self.states.append(copy.deepcopy(state))

    @property
    def state(self) -> dict[str, Any]:
        return copy.deepcopy(self.states[-1]) if self.states else {}

    @rule(document=DOCUMENTS, hour=HOURS)
    def set_state(self, document: dict[str, Any], hour: int) -> None:
        document = {**document, "timestamp": moment(hour)}
        commit = self.twin.set_state(document)
        self.committed(document)
        assert commit.version == len(self.states)

    @rule(document=DOCUMENTS, hour=HOURS)
    def update_state(self, document: dict[str, Any], hour: int) -> None:
        document = {**document, "timestamp": moment(hour)}
        self.twin.update_state(document)
        self.committed(patch.merge(self.state, document))

    @rule(documents=st.lists(DOCUMENTS, max_size=6), hour=HOURS)
    def update_many(self, documents: list[dict[str, Any]], hour: int) -> None:
        documents = [{**one, "timestamp": moment(hour)} for one in documents]
        commits = self.twin.update_many(documents)
        for one in documents:
            self.committed(patch.merge(self.state, one))
        assert [one.version for one in commits] == list(range(len(self.states) + 1))[-len(commits) :][: len(commits)]

    @rule(delta=st.integers(-1000, 1000) | st.floats(-1e6, 1e6), hour=HOURS)
    def adjust(self, delta: float, hour: int) -> None:
        number = self.state.get("count")
        if not self.states:
            with pytest.raises(NoState):
                self.twin.adjust({"/count": delta})
            return
        total = number + delta if isinstance(number, int | float) and not isinstance(number, bool) else None
        if total is None or (isinstance(total, int) and abs(total) > 2**53):
            with pytest.raises(StateValidationError):
                self.twin.adjust({"/count": delta})
            return
        self.twin.adjust({"/count": delta})
        # The stamp is the server's: taken over, as the other states have hours of their own.
        self.committed({**self.state, "count": total, "timestamp": self.twin.snapshot().timestamp})

    @rule(document=DOCUMENTS, hour=HOURS)
    def modify(self, document: dict[str, Any], hour: int) -> None:
        document = {**document, "timestamp": moment(hour)}
        before = self.state.get("timestamp")
        self.twin.modify(lambda _: document)
        if before == document["timestamp"]:  # left alone: the server stamps it
            document["timestamp"] = self.twin.snapshot().timestamp
        self.committed(document)

    @rule(document=DOCUMENTS, off=st.sampled_from([-1, 1, 7]))
    def wrong_expected_version(self, document: dict[str, Any], off: int) -> None:
        expected = len(self.states) + off
        if expected >= 0:
            with pytest.raises(StateConflict):
                self.twin.update_state(document, expected_version=expected)

    @rule(name=st.sampled_from(["one", "two", "three"]), hour=HOURS)
    def with_an_id(self, name: str, hour: int) -> None:
        commit = self.twin.update_state({"a": name, "timestamp": moment(hour)}, commit_id=name)
        assert commit.duplicate == (name in self.ids)
        if not commit.duplicate:
            self.committed(patch.merge(self.state, {"a": name, "timestamp": moment(hour)}))
            self.ids[name] = len(self.states)
        assert commit.version == self.ids[name]

    @rule(document=DOCUMENTS)
    def refused(self, document: dict[str, Any]) -> None:
        with pytest.raises(StateValidationError):
            self.twin.update_state({**document, "environment": {"humidity": 101}})

    @rule(length=st.integers(1, 8))
    def history_length(self, length: int) -> None:
        self.twin.history_length = self.length = length
        self.kept = min(self.kept, length)

    @rule()
    def clear_history(self) -> None:
        assert self.twin.clear_history() == self.kept
        self.kept = 0

    @precondition(lambda self: self.states)
    @rule()
    def delete(self) -> None:
        assert self.twin.delete() == len(self.states)
        self.states, self.kept, self.ids, self.length, self.epoch = [], 0, {}, 1000, ""

    @invariant()
    def the_state_is_the_models(self) -> None:
        snapshot = self.twin.snapshot()
        assert snapshot.version == len(self.states)
        assert patch.same(snapshot.state, self.state)
        assert patch.same(self.twin.get_current_state(), self.state)
        if self.states:
            assert self.epoch in {"", snapshot.epoch}
            self.epoch = snapshot.epoch

    @invariant()
    def the_history_is_the_models(self) -> None:
        past = self.states[:-1][len(self.states) - 1 - self.kept :] if self.states else []
        assert self.twin.get_history() == past
        versions = [entry.version for entry in self.twin.get_commits()]
        assert versions == list(range(len(self.states), len(self.states) - len(past) - bool(self.states), -1))
        oldest = len(self.states) - len(past)
        for version in range(max(1, oldest - 1), len(self.states) + 1):
            found = self.twin.get_state_at_version(version)
            assert found == (self.states[version - 1] if version >= oldest else None)

    @invariant()
    def times_are_the_models(self) -> None:
        kept = self.states[len(self.states) - 1 - self.kept :] if self.states else []
        for hour in (-1, 0, 7.5, 20, 10**6):
            wanted = [one for one in kept if datetime.fromisoformat(one["timestamp"]) <= START + timedelta(hours=hour)]
            assert self.twin.get_state_at_time(moment(hour)) == (wanted[-1] if wanted else None)


def test_any_order_of_operations_is_what_a_list_of_states_would_do(server: Server, twin_id: str) -> None:
    """Versions, states, history and look-ups agree after each step."""
    with StateManager(twin_id, url=server.url) as twin:
        machine = type("Machine", (TwinMachine,), {"open": staticmethod(lambda: twin)})
        run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
