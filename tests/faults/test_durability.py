"""What was made and not confirmed is told as that, with the commit; what confirms it, on one server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis

from circman_redis import AsyncStateManager, Commit, StateConflict, StateManager, Unconfirmed, UsageError
from tests.contract.conftest import Managers
from tests.servers import Server, lanes, wait_until
from tests.topology.nodes import QUICK, Node

SHORT = 0.4
PATIENT = 60.0


@pytest.fixture
def valkey() -> Iterator[Server]:
    """A server that has WAITAOF, and an append-only file that it syncs every second."""
    one = Server(lanes()["valkey"], ("--appendonly", "yes", "--appendfsync", "everysec"))
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.fixture
def pair(lane: str) -> Iterator[tuple[Node, Node]]:
    """A master and its replica."""
    both = [Node(lanes()[lane], QUICK) for _ in range(2)]
    try:
        master, replica = (node.start() for node in both)
        with replica.client() as client, master.client() as asked:
            client.execute_command("REPLICAOF", master.host, master.port)
            wait_until(lambda: asked.info("replication").get("slave0", {}).get("state") == "online")
        yield master, replica
    finally:
        for node in both:
            node.stop()


@pytest.mark.parametrize("write", ["set", "merge", "many", "adjust", "modify"])
def test_without_replicas_a_commit_is_made_and_not_confirmed(
    manager: Managers, server: Server, twin_id: str, write: str
) -> None:
    """After the time of the call; the error brings the commits, and the id to say it again with."""
    with manager(twin_id, url=server.url, timeout=SHORT) as twin:
        twin.set_state({"n": 0})
        calls: dict[str, Any] = {
            "set": lambda **how: twin.set_state({"n": 1}, **how),
            "merge": lambda **how: twin.update_state({"n": 1}, **how),
            "many": lambda **how: twin.update_many([{"n": n} for n in range(3)], **how),
            "adjust": lambda **how: twin.adjust({"/n": 1}, **how),
            "modify": lambda **how: twin.modify(lambda state: {**state, "n": 1}, **how),
        }
        with pytest.raises(Unconfirmed, match="0 of 1 replicas had it in time") as caught:
            calls[write](durability="replicas:1")
        error = caught.value
        made = twin.get_commits()[: len(error.commits)][::-1]
        assert [one.version for one in error.commits] == [one.version for one in made]
        assert len(error.commits) == (3 if write == "many" else 1)
        assert error.commit == error.commits[-1]
        assert made[0].id == error.commit_id + ("#1" if write == "many" else "")
        assert error.commit_id in str(error)
        assert twin.snapshot().version == error.commit.version
        if write != "modify":
            with pytest.raises(Unconfirmed) as again:
                calls[write](durability="replicas:1", commit_id=error.commit_id)
            assert again.value.commit_id == error.commit_id
            assert all(one.duplicate for one in again.value.commits)
            assert [one.version for one in again.value.commits] == [one.version for one in error.commits]
            repeated = calls[write](commit_id=error.commit_id)
            assert (repeated[0] if write == "many" else repeated).duplicate
        assert twin.snapshot().version == error.commit.version


def test_a_managers_durability_is_that_of_each_call_that_says_nothing(
    manager: Managers, server: Server, twin_id: str
) -> None:
    """A call may ask for less, and for more; what is refused is not waited for."""
    with manager(twin_id, url=server.url, timeout=SHORT, durability="replicas:2") as twin:
        with pytest.raises(Unconfirmed, match="0 of 2"):
            twin.set_state({"n": 0})
        assert twin.adjust({"/n": 1}, durability="none").version == 2
        with pytest.raises(Unconfirmed, match="0 of 3"):
            twin.adjust({"/n": 1}, durability="replicas:3")
        with pytest.raises(StateConflict):
            twin.adjust({"/n": 1}, expected_version=1)
        for nothing in ("replicas:0", "replicas", "fsynced", ""):
            with pytest.raises(UsageError, match="durability"):
                twin.adjust({"/n": 1}, durability=nothing)
        assert twin.snapshot().version == 3


def test_an_append_only_file_confirms(manager: Managers, valkey: Server, twin_id: str) -> None:
    """WAITAOF: what was acknowledged is on the disk, although the server syncs it only every second."""
    with manager(twin_id, url=valkey.url, timeout=PATIENT, durability="fsync") as twin:
        twin.set_state({"n": 0})
        commits = [twin.adjust({"/n": 1}), *twin.update_many([{"m": 1}, {"m": 2}])]
        assert [commit.version for commit in commits] == [2, 3, 4]
        with valkey.client() as client:
            assert client.execute_command("WAITAOF", 1, 0, 1) == [1, 0]
        valkey.kill()
        valkey.start()
        assert twin.snapshot().version == 4


def test_an_append_only_file_that_is_turned_off_does_not_confirm(
    manager: Managers, valkey: Server, twin_id: str
) -> None:
    """After the manager was opened: a commit is made, and it is told that nobody confirms it."""
    with (
        manager(twin_id, url=valkey.url, timeout=PATIENT, durability="fsync") as twin,
        valkey.client() as client,
    ):
        twin.set_state({"n": 0})
        client.config_set("appendonly", "no")
        with pytest.raises(Unconfirmed, match="appendonly") as caught:
            twin.adjust({"/n": 1})
        assert caught.value.commit.version == 2
        assert twin.get_current_state()["n"] == 1
        client.config_set("appendonly", "yes")
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        said_again = twin.adjust({"/n": 1}, commit_id=caught.value.commit_id)
        assert (said_again.version, said_again.duplicate) == (2, True)


def test_a_file_that_is_not_synced_in_time_does_not_confirm(manager: Managers, valkey: Server, twin_id: str) -> None:
    """The same where the server leaves it to the kernel when to sync."""
    with manager(twin_id, url=valkey.url, timeout=SHORT, durability="fsync") as twin, valkey.client() as client:
        client.config_set("appendfsync", "no")
        with pytest.raises(Unconfirmed, match="not synced in time") as caught:
            twin.set_state({"n": 0})
        assert caught.value.commit.version == 1
        client.config_set("appendfsync", "everysec")
        assert twin.adjust({"/n": 1}, durability="none").version == 2


@pytest.mark.parametrize("facts", ["no WAITAOF", "no append-only file"])
def test_a_server_that_cannot_fsync_is_refused_up_front(
    manager: Managers, own_server: Server, lane: str, twin_id: str, facts: str
) -> None:
    """As a manager is opened, and as a call asks for it: before anything is written."""
    with own_server.client(decode_responses=True) as client:
        client.config_set("appendonly", "yes" if facts == "no WAITAOF" else "no")
        can = lane == "valkey" and facts == "no WAITAOF"
        if can:
            with manager(twin_id, url=own_server.url, durability="fsync") as twin:
                assert twin.set_state({"n": 0}).version == 1
            return
        with pytest.raises(UsageError, match=r"WAITAOF.*append-only file") as caught:
            manager(twin_id, url=own_server.url, durability="fsync")
        assert ("Valkey 9" if lane == "valkey" else "Redis 7.0") in str(caught.value)
        with manager(twin_id, url=own_server.url) as twin:
            with pytest.raises(UsageError, match="cannot confirm it"):
                twin.set_state({"n": 0}, durability="fsync")
            assert not client.keys("*state")


def test_a_server_that_does_not_say_is_found_out_by_the_first_commit(
    manager: Managers, own_server: Server, lane: str, twin_id: str
) -> None:
    """Without the right to INFO, which only a twin's first commit needs: made, and not confirmed without WAITAOF."""
    rights = ["reset", "on", ">secret", "+@all", "-info", "~*", "&*"]
    url = f"unix://shy:secret@{own_server.socket}"
    with manager(twin_id, url=own_server.url) as first, own_server.client() as admin:
        first.set_state({"n": 0})
        admin.execute_command("ACL", "SETUSER", "shy", *rights)
    with manager(twin_id, url=url, durability="fsync", timeout=PATIENT) as twin:
        if lane == "valkey":
            assert twin.update_state({"n": 1}).version == 2
            return
        with pytest.raises(Unconfirmed, match=r"(?i)unknown command.*waitaof") as caught:
            twin.update_state({"n": 1})
        assert caught.value.commit.version == 2
        assert twin.get_current_state()["n"] == 1


def test_said_again_over_another_connection_it_waits_again(
    manager: Managers, lane: str, twin_id: str, pair: tuple[Node, Node]
) -> None:
    """For the commit: not for what was written over that connection, which is nothing."""
    master, replica = pair
    with (
        manager(twin_id, url=master.url, timeout=SHORT, durability="replicas:1") as twin,
        master.client() as client,
        StateManager(twin_id, client=client, timeout=SHORT, durability="replicas:1") as other,
    ):
        twin.set_state({"n": 0}, durability="none")
        wait_until(lambda: client.wait(1, 100))
        with replica.stopped():
            with pytest.raises(Unconfirmed, match="0 of 1") as caught:
                twin.adjust({"/n": 1}, commit_id="mine")
            for one in (twin, other):
                with pytest.raises(Unconfirmed, match="0 of 1") as again:
                    one.adjust({"/n": 1}, commit_id="mine")
                assert again.value.commit.duplicate
                assert again.value.commit.version == caught.value.commit.version == 2
        wait_until(lambda: not _raises(lambda: other.adjust({"/n": 1}, commit_id="mine")))
        assert other.snapshot().version == 2


def _raises(call: Callable[[], object]) -> bool:
    try:
        call()
    except Unconfirmed:
        return True
    return False


# --- many tasks at once ----------------------------------------------------------------------------------------------


def test_each_task_of_a_batch_gets_its_own_commit_and_its_own_confirmation(server: Server, twin_id: str) -> None:
    """Those that ask for replicas, those that do not, those that are refused: in one write."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url, timeout=2.0) as twin:
            await twin.set_state({"n": 0})
            calls = {}
            for number in range(24):
                how = {"durability": ("replicas:1", "none")[number % 2], "commit_id": f"c{number}"}
                if number % 5 == 4:
                    how["expected_version"] = 99
                calls[number] = twin.adjust({"/n": 1}, **how)
            ended = dict(zip(calls, await asyncio.gather(*calls.values(), return_exceptions=True), strict=True))
            made = {entry.id: entry.version for entry in await twin.get_commits()}
            for number, outcome in ended.items():
                if number % 5 == 4:
                    assert isinstance(outcome, StateConflict)
                    assert f"c{number}" not in made
                elif number % 2:
                    assert isinstance(outcome, Commit)
                    assert outcome.version == made[f"c{number}"]
                else:
                    assert isinstance(outcome, Unconfirmed)
                    assert outcome.commit_id == f"c{number}"
                    assert outcome.commit.version == made[f"c{number}"]
            assert (await twin.get_current_state())["n"] == sum(number % 5 != 4 for number in ended)

    asyncio.run(main())


def test_tasks_that_are_cancelled_leave_the_others_their_confirmations(valkey: Server, twin_id: str) -> None:
    """At any moment: while WAITAOF waits for the disk, too. Each commit is made once at most."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=valkey.url, timeout=PATIENT) as twin:
            await twin.set_state({"n": 0})
            tasks = {
                f"c{number}": asyncio.create_task(
                    twin.adjust({"/n": 1}, commit_id=f"c{number}", durability="fsync" if number % 3 else "none")
                )
                for number in range(30)
            }
            for number in range(0, 30, 4):
                await asyncio.sleep(0.003)
                tasks[f"c{number}"].cancel()
            ended = dict(zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True))
            made = {entry.id: entry.version for entry in await twin.get_commits()}
            for commit_id, outcome in ended.items():
                if not isinstance(outcome, asyncio.CancelledError):
                    assert outcome.version == made[commit_id]
            again = await asyncio.gather(*(twin.adjust({"/n": 1}, commit_id=one, durability="fsync") for one in ended))
            assert {commit.version for commit in again} == set(range(2, 32))
            assert (await twin.get_current_state())["n"] == 30

    asyncio.run(main())


def test_a_connection_that_dies_while_a_commit_waits_for_its_confirmation(
    manager: Managers, valkey: Server, twin_id: str
) -> None:
    """It is said again with its id: waited for again, and made once."""
    with manager(twin_id, url=valkey.url, timeout=PATIENT, durability="fsync") as twin, valkey.client() as client:
        twin.set_state({"n": 0})
        for n in range(1, 4):
            client.config_set("appendfsync", "no")
            made = _in_a_thread(lambda: twin.adjust({"/n": 1}))
            wait_until(lambda: _blocked(client))
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            wait_until(lambda: _blocked(client))
            client.config_set("appendfsync", "everysec")
            commit = made.result(PATIENT)
            assert (commit.version, commit.duplicate) == (n + 1, True)
        assert twin.get_current_state()["n"] == 3


def _in_a_thread(call: Callable[[], Any]) -> Future[Any]:
    with_thread = ThreadPoolExecutor(1)
    future = with_thread.submit(call)
    with_thread.shutdown(wait=False)
    return future


def _blocked(client: redis.Redis) -> bool:
    return bool(client.info("clients")["blocked_clients"])
