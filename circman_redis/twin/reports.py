"""What goes wrong again and again is told once: to the log, and to those who follow the twin's domain events."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

from circman_redis.errors import StoreUnavailable
from circman_redis.twin.sources import SourceFailure

log = logging.getLogger("circman_redis.twin")

_CHANGING = re.compile(r"'c\.[^']+'|0x[0-9a-fA-F]+|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def gist(why: str) -> str:
    """A reason without what differs from one time to the next: readings, addresses, counts, commit ids."""
    return _CHANGING.sub("#", why)


class Told:
    """What was told of whom, so that nothing is told twice."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def begins(self, name: str, why: str) -> bool:
        """Whether this is news: that it fails, or that it fails for another reason."""
        before, self._told[name] = self._told.get(name), gist(why)
        return before != self._told[name]

    def ends(self, name: str) -> bool:
        """Whether this is news: that it is well again."""
        return self._told.pop(name, None) is not None


class SourceReports:
    """Tells of a twin's data sources.

    Args:
        twin: the twin's id.
        publish: publishes a domain event, of its kind and data.
    """

    def __init__(self, twin: str, publish: Callable[[str, dict[str, Any]], object]) -> None:
        self._twin, self._publish = twin, publish
        self._told = Told()
        self._unpublished: dict[str, str] = {}

    def failing(self, failures: Iterable[SourceFailure]) -> None:
        """Tells the log of those that began to fail, or fail for another reason; others are told by `publish`."""
        for one in failures:
            if self._told.begins(one.name, one.why):
                log.warning("twin %r: the source %r fails: %s", self._twin, one.name, one.why)
                self._unpublished[one.name] = one.why

    def well(self, names: Iterable[str | None]) -> None:
        """Tells the log of those that are well again."""
        for name in names:
            if name and self._told.ends(name):
                log.info("twin %r: the source %r is well again", self._twin, name)

    def forget(self, name: str) -> None:
        """There is no such source any more."""
        self._told.ends(name)

    def publish(self) -> None:
        """Publishes what was not yet: kept where nobody answers, and never raised, for the update was made."""
        for name, why in list(self._unpublished.items()):
            try:
                self._publish("error", {"source": name, "error": why})
            except StoreUnavailable:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is
                log.warning("twin %r: that %r fails could not be published: %s", self._twin, name, error)
            del self._unpublished[name]
