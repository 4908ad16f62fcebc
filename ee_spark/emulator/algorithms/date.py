"""Dates and ranges of dates. https://developers.google.com/earth-engine/apidocs/ee-date"""

from __future__ import annotations

import re
from typing import Any

from .. import moment
from ..element import property_of
from ..errors import ServiceError
from ..moment import Date, DateRange
from .registry import algorithm


@algorithm("Date")
def date(value: Any, time_zone: str | None) -> Date:
    """Milliseconds or ISO text as a date. https://developers.google.com/earth-engine/apidocs/ee-date"""
    return moment.parse(value, moment.zone_of(time_zone))


@algorithm("Date.fromYMD")
def from_ymd(year: int, month: int, day: int, time_zone: str | None) -> Date:
    """Midnight of a day. https://developers.google.com/earth-engine/apidocs/ee-date-fromymd"""
    return moment.parse(f"{year:04d}-{month:02d}-{day:02d}", moment.zone_of(time_zone))


@algorithm("Date.millis")
def millis(date: Date) -> int:
    """Milliseconds since 1970. https://developers.google.com/earth-engine/apidocs/ee-date-millis"""
    return date.millis


@algorithm("Date.advance")
def advance(date: Date, delta: float, unit: str, time_zone: str | None) -> Date:
    """Units later. https://developers.google.com/earth-engine/apidocs/ee-date-advance"""
    return date.advance(delta, unit, moment.zone_of(time_zone))


@algorithm("Date.difference")
def difference(date: Date, start: Date, unit: str) -> float:
    """Units from `start` to `date`, by the mean length of a month or year. https://developers.google.com/earth-engine/apidocs/ee-date-difference"""
    name = moment.unit_name(unit)
    mean = {"month": 365.2425 / 12 * moment.MILLIS["day"], "year": 365.2425 * moment.MILLIS["day"]}
    return (date.millis - start.millis) / (moment.MILLIS.get(name) or mean[name])


@algorithm("Date.get")
def get(date: Date, unit: str, time_zone: str | None) -> int:
    """One calendar field. https://developers.google.com/earth-engine/apidocs/ee-date-get"""
    at = date.local(moment.zone_of(time_zone))
    name = moment.unit_name(unit)
    return at.isocalendar().week if name == "week" else int(getattr(at, name))


_JODA = {"YYYY": "%Y", "yyyy": "%Y", "MM": "%m", "dd": "%d", "DDD": "%j", "HH": "%H", "mm": "%M", "ss": "%S"}
_TOKEN = re.compile(r"'(?P<text>[^']*)'|(?P<letters>([A-Za-z])\3*)")


@algorithm("Date.format")
def format_(date: Date, format: str | None, time_zone: str | None) -> str:
    """ISO text, or a pattern of YYYY yyyy MM dd DDD HH mm ss SSS. https://developers.google.com/earth-engine/apidocs/ee-date-format"""
    at = date.local(moment.zone_of(time_zone))
    if format is None:
        return at.strftime("%Y-%m-%dT%H:%M:%S")

    def field(found: re.Match[str]) -> str:
        letters = found["letters"]
        if letters is None:
            return found["text"] or "'"
        if letters == "SSS":
            return f"{at.microsecond // 1000:03d}"
        if letters not in _JODA:
            raise ServiceError(f"Date.format: the pattern letters '{letters}' are not implemented by this emulator.")
        return at.strftime(_JODA[letters])

    return _TOKEN.sub(field, format)


@algorithm("Image.date")
def image_date(image: Any) -> Date:
    """The start time of an image. https://developers.google.com/earth-engine/apidocs/ee-image-date"""
    return moment.parse(property_of(image, "system:time_start"))


@algorithm("DateRange")
def date_range(start: Any, end: Any, time_zone: str | None) -> DateRange:
    """[start, end), or one millisecond from `start`. https://developers.google.com/earth-engine/apidocs/ee-daterange"""
    zone = moment.zone_of(time_zone)
    first = moment.parse(start, zone).millis
    return DateRange(first, first + 1 if end is None else moment.parse(end, zone).millis)


@algorithm("DateRange.start")
def start(date_range: DateRange) -> Date:
    """The first instant. https://developers.google.com/earth-engine/apidocs/ee-daterange-start"""
    return Date(date_range.start)


@algorithm("DateRange.end")
def end(date_range: DateRange) -> Date:
    """The instant after the last. https://developers.google.com/earth-engine/apidocs/ee-daterange-end"""
    return Date(date_range.end)
