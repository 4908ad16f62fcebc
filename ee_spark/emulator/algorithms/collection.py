"""Collections of images or features. https://developers.google.com/earth-engine/apidocs/ee-imagecollection"""

from __future__ import annotations

from typing import Any

from .. import element
from ..element import Collection, Feature, property_of
from ..errors import ServiceError
from ..geometry import Geometry
from ..graph import Function
from ..image import Image
from .composite import merged
from .filters import Filter, order
from .registry import algorithm


@algorithm("Collection")
def of(features: list[Any]) -> Collection:
    """A collection of given elements. https://developers.google.com/earth-engine/apidocs/ee-featurecollection"""
    indexed = []
    for i, member in enumerate(features):
        if isinstance(member, (Image, Feature)) and "system:index" not in member.properties:
            member = member.with_properties({**member.properties, "system:index": str(i)})
        indexed.append(member)
    return element.of_elements(indexed, images=False)


@algorithm("Collection.filter")
def filter_(collection: Collection, filter: Any) -> Collection:
    """The elements that pass. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-filter"""
    if not isinstance(filter, Filter):
        raise ServiceError("Collection.filter with an expression in text is not implemented by this emulator.")
    return collection.derived(lambda: [e for e in collection.elements if filter.passes(e)])


@algorithm("Collection.map")
def map_(collection: Collection, base_algorithm: Function, drop_nulls: bool) -> Collection:
    """A function of each element; results keep the element's index. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-map"""

    def elements() -> list[Any]:
        found = []
        for member in collection.elements:
            result = base_algorithm(member)
            if result is None:
                if drop_nulls:
                    continue
                raise ServiceError("Collection.map: A mapped algorithm must return a Feature or Image, got null.")
            if not isinstance(result, (Image, Feature, Collection)):
                raise ServiceError(
                    f"Collection.map: A mapped algorithm must return a Feature or Image, got {type(result).__name__}."
                )
            index = member.properties.get("system:index")
            if index is not None and result.properties.get("system:index") != index:
                result = result.with_properties({**result.properties, "system:index": index})
            found.append(result)
        return found

    return collection.derived(elements)


@algorithm("Collection.iterate")
def iterate(collection: Collection, function: Function, first: Any) -> Any:
    """A fold over the elements. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-iterate"""
    for member in collection.elements:
        first = function(member, first)
    return first


@algorithm("Collection.first")
def first(collection: Collection) -> Any:
    """The first element, null of an empty collection. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-first"""
    return collection.elements[0] if collection.elements else None


@algorithm("Collection.size")
def size(collection: Collection) -> int:
    """The number of elements. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-size"""
    return len(collection.elements)


@algorithm("Collection.limit")
def limit(collection: Collection, limit: int | None, key: str | None, ascending: bool) -> Collection:
    """Sorted by a property (stable, elements without it last), then at most `limit` elements.

    https://developers.google.com/earth-engine/apidocs/ee-imagecollection-limit
    """

    def elements() -> list[Any]:
        found = list(collection.elements)
        if key is not None:
            having = [e for e in found if property_of(e, key) is not None]
            lacking = [e for e in found if property_of(e, key) is None]
            found = sorted(having, key=lambda e: order(property_of(e, key)), reverse=not ascending) + lacking
        return found if limit is None else found[: max(0, limit)]

    return collection.derived(elements)


@algorithm("Collection.toList")
def to_list(collection: Collection, count: int, offset: int) -> list[Any]:
    """Elements as a list. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-tolist"""
    return list(collection.elements[offset : offset + count])


@algorithm("Collection.merge")
def merge(collection1: Collection, collection2: Collection) -> Collection:
    """The elements of both; indices get the prefixes 1_ and 2_. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-merge"""
    return merged(collection1, collection2)


@algorithm("Collection.flatten")
def flatten(collection: Collection) -> Collection:
    """The elements of collections of a collection. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-flatten"""

    def elements() -> list[Any]:
        found = []
        for outer in collection.elements:
            if not isinstance(outer, Collection):
                raise ServiceError("Collection.flatten: every element must be a collection.")
            found += list(outer.elements)
        return found

    return collection.derived(elements)


@algorithm("Collection.geometry")
def geometry(collection: Collection, max_error: Any) -> Geometry | None:
    """The geometries of all elements. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-geometry"""
    return element.geometry_of(collection)


def _values(collection: Collection, name: str) -> list[Any]:
    found = (property_of(e, name) for e in collection.elements)
    return [value for value in found if value is not None]


@algorithm("AggregateFeatureCollection.array")
def aggregate_array(collection: Collection, property: str) -> list[Any]:
    """A property of every element that has it. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_array"""
    return _values(collection, property)


@algorithm("AggregateFeatureCollection.first")
def aggregate_first(collection: Collection, property: str) -> Any:
    """A property of the first element. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_first"""
    return property_of(collection.elements[0], property) if collection.elements else None


@algorithm("AggregateFeatureCollection.count")
def aggregate_count(collection: Collection, property: str) -> int:
    """How many elements have the property. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_count"""
    return len(_values(collection, property))


@algorithm("AggregateFeatureCollection.min")
def aggregate_min(collection: Collection, property: str) -> Any:
    """The smallest value. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_min"""
    return min(_values(collection, property), key=order, default=None)


@algorithm("AggregateFeatureCollection.max")
def aggregate_max(collection: Collection, property: str) -> Any:
    """The largest value. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-aggregate_max"""
    return max(_values(collection, property), key=order, default=None)
