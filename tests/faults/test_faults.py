"""What must survive: answers that are lost, scripts that are flushed, calls that are interrupted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from redis.connection import AbstractConnection

from circman_redis import RetryExpired, StateManager, StoreUnavailable
from tests.servers import Server


def test_a_flushed_script_cache_goes_unnoticed(server: Server, twin: StateManager) -> None:
    """In the middle of the load; every commit is made, once."""
    twin.set_state({"n": 0})
    done = threading.Event()

    def flush() -> None:
        with server.client() as client:
            while not done.is_set():
                client.script_flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        for _ in range(200):
            twin.adjust({"/n": 1})
            twin.snapshot()
    finally:
        done.set()
        flusher.join()
    assert twin.get_current_state()["n"] == 200
    assert twin.snapshot().version == 201


def test_a_server_that_stays_away_is_told_with_the_commit_id(own_server: Server, twin_id: str) -> None:
    """Whether it was committed cannot be known; the same call with that id finds out."""
    with StateManager(twin_id, url=own_server.url, retries=1, timeout=1) as twin:
        twin.set_state({"n": 0})
        own_server.kill()
        with pytest.raises(StoreUnavailable, match="not known") as caught:
            twin.adjust({"/n": 1})
        assert caught.value.commit_id
        with pytest.raises(StoreUnavailable) as read:
            twin.get_current_state()
        assert read.value.commit_id is None
        own_server.start()
        assert twin.adjust({"/n": 1}, commit_id=caught.value.commit_id).version == 2
        assert twin.adjust({"/n": 1}, commit_id=caught.value.commit_id).duplicate
        assert twin.get_current_state()["n"] == 1


def test_a_reply_that_is_lost_does_not_commit_twice(own_server: Server, twin_id: str) -> None:
    """The server is stopped after it got the call: the client sends again, and gets the commit that was made."""
    with StateManager(twin_id, url=f"{own_server.url}?socket_timeout=0.3") as twin:
        twin.set_state({"n": 0})
        assert own_server.process is not None
        results = []
        for _ in range(3):
            os.kill(own_server.process.pid, signal.SIGSTOP)
            caller = threading.Thread(target=lambda: results.append(twin.adjust({"/n": 1})))
            caller.start()
            time.sleep(0.7)  # longer than the time-out: the call was sent, given up and sent again
            os.kill(own_server.process.pid, signal.SIGCONT)
            caller.join()
        assert [commit.version for commit in results] == [2, 3, 4]
        assert any(commit.duplicate for commit in results)
        assert twin.get_current_state()["n"] == 3


def lose_one_reply(twin: StateManager, meanwhile: Callable[[], object]) -> None:
    """The next commit is made, its reply is lost, and ``meanwhile`` happens before anything else does."""
    driver = twin._driver
    real = driver._send

    def send(call: Any, attempts: Any = None) -> Any:
        reply = real(call, attempts)
        if call.commit_id:
            driver._send = real  # type: ignore[method-assign]
            meanwhile()
            raise redis.ConnectionError("the reply was lost")
        return reply

    driver._send = send  # type: ignore[method-assign]


def test_a_commit_whose_reply_was_lost_applies_once(server: Server, twin_id: str) -> None:
    """It is sent again, and recognised."""
    with StateManager(twin_id, url=server.url) as twin:
        twin.set_state({"n": 0})
        lose_one_reply(twin, lambda: None)
        assert twin.adjust({"/n": 1}).duplicate
        assert twin.get_current_state()["n"] == 1


@pytest.mark.parametrize("retries", [8, 0])
def test_a_commit_that_was_forgotten_meanwhile_is_not_applied_again(server: Server, twin_id: str, retries: int) -> None:
    """Sent again by itself or by the caller: after so many commits of others nobody can tell, and that is said."""
    with (
        StateManager(twin_id, url=server.url, retries=retries) as twin,
        StateManager(twin_id, client=server.client()) as other,
    ):
        twin.set_state({"n": 0})
        lose_one_reply(twin, lambda: [other.update_state({}) for _ in range(2 * 2048 + 1)])
        if not retries:
            with pytest.raises(StoreUnavailable):
                twin.adjust({"/n": 1}, commit_id="mine")
        with pytest.raises(RetryExpired, match="mine"):
            twin.adjust({"/n": 1}, commit_id="mine")
        assert twin.get_current_state()["n"] == 1


def test_a_script_that_is_flushed_again_at_once_brings_its_text_along(server: Server, twin_id: str) -> None:
    """Between SCRIPT LOAD and the EVALSHA that follows."""
    with StateManager(twin_id, url=server.url) as twin:
        send = twin._driver.store.send

        def flushed(*command: Any, **how: Any) -> Any:
            if command[0] == "EVALSHA":
                send("SCRIPT", "FLUSH")
            return send(*command, **how)

        twin._driver.store = replace(twin._driver.store, send=flushed)
        assert twin.set_state({"n": 0}).version == 1
        assert twin.snapshot().state["n"] == 0


def test_an_interrupted_call_leaves_no_reply_to_another(
    server: Server, twin_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C just after a command was sent: its connection is given up."""
    met: list[AbstractConnection] = []

    def interrupted(connection: AbstractConnection, **_: Any) -> None:
        met.append(connection)
        monkeypatch.undo()
        raise KeyboardInterrupt

    with StateManager(twin_id, url=server.url) as twin:
        twin.set_state({"n": 0})
        monkeypatch.setattr(AbstractConnection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            twin.snapshot()
        assert not met[0].is_connected
        assert twin.get_current_state()["n"] == 0
        assert twin.snapshot().version == 1
