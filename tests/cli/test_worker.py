"""worker, workers: a process that works on the twin, and who does."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from circman_redis import StateManager
from circman_redis.cli.worker import ROLES
from circman_redis.twin import roles
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.presence import Presence
from tests.cli.conftest import Run, lines, process, value
from tests.servers import Server, contents, wait_until


@pytest.fixture
def twin(environment: None, server: Server, twin_id: str) -> Iterator[StateManager]:
    """By a client of its own, for the commands run in this process and have another manager of the twin."""
    with server.client() as client, StateManager(twin_id, client=client) as manager:
        yield manager


@contextmanager
def working(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with process("worker", *arguments) as command:
        try:
            yield command
        finally:
            command.kill()


def test_it_works_until_it_is_told_to_stop(environment: None, twin: StateManager, tmp_path: Path, run: Run) -> None:
    """stdout stays empty; what it did is on stderr, in the history, and in the journal."""
    journal = tmp_path / "line.log"
    arguments = ("--role", "production", "--name", "line-1", "--rate", "100", "--journal", str(journal))
    with working(*arguments) as command:
        wait_until(lambda: twin.snapshot().version >= 5)
        found = value(run("workers"))
        command.send_signal(signal.SIGTERM)
        out, said = command.communicate(timeout=60)
    assert (command.returncode, out) == (0, b"")
    began, ended = said.decode().splitlines()
    assert began == f"line-1 works on the twin {twin.twin!r} as production"
    assert ended.startswith(f"line-1: {twin.snapshot().version} commits in ")
    assert {name: found[name] for name in ("name", "roles", "pid", "present", "has")} == {
        "name": "line-1",
        "roles": ["production"],
        "pid": command.pid,
        "present": True,
        "has": ["production"],
    }
    assert {entry.actor for entry in twin.get_commits()} == {"line-1"}
    report = value(run("audit", "--log", str(journal)))
    assert (report["acknowledged"], report["ok"]) == (twin.snapshot().version, True)
    assert run("workers").stdout == ""


def test_it_ends_after_its_time(run: Run, twin: StateManager) -> None:
    """Two roles, a name of its own, the same choices for the same seed."""
    said = run("worker", "--role", "environment", "--role", "materials", "--seconds", "0.3", "--seed", "1").stderr
    assert said.startswith("environment-materials-")
    assert twin.get_current_state().keys() >= {"environment", "materials"}


def test_ctrl_c_ends_it(environment: None, twin: StateManager) -> None:
    """As SIGTERM does: the role is given back."""
    with working("--role", "environment", "--rate", "50") as command:
        wait_until(lambda: twin.snapshot().version >= 2)
        command.send_signal(signal.SIGINT)
        out, said = command.communicate(timeout=60)
    assert (command.returncode, out) == (0, b"")
    assert b"Traceback" not in said


def test_workers_on_a_terminal(run: Run, twin: StateManager, terminal: None) -> None:
    with DomainEvents(twin) as events, Presence(twin, events, "a", ["line", "quality"]), Presence(twin, events, "b"):
        head, _, first, second = run("workers").stdout.splitlines()
    assert head.split() == ["worker", "roles", "has", "where", "present", "since"]
    assert first.split()[:3] == ["a", "line,", "quality"]
    assert " True " in second


def test_to_list_workers_leaves_no_trace(run: Run, server: Server, twin: StateManager) -> None:
    with server.client() as client:
        before = contents(client)
        assert run("workers").stdout == ""
        assert contents(client) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--role", "nothing"],
        ["--role", "monitor", "--rate", "0"],
        ["--role", "monitor", "--ttl", "0"],
        ["--role", "monitor", "--seconds", "0"],
        ["--role", "monitor", "--name", "no name"],
        ["--role", "monitor", "--twin", "a@b"],
    ],
)
def test_what_is_no_worker(arguments: list[str], run: Run, server: Server, twin: StateManager) -> None:
    """Is wrong usage, and nothing is left of it."""
    with server.client() as client:
        before = contents(client)
        assert run("worker", *arguments, code=2).stdout == ""
        assert contents(client) == before


def test_the_roles_are_those_that_there_are() -> None:
    assert tuple(roles.ROLES) == ROLES


def test_several_are_a_line_each(run: Run, twin: StateManager) -> None:
    with DomainEvents(twin) as events, Presence(twin, events, "b"), Presence(twin, events, "a"):
        found = lines(run("workers"))
    assert [one["name"] for one in found] == ["a", "b"]
    assert json.dumps(found[0]["has"]) == "[]"
