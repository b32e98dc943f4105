"""Compact history, as a manager has it: an option per twin, that no look-up tells."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from circman_redis import StateManager, UsageError
from tests.contract.conftest import Managers

MATERIALS = {f"material {n}": {"inventory": n, "unit": "kg"} for n in range(20)}


def written(twin: StateManager, versions: int = 40) -> StateManager:
    """A few sets and many merges, at times that are told."""
    for n in range(1, versions + 1):
        state = {"n": n, "timestamp": f"2026-01-01T00:{n:02}:00Z"}
        if n in {1, 7, 25}:
            twin.set_state({**state, "materials": MATERIALS})
        else:
            twin.update_state({**state, "materials": {"material 3": {"inventory": n}}, "note": n if n % 3 else None})
    return twin


def seen(twin: StateManager) -> list[Any]:
    """All that can be looked up."""
    history = twin.state_history
    return [
        twin.get_history(),
        twin.get_history(limit=7),
        [list(history), history[3:9], history[0], history[-2], len(history)],
        [twin.get_state_at_version(version) for version in range(43)],
        [twin.get_state_at_time(f"2026-01-01T00:{n:02}:30Z") for n in range(0, 50, 3)],
        [(one.version, one.op, one.patch, one.state) for one in twin.get_commits()],
        [(one.version, one.state) for one in twin.get_commits(limit=5, before=30)],
        twin.diff(3),
        twin.diff(5, 18),
        [(event.version, event.state) for event in twin.subscribe(since=2, timeout=0.05)],
    ]


def compact_entries(raw: redis.Redis, twin: StateManager) -> int:
    return sum(b',"inverse":' in text for text in raw.lrange(twin.keys.history, 0, -1))


def test_a_compact_history_is_the_full_one(open_twin: Managers, manager: Managers, raw: redis.Redis) -> None:
    """By every call that reads it; it only takes less room."""
    with open_twin(history="compact") as twin, manager("full", client=raw) as full:
        assert (twin.history, twin.config.history) == ("compact", "compact")
        assert (full.history, full.config.history) == ("full", "full")
        written(twin)
        written(full)
        assert (compact_entries(raw, twin), compact_entries(raw, full)) == (35, 0)
        assert seen(twin) == seen(full)
        assert twin.verify() == full.verify() == []
        assert raw.hget(full.keys.meta, "history") is None
        for index in (39, -40):
            with pytest.raises(IndexError):
                twin.state_history[index]


def test_the_history_is_one_round_trip(open_twin: Managers, raw: redis.Redis) -> None:
    """In both forms, whatever it takes inside the server."""
    with open_twin(history="compact") as twin:
        written(twin)
        for form, command in (("compact", "cmdstat_evalsha_ro"), ("full", "cmdstat_lrange")):
            twin.history = form
            twin.clear_history()
            written(twin, 3)
            twin.get_history()  # the script is there from now on
            for read in (twin.get_history, lambda: twin.state_history[-1], lambda: twin.state_history[:2]):
                raw.config_resetstat()
                read()
                found = raw.info("commandstats")
                assert found[command]["calls"] == 1
                assert "cmdstat_evalsha_ro" not in found or command == "cmdstat_evalsha_ro"


def test_it_is_changed_while_it_is_used(open_twin: Managers, other_process: Managers, raw: redis.Redis) -> None:
    """By whoever asks for another, for what is superseded from then on; entries of both forms stand together."""
    with open_twin(history="full") as twin, other_process() as other:
        written(other, 10)
        assert open_twin(history="compact") is twin
        assert twin.history == "compact"
        written(other, 10)
        assert compact_entries(raw, twin) == 8
        # The other one learns of it by what it finds.
        assert other.get_history() == twin.get_history() == other.get_history()
        assert other.state_history[-1] == twin.get_state_at_version(19)
        other.history = "full"
        written(twin, 5)
        assert compact_entries(raw, twin) == 8
        assert twin.get_history() == other.get_history()
        other.set_history("compact")
        assert twin.config.history == "compact"
        assert twin.verify() == []


def test_a_twin_that_is_made_again_is_compact_again(open_twin: Managers, raw: redis.Redis) -> None:
    """As with the length: it is asked for when the twin is opened."""
    with open_twin(history="compact") as twin:
        written(twin, 5)
        twin.delete()
        written(twin, 5)
        assert compact_entries(raw, twin) == 4


def test_exports_trims_and_clears_go_on_as_ever(open_twin: Managers, tmp_path: Any) -> None:
    """With entries that need those above them, and not those below."""
    with open_twin(history="compact", results=tmp_path) as twin:
        before = written(twin).get_history()
        twin.history_length = 9
        assert twin.get_history() == before[-9:]
        assert twin.state_history[0] == before[-9]
        twin.export_state(tmp_path / "state.json")
        twin.import_state(tmp_path / "state.json")
        twin.adjust({"/n": 1})
        assert [state["n"] for state in twin.get_history(limit=3)] == [39, 40, 40]
        assert twin.clear_history() == 9
        assert twin.get_history() == []
        assert twin.verify() == []


def test_only_two_forms_are_known(open_twin: Managers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an argument, as a property, in the environment."""
    with pytest.raises(UsageError, match="history='zip'"):
        open_twin(history="zip")
    with open_twin() as twin, pytest.raises(UsageError, match="history='zip': use one of full, compact"):
        twin.history = "zip"
    monkeypatch.setenv("CIRCMAN_HISTORY", "zip")
    with pytest.raises(UsageError, match="CIRCMAN_HISTORY"):
        open_twin()
    monkeypatch.setenv("CIRCMAN_HISTORY", "compact")
    with open_twin() as twin:
        assert twin.history == "compact"
