"""The Lua scripts of ``lua/``, with their shared parts included."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NAMES = (
    *("commit", "lookup", "commits", "past", "resume", "clear", "delete", "configure"),
    *("backup", "backup_history", "restore_begin", "restore_history", "restore", "repair"),
    *("fork", "lease"),
)

_INCLUDE = re.compile(r"^[ ]*-- @include (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """One script, ready for EVAL.

    Attributes:
        name: its file's name without ``.lua``.
        text: the whole script.
        sha: what EVALSHA calls it.
    """

    name: str
    text: str
    sha: str


def folder() -> Path:
    """Where the scripts are: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "lua"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "lua"


@cache
def load(name: str) -> Source:
    """The script ``name`` (one of NAMES), its includes put in place and its comments left out."""
    whole = _whole(folder() / f"{name}.lua")
    text = "\n".join(line for line in whole.splitlines() if line.strip() and not line.lstrip().startswith("--"))
    return Source(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def _whole(path: Path) -> str:
    """A file with its includes, which may have some of their own, also inside a function."""
    source = path.read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: _whole(folder() / "include" / f"{found[1]}.lua"), source)
