"""The command line, run in this process and, where that matters, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from circman_redis.cli import _output, admin, around, audit, doctor, info, reading, repair, watch, worker
from circman_redis.cli._group import cli
from tests.servers import Server

ROOT = Path(__file__).parents[2]
Run = Callable[..., Result]


@pytest.fixture
def environment(server: Server, twin_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server and the twin come from the environment; the working directory is empty."""
    monkeypatch.setenv("CIRCMAN_REDIS_URL", server.url)
    monkeypatch.setenv("CIRCMAN_TWIN", twin_id)
    monkeypatch.setenv("CIRCMAN_RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(environment: None) -> Run:
    """Runs a command in this process, as in a pipe; ``code`` is the exit code that it has to have."""

    def run_(*arguments: str, code: int = 0, stdin: str | bytes = "") -> Result:
        result = CliRunner().invoke(cli, arguments, input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, (arguments, result.output)
        return result

    return run_


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody looks at stdout, on a screen that is wide enough for the tests."""
    for module in (_output, admin, around, audit, doctor, info, reading, repair, watch, worker):
        monkeypatch.setattr(module, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "150")


def value(result: Result) -> Any:
    """What was printed, which has to be one line of JSON."""
    assert result.stdout.count("\n") == 1, result.stdout
    return json.loads(result.stdout)


def lines(result: Result) -> list[Any]:
    """What was printed, which has to be JSON lines."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def process(*arguments: str, **kwargs: Any) -> subprocess.Popen[bytes]:
    """The command as a process of its own."""
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "circman_redis.cli", *arguments], env=environment, **kwargs)
