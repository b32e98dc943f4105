"""Export and import: files that are written whole or not at all, and never over one another."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Protocol, runtime_checkable

from circman_redis.errors import CircmanError, StateTooLarge, UsageError

MAX_FILE_BYTES: Final = 64 * 2**20
"""What `read_text` reads at most unless told otherwise: it guards the memory, not the twin."""

# What file systems answer that cannot do it (FAT, some network and FUSE mounts), not that it went wrong.
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES}


@runtime_checkable
class ResultsManager(Protocol):
    """What a host application passes to say where state files go."""

    def folder(self) -> Path:
        """The folder for state files; it need not exist yet."""


@dataclass(frozen=True, slots=True)
class ResultsFolder:
    """A fixed folder for state files.

    Attributes:
        path: the folder; a relative one is under the working directory of the process.
    """

    path: Path = Path("results/digital_twin")

    def folder(self) -> Path:
        """The folder for state files."""
        return Path(self.path)


def export_name(moment: datetime) -> str:
    """The name, without ``.json``, of a file that is exported at ``moment`` (in its own zone)."""
    return f"state_{moment:%Y%m%d_%H%M%S}"


def write_atomically(path: Path, text: str | bytes) -> None:
    """Writes a file so that a reader, or a crash, meets the old file or the new one and nothing between.

    Args:
        path: where to; what stands there is replaced. A symbolic link is followed.
        text: what to write, in UTF-8; a line end is added where it has none. Bytes are written as they are.

    Raises:
        UsageError: where ``path`` is a folder, a device or a pipe.
        OSError: where it cannot be written; what stood there still does.
    """
    _check_target(path)
    target = Path(os.path.realpath(path))
    with _naming(path), _temporary(target.parent, text) as temporary:
        temporary.replace(target)
        _sync_folder(target.parent)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write bytes to, which takes the place of ``path`` at the end, and is gone where there was an error.

    Only its owner may read it. It can be cut back while it is written.

    Args:
        path: where to; what stands there is replaced. A symbolic link is followed.

    Raises:
        UsageError: where ``path`` is a folder, a device or a pipe.
        OSError: where it cannot be written; what stood there still does.
    """
    _check_target(path)
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".circman-{secrets.token_hex(8)}.tmp"
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, CircmanError):  # the server's, while it was read
            raise
        raise OSError(error.errno, f"cannot be written ({error.strerror})", str(path)) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_new(folder: Path, stem: str, text: str) -> Path:
    """Writes a file under the first name that is free, however many processes do so at once.

    Args:
        folder: where to; it is made where it does not exist.
        stem: the name without ``.json``; where that is taken, ``_1``, ``_2``, ... is added.
        text: what to write, in UTF-8; a line end is added where it has none.

    Returns:
        The path of the file.

    Raises:
        OSError: where it cannot be written; then no file is left.
    """
    with _naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _temporary(folder, text) as temporary:
            names = (folder / f"{stem}{suffix}.json" for suffix in _suffixes())
            path = next(path for path in names if _claim(temporary, path))
            _sync_folder(folder)
            return path


def _suffixes() -> Iterator[str]:
    return itertools.chain([""], map("_{}".format, itertools.count(1)))


def find_import(path: str | Path, folder: Path) -> Path:
    """The file that an import means.

    Args:
        path: taken as it is where it exists; where not, and it is relative, it is looked for in ``folder``.
        folder: the folder for state files.

    Raises:
        FileNotFoundError: where it is in neither; the message names the places tried.
    """
    wanted = Path(path)
    places = [wanted] if wanted.is_absolute() else [wanted, folder / wanted]
    for place in places:
        if place.exists():
            return place
    tried = " or ".join(str(place.absolute()) for place in places)
    raise FileNotFoundError(errno.ENOENT, f"no file to import at {tried}", str(path))


def read_text(path: str | Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file, unless there are too many.

    Args:
        path: the file.
        max_bytes: the most that is accepted. Indented JSON is longer than the state's own text: leave room.

    Raises:
        StateTooLarge: over ``max_bytes``, of which no more than that was read.
        OSError: where it cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise StateTooLarge(f"{path}: more than the {max_bytes:,} bytes that are accepted", {"limit": max_bytes})
    return content


def _check_target(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder: give the path of a file in it")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is a device or a pipe, which cannot be replaced: give the path of a file")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Lets an OSError name what the caller asked for, in the place of a temporary file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot be written ({error.strerror})", str(path)) from error


@contextmanager
def _temporary(folder: Path, text: str | bytes) -> Iterator[Path]:
    """A file with the text, safe on the disk; it is gone afterwards unless it was renamed."""
    content = text if isinstance(text, bytes) else (text if text.endswith("\n") else text + "\n").encode()
    path = folder / f".circman-{secrets.token_hex(8)}.tmp"
    try:
        # "x" makes it with the ordinary permissions, which tempfile does not.
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def _claim(temporary: Path, path: Path) -> bool:
    """Gives the file this name, unless it is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _reserve(temporary, path)
    return True


def _reserve(temporary: Path, path: Path) -> bool:
    """The same without hard links: an empty file holds the name until the full one replaces it."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        temporary.replace(path)
    except BaseException:
        path.unlink()
        raise
    return True


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself last through a power cut (fsync(2))."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
