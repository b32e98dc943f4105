"""One server that others reach over TCP, and what all groups of them have in common."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.servers import Server
from tests.topology.namespaces import Namespaces

PORTS = range(10_000, 32_000)  # below those that the kernel gives to clients, who could take one while its node is down
CLASH = "Address already in use"
QUICK = (
    *("--repl-diskless-sync-delay", "0"),
    *("--repl-ping-replica-period", "1"),
    *("--repl-timeout", "5"),
    *("--protected-mode", "no"),
)
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")

_random = random.SystemRandom()  # hypothesis seeds the other one, in every worker alike


def free_port() -> int:
    """A port of the loopback on which nobody listens just now."""
    while True:
        port = _random.choice(PORTS)
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass(eq=False)
class Node(Server):
    """A server with a configuration file, which others may have rewritten (CONFIG REWRITE), and the same ports always.

    Its ``client()`` goes over the unix socket, which no fault of a network reaches.

    Args:
        host: the address that it listens on.
        port: where; 0 for a free one.
        bus: the cluster bus's port; 0 for a free one, in a cluster.
        within: a command to run it by, such as ``ip netns exec NAME``.
        sentinel: run it as a Sentinel.
    """

    host: str = "127.0.0.1"
    port: int = 0
    bus: int = 0
    within: tuple[str, ...] = ()
    sentinel: bool = False

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def command(self) -> list[str | Path]:
        return [*self.within, self.binary, self.folder / "conf", *(["--sentinel"] if self.sentinel else [])]

    def start(self) -> Self:
        """Starts it, or starts it again with the configuration that it had last."""
        if (self.folder / "conf").exists():
            return super().start()
        chosen = bool(self.port)
        while True:
            if not chosen:
                self.port, self.bus = free_port(), free_port()
            (self.folder / "conf").write_text("\n".join(self._settings()) + "\n")
            try:
                return super().start()
            except AssertionError:
                if chosen or CLASH not in (self.folder / "log").read_text():
                    raise
                (self.folder / "log").unlink()

    def restart(self) -> Self:
        if self.alive:
            self.kill()
        return self.start()

    def _settings(self) -> Iterator[str]:
        yield from (f"port {self.port}", f"bind {self.host}", f"unixsocket {self.socket}", f"dir {self.folder}")
        options = iter(self.options if self.sentinel else ("--save", "", *self.options))
        for name in options:
            yield f"{name.removeprefix('--')} {next(options) or chr(34) * 2}"
        if "--cluster-enabled" in self.options:
            yield f"cluster-port {self.bus}"


class Group:
    """Nodes that belong together, and end together.

    Args:
        binary: what to run.
        aof: keep every write on disk before it is answered.
        options: configuration of each data node.
        network: where each node gets a host of its own; None for the loopback.
    """

    def __init__(
        self, binary: Path, *, aof: bool = False, options: tuple[str, ...] = (), network: Namespaces | None = None
    ) -> None:
        self.binary = binary
        self.network = network
        self.options = (*QUICK, *(DURABLE if aof else ()), *options)
        self.everything: list[Node] = []

    def stop(self) -> None:
        """Ends what was started, and removes its folders."""
        for node in self.everything:
            node.stop()
        self.everything.clear()

    def start(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(self, *options: str, sentinel: bool = False) -> Node:
        """Starts one more node."""
        options = options if sentinel else (*self.options, *options)
        if self.network is None:
            node = Node(self.binary, options, sentinel=sentinel)
        else:
            host = self.network.add()
            node = Node(self.binary, options, host=host.host, port=6379, bus=16379, within=host.within)
            node.sentinel = sentinel
        self.everything.append(node)
        return node.start()
