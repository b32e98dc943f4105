"""The command as a process: pipes, signals, a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from circman_redis import JSONText, StateManager
from tests.cli.conftest import ROOT, process


@pytest.fixture
def filled(environment: None, twin: StateManager) -> StateManager:
    twin.set_state(JSONText('{"a":22.10,"µ":[],"timestamp":"2026-11-22T14:00:00Z"}'))
    return twin


def test_piped_it_is_one_line_of_utf8_in_any_locale(filled: StateManager) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    found = subprocess.run(
        [sys.executable, "-m", "circman_redis.cli", "get"], env=environment, capture_output=True, check=True
    )
    assert found.stdout.decode() == '{"a":22.10,"µ":[],"timestamp":"2026-11-22T14:00:00Z"}\n'
    assert found.stderr == b""


def test_on_a_terminal_it_is_indented_and_coloured(filled: StateManager) -> None:
    shown = on_terminal("get", TERM="xterm-256color")
    assert "\x1b[" in shown
    plain = on_terminal("get", TERM="dumb", COLUMNS="20")
    assert plain.splitlines()[1] == '  "a": 22.10,'
    assert json.loads(plain) == filled.current_state


def on_terminal(*arguments: str, **environment: str) -> str:
    screen, theirs = pty.openpty()
    with process_on(theirs, arguments, environment) as command:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(screen, 65536)
            except OSError:  # what Linux says once the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(screen)
    assert command.returncode == 0
    return shown.decode()


def process_on(terminal: int, arguments: tuple[str, ...], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "circman_redis.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=terminal,
        stderr=terminal,
    )


def test_a_reader_that_has_seen_enough_is_no_error(filled: StateManager) -> None:
    filled.update_many([{"text": "x" * 5000} for _ in range(100)])
    with process("history") as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline().startswith(b'{"version":101,')
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


def test_ctrl_c_has_no_traceback(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        silent.settimeout(60)
        with process("get", "--url", f"unix://{tmp_path}/s") as command:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)  # it has asked, and waits for an answer that never comes
                command.send_signal(signal.SIGINT)
                out, said = command.communicate(timeout=60)
    assert (command.returncode, out) == (130, b"")
    assert b"Traceback" not in said


def test_python_m_is_the_console_script() -> None:
    with process("--help") as command:
        out, _ = command.communicate(timeout=60)
    assert out.startswith(b"Usage: circman-redis [OPTIONS] COMMAND")
    assert command.returncode == 0


def test_a_closed_stdout_is_no_mishap(filled: StateManager) -> None:
    command = f"exec '{sys.executable}' -m circman_redis.cli watch --since 0 --timeout 0.1 >&-"
    run = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, b"")
