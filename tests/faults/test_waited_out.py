"""What passes is waited out within the deadline of a call, and what does not is an error of its own kind by then."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis

from circman_redis import (
    AsyncStateManager,
    ReadOnlyReplica,
    ScriptBusy,
    StateManager,
    StoreError,
    StoreUnavailable,
)
from tests.servers import lanes, wait_until
from tests.topology import Node, ReplicaSet
from tests.topology.replicas import in_sync, role

pytestmark = pytest.mark.xdist_group("sentinels")

SHORT = 1.0
AMPLE = 60.0
KEYS = 20_000

Say = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def adjust(request: pytest.FixtureRequest) -> Say:
    """Adds 1, over a manager of its own that was there before: returns what does it, given a URL, a twin, a timeout."""
    return in_threads if request.param == "sync" else in_tasks


class in_threads:  # noqa: N801 - it is used as a function
    """A call of a sync manager in a thread, which begins at once."""

    def __init__(self, url: str, twin_id: str, timeout: float, before: Callable[[], object], **how: Any) -> None:
        self._value: Any = None
        self._opened, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(url, twin_id, {"timeout": timeout, **how}))
        self._thread.start()
        try:
            assert self._opened.wait(60)
            before()  # not in that thread: a server that it starts would end with it
        finally:
            self.began = time.monotonic()
            self._go_on.set()

    def _run(self, url: str, twin_id: str, how: dict[str, Any]) -> None:
        try:
            self._value = self._call(url, twin_id, how)
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self._value = error
        finally:
            self._opened.set()

    def _call(self, url: str, twin_id: str, how: dict[str, Any]) -> Any:
        with StateManager(twin_id, url=url, **how) as twin:
            twin.get_current_state()
            self._wait_for_the_fault()
            return twin.adjust({"/n": 1})

    def _wait_for_the_fault(self) -> None:
        self._opened.set()
        assert self._go_on.wait(150)

    @property
    def waits(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def result(self) -> Any:
        """What it returned, or raises what it raised."""
        self._thread.join(AMPLE + 30)
        assert not self._thread.is_alive()
        if isinstance(self._value, BaseException):
            raise self._value
        return self._value


class in_tasks(in_threads):  # noqa: N801 - it is used as a function
    """The same of an async manager."""

    def _call(self, url: str, twin_id: str, how: dict[str, Any]) -> Any:
        async def call() -> Any:
            async with AsyncStateManager(twin_id, url=url, **how) as twin:
                await twin.get_current_state()
                self._wait_for_the_fault()
                return await twin.adjust({"/n": 1})

        return asyncio.run(call())


def ends_with(error: type[StoreError], call: in_threads) -> StoreError:
    """In some time of the order of its timeout: generous, as the machine may be busy."""
    with pytest.raises(error) as raised:
        call.result()
    assert raised.type is error
    assert time.monotonic() - call.began < SHORT + 13
    return raised.value


def assert_waits(call: in_threads) -> None:
    """It waits, and has tried: long enough for some tries."""
    time.sleep(0.3)
    assert call.waits


class Loading(Node):
    """One that counts as started as soon as it says that it loads its data."""

    def _answers(self) -> bool:
        return says(self, "LOADING") or super()._answers()


@contextmanager
def node_with_twin(lane: str, twin_id: str, *options: str) -> Iterator[Node]:
    node = Loading(lanes()[lane], options)
    try:
        node.start()
        set_up(node, twin_id)
        yield node
    finally:
        node.stop()


def set_up(node: Node, twin_id: str) -> None:
    with StateManager(twin_id, url=node.url) as twin:
        twin.set_state({"n": 0})


def n_of(node: Node, twin_id: str) -> int:
    with StateManager(twin_id, url=node.url) as twin:
        return int(twin.get_current_state()["n"])


# --- a script that does not end --------------------------------------------------------------------------------------


@contextmanager
def busy(node: Node) -> Iterator[None]:
    """Runs a script for ever, until SCRIPT KILL."""

    def loop() -> None:
        with node.client(retry=None) as client, suppress(redis.RedisError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        wait_until(lambda: says(node, "BUSY"))
        yield
    finally:
        end_script(node)
        thread.join()


def says(node: Node, word: str) -> bool:
    """Whether a read is answered with that error now."""
    with node.client(retry=None, socket_timeout=5) as client:
        try:
            client.execute_command("GET", "k")
        except redis.BusyLoadingError:
            return word == "LOADING"
        except redis.exceptions.MasterDownError:
            return word == "MASTERDOWN"
        except redis.ResponseError as error:
            return str(error).startswith(word)
        except redis.RedisError:
            return False
    return False


def end_script(node: Node) -> None:
    with node.client() as client, suppress(redis.ResponseError):  # NOTBUSY: it was ended before
        client.script_kill()


def test_a_busy_script_is_waited_out(lane: str, twin_id: str, adjust: Say) -> None:
    with node_with_twin(lane, twin_id, "--busy-reply-threshold", "50") as node:
        with busy(node):
            pass
        blocked = threading.Event()
        with held(node, blocked) as hold:
            call = adjust(node.url, twin_id, AMPLE, hold)
            assert_waits(call)
            blocked.set()
            assert call.result().version == 2
        assert n_of(node, twin_id) == 1


def test_a_busy_script_that_goes_on_is_said(lane: str, twin_id: str, adjust: Say) -> None:
    with node_with_twin(lane, twin_id, "--busy-reply-threshold", "50") as node:
        blocked = threading.Event()
        with held(node, blocked) as hold:
            ends_with(ScriptBusy, adjust(node.url, twin_id, SHORT, hold))
            blocked.set()
        assert n_of(node, twin_id) == 0


@contextmanager
def held(node: Node, until: threading.Event) -> Iterator[Callable[[], None]]:
    """What makes the server busy when it is called, until something is set."""
    stopped = threading.Event()
    stands = threading.Event()

    def hold() -> None:
        with busy(node):
            stands.set()
            until.wait(AMPLE + 30)
        stopped.set()

    thread = threading.Thread(target=hold)

    def begin() -> None:
        thread.start()
        assert stands.wait(60)

    try:
        yield begin
    finally:
        until.set()
        if thread.ident is not None:
            thread.join()


# --- a server that loads its data ------------------------------------------------------------------------------------


def load_slowly(node: Node) -> None:
    """Restarts it, so that it loads for minutes; or until key-load-delay is 0."""
    with node.client() as client:
        with client.pipeline(transaction=False) as many:
            for n in range(KEYS):
                many.set(f"k{n}", "x" * 10)
            many.execute()
        client.save()
    node.kill()
    conf = (node.folder / "conf").read_text()
    (node.folder / "conf").write_text(f"{conf}key-load-delay 10000\nloading-process-events-interval-bytes 1024\n")
    node.start()
    assert says(node, "LOADING")


def load_quickly(node: Node) -> None:
    with node.client(retry=None, socket_timeout=60) as client:
        client.config_set("key-load-delay", 0)
    wait_until(lambda: not says(node, "LOADING"))


def test_loading_is_waited_out(lane: str, twin_id: str, adjust: Say) -> None:
    with node_with_twin(lane, twin_id) as node:
        call = adjust(node.url, twin_id, AMPLE, lambda: load_slowly(node))
        assert_waits(call)
        load_quickly(node)
        assert call.result().version == 2
        assert n_of(node, twin_id) == 1


def test_loading_that_goes_on_is_said(lane: str, twin_id: str, adjust: Say) -> None:
    with node_with_twin(lane, twin_id) as node:
        ends_with(StoreUnavailable, adjust(node.url, twin_id, SHORT, lambda: load_slowly(node)))
        load_quickly(node)
        assert n_of(node, twin_id) == 0


# --- a master that became a replica, and a replica without a master --------------------------------------------------


@pytest.fixture
def pair(lane: str, twin_id: str) -> Iterator[tuple[Node, Node]]:
    """A master with a replica, and nobody who looks after them."""
    options = ("--replica-serve-stale-data", "no", "--repl-diskless-sync-delay", "0", "--protected-mode", "no")
    one, other = Node(lanes()[lane], options), Node(lanes()[lane], options)
    try:
        one.start()
        other.start()
        set_up(one, twin_id)
        follow(other, one)
        yield one, other
    finally:
        one.stop()
        other.stop()


def follow(node: Node, master: Node | None) -> None:
    with node.client() as client:
        if master is None:
            client.execute_command("REPLICAOF", "NO", "ONE")
            return
        client.execute_command("REPLICAOF", master.host, master.port)
    wait_until(lambda: in_sync(master, [node]))


def demote(pair: tuple[Node, Node]) -> None:
    """The two change places."""
    one, other = pair
    follow(other, None)
    follow(one, other)


def test_a_demoted_master_is_waited_out(pair: tuple[Node, Node], twin_id: str, adjust: Say) -> None:
    """Until it is one again."""
    call = adjust(pair[0].url, twin_id, AMPLE, lambda: demote(pair))
    assert_waits(call)
    follow(pair[0], None)
    assert call.result().version == 2
    assert n_of(pair[0], twin_id) == 1


def test_a_demoted_master_that_stays_one_is_said(pair: tuple[Node, Node], twin_id: str, adjust: Say) -> None:
    ends_with(ReadOnlyReplica, adjust(pair[0].url, twin_id, SHORT, lambda: demote(pair)))
    assert n_of(pair[1], twin_id) == 0


def lose_master(pair: tuple[Node, Node]) -> None:
    pair[0].kill()
    wait_until(lambda: says(pair[1], "MASTERDOWN"))


def test_a_replica_without_its_master_is_waited_out(pair: tuple[Node, Node], twin_id: str, adjust: Say) -> None:
    """It answers nothing that it might not know any more; until it is the master."""
    call = adjust(pair[1].url, twin_id, AMPLE, lambda: lose_master(pair))
    assert_waits(call)
    follow(pair[1], None)
    assert call.result().version == 2
    assert n_of(pair[1], twin_id) == 1


def test_a_replica_that_stays_without_its_master_is_said(pair: tuple[Node, Node], twin_id: str, adjust: Say) -> None:
    ends_with(StoreUnavailable, adjust(pair[1].url, twin_id, SHORT, lambda: lose_master(pair)))


# --- nobody is there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_without_a_master_each_call_ends(lane: str, twin_id: str, how: str, adjust: Say) -> None:
    """Dead, or there and saying nothing; the Sentinels are as dead, so nobody replaces it."""
    with ReplicaSet(lanes()[lane], replicas=1) as servers:
        with StateManager(twin_id, url=servers.url) as twin:
            twin.set_state({"n": 0})
        master = servers.master()

        def lose_all() -> None:
            for sentinel in servers.sentinels:
                sentinel.kill()
            master.kill() if how == "killed" else silence(master)

        said = ends_with(StoreUnavailable, adjust(servers.url, twin_id, SHORT, lose_all, durability="replicas:1"))
        assert isinstance(said, StoreUnavailable)
        assert said.commit_id is not None or "not known" not in str(said)


def silence(node: Node) -> None:
    """Until the end of the test, which ends it with its folder."""
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGSTOP)


def test_a_planned_failover_is_not_noticed(lane: str, twin_id: str, adjust: Say) -> None:
    """SENTINEL FAILOVER in the midst: the old master becomes a replica, and the call finds the new one."""
    with ReplicaSet(lanes()[lane]) as servers:
        with StateManager(twin_id, url=servers.url) as twin:
            twin.set_state({"n": 0}, durability="replicas:2")
        old = servers.master()

        def fail_over() -> None:
            with servers.sentinels[0].client() as client:
                client.execute_command("SENTINEL", "FAILOVER", servers.name)
            wait_until(lambda: role(servers.wait_for_failover(old)) == "master")

        # Sentinel tells the old master last: what it takes until then is lost, and is not confirmed by anybody.
        call = adjust(servers.url, twin_id, AMPLE, fail_over, durability="replicas:1")
        assert call.result().version == 2
        assert n_of(servers.master(), twin_id) == 1
