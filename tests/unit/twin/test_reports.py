"""What fails again and again is told once."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from circman_redis import protocol
from circman_redis.errors import StoreUnavailable
from circman_redis.twin.reports import SourceReports, Told, gist
from circman_redis.twin.sources import SourceFailure


def failure(why: str, name: str = "sensors") -> SourceFailure:
    return SourceFailure(name, why, "2026-01-01T00:00:00.000000Z", 1)


def test_readings_and_addresses_make_no_other_reason() -> None:
    readings = ("101", "-99.25", "1e+16", "1.5e-07")
    assert {gist(f"/t: {one} breaks maximum 100") for one in readings} == {"/t: # breaks maximum #"}
    assert gist("<A object at 0x7f3a>: gone") == gist("<A object at 0x11bc>: gone")
    ids = [f"say it again with commit_id={protocol.new_commit_id(10**15)!r}" for _ in range(2)]
    assert gist(ids[0]) == gist(ids[1]) == "say it again with commit_id=#"
    assert gist("ValueError('a')") != gist("ValueError('b')")


def test_what_is_news() -> None:
    """That it begins, that the reason is another, that it ends."""
    told = Told()
    assert not told.ends("a")
    assert [told.begins("a", why) for why in ("late 1", "late 2", "gone", "gone")] == [True, False, True, False]
    assert told.begins("b", "gone")
    assert [told.ends("a"), told.ends("a")] == [True, False]
    assert told.begins("a", "gone")


def test_a_source_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """In the log and as an event; and again for another reason, and when it is well."""
    said: list[tuple[str, dict[str, Any]]] = []
    reports = SourceReports("plant", lambda kind, data: said.append((kind, data)))
    with caplog.at_level(logging.INFO, "circman_redis.twin"):
        for why in ("gone", "gone", "odd"):
            reports.failing([failure(why)])
            reports.publish()
        for _ in range(2):
            reports.well(["sensors", "others"])
    assert said == [("error", {"source": "sensors", "error": why}) for why in ("gone", "odd")]
    assert [record.getMessage() for record in caplog.records] == [
        "twin 'plant': the source 'sensors' fails: gone",
        "twin 'plant': the source 'sensors' fails: odd",
        "twin 'plant': the source 'sensors' is well again",
    ]


def test_an_event_that_nobody_takes_is_kept() -> None:
    """Until the server is there again; any other trouble with it is logged, and that is all."""
    said: list[str] = []
    errors: list[Exception] = [StoreUnavailable("away"), StoreUnavailable("away"), ZeroDivisionError("odd")]

    def publish(kind: str, data: dict[str, Any]) -> None:
        if errors:
            raise errors.pop(0)
        said.append(data["source"])

    reports = SourceReports("plant", publish)
    reports.failing([failure("gone", "a"), failure("gone", "b")])
    reports.publish()
    reports.publish()
    assert said == []
    reports.publish()
    reports.publish()
    assert said == ["b"]
