"""Who cannot know whether a commit was made is told so, and a commit that is sent again says how old it is by then."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from circman_redis import AsyncStateManager, CircmanError, RetryExpired, StateManager, StoreUnavailable, UsageError
from tests.faults.test_faults import lose_one_reply
from tests.servers import Server, wait_until

WINDOWS = 2 * 2048 + 1
"""Calls after which an id is forgotten."""


@contextmanager
def losing(server: Server, meanwhile: Callable[[], object]) -> Iterator[str]:
    """The URL of a proxy that loses the reply to the first adjust, and is slow with the connection after it."""
    path = str(server.folder / f"proxy-{os.urandom(4).hex()}")
    lost = threading.Event()
    slow = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                if lost.is_set() and not slow.is_set():
                    slow.set()
                    meanwhile()
                threading.Thread(target=carry, args=(near,), daemon=True).start()

    def carry(near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far, suppress(OSError):
            far.connect(str(server.socket))
            while asked := near.recv(1 << 20):
                far.sendall(asked)
                reply = far.recv(1 << 20)
                if b"adjust" in asked and not lost.is_set():
                    lost.set()
                    return
                near.sendall(reply)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(50)
        threading.Thread(target=serve, daemon=True).start()
        yield f"unix://{path}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("how", ["url", "client"])
def test_an_age_is_told_when_the_commit_is_written(server: Server, twin_id: str, how: str) -> None:
    """Not before there is a connection, which may take longer than ids are remembered; with any client's retries."""
    with StateManager(twin_id, url=server.url) as beside:
        beside.set_state({"n": 0})
        with losing(server, lambda: [beside.update_state({}) for _ in range(WINDOWS)]) as url:
            client = redis.Redis(unix_socket_path=url.removeprefix("unix://"), socket_timeout=60)
            way = {"url": url, "timeout": 60.0} if how == "url" else {"client": client}
            with StateManager(twin_id, **way) as twin, pytest.raises(RetryExpired):
                twin.adjust({"/n": 1})
            client.close()
        assert beside.get_current_state()["n"] == 1


def test_a_lost_answer_is_told_although_another_attempt_is_answered(server: Server, twin_id: str) -> None:
    """By an error that says nothing about the attempt before it."""
    with server.client() as admin:
        rights = ["reset", "on", ">secret", "+@all", "~*", "&*"]
        admin.execute_command("ACL", "SETUSER", "shortly", *rights)
        url = f"unix://shortly:secret@{server.socket}"
        with StateManager(twin_id, url=url) as twin, StateManager(twin_id, url=server.url) as beside:
            twin.set_state({"n": 0})
            lose_one_reply(twin, lambda: admin.execute_command("ACL", "SETUSER", "shortly", "-evalsha"))
            with pytest.raises(StoreUnavailable, match="not known") as lost:
                twin.adjust({"/n": 1})
            assert lost.value.commit_id
            admin.execute_command("ACL", "SETUSER", "shortly", "+evalsha")
            assert twin.adjust({"/n": 1}, commit_id=lost.value.commit_id).duplicate
            assert beside.get_current_state()["n"] == 1
        admin.execute_command("ACL", "DELUSER", "shortly")


def test_closed_while_threads_are_in_calls(server: Server, twin_id: str) -> None:
    """They get errors of ours, and no connection is left."""
    name = f"closing-{twin_id}"
    odd: list[BaseException] = []

    def call(twin: StateManager) -> None:
        try:
            while True:
                twin.get_current_state()
        except CircmanError:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is one too many
            odd.append(error)

    for _ in range(20):
        twin = StateManager(twin_id, url=f"{server.url}?client_name={name}", retries=1)
        threads = [threading.Thread(target=call, args=(twin,)) for _ in range(4)]
        for one in threads:
            one.start()
        time.sleep(0.01)
        twin.close()
        for one in threads:
            one.join()
    assert odd == []
    with server.client(decode_responses=True) as client:
        wait_until(lambda: not [one for one in client.client_list() if one["name"] == name])


def test_who_gave_up_before_there_was_a_connection_sends_nothing(own_server: Server, twin_id: str) -> None:
    """Also where others of the same tick go on waiting for one."""

    async def main() -> None:
        url = f"{own_server.url}?max_connections=1"
        async with AsyncStateManager(twin_id, url=url, timeout=60) as twin:
            await twin.set_state({"n": 0})
            assert own_server.process is not None
            os.kill(own_server.process.pid, signal.SIGSTOP)
            first = asyncio.create_task(twin.adjust({"/n": 1}))
            await asyncio.sleep(0.1)
            given_up, kept = (asyncio.create_task(twin.adjust({"/n": n})) for n in (10, 100))
            await asyncio.sleep(0.1)
            given_up.cancel()
            await asyncio.sleep(0.1)
            os.kill(own_server.process.pid, signal.SIGCONT)
            await asyncio.gather(first, kept)
            assert (await twin.get_current_state())["n"] == 101

    asyncio.run(main())


def test_who_cancels_all_other_tasks_cancels_no_caller_unsaid(own_server: Server, twin_id: str) -> None:
    """The task that sends is not the caller's: its end is a lost connection to them, and they send again."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=own_server.url) as twin:
            await twin.set_state({"n": 0})
            with own_server.stopped():
                mine = asyncio.create_task(twin.adjust({"/n": 1}))
                await asyncio.sleep(0.1)
                for task in asyncio.all_tasks() - {mine, asyncio.current_task()}:
                    task.cancel()
                await asyncio.sleep(0.1)
            await mine
            assert (await twin.get_current_state())["n"] == 1

    asyncio.run(main())


def test_a_url_that_decodes_is_refused(server: Server, twin_id: str, tmp_path: Path) -> None:
    """As a client that does: replies are bytes."""
    with pytest.raises(UsageError, match="decode_responses"):
        StateManager(twin_id, url=f"{server.url}?decode_responses=True", results=tmp_path)
