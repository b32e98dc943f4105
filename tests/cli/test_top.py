"""top, in a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from circman_redis import StateManager
from circman_redis.cli import top
from circman_redis.view import terminal
from tests.cli.conftest import ROOT, Run
from tests.servers import Server

ENTER, LEAVE, HIDE, SHOW = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h"
SECONDS = 60.0


class Screen:
    """A terminal with top on it, and what stands on its screen.

    Each drawing begins in the upper left corner and is whole: what came after the last beginning is the screen.
    """

    def __init__(self, width: int = 80, height: int = 24) -> None:
        self.ours, self.theirs = pty.openpty()
        self.resize(width, height)
        self.written = ""

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def read(self) -> bool:
        """Takes in what was written; False at the end."""
        assert select.select([self.ours], [], [], SECONDS)[0], self.written[-2000:]
        try:
            part = os.read(self.ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.written += part.decode(errors="replace")
        return bool(part)

    @property
    def lines(self) -> list[str]:
        drawn = self.written.split("\x1b[H")[-1]
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn).replace("\r", "").split("\n")

    def wait_for(self, seen: Callable[[list[str]], object]) -> list[str]:
        """Reads until the whole screen is as wanted."""
        deadline = time.monotonic() + SECONDS
        while not seen(self.lines):
            assert time.monotonic() < deadline, "\n".join(self.lines)
            assert self.read(), "\n".join(self.lines)
        return self.lines


@contextmanager
def on_screen(*arguments: str, width: int = 80, height: int = 24) -> Iterator[tuple[Screen, subprocess.Popen[bytes]]]:
    screen = Screen(width, height)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    command = subprocess.Popen(
        [sys.executable, "-m", "circman_redis.cli", "top", *arguments],
        env=environment,
        stdin=screen.theirs,
        stdout=screen.theirs,
        stderr=subprocess.PIPE,
    )
    try:
        yield screen, command
    finally:
        command.kill()
        command.wait()
        assert command.stderr is not None
        command.stderr.close()
        os.close(screen.ours)
        os.close(screen.theirs)


def has(*patterns: str) -> Callable[[list[str]], bool]:
    """Whether the screen is drawn to its end, with lines that match all these."""

    def seen(lines: list[str]) -> bool:
        text = "\n".join(lines)
        return len(lines) == 24 and len(lines[-1]) == 80 and all(re.search(one, text) for one in patterns)

    return seen


def left_in_order(screen: Screen, command: subprocess.Popen[bytes], before: list[Any]) -> str:
    """Waits for its end; what it said. The screen, the cursor and the keyboard are as they were."""
    assert command.stderr is not None
    said = command.stderr.read().decode()
    command.wait(SECONDS)
    while select.select([screen.ours], [], [], 0)[0] and screen.read():
        pass
    assert screen.written.rfind(LEAVE) > screen.written.rfind(ENTER) >= 0
    assert screen.written.rfind(SHOW) > screen.written.rfind(HIDE) >= 0
    assert termios.tcgetattr(screen.theirs) == before
    assert "Traceback" not in said
    return said


@pytest.fixture
def filled(environment: None, twin: StateManager) -> StateManager:
    twin.set_state({"environment": {"temperature": 22.0, "humidity": 55}, "old": 1})
    return twin


def test_it_shows_the_state_what_changes_and_who_did_it(filled: StateManager) -> None:
    with on_screen() as (screen, command):
        before = termios.tcgetattr(screen.theirs)
        lines = screen.wait_for(has("temperature  22\\.0"))
        assert (len(lines), {len(line) for line in lines}) == (24, {80})
        assert lines[0].startswith(f" {filled.twin}   version 1  epoch ")
        filled.update_state({"environment": {"temperature": 23.5}, "old": None}, actor="line-1")
        lines = screen.wait_for(has("▲   temperature  23\\.5", "- old +1", "│ line-1 ", "22.0 → 23.5  - /old 1"))
        assert " version 2 " in lines[0]
        assert lines[0].endswith("● connected ")
        assert any(re.search(r"│ temperature +23\.5 +[▁▂▃▄▅▆▇█]", line) for line in lines)
        screen.wait_for(lambda lines: has("    temperature  23\\.5")(lines) and not has("- old")(lines))
        screen.type("xyq")
        assert left_in_order(screen, command, before) == ""
        assert command.returncode == 0


def test_it_follows_the_size_of_the_terminal(filled: StateManager) -> None:
    with on_screen() as (screen, command):
        screen.wait_for(has("temperature"))
        for width, height in ((120, 40), (60, 15)):
            screen.resize(width, height)
            screen.wait_for(lambda lines, size=(width, height): (len(lines[-1]), len(lines)) == size)
        screen.resize(20, 5)
        screen.wait_for(lambda lines: "needs 40x10" in lines[0])
        screen.type("q")
        assert command.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 129)]
)
def test_however_it_ends_the_terminal_is_left_as_it_was(
    filled: StateManager, number: signal.Signals, code: int
) -> None:
    with on_screen() as (screen, command):
        before = termios.tcgetattr(screen.theirs)
        screen.wait_for(has("temperature"))
        assert termios.tcgetattr(screen.theirs) != before
        command.send_signal(number)
        assert left_in_order(screen, command, before) == ""
        assert command.returncode == 128 + number


def test_an_error_ends_it_with_its_reason_on_the_terminal_as_it_was(server: Server, filled: StateManager) -> None:
    """A user who may no longer read."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "guest", "reset", "on", ">pw", "~*", "&*", "+@all")
        try:
            with on_screen("--url", f"unix://guest:pw@{server.socket}") as (screen, command):
                before = termios.tcgetattr(screen.theirs)
                screen.wait_for(has("temperature"))
                admin.execute_command("ACL", "SETUSER", "guest", "-@all")
                admin.client_kill_filter(_type="pubsub")
                said = left_in_order(screen, command, before)
                assert said.startswith("error: ")
                assert command.returncode == 1
        finally:
            admin.acl_deluser("guest")


def test_a_server_that_goes_away_is_waited_for(own_server: Server) -> None:
    with StateManager("kept", url=own_server.url) as twin:
        twin.set_state({"n": 1})
        with on_screen("--url", own_server.url, "--twin", "kept") as (screen, command):
            screen.wait_for(has("n +1"))
            own_server.kill()
            screen.wait_for(has("○ no connection for "))
            own_server.start()
            twin.update_state({"n": 2})
            screen.wait_for(has("● connected", "▲ n +2"))
            screen.type("q")
            assert command.wait(SECONDS) == 0


def test_a_twin_without_a_state_is_waited_for(environment: None, twin: StateManager) -> None:
    with on_screen() as (screen, command):
        screen.wait_for(has("waiting for the first commit"))
        twin.set_state({"n": 1})
        screen.wait_for(has(r"\+ n +1"))
        twin.delete()
        screen.wait_for(has("the twin was deleted;"))
        screen.type("q")
        assert command.wait(SECONDS) == 0


def test_without_a_terminal_it_names_watch(run: Run) -> None:
    assert run("top", code=2).stderr == (
        "error: top draws on the whole terminal, and stdout cannot be drawn on (it is not a terminal): use `watch`\n"
    )


@pytest.mark.parametrize(("name", "encoding", "lacks"), [("dumb", "utf-8", "TERM"), ("xterm", "ascii", "ascii")])
def test_a_terminal_that_cannot_be_drawn_on_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, encoding: str, lacks: str
) -> None:
    class Out:
        isatty = staticmethod(lambda: True)

    Out.encoding = encoding  # type: ignore[attr-defined]
    monkeypatch.setattr(terminal.sys, "stdout", Out)
    monkeypatch.setenv("TERM", name)
    assert lacks in (terminal.what_it_lacks() or "")


def test_an_error_before_the_first_drawing_is_an_error_as_any(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "what_it_lacks", lambda: None)
    assert "redis://localhost:1" in run("top", "--url", "redis://localhost:1", code=1).stderr


def test_without_a_keyboard_there_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours) as nothing_typed, os.fdopen(theirs, "w"):
        monkeypatch.setattr(terminal.sys, "stdin", nothing_typed)
        with terminal.keys() as typed:
            assert typed.typed(0) == ""
