"""Lists. https://developers.google.com/earth-engine/apidocs/ee-list"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.element import Collection, Element, Feature
from ..values.filter import Filter, order
from ..values.function import Function
from ..values.image import Image
from ..values.reducer import Reducer, stack_of
from .dictionary import KINDS
from .string import text_of

Values = list[Any]

_LONGEST = 200_000
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


@algorithm("List.equals")
def equals(list: Values, other: Values) -> bool:
    """Whether both have the same elements in the same order. https://developers.google.com/earth-engine/apidocs/ee-list-equals"""
    return list == other


@algorithm("List.containsAll")
def contains_all(list: Values, other: Values) -> bool:
    """Whether the list has every element of the other. https://developers.google.com/earth-engine/apidocs/ee-list-containsall"""
    return all(element in list for element in other)


@algorithm("List.frequency")
def frequency(list: Values, element: Any) -> int:
    """How often the element is there. https://developers.google.com/earth-engine/apidocs/ee-list-frequency"""
    return list.count(element)


@algorithm("List.filter")
def filter_(list: Values, filter: Filter) -> Values:
    """The elements that pass a filter; a plain element is the property `item` of what is tested.

    https://developers.google.com/earth-engine/apidocs/ee-list-filter
    """

    def tested(element: Any) -> Element:
        return element if isinstance(element, (Image, Feature, Collection)) else Feature(None, {"item": element})

    return [element for element in list if filter.passes(tested(element))]


@algorithm("List.insert")
def insert(list: Values, index: int, element: Any) -> Values:
    """One more element at an index. https://developers.google.com/earth-engine/apidocs/ee-list-insert"""
    if not -len(list) <= index <= len(list):
        raise ServiceError(f"List.insert: index {index} is outside a list of {len(list)} elements.")
    at = index if index >= 0 else len(list) + index
    return [*list[:at], element, *list[at:]]


@algorithm("List.set")
def set_(list: Values, index: int, element: Any) -> Values:
    """Another element at an index. https://developers.google.com/earth-engine/apidocs/ee-list-set"""
    at = _place(list, index, "List.set")
    return [*list[:at], element, *list[at + 1 :]]


@algorithm("List.swap")
def swap(list: Values, pos1: int, pos2: int) -> Values:
    """Two elements exchanged. https://developers.google.com/earth-engine/apidocs/ee-list-swap"""
    a, b = _place(list, pos1, "List.swap"), _place(list, pos2, "List.swap")
    found = [*list]
    found[a], found[b] = found[b], found[a]
    return found


@algorithm("List.splice")
def splice(list: Values, start: int, count: int, other: Values | None) -> Values:
    """`count` elements from `start` replaced by others. https://developers.google.com/earth-engine/apidocs/ee-list-splice"""
    at = max(0, start if start >= 0 else len(list) + start)
    return [*list[:at], *(other or []), *list[at + max(0, count) :]]


@algorithm("List.remove")
def remove(list: Values, element: Any) -> Values:
    """Without the first such element. https://developers.google.com/earth-engine/apidocs/ee-list-remove"""
    if element not in list:
        return list
    at = list.index(element)
    return [*list[:at], *list[at + 1 :]]


@algorithm("List.removeAll")
def remove_all(list: Values, other: Values) -> Values:
    """Without any element of the other list. https://developers.google.com/earth-engine/apidocs/ee-list-removeall"""
    return [element for element in list if element not in other]


@algorithm("List.replace")
def replace(list: Values, oldval: Any, newval: Any) -> Values:
    """The first such element replaced. https://developers.google.com/earth-engine/apidocs/ee-list-replace"""
    return set_(list, list.index(oldval), newval) if oldval in list else list


@algorithm("List.replaceAll")
def replace_all(list: Values, oldval: Any, newval: Any) -> Values:
    """Every such element replaced. https://developers.google.com/earth-engine/apidocs/ee-list-replaceall"""
    return [newval if element == oldval else element for element in list]


@algorithm("List.rotate")
def rotate(list: Values, distance: int) -> Values:
    """Elements moved towards the start, those that fall off put at the end. https://developers.google.com/earth-engine/apidocs/ee-list-rotate"""
    at = distance % len(list) if list else 0
    return [*list[at:], *list[:at]]


@algorithm("List.unzip")
def unzip(list: Values) -> Values:
    """Lists of the first and second elements, as long as the shortest. https://developers.google.com/earth-engine/apidocs/ee-list-unzip"""
    if not all(isinstance(row, (tuple, type([]))) for row in list):
        raise ServiceError("List.unzip: every element must be a list.")
    return [[*column] for column in zip(*list, strict=False)]


@algorithm("List.reduce")
def reduce(list: Values, reducer: Reducer) -> Any:
    """A reducer over the elements; over rows of a list for a reducer of several inputs. A single output as it is.

    https://developers.google.com/earth-engine/apidocs/ee-list-reduce
    """
    rows = [row if isinstance(row, type([])) else [row] for row in list] if reducer.inputs > 1 else [[v] for v in list]
    if any(len(row) != reducer.inputs for row in rows):
        raise ServiceError(f"List.reduce: every element must be a list of {reducer.inputs} values.")
    stacks = [stack_of([row[i] for row in rows]) for i in range(reducer.inputs)]
    found = reducer.scalars([values for values, _ in stacks], [weights for _, weights in stacks])
    return found[reducer.names[0]] if len(found) == 1 else found


def _place(list: Values, index: int, operation: str) -> int:
    if not -len(list) <= index < len(list):
        raise ServiceError(f"{operation}: index {index} is outside a list of {len(list)} elements.")
    return index if index >= 0 else len(list) + index


def _typed(name: str, kinds: tuple[type, ...], what: str) -> None:
    def apply(list: Values, index: int) -> Any:
        value = get(list, index)
        if not isinstance(value, kinds):
            raise ServiceError(f"List.{name}: element {index} is not a {what}: {value!s:.60}.")
        return value

    apply.__doc__ = (
        f"The element at an index, a {what}. https://developers.google.com/earth-engine/apidocs/ee-list-{name.lower()}"
    )
    algorithm(f"List.{name}")(apply)


for _name, (_kinds, _what) in KINDS.items():
    _typed(_name, _kinds, _what)
