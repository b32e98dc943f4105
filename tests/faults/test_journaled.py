"""The proof of a run, of processes that write together, and that it fails where the run was not as they say."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from circman_redis import StateManager
from tests.faults.journaled import Writer, check, start
from tests.servers import Server


@pytest.mark.parametrize("form", ["full", "compact"])
def test_writers_of_all_kinds_one_of_them_killed(server: Server, twin_id: str, tmp_path: Path, form: str) -> None:
    """Adjusting, merging many, setting on top of what was read; audited while the others go on, and at the end."""
    actors = ["w0", "w1", "w2"]
    with StateManager(twin_id, url=server.url, history_length=100_000, history=form) as twin, ExitStack() as running:
        start(twin, actors)
        writers = [
            running.enter_context(Writer(server.url, twin_id, actor, tmp_path, work="mixed", timeout=5))
            for actor in actors
        ]
        journals = [writer.journal for writer in writers]
        for writer in writers:
            writer.wait_for(30)
        writers[0].kill()
        meanwhile = twin.audit(journals)
        assert meanwhile.ok, meanwhile.findings
        for writer in writers[1:]:
            writer.wait_for(30)
            writer.stop()
        report = check(twin, journals)
        assert report.acknowledged == report.found > 150
        assert report.made + report.not_made <= 3  # what was under way when one was killed
        assert {entry.op for entry in twin.get_commits()} == {"set", "adjust", "merge"}


def test_a_run_longer_than_the_history(server: Server, twin_id: str, tmp_path: Path) -> None:
    """The counters add up all the same; what left the history is counted."""
    with StateManager(twin_id, url=server.url, history_length=20) as twin:
        start(twin, ["w0"])
        with Writer(server.url, twin_id, "w0", tmp_path) as writer:
            writer.wait_for(100)
            writer.stop()
        report = check(twin, [writer.journal])
        assert (report.commits, report.found) == (21, 21)
        assert report.beyond >= 79


def test_a_writer_goes_on_by_itself(own_server: Server, twin_id: str, tmp_path: Path) -> None:
    """It starts while there is no server, and says again what nobody knows of."""
    with StateManager(twin_id, url=own_server.url, history_length=100_000) as twin:
        start(twin, ["w0"])
        own_server.kill()
        with Writer(own_server.url, twin_id, "w0", tmp_path, retries=0, timeout=1) as writer:
            own_server.start()
            for _ in range(3):
                writer.wait_for(20)
                own_server.kill()
                own_server.start()
            writer.wait_for(20)
            writer.stop()
        assert check(twin, [writer.journal]).found > 80
        assert "StoreUnavailable" in writer.journal.read_text()


def test_the_check_fails_where_the_run_was_otherwise(server: Server, twin_id: str, tmp_path: Path) -> None:
    """Somebody who logged nothing, an acknowledged commit that is not there, a counter that is off."""
    with StateManager(twin_id, url=server.url) as twin:
        start(twin, ["w0"])
        with Writer(server.url, twin_id, "w0", tmp_path) as writer:
            writer.wait_for(5)
            writer.stop()
        check(twin, [writer.journal])
        twin.update_state({"x": 1})
        with pytest.raises(AssertionError):
            check(twin, [writer.journal])
        check(twin, [writer.journal], others=2)
        whole = writer.journal.read_text()
        told = {"got": "w0-x", "version": 2, "epoch": "e", "committed_at": "2026-01-01T00:00:00Z"}
        writer.journal.write_text(whole + json.dumps(told) + "\n")
        with pytest.raises(AssertionError, match="lacks 'w0-x'"):
            check(twin, [writer.journal], others=2)
        writer.journal.write_text(whole)
        twin.adjust({"/n": 1, "/by/w0": 1})
        with pytest.raises(AssertionError):
            check(twin, [writer.journal], others=3)
