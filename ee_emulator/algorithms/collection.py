"""Collections of images or features. https://developers.google.com/earth-engine/apidocs/ee-imagecollection"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from ..errors import ServiceError
from ..evaluation.argument import mismatch
from ..evaluation.condition import filter_of
from ..evaluation.registry import algorithm
from ..values import element
from ..values.description import describe
from ..values.element import Collection, Feature, merged, property_of
from ..values.filter import Filter, compare, order
from ..values.function import Function
from ..values.geometry import Geometry, rectangle
from ..values.image import Image
from ..values.projection import Projection


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
    """The elements that pass a filter or a condition in text. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-filter"""
    chosen = filter_of(filter, "Collection.filter") if isinstance(filter, str) else filter
    if not isinstance(chosen, Filter):
        raise mismatch(filter, "Filter", "Collection.filter: Parameter 'filter'")
    return collection.derived(lambda: [e for e in collection.elements if chosen.passes(e)])


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


@algorithm("Collection.bounds")
def bounds(collection: Collection, max_error: Any, proj: Projection) -> Geometry:
    """The bounding box of all geometries. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-bounds"""
    found = element.geometry_of(collection)
    if found is None or found.box is None:
        raise ServiceError("Collection.bounds: the collection has no geometry.")
    return rectangle(found.box)


@algorithm("Collection.distinct")
def distinct(collection: Collection, properties: Any) -> Collection:
    """The first element of each combination of some properties. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-distinct"""
    names = [properties] if isinstance(properties, str) else properties
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ServiceError("Collection.distinct: Parameter 'properties' must be a name or a list of names.")

    def elements() -> list[Any]:
        seen: set[str] = set()
        found = []
        for member in collection.elements:
            key = json.dumps([describe(property_of(member, name)) for name in names], sort_keys=True)
            if key not in seen:
                seen.add(key)
                found.append(member)
        return found

    return collection.derived(elements)


@algorithm("Collection.remap")
def remap(collection: Collection, lookup_in: list[Any], lookup_out: list[int], column_name: str) -> Collection:
    """A property by a table; elements with another value are dropped. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-remap"""
    if len(lookup_in) != len(lookup_out):
        raise ServiceError(f"Collection.remap: lists of {len(lookup_in)} and {len(lookup_out)} values.")

    def elements() -> list[Any]:
        found = []
        for member in collection.elements:
            value = property_of(member, column_name)
            at = next((i for i, known in enumerate(lookup_in) if compare(known, value) == 0), None)
            if value is not None and at is not None:
                found.append(member.with_properties({**member.properties, column_name: lookup_out[at]}))
        return found

    return collection.derived(elements)


@algorithm("Collection.randomColumn")
def random_column(
    collection: Collection, column_name: str, seed: int, distribution: str, row_keys: list[str]
) -> Collection:
    """A random number for each element, the same for the same keys and seed, but not Earth Engine's own.

    https://developers.google.com/earth-engine/apidocs/ee-featurecollection-randomcolumn
    """
    if distribution not in ("uniform", "normal"):
        raise ServiceError(f"Collection.randomColumn: Unknown distribution '{distribution:.60}'.")

    def drawn(member: Any) -> float:
        keys = json.dumps([describe(property_of(member, name)) for name in row_keys])
        digest = hashlib.blake2b(f"{seed}:{keys}".encode(), digest_size=16).digest()
        a, b = (int.from_bytes(part, "big") >> 11 for part in (digest[:8], digest[8:]))
        if distribution == "uniform":
            return a / 2.0**53
        return math.sqrt(-2 * math.log(1 - a / 2.0**53)) * math.cos(2 * math.pi * b / 2.0**53)

    return collection.derived(
        lambda: [m.with_properties({**m.properties, column_name: drawn(m)}) for m in collection.elements]
    )


@algorithm("Collection.fromColumns")
def from_columns(columns: list[Any], property_names: list[str], property_types: list[Any] | None) -> Collection:
    """Features without geometry from lists of values. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-fromcolumns"""
    if len(columns) != len(property_names) or len({len(column) for column in columns if isinstance(column, list)}) > 1:
        raise ServiceError("Collection.fromColumns: one list for each property is needed, all of one length.")
    if not all(isinstance(column, list) for column in columns):
        raise ServiceError("Collection.fromColumns: every column must be a list.")
    rows = [dict(zip(property_names, row, strict=True)) for row in zip(*columns, strict=True)]
    return of([Feature(None, row) for row in rows])


@algorithm("Collection.cache")
def cache(collection: Collection) -> Collection:
    """The same collection. https://developers.google.com/earth-engine/apidocs/ee-featurecollection"""
    return collection
