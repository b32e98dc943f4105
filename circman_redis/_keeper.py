"""Keeps the embedded server of one folder for as long as any process uses it.

Run by its path with the folder as working directory, and never imported: ``python -I -S _keeper.py BINARY
SOCKET``. It needs nothing but the standard library, so that it starts in a few hundredths of a second.

Three locks (flock) in the folder say who lives, and the kernel drops them however their holder ends:

- ``keeper.lock``: held by this process. It returns to its caller only once it holds it.
- ``server.lock``: held by the server alone, which inherits it: two servers never write one folder's data.
- ``users.lock``: shared by every process that uses the server. To get it for ourselves is to know that the
  last one is gone; nobody polls.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

KILL_AFTER = 60.0  # seconds that a server has to write what it holds and end, before it is killed
SYNC_EVERY = 1.0  # seconds between two syncs of what was written; what a power cut may cost
LEFT_OVER_WAIT = 60.0  # seconds that a server without a keeper has to end, before this keeper gives up
PR_SET_PDEATHSIG = 1

# No network, one unix socket. With appendfsync off every write is with the kernel before it is answered: a
# kill -9 of the server loses nothing. With everysec it would, as Valkey then answers and keeps what it should
# write in its memory, for up to two seconds, while a slow disk syncs. The keeper does the syncing instead.
CONFIG = {
    "port": "0",
    "tls-port": "0",
    "unixsocketperm": "700",
    "dir": ".",
    "appendonly": "yes",
    "appendfsync": "no",
    "save": "",
    "notify-keyspace-events": "K$lhg",
    "logfile": "server.log",
    "daemonize": "no",
}


def main(binary: str, socket_path: str) -> None:
    """Become the folder's keeper, let the caller's process return, run the server, and end with it."""
    _reset_signals()
    os.umask(0o077)
    try:
        _take("keeper.lock", wait=False)
    except BlockingIOError:
        return  # another one was quicker, as its starter was killed and ours came next
    server_lock = _take_over(socket_path)
    if os.fork():
        os._exit(0)  # whoever called is never our parent: it has no zombie to reap
    server = _start(binary, socket_path, server_lock)
    os.close(server_lock)
    # For sigwait, in all threads; not earlier, as the server would inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    for task in (_stop_when_unused, _stop_on_sigterm, _sync_what_it_writes):
        threading.Thread(target=task, args=(server,), daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
    if status:
        _say(f"the server {server} ended with status {status}")
    with suppress(FileNotFoundError):
        os.unlink(socket_path)  # noqa: PTH108 - pathlib would double the time to start
    os._exit(0)  # at once: the threads may be waiting for a lock


def _reset_signals() -> None:
    """Undo what a caller may have ignored or blocked, which is inherited, and ignore what is not for us."""
    for number in (signal.SIGCHLD, signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _take(name: str, *, wait: bool = True) -> int:
    """Lock ``name`` for ourselves alone."""
    lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _take_over(socket_path: str) -> int:
    """Get ``server.lock``; a server that outlived its keeper is asked to end, and waited for."""
    with suppress(BlockingIOError):
        return _take("server.lock", wait=False)
    _say(f"a server without a keeper is here: asked it to end, waiting for at most {LEFT_OVER_WAIT:g} s")
    # By its socket, never by a pid from a file: that could be another process by now, or another container's.
    with suppress(OSError), socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1)
        link.connect(socket_path)
        link.sendall(b"SHUTDOWN\r\n")
        link.recv(1)
    signal.setitimer(signal.ITIMER_REAL, LEFT_OVER_WAIT)  # its signal ends this process
    lock = _take("server.lock")
    signal.setitimer(signal.ITIMER_REAL, 0)
    return lock


def _start(binary: str, socket_path: str, server_lock: int) -> int:
    """Fork and run the server; return its pid."""
    die_with_parent = _parent_death_signal()
    keeper = os.getpid()
    server = os.fork()
    if server:
        return server
    try:
        die_with_parent()
        if os.getppid() == keeper:  # else it is dead already, and nobody would tell us
            os.set_inheritable(server_lock, True)
            settings = [part for name, value in CONFIG.items() for part in (f"--{name}", value)]
            os.execv(binary, [binary, *settings, "--unixsocket", socket_path])  # noqa: S606 - no shell wanted
    except OSError as error:
        _say(f"cannot run {binary}: {error}")
    os._exit(127)


def _parent_death_signal() -> Callable[[], object]:
    """What a child calls to get SIGTERM when its parent ends, so that a keeper's kill -9 leaves no orphan."""
    if sys.platform != "linux":
        return lambda: None
    try:
        import ctypes  # noqa: PLC0415 - not every build of Python has it
    except ImportError:
        _say("this Python has no ctypes: the server would outlive a keeper that is killed")
        return lambda: None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))


def _stop_when_unused(server: int) -> None:
    """Wait for the last user to go, however it goes."""
    _take("users.lock")
    _stop(server)


def _stop_on_sigterm(server: int) -> None:
    """Pass a SIGTERM of ours on, so that the server ends in order."""
    signal.sigwait([signal.SIGTERM])
    _stop(server)


def _sync_what_it_writes(server: int) -> None:
    """Bring the append-only file to the disk, once in every second in which it grew."""
    synced: dict[str, int] = {}
    while True:
        time.sleep(SYNC_EVERY)
        try:
            with os.scandir("appendonlydir") as entries:
                sizes = {entry.path: entry.stat().st_size for entry in entries if entry.name.endswith(".aof")}
            for path, _ in sizes.items() - synced.items():
                _sync(path)
            synced = sizes
        except FileNotFoundError:
            continue  # not yet there, or replaced by a rewrite just now
        except OSError as error:
            _say(f"cannot sync what the server {server} wrote: {error}")


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        getattr(os, "fdatasync", os.fsync)(file)  # macOS has no fdatasync
    finally:
        os.close(file)


def _stop(server: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(server, signal.SIGTERM)
        time.sleep(KILL_AFTER)  # its end ends this process too: see main
        _say(f"the server {server} did not end within {KILL_AFTER:g} s of SIGTERM: killing it")
        os.kill(server, signal.SIGKILL)


def _say(text: str) -> None:
    now = time.strftime("%d %b %Y %H:%M:%S")
    os.write(2, f"{os.getpid()}:keeper {now} {text}\n".encode(errors="replace"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
