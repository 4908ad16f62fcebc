"""Dates and ranges of dates. https://developers.google.com/earth-engine/apidocs/ee-date"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from ..errors import ServiceError, not_implemented
from ..evaluation.registry import algorithm
from ..values import date as dates
from ..values.date import Date, DateRange
from ..values.element import property_of


@algorithm("Date")
def date(value: Any, time_zone: str | None) -> Date:
    """Milliseconds or ISO text as a date. https://developers.google.com/earth-engine/apidocs/ee-date"""
    return dates.parse(value, dates.zone_of(time_zone))


@algorithm("Date.fromYMD")
def from_ymd(year: int, month: int, day: int, time_zone: str | None) -> Date:
    """Midnight of a day. https://developers.google.com/earth-engine/apidocs/ee-date-fromymd"""
    return dates.parse(f"{year:04d}-{month:02d}-{day:02d}", dates.zone_of(time_zone))


@algorithm("Date.millis")
def millis(date: Date) -> int:
    """Milliseconds since 1970. https://developers.google.com/earth-engine/apidocs/ee-date-millis"""
    return date.millis


@algorithm("Date.advance")
def advance(date: Date, delta: float, unit: str, time_zone: str | None) -> Date:
    """Units later. https://developers.google.com/earth-engine/apidocs/ee-date-advance"""
    return date.advance(delta, unit, dates.zone_of(time_zone))


@algorithm("Date.difference")
def difference(date: Date, start: Date, unit: str) -> float:
    """Units from `start` to `date`, by the mean length of a month or year. https://developers.google.com/earth-engine/apidocs/ee-date-difference"""
    return (date.millis - start.millis) / _mean_length(unit)


@algorithm("Date.get")
def get(date: Date, unit: str, time_zone: str | None) -> int:
    """One calendar field. https://developers.google.com/earth-engine/apidocs/ee-date-get"""
    at = date.local(dates.zone_of(time_zone))
    name = dates.unit_name(unit)
    return at.isocalendar().week if name == "week" else int(getattr(at, name))


_JODA = {"YYYY": "%Y", "yyyy": "%Y", "MM": "%m", "dd": "%d", "DDD": "%j", "HH": "%H", "mm": "%M", "ss": "%S"}
_JODA |= {"M": "%-m", "d": "%-d", "D": "%-j", "H": "%-H", "m": "%-M", "s": "%-S", "yy": "%y", "YY": "%y", "ww": "%V"}
_JODA |= {"MMM": "%b", "MMMM": "%B", "EEE": "%a", "EEEE": "%A", "hh": "%I", "h": "%-I", "a": "%p"}
_TOKEN = re.compile(r"'(?P<text>[^']*)'|(?P<letters>([A-Za-z])\3*)")


@algorithm("Date.format")
def format_(date: Date, format: str | None, time_zone: str | None) -> str:
    """ISO text, or a pattern of YYYY yyyy MM dd DDD HH mm ss SSS. https://developers.google.com/earth-engine/apidocs/ee-date-format"""
    at = date.local(dates.zone_of(time_zone))
    if format is None:
        return at.strftime("%Y-%m-%dT%H:%M:%S")

    def field(found: re.Match[str]) -> str:
        letters = found["letters"]
        if letters is None:
            return found["text"] or "'"
        if letters == "SSS":
            return f"{at.microsecond // 1000:03d}"
        if letters not in _JODA:
            raise not_implemented(f"Date.format: the pattern letters '{letters}'", "are")
        return at.strftime(_JODA[letters])

    return _TOKEN.sub(field, format)


@algorithm("Image.date")
def image_date(image: Any) -> Date:
    """The start time of an image. https://developers.google.com/earth-engine/apidocs/ee-image-date"""
    return dates.parse(property_of(image, "system:time_start"))


@algorithm("DateRange")
def date_range(start: Any, end: Any, time_zone: str | None) -> DateRange:
    """[start, end), or one millisecond from `start`. https://developers.google.com/earth-engine/apidocs/ee-daterange"""
    zone = dates.zone_of(time_zone)
    first = dates.parse(start, zone).millis
    return DateRange(first, first + 1 if end is None else dates.parse(end, zone).millis)


@algorithm("DateRange.start")
def start(date_range: DateRange) -> Date:
    """The first instant. https://developers.google.com/earth-engine/apidocs/ee-daterange-start"""
    return Date(date_range.start)


@algorithm("DateRange.end")
def end(date_range: DateRange) -> Date:
    """The instant after the last. https://developers.google.com/earth-engine/apidocs/ee-daterange-end"""
    return Date(date_range.end)


def _unit_start(at: datetime, unit: str) -> datetime:
    """The first instant of the unit that holds an instant."""
    if unit == "week":
        return at.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=at.weekday())
    fields = {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}
    units = ["year", *fields]
    return at.replace(microsecond=0, **{name: fields[name] for name in units[units.index(unit) + 1 :]})  # type: ignore[arg-type]


def _unit_range(date: Date, unit: str, time_zone: str | None) -> DateRange:
    zone = dates.zone_of(time_zone)
    start = dates.instant(_unit_start(date.local(zone), dates.unit_name(unit)))
    return DateRange(start.millis, start.advance(1, unit, zone).millis)


@algorithm("Date.getRange")
def get_range(date: Date, unit: str, time_zone: str | None) -> DateRange:
    """The whole unit that holds the date; weeks begin on Monday. https://developers.google.com/earth-engine/apidocs/ee-date-getrange"""
    return _unit_range(date, unit, time_zone)


@algorithm("Date.getFraction")
def get_fraction(date: Date, unit: str, time_zone: str | None) -> float:
    """How much of the unit is over. https://developers.google.com/earth-engine/apidocs/ee-date-getfraction"""
    span = _unit_range(date, unit, time_zone)
    return (date.millis - span.start) / (span.end - span.start)


@algorithm("Date.getRelative")
def get_relative(date: Date, unit: str, in_unit: str, time_zone: str | None) -> int:
    """How many whole units of a larger unit are over. https://developers.google.com/earth-engine/apidocs/ee-date-getrelative"""
    zone = dates.zone_of(time_zone)
    start = Date(_unit_range(date, in_unit, time_zone).start)
    name = dates.unit_name(unit)
    if name in ("month", "year"):
        first, now = start.local(zone), date.local(zone)
        months = (now.year - first.year) * 12 + now.month - first.month
        return months if name == "month" else months // 12
    if name in ("day", "week"):
        days = (date.local(zone).date() - start.local(zone).date()).days
        return days if name == "day" else days // 7
    return (date.millis - start.millis) // dates.MILLIS[name]


@algorithm("Date.unitRatio")
def unit_ratio(numerator: str, denominator: str) -> float:
    """The length of one unit in another, months and years by their mean. https://developers.google.com/earth-engine/apidocs/ee-date-unitratio"""
    return _mean_length(numerator) / _mean_length(denominator)


def _mean_length(unit: str) -> float:
    name = dates.unit_name(unit)
    mean = {"month": 365.2425 / 12 * dates.MILLIS["day"], "year": 365.2425 * dates.MILLIS["day"]}
    return dates.MILLIS.get(name) or mean[name]


@algorithm("Date.update")
def update(
    date: Date,
    year: int | None,
    month: int | None,
    day: int | None,
    hour: int | None,
    minute: int | None,
    second: float | None,
    time_zone: str | None,
) -> Date:
    """Some fields set. https://developers.google.com/earth-engine/apidocs/ee-date-update"""
    given = {"year": year, "month": month, "day": day, "hour": hour, "minute": minute}
    fields = {name: value for name, value in given.items() if value is not None}
    if second is not None:
        fields |= {"second": int(second), "microsecond": round(second % 1 * 1_000_000)}
    try:
        return dates.instant(date.local(dates.zone_of(time_zone)).replace(**fields))  # type: ignore[arg-type]
    except (ValueError, OverflowError) as error:
        raise ServiceError(f"Date.update: {error}: {fields}.") from error


@algorithm("Date.parse")
def parse(format: str, date: str, time_zone: str | None) -> Date:
    """A text read by a pattern of YYYY yyyy MM dd DDD HH mm ss. https://developers.google.com/earth-engine/apidocs/ee-date-parse"""
    for found in _TOKEN.finditer(format):
        if found["letters"] is not None and found["letters"] not in _JODA:
            raise not_implemented(f"Date.parse: the pattern letters '{found['letters']}'", "are")
    pattern = _TOKEN.sub(
        lambda found: _JODA[found["letters"]].replace("-", "") if found["letters"] else found["text"] or "'", format
    )
    try:
        return dates.instant(datetime.strptime(date, pattern).replace(tzinfo=dates.zone_of(time_zone)))
    except ValueError as error:
        raise ServiceError(f"Date.parse: '{date:.60}' does not fit the pattern '{format:.60}'.") from error


@algorithm("DateRange.contains")
def contains(date_range: DateRange, other: Any) -> bool:
    """Whether a date or a range lies within. https://developers.google.com/earth-engine/apidocs/ee-daterange-contains"""
    if isinstance(other, DateRange):
        return date_range.start <= other.start and other.end <= date_range.end
    return date_range.start <= dates.parse(other).millis < date_range.end


@algorithm("DateRange.intersects")
def intersects(date_range: DateRange, other: DateRange) -> bool:
    """Whether the two share an instant. https://developers.google.com/earth-engine/apidocs/ee-daterange-intersects"""
    return max(date_range.start, other.start) < min(date_range.end, other.end)


@algorithm("DateRange.intersection")
def intersection(date_range: DateRange, other: DateRange) -> DateRange:
    """What both cover. https://developers.google.com/earth-engine/apidocs/ee-daterange-intersection"""
    start = max(date_range.start, other.start)
    return DateRange(start, max(start, min(date_range.end, other.end)))


@algorithm("DateRange.union")
def union(date_range: DateRange, other: DateRange) -> DateRange:
    """From the first instant to the last. https://developers.google.com/earth-engine/apidocs/ee-daterange-union"""
    return DateRange(min(date_range.start, other.start), max(date_range.end, other.end))


@algorithm("DateRange.isEmpty")
def is_empty(date_range: DateRange) -> bool:
    """Whether it has no instant. https://developers.google.com/earth-engine/apidocs/ee-daterange-isempty"""
    return date_range.start >= date_range.end
