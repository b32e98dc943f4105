"""Pure: the lines of a backup file, and what they say (docs/backup.md).

Whatever a twin holds as JSON text stands in them as that very text, so that what is restored is the same byte for byte.
A file is read twice: to see that it is whole, and to restore from it. Both times every line is checked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from circman_redis.canonical import canonical
from circman_redis.codec import decode
from circman_redis.commit_chain import fault_of, read_entry
from circman_redis.errors import BadBackup, InvalidJSON
from circman_redis.keys import TwinKeys

FORMAT = 1
MAX_LINE_BYTES = 256 * 2**20
"""A line that is longer was not written by us: it guards the memory."""

_MAX_FIRST = 1000  # bytes of the first line: what is no backup is not read any further
_DIGITS = re.compile(r"[1-9]\d{0,14}|0")
_STRINGS = frozenset({"model", "model_hash", "checks", "validation", "history", "digest"})

_ORIGIN = re.compile(
    r'(?P<facts>\{"twin":"[^"]*","epoch":"[A-Za-z0-9]*","version":[1-9][0-9]*,"committed_at":"[^"]*"),"state":(?P<state>\{.*\})\}'
)

_TWIN = ("twin", "epoch", "settings", "head", "rules", "schema", "state")


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


_json = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_not_finite)


@dataclass(frozen=True, slots=True)
class TwinRecord:
    """All that stands in a twin but its history; JSON texts are as they are stored.

    Attributes:
        twin: its id.
        epoch: the one that it had; restored, it gets a new one.
        version: its newest.
        settings: an object: the settings in meta, the facts of the model, the digest.
        head: the record of its newest commit.
        rules: an object: JSON Pointer pattern -> rule.
        schema: the model's JSON Schema; empty for none.
        state: the state.
        origin: what a branch began with; empty for what is none.
    """

    twin: str
    epoch: str
    version: int
    settings: bytes
    head: bytes
    rules: bytes
    schema: bytes
    state: bytes
    origin: bytes = b""


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """One entry of its history, as it is stored."""

    version: int
    text: bytes


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The end of a twin: all of it came as it was written.

    Attributes:
        twin: its id.
        entries: how many entries of its history there were.
    """

    twin: str
    entries: int


Record = TwinRecord | EntryRecord | EndRecord


# --- writing -----------------------------------------------------------------------------------------------------


def text_of(value: object) -> bytes:
    """A small value as JSON, the way that commits store it."""
    return canonical(json.dumps(value, ensure_ascii=False)).encode()


def settings_text(settings: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The settings in meta as a JSON object: numbers with their digits."""
    pairs = ((name.decode(), value) for name, value in settings)
    return _object(
        (name, text_of(value.decode(errors="replace")) if name in _STRINGS else value) for name, value in pairs
    )


def rules_text(rules: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The published rules as a JSON object."""
    return _object((place.decode(errors="replace"), rule) for place, rule in sorted(rules))


def _object(members: Iterator[tuple[str, bytes]]) -> bytes:
    return b"{" + b",".join(text_of(name) + b":" + value for name, value in members) + b"}"


class Writer:
    """Makes the lines, in order, and the sums that tell whether they came whole."""

    def __init__(self) -> None:
        self._all = hashlib.sha256()
        self._twins = 0
        self._part = hashlib.sha256()
        self._twin = ""
        self._entries = 0

    def first(self, made_at: str) -> bytes:
        """The line that a file begins with."""
        return self._line(b'{"circman_redis_backup":%d,"made_at":%b}' % (FORMAT, text_of(made_at)))

    def twin(self, record: TwinRecord) -> bytes:
        """The line that a twin begins with."""
        self._part, self._twin, self._entries = hashlib.sha256(), record.twin, 0
        texts = (text_of(record.twin), text_of(record.epoch), record.settings, record.head, record.rules)
        # Scripts store a schema as it comes: with lines in it, it is kept as a string.
        schema = text_of(record.schema.decode(errors="replace")) if b"\n" in record.schema else record.schema
        values = (*texts, schema or b"null", record.state)
        members = b",".join(b'"%b":%b' % (name.encode(), text) for name, text in zip(_TWIN, values, strict=True))
        origin = b',"origin":' + record.origin if record.origin else b""
        return self._line(b"{" + members + origin + b"}")

    def entry(self, text: bytes) -> bytes:
        """The line of a history entry: itself."""
        self._entries += 1
        return self._line(text)

    def end(self) -> bytes:
        """The line that a twin ends with."""
        facts = (text_of(self._twin), self._entries, self._part.hexdigest().encode())
        self._twins += 1
        return self._line(b'{"end":%b,"entries":%d,"sha256":"%b"}' % facts)

    def last(self) -> bytes:
        """The line that a file ends with."""
        return self._line(b'{"twins":%d,"sha256":"%b"}' % (self._twins, self._all.hexdigest().encode()))

    def copy(self) -> Writer:
        """The same, for a twin that may have to be written anew."""
        other = Writer()
        other._all, other._twins = self._all.copy(), self._twins
        return other

    def _line(self, text: bytes) -> bytes:
        line = text + b"\n"
        self._all.update(line)
        self._part.update(line)
        return line


# --- reading -----------------------------------------------------------------------------------------------------


def read(file: BinaryIO, name: str) -> Iterator[Record]:
    """The records of a backup, checked; what is wrong with one is told before it, or what ends with it, is handed out.

    Args:
        file: at its beginning.
        name: what it is called in messages.

    Raises:
        BadBackup: it is no backup, or not as it was written. The message names the line.
    """
    return _Reader(file, name).records()


class _Reader:
    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._number = 0
        self._writer = Writer()  # makes the sums again
        self._seen: set[str] = set()

    def records(self) -> Iterator[Record]:
        self._first()
        while True:
            line = self._line()
            if line.startswith(b'{"twins":'):
                self._same(line, self._writer.last(), "the file")
                break
            if not line.startswith(b'{"twin":'):
                self._refuse("the line of a twin was expected, or the last line")
            yield from self._twin(line)
        if self._file.read(1):
            self._number += 1
            self._refuse("there is something behind the last line")

    def _twin(self, line: bytes) -> Iterator[Record]:
        twin = self._read_twin(line)
        self._same(line, self._writer.twin(twin), "the line of a twin")
        yield twin
        below, entries = twin.version, 0
        while not (line := self._line()).startswith(b'{"end":'):
            below -= 1
            if not line.startswith(b'{"version":'):
                self._refuse("a history entry was expected, or the end of the twin")
            yield EntryRecord(below, self._entry(line, below))
            self._writer.entry(line[:-1])
            entries += 1
        self._same(line, self._writer.end(), f"twin {twin.twin!r}")
        yield EndRecord(twin.twin, entries)

    def _first(self) -> None:
        line = self._file.readline(_MAX_FIRST + 1)
        self._number = 1
        found = re.fullmatch(rb'\{"circman_redis_backup":(\d+),"made_at":"([^"\\]*)"\}\n', line)
        if not found:
            self._refuse("no backup of circman-redis begins like this")
        if int(found[1]) != FORMAT:
            self._refuse(
                f"format {int(found[1])}; this version of circman_redis reads format {FORMAT}: use a newer one"
            )
        made_at = found[2].decode(errors="replace")
        self._same(line, self._writer.first(made_at), "the first line")

    def _line(self) -> bytes:
        line = self._file.readline(MAX_LINE_BYTES + 1)
        self._number += 1
        if not line.endswith(b"\n"):
            cut = f"is longer than {MAX_LINE_BYTES:,} bytes" if len(line) > MAX_LINE_BYTES else "ends too early"
            self._refuse(f"the file {cut}: it was cut short, or is no backup")
        return line

    def _same(self, line: bytes, wanted: bytes, what: str) -> None:
        if line != wanted:
            self._refuse(f"{what} is not as it was written: its sum or its form is another; take another copy of it")

    def _read_twin(self, line: bytes) -> TwinRecord:
        try:
            record = parse_twin(line)
        except ValueError as error:
            self._refuse(f"not the line of a twin: {error}", error)
        if record.twin in self._seen:
            self._refuse(f"twin {record.twin!r} is there twice")
        self._seen.add(record.twin)
        return record

    def _entry(self, line: bytes, version: int) -> bytes:
        text = line[:-1]
        fault = fault_of_entry(text, version)
        if fault:
            self._refuse(fault)
        return text

    def _refuse(self, reason: str, cause: Exception | None = None) -> NoReturn:
        message = f"{self._name}, line {self._number}: {reason}; nothing was restored"
        raise BadBackup(message, {"line": self._number, "reason": reason}) from cause


def fault_of_entry(text: bytes, version: int) -> str:
    """What speaks against a history entry's being that of ``version``; empty where nothing does."""
    try:
        decode(text)  # all of it: read_entry looks at the facts
    except InvalidJSON as error:
        return f"not a history entry: {error}"
    entry = read_entry(text)
    if entry is None or b"\n" in text:
        return "not a history entry that a commit left"
    return "" if entry.version == version else f"the entry of version {entry.version}, where {version} should be"


def parse_twin(line: bytes) -> TwinRecord:
    """What the line of a twin says.

    Raises:
        ValueError: it is none, or what it says cannot be restored.
    """
    try:
        text = line.removesuffix(b"\n").decode()
        texts = _members(text)
        twin, epoch = json.loads(texts["twin"]), json.loads(texts["epoch"])
        TwinKeys(twin)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    head = read_entry(texts["head"].encode()[:-1] + b',"state":{}}')
    if head is None or not isinstance(epoch, str) or "\n" in text:
        raise ValueError(f"twin {twin!r} has no head record, or no epoch")
    _check_objects(texts)
    schema = json.loads(texts["schema"]) if texts["schema"][0] in 'n"' else texts["schema"]
    rest = (texts["settings"].encode(), texts["head"].encode(), texts["rules"].encode(), (schema or "").encode())
    return TwinRecord(twin, epoch, head.version, *rest, texts["state"].encode(), texts.get("origin", "").encode())


def _check_objects(texts: dict[str, str]) -> None:
    for name in ("settings", "rules", "state"):
        if not texts[name].startswith("{"):
            raise ValueError(f"the {name} of a twin are no JSON object")
    for name, value in _json.decode(texts["settings"]).items():  # numbers come as their digits
        if not isinstance(value, str) or (name not in _STRINGS and not _DIGITS.fullmatch(value)):
            raise ValueError(f"its setting {name} is {value!r}")
    _check_state(texts["state"], "its state")
    if "origin" in texts:
        _check_origin(texts["origin"])


def _check_state(text: str, what: str) -> None:
    fault = fault_of(text)
    if fault:
        raise ValueError(f"{what} {fault}")


def _check_origin(text: str) -> None:
    parts = _ORIGIN.fullmatch(text)
    if parts is None:
        raise ValueError("its origin is not what a branch began with")
    _check_state(parts["facts"] + "}", "its origin")
    _check_state(parts["state"], "the state of its origin")


def _members(text: str) -> dict[str, str]:
    """The members of a twin's line as their texts."""
    found: dict[str, str] = {}
    at, before = 0, "{"
    for name in _TWIN:
        start = at + len(before) + len(name) + 3
        if text[at:start] != f'{before}"{name}":':
            raise ValueError(f"no {name!r} where it should be")
        at = _json.raw_decode(text, start)[1]
        found[name], before = text[start:at], ","
    if text.startswith(',"origin":', at):  # of a branch
        start = at + len(',"origin":')
        at = _json.raw_decode(text, start)[1]
        found["origin"] = text[start:at]
    if text[at:] != "}":
        raise ValueError("more than a twin has")
    return found
