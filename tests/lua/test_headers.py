"""The header of each script is its contract: it agrees with the script, and with the calls of protocol.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
from pydantic import BaseModel

from circman_redis import backup, errors, protocol, refusals, scripts
from circman_redis.backup_file import TwinRecord
from circman_redis.keys import TwinKeys
from circman_redis.rules import compile_model
from tests.lua.support import BRANCH, SCRIPT_KEYS, RawTwin, key_of

KEYS = TwinKeys("headers")
README = (scripts.folder() / "README.md").read_text(encoding="utf-8")


class Model(BaseModel):
    a: int = 0


CALLS = {
    "commit": [
        protocol.commit(KEYS, "set", [b"{}"], commit_id="x"),
        protocol.commit(KEYS, "merge", [b"{}"], commit_id="x", expected_version=3, actor="a", model_hash="h", age_ms=5),
    ],
    "lookup": [protocol.snapshot(KEYS), protocol.at_version(KEYS, 3), protocol.at_time(KEYS, "2026-01-01T00:00:00Z")],
    "commits": [protocol.commits(KEYS, None, None), protocol.commits(KEYS, 5, 3)],
    "past": [protocol.past(KEYS, 0, -1)],
    "resume": [protocol.resume(KEYS, None, state_known=False), protocol.resume(KEYS, 3, state_known=True)],
    "repair": [protocol.repair(KEYS, "seen", "1", "-" * 8)],
    "clear": [protocol.clear(KEYS, "a")],
    "delete": [protocol.delete(KEYS, "a")],
    "configure": [
        protocol.configure(KEYS, "adopt", {}, None, ""),
        protocol.configure(KEYS, "publish", {"history_length": 5}, compile_model(Model), "strict"),
    ],
    "backup": [backup.moment(KEYS)],
    "backup_history": [backup.history(KEYS, 5, 3)],
    "restore_begin": [backup.begin(KEYS, "0" * 16, TwinRecord("headers", "e", 1, b"{}", b"{}", b"{}", b"", b"{}"))],
    "restore_history": [backup.lay_by(KEYS, "0" * 16, [b"{}"])],
    "restore": [backup.finish(KEYS, "0" * 16, 3, "a", replace=True)],
    "fork": [protocol.fork(KEYS, KEYS.branch(BRANCH), None, commit_id="x", actor="a")],
    "lease": [protocol.lease(KEYS, "take", "r", "w"), protocol.lease(KEYS, "keep", "r", "w", token="5")],
}


class Header(NamedTuple):
    keys: tuple[str, ...]
    args: int
    endless: bool
    errors: frozenset[str]


def lines_of(name: str) -> list[str]:
    return (scripts.folder() / f"{name}.lua").read_text(encoding="utf-8").splitlines()


def top_of(name: str) -> list[str]:
    """The comment that a script begins with."""
    lines = lines_of(name)
    return lines[: next(i for i, line in enumerate(lines) if not line.startswith("--"))]


def header_of(name: str) -> Header:
    """What that comment says."""
    parts: dict[str, str] = {}
    label = ""
    for line in top_of(name)[1:]:
        found = re.match(r"-- (KEYS|ARGV|Returns|Errors|Publishes)\b", line)
        label = found[1] if found else label
        parts[label] = parts.get(label, "") + line[2:].replace(label, "", 1 if found else 0) + "\n"
    keys = re.findall(r"(\d+) (.+?)(?=  \d|\n)", parts["KEYS"])
    args = re.findall(r"^\s{1,8}(\d+)(\.\.)? \S", parts["ARGV"], re.MULTILINE)
    assert [int(n) for n, _ in keys] == list(range(1, len(keys) + 1))
    assert [int(n) for n, _ in args] == list(range(1, len(args) + 1))
    return Header(
        tuple(key.removesuffix(" (a channel)").replace(" ", "_") for _, key in keys),
        len(args),
        any(more for _, more in args),
        frozenset(re.findall(r"CIRCMAN_[A-Z_]+", parts.get("Errors", ""))),
    )


def codes_in(text: str) -> set[str]:
    return {f"CIRCMAN_{code}" for code in re.findall(r"(?:refuse\('|CIRCMAN_)([A-Z_]+)", text)}


def test_every_script_has_its_calls() -> None:
    """None is left out here."""
    assert CALLS.keys() == SCRIPT_KEYS.keys() == set(scripts.NAMES)


@pytest.mark.parametrize("name", scripts.NAMES)
def test_keys_are_those_of_the_call(name: str) -> None:
    """The same keys in the same order, in the header, in protocol.py, and in what these tests send."""
    header = header_of(name)
    assert header.keys == SCRIPT_KEYS[name]
    for call in CALLS[name]:
        assert call.target == name
        assert call.keys == tuple(key_of(KEYS, key) for key in header.keys)


@pytest.mark.parametrize("name", scripts.NAMES)
def test_arguments_are_those_of_the_call(name: str) -> None:
    """As many as the header lists; its last one may come again and again."""
    header = header_of(name)
    for call in CALLS[name]:
        assert len(call.args) == header.args
    more = {
        "commit": protocol.commit(KEYS, "set", [b"{}"] * 3, commit_id="x"),
        "restore_history": backup.lay_by(KEYS, "0" * 16, [b"{}"] * 3),
    }
    assert header.endless == (name in more)
    if header.endless:
        assert len(more[name].args) == header.args + 2


@pytest.mark.parametrize("name", scripts.NAMES)
def test_a_script_binds_its_keys_and_arguments_by_name(name: str) -> None:
    """In its first lines, all of them, in the order of the header, and nowhere else."""
    header = header_of(name)
    text = scripts.load(name).text
    keys = [str(n + 1) for n in range(len(header.keys))]
    args = [str(n + 1) for n in range(header.args - header.endless)]
    if name == "delete":  # which hands all its keys to one command
        assert set(re.findall(r"KEYS\[(\d+)\]", text)) == set(keys)
    else:
        assert re.findall(r"KEYS\[(\d+)\]", text) == keys
    assert re.findall(r"ARGV\[(\d+)\]", text) == args
    first_lines = "\n".join(text.splitlines()[:6])
    assert first_lines.count("ARGV[") == len(args)


@pytest.mark.parametrize("name", scripts.NAMES)
def test_the_header_names_the_errors(name: str) -> None:
    """Those that the script's own file raises, and none that nothing in it can raise."""
    own, whole = codes_in("\n".join(lines_of(name)[len(top_of(name)) :])), codes_in(scripts.load(name).text)
    assert own <= header_of(name).errors <= whole
    if name == "commit":
        assert header_of(name).errors == whole


@pytest.mark.parametrize("name", scripts.NAMES)
def test_the_readme_names_the_errors(name: str) -> None:
    """lua/README.md has a row per script, with the errors of the header."""
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}.lua`"))
    named = {f"CIRCMAN_{code}" for code in re.findall(r"`([A-Z_]+)`", row.split("|")[4])}
    assert named == header_of(name).errors


def test_the_readme_names_the_parts() -> None:
    """Every include has its row, and every script and part is there."""
    parts = {path.stem for path in (scripts.folder() / "include").glob("*.lua")}
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == parts
    texts = [path.read_text(encoding="utf-8") for path in scripts.folder().rglob("*.lua")]
    assert set(re.findall(r"^ *-- @include (\w+)", "\n".join(texts), re.MULTILINE)) == parts


def test_every_error_of_the_scripts_is_known_in_python_and_the_other_way_round() -> None:
    """One list on each side."""
    assert set().union(*(codes_in(scripts.load(name).text) for name in scripts.NAMES)) == refusals.ERRORS.keys()


def corrupt(twin: RawTwin) -> None:
    twin.client.set(twin.keys.meta, "x")


PROVOKED: dict[str, tuple[type[errors.StateError], Callable[[RawTwin], object]]] = {
    "CONFLICT": (errors.StateConflict, lambda twin: twin.set("{}", expected=7)),
    "CONFLICT, junk": (errors.StateConflict, lambda twin: twin.set("{}", expected="x")),
    "INVALID": (errors.StateValidationError, lambda twin: (twin.bind({"/a": {"const": 1}}), twin.set('{"a":2}'))),
    "INVALID, adjust": (errors.StateValidationError, lambda twin: (twin.set("{}"), twin.adjust(a="1"))),
    "BAD_JSON": (errors.InvalidJSON, lambda twin: twin.set('{"a":NaN}')),
    "BAD_JSON, id": (errors.InvalidJSON, lambda twin: twin.set("{}", commit_id="x" * 200)),
    "BAD_JSON, op": (errors.InvalidJSON, lambda twin: twin.commit("{}", op="x")),
    "BAD_JSON, time": (errors.InvalidJSON, lambda twin: twin.lookup("time", "x")),
    "BAD_JSON, page": (errors.InvalidJSON, lambda twin: twin.commits(before="x")),
    "BAD_JSON, settings": (errors.InvalidJSON, lambda twin: twin.configure(settings='{"x":1}')),
    "BAD_JSON, actor": (errors.InvalidJSON, lambda twin: twin.call("clear", "x" * 200)),
    "TOO_LARGE": (errors.StateTooLarge, lambda twin: (twin.meta(max_bytes=3), twin.set('{"a":1}'))),
    "TOO_LARGE, commits": (errors.StateTooLarge, lambda twin: twin.commit(*["{}"] * 1001)),
    "NO_STATE": (errors.NoState, lambda twin: twin.adjust(a="1")),
    "MODEL": (errors.ModelMismatch, lambda twin: twin.set("{}", model="h")),
    "MODEL, python": (errors.ModelMismatch, lambda twin: (twin.meta(checks="python", model_hash="h"), twin.set("{}"))),
    "EXPIRED": (
        errors.RetryExpired,
        lambda twin: (twin.meta(ids_since="1000000"), twin.set("{}", commit_id="x", age=10**13)),
    ),
    "NO_STATE, fork": (errors.NoState, lambda twin: twin.call("fork", "7", "x", "", "")),
    "FENCED": (errors.LeaseLost, lambda twin: twin.set("{}", fence="line:1")),
    "CORRUPT": (errors.CorruptTwin, lambda twin: (corrupt(twin), twin.set("{}"))),
}


def code_of(case: str) -> str:
    return "CIRCMAN_" + case.partition(",")[0]


@pytest.mark.parametrize("case", PROVOKED)
def test_every_error_becomes_its_exception(raw: RawTwin, case: str) -> None:
    """With a message that names the twin, and the particulars as the script gave them."""
    kind, provoke = PROVOKED[case]
    reply = raw.error_of(lambda: provoke(raw))
    assert reply.startswith(f"{code_of(case)} {{")
    error = refusals.error_of(reply, raw.keys)
    assert type(error) is kind
    assert raw.keys.twin in str(error)
    assert error.details


def test_every_error_is_provoked() -> None:
    """Of those that Python knows, none is left out above."""
    assert set(map(code_of, PROVOKED)) == refusals.ERRORS.keys()
