"""docs/wire.md, Values: the JSON that the scripts accept, and all that they refuse, each form by name."""

from __future__ import annotations

import json

import pytest

from circman_redis.canonical import canonical
from circman_redis.codec import check_text
from circman_redis.errors import InvalidJSON
from tests.lua.support import RawTwin

DUPLICATES = {
    "plain": (b'{"a":1,"a":1}', "/a"),
    "with space": (b'{ "a" : 1 , "a" : 1 }', "/a"),
    "written differently": (rb'{"a":1,"\u0061":2}', "/a"),
    "both escaped": (rb'{"\u0061":1,"\u0061":2}', "/a"),
    "in an object in an array": (b'{"x":[0,{"k":1,"j":2,"k":3}]}', "/x/1/k"),
    "a quote, written in two ways": (rb'{"\"":1,"\u0022":2}', '/"'),
    "a slash, written in two ways": (rb'{"/":1,"\/":2}', "/~1"),
    "a tilde": (rb'{"~":1,"\u007e":2}', "/~0"),
    "a line end, written in two ways": (rb'{"\n":1,"\u000a":2}', "/\n"),
    "hexadecimal of either case": (rb'{"\u00e9":1,"\u00E9":2}', "/é"),
    "escaped and as UTF-8": (rb'{"\u00e9":1,' + '"é":2}'.encode(), "/é"),
    "a surrogate pair and UTF-8": (rb'{"\ud83d\ude00":1,' + '"😀":2}'.encode(), "/😀"),
    "empty": (b'{"":1,"":2}', "/"),
    "with a null in between": (b'{"a":null,"a":1}', "/a"),
    "an object and a number": (b'{"a":{},"a":1}', "/a"),
}


@pytest.mark.parametrize("case", DUPLICATES)
@pytest.mark.parametrize("op", ["set", "merge", "adjust"])
def test_duplicate_keys_are_refused(raw: RawTwin, case: str, op: str) -> None:
    """However the two are written; the pointer names the key."""
    text, pointer = DUPLICATES[case]
    raw.set("{}")
    with raw.refused("BAD_JSON") as refusal:
        raw.commit(text, op=op)
    assert refusal.details == {"pointer": pointer, "reason": "a duplicate key"}


INVALID_UTF8 = {
    "lone continuation byte": b"\x80",
    "last continuation byte": b"\xbf",
    "two-byte lead alone": b"\xc3",
    "two-byte lead before ASCII": b"\xc3a",
    "overlong slash, two bytes": b"\xc0\xaf",
    "overlong, C1": b"\xc1\xbf",
    "overlong slash, three bytes": b"\xe0\x80\xaf",
    "overlong, E0 9F BF": b"\xe0\x9f\xbf",
    "overlong, four bytes": b"\xf0\x80\x80\xaf",
    "overlong, F0 8F BF BF": b"\xf0\x8f\xbf\xbf",
    "overlong NUL": b"\xc0\x80",
    "first surrogate": b"\xed\xa0\x80",
    "last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates (CESU-8)": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "F5": b"\xf5\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "three bytes, cut after two": b"\xe2\x82",
    "four bytes, cut after three": b"\xf0\x9f\x98",
    "three bytes, one too many": b"\xe2\x82\xac\x80",
    "two sequences that overlap": b"\xe1\xc2\x80\x80",
    "Latin-1": "é".encode("latin-1"),
}


@pytest.mark.parametrize("case", INVALID_UTF8)
def test_invalid_utf8_is_refused(raw: RawTwin, case: str) -> None:
    """In a value, in a key, and outside of strings; also beside text that has to be tidied."""
    sick = INVALID_UTF8[case]
    for text in (
        b'{"a":"' + sick + b'"}',
        b'{"' + sick + b'":1}',
        b'{"a":1}' + sick,
        b'{ "a" : "\\n' + sick + b'" }',
        b'{"a":' + sick + b"}",
    ):
        with raw.refused("BAD_JSON"):
            raw.set(text)
        with raw.refused("BAD_JSON"):
            raw.merge(text)


VALID_UTF8 = (
    "\x7f\x80\u07ff\u0800\u0fff\u1000\ucfff\ud000\ud7ff\ue000\ufffe\uffff\U00010000\U0003ffff\U00040000\U0010ffff"
)


def test_every_edge_of_utf8_is_accepted(raw: RawTwin) -> None:
    """The first and last code point of each length, raw and escaped, is stored as UTF-8."""
    for character in VALID_UTF8:
        raw_text = json.dumps({"k" + character: character}, ensure_ascii=False, separators=(",", ":"))
        raw.set(raw_text)
        assert raw.state == raw_text
        raw.set(json.dumps({"k" + character: character}))
        assert raw.state == raw_text


LONE = {
    "high": r"\ud83d",
    "low": r"\ude00",
    "high, then a letter": r"\ud83da",
    "high, then another escape": r"\ud83d\n",
    "high, then a character's escape": r"\ud83d\u0061",
    "high twice": r"\ud83d\ud83d",
    "high twice, then low": r"\ud83d\ud83d\ude00",
    "low, then high": r"\ude00\ud83d",
    "low twice": r"\ude00\ude00",
    "first high": r"\uD800",
    "last low": r"\uDFFF",
    "high, then a cut escape": r"\ud83d\ude0",
    "high, then a low without its backslash": r"\ud83dude00",
}


@pytest.mark.parametrize("case", LONE)
def test_lone_surrogates_are_refused(raw: RawTwin, case: str) -> None:
    """In a value and in a key."""
    with raw.refused("BAD_JSON"):
        raw.set('{"a":"' + LONE[case] + '"}')
    with raw.refused("BAD_JSON"):
        raw.merge('{"' + LONE[case] + '":1}')


def test_surrogate_pairs_become_utf8(raw: RawTwin) -> None:
    """Either case of hexadecimal; the first and the last pair."""
    raw.set(r'{"a":"\ud83d\ude00 \uD83D\uDE00","b":"\ud800\udc00\udbff\udfff"}')
    assert json.loads(raw.state) == {"a": "😀 😀", "b": "\U00010000\U0010ffff"}
    assert "\\" not in raw.state


def test_the_stored_form_of_strings(raw: RawTwin) -> None:
    """Every ASCII character, plain and as an escape, is stored in the one form that canonical.py writes."""
    for code in range(128):
        escaped = f'{{"k\\u{code:04x}":"v\\u{code:04X}"}}'
        raw.set(escaped)
        assert raw.state == canonical(escaped)
        if code >= 32 and chr(code) not in '"\\':
            raw.set(f'{{"k{chr(code)}":"v{chr(code)}"}}')
            assert raw.state == canonical(escaped)
    raw.set(r'{"a":"\" \\ \/ \b \f \n \r \t"}')
    assert raw.state == r'{"a":"\u0022 \u005c / \b \f \n \r \t"}'


def nested(opening: str, levels: int) -> str:
    """Objects, arrays, or the two in turn; this many levels with the root."""
    text, kinds = "0", (opening * 64)[: levels - 1]
    for kind in kinds:
        text = f'{{"a":{text}}}' if kind == "{" else f"[{text}]"
    return f'{{"a":{text}}}'


@pytest.mark.parametrize("opening", ["{", "[", "{[", "[{"])
@pytest.mark.parametrize("op", ["set", "merge"])
@pytest.mark.parametrize("space", ["", " "])
def test_64_levels_are_accepted_and_65_refused(raw: RawTwin, opening: str, op: str, space: str) -> None:
    """Of objects, of arrays, of both; the same that codec.check_text takes."""
    fits, too_deep = nested(opening, 64) + space, nested(opening, 64).replace("0", "{}") + space
    raw.commit(fits, op=op)
    assert raw.state == fits.strip()
    with pytest.raises(InvalidJSON) as caught:
        check_text(too_deep)
    with raw.refused("BAD_JSON") as refusal:
        raw.commit(too_deep, op=op)
    assert refusal.details == caught.value.details
    assert refusal.details["reason"] == "deeper than 64 levels"


def test_nothing_is_too_deep_to_be_refused(raw: RawTwin) -> None:
    """A hundred thousand brackets are an error like any other."""
    for text in ('{"a":' + "[" * 100_000, '{"a":' * 100_000, '{"a":' + "[" * 90_000 + "]" * 90_000 + "}"):
        with raw.refused("BAD_JSON"):
            raw.set(text)


def test_white_space_is_legal_around_every_token(raw: RawTwin) -> None:
    """The four characters of RFC 8259, section 2; what is stored has none of them."""
    compact = '{"a":[1,"b c",{"d":null},[]],"e":{},"f":true}'
    tokens = '{ "a" : [ 1 , "b c" , { "d" : null } , [ ] ] , "e" : { } , "f" : true }'.replace("b c", "b_c").split()
    for space in (" ", "\t", "\n", "\r", "\r\n\t  "):
        raw.set(space + space.join(tokens).replace("b_c", "b c") + space)
        assert raw.state == compact


ILLEGAL_SPACE = ["\v", "\f", "\0", "\x1f", "\x7f", "\xa0", "\x85", "\u2028", "\u3000", "\ufeff", "/**/", "//\n", "#\n"]


@pytest.mark.parametrize("space", ILLEGAL_SPACE, ids=repr)
def test_other_white_space_and_comments_are_refused(raw: RawTwin, space: str) -> None:
    """In every place where white space would be legal."""
    tokens = ["{", '"a"', ":", "1", ",", '"b"', ":", "[", "]", "}"]
    for place in range(len(tokens) + 1):
        with raw.refused("BAD_JSON"):
            raw.set("".join([*tokens[:place], space, *tokens[place:]]))


@pytest.mark.parametrize("code", [*range(32)])
def test_control_characters_in_strings_are_refused(raw: RawTwin, code: int) -> None:
    """Raw, in a value and in a key."""
    for text in (f'{{"a":"x{chr(code)}y"}}', f'{{"x{chr(code)}y":1}}', f'{{ "a" : "\\n{chr(code)}" }}'):
        with raw.refused("BAD_JSON"):
            raw.set(text)


BOMS = {
    "UTF-8": b"\xef\xbb\xbf{}",
    "UTF-16 big": b"\xfe\xff\x00{\x00}",
    "UTF-16 little": b"\xff\xfe{\x00}\x00",
    "UTF-32": b"\x00\x00\xfe\xff\x00\x00\x00{\x00\x00\x00}",
    "UTF-16 without a mark": b"{\x00}\x00",
}


@pytest.mark.parametrize("case", BOMS)
def test_a_byte_order_mark_is_refused(raw: RawTwin, case: str) -> None:
    """Before the object; and so are the encodings that need one."""
    with raw.refused("BAD_JSON"):
        raw.set(BOMS[case])
