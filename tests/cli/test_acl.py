"""acl: what it prints, what a user of each role can do with the commands; names that lead nowhere else."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from circman_redis import StateManager, UsageError, acl
from circman_redis.acl import ROLES, Role
from tests.cli.conftest import Run, lines, value
from tests.servers import Server, contents


def held(server: Server) -> dict[bytes, object]:
    """All that the server holds, as bytes."""
    with server.client() as client:
        return contents(client)


HOSTILE = ["*", "a}:state{", "{a}", "../../etc/passwd", "/etc/passwd", "a/b", "a b", "a\nb", "a\x00b", "ä", "x" * 129]


@pytest.fixture
def as_role(run: Run, server: Server, twin: StateManager, tmp_path: Path) -> Callable[[Role], list[str]]:
    """Makes a user by the line that is printed; returns the options that log it in."""
    password = tmp_path / "password"
    password.write_text("secret\n")

    def make(role: Role) -> list[str]:
        line = run("acl", role, "--user", role, "--twin", twin.twin, "--new-password", str(password)).stdout
        with server.client() as admin:
            admin.execute_command(*line.split())
        return ["--user", role, "--password-file", str(password)]

    return make


def test_what_is_printed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("acl", "reader", "--twin", "plant", "--user", "screen")
    assert made.stdout == acl.line("screen", acl.rules("reader", twin="plant")) + "\n"
    assert "it has no password yet" in made.stderr
    (tmp_path / "pw").write_text("secret\n")
    made = run("acl", "writer", "--twin", "plant", "--new-password", "pw", "--acl-file", "--prefix", "p")
    assert made.stdout.startswith(f"user p-plant-writer on #{hashlib.sha256(b'secret').hexdigest()} resetkeys")
    assert made.stderr == ""
    monkeypatch.setenv("CIRCMAN_TWIN", "line-7")
    assert "{line-7}" in run("acl", "admin").stdout
    assert "{before}" in run("--twin", "before", "acl", "admin").stdout
    monkeypatch.delenv("CIRCMAN_TWIN")
    assert run("acl", "admin").stdout.startswith(
        "ACL SETUSER circman-admin on resetkeys resetchannels -@all ~circman:{*}:*"
    )
    assert "+waitaof" in run("acl", "writer", "--fsync").stdout
    assert "+waitaof" not in run("acl", "reader", "--fsync").stdout


def test_what_it_cannot_print(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert "the file is empty" in run("acl", "reader", "--new-password", "empty", code=2).stderr
    assert "No such file" in run("acl", "reader", "--new-password", "missing", code=2).stderr
    assert "use 1 to 128" in run("acl", "reader", "--user", "a b", code=2).stderr
    run("acl", "owner", code=2)


@pytest.mark.parametrize("role", ROLES)
def test_the_line_can_be_pasted(run: Run, server: Server, tmp_path: Path, role: Role, client: redis.Redis) -> None:
    """Into redis-cli; where it is read again it changes nothing, and passwords stay."""
    if shutil.which("redis-cli") is None:
        pytest.skip("needs redis-cli")
    line = run("acl", role, "--user", "pasted").stdout
    for _ in range(2):
        said = subprocess.run(
            ["redis-cli", "-s", server.socket], input=line, capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == "OK"
        client.execute_command("ACL", "SETUSER", "pasted", ">kept")
    assert len(client.acl_getuser("pasted")["passwords"]) == 1
    client.acl_deluser("pasted")


@pytest.mark.parametrize("role", ROLES)
def test_commands_of_each_role(
    run: Run, as_role: Callable[[Role], list[str]], twin: StateManager, role: Role, client: redis.Redis
) -> None:
    twin.update_many([{"n": 1}, {"n": 2}])
    who = as_role(role)
    assert run("get", "/n", *who).stdout == "2\n"
    assert len(lines(run("history", *who))) == 2
    facts = value(run("info", *who))
    assert facts["twin"]["version"] == 2
    assert (facts["server"]["version"] is None) == (role == "reader")
    rights = next(one for one in lines(run("doctor", *who)) if one["about"] == "rights")
    assert rights["level"] == "ok"
    assert {"reader": "may read, and not", "writer": "may read and commit; not", "admin": "all that is needed"}[
        role
    ] in rights["says"]
    run("backup", "file", *who)
    run("export", "state.json", *who)
    run("audit", *who)
    run("schema", "show", *who)
    allowed = {"reader": 0, "writer": 1, "admin": 2}[role]
    run("update", '{"n": 3}', *who, code=0 if allowed else 1)
    run("clear-history", "--yes", *who, code=0 if allowed else 1)
    for admins in (["twins"], ["backup", "--all", "all"], ["restore", "file", "--replace"], ["delete", "--yes"]):
        result = run(*admins, *who, code=0 if allowed == 2 else 1)
        assert allowed == 2 or "NOPERM" in result.stderr or "permission" in result.stderr
    client.acl_deluser(role)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_id_leads_nowhere(
    run: Run, server: Server, twin: StateManager, name: str, client: redis.Redis, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By the API, a command, the environment or a backup: it is refused, and neither key nor file is touched."""
    twin.set_state({"n": 1})
    run("backup", "file")
    text = (tmp_path / "file").read_text()
    (tmp_path / "forged").write_text(text.replace(json.dumps(twin.twin), json.dumps(name)))
    before, files = held(server), sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        StateManager(name, url=server.url)
    with pytest.raises(UsageError):
        StateManager("t", url=server.url, prefix=name)
    for command in (["get"], ["update", "{}"], ["export"], ["backup", "there"], ["delete", "--yes"], ["acl", "reader"]):
        run(*command, "--twin", name, code=2)
        run(*command, "--prefix", name, code=2)
    assert run("restore", "file", "--as", name, code=2).stderr
    run("restore", "forged", code=1)
    if "\x00" not in name:
        monkeypatch.setenv("CIRCMAN_TWIN", name)
        run("export", code=2)
    assert (held(server), sorted(tmp_path.rglob("*"))) == (before, files)


@pytest.mark.parametrize("pointer", ["/../../meta", "/*", "/-", "/a~2", "a", "/circman:{other}:state", "/n/x", "/\x00"])
def test_a_pointer_leads_nowhere_else(
    run: Run, server: Server, twin: StateManager, pointer: str, client: redis.Redis
) -> None:
    twin.set_state({"n": 1})
    before = set(held(server))
    for command in (["get", pointer], ["adjust", pointer, "1"]):
        assert refused(run, *command)
    assert set(held(server)) == before
    assert twin.snapshot().version == 1


def test_no_file_is_called_after_a_twin(run: Run, server: Server, tmp_path: Path) -> None:
    with StateManager("..", url=server.url) as twin:
        twin.set_state({"n": 1})
    exported = Path(run("export", "--twin", "..").stdout.strip())
    assert exported.resolve().parent == tmp_path / "results"


def refused(run: Run, *arguments: str) -> bool:
    """Whether it says why not, by either exit code."""
    try:
        result = run(*arguments, code=1)
    except AssertionError:
        result = run(*arguments, code=2)
    return result.stdout == "" and result.stderr != ""
