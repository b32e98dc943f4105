"""One twin as the scripts see it: raw EVAL, every key's content, and refusals that must change nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import redis

from circman_redis import scripts
from circman_redis.keys import TwinKeys

# What each script takes as KEYS; test_headers.py holds these against the headers and against protocol.py.
SCRIPT_KEYS = {
    "commit": ("state", "history", "meta", "rules", "ids", "old_ids", "times", "leases", "events"),
    "lookup": ("state", "history", "meta", "times"),
    "commits": ("state", "history", "meta"),
    "past": ("state", "history", "meta"),
    "resume": ("state", "history", "meta"),
    "clear": ("state", "history", "meta", "times", "events"),
    "delete": (
        *("state", "history", "meta", "rules", "schema", "ids", "old_ids", "times"),
        *("leases", "origin", "events"),
    ),
    "repair": (
        *("state", "history", "meta", "rules", "schema", "ids", "old_ids", "times", "events"),
        *(
            "kept_state",
            "kept_history",
            "kept_meta",
            "kept_rules",
            "kept_schema",
            "kept_ids",
            "kept_old_ids",
            "kept_times",
        ),
    ),
    "configure": ("state", "history", "meta", "rules", "schema"),
    "backup": ("state", "history", "meta", "rules", "schema", "origin"),
    "backup_history": ("state", "history", "meta"),
    "restore_begin": ("state", "restore", "restore_history", "restore_times"),
    "restore_history": ("state", "restore", "restore_history", "restore_times"),
    "restore": (
        *("state", "history", "meta", "rules", "schema", "ids", "old_ids", "times"),
        *("restore", "restore_history", "restore_times", "origin", "events"),
    ),
    "fork": (
        *("state", "history", "meta", "rules"),
        *("branch_state", "branch_history", "branch_meta", "branch_rules", "branch_schema"),
        *("branch_ids", "branch_old_ids", "branch_times", "branch_origin", "branch_events"),
    ),
    "lease": ("leases",),
}
BRANCH = "b"
STORED = ("state", "history", "meta", "rules", "schema", "ids", "old_ids", "times")

_numbers = itertools.count()
_READ = {
    b"none": ("EXISTS",),
    b"string": ("GET",),
    b"list": ("LRANGE", 0, -1),
    b"hash": ("HGETALL",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    b"set": ("SMEMBERS",),
    b"stream": ("XRANGE", "-", "+"),
}


def key_of(keys: TwinKeys, name: str) -> str:
    """A key of a twin, or of its branch b, by its name in a script's header."""
    if name.startswith("kept_"):
        return keys.kept(getattr(keys, name.removeprefix("kept_")), "1")
    of = keys.branch(BRANCH) if name.startswith("branch_") else keys
    return str(getattr(of, name.removeprefix("branch_")))


class Reply(NamedTuple):
    """What commit.lua returned; the timestamps as JSON text."""

    epoch: str
    duplicate: int
    committed_at: str
    first: int
    timestamps: tuple[str, ...]


class Event(dict[str, Any]):
    """A message on the channel, and how many bytes it was."""

    def __init__(self, message: bytes) -> None:
        super().__init__(json.loads(message))
        self.size = len(message)


@dataclass
class Refusal:
    """An error reply of ours, filled in when it came."""

    code: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def violations(self) -> list[tuple[str, str]]:
        return [(one["pointer"], one["keyword"]) for one in self.details["violations"]]


def number(text: str) -> str:
    """A document whose member x is this number."""
    return f'{{"x":{text}}}'


@dataclass
class RawTwin:
    """A twin, and a client of bytes to call the scripts with.

    Args:
        client: without decode_responses.
        stamped: whether the server stamps commits; most tests compare whole states and want it off.
        keys: the twin's; one that nobody else has, unless given.
        constants: limits of commit.lua by name, to reach them with less.
    """

    client: redis.Redis
    stamped: bool = False
    keys: TwinKeys = field(default_factory=lambda: TwinKeys(f"raw-{next(_numbers)}"))
    constants: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.stamped:
            self.meta(auto_timestamp="0")

    def meta(self, **fields: Any) -> None:
        """Writes fields of meta behind the scripts' back."""
        self.client.hset(self.keys.meta, mapping=fields)

    def meta_of(self, name: str) -> str:
        found = self.client.hget(self.keys.meta, name)
        assert found is not None, f"meta has no {name}"
        return found.decode()

    def text(self, name: str) -> str:
        """The script, with other limits where the test asked for them."""
        text = scripts.load(name).text
        for constant, value in self.constants.items() if name == "commit" else ():
            text, places = re.subn(rf"^(local {constant}) = \d+\b", rf"\1 = {value}", text, flags=re.MULTILINE)
            assert places == 1, constant
        return text

    def call(self, name: str, *args: Any, read_only: bool = False) -> Any:
        keys = [key_of(self.keys, key) for key in SCRIPT_KEYS[name]]
        run = self.client.eval_ro if read_only else self.client.eval
        return run(self.text(name), len(keys), *keys, *args)

    def commit(
        self,
        *bodies: str | bytes,
        op: str = "merge",
        expected: Any = "",
        commit_id: str | bytes = "",
        actor: str | bytes = "",
        model: str = "",
        age: Any = 0,
        fence: str | bytes = "",
    ) -> Reply:
        epoch, duplicate, committed_at, first, *timestamps = self.call(
            "commit", op, expected, commit_id, actor, model, age, fence, *bodies
        )
        return Reply(epoch.decode(), duplicate, committed_at.decode(), first, tuple(one.decode() for one in timestamps))

    def set(self, body: str | bytes, **how: Any) -> Reply:
        return self.commit(body, op="set", **how)

    def merge(self, body: str | bytes, **how: Any) -> Reply:
        return self.commit(body, op="merge", **how)

    def adjust(self, **places: str) -> Reply:
        """Adds to members of the root, and to members below it where the name has a slash."""
        return self.commit(
            "{" + ",".join(f"{json.dumps('/' + place)}:{delta}" for place, delta in places.items()) + "}",
            op="adjust",
        )

    def lookup(self, how: str, wanted: Any = "", read_only: bool = False) -> dict[str, Any] | None:
        reply = self.call("lookup", how, wanted, read_only=read_only)
        if reply is None:
            return None
        epoch, text = reply
        return {"epoch": epoch.decode()} | json.loads(text)

    def commits(self, before: Any = "", limit: Any = "", read_only: bool = False) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.call("commits", before, limit, read_only=read_only)[1:]]

    def configure(
        self,
        mode: str = "adopt",
        settings: str = "{}",
        model: dict[str, str] | None = None,
        rules: Any = None,
        schema: str = '{"title":"T"}',
    ) -> int:
        args = ("", "", "") if model is None else (json.dumps(model), json.dumps(rules or {}), schema)
        return self.call("configure", mode, settings, *args)

    def bind(self, rules: dict[str, Any], level: str = "standard") -> None:
        """Puts rules in force behind configure's back, whatever the state holds."""
        self.client.delete(self.keys.rules)
        self.client.hset(self.keys.rules, mapping={place: json.dumps(rule) for place, rule in rules.items()})
        self.meta(validation=level)

    def dump(self) -> tuple[dict[str, Any], int]:
        """What every key of the twin holds, and how many keys the server has."""
        keys = [getattr(self.keys, name) for name in STORED]
        with self.client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.type(key)
            for key, kind in zip(keys, pipeline.execute(), strict=True):
                command, *args = _READ[kind]
                pipeline.execute_command(command, key, *args)
            return dict(zip(keys, pipeline.execute(), strict=True)), self.client.dbsize()

    @property
    def state_bytes(self) -> bytes | None:
        return self.client.get(self.keys.state)

    @property
    def state(self) -> str:
        found = self.state_bytes
        assert found is not None, "there is no state"
        return found.decode()

    @property
    def history(self) -> list[dict[str, Any]]:
        """The entries of the history list, newest first."""
        return [json.loads(text) for text in self.client.lrange(self.keys.history, 0, -1)]

    @property
    def version(self) -> int:
        return int(self.client.hget(self.keys.meta, "version") or 0)

    def error_of(self, call: Callable[[], object]) -> str:
        """The error reply to a call; empty where it has none."""
        try:
            call()
        except redis.ResponseError as error:
            return str(error)
        return ""

    @contextlib.contextmanager
    def refused(self, code: str) -> Iterator[Refusal]:
        """What is called inside is refused with this error, and has changed nothing."""
        before = self.dump()
        refusal = Refusal(f"CIRCMAN_{code}")
        with pytest.raises(redis.ResponseError) as caught:
            yield refusal
        found, _, particulars = str(caught.value).partition(" ")
        assert found == refusal.code, str(caught.value)
        assert self.dump() == before
        refusal.details = json.loads(particulars)

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[Event]]:
        """Collects the events that what is called inside publishes."""
        messages: list[Event] = []
        with self.client.pubsub() as channel:
            channel.subscribe(self.keys.events)
            assert channel.get_message(timeout=10)["type"] == "subscribe"
            yield messages
            self.client.publish(self.keys.events, "end")
            received = iter(lambda: channel.get_message(timeout=10)["data"], b"end")
            messages.extend(map(Event, received))
