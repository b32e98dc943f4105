"""Pure: what an update commits, made of what each source said and what came with it; and whose fault a refusal is."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from circman_redis.codec import JSONText, check_text, decode_exactly, encode
from circman_redis.errors import StateValidationError, Violation
from circman_redis.patch import merge, merge_patch, split_pointer
from circman_redis.results import State

_STAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Layer:
    """What somebody says about the state; a later layer goes over an earlier one.

    Attributes:
        source: the data source; None for the caller of an update.
        data: a merge patch (RFC 7396), whose numbers keep their digits (`codec.decode_exactly`).
    """

    source: str | None
    data: State


def read(value: Any, what: str) -> State:
    """What somebody brought, as a layer has it.

    Args:
        value: a JSON object: whatever `StateManager.update_state` takes.
        what: what it is, for the message of an error.

    Raises:
        InvalidJSON: it is none.
    """
    text = check_text(value, what=what) if isinstance(value, JSONText) else encode(value, what=what)
    found: State = decode_exactly(text)
    return found


def merged(state: State, layers: Iterable[Layer]) -> State:
    """What the layers make of a state, one after the other."""
    for layer in layers:
        state = merge(state, layer.data)
    return state


def changes(state: State, layers: Sequence[Layer]) -> State:
    """The merge patch that does to a state what all the layers do, and names nothing else.

    So a commit of it leaves alone what others changed meanwhile, and what was so before.

    Args:
        state: the state as it was read, its numbers with their digits.
        layers: in their order.

    Returns:
        Empty where nothing differs. A timestamp that a layer gives is in it wherever anything is: without it the commit
        would be stamped anew.
    """
    after = merged(state, layers)
    found = merge_patch(state, after)
    if found is None:
        raise AssertionError("a merge puts no null in")
    if found and _STAMP in after and any(_STAMP in layer.data for layer in layers):
        found[_STAMP] = after[_STAMP]
    return found


def in_turn(state: State, rounds: Iterable[tuple[Sequence[Layer], str | None]]) -> list[State]:
    """The merge patches of several rounds, each for what the ones before it made of the state.

    Args:
        state: the state as it was read.
        rounds: the layers of each, and the timestamp for its state where the layers give none; None for none.

    Returns:
        One for each round that changes something.
    """
    patches = []
    for layers, stamp in rounds:
        patch = changes(state, layers)
        if patch:
            patches.append(patch if stamp is None else {_STAMP: stamp} | patch)
            state = merge(state, patches[-1])
    return patches


# --- who is to blame -----------------------------------------------------------------------------------------------

Trial: TypeAlias = list[Layer]
Refused: TypeAlias = dict[str, str]


def trials(state: State, layers: Sequence[Layer]) -> Generator[Trial, StateValidationError | None, Refused]:
    """Finds the layers that the rules take, by leaving out the sources that are to blame.

    Args:
        state: the state as it was read.
        layers: all of them.

    Yields:
        The layers to commit; wants to be sent the error, or None where they were committed.

    Returns:
        The sources that were left out, each with the reason.

    Raises:
        StateValidationError: what the caller brought is to blame.
    """
    left, refused = list(layers), Refused()
    while error := (yield left):
        found = [(one, suspects(one.pointer, _effective(state, left))) for one in error.violations]
        certain, possible = _certain(found), _possible(found)
        if any([layer.source for layer in suspected] == [None] for _, suspected in found) or not certain | possible:
            raise error
        if not certain:
            for name in possible:
                if (yield _without(left, {name})) is None:
                    return refused | {name: possible[name]}
            certain = possible
        left, refused = _without(left, certain), refused | certain
    return refused


def suspects(pointer: str, layers: Sequence[Layer]) -> list[Layer]:
    """The layers whose data a violation may come from.

    Args:
        pointer: JSON Pointer of the place that breaks a rule.
        layers: those that change something, in their order.

    Returns:
        Those that made what stands there: the last one that gave it, and those that changed something in it since.
        Where no layer did (something is missing there, say), those that came closest.
    """
    tokens = split_pointer(pointer)
    reached = [(layer, *_reach(layer.data, tokens)) for layer in layers]
    touching = [(layer, gave) for layer, depth, gave in reached if gave or depth == len(tokens)]
    if touching:
        last = max((number for number, (_, gave) in enumerate(touching) if gave), default=0)
        return [layer for layer, _ in touching[last:]]
    closest = max((depth for _, depth, _ in reached), default=0)
    return [layer for layer, depth, _ in reached if depth == closest]


def _reach(data: Any, tokens: Sequence[str]) -> tuple[int, bool]:
    """How far a merge patch goes on the way to a place, and whether it says what shall stand there."""
    for depth, token in enumerate(tokens):
        if not isinstance(data, dict):
            return depth, True
        if token not in data:
            return depth, False
        data = data[token]
    return len(tokens), not isinstance(data, dict)


def _effective(state: State, layers: Iterable[Layer]) -> list[Layer]:
    """Those that change something."""
    found = []
    for layer in layers:
        if changes(state, [layer]):
            found.append(layer)
        state = merge(state, layer.data)
    return found


def _certain(found: Iterable[tuple[Violation, Sequence[Layer]]]) -> Refused:
    """The sources that alone may have brought a violation about, with all that each did."""
    said: dict[str, list[str]] = {}
    for violation, suspected in found:
        if len(suspected) == 1 and suspected[0].source is not None:
            said.setdefault(suspected[0].source, []).append(str(violation))
    return {name: "; ".join(violations) for name, violations in said.items()}


def _possible(found: Iterable[tuple[Violation, Sequence[Layer]]]) -> Refused:
    """The sources among several that may have, the last one first."""
    said: Refused = {}
    for violation, suspected in found:
        for layer in reversed(suspected):
            if layer.source is not None:
                said.setdefault(layer.source, str(violation))
    return said


def _without(layers: Iterable[Layer], names: Iterable[str]) -> Trial:
    gone = set(names)
    return [layer for layer in layers if layer.source not in gone]
