"""Joins of two collections. https://developers.google.com/earth-engine/guides/joins_intro"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ..evaluation.registry import algorithm
from ..values.element import Collection, Element, Feature, of_elements, property_of
from ..values.filter import Filter, order
from ..values.join import Join, Matches


def _sorted(matches: Matches, ordering: str | None, ascending: bool) -> Matches:
    if ordering is None:
        return matches
    return sorted(matches, key=lambda match: order(property_of(match[0], ordering)), reverse=not ascending)


def _with(left: Element, values: dict[str, Any]) -> Element:
    return left.with_properties({**left.properties, **values})


def _measured(match: tuple[Element, float | None], key: str | None) -> Element:
    return match[0] if key is None else _with(match[0], {key: match[1]})


@algorithm("Join.simple")
def simple() -> Join:
    """Left elements with any match. https://developers.google.com/earth-engine/apidocs/ee-join-simple"""
    return Join(lambda left, matches: [left] if matches else [])


@algorithm("Join.inverted")
def inverted() -> Join:
    """Left elements without a match. https://developers.google.com/earth-engine/apidocs/ee-join-inverted"""
    return Join(lambda left, matches: [] if matches else [left])


@algorithm("Join.saveFirst")
def save_first(match_key: str, ordering: str | None, ascending: bool, measure_key: str | None, outer: bool) -> Join:
    """Left elements with their first match as a property. https://developers.google.com/earth-engine/apidocs/ee-join-savefirst"""

    def combine(left: Element, matches: Matches) -> list[Element]:
        if not matches:
            return [left] if outer else []
        return [_with(left, {match_key: _measured(_sorted(matches, ordering, ascending)[0], measure_key)})]

    return Join(combine, measure_key is not None)


@algorithm("Join.saveBest")
def save_best(match_key: str, measure_key: str, outer: bool) -> Join:
    """Left elements with their match of the smallest measure. https://developers.google.com/earth-engine/apidocs/ee-join-savebest"""

    def combine(left: Element, matches: Matches) -> list[Element]:
        if not matches:
            return [left] if outer else []
        best = min(matches, key=lambda match: float("inf") if match[1] is None else match[1])
        return [_with(left, {match_key: _measured(best, measure_key)})]

    return Join(combine, measured=True)


@algorithm("Join.saveAll")
def save_all(matches_key: str, ordering: str | None, ascending: bool, measure_key: str | None, outer: bool) -> Join:
    """Left elements with the list of their matches. https://developers.google.com/earth-engine/apidocs/ee-join-saveall"""

    def combine(left: Element, matches: Matches) -> list[Element]:
        if not matches and not outer:
            return []
        found = [_measured(match, measure_key) for match in _sorted(matches, ordering, ascending)]
        return [_with(left, {matches_key: found})]

    return Join(combine, measure_key is not None)


@algorithm("Join.inner")
def inner(primary_key: str, secondary_key: str, measure_key: str | None) -> Join:
    """One feature for each pair. https://developers.google.com/earth-engine/apidocs/ee-join-inner"""

    def combine(left: Element, matches: Matches) -> list[Element]:
        found: list[Element] = []
        for right, measure in matches:
            extra = {} if measure_key is None else {measure_key: measure}
            found.append(Feature(None, {primary_key: left, secondary_key: right, **extra}))
        return found

    return Join(combine, measure_key is not None)


@algorithm("Join.apply")
def apply(join: Join, primary: Collection, secondary: Collection, condition: Filter) -> Collection:
    """The joined collection, in the primary's order. https://developers.google.com/earth-engine/apidocs/ee-join-apply"""

    def elements() -> list[Element]:
        candidates = _candidates(condition, secondary.elements)
        found: list[Element] = []
        for left in primary.elements:
            matches: Matches = []
            for right in candidates(left):
                if condition.passes(left, right):
                    measure = condition.measure(left, right) if join.measured and condition.measure else None
                    matches.append((right, measure))
            found += join.combine(left, matches)
        return found

    result = of_elements([], images=primary.images)
    return result.derived(elements)


def _candidates(condition: Filter, rights: Sequence[Element]) -> Callable[[Element], Sequence[Element]]:
    """The right elements worth testing: those with the same key, where the condition is one equality."""
    if condition.equal is None:
        return lambda left: rights
    left_field, right_field = condition.equal
    by_value: dict[Any, list[Element]] = defaultdict(list)
    for right in rights:
        value = property_of(right, right_field)
        if not isinstance(value, (str, int, float)):
            if value is None:
                continue
            return lambda left: rights
        by_value[value].append(right)

    def same(left: Element) -> Sequence[Element]:
        value = property_of(left, left_field)
        return by_value.get(value, []) if isinstance(value, (str, int, float)) else rights

    return same
