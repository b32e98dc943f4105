"""How a value that is refused is shown in a message: always, whatever it is, and never all of a long one."""

from __future__ import annotations

import reprlib

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 300


def shown(value: object) -> str:
    """The value as Python writes it; the name of its type where it cannot be written."""
    try:
        return _repr.repr(value)
    except Exception:  # noqa: BLE001 - somebody else's __repr__ may raise anything
        return f"<{type(value).__name__}>"
