"""audit: a history proved, or not, with an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from circman_redis import Journal, StateManager
from tests.cli.conftest import Run, value


@pytest.fixture
def log(tmp_path: Path, twin: StateManager) -> Path:
    """Of a twin of three commits, the last two of them logged."""
    twin.set_state({"n": 0}, commit_id="start")
    with Journal(tmp_path / "client.log") as journal:
        for commit_id in ("a", "b"):
            with journal.commit(commit_id, op="adjust") as note:
                note(twin.adjust({"/n": 1}, commit_id=commit_id))
    return tmp_path / "client.log"


def test_a_history_that_holds(run: Run, log: Path, twin: StateManager) -> None:
    found = value(run("audit", "--log", str(log)))
    epoch = twin.snapshot().epoch
    assert {name: one for name, one in found.items() if one} == {
        "twin": twin.twin,
        "ok": True,
        "epoch": epoch,
        "first": 1,
        "last": 3,
        "commits": 3,
        "ids": 3,
        "acknowledged": 2,
        "found": 2,
        "unlogged": 1,
    }
    assert found["findings"] == []
    assert value(run("audit"))["unlogged"] == 3


def test_a_commit_that_was_lost(run: Run, log: Path, tmp_path: Path) -> None:
    """In one of several logs."""
    other = tmp_path / "other.log"
    other.write_text('{"got":"c","version":9,"epoch":"e","committed_at":"2026-01-01T00:00:00Z"}\n{"got":')
    found = value(run("audit", "--log", str(log), "--log", str(other), code=1))
    assert (found["ok"], found["found"], found["lost"], found["torn"]) == (False, 2, 1, 1)
    (finding,) = found["findings"]
    assert finding["version"] == 9
    assert finding["key"].endswith(":history")
    assert finding["says"].startswith("lacks 'c', which was acknowledged as version 9")


def test_a_state_that_something_else_wrote(run: Run, log: Path, twin: StateManager) -> None:
    text = twin.client.get(twin.keys.state)
    assert isinstance(text, bytes)
    twin.client.set(twin.keys.state, text.replace(b'"n":2', b'"n":7'))
    found = value(run("audit", code=1))
    assert [one["key"] for one in found["findings"]] == [twin.keys.state]


def test_on_a_terminal(run: Run, log: Path, twin: StateManager, terminal: None) -> None:
    """Words; what there is none of is left out."""
    said = run("audit", "--log", str(log)).stdout
    assert "1 to 3" in said
    assert "2  there once, as told" in said
    assert "torn" not in said
    assert said.endswith("all holds\n")
    assert "acknowledged" not in run("audit").stdout
    twin.delete()
    said = run("audit", "--log", str(log), code=1).stdout
    assert said.count("PROBLEM") == 2
    assert "lacks 'a', which was acknowledged as version 2: there is no twin" in said
    assert said.endswith("findings: 2\n")


def test_a_log_that_is_none(run: Run, log: Path, tmp_path: Path) -> None:
    said = run("audit", "--log", str(tmp_path / "nothing"), code=1)
    assert "nothing" in said.stderr
    (tmp_path / "rows.csv").write_text("a,b\n")
    said = run("audit", "--log", str(tmp_path / "rows.csv"), code=2)
    assert "rows.csv: line 1 is no JSON" in said.stderr
