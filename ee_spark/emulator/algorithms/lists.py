"""Lists. https://developers.google.com/earth-engine/apidocs/ee-list"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError
from ..graph import Function
from .filters import order
from .registry import algorithm
from .string import text_of

Values = list[Any]

_LONGEST = 1_000_000
"""Elements that a generated list may have."""


@algorithm("List.get")
def get(list: Values, index: int) -> Any:
    """The element at an index, from the end when negative. https://developers.google.com/earth-engine/apidocs/ee-list-get"""
    if not -len(list) <= index < len(list):
        raise ServiceError(
            f"List.get: List index must be between 0 and {len(list) - 1}, or -{len(list)} and -1. Found {index}."
        )
    return list[index]


@algorithm("List.size")
def size(list: Values) -> int:
    """The number of elements. https://developers.google.com/earth-engine/apidocs/ee-list-size"""
    return len(list)


@algorithm("List.length")
def length(list: Values) -> int:
    """The number of elements. https://developers.google.com/earth-engine/apidocs/ee-list-length"""
    return len(list)


@algorithm("List.map")
def map_(list: Values, base_algorithm: Function, drop_nulls: bool) -> Values:
    """A function of each element. https://developers.google.com/earth-engine/apidocs/ee-list-map"""
    found = [base_algorithm(element) for element in list]
    return [value for value in found if value is not None] if drop_nulls else found


@algorithm("List.iterate")
def iterate(list: Values, function: Function, first: Any) -> Any:
    """A fold over the elements. https://developers.google.com/earth-engine/apidocs/ee-list-iterate"""
    for element in list:
        first = function(element, first)
    return first


@algorithm("List.add")
def add(list: Values, element: Any) -> Values:
    """One more element. https://developers.google.com/earth-engine/apidocs/ee-list-add"""
    return [*list, element]


@algorithm("List.cat")
def cat(list: Values, other: Values) -> Values:
    """Both lists. https://developers.google.com/earth-engine/apidocs/ee-list-cat"""
    return [*list, *other]


@algorithm("List.contains")
def contains(list: Values, element: Any) -> bool:
    """Whether the list has the element. https://developers.google.com/earth-engine/apidocs/ee-list-contains"""
    return element in list


@algorithm("List.indexOf")
def index_of(list: Values, element: Any) -> int:
    """Where the element first is, or -1. https://developers.google.com/earth-engine/apidocs/ee-list-indexof"""
    return list.index(element) if element in list else -1


@algorithm("List.reverse")
def reverse(list: Values) -> Values:
    """From the end. https://developers.google.com/earth-engine/apidocs/ee-list-reverse"""
    return list[::-1]


@algorithm("List.slice")
def slice_(list: Values, start: int, end: int | None, step: int | None) -> Values:
    """From `start` to before `end`. https://developers.google.com/earth-engine/apidocs/ee-list-slice"""
    if step == 0:
        raise ServiceError("List.slice: Parameter 'step' must not be 0.")
    return list[start:end:step]


@algorithm("List.sort")
def sort(list: Values, keys: Values | None) -> Values:
    """Ascending, by `keys` where given. https://developers.google.com/earth-engine/apidocs/ee-list-sort"""
    by = list if keys is None else keys
    if len(by) != len(list):
        raise ServiceError(f"List.sort: {len(by)} keys for {len(list)} elements.")
    return [list[i] for i in sorted(range(len(list)), key=lambda i: order(by[i]))]


@algorithm("List.distinct")
def distinct(list: Values) -> Values:
    """Without repetitions. https://developers.google.com/earth-engine/apidocs/ee-list-distinct"""
    found: Values = []
    for element in list:
        if element not in found:
            found.append(element)
    return found


@algorithm("List.flatten")
def flatten(list: Values) -> Values:
    """Nested lists in one. https://developers.google.com/earth-engine/apidocs/ee-list-flatten"""
    return _flat(list)


def _flat(values: Values) -> Values:
    found: Values = []
    for value in values:
        found += _flat(list(value)) if isinstance(value, (list, tuple)) else [value]
    return found


@algorithm("List.join")
def join(list: Values, separator: str) -> str:
    """One text. https://developers.google.com/earth-engine/apidocs/ee-list-join"""
    return separator.join(text_of(element) for element in list)


@algorithm("List.repeat")
def repeat(value: Any, count: int) -> Values:
    """One value `count` times. https://developers.google.com/earth-engine/apidocs/ee-list-repeat"""
    return [value] * _limited("List.repeat", count)


@algorithm("List.zip")
def zip_(list: Values, other: Values) -> Values:
    """Pairs, as long as the shorter list. https://developers.google.com/earth-engine/apidocs/ee-list-zip"""
    return [[a, b] for a, b in zip(list, other, strict=False)]


@algorithm("List.sequence")
def sequence(start: float, end: float | None, step: float, count: int | None) -> Values:
    """start, start + step … up to `end` inclusive, or `count` numbers. https://developers.google.com/earth-engine/apidocs/ee-list-sequence"""
    if count is None:
        if end is None or step == 0:
            raise ServiceError("List.sequence: needs 'end' or 'count', and a 'step' that is not 0.")
        count = int((end - start) / step + 1e-9) + 1
    elif end is not None:
        step = (end - start) / (count - 1) if count > 1 else 0
    found = [start + i * step for i in range(_limited("List.sequence", max(0, count)))]
    return [int(value) if float(value).is_integer() else value for value in found]


def _limited(operation: str, count: int) -> int:
    if not 0 <= count <= _LONGEST:
        raise ServiceError(f"{operation}: a list of {count} elements; between 0 and {_LONGEST} are allowed.")
    return count
