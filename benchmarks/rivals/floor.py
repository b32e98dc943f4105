"""The floor: the Redis commands of one of our commits and nothing else; and a bare round trip.

The commands are recorded from a live commit (MONITOR), so they are the same ones whatever commit.lua comes to do.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from benchmarks.documents import JSONObject, usual
from benchmarks.rivals import HISTORY
from benchmarks.rivals.ours import Ours
from circman_redis.protocol import new_commit_id

Command = tuple[bytes, ...]

_MONITORED = re.compile(rb"^[\d.]+ \[\d+ (lua|[^]]*)\] (.*)$", re.DOTALL)
_ARGUMENT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PRINTABLE = frozenset(range(32, 127))
_RECORDED = 4


@dataclass(frozen=True)
class Commit:
    """One commit as MONITOR showed it."""

    commit_id: bytes
    keys: Sequence[bytes]
    commands: Sequence[Command]


class Floor:
    """A script that runs the commands of a usual commit on ready-made text: no reading, merging or checking.

    Args:
        url: the server.
        client: of the same server.
    """

    name = "the floor"

    def __init__(self, url: str, client: redis.Redis) -> None:
        self._client = client
        self._recorded = Ours(url, "floor")

    def open(self) -> None:
        """Opens the twin whose commits are recorded."""
        self._recorded.open()

    def close(self) -> None:
        """Gives back the connections."""
        self._recorded.close()
        self._client.close()

    def put(self, document: JSONObject) -> None:
        """Records how this document is usually changed, once its history is full."""
        keys = self._recorded.manager.keys
        self._client.unlink(keys.state, keys.history, keys.meta, keys.rules, keys.ids, keys.old_ids, keys.times)
        self._recorded.put(document)
        patch = usual(document)
        for i in range(HISTORY):
            self._recorded.apply(patch(i))
        patches = [patch(HISTORY + i) for i in range(_RECORDED)]
        self._replay = Replay.of(*_two_alike(_record(self._client, self._recorded, patches)))
        self._script = self._client.register_script(self._replay.text)
        self._done = 0

    def apply(self, patch: JSONObject) -> None:  # noqa: ARG002 - what it would make is ready
        """Runs the commands."""
        self._done += 1
        self._script(keys=self._replay.keys, args=self._replay.arguments(self._done))


class RoundTrip:
    """What redis-py takes to ask anything at all (PING).

    Args:
        client: of the server.
    """

    name = "bare round trip"

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def open(self) -> None:
        """The client connects when it has to."""

    def close(self) -> None:
        """Gives back the connections."""
        self._client.close()

    def put(self, document: JSONObject) -> None:
        """There is no state."""

    def apply(self, patch: JSONObject) -> None:  # noqa: ARG002 - nothing is done with it
        """Asks."""
        self._client.ping()


@dataclass(frozen=True)
class Replay:
    """A script that runs a commit's commands again.

    Attributes:
        text: the script. What both recorded commits have in common stands in it; the rest comes as ARGV.
        keys: its KEYS.
        changing: the pairs behind ARGV: what stood there in the one commit, and in the next.
        commit_id: of the first one.
    """

    text: str
    keys: Sequence[bytes]
    changing: Sequence[tuple[bytes, bytes]]
    commit_id: bytes

    @classmethod
    def of(cls, before: Commit, after: Commit) -> Replay:
        """From two commits that ran the same commands, the second right after the first."""
        changing: list[tuple[bytes, bytes]] = []

        def argument(old: bytes, new: bytes) -> str:
            if old == new:
                return f"KEYS[{after.keys.index(new) + 1}]" if new in after.keys else _literal(new)
            if (old, new) not in changing:
                changing.append((old, new))
            return f"ARGV[{changing.index((old, new)) + 1}]"

        calls = [
            f"call({', '.join(argument(old, new) for old, new in zip(*pair, strict=True))})"
            for pair in zip(before.commands, after.commands, strict=True)
        ]
        text = "\n".join(["local call = redis.call", *calls, "return 1"])
        return cls(text, after.keys, changing, before.commit_id)

    def arguments(self, n: int) -> list[bytes | str | int]:
        """ARGV of the n-th run: numbers go on as they went, ids are new, texts are ready-made."""
        commit_id = new_commit_id()
        return [commit_id if old == self.commit_id else _going_on(old, new, n) for old, new in self.changing]


def _going_on(old: bytes, new: bytes, n: int) -> bytes | int:
    if old.isdigit() and new.isdigit():
        return int(new) + n * (int(new) - int(old))
    return new


def _literal(text: bytes) -> str:
    """The bytes as a string in Lua."""
    plain = _PRINTABLE - set(b'"\\')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03}" for byte in text) + '"'


def _record(client: redis.Redis, twin: Ours, patches: Sequence[JSONObject]) -> list[Commit]:
    connection: Any = client.connection_pool.get_connection()
    try:
        connection.send_command("MONITOR")
        connection.read_response()
        ids = [new_commit_id() for _ in patches]
        for commit_id, patch in zip(ids, patches, strict=True):
            twin.manager.update_state(patch, commit_id=commit_id)
        client.echo("recorded")
        seen = list(_until_echo(connection))
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)
    return [_commit(commit_id.encode(), seen) for commit_id in ids]


def _until_echo(connection: Any) -> Iterator[tuple[bool, Command]]:
    """What MONITOR shows: whether a script ran it, and the command."""
    while True:
        found = _MONITORED.match(connection.read_response(disable_decoding=True))
        assert found is not None
        command = tuple(ast.literal_eval("b" + one.decode("latin-1")) for one in _ARGUMENT.findall(found[2]))
        if command[0].upper() == b"ECHO":
            return
        yield found[1] == b"lua", command


def _commit(commit_id: bytes, seen: Sequence[tuple[bool, Command]]) -> Commit:
    """The commit with an id: its EVALSHA, and what the script ran until the next client's command."""
    start = next(i for i, (in_script, command) in enumerate(seen) if not in_script and commit_id in command)
    evalsha = seen[start][1]
    commands = []
    for in_script, command in seen[start + 1 :]:
        if not in_script:
            break
        commands.append(command)
    return Commit(commit_id, evalsha[3 : 3 + int(evalsha[2])], commands)


def _two_alike(commits: Sequence[Commit]) -> tuple[Commit, Commit]:
    """Two in a row that ran the same commands: now and then one tidies up as well."""
    for before, after in itertools.pairwise(commits):
        if [(c[0], len(c)) for c in before.commands] == [(c[0], len(c)) for c in after.commands]:
            return before, after
    raise AssertionError("no two commits in a row ran the same commands")
