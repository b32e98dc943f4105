"""The script accepts exactly the text that codec.check_text accepts; its reader against Python's."""

from __future__ import annotations

import re

import pytest

from circman_redis.canonical import canonical
from circman_redis.codec import check_text
from circman_redis.errors import InvalidJSON
from tests.lua.support import RawTwin
from tests.property.texts import Decisions, decisions, on_servers

# What to put into a text at some place: structure, parts of tokens, escapes, bytes that are no UTF-8.
SHARDS = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\n", b"\t", b"0", b"1", b"-", b"+", b".", b"e", b"E"),
    *(b"null", b"true", b"NaN", b"Infinity", b"1e999", b"18446744073709551616", b'"a":1,', b'"a":1', b'""', b"\\u"),
    *(b"\\u0022", b"\\ud83d", b"\\ude00", b"\\n", b"\\/", b"\\x", b"\x00", b"\x1f", b"\x7f", b"\x80", b"\xc3\xa9"),
    *(b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf0\x9f\x98\x80", b"\xff", b"/**/", b"'", b"[[[[[[[[", b"]]]]]]]]", b"{}"),
]


def mutated(draw: Decisions) -> bytes:
    """JSON text with something put in, taken out, doubled or changed, once or a few times."""
    text = draw.write(draw.object()).encode()
    for _ in range(draw.below(3)):
        at = (draw.below(256) * 256 + draw.below(256)) % (len(text) + 1)
        size = 1 + draw.below(3)
        kind = draw.below(4)
        put = {0: draw.pick(SHARDS), 1: b"", 2: text[at : at + size] * 2, 3: bytes([draw.below(256)])}[kind]
        text = text[:at] + put + text[at + (0 if kind == 0 else size) :]
    return text


@on_servers(1500, draw=decisions)
def test_the_script_accepts_what_check_text_accepts(raw: RawTwin, draw: Decisions) -> None:
    """And stores its canonical form; what it refuses, it refuses as bad JSON."""
    text = mutated(draw)
    try:
        check_text(text)
        wanted = canonical(text).encode()
    except InvalidJSON:
        wanted = None
    twin = RawTwin(raw.client)
    refusal = twin.error_of(lambda: twin.set(text))
    assert refusal.startswith("CIRCMAN_BAD_JSON {") == (wanted is None), refusal
    assert twin.state_bytes == wanted


PATHS = re.compile("integer beyond|not finite|NaN and|duplicate|deeper")


@on_servers(500, draw=decisions)
def test_a_value_that_is_refused_has_the_same_pointer_as_in_python(raw: RawTwin, draw: Decisions) -> None:
    """One bad value somewhere in a document: both name the same place and, where both have a name for it, reason."""
    bad = draw.pick(
        ["18446744073709551616", "-9223372036854775809", "1e999", "-1E+400", "NaN", "Infinity", "-Infinity"]
    )
    document = draw.object()
    holder = document
    for _ in range(draw.below(4)):
        holder = holder.setdefault(draw.name(), {})
        if not isinstance(holder, dict):
            return
    holder[draw.name()] = [draw.value(), {"bad": "@bad@"}] if draw.below(2) else "@bad@"
    text = draw.write(document)
    placeholder = next(
        one for one in ('"@bad@"', '"' + "".join(f"\\u{ord(c):04x}" for c in "@bad@") + '"') if one in text
    )
    text = text.replace(placeholder, bad)
    twin = RawTwin(raw.client)
    with pytest.raises(InvalidJSON) as expected:
        check_text(text)
    with twin.refused("BAD_JSON") as refusal:
        twin.set(text)
    assert PATHS.search(refusal.details["reason"])
    assert refusal.details == expected.value.details
