"""Raw bytes into every script, by EVALSHA: a reply or an error of ours, nothing written, the server free again soon."""

from __future__ import annotations

import pytest

from circman_redis import errors, refusals, scripts
from tests.fuzz.junk import LARGE, drawn, fuzz, junk
from tests.fuzz.support import BODIES, KEYS, MOST_MS, RUNTIME_ERROR, TOKEN, Subject
from tests.lua.support import SCRIPT_KEYS, key_of
from tests.lua.test_headers import header_of
from tests.property.texts import Decisions

MODEL = b'{"model":"M","model_hash":"h","checks":"server","validation":"strict"}'
RULES = (
    b'{"":{"type":"object","required":["a"]},"/n":{"type":"integer","minimum":0},"/production_line/*":{"enum":[1,"a"]}}'
)
ENTRY = (
    b'{"version":32,"timestamp":"2026-03-01T12:00:00.000000Z","committed_at":"2026-03-01T12:00:00.000000Z","op":"set",'
    b'"actor":null,"id":"x","patch":null,"state":{"timestamp":"2026-03-01T12:00:00.000000Z"}}'
)
HEAD = ENTRY[: ENTRY.index(b',"state"')] + b"}"
STATE = b'{"timestamp":"2026-03-01T12:00:00.000000Z"}'
OPS = [b"set", b"import", b"merge", b"adjust"]
IDS = [b"", b"id-3", b"last", b"new", b"c.0000000000001.x", b"c.fffffffffffff.x"]
FENCES = [b"", b"line:1", b"role-1:1795399552707810"]
# What is right at each place of ARGV; the last one is right for whatever comes after it.
RIGHT: dict[str, list[list[bytes]]] = {
    "commit": [OPS, [b"", b"0", b"34"], IDS, [b"", b"me"], [b""], [b"0", b"7"], FENCES, [*BODIES, b'{"/n":1}', STATE]],
    "lookup": [[b"head", b"version", b"time"], [b"", b"3", b"33", b"2026-03-01T12:00:00Z"]],
    "commits": [[b"", b"9"], [b"", b"5"]],
    "past": [[b"0", b"-3", b"4"], [b"-1", b"7"]],
    "resume": [[b"", b"0", b"12", b"34"], [b"0", b"1"]],
    "clear": [[b"me", b""]],
    "delete": [[b"me", b""]],
    "configure": [
        [b"adopt", b"publish", b"force"],
        [b'{"history_length":9}', b"{}"],
        [MODEL, b""],
        [RULES],
        [b'{"a":1}'],
    ],
    "backup": [],
    "backup_history": [[b"34", b"20"], [b"34", b"12"]],
    "restore_begin": [
        *([TOKEN.encode()], [b"9999"], [STATE], [HEAD], [b'{"history":"full"}'], [RULES], [b"", b"{}"]),
        [b"", b'{"twin":"t","epoch":"e","version":1,"committed_at":"2026-03-01T12:00:00.000000Z","state":{"a":1}}'],
    ],
    "restore_history": [[TOKEN.encode()], [b"9999"], [ENTRY]],
    "fork": [[b"", b"34", b"20", b"1"], [b"id-3", b"new"], [b"me", b""], [b"", b'{"a":1}']],
    "lease": [[b"take", b"keep", b"release"], [b"role-1", b"line"], [b"w1", b"w2"], [b"1", b"60000"], [b"", b"1"]],
    "restore": [[TOKEN.encode()], [b"new", b"replace"], [b"0", b"33"], [b"me"]],
}


def right_of(name: str) -> list[list[bytes]]:
    """What is right at each place; of a script that is new here, nothing is known."""
    return RIGHT.get(name, [[]] * header_of(name).args)


def keys_of(name: str) -> list[str]:
    return [key_of(KEYS, key) for key in SCRIPT_KEYS[name]]


def arguments(draw: Decisions, name: str) -> list[bytes]:
    """One place damaged, or several; too few places at times, too many at others."""
    right = right_of(name)
    args = [draw.pick(choices) if choices else b"" for choices in right]
    if header_of(name).endless:
        args += [draw.pick(right[-1]) for _ in range(draw.below(4))]
    for _ in range(draw.below(3)):
        if args:
            at = draw.below(len(args))
            args[at] = junk(draw, right[min(at, len(right) - 1)])
    odd = draw.below(12)
    if odd == 0:
        return args[: draw.below(len(args) + 1)]
    return args + [junk(draw)] * (odd == 1)


def check(subject: Subject, name: str, keys: list[str], args: list[bytes], before: dict[bytes, object]) -> str | None:
    """Calls it, and looks whether what must hold holds; the error reply."""
    error = subject.run(name, keys, args)
    with subject.client.pipeline(transaction=False) as pipeline:
        pipeline.ping()
        pipeline.slowlog_len()
        alive, slow = pipeline.execute()
    assert alive
    after = subject.dump()
    if error is not None:
        assert not RUNTIME_ERROR.search(error), error
        code = error.partition(" ")[0]
        if code.startswith("CIRCMAN_"):
            assert isinstance(refusals.error_of(error, KEYS), errors.StateError)
            assert code in header_of(name).errors, error
        if after != before:
            # A retry that is refused is remembered as refused: its id, and no more (docs/wire.md).
            ids = KEYS.ids.encode()
            assert name == "commit", error
            assert args[5] != b"0", error
            assert after | {ids: 0} == before | {ids: 0}, error
    if after != before:
        subject.put_back()
    if slow:
        subject.client.slowlog_reset()
        cost = subject.cost_of(name, keys, args)
        assert cost < MOST_MS, f"{name}: {cost:.0f} ms, {[arg[:40] for arg in args]}"
        subject.client.slowlog_reset()
        subject.put_back()
    return error


@pytest.mark.parametrize("name", scripts.NAMES)
@fuzz(60, draw=drawn)
def test_any_bytes_as_arguments(subject: Subject, name: str, draw: Decisions) -> None:
    """Right ones, damaged ones, junk; in their number too."""
    check(subject, name, keys_of(name), arguments(draw, name), subject.dump())


@pytest.mark.parametrize("name", scripts.NAMES)
def test_a_lot_of_anything(subject: Subject, name: str) -> None:
    """At every place, 50 kB in the place of what is right. The worst takes some 0.45 us per byte: a megabyte takes longer."""
    right, before = right_of(name), subject.dump()
    for what in LARGE:
        large = LARGE[what]()[:50_000]
        for at in range(len(right)):
            args = [choices[0] if choices else b"" for choices in right]
            args[at] = large
            check(subject, name, keys_of(name), args, before)


@pytest.mark.parametrize("name", scripts.NAMES)
def test_keys_that_are_missing(subject: Subject, name: str) -> None:
    """Any number of them, and one too many."""
    before, keys = subject.dump(), keys_of(name)
    args = [choices[0] if choices else b"" for choices in right_of(name)]
    for number in range(len(keys)):
        error = check(subject, name, keys[:number], args, before)
        assert error is not None
    for number in range(len(args)):
        check(subject, name, keys, args[:number], before)
