"""Hosts in network namespaces of their own, between which the network can be cut while tests still reach each."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from typing import Protocol, Self

import pytest

_numbers = itertools.count()
_random = random.SystemRandom()


class At(Protocol):
    """Whatever has an address."""

    host: str


@dataclass(frozen=True)
class Host:
    """One namespace, with one address."""

    name: str
    host: str

    @property
    def within(self) -> tuple[str, ...]:
        """What runs a command there; it becomes that command, so its process id stays."""
        return ("ip", "netns", "exec", self.name)


class Namespaces:
    """Hosts on a bridge in a namespace of its own, and a veth pair by which the tests are on it, too.

    Each host has one address, for the others and for the tests: Sentinels hand out the same to both. A cut is a
    blackhole route to the one peer, on each side; so the way to the tests is not touched.
    """

    def __init__(self) -> None:
        self.prefix = f"cr{os.getpid()}-{next(_numbers)}"
        self.switch = f"{self.prefix}-switch"
        self.link = f"{self.prefix}t"  # at most 15 characters
        self.hosts: list[Host] = []
        self.cuts: list[tuple[str, str]] = []
        self.net = ""

    @staticmethod
    def why_not() -> str | None:
        """What keeps namespaces from being made here; None where nothing does."""
        if shutil.which("ip") is None:
            return "network namespaces need the program ip (iproute2)"
        name = f"cr{os.getpid()}-try"
        for arguments in (("netns", "add", name), ("-n", name, "link", "add", "name", "sw0", "type", "bridge")):
            tried = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
            if tried.returncode:
                break
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        return f"network namespaces cannot be made here: {tried.stderr.strip()}" if tried.returncode else None

    def start(self) -> Self:
        """Makes the bridge and the tests' way to it; skips the test where that cannot be."""
        if reason := self.why_not():
            pytest.skip(reason)
        _remove_left_overs()
        try:
            self.net = _free_net()
            ip("netns", "add", self.switch)
            ip("-n", self.switch, "link", "add", "name", "sw0", "type", "bridge")
            ip("-n", self.switch, "link", "set", "sw0", "up")
            ip("link", "add", self.link, "type", "veth", "peer", "name", "tests", "netns", self.switch)
            ip("address", "add", f"{self.net}.254/24", "dev", self.link)
            ip("link", "set", self.link, "up")
            ip("-n", self.switch, "link", "set", "tests", "master", "sw0", "up")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Removes all namespaces, with their links. What runs in them has to be ended before."""
        for name in (*(host.name for host in self.hosts), self.switch):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.link], capture_output=True, check=False)
        self.hosts.clear()
        self.cuts.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(self) -> Host:
        """One more host, with the next address."""
        number = len(self.hosts) + 1
        host = Host(f"{self.prefix}-{number}", f"{self.net}.{number}")
        ip("netns", "add", host.name)
        self.hosts.append(host)
        ip("-n", host.name, "link", "set", "lo", "up")
        ip("-n", host.name, "link", "add", "eth", "type", "veth", "peer", "name", f"h{number}", "netns", self.switch)
        ip("-n", host.name, "address", "add", f"{host.host}/24", "dev", "eth")
        ip("-n", host.name, "link", "set", "eth", "up")
        ip("-n", self.switch, "link", "set", f"h{number}", "master", "sw0", "up")
        return host

    def cut(self, one: At, *others: At, both: bool = True) -> None:
        """Loses all that one sends to the others, and, unless told otherwise, what they send to it."""
        for other in others:
            self._lose(one.host, other.host)
            if both:
                self._lose(other.host, one.host)

    def heal(self) -> None:
        """Ends all cuts."""
        while self.cuts:
            sender, receiver = self.cuts.pop()
            ip("-n", self._name(sender), "route", "del", "blackhole", f"{receiver}/32")

    def _lose(self, sender: str, receiver: str) -> None:
        if (sender, receiver) not in self.cuts:
            ip("-n", self._name(sender), "route", "add", "blackhole", f"{receiver}/32")
            self.cuts.append((sender, receiver))

    def _name(self, address: str) -> str:
        return next(host.name for host in self.hosts if host.host == address)


def ip(*arguments: str) -> str:
    """Runs ip; what it said."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def _free_net() -> str:
    """A /24 of 198.18.0.0/15, which is set aside for tests of networks (RFC 2544), and nobody uses here."""
    while True:
        net = f"198.{_random.choice((18, 19))}.{_random.randrange(256)}"
        if not ip("route", "show", "root", f"{net}.0/24").strip():
            return net


def _remove_left_overs() -> None:
    """Of runs that were killed: a namespace outlives its processes."""
    for line in ip("netns", "list").splitlines():
        name = line.split()[0]
        owner = name.partition("-")[0].removeprefix("cr")
        if name.startswith("cr") and owner.isdecimal() and not os.path.exists(f"/proc/{owner}"):  # noqa: PTH110
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
