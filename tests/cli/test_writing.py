"""set, update, adjust, import, clear-history, delete."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import click
import pytest
import redis

from circman_redis import StateManager
from circman_redis.cli import _options, _read, writing
from circman_redis.driver import Driver
from circman_redis.protocol import Call
from circman_redis.twin.branches import fork
from tests.cli.conftest import Run, lines, value
from tests.servers import Server


def test_set_commits_a_file_or_stdin_with_its_digits(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(
        '{\n "environment": {"temperature": 22.10}, "timestamp": "2026-11-22T14:00:00Z" }'
    )
    commit = value(run("set", "state.json"))
    assert list(commit) == ["version", "epoch", "timestamp", "committed_at", "duplicate"]
    assert (commit["version"], commit["timestamp"], commit["duplicate"]) == (1, "2026-11-22T14:00:00Z", False)
    assert run("get", "/environment").stdout == '{"temperature":22.10}\n'
    assert value(run("set", "-", stdin='{"x": 1.50}'))["version"] == 2
    assert run("get", "/x").stdout == "1.50\n"


def test_update_takes_json_a_file_or_stdin(run: Run, tmp_path: Path) -> None:
    (tmp_path / "patch.json").write_text('{"b": 2.0}')
    run("update", '{"a": 1.0, "gone": {}}')
    run("update", "@patch.json")
    run("update", "-", stdin=b'{"c": 3.00, "gone": null}')
    assert run("get").stdout.startswith('{"a":1.0,"timestamp":')
    assert [run("get", f"/{name}").stdout for name in "abc"] == ["1.0\n", "2.0\n", "3.00\n"]
    run("get", "/gone", code=1)


def test_adjust_adds_negative_numbers_and_several_at_once(run: Run, twin: StateManager) -> None:
    twin.set_state({"materials": {"x": {"inventory": 10}, "y": {"inventory": 1.5}}})
    run("adjust", "/materials/x/inventory", "-5", "/materials/y/inventory", "-2.5e-1")
    assert twin.current_state["materials"] == {"x": {"inventory": 5}, "y": {"inventory": 1.25}}
    assert value(run("adjust", "/materials/x/inventory", "9007199254740000", "-t", twin.twin))["version"] == 3
    assert run("get", "/materials/x/inventory").stdout == "9007199254740005\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["/a"],
        ["/a", "1", "/b"],
        ["/a", "one"],
        ["/a", "NaN"],
        ["/a", "+1"],
        ["/a", "0x10"],
        ["/a", "1_0"],
        ["a", "1"],
        ["/a", "1", "/a", "1"],
        ["/a", "1", "--expct", "3"],
    ],
)
def test_adjust_without_pairs_of_pointer_and_number_is_wrong_usage(run: Run, arguments: list[str]) -> None:
    run("adjust", *arguments, code=2)


def test_what_breaks_rules_is_refused_with_every_reason(run: Run, twin: StateManager) -> None:
    twin.set_state({"materials": {"x": {"inventory": 1}}})
    said = run("update", '{"environment": {"humidity": 101}, "materials": {"x": {"inventory": -1}}}', code=1)
    assert said.stdout == ""
    assert said.stderr.splitlines() == [
        "error: refused, 2 rules are broken:",
        "  /environment/humidity: 101 breaks maximum 100",
        "  /materials/x/inventory: -1 breaks minimum 0",
    ]
    assert "error: refused, 1 rule is broken" in run("adjust", "/materials/x/inventory", "-2", code=1).stderr
    assert twin.snapshot().version == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["update", '{"a": 1,\n "b": }'], "error: JSON, line 2, column 7: "),
        (["update", '{"a": NaN}'], "error: JSON at /a: "),
        (["update", "[]"], "error: JSON must be a JSON object"),
        (["set", "-"], "error: stdin, line 1, column 1: "),
        (["update", '{"a": 1, "a": 2}'], "a duplicate key"),
    ],
)
def test_what_is_no_json_object_is_refused_with_its_place(run: Run, arguments: list[str], reason: str) -> None:
    assert reason in run(*arguments, code=1).stderr


def test_expect_and_commit_id(run: Run) -> None:
    assert value(run("update", '{"a": 1}', "--expect", "0", "--commit-id", "once"))["version"] == 1
    again = value(run("update", '{"a": 1}', "--expect", "0", "--commit-id", "once"))
    assert (again["version"], again["duplicate"]) == (1, True)
    assert "is at version 1, not 0" in run("update", '{"a": 2}', "--expect", "0", code=1).stderr
    run("update", '{"a": 2}', "--expect", "-1", code=2)
    run("update", '{"a": 2}', "--commit-id", "x" * 129, code=2)


def test_who_commits(run: Run, twin: StateManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def actor(*arguments: str) -> str | None:
        run("update", '{"a": 1}', *arguments)
        return twin.snapshot().actor

    assert actor() == f"cli:{getpass.getuser()}"
    assert actor("--actor", "me") == "me"
    monkeypatch.setenv("CIRCMAN_ACTOR", "the environment")
    assert actor() == "the environment"
    assert actor("--actor", "me") == "me"


def test_a_user_without_a_name_commits_by_number(run: Run, twin: StateManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(_options.getpass, "getuser", nobody)
    run("update", '{"a": 1}')
    assert twin.snapshot().actor == f"cli:{os.getuid()}"


def test_import_commits_an_exported_file(run: Run, twin: StateManager, tmp_path: Path) -> None:
    run("update", '{"a": 1.10}')
    path = Path(run("export").stdout.strip())
    run("update", '{"a": 2}')
    commit = value(run("import", path.name, "--expect", "2"))
    assert (commit["version"], twin.snapshot().op) == (3, "import")
    assert run("get", "/a").stdout == "1.10\n"
    assert "no file to import at" in run("import", "nothing.json", code=1).stderr


def test_files_that_are_not_there_are_wrong_usage(run: Run) -> None:
    for command in (["set", "nothing.json"], ["validate", "nothing.json"], ["ingest", "nothing.csv"]):
        assert "does not exist" in run(*command, code=2).stderr
    assert run("update", "@nothing.json", code=1).stderr == "error: nothing.json: No such file or directory\n"


def test_clear_history_keeps_the_state(run: Run, twin: StateManager) -> None:
    twin.update_many([{"a": 1}, {"a": 2}, {"a": 3}])
    run("clear-history", code=2)
    assert value(run("clear-history", "--yes")) == {"twin": twin.twin, "removed": 2}
    assert (len(twin.state_history), twin.snapshot().version) == (0, 3)


def test_delete_removes_the_twin(run: Run, twin: StateManager, client: redis.Redis) -> None:
    twin.set_state({"a": 1})
    assert "say --yes" in run("delete", code=2).stderr
    assert value(run("delete", "--yes")) == {"twin": twin.twin, "version": 1, "branches": []}
    assert client.dbsize() == 0
    assert run("delete", "--yes", code=1).stderr == f"error: there is no twin '{twin.twin}'\n"


def test_delete_removes_the_branches(
    run: Run, twin: StateManager, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says which there are; those of a twin that is gone are removed too."""
    twin.set_state({"a": 1})
    for name in ("y", "x"):
        fork(twin, name).manager.close()
    names = [f"{twin.twin}@x", f"{twin.twin}@y"]
    assert [one["twin"] for one in lines(run("twins", "--branches"))] == [twin.twin, *names]
    assert value(run("delete", "--yes", "--keep-branches")) == {"twin": twin.twin, "version": 1, "branches": []}
    monkeypatch.setattr(writing, "on_keyboard", lambda: True)
    assert f"and its model, and {', '.join(names)}?" in run("delete", stdin="n\n", code=1).stderr
    assert value(run("delete", "--yes")) == {"twin": twin.twin, "version": 0, "branches": names}
    assert client.dbsize() == 0


def test_on_a_terminal_it_asks(run: Run, twin: StateManager, monkeypatch: pytest.MonkeyPatch) -> None:
    twin.set_state({"a": 1})
    monkeypatch.setattr(writing, "on_keyboard", lambda: True)
    assert "nothing was removed" in run("delete", stdin="n\n", code=1).stderr
    assert twin.snapshot().version == 1
    said = run("delete", stdin="y\n")
    assert "Remove twin" in said.stderr
    assert value(said)["version"] == 1


def test_a_question_that_is_interrupted_removes_nothing(
    run: Run, twin: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> bool:
        raise click.Abort

    twin.set_state({"a": 1})
    monkeypatch.setattr(writing, "on_keyboard", lambda: True)
    monkeypatch.setattr(click, "confirm", interrupted)
    run("delete", code=130)
    assert twin.snapshot().version == 1


def test_an_unknown_host_is_said_without_the_password(run: Run) -> None:
    said = run("get", "--url", "redis://someone:secret@localhost:1/0", code=1)
    assert "redis://someone@localhost:1/0" in said.stderr
    assert "secret" not in said.output


@pytest.mark.parametrize("url", ["http://localhost", "redis://u:se[cret@h", "redis://h:port", "embedded://relative"])
def test_a_url_that_cannot_be_read_is_wrong_usage(run: Run, url: str) -> None:
    assert "secret" not in run("get", "--url", url, code=2).output


def test_an_embedded_server_that_cannot_be_had_is_refused_with_the_reason(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "the embedded server in" in run("get", "--url", f"embedded://{tmp_path}/file", code=1).stderr


def test_the_retries_of_the_environment_are_honoured(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCMAN_RETRIES", "many")
    assert "CIRCMAN_RETRIES" in run("get", code=2).stderr


def test_when_the_answer_to_a_commit_is_lost_its_id_is_named(
    run: Run, twin: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Driver._send

    def lost(driver: Driver, call: Call[object], *attempts: object) -> object:
        reply = send(driver, call, *attempts)
        if call.commit_id:
            raise redis.TimeoutError("no answer")
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "_send", lost)
        said = run("update", '{"a": 1}', code=1).stderr
    assert "whether it was committed is not known: repeat it with --commit-id " in said
    assert value(run("update", '{"a": 1}', "--commit-id", said.split()[-1]))["duplicate"] is True


def test_arguments_that_are_no_text_are_refused(run: Run) -> None:
    run("update", '{"a": 1}', "--commit-id", "\udcff", code=2)
    run("update", '{"a": "\udcff"}', code=1)
    assert "'\\udcff'" in run("get", "--twin", "\udcff", code=2).stderr


def test_stdin_is_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_read, "MAX_FILE_BYTES", 5)
    assert "stdin: more than the 5 bytes" in run("set", "-", stdin="[0, 0]", code=2).stderr


def test_a_fault_of_our_own_is_not_explained_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_read, "check_text", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("update", "{}")
