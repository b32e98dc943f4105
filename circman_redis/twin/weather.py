"""The measured weather that the demo replays: a packaged slice of NREL's TMY3 (see ``data/README.md``)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from importlib import resources
from typing import Any

SLICE = "tmy3_723170_greensboro_july.csv"


def measured_hours() -> list[dict[str, Any]]:
    """The hours of the slice, each as the ``environment`` of a twin's state, oldest first.

    Returns:
        ``measured_at`` (ISO 8601, local standard time with its offset), ``temperature`` in degrees Celsius,
        ``humidity`` in % and ``irradiance`` (global horizontal) in W/m2, with the digits of the file.
    """
    text = (resources.files("circman_redis") / "data" / SLICE).read_text(encoding="ascii")
    return list(parse(text.splitlines()))


def parse(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The hours in the lines of such a file: the station, the header, then a line per hour."""
    rows = csv.reader(lines)
    station = next(rows)
    zone = timezone(timedelta(hours=float(station[3])))
    next(rows)
    for date, time, irradiance, temperature, humidity in rows:
        yield {
            "measured_at": _moment(date, time, zone).isoformat(),
            "temperature": float(temperature),
            "humidity": int(humidity),
            "irradiance": int(irradiance),
        }


def _moment(date: str, time: str, zone: timezone) -> datetime:
    # Not by strptime alone: the last hour of a day is called 24:00, which is 00:00 of the next.
    hours, minutes = time.split(":")
    midnight = datetime.strptime(date, "%m/%d/%Y").replace(tzinfo=zone)
    return midnight + timedelta(hours=int(hours), minutes=int(minutes))
