"""The manager as an object: one per twin in a process, shared by threads, safe after a fork, and its settings."""

from __future__ import annotations

import copy
import os
import pickle
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from pydantic import BaseModel

from circman_redis import CorruptTwin, StateManager, StoreError, StoreUnavailable, UsageError, registry
from circman_redis.codec import decode
from circman_redis.settings import Settings
from circman_redis.urls import identity, without_password
from tests.contract.conftest import Managers
from tests.servers import Server


def test_the_same_call_gives_the_same_object(manager: Managers, server: Server, twin_id: str) -> None:
    """Per server, prefix and twin; a closed one is not given out again."""
    with manager(twin_id, url=server.url, actor="a") as twin:
        assert manager(twin_id, url=server.url, actor="a") is twin
        assert manager(twin_id, url=server.url) is twin
        with manager(twin_id, url=server.url, prefix="other") as other:
            assert other is not twin
            other.set_state({"a": 1})
            assert twin.get_current_state() == {}
    assert manager(twin_id, url=server.url) is twin  # others had asked for it too
    twin.close()
    with manager(twin_id, url=server.url) as again:
        assert again is not twin
    with pytest.raises(UsageError, match="is closed"):
        twin.get_current_state()
    twin.close()


def test_a_differing_history_length_changes_the_twin(manager: Managers, server: Server, twin_id: str) -> None:
    """Anything else that differs is an error that names it."""
    with manager(twin_id, url=server.url, history_length=10) as twin:
        assert manager(twin_id, url=server.url, history_length=5) is twin
        assert twin.history_length == 5
        for differing in (
            {"actor": "b"},
            {"validation": "strict"},
            {"model": BaseModel},
            {"timeout": 3},
        ):
            with pytest.raises(UsageError, match=next(iter(differing))):
                manager(twin_id, url=server.url, **differing)


def test_a_nested_with_does_not_close_the_outer_one(manager: Managers, server: Server, twin_id: str) -> None:
    """It is one object: the last one out closes it."""
    with manager(twin_id, url=server.url) as outer:
        with manager(twin_id, url=server.url) as inner:
            assert inner is outer
        assert outer.set_state({"a": 1}).version == 1
    kept = manager(twin_id, url=server.url)
    with manager(twin_id, url=server.url) as borrowed:
        assert borrowed is kept
    assert kept.get_current_state()["a"] == 1
    kept.close()


def test_threads_share_one_manager(server: Server, twin_id: str) -> None:
    """Racing constructors get one object; every commit of every thread is one version."""
    made: list[StateManager] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        twin = StateManager(twin_id, url=server.url)
        made.append(twin)
        for _ in range(25):
            twin.modify(lambda state: {**state, "n": state.get("n", 0) + 1}, attempts=10_000)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in made}) == 1
    assert made[0].get_current_state()["n"] == made[0].snapshot().version == 200
    made[0].close()


def test_a_server_that_does_not_answer_holds_up_no_other_twin(server: Server, twin_id: str, tmp_path: Path) -> None:
    """To open one twin is not to wait for another."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()

        def wait_in_vain() -> None:
            with pytest.raises(StoreUnavailable):
                StateManager("silent", url=f"unix://{tmp_path}/s", timeout=30, retries=0)

        waiting = threading.Thread(target=wait_in_vain)
        waiting.start()
        link, _ = silent.accept()
        with StateManager(twin_id, url=server.url) as twin:
            assert twin.set_state({"a": 1}).version == 1
        assert waiting.is_alive()
        link.close()
        silent.close()
        waiting.join()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_safe_after_a_fork(server: Server, twin_id: str) -> None:
    """Parent and child go on with the manager that they had, each on connections of its own."""
    with StateManager(twin_id, url=server.url) as twin:
        twin.set_state({"n": 0})
        with registry._lock:  # as if another thread held it at the fork
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for _ in range(50):
                        twin.adjust({"/n": 1})
                    StateManager(twin_id, url=server.url)
                    status = 0
                finally:
                    os._exit(status)
        for _ in range(50):
            twin.adjust({"/n": 1})
        assert os.waitpid(child, 0)[1] == 0
        assert twin.get_current_state()["n"] == 100
        assert len({entry.actor for entry in twin.get_commits()}) == 2


def test_settings_come_from_arguments_then_the_environment(
    manager: Managers, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Then come the defaults."""
    environment = {
        "CIRCMAN_REDIS_URL": server.url,
        "CIRCMAN_TWIN": "from-env",
        "CIRCMAN_PREFIX": "env",
        "CIRCMAN_HISTORY_LENGTH": "7",
        "CIRCMAN_ACTOR": "env-actor",
        "CIRCMAN_RESULTS_DIR": str(tmp_path / "out"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with manager() as twin:
        assert twin.keys.state == "env:{from-env}:state"
        assert twin.history_length == 7
        twin.set_state({"a": 1})
        assert twin.snapshot().actor == "env-actor"
        twin.export_state()
        assert len(list((tmp_path / "out").iterdir())) == 1
    with manager("argument", history_length=9, actor="me") as twin:
        assert (twin.twin, twin.history_length) == ("argument", 9)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"history_length": 0}, "history_length=0"),
        ({"validation": "lax"}, "validation='lax'"),
        ({"twin": "a/b"}, "twin id 'a/b'"),
        ({"twin": "x" * 129}, "twin id"),
        ({"twin": ""}, "twin id"),
        ({"prefix": "{x}"}, "prefix"),
        ({"url": "http://host"}, "http://host"),
        ({"url": "redis://host:port/0"}, "redis://host:port/0"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"url": 5}, "url: Input should be a valid string"),
        ({"results": 5}, "results=5"),
        ({"client": "x"}, "client='x'"),
        ({"url": "redis://host", "client": "x"}, "url and client"),
        ({"actor": "é" * 65}, "128 bytes"),
        ({"history_length": 10**18}, "history_length=1000000000000000000"),
    ],
)
def test_wrong_settings_are_named(manager: Managers, arguments: dict[str, Any], named: str) -> None:
    """With what is allowed, before any server is asked."""
    with pytest.raises(UsageError, match=named.replace("{", r"\{").replace("?", r"\?")):
        manager(**arguments)


def test_a_wrong_setting_in_the_environment_is_named(manager: Managers, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable."""
    monkeypatch.setenv("CIRCMAN_HISTORY_LENGTH", "many")
    with pytest.raises(UsageError, match="CIRCMAN_HISTORY_LENGTH"):
        manager("x", url="redis://localhost:1/0")


def test_no_server_is_a_clear_error(manager: Managers) -> None:
    """It names the server, and never the password."""
    with pytest.raises(StoreUnavailable) as caught:
        manager("x", url="redis://user:secret@127.0.0.1:1/0", retries=0)
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value) + repr(caught.value.__cause__)
    assert isinstance(caught.value, ConnectionError)


def test_urls_without_their_password() -> None:
    """They tell one server from another, and may be shown."""
    assert without_password("redis://user:pw@host:1/0") == "redis://user@host:1/0"
    assert without_password("redis://:pw@host/0") == "redis://host/0"
    assert without_password("redis://host/0?password=pw&timeout=1") == "redis://host/0?timeout=1"
    assert without_password("unix:///path/to/socket?db=1") == "unix:///path/to/socket?db=1"
    assert identity("redis://:a@host/0") == identity("redis://:b@host/0") != identity("redis://host/1")
    assert without_password("unix://user:pw@/socket") == "unix://user@/socket"
    for careless in (
        "redis://:s/ecret@host",
        "redis://:s#ecret@host",
        "redis://u:s?ecret@host",
        "redis://:s[ecret@host",
    ):
        assert "ecret" not in without_password(careless)
    with pytest.raises(UsageError, match="full path"):
        identity("embedded://relative/folder")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://host", "redis://HOST:6379/0"),
        ("redis://host/2", "redis://:secret@host?db=2"),
        ("redis://", "redis://localhost:6379/"),
        ("unix:///run/redis", "unix:///run/redis?db=0"),
        ("embedded:///tmp/../tmp/x", "embedded:///tmp/x"),
    ],
)
def test_one_server_however_its_url_is_spelled(one: str, other: str) -> None:
    """So that there is one manager per twin."""
    assert identity(one) == identity(other)


def test_the_embedded_server_of_the_user_has_three_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No URL, one without a folder, and the folder itself."""
    monkeypatch.setattr("circman_redis._embedded_folder.default_folder", lambda: tmp_path)
    assert identity(None) == identity("embedded://") == identity(f"embedded://{tmp_path}")


@pytest.mark.parametrize("url", ["redis://:se/cret@host", "redis://:se[cret@host", "redis://host?nonsense=1"])
def test_a_url_that_cannot_be_read_shows_no_password(manager: Managers, url: str) -> None:
    """Neither in the message nor in what caused it."""
    with pytest.raises(UsageError, match="host") as caught:
        manager("x", url=url)
    assert "cret" not in str(caught.value) + repr(caught.value.__cause__)
    assert "cret" not in repr(Settings.from_arguments(redis_url=url))


def test_the_arguments_in_force_may_be_said_again(
    manager: Managers, server: Server, twin_id: str, tmp_path: Path
) -> None:
    """In any form: those of the first call, and those that the twin has."""
    arguments: dict[str, Any] = {"url": server.url, "timeout": 10, "results": str(tmp_path), "history_length": 10}
    with manager(twin_id, **arguments) as twin:
        assert manager(twin_id, **arguments) is twin
        defaults = {"validation": "standard", "auto_timestamp": True, "max_bytes": 1_048_576, "actor": twin._twin.actor}
        assert manager(twin_id, url=server.url, **defaults) is twin
        with manager(twin_id, client=server.client()) as elsewhere:
            elsewhere.history_length = 20
        assert manager(twin_id, **arguments).history_length == 10


def test_a_manager_is_not_copied(server: Server, twin_id: str) -> None:
    """It would be another one on the same connections, or another twin altogether."""
    with StateManager(twin_id, url=server.url) as twin:
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                attempt(twin)


def test_a_refused_user_is_said_at_once(manager: Managers, own_server: Server, twin_id: str) -> None:
    """It is no lost connection, and does not get better by trying again."""
    with own_server.client() as client:
        client.config_set("requirepass", "another")
    with pytest.raises(StoreError, match="the user and the password") as caught:
        manager(twin_id, url=own_server.url, retries=50)
    assert not isinstance(caught.value, StoreUnavailable)


def test_retries_do_not_multiply(
    manager: Managers, own_server: Server, twin_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command's are not made for each of its connection's."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("redis.retry.sleep", pauses.append)
    monkeypatch.setattr("redis.asyncio.retry.sleep", pause)
    with manager(twin_id, url=own_server.url, retries=3) as twin:
        twin.set_state({"a": 1})
        own_server.kill()
        for call in (twin.get_current_state, lambda: twin.set_state({"a": 2})):
            pauses.clear()
            with pytest.raises(StoreUnavailable):
                call()
            assert len(pauses) <= 3


def test_a_client_that_decodes_is_refused(manager: Managers, server: Server, twin_id: str) -> None:
    """Replies are read as bytes."""
    with server.client(decode_responses=True) as client, pytest.raises(UsageError, match="decode_responses"):
        manager(twin_id, client=client)


@pytest.mark.parametrize("resp", [2, 3])
def test_both_protocols_of_redis_will_do(server: Server, twin_id: str, resp: int) -> None:
    """What RESP3 has maps and pushes for is a list in RESP2."""
    with StateManager(twin_id, url=f"{server.url}?protocol={resp}") as twin:
        twin.set_state({"a": {"b": 1}})
        assert twin.validate_state({"a": 1}) == (True, "State is valid")
        assert twin.get_history(1) == []
        subscription = twin.subscribe(timeout=10)
        twin.update_state({"a": {"c": 2}})
        event = next(subscription)
        assert (event.version, event.state["a"]) == (2, {"b": 1, "c": 2})
        subscription.close()


@pytest.mark.parametrize("most", [1, 2])
def test_a_manager_gets_by_on_few_connections(server: Server, twin_id: str, most: int) -> None:
    """None is held back from whoever uses the client underneath."""
    with StateManager(twin_id, url=f"{server.url}?max_connections={most}") as twin:
        twin.set_state({"a": 1})
        held = [twin.client.connection_pool.get_connection() for _ in range(most - 1)]
        assert twin.client.get(twin.keys.state)
        assert twin.snapshot().version == 1
        for connection in held:
            twin.client.connection_pool.release(connection)


def test_threads_share_the_connections_of_a_manager(server: Server, twin_id: str) -> None:
    """The one that is kept at hand is one thread's at a time; its server may cut it off while nobody uses it."""
    with StateManager(twin_id, url=f"{server.url}?client_name={twin_id}", retries=0) as twin, server.client() as admin:
        twin.set_state({"n": 0})
        with ThreadPoolExecutor(8) as threads:
            for _ in range(3):
                commits = list(threads.map(lambda _: twin.adjust({"/n": 1}), range(100)))
                assert len({commit.version for commit in commits}) == 100
                for one in admin.client_list():
                    if one["name"] == twin_id:
                        admin.client_kill_filter(_id=one["id"])
        assert twin.get_current_state()["n"] == 300


def test_what_redis_refuses_is_a_store_error(twin: StateManager, raw: redis.Redis) -> None:
    """With the command and what the server said; a wrong type is named by its key."""
    twin.set_state({"a": 1})
    raw.delete(twin.keys.history)
    raw.set(twin.keys.history, "x")
    with pytest.raises(CorruptTwin, match="history"):
        twin.update_state({"b": 1})
    with pytest.raises(StoreError, match="WRONGTYPE"):
        twin.get_history()


def test_fakeredis_will_do_for_unit_tests_of_callers() -> None:
    """Nothing to start: what it hides (it scripts in another Lua) does not matter there."""
    with fakeredis.FakeRedis() as fake, StateManager("fake", client=fake) as twin:
        twin.set_state({"a": {"b": 1}})
        twin.update_state({"a": {"c": [1, 2]}})
        twin.adjust({"/a/b": 2})
        assert twin.get_current_state()["a"] == {"b": 3, "c": [1, 2]}
        assert [state["a"] for state in twin.get_history()] == [{"b": 1}, {"b": 1, "c": [1, 2]}]


def test_a_repr_without_secrets(server: Server, twin_id: str) -> None:
    """It says which twin, and where."""
    with StateManager(twin_id, url=server.url) as twin:
        assert repr(twin) == f"<StateManager {twin_id!r} at {server.url}>"


def test_one_event_is_published_per_commit(twin: StateManager, client: redis.Redis) -> None:
    """With what changed; clear and delete are announced too."""
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(twin.keys.events)
        channel.get_message(timeout=1)
        twin.set_state({"a": 1}, actor="me")
        twin.update_many([{"a": 2}, {"a": 3}])
        twin.clear_history()
        twin.delete()
        events = [channel.get_message(timeout=5) for _ in range(5)]
        assert channel.get_message(timeout=0.05) is None
    bodies = [decode(event["data"]) for event in events if event]
    assert [(one["op"], one["version"]) for one in bodies] == [
        ("set", 1),
        ("merge", 2),
        ("merge", 3),
        ("clear", 3),
        ("delete", 3),
    ]
    assert bodies[0]["state"]["a"] == 1
    assert bodies[1]["patch"]["a"] == 2
    assert {one["twin"] for one in bodies} == {twin.twin}
