"""A host application that was written for a state manager of its own process, and runs on ours without a change."""

import json
import multiprocessing
import tempfile
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from circman_redis import StateManager
from circman_redis.twin import DigitalTwin, HumanInterface

TWIN = "host"
State = dict[str, Any]


class InProcess:
    """What such an application has to begin with: one object, a lock, a deque. It ends with its process."""

    only: "InProcess | None" = None
    lock = threading.RLock()
    current: State
    past: deque[State]

    def __new__(cls) -> "InProcess":
        with cls.lock:
            if cls.only is None:
                cls.only = super().__new__(cls)
                cls.only.current, cls.only.past = {}, deque(maxlen=1000)
            return cls.only

    def set_state(self, state: State) -> None:
        with self.lock:
            if self.current:
                self.past.append(self.current)
            self.current = {"timestamp": datetime.now(UTC).isoformat()} | deepcopy(state)

    def update_state(self, updates: State) -> None:
        with self.lock:
            before = {name: value for name, value in self.current.items() if name != "timestamp"}
            self.set_state(merged(before, updates))

    def get_current_state(self) -> State:
        return deepcopy(self.current)

    def get_history(self, limit: int | None = None) -> list[State]:
        with self.lock:
            return deepcopy(list(self.past)[-limit if limit else 0 :])

    def get_state_at_time(self, timestamp: str) -> State | None:
        then = datetime.fromisoformat(timestamp)
        newest_first = [*self.get_history(), self.get_current_state()][::-1]
        return next((one for one in newest_first if datetime.fromisoformat(one["timestamp"]) <= then), None)

    def validate_state(self, state: State) -> tuple[bool, str]:
        return (True, "State is valid") if "timestamp" in state else (False, "timestamp is missing")

    def export_state(self, file_path: Path) -> bool:
        return bool(file_path.write_text(json.dumps(self.current)))

    def import_state(self, file_path: Path) -> bool:
        self.set_state(json.loads(file_path.read_text()))
        return True

    def clear_history(self) -> None:
        self.past.clear()


def merged(state: State, updates: State) -> State:
    return state | {k: merged(state.get(k, {}), v) if isinstance(v, dict) else v for k, v in updates.items()}


def work_a_shift(states: InProcess | StateManager, folder: Path) -> State:
    """The application. It knows what a state manager does, and not which one it has."""

    def at(hour: int) -> str:
        return f"2026-03-02T{hour:02}:00:00+00:00"

    states.set_state({"timestamp": at(5), "system_status": "idle", "materials": {"glass": {"inventory": 40}}})
    states.clear_history()
    states.update_state({"timestamp": at(6), "system_status": "running", "production_line": {"temperature": 61.5}})
    states.update_state({"timestamp": at(8), "materials": {"glass": {"inventory": 32}}})
    valid, _ = states.validate_state(states.get_current_state())
    states.export_state(folder / "eight.json")
    states.update_state({"timestamp": at(9), "system_status": "error", "production_line": {"temperature": 95.0}})
    states.import_state(folder / "eight.json")  # back to how it was at eight
    return {
        "valid": valid,
        "now": states.get_current_state(),
        "at seven": states.get_state_at_time(at(7)),
        "the last two before": states.get_history(2),
        "past states": len(states.get_history()),
    }


def past_states(kind: type[InProcess | StateManager], *arguments: str) -> int:
    """How many past states are known to the process that asks."""
    return len(kind(*arguments).get_history())


def main() -> None:
    StateManager(TWIN, actor="host").delete()  # what a run that was cut short may have left

    # The application is the same; all that is another is the line that makes its state manager.
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        report = work_a_shift(InProcess(), Path(one))
        assert work_a_shift(StateManager(TWIN), Path(other)) == report
    print(f"the same report on both: {json.dumps(report['now'])}, and {report['past states']} states before")

    # What differs: any process may be on the same twin, and the past outlives the process that made it.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as elsewhere:
        kept = elsewhere.submit(past_states, InProcess).result()
        shared = elsewhere.submit(past_states, StateManager, TWIN).result()
    assert (kept, shared) == (0, report["past states"])
    print(f"another process knows of {kept} past states with the one, and of {shared} with the other")

    # And rules bind every writer, where a dict takes what it is given. Of the parts around the state it may use all,
    # some, or none: here a source of data, and an operator who is answered.
    with StateManager(TWIN) as states, DigitalTwin(state_manager=states) as twin:
        twin.register_source("oven", lambda: {"production_line": {"temperature": 62.0}})
        twin.update()
        desk = HumanInterface(twin)
        for pointer, value in {"/production_line/temperature": 58.5, "/materials/glass/inventory": -3}.items():
            print(desk.set_target(pointer, value, operator="anna"))
        assert [commit.actor for commit in states.get_commits(2)] == ["anna", "host"]
        assert twin.get_current_state()["materials"]["glass"]["inventory"] == 32
        assert states.verify() == []
        states.delete()


if __name__ == "__main__":
    main()
