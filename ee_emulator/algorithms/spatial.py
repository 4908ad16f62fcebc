"""Filters on how geometries lie. https://developers.google.com/earth-engine/apidocs/ee-filter-withindistance"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..evaluation.registry import algorithm
from ..evaluation.relation import at_least, gap, related
from ..values.element import Element
from ..values.filter import Filter, between, field_of, shape_of
from ..values.geometry import Geometry
from ..values.shape import intersect


def _register(name: str, decide: Callable[[Geometry, Geometry], bool], about: str) -> None:
    full = f"Filter.{name}"

    def apply(
        left_field: str | None, right_value: Any, right_field: str | None, left_value: Any, max_error: Any
    ) -> Filter:
        return between(full, left_field, _shape(right_value), right_field, _shape(left_value), _decided(decide))

    apply.__doc__ = f"{about} https://developers.google.com/earth-engine/apidocs/ee-filter-{name.lower()}"
    algorithm(full)(apply)


def _shape(value: Any) -> Geometry | None:
    return None if value is None else shape_of(value)


def _decided(decide: Callable[[Geometry, Geometry], bool]) -> Callable[[Any, Any], bool]:
    return lambda a, b: isinstance(a, Geometry) and isinstance(b, Geometry) and decide(a, b)


_register("contains", lambda a, b: related("contains", a, b), "Passes when the left geometry contains the right one.")
_register("isContained", lambda a, b: related("containedIn", a, b), "Passes when the right one contains the left one.")
_register("disjoint", lambda a, b: not intersect(a, b), "Passes when the two share no point.")


@algorithm("Filter.withinDistance")
def within_distance(
    distance: float,
    left_field: str | None,
    right_value: Any,
    right_field: str | None,
    left_value: Any,
    max_error: Any,
) -> Filter:
    """Passes when two geometries are at most so many metres apart, which is a join's measure.

    https://developers.google.com/earth-engine/apidocs/ee-filter-withindistance
    """
    fixed_left, fixed_right = _shape(left_value), _shape(right_value)

    def near(a: Geometry, b: Geometry) -> bool:
        found = gap(a, b) if at_least(a, b) <= distance else None
        return found is not None and found <= distance

    def measure(left: Element, right: Element) -> float | None:
        a = fixed_left if left_field is None else field_of(left, left_field)
        b = fixed_right if right_field is None else field_of(right, right_field)
        return gap(a, b) if isinstance(a, Geometry) and isinstance(b, Geometry) else None

    found = between("Filter.withinDistance", left_field, fixed_right, right_field, fixed_left, _decided(near))
    return Filter(found.test, measure)
