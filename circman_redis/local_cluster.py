"""A Valkey cluster on this machine: three masters with a replica each, held by the process that starts them.

It is for trying what runs in a cluster, and for tests; nothing here is needed to work with a cluster of one's own.
The nodes end with their holder. On Linux the kernel sees to it (PR_SET_PDEATHSIG), so that a ``kill -9`` of the holder
leaves none behind. Elsewhere they would outlive that, and the next start says which port is taken.

:func:`join` makes one cluster of nodes that run, whoever started them: it is what ``redis-cli --cluster create`` does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from circman_redis import _embedded_folder as folders
from circman_redis.embedded import START_TIMEOUT, find_binary
from circman_redis.errors import EmbeddedUnavailable, UsageError

if sys.platform != "win32":
    import fcntl

SLOTS = 16384
MASTERS = 3
NODES = 6
FIRST_PORT = 7000
BUS_OFFSET = 10_000  # what a server adds to its port for the cluster's bus
NODE_TIMEOUT = 5.0  # seconds of silence after which a node counts as failed
REVIVE_AFTER = 15.0  # seconds that a node stays down: longer than its replica takes to become the master

_PR_SET_PDEATHSIG = 1
_LAST_PORT = 65_535 - BUS_OFFSET - NODES + 1
_PORT_WAIT = 2.0  # seconds that nodes of a holder that was killed just now have to end
_END_WAIT = 30.0  # seconds that a node has to end before it is killed
_LOCK, _LOG = "cluster.lock", "server.log"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens.

    Attributes:
        port: for clients.
        bus: for the other nodes.
        host: an IP address, as the nodes know no names.
        user: who asks them to join, where that takes a password.
        password: the user's.
    """

    port: int
    bus: int
    host: str = "127.0.0.1"
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def client(self) -> redis.Redis:
        """A connection to this node alone, which does not retry."""
        return redis.Redis(
            self.host,
            self.port,
            username=self.user,
            password=self.password,
            socket_timeout=10,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A node, as a line of CLUSTER NODES has it."""

    id: str
    host: str
    port: int
    flags: frozenset[str]
    master: str
    epoch: int
    connected: bool
    slots: tuple[str, ...]

    @classmethod
    def read(cls, line: str) -> Self:
        """Reads ``id ip:port@bus[,name] flags master ping pong epoch link slot ...``."""
        name, address, flags, master, _, _, epoch, link, *slots = line.split()
        host, _, port = address.partition("@")[0].rpartition(":")
        known = frozenset(flags.split(","))
        return cls(name, host, int(port), known, master, int(epoch), link == "connected", tuple(slots))

    @property
    def well(self) -> bool:
        """Whether it is known for sure, and reached."""
        return self.connected and self.flags <= {"myself", "master", "slave"}

    def numbers(self) -> Iterator[int]:
        """The slots that it has, each by itself."""
        for part in self.slots:
            if not part.startswith("["):  # that is a slot on its way
                first, _, last = part.partition("-")
                yield from range(int(first), int(last or first) + 1)


def ask(client: redis.Redis, *parts: str | int) -> Any:
    """Sends a CLUSTER command; its reply as the node gave it."""
    return client.execute_command("CLUSTER", *parts)  # type: ignore[no-untyped-call]


def view(client: redis.Redis) -> list[Seen]:
    """The cluster, as one of its nodes sees it; the node itself has the flag ``myself``."""
    return [Seen.read(line) for line in ask(client, "NODES").splitlines()]


def own(client: redis.Redis) -> Seen:
    """A node, as it sees itself."""
    return next(one for one in view(client) if "myself" in one.flags)


def shares(masters: int) -> list[range]:
    """The slots, in as many parts of about the same size."""
    edges = [round(SLOTS * number / masters) for number in range(masters + 1)]
    return [range(begin, end) for begin, end in pairwise(edges)]


def join(nodes: Sequence[Address], masters: int, *, timeout: float = START_TIMEOUT) -> None:
    """Make one cluster of nodes that run, and wait until it serves.

    It does only what is not done yet: what was interrupted is finished, what was formed before is left as it is, and
    nodes that have other ports than last time find each other again.

    Args:
        nodes: the first of them become masters, which share the slots; the others their replicas, in turn.
        masters: how many masters.
        timeout: seconds until the cluster has to serve.

    Raises:
        EmbeddedUnavailable: it does not serve in time, or a node refused.
    """
    deadline = time.monotonic() + timeout
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(node.client()) for node in nodes]
            _meet(nodes, clients)
            _await(
                lambda: all(_knows(client, nodes) for client in clients), deadline, "the nodes do not find each other"
            )
            _share_slots(clients[:masters])
            _replicate(clients[:masters], clients[masters:])
            _await(lambda: serves(clients), deadline, "the cluster does not get well")
    except redis.RedisError as error:
        where = ", ".join(f"{node.host}:{node.port}" for node in nodes)
        raise EmbeddedUnavailable(f"no cluster could be made of {where}: {error}") from error


def serves(clients: Sequence[redis.Redis]) -> bool:
    """Whether all nodes say that all is well, agree who is what, have their masters' data, and tell clients of all."""
    # All but the epoch, which travels by itself.
    pictures = {
        frozenset((one.id, one.port, one.master, one.slots, one.well) for one in view(client)) for client in clients
    }
    states = {ask(client, "INFO").split()[0] for client in clients}
    well = len(pictures) == 1 and states == {"cluster_state:ok"}
    return well and all(_has_data(client) and _tells_of_all(client) for client in clients)


def _has_data(client: redis.Redis) -> bool:
    facts: dict[str, str] = client.info("replication")
    return facts["role"] == "master" or facts["master_link_status"] == "up"


def _tells_of_all(client: redis.Redis) -> bool:
    """A replica is told to clients only once its master's offset is known here."""
    told = {node[2] for _, _, *nodes in ask(client, "SLOTS") for node in nodes}
    return told == {one.id for one in view(client) if one.slots or "slave" in one.flags}


def _meet(nodes: Sequence[Address], clients: Sequence[redis.Redis]) -> None:
    """Each with each: to hear of others by gossip takes seconds."""
    for number, client in enumerate(clients):
        seen = view(client)
        if len(seen) == 1 and not seen[0].epoch:  # epochs that differ from the start need no sorting out later
            ask(client, "SET-CONFIG-EPOCH", number + 1)
    for number, client in enumerate(clients):
        for other in nodes[number + 1 :]:
            ask(client, "MEET", other.host, other.port, other.bus)


def _knows(client: redis.Redis, nodes: Sequence[Address]) -> bool:
    found = sorted((one.host, one.port) for one in view(client) if one.well)
    return found == sorted((node.host, node.port) for node in nodes)


def _share_slots(masters: Sequence[redis.Redis]) -> None:
    taken = {slot for one in view(masters[0]) for slot in one.numbers()}
    for client, share in zip(masters, shares(len(masters)), strict=True):
        if not taken.intersection(share):
            ask(client, "ADDSLOTSRANGE", share.start, share.stop - 1)


def _replicate(masters: Sequence[redis.Redis], replicas: Sequence[redis.Redis]) -> None:
    for number, client in enumerate(replicas):
        seen = own(client)
        if "master" in seen.flags and not seen.slots:
            ask(client, "REPLICATE", own(masters[number % len(masters)]).id)


def _await(condition: Callable[[], bool], deadline: float, otherwise: str) -> None:
    for _ in folders.looks(deadline):
        if condition():
            return
    raise EmbeddedUnavailable(f"{otherwise}: look into the log of each node")


class LocalCluster:
    """Six nodes, held by this process; to be started in the main thread, as a node ends with the thread it came from.

    Attributes:
        folder: where each node has a folder of its own, named by its number, with its data and its log.
        nodes: where the nodes listen.
        url: the cluster, as ``connect`` takes it.
    """

    def __init__(self, folder: Path | str | None = None, *, port: int = FIRST_PORT) -> None:
        """Start nothing yet.

        Args:
            folder: made with mode 700. None: ``cluster`` in the user's data directory for circman_redis.
            port: the first of six ports on the loopback; each node needs the one 10,000 above its own, too.

        Raises:
            UsageError: not a port that leaves room for the others.
            EmbeddedUnavailable: the user has no folder for data, or the server's program is not installed.
        """
        if not 0 < port <= _LAST_PORT:
            raise UsageError(f"the first port is {port}: a number from 1 to {_LAST_PORT} leaves room for all others")
        self._binary = find_binary()
        self.folder = Path(os.path.realpath(folder or folders.default_folder().with_name("cluster")))
        self.nodes = [Address(each, each + BUS_OFFSET) for each in range(port, port + NODES)]
        self.url = "redis+cluster://" + ",".join(f"{node.host}:{node.port}" for node in self.nodes[:MASTERS])
        self._servers: dict[Address, subprocess.Popen[bytes]] = {}
        self._ended: dict[Address, float] = {}
        self._lock: int | None = None

    def start(self) -> None:
        """Start all nodes, and wait until the cluster serves.

        Raises:
            UsageError: a port is taken.
            EmbeddedUnavailable: the folder is in use or not ours, or a node does not start.
        """
        try:
            self._take_folder()
            self._see_that_ports_are_free()
            for node in self.nodes:
                self._servers[node] = self._run(node)
            deadline = time.monotonic() + START_TIMEOUT
            for _ in folders.looks(deadline):
                if all(map(self._answers, self.nodes)):
                    break
            join(self.nodes, MASTERS, timeout=deadline - time.monotonic())
        except BaseException:
            self.close()
            raise

    def look_after(self) -> Iterator[str]:
        """Start again what has ended by itself, after a while in which its replica takes over; say so."""
        for node, server in list(self._servers.items()):
            if server.poll() is None:
                continue
            if node not in self._ended:
                self._ended[node] = time.monotonic()
                yield f"node {node.port} ended, status {server.returncode}; in {REVIVE_AFTER:g} s it is started again"
            elif time.monotonic() - self._ended[node] > REVIVE_AFTER:
                del self._ended[node]
                self._servers[node] = self._run(node)
                yield f"node {node.port} is started again"

    def close(self) -> None:
        """End all nodes, by their ids, in order: each writes what it holds. To close again does nothing."""
        for server in self._servers.values():
            server.terminate()
        deadline = time.monotonic() + _END_WAIT
        for server in self._servers.values():
            with suppress(subprocess.TimeoutExpired):
                server.wait(max(0.0, deadline - time.monotonic()))
            server.kill()  # does nothing to one that was waited for
            server.wait()
        self._servers.clear()
        if self._lock is not None:
            folders.release(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_folder(self) -> None:
        try:
            folders.make_private(self.folder)
            self._lock = folders.open_lock(self.folder / _LOCK)
        except OSError as error:
            raise EmbeddedUnavailable(f"cannot run a cluster in {self.folder}: {error}; name another folder") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EmbeddedUnavailable(
                f"another process holds the cluster in {self.folder}: use that one, or name another folder"
            ) from error

    def _see_that_ports_are_free(self) -> None:
        wanted = [port for node in self.nodes for port in (node.port, node.bus)]
        for _ in folders.looks(time.monotonic() + _PORT_WAIT):
            taken = [port for port in wanted if not _is_free(port)]
            if not taken:
                return
        raise UsageError(
            f"taken on 127.0.0.1: port {', '.join(map(str, taken))}. The cluster needs {wanted[0]} to {wanted[-2]}, "
            f"and {wanted[1]} to {wanted[-1]}: end what listens there, or name another first port"
        )

    def _run(self, node: Address) -> subprocess.Popen[bytes]:
        folder = self.folder / f"node-{self.nodes.index(node) + 1}"
        folder.mkdir(mode=0o700, exist_ok=True)
        settings = {
            "port": str(node.port),
            "bind": node.host,
            "dir": str(folder),
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": str(int(NODE_TIMEOUT * 1000)),
            "appendonly": "yes",
            "save": "",
            "notify-keyspace-events": "K$lhg",
            "repl-diskless-sync-delay": "0",
            "repl-ping-replica-period": "1",  # a replica is on no map before its first byte from the master
            "shutdown-timeout": "1",
        }
        log = folders.open_log(folder / _LOG)
        try:
            return subprocess.Popen(  # noqa: S603 - our own server
                [self._binary, *(part for name, value in settings.items() for part in (f"--{name}", value))],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who end them
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - the holder has one thread
            )
        finally:
            os.close(log)

    def _answers(self, node: Address) -> bool:
        server = self._servers[node]
        if server.poll() is not None:
            log = self.folder / f"node-{self.nodes.index(node) + 1}" / _LOG
            raise EmbeddedUnavailable(
                f"node {node.port} ended with status {server.returncode}; {log} ends with:\n{folders.last_lines(log)}"
            )
        with node.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not yet, or still reading its data
                return False


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _die_with(holder: int) -> Callable[[], None] | None:
    """What a child calls to get SIGTERM when its holder ends, however that ends."""
    if sys.platform != "linux":
        return None
    import ctypes  # noqa: PLC0415 - not every system needs it

    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
        if os.getppid() != holder:  # it is dead already, and nobody would tell us
            os._exit(0)

    return ask
