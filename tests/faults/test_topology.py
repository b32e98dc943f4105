"""What the tests of faults stand on: that a failover, a move, a cut and a loss are what they say."""

from __future__ import annotations

import ctypes
import itertools
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from tests.servers import Server, lanes, wait_until
from tests.topology import Cluster, Faults, Namespaces, Node, Proxy, ReplicaSet, nodes, resp
from tests.topology.namespaces import Host
from tests.topology.replicas import in_sync, role

CLONE_NEWNET = 0x40000000

pytestmark = pytest.mark.xdist_group("topology")


def over_tcp(node: Node | Proxy, **kwargs: object) -> redis.Redis:
    return redis.Redis.from_url(node.url, retry=Retry(NoBackoff(), 0), socket_timeout=2, **kwargs)


# --- nodes -------------------------------------------------------------------------------------------------


def test_a_node_whose_port_was_taken_takes_another(lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken, free = other.getsockname()[1], nodes.free_port()
        offered = iter([taken, taken, free, free])
        monkeypatch.setattr(nodes, "free_port", lambda: next(offered))
        node = Node(lanes()[lane])
        try:
            node.start()
            assert node.port == free
        finally:
            node.stop()


def test_what_does_not_start_leaves_nothing_behind(lane: str) -> None:
    group = ReplicaSet(lanes()[lane], options=("--no-such-option", "1"))
    with pytest.raises(AssertionError, match="no-such-option"):
        group.start()
    assert group.everything == []


# --- replicas and Sentinels --------------------------------------------------------------------------------


@pytest.fixture
def replica_set(lane: str) -> Iterator[ReplicaSet]:
    with ReplicaSet(lanes()[lane], aof=True) as one:
        yield one


def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(replica_set: ReplicaSet) -> None:
    first = replica_set.nodes[0]
    assert replica_set.master() is first
    assert len(replica_set.replicas()) == 2
    hosts = replica_set.url.removeprefix("redis+sentinel://").removesuffix("/main/0").split(",")
    sentinel = redis.Sentinel([(host, int(port)) for host, port in (one.split(":") for one in hosts)])
    assert sentinel.discover_master("main") == (first.host, first.port)
    with first.client() as client:
        client.set("a", "1")
        assert client.wait(2, 10_000) == 2

    killed = replica_set.kill_master()
    assert killed is first
    assert not killed.alive
    successor = replica_set.wait_for_failover(killed)
    assert successor is not killed
    assert replica_set.master() is successor
    assert sentinel.discover_master("main") == (successor.host, successor.port)
    with over_tcp(successor) as client:
        assert client.get("a") == b"1"
        client.set("a", "2")

    replica_set.restart(killed)
    wait_until(replica_set.in_sync)
    with killed.client() as client:
        assert client.get("a") == b"2"
    for one in sentinel.sentinels:
        one.close()


def test_a_master_refuses_writes_without_replicas_where_it_shall(lane: str) -> None:
    with ReplicaSet(lanes()[lane], replicas=1, sentinels=1, min_replicas=1) as one, one.master().client() as client:
        client.set("a", "1")
        one.replicas()[0].kill()

        def refused() -> bool:
            try:
                return not client.set("a", "1")
            except redis.ResponseError as error:
                return str(error).startswith("NOREPLICAS")

        wait_until(refused)


# --- clusters ----------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(lane: str) -> Iterator[Cluster]:
    with Cluster(lanes()[lane], aof=True) as one:
        yield one


def test_a_cluster_serves_moves_slots_and_survives_a_master(cluster: Cluster) -> None:
    """In one test, as a cluster takes seconds to start."""
    host, port = cluster.url.removeprefix("redis+cluster://").split(",")[0].split(":")
    with redis.RedisCluster(host, int(port)) as client:
        names = [f"{{a}}{n}" for n in range(20)]
        for name in names:
            client.set(name, "1")
        moves_key_by_key(cluster, client, names)
        if cluster.moves_atomically():
            moves_at_once(cluster, client, names)
        a_master_is_replaced(cluster, client)


def moves_key_by_key(cluster: Cluster, client: redis.RedisCluster, names: list[str]) -> None:
    slot, before = key_slot(b"a"), cluster.owner("a")
    to = cluster.others(before)[0]
    seen = []

    def between(key: bytes) -> None:
        seen.append(key.decode())
        assert client.incr(key) == 2  # there already
        assert client.get(names[0]) in (b"1", b"2")  # here or there: clients are sent where it is

    assert cluster.move_slot(slot, to, between) == len(names)
    assert sorted(seen) == sorted(names)
    assert cluster.owner("a") is cluster.owner(slot) is to
    with to.client() as there, before.client() as here:
        assert there.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) == len(names)
        assert here.dbsize() == 0


def moves_at_once(cluster: Cluster, client: redis.RedisCluster, names: list[str]) -> None:
    before = cluster.owner("a")
    to = cluster.others(before)[0]
    cluster.move_slot_atomically(key_slot(b"a"), to)
    assert cluster.owner("a") is to
    assert {client.get(name) for name in names} == {b"2"}


def a_master_is_replaced(cluster: Cluster, client: redis.RedisCluster) -> None:
    cluster.wait_until_well()
    old = cluster.owner("a")
    (replica,) = cluster.replicas(old) if len(cluster.replicas(old)) == 1 else [None]
    client.set("{a}0", "3")
    wait_until(lambda: in_sync(old, cluster.replicas(old)))
    cluster.kill(old)
    successor = cluster.wait_for_failover("a", old)
    assert replica in (None, successor)
    with successor.client() as direct:
        assert direct.get("{a}0") == b"3"
    cluster.restart(old)
    cluster.wait_until_well()
    assert role(old) == "slave"


# --- networks ----------------------------------------------------------------------------------------------


def test_a_master_that_is_cut_off_still_serves_clients_and_is_replaced(lane: str) -> None:
    with Namespaces() as network, ReplicaSet(lanes()[lane], network=network) as one:
        first = one.master()
        others = [node for node in one.everything if node is not first]
        network.cut(first, *others)
        successor = one.wait_for_failover(first)
        with over_tcp(first) as old, over_tcp(successor) as new:
            assert old.set("a", "lost")  # two masters, each with its clients
            assert new.set("a", "kept")
            assert role(first) == role(successor) == "master"
            network.heal()
            wait_until(one.in_sync)
            assert old.get("a") == b"kept"


def test_a_cut_is_between_two_and_may_be_one_way() -> None:
    """By datagrams, as in TCP nothing gets anywhere without answers."""
    with Namespaces() as network, ExitStack() as stack:
        hosts = [network.add() for _ in range(3)]
        first, second, third = hosts
        at = {host: stack.enter_context(datagrams(host)) for host in hosts}

        def arrives(sender: Host, receiver: Host) -> bool:
            """Whether a datagram gets there; it has no other one to overtake it."""
            at[receiver].settimeout(30 if (sender.host, receiver.host) not in network.cuts else 0.2)
            try:
                at[sender].sendto(b"x", at[receiver].getsockname())
                return at[receiver].recv(1) == b"x"
            except OSError:  # no way there; or nothing came
                return False

        pairs = list(itertools.permutations(hosts, 2))
        assert all(itertools.starmap(arrives, pairs))
        network.cut(first, second, both=False)
        assert [pair for pair in pairs if not arrives(*pair)] == [(first, second)]
        network.cut(first, second, third)
        assert [pair for pair in pairs if arrives(*pair)] == [(second, third), (third, second)]
        network.heal()
        assert all(itertools.starmap(arrives, pairs))


def datagrams(host: Host) -> socket.socket:
    """A socket in a host's namespace: it stays there, while the thread that made it does not."""

    def make() -> socket.socket:
        with Path("/run/netns", host.name).open() as namespace:
            assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) == 0
        one = socket.socket(type=socket.SOCK_DGRAM)
        one.bind((host.host, 5000))
        return one

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


def test_namespaces_are_removed_after_a_failure() -> None:
    names: list[str] = []

    def fail() -> None:
        with Namespaces() as network:
            names.extend([network.switch, network.add().name, network.add().name, network.link])
            from_ip = listed()
            assert all(name in from_ip for name in names)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    wait_until(lambda: not any(name in listed() for name in names))


def listed() -> str:
    from tests.topology.namespaces import ip

    return ip("netns", "list") + ip("link")


# --- the proxy ---------------------------------------------------------------------------------------------


def outcome(client: redis.Redis) -> bool:
    """One increment: whether it was acknowledged."""
    try:
        client.incr("n")
    except redis.ConnectionError:
        return False
    except redis.TimeoutError:
        return False
    return True


@pytest.mark.parametrize("protocol", [2, 3])
def test_without_faults_everything_passes(server: Server, protocol: int) -> None:
    with Proxy(server) as proxy, over_tcp(proxy, protocol=protocol) as client:
        blob = random.Random(1).randbytes(300_000)
        assert client.set("blob", blob)
        assert client.get("blob") == blob
        client.hset("hash", mapping={"a": "1", "b": ""})
        assert client.hgetall("hash") == {b"a": b"1", b"b": b""}
        with client.pipeline(transaction=True) as pipeline:
            for _ in range(1000):
                pipeline.incr("n")
            assert pipeline.execute() == list(range(1, 1001))
        assert client.eval("return {1, {2, 'x'}, false}", 0) == [1, [2, b"x"], None]
        with pytest.raises(redis.ResponseError):
            client.incr("blob")
        counts = proxy.counts
        assert counts.requests == counts.replies > 1000
        assert counts.dropped_requests == counts.dropped_replies == counts.cuts == counts.delays == 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_messages_pass_whatever_goes_wrong(server: Server, protocol: int) -> None:
    """A connection that subscribes is only cut, and all at once."""
    with Proxy(server) as proxy, over_tcp(proxy, protocol=protocol) as client, client.pubsub() as pubsub:
        pubsub.subscribe("c")
        assert pubsub.get_message(timeout=30)["type"] == "subscribe"
        proxy.faults = Faults(drop_request=1, drop_reply=1)
        with server.client() as publisher:
            for n in range(100):
                publisher.publish("c", f"{n}" * 1000)
        for n in range(100):
            assert pubsub.get_message(timeout=30)["data"] == f"{n}".encode() * 1000
        pubsub.ping()
        assert pubsub.get_message(timeout=30)["type"] == "pong"
        proxy.cut_all()
        with pytest.raises(redis.ConnectionError):
            pubsub.connection.read_response()


@pytest.mark.parametrize("then", ["cut", "silent"])
def test_a_dropped_request_is_not_made(server: Server, then: str) -> None:
    with Proxy(server) as proxy, over_tcp(proxy) as client:
        assert outcome(client)
        proxy.faults = Faults(drop_request=1, then=then, only=frozenset({"INCR", "INCRBY"}))
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
        client.connection_pool.disconnect()
        assert not outcome(client)
        assert proxy.counts.dropped_requests == 1
        proxy.faults = Faults()
        assert outcome(client)
        assert client.get("n") == b"2"


@pytest.mark.parametrize("then", ["cut", "silent"])
def test_a_request_whose_reply_is_dropped_is_made(server: Server, then: str) -> None:
    with Proxy(server) as proxy, over_tcp(proxy) as client:
        assert outcome(client)
        proxy.faults = Faults(drop_reply=1, then=then, only=frozenset({"INCR", "INCRBY"}))
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
        client.connection_pool.disconnect()
        assert not outcome(client)
        assert proxy.counts.dropped_replies == 1
        proxy.faults = Faults()
        assert outcome(client)
        assert client.get("n") == b"3"


def test_some_of_everything_is_counted_and_adds_up(server: Server) -> None:
    """Each increment without an acknowledgement was lost on its way there, or on its way back."""
    faults = Faults(0.1, 0.1, 0.1, 0.1, seconds=0.001, only=frozenset({"INCR", "INCRBY"}))
    with Proxy(server, faults, seed=7) as proxy, over_tcp(proxy) as client:
        acknowledged = sum(outcome(client) for _ in range(300))
        proxy.faults = Faults()
        counts = proxy.counts
        assert int(client.get("n")) == acknowledged + counts.dropped_replies
        assert 300 - acknowledged == counts.dropped_requests + counts.dropped_replies + counts.cuts
        assert min(counts.dropped_requests, counts.dropped_replies, counts.cuts, counts.delays) > 10


def test_what_was_lost_in_a_pipeline_takes_along_what_comes_later(server: Server) -> None:
    """TCP loses nothing from the middle: no reply is ever taken for another's."""
    for seed in range(20):
        with Proxy(server, seed=seed) as proxy, over_tcp(proxy, socket_keepalive=False) as client:
            client.ping()
            client.delete("n")
            connection = client.connection_pool.get_connection()
            proxy.faults = Faults(0.1, 0.1)
            connection.send_packed_command(connection.pack_commands([("INCR", "n")] * 20))
            got = list(replies(connection))
            client.connection_pool.release(connection)
            assert got == list(range(1, len(got) + 1))
            assert proxy.counts.dropped_requests + proxy.counts.dropped_replies >= 1


def replies(connection: redis.Connection) -> Iterator[object]:
    """Until the connection is cut; not a timeout."""
    with suppress(redis.ConnectionError):
        while True:
            yield connection.read_response()


def test_many_threads_pass_at_once(server: Server) -> None:
    with Proxy(server) as proxy, over_tcp(proxy) as client:
        threads = [threading.Thread(target=lambda: [outcome(client) for _ in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.get("n") == b"400"


# --- RESP --------------------------------------------------------------------------------------------------

REPLIES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":-12\r\n",
    b"$5\r\na\r\nbc\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(123456789012345678901234567890\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!5\r\nERR x\r\n",
    b"%1\r\n+a\r\n*1\r\n:1\r\n",
    b"~2\r\n:1\r\n:2\r\n",
    b">2\r\n+message\r\n$1\r\nx\r\n",
    b"|1\r\n+a\r\n:1\r\n*1\r\n:5\r\n",
]


@given(st.lists(st.sampled_from(REPLIES)), st.lists(st.integers(1, 9)))
def test_replies_are_split_wherever_bytes_arrive(replies: list[bytes], cuts: list[int]) -> None:
    data, buffer, found = b"".join(replies), bytearray(), []
    for size in [*cuts, len(data)]:
        buffer += data[:size]
        data = data[size:]
        found += resp.take(buffer, resp.reply_end)
    assert found == replies
    assert not buffer


def test_a_request_may_be_typed_by_hand() -> None:
    buffer = bytearray(b"PING\r\n*2\r\n$4\r\nincr\r\n$1\r\nn\r\nset a 1\r\nPI")
    found = list(resp.take(buffer, resp.request_end))
    assert [resp.command(one) for one in found] == ["PING", "INCR", "SET"]
    assert buffer == b"PI"


def test_what_is_no_reply_is_refused() -> None:
    with pytest.raises(ValueError, match="no RESP"):
        resp.reply_end(b"HTTP/1.1 200 OK\r\n")
