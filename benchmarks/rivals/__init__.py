"""What people would use instead. All do the same work: one patch to the shared state, the old one kept, announced.

Each is one small file, to be read beside ours.
"""

from __future__ import annotations

from typing import Any, Protocol

from benchmarks.documents import JSONObject

HISTORY = 100
"""How many old states each keeps. (NATS: 64, which is its most.)"""


class NotInstalledError(Exception):
    """What this rival needs is not on this machine."""


class Rival(Protocol):
    """One way to share a state."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    def open(self) -> None:
        """Makes it ready.

        Raises:
            NotInstalledError: with what is missing.
        """

    def close(self) -> None:
        """Ends what it started; also where ``open`` failed."""

    def put(self, document: JSONObject) -> None:
        """Makes this the state."""

    def apply(self, patch: JSONObject) -> None:
        """Merges a patch into the state (RFC 7396), keeps the old state in a capped history, announces the change."""


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396 in Python, as its section 2 has it; ``target`` is changed."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target
