r"""Times as text: the one grammar that rules, states and history share.

The grammar, which a Lua script implements as well::

    timestamp = year "-" month "-" day ("T" / " ") hour ":" minute ":" second [fraction] [zone]
    fraction  = "." 1*DIGIT
    zone      = "Z" / ("+" / "-") hour [[":"] minute]

- DIGIT is ``0`` to ``9`` of ASCII. ``year`` has four, every other part two, a fraction one or more.
- ``year`` is 0001 to 9999, ``month`` 01 to 12, ``day`` 01 to the last day of that month (proleptic Gregorian
  calendar), ``hour`` 00 to 23, ``minute`` and ``second`` 00 to 59: no 24:00, no leap second. The hour and the
  minute of a zone have the same ranges; ``-00:00`` is UTC.
- Upper case only, and nothing before or after it, no line end either.
- Without a zone it is UTC.
- The instant itself, taken to UTC, lies within the years 0001 to 9999 too.
- A fraction finer than a microsecond is cut off, not rounded.

It holds every ``datetime.isoformat()`` whose zone has whole minutes, all of RFC 3339 in upper case except the
leap second, and this package's own form.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIMESTAMP = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]+))?"
    r"(?:Z|(?P<sign>[+-])(?P<zone_hour>[01][0-9]|2[0-3])(?::?(?P<zone_minute>[0-5][0-9]))?)?"
)


TIMESTAMP_FORMAT = "YYYY-MM-DDTHH:MM:SS[.digits][Z|+HH:MM|-HH:MM]"
"""The grammar in short, for messages."""


def parse_timestamp(text: str) -> datetime:
    """Read a timestamp.

    Args:
        text: a time in this module's grammar, such as ``2026-11-22T14:00:00+01:00``.

    Returns:
        The instant, in UTC; what is finer than a microsecond is cut off.

    Raises:
        ValueError: where the text is not in the grammar, or names no real date or time.
    """
    found = _TIMESTAMP.fullmatch(text)
    if not found:
        raise ValueError(f"Invalid timestamp format: {text!r}, wanted {TIMESTAMP_FORMAT}")
    try:
        return _wall_clock(found) - _offset(found)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"Invalid timestamp format: {text!r}, {error}") from error


def _wall_clock(found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second = (
        int(found[part]) for part in ("year", "month", "day", "hour", "minute", "second")
    )
    fraction = int((found["fraction"] or "")[:6].ljust(6, "0"))
    return datetime(year, month, day, hour, minute, second, fraction, tzinfo=UTC)


def _offset(found: re.Match[str]) -> timedelta:
    ahead = timedelta(hours=int(found["zone_hour"] or 0), minutes=int(found["zone_minute"] or 0))
    return -ahead if found["sign"] == "-" else ahead


def format_timestamp(moment: datetime) -> str:
    """Write an instant in this package's own form.

    Args:
        moment: the instant; without a zone it is taken as UTC.

    Returns:
        UTC with microseconds and ``Z``, such as ``2026-11-22T13:00:00.000000Z``: equal lengths, so the texts
        sort as the instants do.

    Raises:
        ValueError: where the instant lies outside the years 0001 to 9999 in UTC.
    """
    try:
        instant = _aware(moment).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{moment.isoformat()} lies outside the years 0001 to 9999 in UTC") from error
    return instant.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def microseconds(moment: datetime) -> int:
    """The exact number of microseconds from the Unix epoch to ``moment`` (UTC where it has no zone)."""
    return (_aware(moment) - _EPOCH) // _MICROSECOND


def moment_of(count: int) -> datetime:
    """The instant so many microseconds from the Unix epoch on, in UTC."""
    return _EPOCH + count * _MICROSECOND


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
