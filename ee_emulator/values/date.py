"""Dates: milliseconds since 1970-01-01T00:00:00Z, and half-open ranges of them.

https://developers.google.com/earth-engine/apidocs/ee-date
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import ServiceError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATTERN = re.compile(
    r"(?P<year>\d{4})(?:-(?P<doy>\d{3})|-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?)?"
    r"(?:[T ](?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?)?"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)
MILLIS = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "week": 604_800_000}
"""Lengths of the units that have one."""


@dataclass(frozen=True)
class Date:
    """An instant."""

    millis: int

    def describe(self) -> dict[str, object]:
        """The form of getInfo."""
        return {"type": "Date", "value": self.millis}

    def local(self, zone: tzinfo = UTC) -> datetime:
        """The calendar reading of this instant."""
        try:
            return (_EPOCH + timedelta(milliseconds=self.millis)).astimezone(zone)
        except (OverflowError, ValueError) as error:
            raise ServiceError(f"Date: {self.millis} milliseconds is out of the range of dates.") from error

    def advance(self, delta: float, unit: str, zone: tzinfo = UTC) -> Date:
        """This instant plus `delta` units; months and years keep the day of month where it exists, else its last.

        https://developers.google.com/earth-engine/apidocs/ee-date-advance
        """
        name = unit_name(unit)
        if name in MILLIS and (name not in ("day", "week") or zone is UTC):
            return Date(round(self.millis + delta * MILLIS[name]))
        at = self.local(zone)
        if name in ("day", "week"):
            return instant(at + timedelta(days=delta * (7 if name == "week" else 1)))
        months = delta * (12 if name == "year" else 1)
        whole = int(months // 1)
        year, month = divmod(at.year * 12 + at.month - 1 + whole, 12)
        if not 1 <= year <= 9999:
            raise ServiceError(f"Date.advance: the year {year} is out of range.")
        length = calendar.monthrange(year, month + 1)[1]
        moved = at.replace(year=year, month=month + 1, day=min(at.day, length))
        return Date(instant(moved).millis + round((months - whole) * length * MILLIS["day"]))


@dataclass(frozen=True)
class DateRange:
    """[start, end) in milliseconds."""

    start: int
    end: int

    def describe(self) -> dict[str, object]:
        """The form of getInfo."""
        return {"type": "DateRange", "dates": [self.start, self.end]}


def unit_name(unit: str) -> str:
    """The singular name of a unit; a 400 for another word."""
    name = unit.lower().removesuffix("s")
    if name not in (*MILLIS, "month", "year"):
        raise ServiceError(f"Date: Unknown unit '{unit}'.")
    return name


def zone_of(name: str | None) -> tzinfo:
    """The time zone of that name, UTC for none."""
    if name is None or name in ("UTC", "Etc/UTC", "GMT"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ServiceError(f"Date: The time zone '{name}' is not recognized.") from error


def parse(value: Any, zone: tzinfo = UTC) -> Date:
    """A Date from a Date, a number of milliseconds, or ISO text such as 1996-01-01, 1996-001, 1996-01-01T08:00."""
    if isinstance(value, Date):
        return value
    if isinstance(value, bool) or value is None:
        raise ServiceError(f"Date: Bad date/time '{value}'.")
    if isinstance(value, (int, float)):
        return Date(int(value))
    if isinstance(value, dict) and value.get("type") == "Date":
        return parse(value.get("value"), zone)
    if not isinstance(value, str):
        raise ServiceError(f"Date: Bad date/time '{value}'.")
    found = _PATTERN.fullmatch(value.strip())
    if not found:
        raise ServiceError(f"Date: Bad date/time '{value}'.")
    part = {k: int(v) for k, v in found.groupdict().items() if v and k not in ("zone", "fraction")}
    try:
        at = datetime(part["year"], part.get("month", 1), part.get("day", 1), tzinfo=zone)
        at = at.replace(hour=part.get("hour", 0), minute=part.get("minute", 0), second=part.get("second", 0))
        if "doy" in part:
            at += timedelta(days=part["doy"] - 1)
            if at.year != part["year"] or part["doy"] == 0:
                raise ValueError("day of year")
    except ValueError as error:
        raise ServiceError(f"Date: Bad date/time '{value}'.") from error
    offset = found["zone"]
    if offset and offset != "Z":
        minutes = int(offset[1:3]) * 60 + int(offset[-2:])
        at = at.replace(tzinfo=UTC) - timedelta(minutes=minutes if offset[0] == "+" else -minutes)
    elif offset:
        at = at.replace(tzinfo=UTC)
    millis = int((found["fraction"] or "0")[:3].ljust(3, "0"))
    return Date(instant(at).millis + millis)


def instant_of(value: Any) -> Date | None:
    """What a value stands for where an instant is meant, None for a value of another kind; a range by its start."""
    if isinstance(value, DateRange):
        return Date(value.start)
    return parse(value) if isinstance(value, (Date, int, float, str, dict)) else None


def range_of(value: Any) -> DateRange | None:
    """A range, or the millisecond of an instant; None for a value of another kind."""
    if isinstance(value, DateRange):
        return value
    at = instant_of(value)
    return None if at is None else DateRange(at.millis, at.millis + 1)


def micros(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time: the version number of an asset last updated then."""
    found = _PATTERN.fullmatch(text.strip())
    fraction = (found["fraction"] if found else None) or ""
    return parse(text).millis * 1000 + int(fraction[3:6].ljust(3, "0") if len(fraction) > 3 else "0")


def rfc3339(millis: int) -> str:
    """The instant as the REST API writes it: `Z`, fraction only where there is one."""
    at = Date(millis).local()
    text = at.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{millis % 1000:03d}Z" if millis % 1000 else text + "Z"


def rfc3339_micros(micros: int) -> str:
    """The instant in microseconds, as an `updateTime` has it."""
    return f"{rfc3339(micros // 1_000_000 * 1000)[:-1]}.{micros % 1_000_000:06d}Z"


def instant(at: datetime) -> Date:
    """The instant of a calendar reading with a time zone."""
    delta = at.astimezone(UTC) - _EPOCH
    return Date(delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000)
