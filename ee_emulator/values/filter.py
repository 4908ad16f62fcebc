"""Filters as values: predicates on one element, or on a pair of them in a join.

The left operand is a property of the (left) element or a value; the right one a property of the right element (of the
same one, where there is no pair) or a value. A null operand never passes.
https://developers.google.com/earth-engine/apidocs/ee-filter
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

from ..errors import ServiceError
from . import element
from .date import Date
from .element import Collection, Element, Feature, property_of
from .geometry import Geometry, from_geojson
from .image import Image

Operands = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Filter:
    """`test(left element, right element)`; `measure` is the distance of a pair, `equal` the fields of an equality."""

    test: Callable[[Element, Element], bool]
    measure: Callable[[Element, Element], float | None] | None = None
    equal: tuple[str, str] | None = None

    def passes(self, left: Element, right: Element | None = None) -> bool:
        """True when the element, or the pair, passes."""
        return self.test(left, left if right is None else right)


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1; dates compare as milliseconds, unlike kinds by the name of their kind."""
    x, y = comparable(a), comparable(b)
    if isinstance(x, (int, float)) != isinstance(y, (int, float)) or isinstance(x, str) != isinstance(y, str):
        x, y = type(x).__name__, type(y).__name__
    try:
        return int(x > y) - int(x < y)
    except TypeError:
        return 0 if x == y else -1


order = cmp_to_key(compare)
"""`compare` as the key of a sort."""


def comparable(value: Any) -> Any:
    """A value as it is compared: a date by its milliseconds."""
    return value.millis if isinstance(value, Date) else value


def between(
    name: str,
    left_field: str | None,
    right_value: Any,
    right_field: str | None,
    left_value: Any,
    decide: Callable[[Any, Any], bool],
) -> Filter:
    """A filter that decides on two operands."""
    if (left_field is None) == (left_value is None) or (right_field is None) == (right_value is None):
        raise ServiceError(f"{name}: needs exactly one of leftField, leftValue and one of rightField, rightValue.")

    def test(left: Element, right: Element) -> bool:
        first = left_value if left_field is None else field_of(left, left_field)
        second = right_value if right_field is None else field_of(right, right_field)
        return first is not None and second is not None and decide(first, second)

    return Filter(test)


def field_of(member: Element, name: str) -> Any:
    """A property as a filter sees it: `.all` and `.geo` are the geometry."""
    return element.geometry_of(member) if name in (".all", ".geo") else property_of(member, name)


def _equal(a: Any, b: Any) -> bool:
    return bool(comparable(a) == comparable(b))


def _ordered(decide: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    """A comparison that holds only between operands of one kind."""

    def test(a: Any, b: Any) -> bool:
        x, y = comparable(a), comparable(b)
        numbers = isinstance(x, (int, float)) and isinstance(y, (int, float))
        if not numbers and not (isinstance(x, str) and isinstance(y, str)):
            return False
        return decide(compare(x, y))

    return test


def _holds(container: Any, member: Any) -> bool:
    return isinstance(container, (list, tuple)) and any(_equal(part, member) for part in container)


DECISIONS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": _equal,
    "notEquals": lambda a, b: not _equal(a, b),
    "lessThan": _ordered(lambda order: order < 0),
    "lessThanOrEquals": _ordered(lambda order: order <= 0),
    "greaterThan": _ordered(lambda order: order > 0),
    "greaterThanOrEquals": _ordered(lambda order: order >= 0),
    "stringContains": lambda a, b: isinstance(a, str) and str(b) in a,
    "stringStartsWith": lambda a, b: isinstance(a, str) and a.startswith(str(b)),
    "stringEndsWith": lambda a, b: isinstance(a, str) and a.endswith(str(b)),
    "listContains": _holds,
    # The clients' inList(field, list) arrives as listContains; the service's own inList reads the same way.
    "inList": _holds,
}
"""The filters on two plain values, by name."""


def shape_of(value: Any) -> Geometry:
    """The geometry that a filter's value stands for."""
    if isinstance(value, (Image, Feature, Collection)):
        return element.geometry_of(value) or Geometry("GeometryCollection")
    return from_geojson(value, geodesic=True)
