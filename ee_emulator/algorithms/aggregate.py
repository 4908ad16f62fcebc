"""Statistics of the properties of a collection's elements. https://developers.google.com/earth-engine/guides/feature_collection_info"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from ..errors import ServiceError, not_implemented
from ..evaluation.registry import algorithm
from ..values.element import Collection, property_of
from ..values.filter import order
from ..values.reducer import Reducer, stack_of
from .string import text_of


def values(collection: Collection, name: str) -> list[Any]:
    """A property of every element that has it."""
    found = (property_of(e, name) for e in collection.elements)
    return [value for value in found if value is not None]


@algorithm("AggregateFeatureCollection.array")
def aggregate_array(collection: Collection, property: str) -> list[Any]:
    """A property of every element that has it. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_array"""
    return values(collection, property)


@algorithm("AggregateFeatureCollection.first")
def aggregate_first(collection: Collection, property: str) -> Any:
    """A property of the first element. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_first"""
    return property_of(collection.elements[0], property) if collection.elements else None


@algorithm("AggregateFeatureCollection.count")
def aggregate_count(collection: Collection, property: str) -> int:
    """How many elements have the property. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_count"""
    return len(values(collection, property))


@algorithm("AggregateFeatureCollection.min")
def aggregate_min(collection: Collection, property: str) -> Any:
    """The smallest value. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_min"""
    return min(values(collection, property), key=order, default=None)


@algorithm("AggregateFeatureCollection.max")
def aggregate_max(collection: Collection, property: str) -> Any:
    """The largest value. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_max"""
    return max(values(collection, property), key=order, default=None)


def _numbers(collection: Collection, name: str, operation: str) -> list[float]:
    found = values(collection, name)
    for value in found:
        if not isinstance(value, (int, float)):
            raise ServiceError(f"{operation}: Property '{name}' is not a number: {value!s:.60}.")
    return found


def _statistics(numbers: list[float]) -> dict[str, Any]:
    """What stats gives; null where there are too few numbers."""
    n = len(numbers)
    mean = math.fsum(numbers) / n if n else None
    squares = math.fsum((value - mean) ** 2 for value in numbers) if mean is not None else 0.0
    total = squares / n if n else None
    sample = squares / (n - 1) if n > 1 else None
    return {
        "max": max(numbers, default=None),
        "mean": mean,
        "min": min(numbers, default=None),
        "sample_sd": None if sample is None else math.sqrt(sample),
        "sample_var": sample,
        "sum": sum(numbers),
        "sum_sq": math.fsum(value**2 for value in numbers),
        "total_count": n,
        "total_sd": None if total is None else math.sqrt(total),
        "total_var": total,
        "valid_count": n,
        "weight_sum": n,
        "weighted_sum": sum(numbers),
    }


@algorithm("AggregateFeatureCollection.stats")
def stats(collection: Collection, property: str) -> dict[str, Any]:
    """All the statistics at once. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_stats"""
    found = _statistics(_numbers(collection, property, "AggregateFeatureCollection.stats"))
    keys = ("max", "mean", "min", "sample_sd", "sample_var", "sum", "sum_sq", "total_count", "total_sd", "total_var")
    return {key: found[key] for key in (*keys, "valid_count", "weight_sum", "weighted_sum")}


def _register(name: str) -> None:
    def apply(collection: Collection, property: str) -> Any:
        return _statistics(_numbers(collection, property, f"AggregateFeatureCollection.{name}"))[name]

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_{name}"
    algorithm(f"AggregateFeatureCollection.{name}")(apply)


for _name in ("mean", "sum", "sample_sd", "sample_var", "total_sd", "total_var"):
    _register(_name)


@algorithm("AggregateFeatureCollection.product")
def product(collection: Collection, property: str) -> float:
    """The product. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_product"""
    return math.prod(map(float, _numbers(collection, property, "AggregateFeatureCollection.product")))


@algorithm("AggregateFeatureCollection.count_distinct")
def count_distinct(collection: Collection, property: str) -> int:
    """How many values there are. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_count_distinct"""
    return len({text_of(value) for value in values(collection, property)})


@algorithm("AggregateFeatureCollection.histogram")
def histogram(collection: Collection, property: str) -> dict[str, int]:
    """How often each value is there. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_histogram"""
    counts = Counter(text_of(value) for value in sorted(values(collection, property), key=order))
    return dict(counts)


@algorithm("Collection.reduceColumns")
def reduce_columns(
    collection: Collection, reducer: Reducer, selectors: list[str], weight_selectors: list[str] | None
) -> dict[str, Any]:
    """A reducer over properties, one for each of its inputs; elements that lack a property are left out.

    https://developers.google.com/earth-engine/apidocs/ee-featurecollection-reducecolumns
    """
    operation = "Collection.reduceColumns"
    if weight_selectors is not None:
        raise not_implemented(f"{operation} with 'weightSelectors'")
    if len(selectors) != reducer.inputs:
        raise ServiceError(
            f"{operation}: Need {reducer.inputs} inputs for the reducer, got {len(selectors)} selectors."
        )
    needed = reducer.inputs - reducer.optional
    rows = [[property_of(member, name) for name in selectors] for member in collection.elements]
    rows = [row for row in rows if all(value is not None for value in row[:needed])]
    stacks = [stack_of([row[i] for row in rows]) for i in range(reducer.inputs)]
    return reducer.scalars([values for values, _ in stacks], [weights for _, weights in stacks])
