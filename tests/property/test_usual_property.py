"""The usual merge is taken where it should be, and makes to the byte what the careful one makes."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import redis

from circman_redis import scripts
from circman_redis.models import TwinState
from circman_redis.rules import compile_model
from tests.lua.support import RawTwin
from tests.property.texts import Decisions, decisions, on_servers

STATE = {
    "timestamp": "2026-01-01T00:00:00.000000Z",
    "system_status": "running",
    "production_line": {"status": "on", "temperature": 22.5, "energy_consumption": 10.0, "efficiency": 0.9},
    "materials": {
        "wafer": {"inventory": 10, "quality": 0.9},
        "temperature": {"inventory": 7, "quality": 0.5},
        "status": {"inventory": 0, "quality": 1.0},
    },
    "environment": {"temperature": 21.0, "humidity": 40.0},
    "quality_metrics": {"a": 1.0, "b": 2.5, "temperature": 3.25},
}
NAMES = ["status", "temperature", "inventory", "quality", "wafer", "materials", "new", "a", "environment", "humidity"]
VALUES = [*("0", "-1", "5", "12.25", "0.5", "-0.5", "1.50", "1e3", "05", "1.", "12345678901234567890", "nan", "null")]
VALUES += [
    '"running"',
    '""',
    '"a b~c"',
    '"\\u0041"',
    '"\u00fc"',
    '"{"',
    '"2026-01-02T00:00:00Z"',
    "true",
    "false",
    "tru",
]
VALUES += ["[1]", "{}", '{"inventory":1}']


class Careful(RawTwin):
    """A twin whose merges are all made by the careful parts."""

    def text(self, name: str) -> str:
        return with_first_line(super().text(name), "usual_merge", "if true then return nil end")


class Usual(RawTwin):
    """A twin that has no other parts than the usual ones."""

    def text(self, name: str) -> str:
        return with_first_line(super().text(name), "make_careful", "error('a careful merge')")


def with_first_line(text: str, function: str, line: str) -> str:
    start = text.index(f"\nlocal function {function}(")
    end = text.index(")", start) + 1
    return f"{text[:end]} {line}{text[end:]}"


def publish(twin: RawTwin, validation: str) -> None:
    rules = {place: json.dumps(rule) for place, rule in compile_model(TwinState).rules.items()}
    spaced = {place: text.replace(", ", ",").replace(": ", ":") for place, text in rules.items()}
    twin.client.hset(twin.keys.rules, mapping=spaced)
    twin.meta(validation=validation)


def patch_of(draw: Decisions, document: object, depth: int = 0) -> str:
    """A patch that mostly names what is there, in any order, at times twice; and mostly with good values."""
    members = []
    names = list(document) if isinstance(document, dict) else []
    for _ in range(1 + draw.below(4)):
        name = draw.pick(names) if names and draw.below(10) else draw.pick(NAMES)
        inner = document.get(name) if isinstance(document, dict) else None
        if isinstance(inner, dict) and draw.below(12):
            value = patch_of(draw, inner, depth + 1)
        elif draw.below(8):
            value = json.dumps(draw.pick([inner, 3.5, 7])) if inner is not None else "1.5"
        else:
            value = draw.pick(VALUES)
        members.append(f'"{name}":{value}')
    text = "{" + ",".join(members) + "}"
    return text if draw.below(25) else text.replace(draw.pick([",", "}", ":", '"']), draw.pick(["", " ", ",", "}"]), 1)


def outcome(twin: RawTwin, patch: str) -> object:
    """What a merge came to: the state and the head without what differs between twins, or the refusal."""
    try:
        twin.merge(patch)
    except redis.ResponseError as error:
        return str(error).replace(twin.keys.twin, "")
    head = json.loads(twin.meta_of("head"))
    dated = str(head["timestamp"]).startswith("20")  # else the time of the commit counts, and that differs
    return twin.state, head["patch"], head["timestamp"], twin.meta_of("stamp") if dated else None


@on_servers(1500, draw=decisions)
def test_the_usual_merge_makes_what_the_careful_one_makes(raw: RawTwin, draw: Decisions) -> None:
    """State, record and refusal, at every level of validation."""
    validation = draw.pick(["none", "standard", "strict"])
    twins = RawTwin(raw.client), Careful(raw.client)
    for twin in twins:
        publish(twin, validation)
        twin.set(json.dumps(STATE))
    for _ in range(3):
        patch = patch_of(draw, STATE)
        usual, careful = (outcome(twin, patch) for twin in twins)
        assert usual == careful, patch


USUAL = {
    "the timestamp and three numbers": (
        '{"timestamp":"2026-01-01T00:00:01.000000Z","production_line":{"temperature":23.5,"energy_consumption":121.5},'
        '"materials":{"wafer":{"inventory":990}}}'
    ),
    "no timestamp": '{"production_line":{"temperature":23.5},"environment":{"humidity":41}}',
    "another order": '{"quality_metrics":{"b":2.0,"a":1.5},"environment":{"temperature":0},"system_status":"stopped"}',
    "a name that stands deeper too": '{"production_line":{"status":"off"},"environment":{"temperature":-1.5}}',
    "the same name deeper before": '{"materials":{"status":{"quality":0.25}},"quality_metrics":{"temperature":1}}',
}


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("case", USUAL)
def test_what_is_usual_takes_the_short_way(raw: RawTwin, case: str, stamped: bool) -> None:
    """Nothing of the careful parts is made: that is where the time goes."""
    twin, careful = Usual(raw.client, stamped), Careful(raw.client, stamped)
    for one in (twin, careful):
        publish(one, "strict")
        RawTwin.set(RawTwin(one.client, stamped, one.keys), json.dumps(STATE))
    patch = USUAL[case]
    given = json.loads(patch).get("timestamp") or not stamped
    twin.merge(patch)
    careful.merge(patch)
    merged = [json.loads(one.state) | ({} if given else {"timestamp": None}) for one in (twin, careful)]
    assert merged[0] == merged[1]
    if given:
        assert twin.state == careful.state


@pytest.mark.parametrize(("swapped", "short"), [(0, True), (8, True), (9, False)])
def test_a_wide_patch_takes_the_short_way_in_about_its_order(raw: RawTwin, swapped: int, short: bool) -> None:
    """Two hundred members; those out of order are looked for one by one, and so they may be few."""
    names = [f"m{n}" for n in range(300)]
    twin = Usual(raw.client)
    RawTwin(raw.client, keys=twin.keys).set(json.dumps({"o": dict.fromkeys(names, 0)}))
    patch = json.dumps({"o": dict.fromkeys(names[swapped:200] + names[:swapped][::-1], 1.5)}, separators=(",", ":"))
    if short:
        twin.merge(patch)
        assert sum(value == 1.5 for value in json.loads(twin.state)["o"].values()) == 200
    else:
        with pytest.raises(redis.ResponseError, match="a careful merge"):
            twin.merge(patch)


FAR = "x" * 1100  # further than is gone past by a copy
STAMP = '"timestamp":"2026-01-01T00:00:00Z"'
ODD = {
    "an empty object": (f'{{"o":{{}},"b":"{FAR}","x":1,{STAMP}}}', '{"o":{"x":2}}', {}),
    "an empty object near by": (f'{{"o":{{}},"x":1,{STAMP}}}', '{"o":{"x":2}}', {}),
    "no closing brace": (f'{{"a":1,{STAMP}}}', '{"a":12', {}),
    "a comma for a closing brace": (f'{{"a":1,{STAMP}}}', '{"a":2,', {}),
    "a bracket for a closing brace": (f'{{"a":1,{STAMP}}}', '{"a":2]', {}),
    "a bracket for an opening brace": (f'{{{STAMP},"a":1}}', '["a":2}', {}),
    "a quote for an opening brace": (f'{{{STAMP},"a":1}}', '""a":2}', {}),
    "a timestamp with a comma": ('{"a":1,"timestamp":"2026-01-01T00:00:00Z,x"}', '{"a":2}', {}),
    "a timestamp that is none": ('{"a":1,"timestamp":"soon"}', '{"a":2}', {}),
    "a timestamp that is a number": ('{"a":1,"timestamp":5}', '{"a":2}', {}),
    "a rule that is no object": (f'{{"a":1,{STAMP}}}', '{"a":2}', {"/a": "5"}),
    "a rule that is not JSON": (f'{{"a":{{"b":1}},{STAMP}}}', '{"a":{"b":2}}', {"/a": '{"type":"object",'}),
    "a rule with white space": (f'{{"a":{{"b":1}},{STAMP}}}', '{"a":{"b":2}}', {"/a": '{"type":"object","enum" :[1]}'}),
    "a long name": (f'{{"{"a" * 100}":1,{STAMP}}}', f'{{"{"a" * 100}":2}}', {}),
    "a name that others end in": (f'{{"aa":1,"ba":2,"a":3,{STAMP}}}', '{"a":4}', {}),
    "a name that only others end in": (f'{{"aa":1,"ba":2,{STAMP}}}', '{"a":4}', {}),
}


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_comes_out_as_by_the_careful_parts(raw: RawTwin, case: str, stamped: bool) -> None:
    """Or is refused as by them; and whatever is recorded is JSON."""
    state, patch, rules = ODD[case]
    came = []
    for twin in (RawTwin(raw.client, stamped), Careful(raw.client, stamped)):
        twin.set(state)
        if rules:
            twin.client.hset(twin.keys.rules, mapping=rules)
        try:
            twin.merge(patch)
        except redis.ResponseError as error:
            came.append(str(error).replace(twin.keys.twin, ""))
            continue
        facts = json.loads(twin.meta_of("head"))
        now = facts["committed_at"]
        came.append((twin.state.replace(now, ""), json.dumps(facts["patch"]).replace(now, ""), facts["op"]))
    assert came[0] == came[1]


SLOW = {
    "many members in reverse order": (
        '{"o":{' + ",".join(f'"m{n:04}":"{"m" * 300}"' for n in range(3000)) + "}}",
        '{"o":{' + ",".join(f'"m{n:04}":1' for n in reversed(range(3000))) + "}}",
    ),
    "a long name that is not there": (f'{{"s":"{"a" * 900_000}"}}', f'{{"{"a" * 100_000}":1}}'),
    "names that end in each other": (
        "{" + ",".join(f'"{"a" * n}":1' for n in range(1, 1200)) + "}",
        "{" + ",".join(f'"{"a" * n}":2' for n in range(1, 1200)) + "}",
    ),
}


@pytest.mark.parametrize("case", SLOW)
def test_no_patch_is_walked_for_long(raw: RawTwin, case: str) -> None:
    """What would take the walk seconds is left to the careful parts before: far below any time-out."""
    state, patch = SLOW[case]
    twin = RawTwin(raw.client)
    twin.set(state)
    twin.client.config_resetstat()
    with suppress(redis.ResponseError):  # too large, maybe
        twin.merge(patch)
    slowest = int(twin.client.info("commandstats")["cmdstat_eval"]["usec"])
    assert slowest < 2_000_000, "quadratic: it was ten times that"


def test_the_scripts_have_what_the_tests_replace() -> None:
    """Where a function has another name, the tests above would test nothing."""
    text = scripts.load("commit").text
    assert with_first_line(text, "usual_merge", "x").count("x") > text.count("x")
    assert with_first_line(text, "make_careful", "x").count("x") > text.count("x")
