"""The folder of an embedded server: kept from others, its locks, its log, the path of its socket."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from circman_redis.errors import EmbeddedUnavailable

if sys.platform != "win32":
    import fcntl

USERS_LOCK, START_LOCK, KEEPER_LOCK = "users.lock", "start.lock", "keeper.lock"
SOCKET, LOG = "server.sock", "server.log"
OTHERWISE = (
    'pass a URL (url="redis://host:6379/0", or CIRCMAN_REDIS_URL) or install the extra '
    "(pip install 'circman-redis[embedded]')"
)

_NO_HOME = (
    "this user has no home directory to keep the embedded server in: "
    'name a folder (url="embedded:///some/folder") or set HOME'
)
_LONGEST_SOCKET_PATH = 100  # bytes; the kernel takes 107 on Linux and 103 on macOS
_SHORT = Path("/tmp")  # noqa: S108 - only a directory in it that is ours alone is used
_LARGEST_LOG = 1 << 20  # bytes; a start that finds more puts the log aside
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1  # seconds between two looks


def default_folder() -> Path:
    """The folder used where none is named: ``server`` in the user's data directory for circman_redis.

    Raises:
        EmbeddedUnavailable: the extra is not installed, or the user has no home directory.
    """
    try:
        import platformdirs  # noqa: PLC0415 - comes with the extra
    except ImportError as error:
        raise EmbeddedUnavailable(f"the embedded server is not installed: {OTHERWISE}") from error
    try:
        folder = platformdirs.user_data_path("circman_redis") / "server"
    except RuntimeError as error:
        raise EmbeddedUnavailable(_NO_HOME) from error
    if not folder.is_absolute():  # "~" stays as it is in versions of platformdirs that do not raise
        raise EmbeddedUnavailable(_NO_HOME)
    return folder


def make_private(folder: Path) -> None:
    """Make the folder and the missing ones above it, or check that it is ours alone.

    Raises:
        EmbeddedUnavailable: it is another user's, or open to others and not an embedded server's.
    """
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise EmbeddedUnavailable(
            f"{folder} belongs to user {found.st_uid}, and this process runs as user {os.geteuid()}: "
            "choose a folder of your own for the embedded server"
        )
    if not found.st_mode & 0o077:
        return
    if _has_only_ours(folder):
        folder.chmod(0o700)
    # Looked at again: until the change others could put something in, and not every file system knows modes.
    if folder.stat().st_mode & 0o077 or not _has_only_ours(folder):
        raise EmbeddedUnavailable(
            f"{folder} is open to other users (mode {stat.S_IMODE(found.st_mode):o}) and holds other things "
            "than an embedded server: choose an empty folder, or make it private (chmod 700)"
        )


def _has_only_ours(folder: Path) -> bool:
    """Whether the folder is empty, or a server's, with nothing of another user's in it."""
    owners = {entry.name: entry.lstat().st_uid for entry in folder.iterdir()}
    return not owners or (USERS_LOCK in owners and set(owners.values()) == {os.geteuid()})


def socket_path(folder: Path) -> Path:
    """``server.sock`` in the folder; where that is too long for a socket, a short path made from its hash.

    Raises:
        EmbeddedUnavailable: the directory for short paths is not ours alone.
    """
    path = folder / SOCKET
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    short = _SHORT / f"circman-redis-{os.geteuid()}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise EmbeddedUnavailable(
            f"the path of {folder} is too long for a socket, and {short}, made for that, is not a directory "
            f"of user {os.geteuid()} alone (mode 700): remove it, or choose a folder with a shorter path"
        )
    return short / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}.sock"


def open_lock(path: Path) -> int:
    """Open a lock's file, never through a link, and make it if it is missing.

    Raises:
        EmbeddedUnavailable: it is something else than a file of our own.
    """
    # Without waiting, as a pipe in its place would keep us for ever.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    found = os.fstat(lock)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        return lock
    os.close(lock)
    raise EmbeddedUnavailable(f"{path} is not a file of our own: remove it, or choose another folder")


def take(lock: int, how: int, deadline: float, waiting_for: str) -> None:
    """Lock it; not by a flock that waits, which knows no deadline.

    Raises:
        EmbeddedUnavailable: it could not be had before the deadline (``time.monotonic``).
    """
    for _ in looks(deadline):
        with suppress(BlockingIOError):
            return fcntl.flock(lock, how | fcntl.LOCK_NB)
    raise EmbeddedUnavailable(f"waited in vain for {waiting_for}: see {LOG} in the embedded server's folder")


@contextmanager
def alone(path: Path, deadline: float) -> Iterator[None]:
    """Hold the lock at ``path``, as the only one of all threads and processes."""
    lock = open_lock(path)
    try:
        take(lock, fcntl.LOCK_EX, deadline, "another process to start the server")
        yield
    finally:
        release(lock)


def is_held(path: Path) -> bool:
    """Whether another process holds the lock at ``path``; takes it for a moment to find out."""
    lock = open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        release(lock)
    return False


def release(lock: int) -> None:
    """Unlock and close; not only close: a child that another thread forked meanwhile has it open, too."""
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def is_same(file: int, path: Path) -> bool:
    """Whether an open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def looks(deadline: float) -> Iterator[None]:
    """Yield again and again, ever less often, until the deadline (``time.monotonic``); at least once."""
    pause = _FIRST_PAUSE
    yield
    while time.monotonic() < deadline:
        time.sleep(pause)
        yield
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def open_log(path: Path) -> int:
    """Open the log of the keeper and the server, which is put aside first where it has grown large."""
    with suppress(FileNotFoundError):
        if path.lstat().st_size > _LARGEST_LOG:
            path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def last_lines(path: Path) -> str:
    """The end of a log, for an error message."""
    with suppress(FileNotFoundError):
        lines = path.read_bytes()[-4096:].decode(errors="replace").splitlines()
        return "\n".join(lines[-8:]) or "(nothing)"
    return "(nothing)"
