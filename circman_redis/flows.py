"""Pure: the calls of a manager that take more than one round trip, as generators.

A flow yields Calls and is sent their values (or has their errors thrown in), so that the same flow serves every
kind of client: ``manager.py`` drives it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError

from circman_redis import patch, protocol, rules
from circman_redis.codec import JSONText, check_text, compact, decode, encode
from circman_redis.errors import (
    InvalidJSON,
    ModelMismatch,
    NoState,
    StateConflict,
    StateTooLarge,
    StateValidationError,
    UsageError,
    Violation,
)
from circman_redis.keys import TwinKeys
from circman_redis.models import LEVELS, TwinState
from circman_redis.protocol import Call
from circman_redis.results import Commit, Snapshot, State, TwinConfig
from circman_redis.settings import Settings
from circman_redis.timestamps import format_timestamp, parse_timestamp

T = TypeVar("T")
Flow = Generator[Call[Any], Any, T]
Document = Mapping[str, Any] | BaseModel | JSONText

LONGEST_NAME = 128
"""Bytes of a commit id or an actor."""

ATTEMPTS = 100
"""How often a read-and-commit is tried again when somebody else was faster."""


@dataclass(slots=True)
class Options:
    """The keyword arguments that every write takes."""

    expected_version: int | None = None
    actor: str | None = None
    commit_id: str | None = None

    def __post_init__(self) -> None:
        version: object = self.expected_version
        if version is not None and not (_is_whole(version) and version >= 0):
            raise UsageError(f"expected_version={version!r}: a version is a whole number, 0 for no state yet")
        for name in ("actor", "commit_id"):
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and 1 <= _size(text) <= LONGEST_NAME):
                raise UsageError(f"{name}={text!r}: use 1 to {LONGEST_NAME} bytes of text")


@dataclass(slots=True)
class Twin:
    """One twin as its manager knows it; what it learned from Redis is in ``config``."""

    keys: TwinKeys
    settings: Settings
    model: type[BaseModel] | None = None
    config: TwinConfig = field(default_factory=TwinConfig)
    compiled: rules.CompiledModel | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.model is not None:
            self.compiled = rules.compile_model(self.model)

    @property
    def actor(self) -> str:
        """Who commits, unless a call says otherwise."""
        return self.settings.actor or f"{socket.gethostname()}:{os.getpid()}"

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
        """
        config = yield protocol.config(self.keys)
        if config.model_hash is None and (publish or self.compiled):
            level = self.settings.validation or "standard"
            yield protocol.configure(self.keys, "adopt", {}, self._own_model, level)
            config = yield protocol.config(self.keys)
        if config.model_hash is not None:
            self._check(config)
        wanted = self._wanted_settings(config)
        if wanted:
            yield protocol.configure(self.keys, "adopt", wanted, None, "")
            config = yield protocol.config(self.keys)
        self.config = config

    @property
    def _own_model(self) -> rules.CompiledModel:
        return self.compiled or rules.compile_model(TwinState)

    def _check(self, config: TwinConfig) -> None:
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

    def _wanted_settings(self, config: TwinConfig) -> dict[str, int]:
        given = {name: getattr(self.settings, name) for name in ("history_length", "max_bytes", "auto_timestamp")}
        return {name: int(new) for name, new in given.items() if new is not None and new != getattr(config, name)}

    def set_history_length(self, length: int) -> Flow[None]:
        """Changes how many superseded commits are kept; a shorter history is trimmed at once."""
        if not (_is_whole(length) and length >= 1):
            raise UsageError(f"history_length={length!r}: use a whole number of at least 1")
        yield protocol.configure(self.keys, "adopt", {"history_length": length}, None, "")
        self.config = yield protocol.config(self.keys)

    def publish_model(self, model: type[BaseModel], validation: str | None, force: bool) -> Flow[None]:
        """Replaces the twin's model, and goes by it from now on."""
        compiled = rules.compile_model(model)
        level = validation or self.config.validation
        if level not in LEVELS:
            raise UsageError(f"validation={level!r}: use one of {', '.join(LEVELS)}")
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

    def set(self, state: Document, options: Options, op: str = "set") -> Flow[Commit]:
        """One commit that replaces the state."""
        body = self.body(state, "state")
        if self._checks_here:
            self._refuse(decode(body))
        commits = yield from self._commit(op, [body], options)
        return commits[0]

    def update(self, updates: Sequence[Document], options: Options) -> Flow[list[Commit]]:
        """One merge per update, all or none."""
        bodies = [self.body(one, "updates") for one in updates]
        if not bodies:
            return []
        if self._checks_here:
            patches = [decode(body) for body in bodies]
            return (yield from self._checked("merge", bodies, options, lambda state: _merged(state, patches)))
        return (yield from self._commit("merge", bodies, options))

    def adjust(self, deltas: Mapping[str, Any] | JSONText, options: Options) -> Flow[Commit]:
        """One commit that adds numbers at their pointers."""
        if not isinstance(deltas, JSONText):
            for pointer, delta in dict(deltas).items():
                patch.split_pointer(pointer)
                if isinstance(delta, bool):
                    raise InvalidJSON(f"adjust at {pointer}: {delta!r} is not a number to add")
        body = self.body(deltas, "adjustments")
        if self._checks_here:
            added = decode(body)
            commits = yield from self._checked("adjust", [body], options, lambda state: [_adjusted(state, added)])
        else:
            commits = yield from self._commit("adjust", [body], options)
        return commits[0]

    def modify(self, change: Callable[[State], Any], options: Options, attempts: int) -> Flow[Commit]:
        """Reads, changes, commits if nobody was faster, else again."""
        commit_id = options.commit_id or protocol.new_commit_id()
        for attempt in range(1, attempts + 1):
            snapshot: Snapshot = yield protocol.snapshot(self.keys)
            before = decode(encode(snapshot.state))
            returned = change(before)
            after = before if returned is None else returned
            again = Options(snapshot.version, options.actor, commit_id)
            if options.expected_version is not None:
                again.expected_version = options.expected_version
            try:
                return (yield from self._commit_change(snapshot, after, again))
            except StateConflict:
                if options.expected_version is not None or attempt == attempts:
                    raise
        raise UsageError(f"attempts={attempts}: use at least 1")

    def _commit_change(self, snapshot: Snapshot, after: Document, options: Options) -> Flow[Commit]:
        # As a merge patch, so that what the function left alone keeps its bytes.
        body = self.body(after, "the changed state")
        difference = patch.merge_patch(snapshot.state, decode(body)) if snapshot.version else None
        if difference is None:
            return (yield from self.set(JSONText(body), options))
        if self._checks_here:
            self._refuse(decode(body))
        commits = yield from self._commit("merge", [encode(difference)], options)
        return commits[0]

    def _commit(self, op: str, bodies: list[bytes], options: Options) -> Flow[list[Commit]]:
        commit_id = options.commit_id or protocol.new_commit_id()

        def call() -> Call[list[Commit]]:
            return protocol.commit(
                self.keys,
                op,
                bodies,
                commit_id=commit_id,
                expected_version=options.expected_version,
                actor=options.actor or self.actor,
                model_hash=self._declared_model,
            )

        try:
            commits: list[Commit] = yield call()
        except ModelMismatch as error:
            # The twin was deleted since, or another model was published: go by what it has now, if that will do.
            published = error.details["published"]
            if published and published == self.config.model_hash:
                raise
            yield from self.open(publish=True)
            commits = yield call()
        return commits

    # --- checks that only Python can make --------------------------------------------------------------------

    @property
    def _checks_here(self) -> bool:
        return self.config.checks == "python" and self.model is not None

    @property
    def _declared_model(self) -> str:
        # Whoever has not the class cannot have made its checks, and must not say so.
        if self.config.checks == "python" and self.model is None:
            return ""
        return self.config.model_hash or self._own_model.hash

    def _checked(
        self, op: str, bodies: list[bytes], options: Options, results: Callable[[State], list[State]]
    ) -> Flow[list[Commit]]:
        """Checks the states that the commit will make, and commits if the version is still the one it read."""
        commit_id = options.commit_id or protocol.new_commit_id()
        for attempt in range(1, ATTEMPTS + 1):
            snapshot: Snapshot = yield protocol.snapshot(self.keys)
            if op == "adjust" and not snapshot.version:
                raise NoState(f"twin {self.keys.twin!r} has no state yet: commit one with set_state or update_state")
            for state in results(snapshot.state):
                self._refuse(state)
            expected = snapshot.version if options.expected_version is None else options.expected_version
            try:
                return (yield from self._commit(op, bodies, Options(expected, options.actor, commit_id)))
            except StateConflict:
                if options.expected_version is not None or attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")  # pragma: no cover

    def _refuse(self, state: State) -> None:
        violations = self.python_violations(state)
        if violations:
            raise StateValidationError(violations)

    def python_violations(self, state: State) -> list[Violation]:
        """What the model's own validators say of a state."""
        level = self.config.validation
        if self.model is None or level == "none":
            return []
        if self.config.auto_timestamp and state.get("timestamp") is None:
            state = {**state, "timestamp": format_timestamp(datetime.now(UTC))}
        try:
            self.model.model_validate_json(encode(state))
        except ValidationError as error:
            # What is missing or unknown is for the rules to say, by their level.
            ours = [one for one in error.errors() if one["type"] not in {"missing", "extra_forbidden"}]
            return [Violation(patch.join_pointer(one["loc"]), {"python": one["msg"]}, one["input"]) for one in ours]
        return []

    def validate(self, state: Any) -> Flow[tuple[bool, str]]:
        """Whether a state would be accepted, and why not."""
        config: TwinConfig = yield protocol.config(self.keys)
        if config.model_hash is None:
            level = self.settings.validation or config.validation
            config = replace(config, validation=level, checks=_checks(self._own_model))
            published = self._own_model.rules
        else:
            published = yield protocol.published_rules(self.keys)
        self.config = config
        if isinstance(state, BaseModel | JSONText):
            state = decode(self.body(state, "state"))
        if not isinstance(state, dict):
            return False, "State must be a dictionary"
        try:
            plain = decode(self.body(state, "state"))
        except (InvalidJSON, StateTooLarge) as error:
            return False, str(error)
        problem = _bad_timestamp(plain, config.validation)
        if problem:
            return False, problem
        if config.auto_timestamp:
            plain.setdefault("timestamp", format_timestamp(datetime.now(UTC)))
        violations = rules.check(plain, published, config.validation)
        if config.checks == "python":
            violations = violations or self.python_violations(plain)
        return (False, "; ".join(map(str, violations))) if violations else (True, "State is valid")


def _size(text: str) -> int:
    """Bytes of UTF-8; 0 for what has none (a lone surrogate)."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


def _checks(model: rules.CompiledModel) -> str:
    return "python" if model.python_checks else "server"


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _bad_timestamp(state: State, level: str) -> str | None:
    timestamp = state.get("timestamp")
    if timestamp is None or level == "none":
        return None
    if not isinstance(timestamp, str):
        return f"Invalid timestamp format: {timestamp!r} is not ISO 8601 text"
    try:
        parse_timestamp(timestamp)
    except ValueError as error:
        return str(error)
    return None


def _merged(state: State, patches: Sequence[State]) -> list[State]:
    states = []
    for one in patches:
        state = patch.merge(state, one)
        states.append(state)
    return states


def _adjusted(state: State, deltas: Mapping[str, Any]) -> State:
    """The state as the script will make it; a place that it will refuse is left for it to name."""
    result: State = decode(encode(state))
    for pointer, delta in deltas.items():
        *parents, last = patch.split_pointer(pointer)
        place = patch.resolve(result, patch.join_pointer(parents), default=None)
        if isinstance(place, dict) and isinstance(place.get(last), int | float):
            place[last] += delta
    return result
