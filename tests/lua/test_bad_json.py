"""Bad JSON of every form: the scripts refuse exactly what codec.check_text refuses."""

from __future__ import annotations

import pytest

from circman_redis.canonical import canonical
from circman_redis.codec import check_text
from circman_redis.errors import InvalidJSON
from tests.lua.support import RawTwin

BAD = {
    "roots": [
        "", " ", "null", "1", '"a"', "[]", "[{}]", "true", "{", "}", "{{}}", "{}{}", "{},{}", "{} {}", "{}x",
        "{}]", "{}}", "{}\0", "\0{}", "[{}", "({})", "{};",
    ],
    "members": [
        "{,}", '{"a"}', '{"a":}', '{:1}', '{"a":1,}', '{,"a":1}', '{"a":1,,"b":2}', '{"a":1 "b":2}', '{"a" 1}',
        '{"a"=1}', '{"a"::1}', '{"a":1:2}', "{a:1}", "{'a':1}", '{"a":1;"b":2}', "{1:2}", "{null:1}", '{"a",1}',
        '{["a"]:1}', '{"a":1]', '{"a":1', '{"a":1,', '{"a":1,"', '{"a":1,"b', '{"a":1,"b"', '{"a":1,"b":', '{"a"',
        '{"a":', '{"a":1}"', '{"a":1}}', '{"a":{}', '{"a":{}}}', '{""}', '{"":}', '{"a":"b":"c"}', '{"a":,}',
        '{ }{ }',
    ],
    "arrays": [
        '{"a":[}', '{"a":[1,]}', '{"a":[,1]}', '{"a":[1,,2]}', '{"a":[1 2]}', '{"a":[1}', '{"a":[1}]', '{"a":]}',
        '{"a":[1]]}', '{"a":[[1]}', '{"a":["b":1]}', '{"a":[{]}}', '{"a":[,]}', '{"a":(1)}', '{"a":[1;2]}',
        '{"a":["b" "c"]}', '{"a":["b""c"]}', '{"a":[1"b"]}', '{"a":["b"1]}', '{"a":[{}{}]}', '{"a":[[][]]}',
        '{"a":[1{}]}',
    ],
    "strings": [
        '{"a":"}', '{"a":"b}', '{"a":b"}', "{'a':'b'}", '{"a":\'b\'}', '{"a":"b"c"}', '{"a":"b""c"}', '{"a":"\\"}',
        '{"a":"\\x41"}', '{"a":"\\u"}', '{"a":"\\u12"}', '{"a":"\\u123"}', '{"a":"\\u123g"}', '{"a":"\\U0041"}',
        '{"a":"\\u 041"}', '{"a":"\\a"}', '{"a":"\\0"}', "{\"a\":\"\\'\"}", '{"a":"\\\n"}', '{"a":"b\nc"}',
        '{"a":"b\tc"}', '{"a":\\"b"}', '{"a":"b\\"}', '{"a\\":1}', '{"\\x":1}', '{"a":"\\u+041"}',
        '{"a":"\\u-041"}', '{"a":"\\u00_1"}', '{"a":u"b"}', '{"a":`b`}', '{"a":"b"+"c"}', '"{}"',
    ],
    "words": [
        '{"a":True}', '{"a":False}', '{"a":None}', '{"a":NULL}', '{"a":nul}', '{"a":nulll}', '{"a":tru}',
        '{"a":truee}', '{"a":undefined}', '{"a":nil}', '{"a":t rue}', '{"a":true false}', '{"a":truefalse}',
        '{"a":null,null}', '{"a":x}', '{"a":-true}', '{"a":+null}', '{"a":true1}', '{"a":1true}', '{"a":.}',
        '{"a":1 2}', '{"a":1 .5}', '{"a":- 1}', '{"a":1e 5}', '{"a":1_000}', '{"a":2^53}', '{"a":1\n2}', '{"a":é}',
        '{"a":1é}',
    ],
    "odd characters": [
        '{\\"a":1}', '{"a":1\\n}', '{"a":1}\\', '{"a"\\:1}', '{"a":1,\\"b":2}', '{"a":\x001}', '{"a":1\x00}',
        '{"a"\x00:1}', '{"a":1}\x0b', '{"a":\x7f}', '{"a":@}', '{"a":$x}', '{"a":1%}', '{"a":<1>}', '{"a":[*]}',
        '{"a":{*}}', '{"a":~}', '{"a":"b",*}', '\ufeff{"a":1}',
    ],
}  # fmt: skip

GOOD = [
    "{}", " {} ", '{"":""}', '{"a":{"":{"":[]}}}', '{"a":"\\/"}', '{"a":"{}[],:"}', '{"{":"}"}', '{"[":"]"}',
    '{"a":"\\u0000"}', '{"a":"\\\\"}', '{"a":"\\\\\\""}', '{"\\"":"\\""}', '{"a":"\\\\","b":"\\\\"}',
    '{"a":"//","b":"/**/"}', '{"a":"1 2"}', '{"a":" "}', '{"a":"\x7f"}', '{"a":"\u2028"}',
    '{"a":[[[]],{},"",0,null]}', '{"a":true,"b":false,"c":null}', '{"true":true,"null":null}',
    '{"a":"\\ud83d\\ude00"}', '{"a":"tr ue"}', '{"%b{}":"%z%d"}', '{"a":"NaN","Infinity":"1e999"}',
    '{"a":"\ufeff"}', '{"a" :\n1\t,\r"b": [ ] }', '{"a":1 }', '{"a": "x" , "b" :"y"}', '{"timestamp":5}',
    '{"keys":1,"values":{"made":2}}', '{"__index":1}',
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_json_is_refused(raw: RawTwin, kind: str) -> None:
    """By codec.check_text and by the script, in set, merge and adjust; the refusal has a pointer and a reason."""
    raw.set('{"a":1}')
    for text in BAD[kind]:
        assert_refused(raw, text)


def assert_refused(raw: RawTwin, text: str) -> None:
    with pytest.raises(InvalidJSON):
        check_text(text)
    for op in ("set", "merge", "adjust"):
        with raw.refused("BAD_JSON") as refusal:
            raw.commit(text, op=op)
        assert refusal.details.keys() == {"pointer", "reason"}
        assert refusal.details["reason"]


@pytest.mark.parametrize("text", GOOD, ids=lambda text: ascii(text)[1:-1])
def test_good_json_is_stored_in_the_stored_form(raw: RawTwin, text: str) -> None:
    """By set, and by a merge into nothing where the text has no nulls."""
    check_text(text)
    raw.set(text)
    assert raw.state == canonical(text)
    if "null" not in text:
        raw.merge('{"other":1}')
        raw.set("{}")
        raw.merge(text)
        assert raw.state == canonical(text)


SMALL = '{"b":[],"c":"x"}'


def test_limits_of_size(raw: RawTwin) -> None:
    """A body of max_bytes is accepted, one byte more is refused, white space included."""
    raw.meta(max_bytes=len(SMALL))
    raw.set(SMALL)
    with raw.refused("TOO_LARGE") as refusal:
        raw.set(SMALL + " ")
    assert refusal.details == {"bytes": len(SMALL) + 1, "max_bytes": len(SMALL)}


def test_the_result_of_a_merge_has_the_limit_too(raw: RawTwin) -> None:
    """A small patch does not lift a state over its limit."""
    raw.meta(max_bytes=len(SMALL))
    raw.set(SMALL)
    raw.merge('{"c":"y"}')
    with raw.refused("TOO_LARGE") as refusal:
        raw.merge('{"c":"yz"}')
    assert refusal.details == {"bytes": len(SMALL) + 1, "max_bytes": len(SMALL)}
    raw.merge('{"c":null}')
    raw.merge('{"c":"w"}')


def test_escapes_and_the_stamp_count_for_the_limit(raw: RawTwin) -> None:
    """What counts is the text as it is stored: an escaped bracket is six bytes, a timestamp is 42."""
    raw.meta(max_bytes=20)
    with raw.refused("TOO_LARGE") as refusal:
        raw.set('{"a":"{{{"}')
    assert refusal.details == {"bytes": 26, "max_bytes": 20}
    raw.meta(max_bytes=41, auto_timestamp="1")
    with raw.refused("TOO_LARGE"):
        raw.set("{}")
    raw.meta(max_bytes=43)
    raw.set("{}")
    assert len(raw.state) == len('{"timestamp":"2026-11-22T13:00:00.000000Z"}')


def test_a_state_is_at_most_a_mebibyte_unless_configured(raw: RawTwin) -> None:
    """One byte over it is refused, and so is a merge that grows beyond it."""
    frame = len('{"a":""}')
    raw.set('{"a":"' + "x" * (1_048_576 - frame) + '"}')
    with raw.refused("TOO_LARGE") as refusal:
        raw.set('{"a":"' + "x" * (1_048_577 - frame) + '"}')
    assert refusal.details == {"bytes": 1_048_577, "max_bytes": 1_048_576}
    with raw.refused("TOO_LARGE"):
        raw.merge('{"b":1}')
