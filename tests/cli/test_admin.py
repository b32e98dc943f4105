"""twins, server, demo."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from circman_redis import StateManager
from circman_redis.cli import demo
from tests.cli.conftest import Run, lines, process, value
from tests.servers import Server


def test_twins_lists_those_under_the_prefix(run: Run, server: Server, client: redis.Redis) -> None:
    for name in ("b", "a"):
        with StateManager(name, url=server.url) as manager:
            manager.update_many([{"n": 1}, {"n": 2}])
    with StateManager("c", url=server.url, prefix="other") as manager:
        manager.set_state({"n": 1})
    client.set("circman:{no twin}:state", "x")
    client.set("circman:{bare}:state", "{}")
    client.set("circman:{odd}:state", "{}")
    client.set("circman:{odd}:meta", "not a hash")
    found = lines(run("twins"))
    assert [(one["twin"], one["version"], one["history"]) for one in found] == [
        ("a", 2, 1),
        ("b", 2, 1),
        ("bare", None, 0),
        ("odd", None, None),
    ]
    assert list(found[0]) == ["twin", "version", "bytes", "committed_at", "history"]
    assert found[0]["bytes"] > 10
    assert [one["twin"] for one in lines(run("twins", "--prefix", "other"))] == ["c"]


def test_what_a_user_may_not_ask_is_refused_with_the_reason(run: Run, server: Server, client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "shy", "reset", "on", ">pw", "~*", "+@all", "-scan")
    try:
        said = run("twins", "--url", f"unix://shy:pw@{server.socket}", code=1).stderr
        assert "permissions to run the 'scan' command" in said
        assert "pw" not in said
    finally:
        client.acl_deluser("shy")


def test_a_server_that_goes_away_is_refused_with_the_reason(run: Run, own_server: Server) -> None:
    url = own_server.url
    own_server.kill()
    for command in ("twins", "info", "get"):
        assert run(command, "--url", url, code=1).stderr.startswith("error: ")


def test_twins_on_a_terminal(run: Run, twin: StateManager, terminal: None) -> None:
    assert run("twins").stderr == "no twins\n"
    twin.set_state({"n": 1})
    assert twin.twin in run("twins").stdout


def test_server_tells_where_it_is_and_whether_it_runs(run: Run, tmp_path: Path) -> None:
    assert run("server", "--folder", "here", "--path").stdout == f"{tmp_path}/here/server.sock\n"
    assert value(run("server", "--folder", "here", "--status", code=1)) == {
        "running": False,
        "url": f"unix://{tmp_path}/here/server.sock",
    }
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_server_holds_the_embedded_server_until_it_is_told(run: Run, tmp_path: Path, ending: signal.Signals) -> None:
    folder = tmp_path / "here"
    with process("server", "--folder", str(folder)) as holder:
        assert holder.stdout is not None
        url = holder.stdout.readline().decode().strip()
        assert url == f"unix://{folder}/server.sock"
        assert value(run("server", "--folder", str(folder), "--status"))["running"] is True
        assert value(run("update", '{"n": 1}', "--url", url))["version"] == 1
        assert value(run("get", "/n", "--url", f"embedded://{folder}")) == 1
        holder.send_signal(ending)
        _, said = holder.communicate(timeout=60)
    assert holder.returncode == 0
    assert f"redis-cli -s {folder}/server.sock" in said.decode()
    assert "Traceback" not in said.decode()


def test_server_that_cannot_be_had_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    (tmp_path / "shared" / "file").touch()
    assert run("server", "--folder", "shared", code=1).stderr.startswith("error: ")


@pytest.mark.parametrize("code", [0, 1])
def test_demo_passes_on_what_it_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    asked = []

    def main(*arguments: object, prefix: str | None) -> int:
        asked.append((*arguments, prefix))
        return code

    monkeypatch.setattr(demo, "import_module", lambda name: SimpleNamespace(main=main))
    run("demo", code=code)
    run("demo", "--workers", "5", "--seconds", "0.5", "--twin", "other", "--url", "redis://h", code=code)
    run("demo", "--prefix", "p", code=code)
    assert asked == [
        (6, 10, "demo", None, None),
        (5, 0.5, "other", "redis://h", None),
        (6, 10, "demo", None, "p"),
    ]
