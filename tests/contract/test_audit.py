"""What audit says of a twin: nothing while commits alone write and clients log what they were told."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from circman_redis import Journal, StateManager, UsageError
from tests.contract.conftest import Managers


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "log")


def commit_all_kinds(twin: StateManager, journal: Journal, name: str) -> None:
    """Six commits: a set, two adjusts, a merge of three; and a repeat."""
    with journal.commit(f"{name}-set", op="set") as note:
        note(twin.set_state({"n": 0}, commit_id=f"{name}-set"))
    for i in (1, 2, 2):
        with journal.commit(f"{name}-{i}", op="adjust") as note:
            note(twin.adjust({"/n": 1}, commit_id=f"{name}-{i}"))
    with journal.commit(f"{name}-many", op="update_many", n=3) as note:
        note(twin.update_many([{"m": i} for i in range(3)], commit_id=f"{name}-many"))


@pytest.mark.parametrize("form", ["full", "compact"])
def test_all_that_was_acknowledged_is_there(open_twin: Managers, journal: Journal, form: str) -> None:
    """Of each kind of commit, and of each form of history."""
    with open_twin(history=form) as twin:
        for name in "abcde":
            commit_all_kinds(twin, journal, name)
        report = twin.audit([journal.path])
        assert report.findings == ()
        assert (report.first, report.last, report.commits, report.ids) == (1, 30, 30, 30)
        assert (report.acknowledged, report.found, report.unlogged) == (30, 30, 0)
        assert report.epoch == twin.snapshot().epoch


def test_a_history_shorter_than_the_run(open_twin: Managers, journal: Journal) -> None:
    """What left it is counted: not found, and not lost."""
    with open_twin(history_length=9) as twin:
        for name in "abcde":
            commit_all_kinds(twin, journal, name)
        journal.sent("never")
        report = twin.audit([journal.path])
        assert report.findings == ()
        assert (report.first, report.commits) == (21, 10)
        assert (report.found, report.beyond, report.untold, report.not_made) == (10, 20, 1, 0)
        twin.clear_history()
        assert twin.audit([journal.path]).beyond == 29


def test_a_refused_commit_is_not_there(twin: StateManager, journal: Journal) -> None:
    twin.set_state({"n": 0}, commit_id="start")
    with pytest.raises(Exception, match="not 7"), journal.commit("late"):
        twin.update_state({"n": 1}, expected_version=7, commit_id="late")
    report = twin.audit([journal.path])
    assert report.ok
    assert (report.refused, report.unlogged, report.not_made) == (1, 1, 0)


def test_a_twin_made_again_has_lost_what_was_acknowledged(twin: StateManager, journal: Journal) -> None:
    """By id and version; and so has one that is not there at all."""
    assert twin.audit().ok
    commit_all_kinds(twin, journal, "a")
    twin.delete()
    report = twin.audit([journal.path])
    assert (report.lost, report.commits, report.epoch) == (6, 0, "")
    assert {one.says.partition("acknowledged as ")[2] for one in report.findings} == {
        f"version {version}: there is no twin" for version in range(1, 7)
    }
    commit_all_kinds(twin, journal, "b")
    report = twin.audit([journal.path])
    assert (report.lost, report.found) == (6, 6)
    assert all("the twin was made again" in one.says for one in report.findings)


def test_what_something_else_did_is_found(twin: StateManager, journal: Journal, raw: redis.Redis) -> None:
    """As verify finds it, and by the ids."""
    commit_all_kinds(twin, journal, "a")
    keys = twin.keys
    raw.lset(keys.history, 3, raw.lindex(keys.history, 3).replace(b'"id":"a-1"', b'"id":"a-2"'))
    report = twin.audit([journal.path])
    assert [one.says for one in report.findings] == [
        "has 'a-2' 2 times: as version 2 and version 3",
        "lacks 'a-1', which was acknowledged as version 2: another commit has that version",
    ]
    assert (report.doubled, report.lost, report.found) == (1, 1, 4)
    raw.lrem(keys.history, 1, raw.lindex(keys.history, 3))
    report = twin.audit([journal.path])
    assert report.findings[0].says == "lacks version 2: something else removed it"
    assert (report.differing, report.doubled, report.lost, report.found) == (0, 0, 1, 5)


def test_others_may_commit_meanwhile(twin: StateManager, journal: Journal, writer: StateManager) -> None:
    """What a log says was made before the history was read; what comes then is not looked at."""
    for name in "ab":
        commit_all_kinds(twin, journal, name)
        writer.update_state({"w": name})
        report = twin.audit([journal.path])
        assert report.ok
    assert (report.found, report.unlogged) == (12, 2)


def test_a_log_that_is_none(twin: StateManager, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not-there"):
        twin.audit([tmp_path / "not-there"])
    (tmp_path / "rows.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match=r"rows\.csv: line 1"):
        twin.audit([tmp_path / "rows.csv"])
