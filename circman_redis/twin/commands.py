"""Pure: what an operator tells a twin to do, and the answer; a flow for managers of either kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from circman_redis import protocol
from circman_redis.codec import decode, encode
from circman_redis.errors import (
    CircmanError,
    CorruptTwin,
    InvalidJSON,
    PointerError,
    RetryExpired,
    StateError,
    StateValidationError,
    StoreError,
    Unconfirmed,
    UsageError,
    Violation,
)
from circman_redis.patch import MISSING, join_pointer, resolve, same, split_pointer
from circman_redis.results import Commit, HistoryEntry, State
from circman_redis.settings import LONGEST_NAME
from circman_redis.shown import shown

T = TypeVar("T")
Ask = Callable[[Any], Any]
"""What is asked of a manager; that of an asynchronous one is to be awaited."""
Flow = Generator[Ask, Any, T]

_NEVER = 10**15
"""A version that no twin has."""
_SECRETS = re.compile(r"(?<=://).*(?=@)|(?<=password=)[^\s&'\"]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a command.

    Attributes:
        done: True: it was done, and is `version`. False: it was not, and nothing was changed. None: nobody knows.
        pointer: JSON Pointer of the place.
        value: what was to stand there, as JSON; as text where it is no JSON.
        operator: who said so; the commit's actor.
        before: what stood there in the version before, if it was done; `MISSING` where nothing did, and where a command
            that was said again was done so long ago that this has left the history.
        version: of the commit.
        position: of the commit; names it for ever.
        error: in a sentence, why it was not done or is not known; or what else went wrong.
        violations: each rule that it would have broken.
        commit_id: where ``done`` is None, to say the same again with: then it is done once, whatever became of the
            first time. None where that would not help.
    """

    done: bool | None
    pointer: str
    value: Any
    operator: str
    before: Any = MISSING
    version: int | None = None
    position: str | None = None
    error: str | None = None
    violations: tuple[Violation, ...] = ()
    commit_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer as a JSON object; ``before`` is left out where nothing stood there."""
        names = ("done", "pointer", "value", "operator", "version", "position", "error", "commit_id")
        before = {} if self.before is MISSING else {"before": self.before}
        violations = [{"pointer": one.pointer, "rule": dict(one.rule), "value": one.value} for one in self.violations]
        return {name: getattr(self, name) for name in names} | before | {"violations": violations}

    def __str__(self) -> str:
        what = f"{self.pointer} = {shown(self.value)} by {self.operator}"
        if self.done:
            before = "nothing" if self.before is MISSING else shown(self.before)
            done = f"done: {what}, version {self.version}, {before} before"
            return f"{done}; {self.error}" if self.error else done
        return f"{'not known' if self.done is None else 'not done'}: {what}: {self.error}"


def set_target(pointer: Any, value: Any, operator: Any, commit_id: Any) -> Flow[CommandResult]:
    """Sets the value at a pointer with one commit, and says what was done.

    Raises:
        UsageError: the operator or the commit id is none.
    """
    _check_text("operator", operator)
    if commit_id is not None:
        _check_text("commit_id", commit_id)
    try:
        path, plain = _path(pointer), _plain(value)
    except (UsageError, InvalidJSON) as error:
        text = pointer if isinstance(pointer, str) else shown(pointer)
        return _failed(CommandResult(False, text, _as_json(value), operator), error)
    asked = CommandResult(None, pointer, plain, operator)
    return (yield from _carried_out(asked, path, commit_id))


def _carried_out(asked: CommandResult, path: tuple[str, ...], commit_id: str | None) -> Flow[CommandResult]:
    before: Any = MISSING

    def change(state: State) -> None:
        nonlocal before
        before = put(state, path, decode(encode(asked.value, root="any")))

    unconfirmed = None
    try:
        commit: Commit = yield lambda manager: manager.modify(change, actor=asked.operator, commit_id=commit_id)
    except Unconfirmed as error:
        commit, unconfirmed = error.commit, sentence(error)
    except CircmanError as error:
        return (yield from _not_made(asked, error, commit_id))
    if commit.duplicate and commit_id:
        done = yield from _made_before(asked, commit, commit_id)
        return replace(done, error=done.error or unconfirmed)
    return _done(asked, commit, before, unconfirmed)


def _not_made(asked: CommandResult, error: CircmanError, commit_id: str | None) -> Flow[CommandResult]:
    """The answer where no commit came of it; a command that is said again may have been done the first time."""
    if isinstance(error, RetryExpired | StoreError):
        return _unknown(asked, error, getattr(error, "commit_id", None) or commit_id)
    if commit_id is None:
        return _failed(replace(asked, done=False), error)
    try:
        (commit,) = yield lambda manager: manager.run(_recognised(manager, commit_id))
    except (RetryExpired, CorruptTwin, StoreError, UsageError) as unknown:
        return _unknown(asked, unknown, commit_id)
    except StateError:  # the script knows no commit with that id
        return _failed(replace(asked, done=False), error)
    return (yield from _made_before(asked, commit, commit_id))


def _unknown(asked: CommandResult, error: CircmanError, commit_id: str | None) -> CommandResult:
    """The answer where a commit may have been made: the one that this call sent, or one sent before with its id."""
    if isinstance(error, RetryExpired):
        return _failed(asked, error)
    return _failed(replace(asked, done=None if commit_id else False, commit_id=commit_id), error)


def _recognised(manager: Any, commit_id: str) -> protocol.Call[list[Commit]]:
    """Asks for the commit that has the id: one on a version that there never is, so that none is made.

    As a retry (an age above 0): an attempt that is still under way is not made any more once this was refused.
    """
    return protocol.commit(manager.keys, "merge", [b"{}"], commit_id=commit_id, expected_version=_NEVER, age_ms=1)


def _made_before(asked: CommandResult, commit: Commit, commit_id: str) -> Flow[CommandResult]:
    """The answer where the id's commit was there already: what stood there before it is in the history."""
    try:
        entries: list[HistoryEntry] = yield lambda manager: manager.get_commits(2, before=commit.version + 1)
    except CircmanError:
        return _done(asked, commit)
    if not entries or (entries[0].version, entries[0].id) != (commit.version, commit_id):
        return _done(asked, commit)
    if not same(resolve(entries[0].state, asked.pointer, MISSING), asked.value):
        taken = f"commit_id={commit_id!r} is that of another commit, version {commit.version}"
        return replace(asked, done=False, error=f"{taken}: nothing was changed; leave it out, or make a new one")
    return _done(asked, commit, resolve(entries[1].state, asked.pointer, MISSING) if entries[1:] else MISSING)


def _done(asked: CommandResult, commit: Commit, before: Any = MISSING, error: str | None = None) -> CommandResult:
    return replace(asked, done=True, before=before, version=commit.version, position=commit.position, error=error)


def _failed(answer: CommandResult, error: CircmanError) -> CommandResult:
    violations = error.violations if isinstance(error, StateValidationError) else ()
    return replace(answer, error=sentence(error), violations=violations)


# --- places and values -------------------------------------------------------------------------------------------


def put(state: State, path: tuple[str, ...], value: Any) -> Any:
    """Puts a value in a place, with the objects on the way to it that are not there yet.

    Args:
        state: is changed.
        path: the tokens of a JSON Pointer. Through an array they lead by the index of an item that is there.
        value: a JSON value.

    Returns:
        What stood there, or `MISSING`.

    Raises:
        PointerError: there is something on the way that has no such member, nor can have it.
    """
    place: Any = state
    for level, token in enumerate(path[:-1]):
        place = place.setdefault(token, {}) if isinstance(place, dict) else place[_index(place, path, level)]
    if isinstance(place, dict):
        before = place.get(path[-1], MISSING)
        place[path[-1]] = value
        return before
    index = _index(place, path, len(path) - 1)
    before, place[index] = place[index], value
    return before


def _index(place: Any, path: tuple[str, ...], level: int) -> int:
    if resolve(place, join_pointer(path[level : level + 1]), MISSING) is not MISSING:
        return int(path[level])
    where = join_pointer(path[:level])
    found = f"an array of {len(place)}, without an item" if isinstance(place, list) else f"{shown(place)}, without"
    raise PointerError(f"nothing can be set at {join_pointer(path)}: {where} is {found} {path[level]!r}")


def _path(pointer: Any) -> tuple[str, ...]:
    if not isinstance(pointer, str):
        raise UsageError(f"pointer={shown(pointer)}: a JSON Pointer is text, such as /production_line/temperature")
    path = split_pointer(pointer)
    if not path:
        raise UsageError("pointer='': the whole state is no target; name a place, such as /production_line/temperature")
    return path


def _plain(value: Any) -> Any:
    """The value as the state would hold it.

    Raises:
        InvalidJSON: it is no JSON, or a null, which a merge patch (RFC 7396) reads as 'remove it'.
    """
    plain = decode(encode(value, what="value", root="any"))
    place = _null(plain)
    if place is not None:
        raise InvalidJSON(f"value{place and f' at {place}'}: null cannot be set: a merge patch reads it as 'remove it'")
    return plain


def _null(value: Any, path: tuple[str, ...] = ()) -> str | None:
    """Where there is a null; what an array holds replaces what was there, nulls and all."""
    if value is None:
        return join_pointer(path)
    members = value.items() if isinstance(value, Mapping) else ()
    found = (_null(child, (*path, name)) for name, child in members)
    return next((place for place in found if place is not None), None)


def _as_json(value: Any) -> Any:
    try:
        return decode(encode(value, what="value", root="any"))
    except InvalidJSON:
        return shown(value)


def _check_text(name: str, text: Any) -> None:
    fits = isinstance(text, str) and text.strip() and len(text.encode(errors="replace")) <= LONGEST_NAME
    if not fits or not text.isprintable():
        raise UsageError(f"{name}={shown(text)}: use 1 to {LONGEST_NAME} bytes of printable text")


# --- what is said ------------------------------------------------------------------------------------------------


def sentence(error: BaseException) -> str:
    """What an error says; of one that is not of this package, also its type. Passwords in URLs are left out."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - somebody else's __str__ may raise anything
        said = ""
    if not isinstance(error, CircmanError) or not said:
        said = f"unexpected {type(error).__name__}: {said}".removesuffix(": ")
    return without_secrets(said)


def without_secrets(text: str) -> str:
    """The text without what stands before the @ of a URL, or behind ``password=``."""
    return _SECRETS.sub("***", text)
