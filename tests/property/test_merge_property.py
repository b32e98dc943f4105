"""The scripts' set and merge against the plain Python reference in canonical.py, byte by byte."""

from __future__ import annotations

import json

from circman_redis.canonical import canonical, merge_text
from tests.lua.support import RawTwin
from tests.property.texts import PLAIN, Decisions, decisions, on_servers


@on_servers(400, draw=decisions)
def test_set_stores_the_canonical_form(raw: RawTwin, draw: Decisions) -> None:
    """Whatever white space and escapes it was written with, and every digit as it was."""
    twin = RawTwin(raw.client)
    text = draw.write(draw.object())
    twin.set(text)
    assert twin.state == canonical(text)


@on_servers(700, draw=decisions)
def test_merge_is_the_references(raw: RawTwin, draw: Decisions) -> None:
    """Each result is byte-identical with canonical.merge_text; what the patch does not name keeps its bytes.

    Also where members are no longer looked for one by one, but through an index.
    """
    twin = RawTwin(raw.client, constants={"MOST_LOOKS": draw.pick([32, 2, 0])})
    document = draw.object()
    twin.set(PLAIN.write(document))
    expected = canonical(PLAIN.write(document))
    patches = [draw.write(draw.patch_of(document)) for _ in range(2)]
    for patch in patches:
        twin.merge(patch)
        expected = merge_text(expected, patch)
        assert twin.state == expected
    assert twin.history[0]["patch"] == json.loads(patches[0])
    assert json.loads(twin.meta_of("head"))["patch"] == json.loads(patches[1])


@on_servers(100, draw=decisions)
def test_a_batch_is_the_merges_one_after_another(raw: RawTwin, draw: Decisions) -> None:
    """The same states and history as by single calls, from nothing on."""
    batch, singly = RawTwin(raw.client), RawTwin(raw.client)
    patches = [draw.write(draw.object()) for _ in range(2 + draw.below(5))]
    batch.commit(*patches)
    expected = "{}"
    for patch in patches:
        singly.merge(patch)
        expected = merge_text(expected, patch)
    assert batch.state == singly.state == expected
    facts = ("version", "op", "patch", "state")
    assert [[entry[fact] for fact in facts] for entry in batch.history] == [
        [entry[fact] for fact in facts] for entry in singly.history
    ]


@on_servers(150, draw=decisions)
def test_an_untouched_member_keeps_its_bytes(raw: RawTwin, draw: Decisions) -> None:
    """A member that no patch names stands in the result as it stood, wherever it is."""
    untouched = {"untouched\n" + draw.text(3): [draw.value(), {"k": draw.value()}]}
    patch = draw.object()
    twin = RawTwin(raw.client)
    twin.set(PLAIN.write({**draw.object(), "o": {"x": 1, **untouched}, **untouched}))
    twin.merge(PLAIN.write({**patch, "o": {**patch, "x": None}}))
    member = canonical(PLAIN.write(untouched))[1:-1]
    assert twin.state.count(member) == 2
