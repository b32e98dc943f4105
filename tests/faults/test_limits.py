"""A server at its limits: no memory left, a policy that evicts, a disk that is full. Refused whole, and told."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from circman_redis import (
    NotPermitted,
    StateManager,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnsafeEviction,
    WritesRefused,
)
from tests.contract.conftest import Managers
from tests.faults.journaled import Writer, check, start
from tests.servers import Server, contents, lanes, wait_until

SHORT = 1.0
PATIENT = 60.0

E = TypeVar("E", bound=StoreError)

# --- no memory left --------------------------------------------------------------------------------------------------


def fill(client: redis.Redis, room: int) -> None:
    """Sets maxmemory so that there is so much room left, in bytes."""
    client.config_set("maxmemory", client.info("memory")["used_memory"] + room)


@pytest.mark.parametrize("room", [0, 20_000, 200_000])
def test_memory_that_runs_out_at_any_commit_refuses_it_whole(
    manager: Managers, own_server: Server, twin_id: str, room: int
) -> None:
    """Also in the midst of what the script writes: Redis looks before a script, and lets one that began go on."""
    with (
        manager(twin_id, url=own_server.url, timeout=SHORT, history_length=100_000) as twin,
        own_server.client() as client,
    ):
        twin.set_state({"n": 0})
        fill(client, room)
        many = [{f"many-{i}": "x" * 1_000} for i in range(50)]
        made, _ = commit_until(StoreFull, lambda n: twin.update_many(many) if n % 2 else twin.adjust({"/n": 1}))
        before = contents(client)
        for write in (
            lambda: twin.update_many(many),
            lambda: twin.adjust({"/n": 1}),
            lambda: twin.set_state({"n": 0}),
            lambda: twin.modify(lambda state: {**state, "n": 5}),
        ):
            with pytest.raises(StoreFull, match="maxmemory"):
                write()
        assert contents(client) == before
        version = 1 + (made + 1) // 2 + made // 2 * len(many)
        assert twin.snapshot().version == version
        assert twin.verify() == []
        client.config_set("maxmemory", 0)
        assert twin.update_many(many)[-1].version == version + len(many)
        assert [entry.version for entry in twin.get_commits()] == list(range(version + len(many), 0, -1))


def test_writers_go_on_when_there_is_room_again(own_server: Server, twin_id: str, tmp_path: Path) -> None:
    """By themselves, each saying its commit again; nothing is made twice."""
    with StateManager(twin_id, url=own_server.url, history_length=100_000) as twin, own_server.client() as client:
        start(twin, ["w0", "w1"])
        with (
            Writer(own_server.url, twin_id, "w0", tmp_path, work="mixed", timeout=SHORT) as one,
            Writer(own_server.url, twin_id, "w1", tmp_path, work="mixed", timeout=SHORT) as other,
        ):
            for _ in range(2):
                one.wait_for(20)
                client.config_set("maxmemory", 1)
                wait_until(lambda: refusals(client, "OOM") > 5)
                client.config_set("maxmemory", 0)
                client.config_resetstat()
                other.wait_for(20)
            for writer in (one, other):
                writer.stop()
        assert check(twin, [one.journal, other.journal]).found > 80
        assert "StoreFull" in one.journal.read_text() + other.journal.read_text()


def refusals(client: redis.Redis, code: str) -> int:
    """How often a server has refused something with this code."""
    return int(client.info("errorstats").get(f"errorstat_{code}", {"count": 0})["count"])


def test_room_can_be_made_and_the_past_read_while_memory_is_out(
    manager: Managers, own_server: Server, twin_id: str
) -> None:
    """A clear and a delete are taken, and a commit that was made is recognised."""
    with manager(twin_id, url=own_server.url, timeout=SHORT) as twin, own_server.client() as client:
        twin.update_many([{"n": n} for n in range(5)])
        made = twin.adjust({"/n": 1}, commit_id="mine")
        client.config_set("maxmemory", 1)
        again = twin.adjust({"/n": 1}, commit_id="mine")
        assert (again.version, again.duplicate) == (made.version, True)
        assert len(twin.get_history()) == 5
        assert twin.clear_history() == 5
        assert twin.delete() == made.version


# --- a policy that may evict -----------------------------------------------------------------------------------------

EVICTING = ["allkeys-lru", "allkeys-lfu", "allkeys-random"]
SAFE = ["noeviction", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"]


def test_a_policy_that_may_evict_the_state_is_refused(
    manager: Managers, own_server: Server, twin_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """When a manager is opened, before anything is written; with allow_eviction it is a warning."""
    for policy in EVICTING:
        caplog.clear()
        _refuses(manager, own_server, f"{twin_id}-{policy}", policy)
        (said,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
        assert policy in said
        assert f"{twin_id}-{policy}" in said


def _refuses(manager: Managers, own_server: Server, twin_id: str, policy: str) -> None:
    with own_server.client() as client:
        client.config_set("maxmemory-policy", policy)
        before = contents(client)
        with pytest.raises(UnsafeEviction, match=rf"{policy}.*noeviction.*allow_eviction"):
            manager(twin_id, url=own_server.url)
        assert contents(client) == before
        with manager(twin_id, url=own_server.url, allow_eviction=True) as twin:
            assert twin.set_state({"n": 0}).version == 1


def test_a_policy_that_leaves_the_state_alone_is_none_of_our_business(
    manager: Managers, own_server: Server, twin_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It evicts what has a time to live, which a state has not: a full server refuses, and keeps it."""
    for policy in SAFE:
        _keeps(manager, own_server, f"{twin_id}-{policy}", policy)
    assert not caplog.records


def _keeps(manager: Managers, own_server: Server, twin_id: str, policy: str) -> None:
    with own_server.client() as client:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", policy)
        with manager(twin_id, url=own_server.url, timeout=SHORT) as twin:
            twin.set_state({"n": 0})
            client.set("passing", "x" * 10_000, ex=1_000)
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreFull):
                twin.adjust({"/n": 1})
            assert twin.get_current_state()["n"] == 0


def test_who_may_not_look_at_the_policy_opens_all_the_same(manager: Managers, own_server: Server, twin_id: str) -> None:
    """Without the right to INFO."""
    with own_server.client() as client, manager(twin_id, url=own_server.url) as first:
        first.set_state({"n": 0})
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.execute_command("ACL", "SETUSER", "shy", "on", ">secret", "+@all", "-info", "~*", "&*")
        with manager(twin_id, url=f"unix://shy:secret@{own_server.socket}") as twin:
            assert twin.update_state({"n": 1}).version == 2
            with pytest.raises(NotPermitted, match="INFO"):
                twin.delete() and twin.set_state({"n": 0})


# --- a full disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 8 MB of room."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def running(lane: str, folder: Path, fsync: str) -> Iterator[Server]:
    """A server whose append-only file is on a small disk. It is not rewritten: that would need room as well."""
    options = ("--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0")
    server = Server(lanes()[lane], options, folder=folder / "server")
    server.folder.mkdir()
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def full_disk(disk: Path) -> Iterator[None]:
    """Something else takes all the room there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk_refuses_writes_and_lets_reads_go_on(
    manager: Managers, lane: str, small_disk: Path, twin_id: str
) -> None:
    """With ``appendfsync everysec``: MISCONF until there is room again; then it goes on, and a restart has it all.

    The commit that met the full disk first was answered: it is in memory, and reaches the file with the next one that
    can be written. Those after it are refused, and write nothing.
    """
    with (
        running(lane, small_disk, "everysec") as server,
        server.client() as client,
        manager(twin_id, url=server.url, timeout=SHORT, history_length=100_000) as twin,
    ):
        twin.set_state({"n": 0})
        with full_disk(small_disk):
            made, refused = commit_until(WritesRefused, lambda _: twin.adjust({"/n": 1}))
            assert "MISCONF" in str(refused)
            assert twin_id in str(refused)
            before = contents(client)
            for write in (lambda: twin.adjust({"/n": 1}), lambda: twin.update_many([{"m": 1}, {"m": 2}])):
                with pytest.raises(WritesRefused, match="MISCONF"):
                    write()
            assert contents(client) == before
            assert twin.snapshot().version == made + 1
            assert twin.get_current_state()["n"] == made
            assert twin.get_state_at_version(1) == twin.get_history()[0]
        wait_until(lambda: client.info("persistence")["aof_last_write_status"] == "ok")
        assert twin.adjust({"/n": 1}).version == made + 2
        assert twin.verify() == []
        client.config_set("appendfsync", "always")
        twin.adjust({"/n": 1})
        server.kill()
        server.start()
        assert twin.snapshot().version == made + 3
        assert twin.get_current_state()["n"] == made + 2


def test_a_full_disk_ends_a_server_that_syncs_always(
    manager: Managers, lane: str, small_disk: Path, twin_id: str
) -> None:
    """With ``appendfsync always`` both servers exit rather than answer what is not on the disk.

    So whoever was told of a commit has it; nobody is answered until somebody makes room and starts the server again.
    A file that ends in the middle of a command is cut as it is loaded (aof-load-truncated).
    """
    with (
        running(lane, small_disk, "always") as server,
        manager(twin_id, url=server.url, timeout=SHORT, history_length=100_000) as twin,
    ):
        twin.set_state({"n": 0})
        with full_disk(small_disk):
            made, lost = commit_until(StoreUnavailable, lambda _: twin.adjust({"/n": 1}))
            assert server.process is not None
            assert server.process.wait(PATIENT) == 1
            with pytest.raises(StoreUnavailable):
                twin.get_current_state()
        server.start()
        assert twin.snapshot().version == made + 1
        assert twin.adjust({"/n": 1}, commit_id=lost.commit_id).version == made + 2
        assert twin.get_current_state()["n"] == made + 1


def commit_until(kind: type[E], write: Callable[[int], Any]) -> tuple[int, E]:
    """Commits until that is raised; how many were made, and it."""
    for made in range(100_000):
        try:
            write(made)
        except kind as error:
            return made, error
    raise AssertionError("never refused")
