"""One server for the processes of a machine, for as long as one of them uses it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from redis import ConnectionPool, Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from circman_redis._embedded_connection import EmbeddedConnection
from circman_redis._embedded_folder import USERS_LOCK, is_held
from circman_redis.embedded import open_server
from circman_redis.errors import EmbeddedUnavailable
from tests.embedded.helpers import PROMISED, User, command, ended, living, server_pid, wait_until

Start = Callable[..., User]


def test_eight_processes_that_race_get_one_server(folder: Path, user: Start) -> None:
    users = [user() for _ in range(8)]
    for each in users:
        each.tell("open")
    pids = {each.hears() for each in users}
    assert len(pids) == 1
    assert {process.pid for process in living(folder)} == {int(*pids), psutil.Process(int(*pids)).ppid()}


def test_the_server_locks_its_data(folder: Path) -> None:
    with open_server(folder):
        assert is_held(folder / "server.lock")
    wait_until(lambda: not living(folder))
    assert not is_held(folder / "server.lock")


def test_threads_of_one_process_get_one_server(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        servers = list(pool.map(lambda _: open_server(folder), range(8)))
    assert len({server_pid(server.socket_path) for server in servers}) == 1
    for server in servers[1:]:
        server.close()
    assert is_held(folder / USERS_LOCK)
    servers[0].close()


@pytest.mark.parametrize("end", [User.leave, User.kill], ids=["leave", "kill -9"])
def test_the_server_ends_with_its_last_user(folder: Path, user: Start, end: Callable[[User], None]) -> None:
    first, second = user(), user()
    pid = first.open()
    assert second.open() == pid
    end(first)
    assert second.does("SET", "key", "value") == "OK"
    assert int(second.does("open")) == pid
    end(second)
    wait_until(lambda: not living(folder), within=PROMISED)
    assert user().open() != pid


def test_what_was_stored_is_there_for_the_next_user(folder: Path, user: Start) -> None:
    first = user()
    first.open()
    first.does("SET", "key", "value")
    first.kill()
    with open_server(folder) as server:
        assert command(server.socket_path, "GET", "key") == "value"


@pytest.mark.parametrize("end", [User.leave, User.kill], ids=["leave", "kill -9"])
def test_a_forked_child_keeps_the_server(folder: Path, user: Start, end: Callable[[User], None]) -> None:
    parent = user()
    pid = parent.open()
    child = psutil.Process(int(parent.does("fork")))
    end(parent)
    try:
        assert user().open() == pid  # had the keeper seen no user, it would have ended that one first
    finally:
        child.kill()


def test_a_use_ends_once(folder: Path) -> None:
    server, other = open_server(folder), open_server(folder)
    assert not server.closed
    server.close()
    server.close()
    assert server.closed
    assert is_held(folder / USERS_LOCK)
    with pytest.raises(EmbeddedUnavailable, match="was closed: open another"):
        server.ensure()
    other.close()
    with open_server(folder) as again:
        assert command(again.socket_path, "PING") == "PONG"


def test_a_use_that_was_forgotten_ends(folder: Path) -> None:
    server = open_server(folder)
    del server
    wait_until(lambda: not living(folder))


@pytest.mark.parametrize("when", ["while it is ending", "when it has ended"])
def test_a_killed_server_comes_back_unnoticed(folder: Path, when: str) -> None:
    with open_server(folder) as server:
        patient = {"retry": Retry(ConstantBackoff(0.05), 200)} if when == "while it is ending" else {}
        pool = ConnectionPool(connection_class=EmbeddedConnection, server=server, **patient)
        with Redis(connection_pool=pool) as client:
            for number in range(100):
                client.rpush("acknowledged", number)
            pid = client.info("server")["process_id"]
            psutil.Process(pid).kill()
            if not patient:
                wait_until(lambda: not living(folder))
            assert client.lrange("acknowledged", 0, -1) == [b"%d" % number for number in range(100)]
            assert client.info("server")["process_id"] != pid
        pool.disconnect()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_killed_keeper_leaves_no_orphan(folder: Path, user: Start) -> None:
    one = user()
    server = psutil.Process(one.open())
    one.does("SET", "key", "value")
    server.parent().kill()
    wait_until(lambda: ended(server))
    one.does("ensure")
    assert one.does("GET", "key") == "value"
    one.kill()
    wait_until(lambda: not living(folder), within=PROMISED)


def test_a_keeper_that_is_told_to_end_ends_the_server_in_order(folder: Path, user: Start) -> None:
    one = user()
    psutil.Process(one.open()).parent().terminate()
    wait_until(lambda: not living(folder))
    assert "ready to exit" in (folder / "server.log").read_text()
    one.does("ensure")
    assert one.does("PING") == "PONG"


def test_many_that_come_and_go_lose_nothing(folder: Path, user: Start) -> None:
    def come_and_go(number: int) -> int:
        one = user()
        one.open()
        count = int(one.does("INCR", "counter"))
        (User.kill if number % 3 else User.leave)(one)
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(come_and_go, range(30)))
    assert sorted(counts) == list(range(1, 31))
    wait_until(lambda: not living(folder), within=PROMISED)


def test_a_removed_folder_is_made_again(folder: Path) -> None:
    with open_server(folder) as server:
        old = living(folder)
        shutil.rmtree(folder)
        server.ensure()
        assert server_pid(server.socket_path) not in {process.pid for process in old}
        assert is_held(folder / USERS_LOCK)
        wait_until(lambda: all(ended(process) for process in old))
        assert command(server.socket_path, "PING") == "PONG"
