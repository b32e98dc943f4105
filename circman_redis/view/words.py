"""Pure: values and events in words that fit a line."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from circman_redis.events import Event, ForeignWrite, HistoryGap, StateEvent, StateRolledBack
from circman_redis.patch import MISSING, Change
from circman_redis.timestamps import parse_timestamp

Piece: TypeAlias = tuple[str, str]
"""A text, and its style as rich names it."""

Colours: TypeAlias = Callable[[str], str]

PALETTE = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")

STAMP = "/timestamp"
"""Changes with every commit: said only where nothing else does."""

# Levels of a pointer, and characters of a value: the first pair with which all changes have room.
_LENGTHS = ((64, 80), (64, 40), (64, 24), (2, 24), (2, 12))
_MOST_CHANGES = 40  # that are looked at for one line
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def printable(text: str) -> str:
    """The text without what would move the cursor or turn the direction of writing; JSON remains JSON."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The text as `printable`, line ends and tabs escaped too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def cut(text: str, most: int) -> str:
    """The text, or as much of its beginning as has room before an ellipsis."""
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def cut_left(text: str, most: int) -> str:
    """The text, or as much of its end as has room after an ellipsis."""
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


def squeeze(path: str, most: int) -> str:
    """The path, or as much as has room of its beginning, and its last name."""
    above, slash, last = path.rpartition("/")
    room = most - len(last) - 2
    return path if len(path) <= most else f"{above[:room]}…/{last}" if slash and room > 0 else cut(last, most)


def brief(value: Any, most: int) -> str:
    """A JSON value on one line, its end left out where it is long."""
    text = ""
    for part in _encoder.iterencode(value):
        text += part[: most + 1]
        if len(text) > most:
            break
    return cut(one_line(text), most)


def colour_of(actor: str) -> str:
    """The same colour for the same actor, in every process."""
    return PALETTE[zlib.crc32(actor.encode()) % len(PALETTE)]


def name_of(actor: str | None) -> str:
    """The actor for the eye."""
    return one_line(actor) if actor else "(nobody)"


def local(committed_at: str) -> datetime:
    """The moment in the time zone of whoever reads."""
    return parse_timestamp(committed_at).astimezone()


def clock(moment: datetime) -> str:
    """The time of day, to the millisecond."""
    return moment.isoformat(sep=" ", timespec="milliseconds")[11:23]


# --- one event, one line -----------------------------------------------------------------------------------


def event_line(
    event: Event,
    moment: datetime,
    width: int,
    *,
    names: int = 14,
    versions: int = 7,
    to_the_second: bool = False,
    colours: Colours = colour_of,
) -> list[Piece]:
    """An event on one line.

    Args:
        event: any but a heartbeat.
        moment: when it came, for those that have no time of their own.
        width: columns; values are shortened to fit, and what still has no room is counted.
        names: columns for the actor.
        versions: columns for the version.
        to_the_second: the time without its milliseconds.
        colours: of the actors.
    """
    digits = 8 if to_the_second else 12
    if not isinstance(event, StateEvent):
        said = "red" if isinstance(event, StateRolledBack) else "yellow"
        return [
            (f"{'!':>{versions}}  ", f"bold {said}"),
            (f"{clock(moment)[:digits]}  ", "dim"),
            (one_line(incident(event)), said),
        ]
    actor = name_of(event.actor)
    head: list[Piece] = [
        (f"{event.version:>{versions}}  ", "bold"),
        (f"{clock(local(event.committed_at))[:digits]}  ", "dim"),
        (f"{cut(actor, names):<{names}}  ", colours(actor)),
    ]
    if event.op != "merge":
        head.append((f"{event.op}  ", "magenta"))
    return head + changes_line(event, max(20, width - sum(len(text) for text, _ in head)))


def changes_line(event: StateEvent, room: int) -> list[Piece]:
    """What a commit changed, in so many columns."""
    changes = [change for change in event.changes if change.pointer != STAMP] or list(event.changes)
    if not changes:
        return [("nothing changed", "dim")]
    known = event.previous is not None
    for levels, most in _LENGTHS:
        parts = [
            _change(change, place, most, known=known)
            for change, place in zip(changes, _places(changes[:_MOST_CHANGES], levels), strict=False)
        ]
        if len(parts) == len(changes) and _columns(parts) <= room:
            return _joined(parts)
    kept = len(parts)
    while kept > 1 and _columns(parts[:kept]) + len(_more(len(changes) - kept)) > room:
        kept -= 1
    return [*_joined(parts[:kept]), *([(_more(len(changes) - kept), "dim")] if len(changes) > kept else [])]


def _change(change: Change, place: str, most: int, *, known: bool) -> list[Piece]:
    if change.after is MISSING:
        was = [] if change.before is MISSING else [(f" {brief(change.before, most)}", "dim")]
        return [("- ", "bold red"), (place, "red"), *was]
    after = brief(change.after, most)
    if change.before is not MISSING:
        return [(f"{place} ", ""), (f"{brief(change.before, most)} → ", "dim"), (after, "bold")]
    if known:
        return [("+ ", "bold green"), (f"{place} ", "green"), (after, "bold")]
    return [(f"{place} ", ""), ("→ ", "dim"), (after, "bold")]


def _places(changes: Sequence[Change], levels: int) -> Iterator[str]:
    """The pointers, by their last levels; what they have in common with the one before is said once."""
    said = ""
    for change in changes:
        pointer = one_line(change.pointer)
        above, _, name = pointer.rpartition("/")
        tokens = pointer.split("/")[1:]
        if above and above == said:
            yield f"…/{name}"
        elif len(tokens) > levels:
            yield f"…/{'/'.join(tokens[-levels:])}"
        else:
            yield pointer or "(the whole state)"
        said = above


def _more(count: int) -> str:
    return f"  … +{count}"


def _joined(parts: Sequence[list[Piece]]) -> list[Piece]:
    line = list(parts[0])
    for part in parts[1:]:
        line += [("  ", ""), *part]
    return line


def _columns(parts: Iterable[list[Piece]]) -> int:
    return sum(2 + sum(len(text) for text, _ in part) for part in parts) - 2


# --- what is no commit -------------------------------------------------------------------------------------


def incident(event: Event) -> str:
    """What happened, and what to do about it where anything can be done."""
    match event:
        case HistoryGap(lost=lost) if event.version == 0 or not event.snapshot.version:
            return f"{_versions(lost)} can no longer be read: the twin was deleted"
        case HistoryGap(lost=lost):
            return (
                f"{_versions(lost)} left the history before they could be read; it goes on with version "
                f"{event.version}. A longer history (history_length) keeps more"
            )
        case StateRolledBack(epoch=""):
            return f"the twin was deleted, after version {event.previous_version}; what is committed next begins at 1"
        case StateRolledBack():
            return (
                f"the twin was set back from version {event.previous_version} to {event.version}, by a failover or an "
                "older copy: what was said of later versions no longer holds"
            )
        case ForeignWrite():
            return (
                f"{event.key} was changed by something else than a commit: {event.reason}. "
                "`circman-redis doctor` says what to do"
            )
        case _:
            return event.kind


def _versions(lost: range) -> str:
    return f"version {lost[0]}" if len(lost) == 1 else f"versions {lost[0]} to {lost[-1]}"
