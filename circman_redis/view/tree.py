"""Pure: a state as lines of a tree that fits its room: what moved of late comes into view, quiet parts stay closed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from circman_redis.patch import join_pointer
from circman_redis.view.marks import Mark, Marks
from circman_redis.view.words import one_line

STAYS = 10.0
"""Seconds of quiet after which a line gives way to one that moved later."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value, and how many lines it takes.

    Attributes:
        value: of the state.
        lines: with all that is in it, its own line included.
        parts: by the token of a JSON Pointer; None for what stands on one line.
    """

    value: Any
    lines: int = 1
    parts: Mapping[str, Node] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        depth: 0 for the members of the state.
        name: the member's, or an index.
        pointer: JSON Pointer of the place.
        value: what stands there.
        opened: whether its members follow.
        hidden: how many of its members do not.
        mark: its last change, or what is in it; None where there was none.
    """

    depth: int
    name: str
    pointer: str
    value: Any
    opened: bool = False
    hidden: int = 0
    mark: Mark | None = None


def grow(value: Any, before: Node | None = None) -> Node:
    """The tree of a value. What did not change is taken over from the tree before."""
    if before is not None and before.value is value:
        return before
    members = _members(value)
    if members is None:
        return Node(value)
    old = (before.parts if before is not None else None) or {}
    parts = {token: grow(part, old.get(token)) for token, part in members}
    return Node(value, 1 + sum(part.lines for part in parts.values()), parts)


def _members(value: Any) -> Iterator[tuple[str, Any]] | None:
    """What gets lines of its own; None for scalars, for what is empty, and for arrays of scalars."""
    if isinstance(value, Mapping) and value:
        return ((join_pointer([name])[1:], part) for name, part in value.items())
    if isinstance(value, list | tuple) and any(isinstance(part, Mapping | list | tuple) for part in value):
        return ((str(index), part) for index, part in enumerate(value))
    return None


def rows(root: Node, marks: Marks, room: int, shown: frozenset[str] = frozenset()) -> list[Row]:
    """The lines, in the order of the document.

    Args:
        root: the state's tree.
        marks: what changed of late.
        room: lines there are.
        shown: the pointers of the lines that were shown last: they stay, unless others moved later by `STAYS`.
    """
    if root.parts is None:
        return list(_removed(marks, "", 0))[:room]
    gone = min(len(marks.gone), max(1, room // 4))
    chosen = None if root.lines - 1 + gone <= room else _choose(root, marks, room - gone, shown)
    return list(_walk(root, "", 0, chosen=chosen, marks=marks))[:room]


def hidden(root: Node, shown: list[Row]) -> int:
    """How many lines of the tree are not shown."""
    return root.lines - 1 - sum(row.mark is None or row.mark.sign != "-" for row in shown)


def _choose(root: Node, marks: Marks, room: int, shown: frozenset[str]) -> set[str]:
    """The places that get a line: the top level where it is small, what moved last, then the upper levels."""
    moved = sorted(marks.moved, key=lambda pointer: -(marks.moved[pointer] + STAYS * (pointer in shown)))
    parts = root.parts or {}
    shape = [f"/{token}" for token in parts] if len(parts) <= room // 2 else []
    chosen: set[str] = set()
    for wanted in chain(shape, moved, _by_level(root)):
        needed = [pointer for pointer in _way(root, wanted) if pointer not in chosen]
        if len(chosen) + len(needed) <= room:
            chosen.update(needed)
        if len(chosen) == room:
            break
    return chosen


def _way(root: Node, wanted: str) -> list[str]:
    """The places from the top to a wanted one, as far as they have lines of their own."""
    way, pointer, node = [], "", root
    for token in wanted.split("/")[1:]:
        part = (node.parts or {}).get(token)
        if part is None:
            break
        node, pointer = part, f"{pointer}/{token}"
        way.append(pointer)
    return way


def _by_level(root: Node) -> Iterator[str]:
    waiting = deque([("", root)])
    while waiting:
        pointer, node = waiting.popleft()
        for token, part in (node.parts or {}).items():
            yield f"{pointer}/{token}"
            waiting.append((f"{pointer}/{token}", part))


def _walk(
    node: Node, pointer: str, depth: int, *, chosen: set[str] | None, marks: Marks, above: Mark | None = None
) -> Iterator[Row]:
    for token, part in (node.parts or {}).items():
        place = f"{pointer}/{token}"
        if chosen is not None and place not in chosen:
            continue
        mark = marks.at.get(place) or above
        inside = list(_walk(part, place, depth + 1, chosen=chosen, marks=marks, above=mark))
        name = one_line(token.replace("~1", "/").replace("~0", "~"))
        closed = len(part.parts or ()) - sum(row.depth == depth + 1 and not _is_gone(row) for row in inside)
        if not inside and mark is None and place in marks.beneath:
            mark = Mark("•", marks.beneath[place])  # closed: marked for what changed in it
        yield Row(depth, name, place, part.value, bool(inside), closed, mark)
        yield from inside
    yield from _removed(marks, pointer, depth)


def _is_gone(row: Row) -> bool:
    return row.mark is not None and row.mark.sign == "-"


def _removed(marks: Marks, pointer: str, depth: int) -> Iterator[Row]:
    for place, value in marks.gone.items():
        if place and place.rpartition("/")[0] == pointer:
            name = one_line(place.rpartition("/")[2].replace("~1", "/").replace("~0", "~"))
            yield Row(depth, name, place, value, mark=marks.at[place])
