"""watch: a line per event, in a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
from typing import Any

import pytest

from circman_redis import StateManager
from circman_redis.cli import watch
from circman_redis.events import Heartbeat, StateEvent
from tests.cli.conftest import Run, lines, process
from tests.cli.test_process import process_on
from tests.servers import Server


def read_line(command: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert command.stdout is not None
    found: dict[str, Any] = json.loads(command.stdout.readline())
    return found


def said_until(command: subprocess.Popen[bytes], wanted: str) -> str:
    """What it said on stderr, up to a line with the text."""
    assert command.stderr is not None
    said = ""
    while wanted not in said:
        line = command.stderr.readline().decode()
        assert line, said
        said += line
    return said


@pytest.fixture
def filled(environment: None, twin: StateManager) -> StateManager:
    twin.set_state({"environment": {"temperature": 22.0}, "timestamp": "2026-11-22T14:00:00Z"}, actor="setup")
    twin.update_state({"environment": {"temperature": 22.5}, "b": 1}, actor="line-1")
    twin.adjust({"/b": 2}, actor="line-2")
    return twin


def test_piped_it_is_one_json_object_per_event(run: Run, filled: StateManager) -> None:
    found = lines(run("watch", "--since", "1", "--limit", "2"))
    assert [(one["event"], one["version"], one["op"], one["actor"]) for one in found] == [
        ("commit", 2, "merge", "line-1"),
        ("commit", 3, "adjust", "line-2"),
    ]
    assert found[0]["changes"][0] == {"pointer": "/environment/temperature", "before": 22.0, "after": 22.5}
    assert {"pointer": "/b", "after": 1} in found[0]["changes"]


def test_it_ends_after_a_time_without_an_event_and_goes_on_from_a_position(run: Run, filled: StateManager) -> None:
    said = run("watch", "--since", "0", "--timeout", "0")
    found = lines(said)
    assert [one["version"] for one in found] == [1, 2, 3]
    assert said.stderr == ""
    position = f"{found[1]['epoch']}:2"
    assert [one["version"] for one in lines(run("watch", "--since", position, "--timeout", "0.1"))] == [3]
    assert run("watch", "--timeout", "0").stdout == ""


@pytest.mark.parametrize("source", ["channel", "keyspace"])
def test_only_commits_that_change_a_path_are_told(run: Run, filled: StateManager, source: str) -> None:
    paths = ("--path", "/environment", "--path", "/nothing")
    found = lines(run("watch", "--since", "0", "--timeout", "0.1", *paths, "--source", source))
    assert [one["version"] for one in found] == [1, 2]


def test_versions_that_are_gone_are_a_line_too(run: Run, filled: StateManager) -> None:
    filled.clear_history()
    gap, last = lines(run("watch", "--since", "1", "--timeout", "0"))
    assert (gap["event"], gap["lost"], last["version"]) == ("gap", [2, 2], 3)


@pytest.mark.parametrize(
    "arguments", [["--since", "nix"], ["--path", "x"], ["--source", "x"], ["--limit", "0"], ["--timeout", "-1"]]
)
def test_what_cannot_be_watched_is_wrong_usage(run: Run, filled: StateManager, arguments: list[str]) -> None:
    run("watch", *arguments, code=2)


def test_a_server_that_is_not_there_is_said_at_once(run: Run) -> None:
    said = run("watch", "--url", "redis://localhost:1", code=1)
    assert "redis://localhost:1" in said.stderr


def test_on_a_terminal_it_is_a_line_for_people(run: Run, filled: StateManager, terminal: None) -> None:
    shown = run("watch", "--since", "0", "--timeout", "0").stdout.splitlines()
    shown = [line for line in shown if not re.fullmatch(r" +\d{4}-\d\d-\d\d", line)]
    time_of_day = r"\d\d:\d\d:\d\d\.\d{3}"
    for line, wanted in zip(
        shown,
        (
            rf"      1  {time_of_day}  setup     set  \+ /environment {{\"temperature\":22.0}}",
            rf"      2  {time_of_day}  line-1    /environment/temperature 22.0 → 22.5  \+ /b 1",
            rf"      3  {time_of_day}  line-2    adjust  /b 1 → 3",
        ),
        strict=True,
    ):
        assert re.fullmatch(wanted, line), line


def test_on_a_terminal_it_may_be_json_too(run: Run, filled: StateManager, terminal: None) -> None:
    filled.update_state({"text": "\x9b2J"})
    said = run("watch", "--since", "3", "--limit", "1", "--json")
    assert said.stdout.count("\n") == 1
    assert "\\u009b2J" in said.stdout
    assert lines(said)[0]["patch"]["text"] == "\x9b2J"


def test_another_day_is_said(filled: StateManager, terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    tell = watch._for_people()
    for version, day in ((1, "2024-03-01"), (2, "2024-03-01"), (3, "2024-05-01")):
        tell(StateEvent("t", "e", version, "set", "a", None, None, f"{day}T12:00:00.000000Z", None, {"n": 1}, {}))
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["2024-03-01", "1", "2", "2024-05-01", "3"]


def test_it_begins_with_what_is_watched(run: Run, filled: StateManager, terminal: None) -> None:
    said = run("watch", "--timeout", "0").stderr
    assert said == f"watching twin '{filled.twin}', at version 3; Ctrl-C ends it\n"
    empty = run("watch", "--timeout", "0", "--twin", "none").stderr
    assert empty == "watching twin 'none', which has no state yet; Ctrl-C ends it\n"


def test_every_event_is_told_as_it_comes_until_ctrl_c(filled: StateManager) -> None:
    with process("watch", "--since", "2") as command:
        assert read_line(command)["version"] == 3
        for version in (4, 5):
            filled.update_state({"n": version})
            assert read_line(command)["version"] == version
        command.send_signal(signal.SIGINT)
        out, said = command.communicate(timeout=60)
    assert (command.returncode, out, said) == (130, b"", b"")


def test_a_closed_pipe_ends_it_without_another_event(filled: StateManager) -> None:
    with process("watch", "--since", "2") as command:
        assert read_line(command)["version"] == 3
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


def test_a_server_that_goes_away_is_said_once_and_what_was_missed_comes(own_server: Server) -> None:
    url = own_server.url
    with (
        StateManager("kept", url=url) as twin,
        process("watch", "--since", "0", "--url", url, "--twin", "kept") as command,
    ):
        twin.set_state({"n": 1})
        assert read_line(command)["version"] == 1
        own_server.kill()
        assert said_until(command, "\n") == (
            f"no connection to {url}: trying again by itself, and then what was missed comes\n"
        )
        own_server.start()
        twin.update_many([{"n": 2}, {"n": 3}])
        assert [read_line(command)["version"] for _ in range(2)] == [2, 3]
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=60)
    assert re.fullmatch(r"connected again, after \d+ s\n", said.decode())


def test_its_time_is_up_without_a_connection_is_an_error(own_server: Server) -> None:
    url = own_server.url
    with process("watch", "--since", "0", "--url", url, "--timeout", "3") as command:
        with StateManager("default", url=url) as twin:
            twin.set_state({"n": 1})
        assert read_line(command)["version"] == 1
        own_server.kill()
        _, said = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "\nerror: no events, for there is no connection" in said.decode()


def test_in_a_terminal_the_lines_are_coloured_and_fit(filled: StateManager) -> None:
    filled.update_state({f"a-long-name-{number}": "x" * 100 for number in range(9)})
    screen, theirs = pty.openpty()
    with process_on(theirs, ("watch", "--since", "1"), {"TERM": "xterm-256color", "COLUMNS": "80"}) as command:
        os.close(theirs)
        shown = ""
        while "  … +" not in re.sub(r"\x1b\[[0-9;]*m", "", shown):
            assert select.select([screen], [], [], 60)[0]
            shown += os.read(screen, 65536).decode()
        command.send_signal(signal.SIGINT)
        command.wait(60)
    os.close(screen)
    assert command.returncode == 130
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "/environment/temperature 22.0 → 22.5  + /b 1" in plain
    assert all(len(line) <= 80 for line in plain.splitlines())


def test_the_state_of_the_connection_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Session:
        class store:  # noqa: N801 - stands for an attribute
            name = "redis://example"

    def heartbeats(*connected: bool) -> Any:
        for one in connected:
            yield Heartbeat("t", "e", 1, connected=one)

    moments = iter(range(100))
    monkeypatch.setattr(watch.time, "monotonic", lambda: float(next(moments)))
    assert list(watch._events(heartbeats(True, False, False, True, True), Session)) == []  # type: ignore[arg-type]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "no connection to redis://example: trying again by itself, and then what was missed comes",
        "connected again, after 1 s",
    ]
