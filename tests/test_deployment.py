"""docker-compose.yml: what it says, and each profile with its real commands, health checks, users and workers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests import compose
from tests.compose import PROFILES, ROOT, Stack, can_mount, is_server
from tests.servers import wait_until

WORKERS = ("environment", "line", "worker")

runs = pytest.mark.skipif(
    not (shutil.which("redis-cli") and can_mount()), reason="needs redis-cli, and the right to mount an /etc/hosts"
)
together = pytest.mark.xdist_group("topology")


# --- what the file says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_every_server_is_looked_after(profile: str) -> None:
    """A volume of its own, a health check, a restart, time to stop; and of passwords it has no more than it needs."""
    whole = compose.model(compose.env_file(profile))
    servers = {name: one for name, one in compose.services(profile).items() if is_server(name)}
    assert len(servers) == {"single": 1, "sentinel": 6, "cluster": 6}[profile]
    for name, server in servers.items():
        assert server["volumes"] == ["./deploy:/deploy:ro", f"{name}:/data"]
        assert name in whole["volumes"]
        assert server["healthcheck"]["test"] == ["CMD", "sh", "/deploy/health.sh"]
        assert (server["restart"], server["stop_grace_period"]) == ("unless-stopped", "30s")
        assert server.get("environment", {}).get("NAME", name) == name


@pytest.mark.parametrize("profile", PROFILES)
def test_workers_wait_for_the_twin_and_can_be_scaled(profile: str) -> None:
    """Nothing keeps them from it: no name, no port. They are writers; only who makes the twin is an admin."""
    services = compose.services(profile)
    for name in WORKERS:
        worker = services[name]
        assert not {"container_name", "ports"} & set(worker)
        assert worker["depends_on"] == {"twin": {"condition": "service_completed_successfully"}}
        assert worker["environment"]["CIRCMAN_USERNAME"] == "writer"
        assert worker["secrets"] == ["writer_password"]
    assert services["twin"]["environment"]["CIRCMAN_USERNAME"] == "admin"


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_referred_to_is_there(profile: str) -> None:
    """Secrets and volumes are declared; what a service waits for is in its profile, or need not be."""
    whole, services = compose.model(compose.env_file(profile)), compose.services(profile)
    waited_for: set[str] = set()
    for service in services.values():
        assert set(service.get("secrets", [])) <= set(whole["secrets"])
        needed = service.get("depends_on", {})
        for other, how in needed.items() if isinstance(needed, dict) else ((one, {}) for one in needed):
            assert other in services or not how["required"], other
            assert other in whole["services"]
            waited_for.add(other)
    assert {name for name in services if name.startswith(("redis", "sentinel", "node"))} <= waited_for
    volumes = [volume for service in services.values() for volume in service.get("volumes", [])]
    assert all(
        (ROOT / "deploy").is_dir() if one.startswith("./deploy:") else one.partition(":")[0] in whole["volumes"]
        for one in volumes
    )


def test_no_profile_is_an_error_that_says_so() -> None:
    """Rather than workers without a server."""
    with pytest.raises(KeyError, match=r"--env-file deploy/single\.env"):
        compose.model({})


def test_no_password_is_in_the_repository() -> None:
    """Only names of files; and nothing that is built or committed takes them along."""
    for path in [ROOT / "docker-compose.yml", *(ROOT / "deploy").rglob("*")]:
        if path.is_file() and path.suffix != ".pyc":
            assert not re.search(r"(?<![%R])>[A-Za-z0-9]{4}|#[0-9a-f]{64}|:[^/\s{}]+@", path.read_text()), path
    assert "secrets" in (ROOT / ".dockerignore").read_text().split()
    assert "secrets/" in (ROOT / ".gitignore").read_text().split()


def test_the_roles_are_those_that_the_command_prints() -> None:
    """deploy/acl has the rules of `circman-redis acl`, to the letter."""
    acl = pytest.importorskip("circman_redis.acl")
    for role in acl.ROLES:
        rules = " ".join(acl.rules(role, cluster=True, fsync=True))
        assert (ROOT / "deploy" / "acl" / role).read_text() == f"{rules}\n"


def test_passwords_are_made_once_and_for_their_owner(tmp_path: Path) -> None:
    """The folder lets nobody else in; what is there already stays."""
    folder = tmp_path / "secrets"
    make = [ROOT / "deploy" / "make-secrets.sh", folder]
    subprocess.run(make, check=True)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert sorted(before) == [f"{name}_password" for name in ("admin", "internal", "operator", "reader", "writer")]
    assert len(set(before.values())) == len(before)
    assert all(re.fullmatch("[0-9a-f]{48}", text) for text in before.values())
    assert folder.stat().st_mode & 0o777 == 0o700
    subprocess.run(make, check=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


# --- each profile, running -------------------------------------------------------------------------------------------


@pytest.fixture
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The servers of a profile, none of them started yet."""
    with Stack(request.param, tmp_path_factory.mktemp("stack")) as one:
        yield one


def as_user(stack: Stack, name: str, user: str, secret: str, port: int = 6379) -> redis.Redis:
    return redis.Redis(stack.address(name), port, username=user, password=stack.password(secret), decode_responses=True)


def work(stack: Stack) -> int:
    """The services that work, the scaled one twice, until all are at work and some commits more; how many they made."""
    keys = ["environment", "line", "monitor", "worker", "worker-2"]
    processes = [stack.start(key.removesuffix("-2"), key) for key in keys]
    wait_until(lambda: all("works on the twin" in stack.log(key).read_text() for key in keys))
    before = history(stack, 1)[0]["version"]
    wait_until(lambda: history(stack, 1)[0]["version"] > before + 20)
    for process in processes:
        process.terminate()  # as `docker compose stop` does
    assert [process.wait(60) for process in processes] == [0] * 5
    said = [stack.log(key).read_text() for key in keys]
    for key in keys:
        del stack.running[key]
    return sum(int(re.search(r": (\d+) commits in", out)[1]) for out in said)  # type: ignore[index]


def history(stack: Stack, limit: int | None = None) -> list[dict[str, Any]]:
    """Newest first, by the service `cli`."""
    stack.services["cli"] = compose.model({**compose.env_file(stack.profile)})["services"]["cli"]
    limited = ["--limit", str(limit)] if limit else []
    code, said = stack.run("cli", ["circman-redis", "history", "--twin", "demo", *limited])
    assert code == 0, said
    return [json.loads(line) for line in said.splitlines()]


def check_users(stack: Stack, name: str) -> None:
    """Nobody without a password, readers read, writers write no settings, and no password can be seen."""
    with redis.Redis(stack.address(name)) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()
    with as_user(stack, name, "reader", "reader") as reader:
        assert reader.ping()
        for refused in (["SET", "circman:{demo}:state", "{}"], ["CONFIG", "GET", "masterauth"], ["FLUSHALL"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                reader.execute_command(*refused)
    with as_user(stack, name, "writer", "writer") as writer:
        for refused in (["FLUSHALL"], ["CONFIG", "SET", "maxmemory", "1"], ["ACL", "LIST"], ["SET", "other", "1"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                writer.execute_command(*refused)
    secrets = {path.read_text() for path in stack.secrets.iterdir()}
    for process in stack.running.values():
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
        assert not any(secret.encode() in shown for secret in secrets)
    for path in stack.data(name).iterdir():
        assert not path.stat().st_mode & 0o077, path


def check_settings(stack: Stack, name: str) -> None:
    with as_user(stack, name, "operator", "operator") as operator:
        found = operator.config_get("*")
    assert (found["appendonly"], found["appendfsync"]) == ("yes", "everysec")
    assert (found["maxmemory-policy"], found["maxmemory"]) == ("noeviction", str(2**30))
    assert found["notify-keyspace-events"] == "$lhgK" or set(found["notify-keyspace-events"]) == set("K$lhg")


@runs
@together
@pytest.mark.parametrize("stack", ["single"], indirect=True)
def test_a_single_server(stack: Stack) -> None:
    """It comes back with what it had; a health check that fails says why."""
    assert stack.health("redis")[0] == 1
    stack.up()
    check_users(stack, "redis")
    check_settings(stack, "redis")
    made = len(history(stack)) + int(re.search(r": (\d+) commits", stack.finish("twin"))[1])  # type: ignore[index]
    made += work(stack)
    stack.kill("redis")
    assert stack.health("redis")[0] == 1
    stack.start("redis")
    stack.wait_for_health("redis")
    assert [one["version"] for one in reversed(history(stack))] == list(range(1, made + 1))
    with as_user(stack, "redis", "operator", "operator") as operator:
        backup = stack.folder / "all.jsonl"
        code, said = stack.run("cli", ["circman-redis", "backup", "--all", str(backup)])
        assert code == 0, said
        operator.flushall()
        code, said = stack.run("cli", ["circman-redis", "restore", str(backup)])
        assert code == 0, said
    assert [one["version"] for one in reversed(history(stack))] == list(range(1, made + 1))


@runs
@together
@pytest.mark.thorough
@pytest.mark.parametrize("stack", ["sentinel"], indirect=True)
def test_replicas_and_sentinels(stack: Stack) -> None:
    """A master that is killed is replaced, and comes back as a replica; health checks tell each of these moments."""
    stack.start("redis-2")
    wait_until(lambda: stack.health("redis-2")[1] == "it has no connection to its master\n")
    stack.kill("redis-2")
    stack.up()
    check_users(stack, "redis-2")
    check_settings(stack, "redis-3")
    stack.finish("twin")
    work(stack)
    before = [one["id"] for one in history(stack)]

    stack.kill("redis-1")
    wait_until(lambda: stack.health("redis-2")[0] == stack.health("redis-3")[0] == 1)
    wait_until(lambda: master(stack) != "redis-1")
    stack.wait_for_health("redis-2", "redis-3")
    stack.start("redis-1")
    wait_until(lambda: role(stack, "redis-1") == "slave")
    stack.wait_for_health("redis-1")
    work(stack)
    after = [one["id"] for one in history(stack)]
    assert after[-len(before) :] == before

    for name in ("sentinel-1", "sentinel-2"):
        stack.kill(name)
    wait_until(lambda: stack.health("sentinel-3")[1].startswith("NOQUORUM"))
    for name in ("sentinel-1", "sentinel-2"):
        stack.start(name)  # with what they knew
    stack.wait_for_health("sentinel-1", "sentinel-2", "sentinel-3")
    hand_over(stack)
    with redis.Redis(stack.address("sentinel-1"), 26379) as anybody:
        assert anybody.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            anybody.execute_command("SENTINEL", "REMOVE", "main")


def hand_over(stack: Stack) -> None:
    """As docs/deployment.md does it for an upgrade."""
    old = master(stack)
    assert op(stack, old, "CLIENT PAUSE 20000 WRITE") == "OK\n"
    assert op(stack, "sentinel-1", "SENTINEL FAILOVER main") == "OK\n"
    name = "SENTINEL GET-MASTER-ADDR-BY-NAME main"
    wait_until(lambda: old not in op(stack, "sentinel-1", name).split())
    wait_until(lambda: role(stack, old) == "slave")
    assert op(stack, old, "CLIENT UNPAUSE") == "OK\n"
    stack.wait_for_health("redis-1", "redis-2", "redis-3")
    work(stack)


def op(stack: Stack, name: str, command: str) -> str:
    """What `docker compose exec NAME sh /deploy/op.sh COMMAND` says."""
    code, said = stack.run(name, ["sh", "/deploy/op.sh", *command.split()])
    assert code == 0, said
    return said


def test_the_commands_of_the_page_name_what_there_is() -> None:
    """Services and files of `docker compose` lines in docs/deployment.md."""
    lines = re.findall(r"docker compose (--env-file .*)", (ROOT / "docs" / "deployment.md").read_text())
    assert len(lines) > 10
    known = compose.model(compose.env_file("single"))["services"]
    for line in lines:
        words = line.split("|")[0].split()
        assert (ROOT / words[1]).exists()
        command, rest = words[2], [word for word in words[3:] if not word.startswith("-")]
        if command in {"run", "exec"}:
            rest = rest[:1]
        assert command in {"up", "ps", "run", "exec"}
        assert all(word in known or word.startswith("worker=") for word in rest), line


def master(stack: Stack) -> str:
    with redis.Redis(stack.address("sentinel-1"), 26379, decode_responses=True) as sentinel:
        return str(sentinel.sentinel_get_master_addr_by_name("main")[0])


def role(stack: Stack, name: str) -> str:
    try:
        with as_user(stack, name, "operator", "operator") as operator:
            return str(operator.info("replication")["role"])
    except redis.ConnectionError:
        return "none"


@runs
@together
@pytest.mark.thorough
@pytest.mark.parametrize("stack", ["cluster"], indirect=True)
def test_a_cluster(stack: Stack) -> None:
    """Nodes are well once they are joined; all of them stopped and started again find each other."""
    nodes = [name for name in stack.services if is_server(name)]
    stack.start("node-1")
    wait_until(lambda: stack.health("node-1")[1] == "the cluster is not whole\n")
    stack.kill("node-1")
    stack.up()
    check_users(stack, "node-5")
    check_settings(stack, "node-2")
    stack.finish("twin")
    work(stack)
    before = [one["id"] for one in history(stack)]
    assert stack.finish("cluster-join") == "6 nodes are one cluster\n"  # as with each `up`
    for name in nodes:
        stack.running[name].terminate()
        stack.running.pop(name).wait(60)
    for name in nodes:
        stack.start(name)
    stack.wait_for_health(*nodes)
    assert [one["id"] for one in history(stack)] == before
