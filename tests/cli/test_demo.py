"""The demo: several processes on one twin, and the proof at the end that nothing was lost."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from circman_redis import StateManager
from circman_redis.demo import around, factory, main, run
from circman_redis.twin.branches import Branch
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.presence import workers
from tests.servers import Server, wait_until

ROOT = Path(__file__).parents[2]
VERIFIED = re.compile(r"verified: (\d+) commits by (\d+) workers, 0 lost, 0 duplicated, versions 1\.\.(\d+) contiguous")


# --- whole runs --------------------------------------------------------------------------------------------


@contextmanager
def demo(url: str, seconds: float, workers: int = 6, **popen: Any) -> Iterator[subprocess.Popen[str]]:
    """The demo in a process of its own; killed where the test leaves it running."""
    code = f"import sys; from circman_redis.demo import main; sys.exit(main({workers}, {seconds}, 'demo', {url!r}))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT} | popen
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def worker_processes(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    return {child.cmdline()[-1]: child for child in psutil.Process(process.pid).children()}


def begun(process: subprocess.Popen[str]) -> str:
    """Waits for the first line about the running workers; all that was said until then."""
    said = ""
    assert process.stdout is not None
    while "commits/s" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def assert_all_ended(workers: dict[str, psutil.Process]) -> None:
    assert workers
    # An orphan stays a zombie where nobody waits for it: it has ended all the same.
    wait_until(lambda: all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in workers.values()))


@pytest.mark.bundled_first
def test_what_a_run_claims_is_what_stands_in_redis(server: Server) -> None:
    with demo(server.url, 2.5) as process:
        said, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, ""), said
    lines = said.splitlines()
    who = "1 environment, 2 production, 1 quality, 1 materials, 1 monitor"
    assert lines[0] == f"6 processes work on the twin 'demo' for 2.5 s: {who}."
    assert f"redis-cli -s {server.socket} GET 'circman:{{demo}}:state'" in lines[2]
    claimed = VERIFIED.fullmatch(lines[-1])
    assert claimed, said
    commits, number, last = map(int, claimed.groups())
    assert (number, last) == (6, commits)
    assert lines[-2] == f"event stream: {commits - 1} events, versions 2..{commits}, each once and in order"

    with server.client(decode_responses=True) as client:
        state = json.loads(client.get("circman:{demo}:state"))
        past = [json.loads(entry) for entry in client.lrange("circman:{demo}:history", 0, -1)]
        meta = client.hgetall("circman:{demo}:meta")
    assert int(meta["version"]) == commits
    assert [entry["version"] for entry in past] == list(range(commits - 1, 0, -1))
    assert len({entry["id"] for entry in past}) == len(past)
    actors = {entry["actor"] for entry in past}
    assert actors >= {"demo", "operator", "environment-1", "quality-1", "materials-1"}
    assert actors & {"production-1", "production-2"}
    for material, start in factory.MATERIALS.items():
        balance = next(line for line in lines if line.startswith(f"  {material} "))
        found = re.search(r"(\d+) - (\d+) \+ (\d+) = (\d+), in Redis: (\d+)", balance)
        assert found, balance
        began, consumed, restocked, expected, there = map(int, found.groups())
        assert began == start
        assert began - consumed + restocked == expected == there == state["materials"][material]["inventory"]
    assert state["environment"]["measured_at"].startswith("1981-07-")
    assert state["demo"]["made_by"] == factory.MADE_BY
    assert state["parameters"]["temperature_target"] == factory.BEST


def test_what_happened_around_the_twin_is_told_as_it_happened(servers: dict[str, Server]) -> None:
    """A worker is killed and another takes over; thresholds are breached and cleared; a branch is merged back."""
    server = servers["valkey"]
    with demo(server.url, 12.0) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    killed = re.search(r"(production-\d), who moves the line, is killed \(-9\); (production-\d) stands by", said)
    assert killed, said
    one, other = killed.groups()
    assert f"{one} left: vanished" in said
    moved = re.search(rf"the line was moved by {one} from version (\d+) to (\d+), then by {other} from", said)
    assert moved, said
    merged = re.search(r"what-if-1: forked from version (\d+), merged back as version (\d+)", said)
    assert merged, said
    assert re.search(r"^workers: \d joined, 5 left, \d vanished$", said, re.MULTILINE)
    with StateManager("demo", url=server.url) as twin, DomainEvents(twin) as events:
        told = [(one.kind, one.data["threshold"]) for one in events.get_events(kinds=around.KINDS)]
        assert ("threshold_breached", "line-hot") in told
        assert ("threshold_cleared", "line-hot") in told
        assert ("threshold_breached", "hot-outside") in told
        assert ("threshold_cleared", "hot-outside") in told
        assert twin.get_state_at_version(int(merged[2]) - 1) is not None
        assert [commit.actor for commit in twin.get_commits(before=int(merged[2]) + 1, limit=1)] == ["operator"]
        assert Branch(twin.branch("what-if-1"), twin).origin.version == int(merged[1])
        assert workers(twin, events) == []


def test_a_second_run_makes_the_twin_anew_and_the_embedded_server_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The demo goes by its own settings, and by no others that the environment may have.
    for name, value in (("HISTORY_LENGTH", "3"), ("VALIDATION", "none"), ("ACTOR", "somebody")):
        monkeypatch.setenv(f"CIRCMAN_{name}", value)

    url = f"embedded://{tmp_path}/server"
    with StateManager("again", url=url, prefix="show", validation="standard") as twin:
        twin.set_state(factory.initial_state("before"))
        before = twin.snapshot().epoch
    assert main(1, 0.3, "again", url, prefix="show") == 0
    with StateManager(
        "again", url=url, prefix="show", validation="standard", history_length=factory.HISTORY_LENGTH
    ) as twin:
        assert twin.snapshot().epoch != before
        assert twin.get_commits()[-1].state["demo"]["run"] != "before"


def test_a_killed_worker_and_a_meddler_are_named_and_the_run_is_not_verified(servers: dict[str, Server]) -> None:
    with demo(servers["valkey"].url, 2.5, workers=3) as process:
        begun(process)
        killed = worker_processes(process)["materials-1"]
        killed.kill()
        with StateManager("demo", url=servers["valkey"].url, actor="meddler") as twin:
            theirs = twin.update_state({"system_status": "sabotaged"}, commit_id="theirs").version
            with twin.client.pipeline() as both:  # so that commits go on: they count the entries
                both.rpop(twin.keys.history).hincrby(twin.keys.meta, "entries", -1).execute()
        said, complaints = process.communicate()
    assert process.returncode == 1
    reason = f"materials-1 (process {killed.pid}) was ended by signal 9 (Killed)"
    assert reason in complaints
    assert f"version {theirs} (theirs, by meddler) is in Redis, and was acknowledged to nobody" in complaints
    assert "version 1 is missing" in complaints
    last = said.splitlines()[-1]
    assert re.fullmatch(rf"NOT verified: \d+ commits by 3 workers, 1 lost, 0 duplicated; {re.escape(reason)}", last)


def test_a_run_is_not_disturbed_by_another_and_ctrl_c_ends_it_in_order(
    servers: dict[str, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    url = servers["valkey"].url
    with demo(url, 60.0, workers=2) as process:
        begun(process)
        assert main(1, 1.0, "demo", url) == 1
        assert "another run of the demo is at work on twin 'demo'" in capsys.readouterr().err
        workers = worker_processes(process)
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate()
    assert process.returncode == run.INTERRUPTED
    assert complaints == "interrupted: the workers end, and what was done until now is verified\n"
    assert VERIFIED.fullmatch(said.splitlines()[-1])
    assert_all_ended(workers)


def test_workers_do_not_outlive_a_parent_that_is_killed(servers: dict[str, Server]) -> None:
    with demo(servers["valkey"].url, 60.0, workers=2) as process:
        begun(process)
        workers = worker_processes(process)
        process.kill()
        assert_all_ended(workers)


def test_on_a_terminal_the_view_is_live_and_the_summary_stays(servers: dict[str, Server]) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    with demo(servers["valkey"].url, 0.5, workers=1, stdout=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        said = "".join(_everything(ours))
        process.wait()
    os.close(ours)
    assert process.returncode == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    assert "commits per second by worker" in plain
    assert "newest events" in plain
    assert VERIFIED.fullmatch(plain.splitlines()[-1])
    assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l"), "the cursor is shown again"


def _everything(terminal: int) -> Iterator[str]:
    try:
        while part := os.read(terminal, 65_536):
            yield part.decode(errors="replace")
    except OSError:
        return  # how Linux says that the other end is closed


# --- what it refuses ---------------------------------------------------------------------------------------


def test_a_twin_that_is_not_the_demos_is_left_alone(
    server: Server, twin: StateManager, capsys: pytest.CaptureFixture[str]
) -> None:
    twin.set_state({"system_status": "mine"}, actor="me")
    config = twin.config
    twin.close()
    assert main(1, 1.0, twin.twin, server.url) == 1
    assert f"twin {twin.twin!r} was not made by this demo, and is left as it is" in capsys.readouterr().err
    with StateManager(twin.twin, url=server.url) as again:
        assert again.snapshot().version == 1
        assert again.config == config


def test_a_state_that_something_else_wrote_is_left_alone(
    server: Server, twin_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with server.client() as client:
        client.set(f"circman:{{{twin_id}}}:state", "theirs")
        assert main(1, 1.0, twin_id, server.url) == 1
        assert client.get(f"circman:{{{twin_id}}}:state") == b"theirs"
    assert "Error: twin" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_said_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(1, 1.0, "demo", f"unix://{tmp_path}/none") == 1
    assert f"Error: twin 'demo': unix://{tmp_path}/none" in capsys.readouterr().err


def test_the_password_of_the_server_is_not_shown(twin: StateManager) -> None:
    said = run.introduction(twin, ["materials"], 1.0, "redis://me:secret@host:6380/1")
    assert "secret" not in said
    assert "redis-cli -u redis://me@host:6380/1 --askpass GET" in said
