"""Filters: predicates on one element, or on a pair of them in a join.

The left operand is a property of the (left) element or a value; the right one a property of the right element (of the
same one, where there is no pair) or a value. A null operand never passes.
https://developers.google.com/earth-engine/apidocs/ee-filter
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import ServiceError
from ..evaluation.condition import filter_of
from ..evaluation.registry import algorithm
from ..values import date as dates
from ..values.date import Date
from ..values.element import Element, property_of
from ..values.filter import DECISIONS, Filter, between, comparable, shape_of
from ..values.geometry import Geometry
from ..values.shape import intersect


def _register(name: str, decide: Callable[[Any, Any], bool]) -> None:
    full = f"Filter.{name}"

    def apply(left_field: str | None, right_value: Any, right_field: str | None, left_value: Any) -> Filter:
        found = between(full, left_field, right_value, right_field, left_value, decide)
        if name in ("eq", "equals") and left_field is not None and right_field is not None:
            return Filter(found.test, equal=(left_field, right_field))
        return found

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-filter-{name.lower()}"
    algorithm(full)(apply)


for _name, _decide in DECISIONS.items():
    _register(_name, _decide)
for _alias, _name in {
    "eq": "equals",
    "neq": "notEquals",
    "lt": "lessThan",
    "lte": "lessThanOrEquals",
    "gt": "greaterThan",
    "gte": "greaterThanOrEquals",
}.items():
    _register(_alias, DECISIONS[_name])


def _contains_date(span: Any, at: Any) -> bool:
    found, instant = dates.range_of(span), dates.instant_of(at)
    return found is not None and instant is not None and found.start <= instant.millis < found.end


_register("dateRangeContains", _contains_date)


@algorithm("Filter.and")
def all_of(filters: list[Filter]) -> Filter:
    """Passes when every filter does. https://developers.google.com/earth-engine/apidocs/ee-filter-and"""
    return Filter(lambda left, right: all(part.test(left, right) for part in filters))


@algorithm("Filter.or")
def any_of(filters: list[Filter]) -> Filter:
    """Passes when any filter does. https://developers.google.com/earth-engine/apidocs/ee-filter-or"""
    return Filter(lambda left, right: any(part.test(left, right) for part in filters))


@algorithm("Filter.not")
def negated(filter: Filter) -> Filter:
    """Passes when the filter does not. https://developers.google.com/earth-engine/apidocs/ee-filter-not"""
    return Filter(lambda left, right: not filter.test(left, right))


@algorithm("Filter.notNull")
def not_null(properties: list[str]) -> Filter:
    """Passes when all properties are set. https://developers.google.com/earth-engine/apidocs/ee-filter-notnull"""
    return Filter(lambda left, right: all(property_of(left, name) is not None for name in properties))


@algorithm("Filter.rangeContains")
def range_contains(field: str, min_value: Any, max_value: Any) -> Filter:
    """Passes when the property lies in [min, max]. https://developers.google.com/earth-engine/apidocs/ee-filter-rangecontains"""
    at_least, at_most = DECISIONS["greaterThanOrEquals"], DECISIONS["lessThanOrEquals"]

    def test(left: Element, right: Element) -> bool:
        value = property_of(left, field)
        return value is not None and at_least(value, min_value) and at_most(value, max_value)

    return Filter(test)


_FIELDS: dict[str, Callable[[Any], int]] = {
    "year": lambda at: int(at.year),
    "month": lambda at: int(at.month),
    "hour": lambda at: int(at.hour),
    "minute": lambda at: int(at.minute),
    "day_of_year": lambda at: int(at.timetuple().tm_yday),
    "day_of_month": lambda at: int(at.day),
    "day_of_week": lambda at: int(at.isoweekday()),
}


@algorithm("Filter.calendarRange")
def calendar_range(start: int, end: int | None, field: str) -> Filter:
    """Passes when a calendar field of the start time lies in [start, end]; wraps where end < start.

    https://developers.google.com/earth-engine/apidocs/ee-filter-calendarrange
    """
    if field not in _FIELDS:
        raise ServiceError(f"Filter.calendarRange: Unknown field '{field}'. Use one of {', '.join(_FIELDS)}.")
    stop = start if end is None else end

    def test(left: Element, right: Element) -> bool:
        at = property_of(left, "system:time_start")
        if not isinstance(at, (int, float)):
            return False
        value = _FIELDS[field](Date(int(at)).local())
        return start <= value <= stop if start <= stop else value >= start or value <= stop

    return Filter(test)


@algorithm("Filter.dayOfYear")
def day_of_year(start: int, end: int) -> Filter:
    """`start` inclusive, `end` exclusive. https://developers.google.com/earth-engine/apidocs/ee-filter-dayofyear"""
    return calendar_range(start, end - 1, "day_of_year")


@algorithm("Filter.maxDifference")
def max_difference(
    difference: float, left_field: str | None, right_value: Any, right_field: str | None, left_value: Any
) -> Filter:
    """Passes when two numbers differ by at most `difference`. https://developers.google.com/earth-engine/apidocs/ee-filter-maxdifference"""

    def near(a: Any, b: Any) -> bool:
        x, y = comparable(a), comparable(b)
        return isinstance(x, (int, float)) and isinstance(y, (int, float)) and abs(x - y) <= difference

    def measure(left: Element, right: Element) -> float | None:
        x = comparable(left_value if left_field is None else property_of(left, left_field))
        y = comparable(right_value if right_field is None else property_of(right, right_field))
        numbers = isinstance(x, (int, float)) and isinstance(y, (int, float))
        return float(abs(x - y)) if numbers and math.isfinite(x - y) else None

    found = between("Filter.maxDifference", left_field, right_value, right_field, left_value, near)
    return Filter(found.test, measure)


@algorithm("Filter.intersects")
def intersects(
    left_field: str | None, right_value: Any, right_field: str | None, left_value: Any, max_error: Any
) -> Filter:
    """Passes when two geometries share a point; an image counts by its footprint.

    https://developers.google.com/earth-engine/apidocs/ee-filter-intersects
    """
    fixed_left = None if left_value is None else shape_of(left_value)
    fixed_right = None if right_value is None else shape_of(right_value)
    return between(
        "Filter.intersects",
        left_field,
        fixed_right,
        right_field,
        fixed_left,
        lambda a, b: isinstance(a, Geometry) and isinstance(b, Geometry) and intersect(a, b),
    )


@algorithm("Filter.expression")
def expression(expression: str) -> Filter:
    """A filter from a text. https://developers.google.com/earth-engine/apidocs/ee-filter-expression"""
    return filter_of(expression, "Filter.expression")
