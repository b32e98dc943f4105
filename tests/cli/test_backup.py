"""backup, restore: as commands."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from circman_redis import StateManager
from circman_redis.twin.branches import fork
from tests.cli.conftest import Run, lines, process, value
from tests.servers import Server


def test_there_and_back(run: Run, twin: StateManager, tmp_path: Path) -> None:
    """By way of a file that only its owner may read."""
    twin.update_many([{"price": 22.1, "n": n} for n in range(3)])
    (tmp_path / "file").write_text("what stood there")
    done = value(run("backup", "file"))
    assert (done["twin"], done["version"], done["entries"]) == (twin.twin, 3, 2)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".circman")] == []
    assert "exists" in run("restore", "file", code=1).stderr
    assert value(run("restore", "file", "--as", "copy"))["twin"] == "copy"
    assert value(run("restore", "file", "--replace"))["epoch"] != done["epoch"]
    assert run("get", "/price").stdout == "22.1\n"


def test_all_through_a_pipe(run: Run, server: Server, twin: StateManager) -> None:
    """stdout has the file alone."""
    assert run("backup", "--all", "-").stderr == "no twins\n"
    for name in ("b", "a"):
        with StateManager(name, url=server.url) as manager:
            manager.set_state({"n": 1})
    made = run("backup", "--all", "-")
    assert made.stderr == "a: version 1, 0 past states\nb: version 1, 0 past states\n"
    assert next(iter(lines(made)[0])) == "circman_redis_backup"
    assert [one["twin"] for one in lines(run("restore", "-", "--prefix", "other", stdin=made.stdout_bytes))] == [
        "a",
        "b",
    ]
    assert [one["twin"] for one in lines(run("twins", "--prefix", "other"))] == ["a", "b"]
    assert [one["twin"] for one in lines(run("restore", "-", "-t", "b", "--replace", stdin=made.stdout_bytes))] == ["b"]


def test_all_has_the_branches_too(run: Run, twin: StateManager) -> None:
    """Each with what it began with."""
    twin.set_state({"n": 1})
    branch = fork(twin, "b")
    branch.manager.set_state({"n": 2})
    names = [twin.twin, branch.manager.twin]
    assert [one["twin"] for one in lines(run("backup", "--all", "file"))] == names
    twin.delete()
    assert [one["twin"] for one in lines(run("restore", "file"))] == names
    assert branch.merge_back() is not None
    assert run("get", "/n").stdout == "2\n"


def test_what_is_refused(run: Run, twin: StateManager, tmp_path: Path) -> None:
    """With the reason, and what stood there stays."""
    twin.set_state({"n": 1})
    (tmp_path / "junk").write_bytes(b"junk")
    os.mkfifo(tmp_path / "pipe")
    assert "junk, line 1: no backup" in run("restore", "junk", code=1).stderr
    assert "cannot be read twice" not in run("restore", "missing", code=1).stderr
    run("restore", "pipe", code=2)
    run("restore", ".", code=2)
    run("restore", "/dev/zero", code=2)
    assert "line 1" in run("restore", "-", code=1, stdin=b"").stderr
    run("backup", "pipe", code=2)
    run("backup", "nowhere/file", code=1)
    run("backup", "--all", "--twin", "a", "file", code=2)
    assert "no state" in run("backup", "junk", "--twin", "none", code=1).stderr
    assert (tmp_path / "junk").read_bytes() == b"junk"
    run("backup", "file")
    run("restore", "file", "--as", "../x", code=2)
    run("restore", "file", "--twin", "none", code=2)


def test_a_backup_in_a_process(run: Run, twin: StateManager) -> None:
    """Bytes on stdout, as a pipe takes them."""
    twin.set_state({"text": "é"})
    with process("backup", "-", "--url", os.environ["CIRCMAN_REDIS_URL"]) as one:
        made, said = one.communicate(timeout=60)
    assert one.returncode == 0, said
    assert "é".encode() in made
