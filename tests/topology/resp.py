"""Where requests and replies begin and end, in RESP2 and RESP3; what they say is of no interest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Bytes = bytes | bytearray
End = Callable[[Bytes], int | None]


def reply_end(data: Bytes) -> int | None:
    """Where the reply at the beginning ends; None where it goes on in bytes to come.

    Raises:
        ValueError: it is no RESP.
    """
    place, missing = 0, 1
    while missing:
        line = data.find(b"\r\n", place)
        if line < 0:
            return None
        kind, said = data[place : place + 1], data[place + 1 : line]
        place = line + 2
        missing += _members(kind, said) - 1
        if kind in b"$=!" and int(said) >= 0:
            place += int(said) + 2
    return place if place <= len(data) else None


def _members(kind: Bytes, said: Bytes) -> int:
    """How many values follow that belong to this one."""
    if kind in b"*~>":
        return max(0, int(said))
    if kind == b"%":
        return 2 * int(said)
    if kind == b"|":
        return 2 * int(said) + 1  # attributes, and then what they are of
    if kind not in b"+-:_#,($=!":
        raise ValueError(f"no RESP: {bytes(kind + said)[:80]!r}")
    return 0


def request_end(data: Bytes) -> int | None:
    """Where the request at the beginning ends: an array of strings, or a line as people type it."""
    if data[:1] == b"*":
        return reply_end(data)
    line = data.find(b"\n")
    return None if line < 0 else line + 1


def take(buffer: bytearray, end: End) -> Iterator[bytes]:
    """Takes whole requests, or replies, out of the buffer; the rest stays for later."""
    while buffer and (stop := end(buffer)) is not None:
        one = bytes(buffer[:stop])
        del buffer[:stop]
        yield one


def command(request: bytes) -> str:
    """The name of a request's command, in capitals."""
    words = request.split(b"\r\n", 3) if request[:1] == b"*" else [b"", b"", *request.split()[:1]]
    return words[2].decode(errors="replace").upper() if len(words) > 2 else ""


def is_push(reply: bytes) -> bool:
    """Whether nobody asked for it (RESP3)."""
    return reply[:1] == b">"
