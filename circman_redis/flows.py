"""Pure: the calls of a manager that take more than one round trip, as generators.

A flow yields Calls and is sent their values (or has their errors thrown in), so that the same flow serves every
kind of client: ``driver.py`` drives it, for threads and for tasks.
"""

from __future__ import annotations

import inspect
import logging
import os
import socket
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import BaseModel

from circman_redis import checks, fencing, observing, patch, protocol, refusals, rules
from circman_redis.codec import NOT_AN_OBJECT, JSONText, check_text, compact, decode, encode
from circman_redis.durability import NONE, Durability, ServerFacts
from circman_redis.errors import (
    CorruptTwin,
    InvalidJSON,
    ModelMismatch,
    NotPermitted,
    RetryExpired,
    StateConflict,
    StateTooLarge,
    StoreError,
    StoreUnavailable,
    UnsafeEviction,
    UsageError,
)
from circman_redis.keys import TwinKeys
from circman_redis.models import LEVELS, TwinState
from circman_redis.protocol import Call
from circman_redis.results import Commit, Snapshot, State, StoredConfig
from circman_redis.settings import LONGEST_HISTORY, LONGEST_NAME, History, Settings
from circman_redis.shown import shown
from circman_redis.timestamps import format_timestamp, microseconds, parse_timestamp

T = TypeVar("T")
Flow = Generator[Call[Any], Any, T]
log = logging.getLogger("circman_redis")
Document = Mapping[str, Any] | BaseModel | JSONText

_SETTINGS = ("history_length", "max_bytes", "auto_timestamp", "history")

_LEARN_EVERY = 256  # versions: often enough for what the ids say to be recent

ATTEMPTS = 100
"""How often a read-and-commit is tried again when somebody else was faster."""


@dataclass(slots=True)
class Options:
    """The keyword arguments that every write takes."""

    expected_version: int | None = None
    actor: str | None = None
    commit_id: str | None = None
    durability: str | None = None
    expected_position: str = ""

    def __post_init__(self) -> None:
        version: object = self.expected_version
        if version is not None and not (_is_whole(version) and version >= 0):
            raise UsageError(f"expected_version={shown(version)}: a version is a whole number, 0 for no state yet")
        _check_name("actor", self.actor)
        _check_name("commit_id", self.commit_id)


@dataclass(slots=True)
class Twin:
    """One twin as its manager knows it; what it learned from Redis is in ``config``."""

    keys: TwinKeys
    settings: Settings
    model: type[BaseModel] | None = None
    first_model: type[BaseModel] = TwinState  # that it gets with its first commit, where nobody names one
    config: StoredConfig = field(default_factory=StoredConfig)
    sharded: bool = False  # whether the way to it is that of a cluster
    facts: ServerFacts = field(default_factory=ServerFacts)
    known: int = 0  # when the newest commit was made that this manager knows of, in microseconds by the server's clock
    compiled: rules.CompiledModel | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.model is not None:
            self.compiled = rules.compile_model(self.model)

    @property
    def actor(self) -> str:
        """Who commits, unless a call says otherwise."""
        return self.settings.actor or _host_and_process(os.getpid())

    @property
    def max_bytes(self) -> int:
        """How large a state may be."""
        return self.config.max_bytes

    # --- opening -------------------------------------------------------------------------------------------

    def open(self, *, publish: bool = False) -> Flow[None]:
        """Learns the twin's settings, and applies the caller's.

        Args:
            publish: give the twin a model where it has none, as the first commit does; a model that the caller
                names is published in any case. So whoever only looks leaves no trace.

        Raises:
            ModelMismatch: where the caller asked for another model or level than the twin has.
            UnsafeEviction: the server may evict the state, and the caller did not allow that.
            UsageError: commits are to wait for what the server does not have.
        """
        if not publish:  # as a manager is opened, once
            yield from self._look_at_server()
        try:
            yield from self._learn(publish=publish)
        except (CorruptTwin, StoreError) as error:
            # A damaged twin is open to be looked at, and repaired; whoever commits is told.
            if publish or not (isinstance(error, CorruptTwin) or "WRONGTYPE" in str(error)):
                raise

    def _learn(self, *, publish: bool) -> Flow[None]:
        config, self.known = yield protocol.opening(self.keys)
        if config.model_hash is None and (publish or self.compiled):
            yield from self._adopt()
            config = yield protocol.config(self.keys)
        if config.model_hash is not None:
            self._check(config)
        wanted = self._wanted_settings(config)
        if wanted:
            yield protocol.configure(self.keys, "adopt", wanted, None, "")
            config = yield protocol.config(self.keys)
        self.config = config
        if observing.observer and not publish:
            with suppress(StoreError):  # no right to look, or no list: whoever needs it is told
                yield protocol.history_size(self.keys)

    def _adopt(self) -> Flow[None]:
        level = self.settings.validation or "standard"
        try:
            yield protocol.configure(self.keys, "adopt", {}, self._own_model, level)
        except NotPermitted as error:
            said = f"twin {self.keys.twin!r} has no model yet, and this user may not publish one"
            raise NotPermitted(f"{said}: have an admin do it, with publish_model() ({error})") from error

    def _look_at_server(self) -> Flow[None]:
        try:
            self.facts = yield protocol.server_facts()
        except StoreUnavailable:
            raise
        except StoreError:
            return  # not everybody may look
        if self.facts.is_node and not self.sharded:
            raise UsageError(
                f"twin {self.keys.twin!r}: this is one node of a cluster, and has not every twin: use the cluster's "
                "URL, redis+cluster://host:port,host:port, or a RedisCluster client"
            )
        self._durability(None)
        if self.facts.may_evict:
            said = f"twin {self.keys.twin!r}: {self.facts.version} has maxmemory-policy {self.facts.eviction}"
            if not self.settings.allow_eviction:
                advice = "CONFIG SET maxmemory-policy noeviction, or open it with allow_eviction=True"
                raise UnsafeEviction(f"{said}, by which it may evict the state: {advice}")
            log.warning("%s: it may evict the state", said)

    def _durability(self, asked: str | None) -> Durability:
        if asked is None and self.settings.durability == "none":
            return NONE
        wanted = Durability.of(self.settings.durability if asked is None else asked)
        if wanted.kind == "fsync" and self.facts.can_fsync is False:
            raise UsageError(
                f"durability='fsync': {self.facts.version} cannot confirm it: it takes WAITAOF (Valkey, Redis 7.2) and "
                "an append-only file (appendonly yes)"
            )
        return wanted

    @property
    def _own_model(self) -> rules.CompiledModel:
        return self.compiled or rules.compile_model(self.first_model)

    def _check(self, config: StoredConfig) -> None:
        if self.compiled and config.model_hash != self.compiled.hash:
            raise ModelMismatch(
                f"twin {self.keys.twin!r} goes by model {config.model!r} ({config.model_hash}), the caller by "
                f"{self.compiled.name!r} ({self.compiled.hash}): open the twin without model= to go by its own, and "
                "publish_model() to replace that"
            )
        level = self.settings.validation
        if level and config.validation != level:
            raise ModelMismatch(
                f"twin {self.keys.twin!r} is validated at level {config.validation!r}, the caller asked for {level!r}: "
                "leave out validation= to go by the twin's, and publish_model(..., validation=...) to change it"
            )

    def _wanted_settings(self, config: StoredConfig) -> dict[str, int | str]:
        given = {name: getattr(self.settings, name) for name in _SETTINGS}
        wanted = {name: new for name, new in given.items() if new is not None and new != getattr(config, name)}
        return {name: int(new) if isinstance(new, bool) else new for name, new in wanted.items()}

    def set_history_length(self, length: int) -> Flow[None]:
        """Changes how many superseded commits are kept; a shorter history is trimmed at once."""
        if not (_is_whole(length) and 1 <= length <= LONGEST_HISTORY):
            raise UsageError(f"history_length={shown(length)}: use a whole number of at least 1")
        yield from self._change({"history_length": length})

    def set_history(self, form: str) -> Flow[None]:
        """Changes how superseded commits are kept from now on, full or compact."""
        if form not in get_args(History):
            raise UsageError(f"history={shown(form)}: use one of {', '.join(get_args(History))}")
        yield from self._change({"history": form})

    def want(self, settings: Mapping[str, int | str]) -> Flow[None]:
        """Changes settings, where the twin's are others now: another process may have changed them."""
        config: StoredConfig = yield protocol.config(self.keys)
        differing = {name: new for name, new in settings.items() if new != getattr(config, name)}
        if differing:
            yield from self._change(differing)

    def _change(self, settings: Mapping[str, int | str]) -> Flow[None]:
        yield protocol.configure(self.keys, "adopt", settings, None, "")
        self.config = yield protocol.config(self.keys)

    def publish_model(self, model: type[BaseModel], validation: str | None, force: bool) -> Flow[None]:
        """Replaces the twin's model, and goes by it from now on."""
        compiled = rules.compile_model(model)
        level = validation or self.config.validation
        if level not in LEVELS:
            raise UsageError(f"validation={shown(level)}: use one of {', '.join(LEVELS)}")
        if not force and compiled.checks(level) == "python":
            snapshot: Snapshot = yield protocol.snapshot(self.keys)
            if snapshot.version:
                checks.refuse(model, snapshot.state, replace(self.config, validation=level))
        yield protocol.configure(self.keys, "force" if force else "publish", {}, compiled, level)
        self.model, self.compiled = model, compiled
        if self.settings.validation:
            self.settings = self.settings.model_copy(update={"validation": level})
        self.config = yield protocol.config(self.keys)

    # --- committing ----------------------------------------------------------------------------------------

    def body(self, document: Document, what: str) -> bytes:
        """The JSON text that a commit sends."""
        if isinstance(document, JSONText):
            # Without its indentation: what was exported can be imported, however large it looks.
            text = compact(bytes(check_text(document, what=what))).encode()
            if len(text) > self.max_bytes:
                raise StateTooLarge(f"{what}: {len(text)} bytes are over the limit of {self.max_bytes} (max_bytes)")
            return text
        return encode(document, what=what, max_bytes=self.max_bytes)

    def _body(self, document: Document, what: str) -> Flow[bytes]:
        try:
            return self.body(document, what)
        except StateTooLarge:
            # Somebody may have raised the limit since it was learned.
            config: StoredConfig = yield protocol.config(self.keys)
            if config.max_bytes <= self.max_bytes:
                raise
            self.config = replace(self.config, max_bytes=config.max_bytes)
        return self.body(document, what)

    def set(self, state: Document, options: Options, op: str = "set") -> Flow[Commit]:
        """One commit that replaces the state."""
        body = yield from self._body(state, "state")
        if self._checks_here:
            self._refuse(decode(body))
        commits = yield from self._commit(op, [body], options)
        return commits[0]

    def update(self, updates: Document, options: Options) -> Flow[Commit]:
        """One merge."""
        if self._checks_here:
            return (yield from self.update_many([updates], options))[0]
        try:
            body = self.body(updates, "updates")
        except StateTooLarge:
            body = yield from self._body(updates, "updates")
        return (yield from self._commit("merge", [body], options))[0]

    def update_many(self, updates: Sequence[Document], options: Options) -> Flow[list[Commit]]:
        """One merge per update, all or none."""
        if isinstance(updates, Mapping | str | bytes) or not isinstance(updates, Iterable):
            raise UsageError(f"updates: a list of merge patches is wanted, not {type(updates).__name__}")
        bodies = []
        for one in updates:
            bodies.append((yield from self._body(one, "updates")))  # noqa: PERF401 - a comprehension cannot yield
        if not bodies:
            return []
        if self._checks_here:
            patches = [decode(body) for body in bodies]
            return (yield from self._checked("merge", bodies, options, lambda state: checks.merged(state, patches)))
        return (yield from self._commit("merge", bodies, options))

    def adjust(self, deltas: Mapping[str, Any] | JSONText, options: Options) -> Flow[Commit]:
        """One commit that adds numbers at their pointers."""
        if not isinstance(deltas, JSONText):
            if not isinstance(deltas, Mapping):
                raise UsageError(f"deltas: a dict of JSON Pointer to number is wanted, not {type(deltas).__name__}")
            for pointer, delta in deltas.items():
                if not isinstance(pointer, str):
                    raise UsageError(
                        f"adjust at {shown(pointer)}: a JSON Pointer is text, such as /cells/0/temperature"
                    )
                patch.split_pointer(pointer)
                if isinstance(delta, bool):
                    raise InvalidJSON(f"adjust at {pointer}: {delta!r} is not a number to add")
        body = yield from self._body(deltas, "adjustments")
        if self._checks_here:
            added = decode(body)
            commits = yield from self._checked("adjust", [body], options, lambda state: [checks.adjusted(state, added)])
        else:
            commits = yield from self._commit("adjust", [body], options)
        return commits[0]

    def modify(self, change: Callable[[State], Any], options: Options, attempts: int) -> Flow[Commit]:
        """Reads, changes, commits if nobody was faster, else again."""
        if not callable(change):
            raise UsageError(f"change={shown(change)}: a function that gets the state is wanted")
        if inspect.iscoroutinefunction(change):
            raise UsageError(f"change={shown(change)}: a plain function is wanted; await what it needs before")
        if not (_is_whole(attempts) and attempts >= 1):
            raise UsageError(f"attempts={shown(attempts)}: use a whole number of at least 1")

        def changed(snapshot: Snapshot) -> Document:
            before = decode(encode(snapshot.state))
            returned: Document | None = change(before)
            return before if returned is None else returned

        return (yield from self.modify_read(changed, options, attempts))

    def modify_read(
        self, change: Callable[[Snapshot], Document], options: Options, attempts: int = ATTEMPTS
    ) -> Flow[Commit]:
        """The same with a function that gets the snapshot, which it leaves alone, and returns the new state."""
        while True:
            attempts -= 1
            snapshot: Snapshot = yield protocol.snapshot(self.keys)
            expected = self._expected(snapshot, options)
            after = change(snapshot)
            try:
                again = self._on(snapshot, expected, options)
                return (yield from self._commit_change(snapshot, after, again))
            except StateConflict:
                if options.expected_version is not None or not attempts:
                    raise

    def _commit_change(self, snapshot: Snapshot, after: Document, options: Options) -> Flow[Commit]:
        # As a merge patch, so that what the function left alone keeps its bytes.
        body = yield from self._body(after, "the changed state")
        difference = patch.merge_patch(snapshot.state, decode(body)) if snapshot.version else None
        if difference is None:
            return (yield from self.set(self._unstamped(snapshot, decode(body)), options))
        if self._checks_here:
            self._refuse(decode(body))
        commits = yield from self._commit("merge", [encode(difference)], options)
        return commits[0]

    def _expected(self, snapshot: Snapshot, options: Options) -> int:
        """The version to commit on: the one that was read, or the caller's.

        A caller's that is still to come is refused at once: until the commit, somebody could bring it about.
        """
        expected = options.expected_version
        if expected is not None and expected > snapshot.version:
            raise refusals.conflict(self.keys, expected, snapshot.version)
        return snapshot.version if expected is None else expected

    @staticmethod
    def _on(snapshot: Snapshot, expected: int, options: Options) -> Options:
        """To commit on the very state that was read: the same version of a twin made again, or set back, is another."""
        position = snapshot.position if expected == snapshot.version and snapshot.version else ""
        return Options(expected, options.actor, options.commit_id, options.durability, position)

    def _unstamped(self, snapshot: Snapshot, after: State) -> State:
        """The state without the timestamp that it was read with, so that it is stamped anew, as in a merge."""
        kept = self.config.auto_timestamp and after.get("timestamp") == snapshot.state.get("timestamp")
        return {name: value for name, value in after.items() if name != "timestamp"} if kept else after

    def _commit(self, op: str, bodies: list[bytes], options: Options) -> Flow[list[Commit]]:
        if options.commit_id is not None:
            return (yield from self._commit_as(options.commit_id, op, bodies, options))
        # A new id may look old, where this manager knew of no newer commit for long: then it is made anew.
        for make_id in (self._new_id, self._new_id, protocol.undated_commit_id):
            try:
                commits = yield from self._commit_as(make_id(), op, bodies, options)
            except RetryExpired as error:
                if error.details["age"]:
                    raise  # it was sent before
                self.known = error.details["committed"]
            else:
                if commits[-1].version % _LEARN_EVERY < len(commits):
                    self.known = microseconds(parse_timestamp(commits[-1].committed_at))
                return commits
        raise AssertionError("an id that says nothing of its age is never too old")

    def new_commit_id(self) -> Flow[str]:
        """A commit id that says when it was made, by the newest commit that there is."""
        _, self.known = yield protocol.opening(self.keys)
        return self._new_id()

    def _new_id(self) -> str:
        return protocol.new_commit_id(self.known)

    def _commit_as(self, commit_id: str, op: str, bodies: list[bytes], options: Options) -> Flow[list[Commit]]:
        checked = self._checks_here
        try:
            commits: list[Commit] = yield self._commit_call(op, bodies, options, commit_id)
        except ModelMismatch as error:
            # The twin was deleted since, or another model was published: go by what it has now, if that will do.
            published = (error.details["published"], error.details["checks"])
            if published == (self.config.model_hash, self.config.checks):
                raise
            yield from self.open(publish=True)
            if self._checks_here and not checked:
                message = f"twin {self.keys.twin!r}: its model was given checks that only Python can make, just now"
                raise ModelMismatch(f"{message}: nothing was committed; make the call again", error.details) from error
            commits = yield self._commit_call(op, bodies, options, commit_id)
        return commits

    def _commit_call(self, op: str, bodies: list[bytes], options: Options, commit_id: str) -> Call[list[Commit]]:
        return protocol.commit(
            self.keys,
            op,
            bodies,
            commit_id=commit_id,
            expected_version=options.expected_version,
            expected_position=options.expected_position,
            actor=options.actor or self.actor,
            model_hash=self._declared_model,
            fence=fencing.of(self.keys),
            durability=self._durability(options.durability),
        )

    # --- checks that only Python can make --------------------------------------------------------------------

    @property
    def _checks_here(self) -> bool:
        return self.config.checks == "python" and self.model is not None

    @property
    def _declared_model(self) -> str:
        # Whoever has not the class cannot have made its checks, and must not say so; nor who made none (level none).
        if self.config.model_hash and not self._checks_here and (self.config.checks == "python" or self._needs_python):
            return ""
        # The caller's own first: the twin may have been given another since.
        return self._own_model.hash if self.compiled else (self.config.model_hash or self._own_model.hash)

    @property
    def _needs_python(self) -> bool:
        return bool(self.compiled and self.compiled.python_checks)

    def _checked(
        self, op: str, bodies: list[bytes], options: Options, results: Callable[[State], list[State]]
    ) -> Flow[list[Commit]]:
        """Checks the states that the commit will make, and commits if the version is still the one it read."""
        attempts = ATTEMPTS
        while True:
            attempts -= 1
            snapshot: Snapshot = yield protocol.snapshot(self.keys)
            expected = self._expected(snapshot, options)
            if op == "adjust" and not snapshot.version:
                raise refusals.no_state(self.keys)
            for state in results(snapshot.state):
                self._refuse(state)
            try:
                again = self._on(snapshot, expected, options)
                return (yield from self._commit(op, bodies, again))
            except StateConflict:
                if options.expected_version is not None or not attempts:
                    raise

    def _refuse(self, state: State) -> None:
        if self.model is not None:
            checks.refuse(self.model, state, self.config)

    def validate(self, state: Any) -> Flow[tuple[bool, str]]:
        """Whether a state would be accepted, and why not."""
        config: StoredConfig = yield protocol.config(self.keys)
        if config.model_hash is None:
            level = self.settings.validation or config.validation
            config = replace(config, model=self._own_model.name, validation=level, checks=self._own_model.checks(level))
            published = self._own_model.rules
        else:
            published = yield protocol.published_rules(self.keys)
        try:
            body = yield from self._body(state, "state")
        except (InvalidJSON, StateTooLarge) as error:
            not_an_object = error.details.get("reason") == NOT_AN_OBJECT
            return False, "State must be a dictionary" if not_an_object else str(error)
        if self.compiled and config.model_hash not in {None, self.compiled.hash}:
            return False, f"the twin goes by model {config.model!r} now, no longer by {self.compiled.name!r}"
        plain: State = decode(body)
        if config.auto_timestamp and plain.get("timestamp") is None:
            plain["timestamp"] = format_timestamp(datetime.now(UTC))
            body = encode(plain)
        too_large = checks.stored_too_large(body, config.max_bytes)
        if too_large:
            return False, too_large
        violations = rules.check(plain, published, config.validation)
        if not violations and config.checks == "python":
            if self.model is None:
                return False, f"only Python can make all checks of model {config.model!r}: give it, model=<that class>"
            violations = checks.python_violations(self.model, plain, config)
        return (False, checks.explained(violations)) if violations else (True, "State is valid")


@cache
def _host_and_process(process: int) -> str:
    return f"{socket.gethostname()}:{process}"


def _check_name(name: str, text: object) -> None:
    if text is not None and not (isinstance(text, str) and 1 <= _size(text) <= LONGEST_NAME):
        raise UsageError(f"{name}={shown(text)}: use 1 to {LONGEST_NAME} bytes of text")


def _size(text: str) -> int:
    """Bytes of UTF-8; 0 for what has none (a lone surrogate)."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
