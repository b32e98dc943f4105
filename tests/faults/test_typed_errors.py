"""What a server says when it cannot, or will not, is an error with a class of its own; what passes is waited out."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from circman_redis import (
    NotPermitted,
    ReadOnlyReplica,
    ScriptBusy,
    StateManager,
    StoreError,
    StoreFull,
    StoreUnavailable,
    WritesRefused,
)
from tests.contract.conftest import Managers
from tests.servers import Server, contents, wait_until

SHORT = 0.5
"""Seconds that a call takes which is to fail."""

PATIENT = 60.0
"""Seconds that a call may take which is to wait something out."""


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """Somebody's script runs for ever."""
    with server.client(retry=None) as admin:
        admin.config_set("busy-reply-threshold", 20)
        running = threading.Thread(target=_run_for_ever, args=(server,))
        running.start()
        try:
            wait_until(lambda: _says(admin, "BUSY"))
            yield
        finally:
            admin.script_kill()
            running.join()


def _run_for_ever(server: Server) -> None:
    with server.client(retry=None, socket_timeout=None) as client, pytest.raises(redis.ResponseError, match="kill"):
        client.eval("while true do end", 0)


def _says(admin: redis.Redis, code: str) -> bool:
    try:
        admin.ping()
    except redis.RedisError as error:
        return str(error).startswith(code)
    return False


@contextmanager
def replica_of_nobody(server: Server) -> Iterator[None]:
    """It follows a master that is not there, and answers with what it has."""
    with server.client() as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            yield
        finally:
            admin.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def stale_replica(server: Server) -> Iterator[None]:
    """The same, and it does not even answer."""
    with server.client() as admin:
        admin.config_set("replica-serve-stale-data", "no")
        with replica_of_nobody(server):
            yield


@contextmanager
def configured(server: Server, setting: str, value: object, back: object) -> Iterator[None]:
    with server.client() as admin:
        admin.config_set(setting, value)
        try:
            yield
        finally:
            admin.config_set(setting, back)


def too_few_replicas(server: Server) -> Any:
    return configured(server, "min-replicas-to-write", 1, 0)


def full(server: Server) -> Any:
    return configured(server, "maxmemory", 1, 0)


@contextmanager
def snapshots_fail(server: Server) -> Iterator[None]:
    """There is a folder where the server's snapshot should be."""
    blocking = server.folder / "dump.rdb"
    blocking.mkdir()
    with server.client(decode_responses=True) as admin:
        admin.config_set("save", "3600 1")
        admin.bgsave()
        wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
        try:
            yield
        finally:
            blocking.rmdir()
            admin.bgsave()
            wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "ok")


Trouble = Callable[[Server], Any]
TROUBLES: dict[str, tuple[Trouble, type[StoreError], str]] = {
    "busy": (busy, ScriptBusy, "BUSY"),
    "replica": (replica_of_nobody, ReadOnlyReplica, "read only replica"),
    "stale replica": (stale_replica, StoreUnavailable, "Link with MASTER is down"),
    "too few replicas": (too_few_replicas, WritesRefused, "NOREPLICAS"),
    "no snapshots": (snapshots_fail, WritesRefused, "MISCONF"),
    "full": (full, StoreFull, "maxmemory"),
}
PASSING = ["busy", "replica", "stale replica", "too few replicas"]
WRITES: dict[str, Callable[[StateManager], Any]] = {
    "set": lambda twin: twin.set_state({"n": 9}),
    "merge": lambda twin: twin.update_state({"m": 1}),
    "many": lambda twin: twin.update_many([{"m": 1}, {"m": 2}]),
    "adjust": lambda twin: twin.adjust({"/n": 1}),
    "modify": lambda twin: twin.modify(lambda state: {**state, "n": 5}),
    "settings": lambda twin: twin.set_history_length(7),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_refused_write_is_typed_and_wrote_nothing(
    manager: Managers, own_server: Server, twin_id: str, name: str
) -> None:
    """Each kind of write; when the trouble is over, the same manager goes on at the next version."""
    trouble, kind, said = TROUBLES[name]
    with manager(twin_id, url=own_server.url, timeout=SHORT) as twin, own_server.client() as beside:
        twin.set_state({"n": 0})
        before = contents(beside)
        with trouble(own_server):
            for write in WRITES.values():
                with pytest.raises(kind, match=said) as caught:
                    write(twin)
                assert type(caught.value) is kind
                assert twin_id in str(caught.value)
                assert caught.value.__cause__ is not None
        assert contents(beside) == before
        assert twin.adjust({"/n": 1}).version == 2
        assert twin.update_many([{"m": 1}, {"m": 2}])[-1].version == 4


@pytest.mark.parametrize("name", ["replica", "too few replicas", "no snapshots", "full"])
def test_reads_go_on_while_writes_are_refused(manager: Managers, own_server: Server, twin_id: str, name: str) -> None:
    """And whoever opens the twin then reads too, once there is one."""
    trouble, kind, _ = TROUBLES[name]
    with manager(twin_id, url=own_server.url, timeout=SHORT) as twin:
        twin.update_many([{"n": 0}, {"n": 1}])
        with (
            trouble(own_server),
            manager(twin_id, url=own_server.url, prefix="circman", timeout=SHORT) as later,
            own_server.client() as client,
            StateManager(twin_id, client=client, timeout=SHORT) as another,
        ):
            for one in (twin, later, another):
                assert one.snapshot().version == 2
                assert [state["n"] for state in one.get_history()] == [0]
            with pytest.raises(kind):
                another.update_state({"n": 2})


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_in_time_is_waited_out(
    manager: Managers, own_server: Server, twin_id: str, name: str, retried: list[Exception]
) -> None:
    """Inside the call's own time; the commit is made, once."""
    trouble = TROUBLES[name][0]
    with manager(twin_id, url=own_server.url, timeout=PATIENT) as twin, ThreadPoolExecutor(1) as beside:
        twin.set_state({"n": 0})
        with trouble(own_server):
            waiting: Future[Any] = beside.submit(twin.adjust, {"/n": 1})
            wait_until(lambda: retried or waiting.done())
            assert not waiting.done()
        commit = waiting.result(PATIENT)
        assert (commit.version, commit.duplicate) == (2, False)
        assert twin.get_current_state()["n"] == 1


@contextmanager
def loading(server: Server) -> Iterator[None]:
    """It was killed, and reads a large append-only file until this is over."""
    server.kill()
    (file,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    with file.open("ab") as aof:
        aof.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n" * 400_000)
    server.options = (*server.options, "--key-load-delay", "50")  # us; it answers after every 1,024 commands
    with (server.folder / "log").open("ab") as log:
        server.process = subprocess.Popen(server.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    with server.client(retry=None) as admin:
        wait_until(lambda: _is_loading(admin))
        yield
        admin.config_set("key-load-delay", 0)


def _is_loading(admin: redis.Redis) -> bool:
    with suppress(redis.ConnectionError):
        return bool(admin.info("persistence")["loading"])
    return False


def test_a_server_that_loads_its_data_is_waited_for(
    manager: Managers, own_server: Server, twin_id: str, retried: list[Exception]
) -> None:
    """By those who knew it before and by those who come now; whose time is over is told so."""
    with manager(twin_id, url=own_server.url, timeout=PATIENT) as twin, ThreadPoolExecutor(2) as beside:
        twin.set_state({"n": 0})
        with loading(own_server):
            with pytest.raises(StoreUnavailable, match="loading"):
                manager("impatient", url=own_server.url, timeout=PATIENT, retries=0)
            retried.clear()
            waiting = beside.submit(twin.adjust, {"/n": 1})
            opening = beside.submit(manager, "late", url=own_server.url, timeout=PATIENT)
            wait_until(lambda: len(retried) > 1)
            assert any("loading" in str(error) for error in retried)
            assert not waiting.done()
        assert waiting.result(PATIENT).version == 2
        with opening.result(PATIENT) as late:
            assert late.set_state({"n": 0}).version == 1


def test_a_user_without_a_right_or_with_another_password(manager: Managers, own_server: Server, twin_id: str) -> None:
    """It is said at once, by name, without the password, and nothing was changed."""
    with own_server.client() as admin:
        admin.acl_setuser(
            "worker", enabled=True, passwords=["+secret"], categories=["+@all"], keys=["*"], channels=["*"]
        )
        url = f"unix://worker:secret@{own_server.socket}"
        with manager(twin_id, url=url, timeout=PATIENT) as twin:
            twin.set_state({"n": 0})
            before = contents(admin)
            admin.acl_setuser("worker", enabled=True, commands=["-evalsha"])
            with pytest.raises(NotPermitted, match="evalsha"):
                twin.adjust({"/n": 1})
            admin.acl_setuser("worker", enabled=True, commands=["+evalsha"], reset_passwords=True, passwords=["+other"])
            admin.execute_command("CLIENT", "KILL", "USER", "worker")
            with pytest.raises(NotPermitted, match="see to the user and the password") as refused:
                twin.adjust({"/n": 1})
            assert "secret" not in str(refused.value)
            assert contents(admin) == before
            admin.acl_setuser("worker", enabled=True, passwords=["+secret"])
            assert twin.adjust({"/n": 1}).version == 2


def test_a_password_that_is_asked_for_from_now_on(manager: Managers, own_server: Server, twin_id: str) -> None:
    """NOAUTH: by a server that took everybody until then."""
    with manager(twin_id, url=own_server.url, timeout=PATIENT) as twin, own_server.client() as admin:
        twin.set_state({"n": 0})
        admin.config_set("requirepass", "secret")
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal")
        with pytest.raises(NotPermitted):
            twin.adjust({"/n": 1})
        admin.config_set("requirepass", "")
        assert twin.adjust({"/n": 1}).version == 2


def test_somebody_elses_kill_is_refused_and_the_commit_waits(own_server: Server, twin_id: str, tmp_path: Path) -> None:
    """UNKILLABLE: a script that has written cannot be ended but with its server."""
    with own_server.client(retry=None) as admin, own_server.client(retry=None, socket_timeout=None) as other:
        admin.config_set("busy-reply-threshold", 20)
        with StateManager(twin_id, url=own_server.url, timeout=SHORT) as twin:
            twin.set_state({"n": 0})
            script = "redis.call('SET', KEYS[1], 1) while true do end"
            running = threading.Thread(target=_ends_with_its_server, args=(other, script))
            running.start()
            wait_until(lambda: _says(admin, "BUSY"))
            with pytest.raises(redis.ResponseError, match="UNKILLABLE"):
                admin.script_kill()
            with pytest.raises(ScriptBusy):
                twin.adjust({"/n": 1})
            own_server.kill()
            running.join()
            own_server.start()
            assert twin.adjust({"/n": 1}).version == 2


def _ends_with_its_server(client: redis.Redis, script: str) -> None:
    with pytest.raises(redis.ConnectionError):
        client.eval(script, 1, "k")
