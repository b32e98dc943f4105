"""The only place where the name of a key is built (docs/wire.md lists what each holds)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from circman_redis.errors import UsageError
from circman_redis.shown import shown

DEFAULT_PREFIX = "circman"
DEFAULT_TWIN = "default"
DOMAIN = "domain"
"""The branch of a twin whose commits are the twin's domain events; no other branch may have its name."""

_TWIN = re.compile(r"([A-Za-z0-9_.:-]{1,128})(@[A-Za-z0-9_.-]{1,64})?")
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ALLOWED = {
    "twin id": "1 to 128 of A-Z a-z 0-9 _ . : -, and for a branch of it @ and 1 to 64 of A-Z a-z 0-9 _ . -",
    "prefix": "1 to 64 of A-Z a-z 0-9 _ . : -",
}


@dataclass(frozen=True)
class TwinKeys:
    """The keys of one twin; the twin's id is their hash tag, so that all of them live in one slot.

    A branch of a twin, such as ``plant@what-if-1``, is a twin itself, with keys of its own in the slot of the other.

    Args:
        twin: 1 to 128 of ``A-Z a-z 0-9 _ . : -``; for a branch ``@`` behind it, and 1 to 64 of them without ``:``.
        prefix: 1 to 64 of the same.

    Raises:
        UsageError: for anything else, so that an id can never reach other keys.
    """

    twin: str
    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        for name, value, allowed in (("twin id", self.twin, _TWIN), ("prefix", self.prefix, _PREFIX)):
            given: object = value
            if not isinstance(given, str) or not allowed.fullmatch(given):
                raise UsageError(f"{name} {shown(value)}: use {_ALLOWED[name]}")

    def _key(self, part: str) -> str:
        return f"{self._base}:{part}"

    @cached_property
    def _base(self) -> str:
        twin, at, branch = self.twin.partition("@")
        return f"{self.prefix}:{{{twin}}}{at}{branch}"

    @property
    def trunk(self) -> TwinKeys:
        """Those of the twin that this one is a branch of; its own, where it is none."""
        return TwinKeys(self.twin.partition("@")[0], self.prefix)

    def branch(self, name: str) -> TwinKeys:
        """Those of a branch of the twin.

        Args:
            name: 1 to 64 of ``A-Z a-z 0-9 _ . -``.

        Raises:
            UsageError: no such name, or the twin is a branch itself.
        """
        return TwinKeys(f"{self.twin}@{name}", self.prefix)

    @cached_property
    def state(self) -> str:
        """String: the current state, one JSON object."""
        return self._key("state")

    @cached_property
    def history(self) -> str:
        """List: superseded commits, newest first."""
        return self._key("history")

    @cached_property
    def meta(self) -> str:
        """Hash: version, epoch, the head commit's facts, the twin's settings."""
        return self._key("meta")

    @cached_property
    def rules(self) -> str:
        """Hash: JSON Pointer pattern -> the rule for that place."""
        return self._key("rules")

    @cached_property
    def schema(self) -> str:
        """String: the model's full JSON Schema, for readers."""
        return self._key("schema")

    @cached_property
    def ids(self) -> str:
        """Hash: recent commit ids -> what they committed."""
        return self._key("ids")

    @cached_property
    def old_ids(self) -> str:
        """Hash: the generation of commit ids before that."""
        return self._key("ids:old")

    @cached_property
    def times(self) -> str:
        """Sorted set: versions by their state's timestamp, for look-ups by time."""
        return self._key("times")

    @cached_property
    def leases(self) -> str:
        """Hash: role -> who has it, till when, and the fencing token.

        The domain events of a twin are said in its roles: whoever lost one does not speak in it either.
        """
        return self.trunk.leases if self.twin.endswith(f"@{DOMAIN}") else self.own_leases

    @cached_property
    def own_leases(self) -> str:
        """The same, of no other twin: what a deletion removes."""
        return self._key("leases")

    @cached_property
    def origin(self) -> str:
        """String: what a branch began with: the commit of the twin that it is a branch of, with its state."""
        return self._key("origin")

    def worker(self, name: str) -> str:
        """String that expires: a worker that is present.

        Args:
            name: its name.
        """
        return self._key(f"worker:{name}")

    @cached_property
    def restore(self) -> str:
        """Hash: what a restore laid by until it is complete, but the history."""
        return self._key("restore")

    @cached_property
    def restore_history(self) -> str:
        """List: the history that a restore laid by, newest first."""
        return self._key("restore:history")

    @cached_property
    def restore_times(self) -> str:
        """Sorted set: the times that belong to it."""
        return self._key("restore:times")

    @cached_property
    def events(self) -> str:
        """Channel: one message per commit."""
        return self._key("events")

    @property
    def committed(self) -> tuple[str, ...]:
        """Those that a commit reads and writes, the channel left out."""
        return (self.state, self.history, self.meta, self.rules, self.ids, self.old_ids, self.times)

    @property
    def stored(self) -> dict[str, str]:
        """Every key by the name of its part, the channel left out."""
        parts = ("state", "history", "meta", "rules", "schema", "ids", "old_ids", "times")
        return {part: getattr(self, part) for part in parts}

    def kept(self, key: str, at: str) -> str:
        """Where what a repair found in one of the keys is kept, beside it: ``P:{T}:kept:<at>:state``.

        Args:
            key: one of the twin's.
            at: when, in digits and letters.
        """
        return self._key(f"kept:{at}:{key.removeprefix(self._base + ':')}")


def state_keys_pattern(prefix: str = DEFAULT_PREFIX, trunk: str | None = None) -> str:
    """The pattern (SCAN MATCH) that the state keys under ``prefix`` fit: of twins, or of branches (``*``: of any)."""
    return f"{prefix}:{{*}}:state" if trunk is None else f"{prefix}:{{{trunk}}}@*:state"


def twin_of_state_key(key: str, prefix: str = DEFAULT_PREFIX) -> str | None:
    """The twin, or the branch, whose state ``key`` holds, or None where it is not a state key under ``prefix``."""
    found = re.fullmatch(re.escape(prefix) + r":\{([^{}]*)\}(@?[^:]*):state", key)
    twin = found[1] + found[2] if found else ""
    return twin if _TWIN.fullmatch(twin) else None
