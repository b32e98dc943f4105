"""What the tests of the embedded server share: processes that use one, and how to look at it from outside."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from circman_redis import embedded

PROMISED = 5.0  # seconds within which a server ends after its last user
_IMPORTS = os.pathsep.join(str(path.parents[1]) for path in (Path(embedded.__file__), Path(__file__).parent))


def wait_until(condition: Callable[[], object], within: float = 30.0) -> None:
    """Return as soon as the condition holds; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within} s"
        time.sleep(0.01)


def command(path: Path | str, *words: str) -> str:
    """One Redis command over a connection of its own; the reply without its framing."""
    with socket.socket(socket.AF_UNIX) as link, link.makefile("rwb") as stream:
        link.settimeout(30)
        link.connect(os.fsencode(path))
        stream.write(b"*%d\r\n" % len(words))
        for word in words:
            stream.write(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()))
        stream.flush()
        return _reply(stream)


def _reply(stream: socket.SocketIO) -> str:
    line = stream.readline().decode().strip()
    if not line:
        raise ConnectionError("the server hung up")
    kind, rest = line[0], line[1:]
    if kind == "-":
        raise RuntimeError(rest)
    if kind == "$" and rest != "-1":
        return stream.read(int(rest) + 2)[:-2].decode()
    if kind == "*":
        return " ".join(_reply(stream) for _ in range(int(rest)))
    return rest


def server_pid(path: Path | str) -> int:
    """The pid of the server that answers there."""
    return int(re.search(r"process_id:(\d+)", command(path, "INFO", "server"))[1])


def ended(process: psutil.Process) -> bool:
    """Whether it has ended; it may still wait for its parent to notice."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def living(folder: Path) -> list[psutil.Process]:
    """The keepers and servers of a folder and of those in it: they, and nobody else, work there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            cwd = Path(process.cwd().removesuffix(" (deleted)"))
            if cwd.is_relative_to(folder) and not ended(process):
                found.append(process)
    return found


class User:
    """A process that uses the server of a folder, and does what it is told; see user_process.py."""

    def __init__(self, folder: Path, *flags: str, env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.embedded.user_process", str(folder), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**(os.environ if env is None else env), "PYTHONPATH": _IMPORTS},
        )
        assert self.hears() == "here"

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, *words: str) -> None:
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()

    def hears(self) -> str:
        return self._process.stdout.readline().strip()

    def does(self, *words: str) -> str:
        """Tell it a Redis command, or one of its own, and return the answer."""
        self.tell(*words)
        return self.hears()

    def open(self) -> int:
        """Let it open the folder; returns the server's pid."""
        return int(self.does("open"))

    def leave(self) -> None:
        """Let it end by itself; returns when it has, in order."""
        self._process.stdin.close()
        assert self._process.wait(60) == 0
        self._process.stdout.close()

    def kill(self) -> None:
        """Kill -9; returns when it is gone. To kill one that has gone does nothing."""
        self._process.kill()
        self._process.wait(60)
        with suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
