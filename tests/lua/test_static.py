"""What can be told of the scripts without running them: locals only, nothing encoded, no way around KEYS."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import pytest
from lupa import lua51

from circman_redis import scripts

# All that a script may look up in the global table of Redis.
ALLOWED = {
    *("KEYS", "ARGV", "redis", "cjson", "string", "table", "math"),
    *("pcall", "error", "ipairs", "pairs", "tonumber", "tostring", "type", "unpack", "select"),
}
GETGLOBAL, SETGLOBAL = 5, 7


class Bytecode:
    """Reads what string.dump of Lua 5.1 writes (lundump.c): the names of globals that are read and written."""

    def __init__(self, dump: bytes) -> None:
        assert dump[:5] == b"\x1bLuaQ"
        self.dump, self.at = dump, 12
        self.size_t = {4: "I", 8: "Q"}[dump[8]]
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.function()
        assert self.at == len(dump)

    def take(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self.dump, self.at)
        self.at += struct.calcsize("<" + code)
        return int(value)

    def string(self) -> str:
        size = self.take(self.size_t)
        self.at += size
        return self.dump[self.at - size : self.at - 1].decode("latin-1") if size else ""

    def constants(self) -> Iterator[str]:
        for _ in range(self.take("i")):
            kind = self.take("b")
            if kind == 4:
                yield self.string()
            else:
                self.at += {0: 0, 1: 1, 3: 8}[kind]
                yield ""

    def function(self) -> None:
        self.string()
        self.at += 2 * 4 + 4  # the lines, and four numbers of one byte
        code = [self.take("I") for _ in range(self.take("i"))]
        constants = list(self.constants())
        for instruction in code:
            target = {GETGLOBAL: self.read, SETGLOBAL: self.written}.get(instruction & 63)
            if target is not None:
                target.add(constants[instruction >> 14])
        for _ in range(self.take("i")):
            self.function()
        lines = self.take("i")
        self.at += 4 * lines
        for _ in range(self.take("i")):  # the names of locals, with where they begin and end
            self.string()
            self.at += 8
        for _ in range(self.take("i")):
            self.string()


def compiled(text: str) -> Bytecode:
    lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
    dump = lua.eval("function(s) return string.dump(assert(loadstring(s))) end")
    return Bytecode(dump(text.encode()))


def test_the_reader_of_bytecode_sees_globals() -> None:
    """In nested functions too, and tells reading from writing and from locals."""
    code = compiled("local a = b; function c() d = a; return function() e.f = g end end")
    assert code.read == {"b", "e", "g"}
    assert code.written == {"c", "d"}


@pytest.mark.parametrize("name", scripts.NAMES)
def test_a_script_has_locals_only(name: str) -> None:
    """No global is written, and only what Redis has is read."""
    code = compiled(scripts.load(name).text)
    assert code.written == set()
    assert code.read <= ALLOWED


@pytest.mark.parametrize("name", scripts.NAMES)
def test_the_state_is_never_encoded(name: str) -> None:
    """cjson only reads rules: nothing goes through cjson.encode, or any other encoder of Redis."""
    text = scripts.load(name).text
    assert not re.search(r"encode|cmsgpack|struct\.|setmetatable|setfenv|loadstring", text)
    assert set(re.findall(r"cjson\.(\w+)", text)) <= {"decode", "null"}


def test_no_script_says_encode() -> None:
    """Not even in a comment that somebody could uncomment; the README explains why."""
    for path in scripts.folder().rglob("*.lua"):
        assert "encode" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("name", scripts.NAMES)
def test_every_key_is_one_of_keys(name: str) -> None:
    """No command gets a key that was built in Lua: each has one of the names that KEYS were bound to."""
    text = scripts.load(name).text
    keys = {"STATE", "HISTORY", "META", "RULES", "SCHEMA", "IDS", "OLD_IDS", "TIMES", "EVENTS"}
    keys |= {"RESTORE", "RESTORE_HISTORY", "RESTORE_TIMES", "LEASES", "ORIGIN"}
    if name == "fork":
        keys |= {f"NEW_{part}" for part in ("STATE", "HISTORY", "META", "RULES", "SCHEMA", "IDS", "OLD_IDS", "TIMES")}
    calls = re.findall(r"redis\.call\((?:'(\w+)'|publish_command\([^,]*\))(?:, ([\w\[\]]+))?", text)
    assert len(calls) == text.count("redis.call(")
    assert set(re.findall(r"redis\.pcall\((.*?), ([\w']+)", text)) <= {
        ("'INFO'", "'cluster'"),
        ("'HSET'", "IDS"),
        ("'HSET'", "META"),
    }
    for command, key in calls:
        assert key in keys | {"key", "KEYS[1]"} or (command, key) == ("TIME", ""), (command, key)


def test_lines_are_short_and_files_small() -> None:
    """As in the Python."""
    for path in scripts.folder().rglob("*.lua"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400, path
        assert max(map(len, lines)) <= 140, path
        assert lines[0].startswith(f"-- {path.stem}: "), path
