"""Junk made out of drawn bytes: near what is right, far from it, and far too much of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.texts import ODD_NUMBERS, Decisions

Test = TypeVar("Test", bound=Callable[..., None])

TIMES = int(os.environ.get("CIRCMAN_FUZZ_EXAMPLES", "0"))
"""How many times as many examples as usual, at random; 0 for the usual ones."""

SHARDS = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b" ",
        b"\n",
        b"\0",
        b"\x80",
        b"\xff",
        b"\xed\xa0\x80",
        b"\\ud800",
    ),
    *(
        b"-",
        b"0",
        b"9",
        b"1e999",
        b"18446744073709551616",
        b"null",
        b"true",
        b"NaN",
        b"[[[[",
        b'{"":',
        b'"a":1,',
        b"%s",
    ),
    *(b"\xef\xbb\xbf", b"\\u0000", b'","id":"x"', b',"patch":', b',"state":{}', b'"timestamp":', b"*3\r\n", b"2026-"),
]
ODD = [
    *(
        b"",
        b"0",
        b"-0",
        b"-1",
        b"1",
        b"00",
        b"0x10",
        b"1.5",
        b"1e3",
        b"inf",
        b"nan",
        b" 1",
        b"1 ",
        b"+1",
        b"\0",
        b"{}",
        b"[]",
    ),
    *(
        b"null",
        b'""',
        b"9" * 15,
        b"9" * 16,
        b"9" * 400,
        b"-" + b"9" * 400,
        b"9223372036854775808",
        b"4" * 100_000,
        b"x" * 129,
    ),
    *(
        b'{"a":1,"a":2}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"":{"":{"":null}}}',
        b'{"/":1}',
        b'{"/a":1}',
        b'{"/a~2":1}',
    ),
    *(b'{"/n":1e308}', b'{"/n":9007199254740993}', b'{"timestamp":null}', b'{"timestamp":"0001-01-01T00:00:00Z"}'),
    *(
        b'{"timestamp":"9999-12-31T23:59:59.999999Z"}',
        b'{"timestamp":1e400}',
        b'{"timestamp":{"a":1}}',
        b'{"t":[{},{}]}',
    ),
]
LARGE: dict[str, Callable[[], bytes]] = {
    "a long string": lambda: b'{"a":"' + b"x" * 1_000_000 + b'"}',
    "escapes": lambda: b'{"a":"' + b"\\u0041" * 160_000 + b'"}',
    "quotes": lambda: b'{"a":"' + b'\\"' * 500_000 + b'"}',
    "deep arrays": lambda: b'{"a":' + b"[" * 500_000,
    "deep objects": lambda: b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "digits": lambda: b'{"a":' + b"9" * 1_000_000 + b"}",
    "a fraction": lambda: b'{"a":0.' + b"1" * 1_000_000 + b"}",
    "digits and a letter": lambda: b'{"a":' + b"1" * 1_000_000 + b"x}",
    "dots": lambda: b'{"a":' + b"1." * 500_000 + b"}",
    "white space": lambda: b'{"a":1' + b" " * 1_000_000 + b"}",
    "white space, no end": lambda: b'{"a":1' + b" \n" * 500_000,
    "quotes alone": lambda: b'"' * 1_000_000,
    "backslashes": lambda: b'{"a":"' + b"\\" * 999_999,
    "high bytes": lambda: b'{"a":"' + b"\xc3\xa9" * 500_000 + b'"}',
    "bad utf-8 at the end": lambda: b'{"a":"' + b"\xc3\xa9" * 500_000 + b"\xc3",
    "colons": lambda: b'{"a"' + b":" * 1_000_000,
    "commas": lambda: b"{" + b"," * 1_000_000,
    "random": lambda: bytes(i * i * 31 % 251 for i in range(1_000_000)),
}


def fuzz(examples: int, **strategies: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
    """A property that is tried on so many examples: the same ones always, or many at random where that is asked for."""
    quiet = settings(
        max_examples=examples * (TIMES or 1),
        derandomize=not TIMES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: quiet(given(**strategies)(test))


drawn = st.binary(min_size=24, max_size=200).map(Decisions)


def mutated(draw: Decisions, text: bytes) -> bytes:
    """The text with something put in, taken out, doubled or changed, once or a few times."""
    for _ in range(1 + draw.below(4)):
        at = (draw.below(256) * 256 + draw.below(256)) % (len(text) + 1)
        size = 1 + draw.below(12)
        kind = draw.below(6)
        if kind == 5:  # a number by another one
            put, size = draw.pick(ODD_NUMBERS).encode(), 1
        else:
            put = (draw.pick(SHARDS), draw.pick(SHARDS), b"", text[at : at + size] * 2, bytes([draw.below(256)]))[kind]
        text = text[:at] + put + text[at + (0 if kind == 0 else size) :]
    return text


def junk(draw: Decisions, right: Sequence[bytes] = ()) -> bytes:
    """Some bytes: out of nowhere, or one of the right ones, damaged."""
    kind = draw.below(8)
    if kind == 0:
        return bytes(draw.below(256) for _ in range(draw.below(24)))
    if kind == 1:
        return draw.pick(ODD)
    if kind == 2:
        return mutated(draw, draw.write(draw.object()).encode())
    if kind == 3:
        return draw.write(draw.object()).encode()
    text = draw.pick(right) if right else b"{}"
    if kind == 4:
        return text[: (draw.below(256) * 256 + draw.below(256)) % (len(text) + 1)]
    return mutated(draw, text)
