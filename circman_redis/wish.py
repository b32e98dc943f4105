"""What a subscriber may ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from circman_redis import patch as patches
from circman_redis.errors import UsageError
from circman_redis.results import read_position
from circman_redis.shown import shown

Source: TypeAlias = Literal["channel", "keyspace"]

PULSE = 5.0
"""Seconds between two signs of life that are asked for."""


def is_seconds(value: object) -> bool:
    """Whether it is a time to wait."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subscriber asked for.

    Attributes:
        since: a version, or the position of an event, to begin after; None to begin now.
        paths: JSON Pointers; commits that changed nothing there are left out. None for all commits.
        source: what wakes the subscription up.
        timeout: seconds without an event after which the iteration ends.
        heartbeat: seconds without an event after which a `Heartbeat` is handed out.
        pulse: seconds between two signs of life that are asked for.
    """

    since: int | str | None = None
    paths: tuple[str, ...] | None = None
    source: Source = "channel"
    timeout: float | None = None
    heartbeat: float | None = None
    pulse: float = PULSE

    @classmethod
    def of(  # noqa: PLR0917 - those of subscribe(), in its order
        cls,
        since: int | str | None = None,
        paths: Iterable[str] | None = None,
        source: Source = "channel",
        timeout: float | None = None,
        heartbeat: float | None = None,
        pulse: float = PULSE,
    ) -> Wish:
        """The wish, its paths from any iterable; a string is one path.

        Raises:
            UsageError: for what cannot be wished for.
        """
        if isinstance(paths, str):
            paths = (paths,)
        if paths is not None and not isinstance(paths, Iterable):
            raise UsageError(f"paths={shown(paths)}: use JSON Pointers")
        return cls(since, None if paths is None else tuple(paths), source, timeout, heartbeat, pulse)

    def __post_init__(self) -> None:
        for path in self.paths or ():
            if not isinstance(path, str):
                raise UsageError(f"paths: {shown(path)} is no JSON Pointer")
            patches.split_pointer(path)
        if self.source not in ("channel", "keyspace"):
            raise UsageError(f"source={shown(self.source)}: use 'channel' or 'keyspace'")
        for name in ("timeout", "heartbeat", "pulse"):
            seconds: object = getattr(self, name)
            if seconds is not None and not is_seconds(seconds):
                raise UsageError(f"{name}={shown(seconds)}: use a number of seconds")
        self.start()

    def start(self) -> tuple[str, int | None, str]:
        """What to begin after: the epoch (empty for any), the version, and when it was committed (empty: not known).

        Raises:
            UsageError: ``since`` is neither a version nor a position.
        """
        if self.since is None:
            return "", None, ""
        given: object = self.since
        try:
            if not isinstance(given, int | str):
                raise TypeError  # noqa: TRY301 - said in one place
            return read_position(str(given))
        except (ValueError, TypeError) as error:
            raise UsageError(f"since={shown(self.since)}: use a version, or the position of an event") from error
