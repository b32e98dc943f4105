"""Pure: whether a twin's keys agree with each other, as a flow that only reads.

A commit leaves the state, its record in meta and the history in step, so each can be held against the others: a patch
on the state before it has to give the state behind it, byte by byte. What something else wrote does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from circman_redis import protocol
from circman_redis.codec import decode
from circman_redis.commit_chain import ELSE, Chain, Entry, Record, Times, fault_of, read_digest, read_entry, shown
from circman_redis.errors import CorruptTwin, InvalidJSON
from circman_redis.flows import Flow
from circman_redis.keys import TwinKeys
from circman_redis.protocol import Call, pairs_of
from circman_redis.results import Disagreement, StoredConfig

_LOOKS = 5  # at a twin that is deleted and made again meanwhile
_MOST = 100  # disagreements that are looked for
_MOST_TIMES = 100_000  # members of the times that are held against the history, the newest
_PAGE_BYTES = 1_048_576  # of entries in one reply, about
_FEWEST, _MOST_ENTRIES = 8, 128  # in one reply

_COMMITTED = ("version", "epoch", "head", "bytes", "stamp")  # what every commit writes to meta
_NUMBERS = ("version", "bytes", "stamp", "committed", "calls", "entries", "history_length", "max_bytes")
_FIELDS = (*dict.fromkeys((*_COMMITTED, *_NUMBERS)), "digest", "model_hash")

Meta = Mapping[str, bytes]


def verify(keys: TwinKeys) -> Flow[list[Disagreement]]:
    """Where a twin's state, meta, history and times do not agree; empty where they do, or where there is no twin.

    Others may commit meanwhile. What left the history cannot be checked any more, nor can a merge whose state before
    left it. Whether states fit the rules is another matter.
    """
    return (yield from look_at(keys)).found


def look_at(keys: TwinKeys) -> Flow[Look]:
    """What `verify` found, and the commits that it read."""
    before: list[Disagreement] = []
    for _ in range(_LOOKS):
        look = Look(keys)
        same_twin = yield from look.run()
        # Without an epoch nothing tells whether a twin came and went: what is wrong is then looked at twice.
        if same_twin and (look.epoch or not look.found or look.found == before):
            return look
        before = look.found
    return Look(keys)  # made again all the time: nothing can be said of it


# --- the reading -----------------------------------------------------------------------------------------------------


def _kinds(keys: TwinKeys) -> dict[str, str]:
    strings, hashes = (keys.state, keys.schema), (keys.meta, keys.rules, keys.ids, keys.old_ids)
    return dict.fromkeys(strings, "string") | dict.fromkeys(hashes, "hash") | {keys.history: "list", keys.times: "zset"}


def _kind(key: str) -> Call[str]:
    return Call("TYPE", (key,), (), lambda reply: str(reply.decode()))


def _meta(keys: TwinKeys) -> Call[Meta]:
    return Call("HMGET", (keys.meta,), _FIELDS, _present)


def _present(reply: Sequence[bytes | None]) -> Meta:
    return {name: text for name, text in zip(_FIELDS, reply, strict=True) if text is not None}


def _times(keys: TwinKeys) -> Call[list[tuple[bytes, float]]]:
    return Call("ZRANGE", (keys.times,), (-_MOST_TIMES, -1, "WITHSCORES"), _scores)


def _scores(reply: Sequence[Any]) -> list[tuple[bytes, float]]:
    return [(member, float(score)) for member, score in pairs_of(reply)]


def _head(keys: TwinKeys) -> Call[bytes | None]:
    """The entry of the newest commit, of one moment; None where there is no twin."""
    every = (keys.state, keys.history, keys.meta)
    return Call("commits", every, ("", 1), lambda reply: reply[1] if reply else None, is_reading=True)


def _rules(keys: TwinKeys) -> Call[dict[bytes, bytes]]:
    return Call("HGETALL", (keys.rules,), (), lambda reply: dict(pairs_of(reply)))


def _json(text: bytes) -> Any:
    try:
        return decode(text)
    except InvalidJSON:
        return None


def _entries(keys: TwinKeys, start: int, count: int) -> Call[list[bytes]]:
    return Call("LRANGE", (keys.history,), (start, start + count - 1), lambda reply: reply)


class Look:
    """One look at a twin.

    Attributes:
        found: what does not agree.
        epoch: of the twin that was looked at; empty where there is none.
        read: the commits, newest first.
    """

    def __init__(self, keys: TwinKeys) -> None:
        self.keys = keys
        self.found: list[Disagreement] = []
        self.epoch = b""
        self.read: list[Record] = []
        self._kinds: dict[str, str] = {}

    def run(self) -> Flow[bool]:
        """Whether it was the same twin all the time."""
        yield from self._read_kinds()
        # The times are read before the head, so that each version in them is known, and never overtaken unseen.
        meta: Meta = (yield _meta(self.keys)) if self._is_ours(self.keys.meta) else {}
        members = (yield _times(self.keys)) if self._is_ours(self.keys.times) else None
        self.epoch = meta.get("epoch", b"")
        self._check_meta(meta)
        head: Entry | None = None
        if self._is_ours(self.keys.state) and self._is_ours(self.keys.meta):
            head = yield from self._read_head(meta)
        if head is None and not meta.keys() & {*_COMMITTED} and self._kinds[self.keys.state] == "none":
            self._check_leftovers()
            return (yield from self._is_still(self.epoch))
        yield from self._check_rules(meta)
        chain = Chain(self.keys, self.found, read_digest(meta.get("digest", b"").decode(errors="replace")))
        self.read = chain.read
        chain.times = self._check_times(members, meta, head)
        if head is not None:
            chain.begin(head)
        if self._is_ours(self.keys.history):
            yield from self._read_history(chain)
        return (yield from self._is_still(self.epoch))

    def _report(self, key: str, version: int | None, says: str) -> None:
        self.found.append(Disagreement(key, version, says))

    def _is_reported(self, key: str) -> bool:
        return any(one.key == key for one in self.found)

    def _is_still(self, epoch: bytes) -> Flow[bool]:
        after: Meta = (yield _meta(self.keys)) if self._is_ours(self.keys.meta) else {}
        return after.get("epoch", b"") == epoch

    def _read_kinds(self) -> Flow[None]:
        for key, wanted in _kinds(self.keys).items():
            kind = yield _kind(key)
            self._kinds[key] = kind
            if not self._is_ours(key):
                self._report(key, None, f"holds a {kind}, not a {wanted}: {ELSE}")

    def _is_ours(self, key: str) -> bool:
        return self._kinds[key] in {_kinds(self.keys)[key], "none"}

    def _check_leftovers(self) -> None:
        for key in (self.keys.history, self.keys.ids, self.keys.old_ids, self.keys.times):
            if self._kinds[key] != "none" and self._is_ours(key):
                self._report(key, None, "is left over from a twin that has no state")

    # --- meta ----------------------------------------------------------------------------------------------------

    def _check_meta(self, meta: Meta) -> None:
        bad = [name for name in _NUMBERS if not _is_number(meta.get(name, b"0"))]
        for name in bad:
            self._report(self.keys.meta, None, f"has {shown(meta[name])} as its {name}: {ELSE}")
        present = [name for name in _COMMITTED if name in meta]
        missing = [name for name in _COMMITTED if name not in meta]
        if present and missing:
            self._report(self.keys.meta, None, f"has no {' and no '.join(missing)} any more: {ELSE}")
        elif present and not bad:
            self._check_record(meta)

    def _check_record(self, meta: Meta) -> None:
        record, version = read_entry(meta["head"][:-1] + b',"state":{}}'), int(meta["version"])
        if record is None:
            self._report(self.keys.meta, version, f"holds no record of the commit of version {version}: {ELSE}")
        elif record.version != version:
            says = f"says version {version}, while its head commit is that of version {record.version}"
            self._report(self.keys.meta, version, says)
        else:
            facts = {"stamp": record.stamp, "committed": record.committed}
            for name, wanted in facts.items():
                if int(meta.get(name, b"0")) != wanted:
                    says = f"has {shown(meta.get(name, b''))} as its {name}, while its head commit says {wanted:.0f}"
                    self._report(self.keys.meta, version, says)

    def _check_rules(self, meta: Meta) -> Flow[None]:
        """A published model has a rule for the root, whatever else it has."""
        if "model_hash" not in meta or not self._is_ours(self.keys.rules):
            return
        published = yield _rules(self.keys)
        for place in [place for place, rule in published.items() if not isinstance(_json(rule), dict)][:_MOST]:
            self._report(self.keys.rules, None, f"holds no rule at {shown(place)}: {ELSE}")
        if b"" not in published:
            says = "is missing, while meta says that a model is published: something else removed it"
            self._report(self.keys.rules, None, says)

    # --- the head ------------------------------------------------------------------------------------------------

    def _read_head(self, meta: Meta) -> Flow[Entry | None]:
        try:
            text: bytes | None = yield _head(self.keys)
        except CorruptTwin as error:
            yield from self._refused(error.details, meta)
            return None
        head = read_entry(text) if text is not None else None
        if text is not None and head is None and not self._is_reported(self.keys.meta):
            self._report(self.keys.meta, None, f"holds no record of a commit: {ELSE}")
        return head

    def _refused(self, details: Mapping[str, Any], meta: Meta) -> Flow[None]:
        key, says = details.get("key", self.keys.meta), details.get("reason", "cannot be read")
        version = int(meta["version"]) if _is_number(meta.get("version", b"")) else None
        if key == self.keys.state and self._kinds[key] != "none":
            if not _is_number(meta.get("bytes", b"")):
                return  # meta is at fault, and that was said
            raw: bytes | None = yield protocol.raw_state(self.keys)
            says += _closer(raw or b"", int(meta["bytes"]))
        if key == self.keys.state or not self._is_reported(key):
            self._report(key, version, says)

    # --- the history -----------------------------------------------------------------------------------------------

    def _read_history(self, chain: Chain) -> Flow[None]:
        start, count = 0, _FEWEST
        while len(self.found) < _MOST:
            page: list[bytes] = yield _entries(self.keys, start, count)
            chain.page(page)
            if len(page) < count:
                break
            start += count
            count = max(_FEWEST, min(_PAGE_BYTES * count // (1 + sum(map(len, page))), _MOST_ENTRIES))
        chain.end()
        if self._is_ours(self.keys.meta):
            after, says = yield from self._read_length()
            if _is_number(after.get("version", b"")):
                chain.check_newest(int(after["version"]))
            if says and not self._is_reported(self.keys.history):
                self._report(self.keys.history, None, says)

    def _read_length(self) -> Flow[tuple[Meta, str]]:
        """Meta, as it stands after the history was read; and what is wrong with the number of entries."""
        meta: Meta = yield _meta(self.keys)
        for _ in range(_LOOKS):  # others may make the history shorter or longer in between
            before, length = meta, (yield protocol.history_size(self.keys))
            meta = yield _meta(self.keys)
            most, left = _history_length(meta), _entries_left(meta)
            is_too_long = length > most
            is_another = before == meta and left is not None and length != left
            if not (is_too_long or is_another):
                return meta, ""
        if is_too_long:
            self._report(self.keys.history, None, f"has {length:,} entries, over its length of {most:,}")
            return meta, ""
        return meta, f"has {length:,} entries, and commits left {left:,}: something else removed or added some"

    # --- the times -------------------------------------------------------------------------------------------------

    def _check_times(self, members: list[tuple[bytes, float]] | None, meta: Meta, head: Entry | None) -> Times | None:
        if members is None or head is None:
            return None
        record = re.match(rb'\{"version":(\d+),', meta.get("head", b""))
        if not members:
            self._report(self.keys.times, None, "is missing, while there is a state: look-ups by time find nothing")
            return None
        times = Times(self.keys.times, self.found, int(record[1]) if record else 0, head.version)
        times.learn(members, complete=len(members) < _MOST_TIMES)
        return times


def _is_number(text: bytes) -> bool:
    return re.fullmatch(rb"-?\d{1,18}", text) is not None


def _history_length(meta: Meta) -> int:
    text = meta.get("history_length", b"")
    return int(text) if _is_number(text) else StoredConfig().history_length


def _entries_left(meta: Meta) -> int | None:
    text = meta.get("entries", b"")
    return int(text) if _is_number(text) else None


def _closer(raw: bytes, wanted: int) -> str:
    if len(raw) != wanted:
        return f" ({len(raw):,} bytes, and the commit wrote {wanted:,})"
    fault = fault_of(raw.decode(errors="surrogateescape"))
    return f" (it {fault})" if fault else ""
