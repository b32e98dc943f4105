"""A subscription that runs in a `World` step by step, and who watches it.

`Run` does what a `Stream` says, and lets one step of a script happen each time before that. `Witness` holds every event
against what was committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

from circman_redis import patch as patches
from circman_redis.errors import CircmanError, StoreUnavailable
from circman_redis.events import Event, ForeignWrite, Heartbeat, HistoryGap, StateEvent, StateRolledBack
from circman_redis.protocol import Call
from circman_redis.stream import Join, Ping, Read, Stream
from circman_redis.wish import Wish
from tests.property.model import Made, World

QUIET = 25.0
"""Seconds without an event: by then the stream has looked for itself, twice."""

# --- steps ----------------------------------------------------------------------------------------------------

Step = tuple[str, int]
"""What happens, and a number for its particulars."""

BODIES: list[dict[str, Any]] = [
    {"a": 1},
    {"a": None},
    {"a": {"b": 1, "c": [1, {"d": None}]}},
    {"a": {"b": None}},
    {"n": 0, "f": 1.5},
    {},
    {"patch": {"state": {"patch": 1}}, 'q"\\{}[]': "é😀"},
    {"a": {"c": []}, "z/~": True},
    {"n": 7, "patch": None},
    {"f": 2.0},
    {"a": {"b": {"deep": [[]]}}},
]
JUNK = [b"", b"x", b"5", b"[]", b"{}", b"\xff", b'{"epoch":"epoch0","version":"2"}', b'{"op":"merge","patch":{}}']
OPS = ("set", "import", "merge", "merge", "adjust")

COMMITS = ("set", "import", "merge", "merge", "merge", "adjust", "omitted")
MESSAGES = ("deliver", "deliver", "deliver", "any", "newest", "drop", "double", "junk", "stale", "wait")
TROUBLE = ("cut", "mute", "refuse", "fail", "pause", "lose", "abandon", "abandon")


def commit(kind: str, world: World, number: int) -> None:
    if world.is_corrupt:
        return
    body = BODIES[number % len(BODIES)]
    op = "merge" if kind == "omitted" else kind
    if op in {"set", "import"} or (op == "adjust" and not isinstance(world.state.get("n", 0), int)):
        body, op = {"n": number, **body}, "set" if op == "adjust" else op
    if op == "adjust" and not world.line:
        op = "merge"
    world.commit(op, body, omitted=kind == "omitted", actor="é" if number % 2 else None)


def foreign(world: World, number: int) -> None:
    """Something else writes: a state of the same length, of another one, no object, nothing, or what stood there."""
    own = world.line[-1].entry.state if world.line else b"{}"
    digits = own.translate(bytes.maketrans(b"123456789", b"234567891"))  # no 0, which no number may begin with
    texts = (digits, own[:-1] + b' ,"x":1}' if own != b"{}" else b'{"x":1}', b"junk", None, own, digits)
    world.write(texts[number % len(texts)] if world.line or number % 2 else None)


def burst(world: World, number: int) -> None:
    for i in range(number % 9):
        commit(OPS[(number + i) % len(OPS)], world, number + i)


def set_back(world: World, number: int) -> None:
    if len(world.line) > 1:
        world.set_back(max(1, len(world.line) - 1 - number % 4), number // 4 % 9)


def drop(world: World, number: int) -> None:
    if world.inbox:
        world.inbox.pop(number % len(world.inbox))


def double(world: World, number: int) -> None:
    if world.inbox:
        world.inbox.append(world.inbox[number % len(world.inbox)])


def stale(world: World, number: int) -> None:
    if world.published:
        world.publish(world.published[number % len(world.published)])


def mute(world: World, _: int) -> None:
    world.mute = True


def refuse(world: World, number: int) -> None:
    world.cut()
    world.refused_joins = number % 4


def pause(world: World, number: int) -> None:
    world.now += number % 30


HAPPENINGS: dict[str, Callable[[World, int], None]] = {
    **{kind: partial(commit, kind) for kind in (*OPS, "omitted")},
    "burst": burst,
    "clear": lambda world, _: world.clear(),
    "delete": lambda world, _: world.delete(),
    "set back": set_back,
    "foreign": foreign,
    "drop": drop,
    "double": double,
    "junk": lambda world, number: world.publish(JUNK[number % len(JUNK)]),
    "stale": stale,
    "cut": lambda world, _: world.cut(),
    "mute": mute,
    "refuse": refuse,
    "pause": pause,
}


class Run:
    """A subscription in a world, to which one step of a script happens before anything that it asks for is done."""

    most = 5_000  # steps: then it is in a circle

    def __init__(self, world: World, wish: Wish, script: Iterable[Step] = (), *, patience: float = 10.0) -> None:
        self.world = world
        self.script = list(script)[::-1]
        self.stream = Stream(world.keys, wish, patience=patience, clock=lambda: world.now)
        self.log: list[Any] = []  # what the stream asked for

    def begin(self) -> None:
        self._drive(self.stream.begin)

    def begun(self) -> bool:
        """Whether it stands now; not, where the server was not to be had."""
        try:
            self.begin()
        except StoreUnavailable:
            return False
        return True

    def next(self) -> Event | None:
        return self._drive(self.stream.next)

    def events(self) -> Generator[Event, None, None]:
        """All events until the script is over, and nothing came for as long as the wish waits."""
        while True:
            is_over = not self.script
            try:
                event = self.next()
            except StoreUnavailable:
                assert self.script or not is_over, "no connection, though nobody refuses one"
                continue
            if event is not None:
                yield event
            elif is_over or self.stream.closed:
                return

    def _drive(self, make: Callable[[], Generator[Any, Any, Any]]) -> Any:
        while True:
            generator = make()
            try:
                wanted = next(generator)
                while True:
                    self.log.append(wanted)
                    assert len(self.log) < self.most, "it does not come to an end"
                    kind, number = self.script.pop() if self.script else ("deliver", 0)
                    if kind in {"abandon", "lose"}:
                        self._abandon(wanted, kind)
                        generator.close()
                        break
                    try:
                        came = self._do(wanted, kind, number)
                    except CircmanError as error:
                        wanted = generator.throw(error)
                    else:
                        wanted = generator.send(came)
            except StopIteration as done:
                return done.value

    def _do(self, wanted: Any, kind: str, number: int) -> Any:
        if kind == "close":
            self.stream.closed = True
        HAPPENINGS.get(kind, lambda *_: None)(self.world, number)
        if kind == "fail" and isinstance(wanted, Call | Join | Read | Ping):
            raise StoreUnavailable("no answer")
        if not isinstance(wanted, Read):
            return self.world.do(wanted)
        which = {"deliver": 0, "any": number, "newest": -1}.get(kind)
        if which is None and any(one[0] == "subscribe" for one in self.world.inbox):
            which = 0
        return self.world.receive(wanted.seconds, which)

    def _abandon(self, wanted: Any, kind: str) -> None:
        """As a cancelled task does: what it waited for may have come, and be lost."""
        if kind == "lose" and isinstance(wanted, Read) and self.world.inbox:
            self.world.inbox.pop(0)
        if kind == "lose" and isinstance(wanted, Join):
            self.world.do(wanted)
        self.stream.timeline.behind = True


class Witness:
    """Holds each event against what was committed, in the order that it was.

    Attributes:
        versions: those that were handed out.
        lost: those that gaps named.
        state: what somebody who keeps a copy of the events has; None where it is not known.
        foreign: the foreign writes that were reported.
    """

    def __init__(self, world: World, epoch: str, version: int, state: Any) -> None:
        self.world = world
        self.epoch, self.version, self.state = epoch, version, state
        self.at: Made | None = None
        if epoch and world.epoch == epoch and 0 < version <= world.version:
            self.at = world.line[version - 1]
        self.after_gap = False
        self.versions: list[int] = []
        self.lost: list[int] = []
        self.foreign: list[ForeignWrite] = []
        self.rollbacks: list[StateRolledBack] = []
        self.epochs = [epoch] if epoch else []
        self.banned: set[Made] = set()
        self.strict = True  # whether states are what commits wrote

    def saw(self, event: Event) -> None:
        assert event.twin == self.world.keys.twin
        assert json.loads(json.dumps(event.to_json()))["event"] == event.kind
        match event:
            case StateEvent():
                self._commit(event)
            case HistoryGap():
                self._gap(event)
            case StateRolledBack():
                self._rollback(event)
            case ForeignWrite():
                self._foreign(event)
            case Heartbeat():
                assert (event.epoch, event.version) == (self.epoch, self.version)

    def _enter(self, epoch: str) -> None:
        if epoch != self.epoch:
            assert not self.epoch, "another epoch, without a rollback"
            order = self.world.epochs
            assert not self.epochs or order.index(epoch) > order.index(self.epochs[-1]), "an epoch that was over"
            self.epochs.append(epoch)
        self.epoch = epoch

    def _commit(self, event: StateEvent) -> None:
        made = self.world.made[event.epoch, event.version, event.committed_at]
        assert event.version == self.version + 1
        assert made not in self.banned, "of a line that was over"
        self._enter(event.epoch)
        facts = made.entry.facts
        assert facts.items() >= {name: getattr(event, name) for name in ("op", "actor", "id", "timestamp")}.items()
        assert patches.same(event.patch, facts["patch"])
        is_certain = (event.epoch, event.version) not in self.world.unverifiable
        if self.strict:
            assert patches.same(event.state, made.state)
        if is_certain and self.strict:
            assert self.at is None or made.parent is self.at, "not made of the state that was handed out before"
            parent = made.parent.state if made.parent else {}
            assert patches.same(event.previous, parent) or (self.after_gap and event.previous is None)
        self.at, self.after_gap = made, False
        self.version, self.state = event.version, event.state
        self.versions.append(event.version)

    def _gap(self, event: HistoryGap) -> None:
        assert event.lost.start == self.version + 1
        assert event.lost
        self.lost += event.lost
        self.after_gap, self.at = True, None
        if not event.snapshot.version:  # deleted: the rollback comes next
            assert event.epoch == self.epoch
            assert event.version == event.lost[-1]
            assert any(one.epoch == event.epoch and one.version == event.version for one in self.world.made.values())
            return
        self._enter(event.epoch)
        self.version = event.lost[-1]
        assert event.version == event.lost.stop
        assert (event.lost.start, event.lost.stop) in self.world.gaps
        self._check_snapshot(event)
        assert event.position == f"{event.epoch}:{event.version - 1}"

    def _rollback(self, event: StateRolledBack) -> None:
        if self.epoch:
            assert event.previous_epoch == self.epoch
        assert event.previous_version == self.version
        self.rollbacks.append(event)
        self.banned |= {made for made in self.world.made.values() if made.abandoned}
        self.after_gap, self.at = False, None
        self.epoch, self.version, self.state = event.epoch, event.version, event.snapshot.state
        if event.epoch:
            self.at = self._check_snapshot(event)
        else:
            assert (event.version, event.snapshot.version, event.snapshot.epoch) == (0, 0, "")
            assert event.snapshot.state == {}

    def _check_snapshot(self, event: HistoryGap | StateRolledBack) -> Made:
        snapshot = event.snapshot
        assert (snapshot.epoch, snapshot.version) == (event.epoch, event.version)
        made = self.world.made[snapshot.epoch, snapshot.version, str(snapshot.committed_at)]
        assert (snapshot.op, snapshot.actor) == (made.entry.facts["op"], made.entry.facts["actor"])
        if self.strict:
            assert patches.same(snapshot.state, made.state)
        return made

    def _foreign(self, event: ForeignWrite) -> None:
        if self.foreign:
            assert event is not self.foreign[-1]
        self.foreign.append(event)
        self.state = event.state
