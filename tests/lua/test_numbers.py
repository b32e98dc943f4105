"""docs/wire.md, Values: what numbers are accepted, and that their digits stay."""

from __future__ import annotations

import pytest

from circman_redis.codec import check_text
from circman_redis.errors import InvalidJSON
from tests.lua.support import RawTwin, number

KEPT = [
    "0",
    "-0",
    "7",
    "-7",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "12345678901234567890",
    "18446744073709551615",
    "100000000000000000",
    "999999999999999999",
    "-999999999999999999",
    "0.0",
    "-0.0",
    "22.0",
    "1.50",
    "0.1",
    "1740407422.123456",
    "0.10000000000000000555111512312578270211815834045410156250",
    "1E5",
    "1e5",
    "1e+05",
    "1E-5",
    "1.5e300",
    "-1.5E+300",
    "1.7976931348623157e308",
    "0e0",
    "0E999",
    "5e-324",
    "1e-999",
    "0.00000000000000000000000000000000000000001",
    "123456789012345678901234567890.5",
    "1e22",
    "18446744073709551616e0",
]


@pytest.mark.parametrize("text", KEPT)
def test_a_number_keeps_its_digits(raw: RawTwin, text: str) -> None:
    """Integers of 64 bits and finite doubles are stored as they were written, by set and by merge."""
    raw.set(number(text))
    assert raw.state == number(text)
    raw.merge(f'{{"y":{text},"z":[{text}]}}')
    assert raw.state == f'{{"x":{text},"y":{text},"z":[{text}]}}'


TOO_BIG = [
    "18446744073709551616",
    "-9223372036854775809",
    "20000000000000000000",
    "-10000000000000000000",
    "99999999999999999999",
    "100000000000000000000",
    "1" + "0" * 400,
    "-" + "9" * 5000,
]


@pytest.mark.parametrize("text", TOO_BIG, ids=lambda text: text[:24])
@pytest.mark.parametrize("op", ["set", "merge"])
def test_integers_beyond_64_bits_are_refused_with_their_path(raw: RawTwin, text: str, op: str) -> None:
    """One past either end of 64 bits, and far beyond."""
    with raw.refused("BAD_JSON") as refusal:
        raw.commit(f'{{"a":{{"b/c":[0,{text}]}}}}', op=op)
    assert refusal.details == {"pointer": "/a/b~1c/1", "reason": "an integer beyond 64 bits"}


NOT_FINITE = {
    "NaN": "NaN and Infinity are not JSON",
    "Infinity": "NaN and Infinity are not JSON",
    "-Infinity": "NaN and Infinity are not JSON",
    "nan": "NaN and Infinity are not JSON",
    "inf": "NaN and Infinity are not JSON",
    "1e999": "a number that is not finite",
    "-1e999": "a number that is not finite",
    "1.8e308": "a number that is not finite",
    "1" + "0" * 309 + ".0": "a number that is not finite",
}


@pytest.mark.parametrize("text", NOT_FINITE, ids=lambda text: text[:24])
@pytest.mark.parametrize("space", ["", " "])
def test_what_is_not_finite_is_refused_with_its_path(raw: RawTwin, text: str, space: str) -> None:
    """NaN, Infinity, and numbers that no double reaches; also where the text has white space."""
    with raw.refused("BAD_JSON") as refusal:
        raw.set(f'{{"a":[{{}},{{"t":{space}{text}}}]}}')
    assert refusal.details == {"pointer": "/a/1/t", "reason": NOT_FINITE[text]}


NO_NUMBERS = """
    00 01 -01 1. .5 -.5 - + +1 1e 1e+ 1.e5 1.5e 1.5e+ 0x10 0x1p3 1.2.3 1-2 --1 1e5.5 1e1e1 0b1 1f 1d 1L 0.
    -0. 00.5 -00 01.5 1e-+5 1.5.e3 e5 .e5 0e 1E 1.0E+-2 1a 1nan infinity -nan 1e0x5
"""


N = 300_000
VERY_LONG = {
    "digits": "1" * N,
    "digits before a space": "1" * N + " ",
    "zeros": "0" * N,
    "digits and a letter": "1" * N + "x",
    "a fraction": "1." + "1" * N,
    "a fraction before a space": "0." + "1" * N + " ",
    "a fraction and a letter": "1." + "1" * N + "x",
    "an exponent": "1e" + "9" * N,
    "an exponent of zeros": "1e" + "0" * N,
    "signs": "-" * N,
    "points": "1." * (N // 2),
    "exponents": "1e5" * (N // 3),
    "letters": "a" * N,
    "spaces": " " * N + "1",
    "spaces between": "1" + " " * N + "1",
    "brackets": "[" * N,
    "quotes": '"' * N,
    "backslashes": '"' + "\\" * N + '"',
    "an open string": '"' + "a" * N,
    "commas": "1" + "," * N,
}


@pytest.mark.parametrize("case", VERY_LONG)
def test_very_long_text_does_not_hold_the_server_up(raw: RawTwin, case: str) -> None:
    """Accepted where Python accepts it, in one go over the text.

    Where a pattern tried all ways to split the digits, this would take hours, and the client gives up before.
    """
    text = number(VERY_LONG[case])
    try:
        check_text(text)
    except InvalidJSON:
        with raw.refused("BAD_JSON"):
            raw.set(text)
    else:
        raw.set(text)


@pytest.mark.parametrize("text", NO_NUMBERS.split())
def test_what_is_no_json_number_is_refused(raw: RawTwin, text: str) -> None:
    """What Lua or C would read as a number, and RFC 8259 does not."""
    with raw.refused("BAD_JSON") as refusal:
        raw.set(number(text))
    assert refusal.details["pointer"] == "/x"
    with raw.refused("BAD_JSON"):
        raw.merge(f'{{"x": [0, {text} ]}}')
