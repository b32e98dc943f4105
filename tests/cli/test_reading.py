"""get, history, at, diff, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from circman_redis import JSONText, StateManager
from circman_redis.driver import Driver
from circman_redis.protocol import Call
from tests.cli.conftest import Run, lines, value
from tests.servers import Server

TEXT = '{"timestamp":"2026-11-22T14:00:00Z","environment":{"temperature":22.10},"n":[12345678901234567890,1e2],"e":{}}'


@pytest.fixture
def filled(twin: StateManager) -> StateManager:
    """Version 1 is TEXT, 2 and 3 are merges."""
    twin.set_state(JSONText(TEXT), actor="first")
    twin.update_state(JSONText('{"environment":{"temperature":21.50},"timestamp":"2026-11-22T15:00:00Z"}'))
    twin.update_state(JSONText('{"e":null,"µ~/":-0.0,"timestamp":"2026-11-22T16:00:00Z"}'))
    return twin


def test_get_prints_the_state_with_every_digit(run: Run, twin: StateManager) -> None:
    twin.set_state(JSONText(TEXT))
    assert run("get").stdout == TEXT + "\n"


@pytest.mark.parametrize(
    ("pointer", "text"),
    [
        ("/environment", '{"temperature":22.10}'),
        ("/environment/temperature", "22.10"),
        ("/n", "[12345678901234567890,1e2]"),
        ("/n/0", "12345678901234567890"),
        ("/e", "{}"),
        ("/timestamp", '"2026-11-22T14:00:00Z"'),
    ],
)
def test_get_cuts_out_what_a_pointer_leads_to(run: Run, twin: StateManager, pointer: str, text: str) -> None:
    twin.set_state(JSONText(TEXT))
    assert run("get", pointer).stdout == text + "\n"


def test_get_takes_a_pointer_with_escapes(run: Run, filled: StateManager) -> None:
    assert run("get", "/µ~0~1").stdout == "-0.0\n"


def test_get_says_what_stands_where_a_pointer_ends(run: Run, filled: StateManager) -> None:
    said = run("get", "/environment/humidity", code=1)
    assert said.stderr == (
        "error: nothing at /environment/humidity: /environment is an object with 'temperature', without 'humidity'\n"
    )
    assert said.stdout == ""


def test_a_pointer_that_is_none_is_wrong_usage(run: Run) -> None:
    assert "JSON Pointer 'environment'" in run("get", "environment", code=2).stderr


def test_without_a_state_get_is_refused_and_makes_nothing(run: Run, client: redis.Redis, twin_id: str) -> None:
    assert f"twin '{twin_id}' has no state yet" in run("get", code=1).stderr
    for command in (["history"], ["info"], ["twins"], ["validate", "-"], ["at", "--version", "1"], ["doctor"]):
        run(*command, stdin="{}", code=1 if command[0] == "at" else 0)
    assert client.dbsize() == 0


def test_options_may_stand_before_the_command(run: Run, server: Server, twin: StateManager, twin_id: str) -> None:
    twin.set_state({"a": 1})
    assert value(run("--twin", twin_id, "get", "/a")) == 1
    assert value(run("--twin", "other", "get", "/a", "--twin", twin_id)) == 1
    assert "twin 'other'" in run("-t", "other", "get", code=1).stderr


def test_history_is_a_commit_per_line_newest_first(run: Run, filled: StateManager) -> None:
    entries = lines(run("history"))
    assert [one["version"] for one in entries] == [3, 2, 1]
    assert [list(one) for one in entries] == [
        ["version", "timestamp", "committed_at", "op", "actor", "id", "patch"]
    ] * 3
    assert (entries[2]["op"], entries[2]["actor"], entries[2]["patch"]) == ("set", "first", None)
    assert '"temperature":21.50' in run("history", "--limit", "1", "--before", "3").stdout


def test_history_has_the_states_with_their_digits(run: Run, filled: StateManager) -> None:
    said = run("history", "--states", "--before", "2").stdout
    assert said.endswith(f'"state":{TEXT}}}\n')


def test_history_turns_pages(run: Run, twin: StateManager) -> None:
    twin.update_many([{"n": n} for n in range(250)])
    assert [one["version"] for one in lines(run("history"))] == list(range(250, 0, -1))
    assert [one["version"] for one in lines(run("history", "--limit", "101", "--before", "240"))] == list(
        range(239, 138, -1)
    )


def test_history_is_a_table_on_a_terminal(run: Run, filled: StateManager, terminal: None) -> None:
    filled.update_many([{"n": n} for n in range(30)], actor="evil\x1b[2J")
    table = run("history").stdout
    assert table.splitlines()[0].split() == ["version", "committed", "at", "op", "actor", "patch"]
    assert len(table.splitlines()) == 2 + 20
    assert '{"n":29}' in table
    assert "\x1b" not in table
    assert "evil\\u001b[2J" in table
    shown = run("history", "--limit", "1", "--states").stdout
    assert shown.startswith('{\n  "version": 33,\n')
    assert '\n  "state": {\n' in shown


def test_an_empty_history_on_a_terminal_is_said_in_words(run: Run, terminal: None) -> None:
    assert run("history").stderr == "no commits\n"


def test_a_twin_that_is_made_anew_while_its_history_is_read_is_noticed(
    run: Run, twin: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin.update_many([{"n": n} for n in range(150)])
    run_call = Driver.run

    def meanwhile(driver: Driver, call: Call[object]) -> object:
        reply = run_call(driver, call)
        if call.target == "commits" and twin.snapshot().version == 150:
            twin.delete()
            twin.update_many([{"n": n} for n in range(149)])
        return reply

    monkeypatch.setattr(Driver, "run", meanwhile)
    assert "was deleted or replaced meanwhile" in run("history", code=1).stderr


def test_at_a_version_and_at_a_time(run: Run, filled: StateManager) -> None:
    assert run("at", "--version", "1").stdout == TEXT + "\n"
    assert run("at", "2026-11-22 15:59:59+01:00").stdout == TEXT + "\n"
    assert '"temperature":21.50' in run("at", "2026-11-22T15:30:00Z").stdout
    assert "µ~/" in run("at", "2027-01-01T00:00:00Z").stdout


@pytest.mark.parametrize("arguments", [["2026-11-22T13:00:00Z"], ["--version", "4"]])
def test_at_what_never_was_is_refused(run: Run, filled: StateManager, arguments: list[str]) -> None:
    assert "has left the history" in run("at", *arguments, code=1).stderr


@pytest.mark.parametrize(
    "arguments", [[], ["2026-11-22T13:00:00Z", "--version", "1"], ["yesterday"], ["--version", "0"]]
)
def test_at_needs_a_time_or_a_version(run: Run, filled: StateManager, arguments: list[str]) -> None:
    run("at", *arguments, code=2)


def test_diff_keeps_digits_and_leaves_out_the_side_that_is_not_there(run: Run, filled: StateManager) -> None:
    assert run("diff", "1", "2").stdout == (
        '[{"pointer":"/timestamp","before":"2026-11-22T14:00:00Z","after":"2026-11-22T15:00:00Z"},'
        '{"pointer":"/environment/temperature","before":22.10,"after":21.50}]\n'
    )
    changes = {one["pointer"]: one for one in value(run("diff", "2"))}
    assert changes["/e"] == {"pointer": "/e", "before": {}}
    assert changes["/µ~0~1"] == {"pointer": "/µ~0~1", "after": -0.0}
    assert value(run("diff", "3")) == []


def test_diff_with_a_version_that_is_gone_is_refused(run: Run, filled: StateManager) -> None:
    filled.clear_history()
    assert "has no state of version 2" in run("diff", "2", code=1).stderr


def test_diff_on_a_terminal_has_a_line_per_side(run: Run, filled: StateManager, terminal: None) -> None:
    shown = run("diff", "2", "3").stdout
    assert "/e\n  - {}\n" in shown
    assert "/µ~0~1\n  + -0.0\n" in shown
    assert run("diff", "3").stderr == "no difference\n"


def test_export_writes_a_file_and_prints_its_path(run: Run, twin: StateManager, tmp_path: Path) -> None:
    twin.set_state(JSONText(TEXT))
    said = run("export", "here.json")
    assert said.stdout == "here.json\n"
    assert '"temperature": 22.10' in (tmp_path / "here.json").read_text()
    first, second = run("export").stdout.strip(), run("export").stdout.strip()
    assert first != second
    assert json.loads(Path(second).read_text()) == json.loads(TEXT)


def test_export_to_where_nothing_can_be_written_is_refused(run: Run, filled: StateManager) -> None:
    assert run("export", "no/such/folder.json", code=1).stderr.startswith("error: no/such/folder.json: ")
    run("export", "-", code=2)


def test_a_state_on_a_terminal_is_indented_and_cannot_move_the_cursor(
    run: Run, twin: StateManager, terminal: None
) -> None:
    twin.set_state({"a": "\x9b2J\u202e", "timestamp": "2026-11-22T14:00:00Z"})
    shown = run("get").stdout
    assert shown.startswith('{\n  "a": "\\u009b2J\\u202e",\n')
    assert json.loads(shown)["a"] == "\x9b2J\u202e"
    twin.set_state({"a": ["x" * 1000] * 300})
    assert json.loads(run("get").stdout)["a"] == ["x" * 1000] * 300
