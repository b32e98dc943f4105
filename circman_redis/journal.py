"""What a client sent and was told of it, as a log of JSON lines: written by a Journal, read for an audit."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from circman_redis.errors import RetryExpired, StateError, StoreError, StoreUnavailable, Unconfirmed, UsageError
from circman_redis.results import Commit
from circman_redis.timestamps import format_timestamp, microseconds, parse_timestamp

Made = Commit | Sequence[Commit]

_REFUSED = (UsageError, StateError, StoreError)
_NOT_KNOWN = (StoreUnavailable, RetryExpired)  # among those


# --- writing ---------------------------------------------------------------------------------------------------------


class Journal:
    """A log of commits, one event a line (docs/audit.md), for `StateManager.audit`.

    Each line is one write at the end of the file, so threads and processes may share it. What was written outlives
    the process, however it ends; it is not synced to the disk.

    Args:
        path: the file; made where it is not there.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if _is_torn(self._file):  # somebody died in the middle of a line: the next one is not to be lost with it
            os.write(self._file, b"\n")

    @contextmanager
    def commit(self, commit_id: str, *, op: str = "", n: int = 1) -> Iterator[Callable[[Made], None]]:
        """Logs one call: what is sent before it, and what came of it.

        ``with journal.commit(id) as note: note(twin.adjust(..., commit_id=id))``, and ``note(await ...)`` likewise.

        Args:
            commit_id: the call's.
            op: what it does, for readers.
            n: how many commits it makes.
        """
        self.sent(commit_id, op=op, n=n)
        try:
            yield lambda made: self.got(commit_id, made)
        except BaseException as error:
            self.failed(commit_id, error)
            raise

    def sent(self, commit_id: str, *, op: str = "", n: int = 1) -> None:
        """A call is about to be made."""
        self._write({"sent": commit_id, "op": op, "n": n, "at": format_timestamp(datetime.now(UTC))})

    def got(self, commit_id: str, made: Made) -> None:
        """It was acknowledged."""
        self._write({"got": commit_id, **_facts(made)})

    def refused(self, commit_id: str, error: BaseException) -> None:
        """It was not made."""
        self._write({"refused": commit_id, "error": type(error).__name__})

    def unknown(self, commit_id: str, error: BaseException) -> None:
        """Nobody knows whether it was made."""
        self._write({"unknown": commit_id, "error": type(error).__name__})

    def unconfirmed(self, commit_id: str, made: Made) -> None:
        """It was made, and not confirmed in time: a failover may still lose it."""
        self._write({"unconfirmed": commit_id, **_facts(made)})

    def failed(self, commit_id: str, error: BaseException) -> None:
        """It raised: refused, unknown or unconfirmed, as the error says."""
        if isinstance(error, Unconfirmed):
            self.unconfirmed(commit_id, error.commits)
        elif isinstance(error, _NOT_KNOWN) or not isinstance(error, _REFUSED):
            self.unknown(commit_id, error)
        else:
            self.refused(commit_id, error)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        written = os.write(self._file, line)
        if written < len(line):
            raise OSError(f"{self.path}: only {written} of {len(line)} bytes could be written: is the disk full?")


def _is_torn(file: int) -> bool:
    end = os.lseek(file, 0, os.SEEK_END)
    return end > 0 and os.pread(file, 1, end - 1) != b"\n"


def _facts(made: Made) -> dict[str, Any]:
    commits = [made] if isinstance(made, Commit) else made
    first = commits[0]
    return {"version": first.version, "n": len(commits), "epoch": first.epoch, "committed_at": first.committed_at}


# --- reading ---------------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """What a client was told of one commit.

    Attributes:
        version: its version.
        epoch: the twin's epoch.
        committed: when it was stored, in microseconds.
    """

    version: int
    epoch: str
    committed: int


@dataclass(slots=True)
class Log:
    """What clients sent, and were told of it; from any number of files, in any order.

    Attributes:
        torn: lines that were not written to their end.
    """

    torn: int = 0
    _told: dict[str, dict[Told, None]] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _open: Counter[str] = field(default_factory=Counter)
    _refused: dict[str, str] = field(default_factory=dict)

    def add(self, lines: Iterable[bytes], name: str = "log") -> None:
        """Takes what one file says.

        Raises:
            UsageError: a line that is no event.
        """
        for number, line in enumerate(lines, 1):
            try:
                self._take(json.loads(line))
            except json.JSONDecodeError as error:
                if line.strip() and not line.startswith(b'{"') and line.endswith(b"\n"):
                    raise UsageError(f"{name}: line {number} is no JSON: {error}") from error
                self.torn += bool(line.strip())
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise UsageError(f"{name}: line {number} is no event of a log of commits: {error!r}") from error

    @property
    def told(self) -> dict[str, list[Told]]:
        """Each acknowledged commit, by its own id; more than one where its client was told different things."""
        return {commit_id: list(told) for commit_id, told in self._told.items()}

    @property
    def refused(self) -> dict[str, str]:
        """Each commit none of whose attempts can have been made, by its own id, with the error."""
        found = {call: error for call, error in self._refused.items() if self._open[call] <= 0}
        ids = {one: error for call, error in found.items() for one in self._ids(call)}
        return {one: error for one, error in ids.items() if one not in self._told}

    @property
    def unacknowledged(self) -> list[list[str]]:
        """The ids of each call that may have been made, and was not acknowledged."""
        calls = [self._ids(call) for call, attempts in self._open.items() if attempts > 0]
        return [ids for ids in calls if ids[0] not in self._told]

    def _ids(self, call: str) -> list[str]:
        return ids_of(call, self._sizes.get(call, 1))

    def _take(self, event: dict[str, Any]) -> None:
        kind = next((kind for kind in _KINDS if kind in event), "")
        call = _text(event[kind])
        if "n" in event:
            self._sizes[call] = max(_number(event["n"]), self._sizes.get(call, 1))
        if kind == "sent":
            self._open[call] += 1
        elif kind == "refused":
            self._open[call] -= 1
            self._refused[call] = _text(event.get("error", "refused"))
        elif kind == "got":
            committed = microseconds(parse_timestamp(event["committed_at"]))
            for i, commit_id in enumerate(self._ids(call)):
                one = Told(_number(event["version"]) + i, _text(event["epoch"]), committed)
                self._told.setdefault(commit_id, {})[one] = None
        else:  # unknown, unconfirmed: the attempt stays open
            self._open[call] = max(self._open[call], 1)


_KINDS = ("sent", "got", "refused", "unknown", "unconfirmed")


def ids_of(call: str, n: int) -> list[str]:
    """The ids of the commits of a call, as they stand in the history."""
    return [call] if n == 1 else [f"{call}#{i}" for i in range(1, n + 1)]


def read_logs(paths: Iterable[str | Path]) -> Log:
    """What files say.

    Raises:
        UsageError: a line that is no event.
        OSError: a file that cannot be read.
    """
    log = Log()
    for path in [paths] if isinstance(paths, str | Path) else paths:
        with Path(path).open("rb") as file:
            log.add(file, str(path))
    return log


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} in the place of a text")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise TypeError(f"{value!r} in the place of a whole number of at least 1")
    return value
