"""Backup and restore: a twin of one moment in lines of JSON, and back, each in one piece (docs/backup.md)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as replaced
from datetime import UTC, datetime
from typing import Any, BinaryIO, NamedTuple

from circman_redis import refusals
from circman_redis.backup_file import (
    EndRecord,
    EntryRecord,
    Record,
    TwinRecord,
    Writer,
    fault_of_entry,
    parse_twin,
    read,
    rules_text,
    settings_text,
)
from circman_redis.connection import Store
from circman_redis.driver import Driver
from circman_redis.errors import (
    BadBackup,
    CircmanError,
    CorruptTwin,
    InvalidJSON,
    NoState,
    StateConflict,
    StateError,
    StoreError,
    UsageError,
)
from circman_redis.flows import Flow
from circman_redis.keys import DEFAULT_PREFIX, TwinKeys
from circman_redis.protocol import Call, pairs_of
from circman_redis.timestamps import format_timestamp

_ATTEMPTS = 5  # at a twin that is deleted, cleared or set back meanwhile
_KEPT_MS = 3_600_000  # for so long Redis keeps what a restore laid by and did not finish
_CHUNK_BYTES, _CHUNK = (
    131_072,
    256,
)  # of history entries in one call: about a millisecond of the server's time each 20 kB


@dataclass(frozen=True, slots=True)
class Kept:
    """What a backup or a restore did with one twin.

    Attributes:
        twin: its id.
        version: its newest.
        entries: how many entries of its history came along.
        epoch: the one that it had; of a restore, the one that it got.
    """

    twin: str
    version: int
    entries: int
    epoch: str


class Moment(NamedTuple):
    """A twin of one moment; its history is read afterwards."""

    record: TwinRecord
    entries: int
    committed_at: bytes


class Page(NamedTuple):
    """A page of the history."""

    epoch: str
    committed_at: bytes
    is_full: bool
    entries: list[bytes]


# --- calls -------------------------------------------------------------------------------------------------------


def moment(keys: TwinKeys) -> Call[Moment | None]:
    """All of a twin but its history; None where it has no state (backup.lua)."""
    return Call(
        "backup",
        (keys.state, keys.history, keys.meta, keys.rules, keys.schema, keys.origin),
        (),
        lambda reply: _moment(keys, reply) if reply else None,
        is_reading=True,
    )


def history(keys: TwinKeys, at: int, before: int) -> Call[Page]:
    """The entries below version ``before``, of the history that a twin had at version ``at`` (backup_history.lua)."""
    return Call(
        "backup_history",
        (keys.state, keys.history, keys.meta),
        (at, before),
        lambda reply: Page(reply[0].decode(), reply[1], bool(reply[2]), reply[3:]),
        is_reading=True,
    )


def begin(keys: TwinKeys, token: str, record: TwinRecord) -> Call[int]:
    """Lays by what a twin is restored from, but its history (restore_begin.lua)."""
    # Under the id of a twin that is none, it is no branch any more.
    origin = record.origin if keys != keys.trunk else b""
    texts = (record.state, record.head, record.settings, record.rules, record.schema, origin)
    return Call("restore_begin", (keys.state, *_staging(keys)), (token, _KEPT_MS, *texts), int)


def lay_by(keys: TwinKeys, token: str, entries: Sequence[bytes]) -> Call[int]:
    """Lays by the next entries of its history (restore_history.lua)."""
    return Call("restore_history", (keys.state, *_staging(keys)), (token, _KEPT_MS, *entries), int)


def finish(keys: TwinKeys, token: str, entries: int, actor: str, *, replace: bool) -> Call[str]:
    """Puts all that was laid by in the place of the twin (restore.lua); its new epoch."""
    return Call(
        "restore",
        (*keys.stored.values(), *_staging(keys), keys.origin, keys.events),
        (token, "replace" if replace else "new", entries, actor),
        bytes.decode,
    )


def discard(keys: TwinKeys) -> Call[int]:
    """Drops what was laid by (UNLINK)."""
    return Call("UNLINK", _staging(keys), (), int)


def is_there(keys: TwinKeys) -> Call[bool]:
    """Whether there is anything of the twin (EXISTS)."""
    return Call("EXISTS", tuple(keys.stored.values()), (), bool)


def _staging(keys: TwinKeys) -> tuple[str, ...]:
    return keys.restore, keys.restore_history, keys.restore_times


def _moment(keys: TwinKeys, reply: list[Any]) -> Moment:
    epoch, version, entries, head, state, schema, settings, rules, origin = reply
    record = TwinRecord(
        *(keys.twin, epoch.decode(), version),
        *(settings_text(pairs_of(settings)), head, rules_text(pairs_of(rules)), schema, state, origin),
    )
    return Moment(record, entries, head.partition(b',"committed_at":"')[2].partition(b'"')[0])


# --- backup ------------------------------------------------------------------------------------------------------


class _Moved(Exception):
    """The twin is not the one any more that the backup began with."""


def read_twin(keys: TwinKeys, writer: Writer, write: Callable[[bytes], object]) -> Flow[Kept]:
    """Writes the lines of one twin, as it was at one moment; others may commit meanwhile.

    Args:
        keys: the twin's.
        writer: makes the lines.
        write: takes them.

    Raises:
        NoState: there is no such twin.
        CorruptTwin: it holds what no commit wrote.
    """
    found: Moment | None = yield moment(keys)
    if found is None:
        raise refusals.no_state(keys)
    record = found.record
    line = writer.twin(record)
    _check(keys, line, record)
    write(line)
    below, oldest = record.version, record.version - found.entries
    while below > oldest:
        page: Page = yield history(keys, record.version, below)
        _check_same(page, found)
        for text in page.entries:
            below -= 1
            fault = fault_of_entry(text, below)
            if fault:
                raise CorruptTwin(
                    f"twin {keys.twin!r}: {keys.history} holds {fault}: `circman-redis doctor` looks closer"
                )
            write(writer.entry(text))
        if not page.entries:
            break
    write(writer.end())
    return Kept(record.twin, record.version, record.version - below, record.epoch)


def _check_same(page: Page, found: Moment) -> None:
    """Entries may leave a history that is full, at its old end. Whatever else is missing, something removed it."""
    same = page.epoch == found.record.epoch and page.committed_at in {found.committed_at, b""}
    if not same or ((not page.entries or not page.committed_at) and not page.is_full):
        raise _Moved


def _check(keys: TwinKeys, line: bytes, record: TwinRecord) -> None:
    """What cannot be restored is no backup."""
    try:
        if parse_twin(line) == record:
            return
        reason = "it holds what no commit wrote"
    except ValueError as error:
        reason = str(error)
    raise CorruptTwin(
        f"twin {keys.twin!r} cannot be restored from a copy: {reason}: `circman-redis doctor` looks closer"
    )


def backup(
    store: Store, twins: Iterable[str], file: BinaryIO, *, prefix: str = DEFAULT_PREFIX, optional: bool = False
) -> Iterator[Kept]:
    """Writes twins to a file, one after the other, each as it was at one moment.

    Args:
        store: the server.
        twins: their ids.
        file: where to; it has to be one that can be cut back.
        prefix: what their keys begin with.
        optional: pass over those that are gone by the time that it is their turn.

    Raises:
        NoState: there is no such twin.
        CorruptTwin: one holds what no commit wrote.
        StateError: one was deleted, cleared or set back whenever it was read.
        StoreError: the server cannot be read.
    """
    writer = Writer()
    file.write(writer.first(format_timestamp(datetime.now(UTC))))
    for twin in twins:
        keys = TwinKeys(twin, prefix)
        try:
            kept, writer = _one_twin(Driver(store, keys), keys, writer, file)
        except NoState:
            if not optional:
                raise
            continue
        yield kept
    file.write(writer.last())


def _one_twin(driver: Driver, keys: TwinKeys, writer: Writer, file: BinaryIO) -> tuple[Kept, Writer]:
    start = file.tell()
    for _ in range(_ATTEMPTS):
        attempt = writer.copy()
        try:
            return driver.drive(read_twin(keys, attempt, file.write)), attempt
        except _Moved:
            file.seek(start)
            file.truncate()
    raise StateError(
        f"twin {keys.twin!r} was deleted, cleared or set back {_ATTEMPTS} times while it was read: try again"
    )


# --- restore -----------------------------------------------------------------------------------------------------


def restore(
    store: Store,
    file: BinaryIO,
    name: str,
    *,
    prefix: str = DEFAULT_PREFIX,
    twin: str | None = None,
    as_twin: str | None = None,
    replace: bool = False,
    actor: str = "",
) -> list[Kept]:
    """Puts twins from a backup on the server: each at once, and none before all of the file was found to be well.

    A restored twin has the versions, the history and the commit times of the copy, and a new epoch.

    Args:
        store: the server.
        file: the backup, one that can be read twice.
        name: what it is called in messages.
        prefix: what keys begin with.
        twin: the only one to restore; None for all.
        as_twin: the id that it gets, in the place of its own.
        replace: also where the twin exists; what it holds is removed.
        actor: who restores.

    Raises:
        BadBackup: the file is no backup, or a damaged one; nothing was restored.
        UsageError: the twin is not in it.
        StateError: the twin exists.
        StoreError: the server refused, or cannot be reached; the message says what was restored before that.
    """
    file.seek(0)
    sizes = {record.twin: record.entries for record in read(file, name) if isinstance(record, EndRecord)}
    chosen = {one: TwinKeys(as_twin or one, prefix) for one in _chosen(sizes, name, twin, as_twin)}
    drivers = {one: Driver(store, keys) for one, keys in chosen.items()}
    token = secrets.token_hex(8)
    if not replace:
        for one, keys in chosen.items():
            if drivers[one].run(is_there(keys)):
                raise _exists(keys)
    try:
        file.seek(0)
        staged = _stage(read(file, name), chosen, drivers, token)
    except InvalidJSON as error:
        _discard(chosen, drivers)
        raise BadBackup(f"{name}: {error}; nothing was restored", error.details) from error
    except BaseException:
        _discard(chosen, drivers)
        raise
    done: list[Kept] = []
    for record in staged:
        keys = chosen[record.twin]
        call = finish(keys, token, sizes[record.twin], actor, replace=replace)
        epoch = _finished(drivers[record.twin], call, keys, done)
        done.append(Kept(keys.twin, record.version, sizes[record.twin], epoch))
    return done


def _chosen(found: Iterable[str], name: str, twin: str | None, as_twin: str | None) -> list[str]:
    there = list(found)
    if twin is not None and twin not in there:
        raise UsageError(f"{name}: twin {twin!r} is not in it; there is {', '.join(there) or 'none'}")
    chosen = there if twin is None else [twin]
    if as_twin is not None and len(chosen) != 1:
        raise UsageError(f"{name}: {len(chosen)} twins are in it, and only one can get the id {as_twin!r}: name it")
    return chosen


def _stage(
    records: Iterator[Record], chosen: dict[str, TwinKeys], drivers: dict[str, Driver], token: str
) -> list[TwinRecord]:
    """Lays all of it by, and reads the file to its end: then it was the same as before."""
    staged: list[TwinRecord] = []
    entries: list[bytes] = []
    room, now = _CHUNK_BYTES, ""
    for record in records:
        if isinstance(record, TwinRecord):
            now = record.twin
            if now in chosen:
                drivers[now].run(begin(chosen[now], token, record))
                staged.append(replaced(record, state=b""))  # it may be large
            continue
        if now not in chosen:
            continue
        if isinstance(record, EntryRecord):
            entries.append(record.text)
            room -= len(record.text)
        if entries and (room <= 0 or len(entries) >= _CHUNK or isinstance(record, EndRecord)):
            drivers[now].run(lay_by(chosen[now], token, entries))
            entries, room = [], _CHUNK_BYTES
    return staged


def _discard(chosen: dict[str, TwinKeys], drivers: dict[str, Driver]) -> None:
    for twin, keys in chosen.items():
        with suppress(CircmanError):  # then Redis drops it in an hour
            drivers[twin].run(discard(keys))


def _finished(driver: Driver, call: Call[str], keys: TwinKeys, done: list[Kept]) -> str:
    try:
        return driver.run(call)
    except StateConflict as error:
        raise _exists(keys, done) from error
    except StoreError as error:
        if done:
            error.args = (str(error) + _before(done), *error.args[1:])
        raise


def _exists(keys: TwinKeys, done: Sequence[Kept] = ()) -> StateError:
    advice = "replace it, or restore under another id"
    return StateError(f"twin {keys.twin!r} exists, or a part of it does: {advice}{_before(done)}")


def _before(done: Sequence[Kept]) -> str:
    return f"; restored before that: {', '.join(one.twin for one in done)}" if done else "; nothing was restored"
