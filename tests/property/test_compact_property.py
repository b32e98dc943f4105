"""Compact history against full: the same commits, and every look-up gives the same bytes."""

from __future__ import annotations

import json
import re
from typing import Any

import redis

from circman_redis.canonical import inverse_text
from circman_redis.connection import adopt
from circman_redis.driver import Driver
from circman_redis.verify import verify
from tests.lua.support import RawTwin
from tests.property.texts import PLAIN, Decisions, decisions, on_servers


def second(n: int) -> str:
    return f'"2026-01-01T00:00:{n % 60:02}Z"'


class Twins:
    """Two twins that the same is done to; the second one's history is compact, most of the time."""

    def __init__(self, client: redis.Redis, draw: Decisions) -> None:
        self.draw = draw
        self.looks = draw.pick([32, 2, 0])
        self.full, self.compact = (RawTwin(client, constants={"MOST_LOOKS": self.looks}) for _ in range(2))
        self.compact.configure(settings='{"history":"compact"}')
        self.steps = 0

    def both(self, *bodies: str, op: str) -> None:
        self.steps += 1
        answers = [
            one.error_of(lambda one=one: one.commit(*bodies, op=op, commit_id=f"i{self.steps}", actor="me"))
            for one in (self.full, self.compact)
        ]
        assert answers[0] == answers[1]

    def step(self) -> None:
        """Something is done."""
        kinds = [self.count, self.count, self.count, self.merge, self.merge, self.adjust, self.whole, self.set_up]
        self.draw.pick(kinds)()

    def count(self) -> None:
        """Some small merges, in one call."""
        first, many = self.steps * 20, 1 + self.draw.below(12)
        self.both(
            *[f'{{"n":{n},"timestamp":{second(self.draw.below(60))}}}' for n in range(first, first + many)], op="merge"
        )

    def merge(self) -> None:
        """A strange one, which names what is there."""
        known = json.loads(self.full.state) if self.full.state_bytes else {}
        patches = [self.draw.write(self.draw.patch_of(known)) for _ in range(1 + self.draw.below(2))]
        self.both(*patches, op="merge")

    def adjust(self) -> None:
        self.both(f'{{"/n":{1 + self.draw.below(3)}}}', op="adjust")

    def whole(self) -> None:
        kept = {"n": 1, "timestamp": "2026-01-01T00:00:30Z", "text": "x" * 200} if self.draw.below(3) else {}
        self.both(PLAIN.write({**self.draw.object(), **kept}), op=self.draw.pick(["set", "import"]))

    def set_up(self) -> None:
        """Clears, trims, or has the second one kept in another form from now on."""
        form = '"full"' if self.draw.below(2) else '"compact"'
        length = 1 + self.draw.below(30)
        match self.draw.below(4):
            case 0:
                assert self.full.call("clear", "") == self.compact.call("clear", "")
            case 1:
                for one in (self.full, self.compact):
                    one.configure(settings=f'{{"history_length":{length}}}')
            case _:
                self.compact.configure(settings=f'{{"history":{form}}}')

    def replies(self, name: str, *args: Any) -> list[Any]:
        """What both answer, without the time of the commits and the epoch."""
        return [
            [re.sub(rb'"committed_at":"[^"]*"', b"", part) if isinstance(part, bytes) else part for part in reply]
            if isinstance(reply := one.call(name, *args), list)
            else reply
            for one in (self.full, self.compact)
        ]

    def assert_same(self, name: str, *args: Any) -> None:
        full, compact = self.replies(name, *args)
        skip = 0 if name == "past" else 1  # the epoch
        assert (full and full[skip:]) == (compact and compact[skip:]), (name, args)

    def assert_all_same(self) -> None:
        """Every look-up there is."""
        newest, places = self.full.version, self.draw.below(40)
        assert newest == self.compact.version
        for version in range(newest + 2):
            self.assert_same("lookup", "version", version)
        for n in (-1, *range(0, 60, 7)):
            self.assert_same("lookup", "time", json.loads(second(n)) if n >= 0 else "2025-01-01T00:00:00Z")
        self.assert_same("lookup", "head", "")
        for before, limit in [("", ""), (places, 5), (newest, 17), (newest - places, ""), (newest + 9, 1)]:
            self.assert_same("commits", before, limit)
        for first, last in [(0, -1), (places, places), (-places, -1), (places, places + 9), (-1, -1)]:
            self.assert_same("past", first, last)
        for last in ["", *range(0, newest + 2, 3)]:
            self.assert_same("resume", last, self.draw.below(2))
        for one in (self.full, self.compact):
            assert Driver(adopt(one.client), one.keys).drive(verify(one.keys)) == []

    def assert_inverses(self) -> None:
        """Those that are there are the reference's; none stands where an entry has to be full."""
        states = {entry["version"]: entry for entry in map(parts, self.full.call("commits", "", "")[1:])}
        for text in self.compact.client.lrange(self.compact.keys.history, 0, -1):
            entry = parts(text)
            newer = states[entry["version"] + 1]
            if "inverse" in entry:
                assert newer["op"] in {"merge", "adjust"}
                assert entry["version"] % 16
                assert entry["inverse"] == inverse_text(states[entry["version"]]["state"], newer["patch"])


def parts(text: bytes) -> dict[str, Any]:
    """Of an entry: its version and op, and the texts of what follows."""
    facts, _, rest = text.decode().partition(',"patch":')
    patch = "null" if rest.startswith("null") else balanced(rest)
    name, _, body = rest[len(patch) + 2 : -1].partition('":')
    return {**json.loads(facts + "}"), "patch": patch, name: body}


def balanced(text: str) -> str:
    """The object at the beginning; in the stored form no bracket stands inside a string."""
    level = 0
    for i, character in enumerate(text):
        level += (character == "{") - (character == "}")
        if not level:
            return text[: i + 1]
    raise AssertionError(text)


@on_servers(150, draw=decisions)
def test_every_look_up_is_the_full_ones(raw: RawTwin, draw: Decisions) -> None:
    """After any schedule of commits, trims, clears and changes of form; on entries of both forms."""
    twins = Twins(raw.client, draw)
    twins.both(PLAIN.write({"n": 0, "text": "x" * 200, **draw.object()}), op="set")
    for _ in range(4 + draw.below(12)):
        twins.step()
    twins.assert_all_same()
    twins.assert_inverses()
