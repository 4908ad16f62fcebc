"""Properties of elements, and conditions. https://developers.google.com/earth-engine/apidocs/ee-element-get"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.description import describe
from ..values.element import Collection, Element, located, property_of
from ..values.geometry import Geometry
from ..values.projection import Projection


@algorithm("Element.get")
def get(object: Element, property: str) -> Any:
    """A property, null where it is not set. https://developers.google.com/earth-engine/apidocs/ee-element-get"""
    return property_of(object, property)


@algorithm("Element.getNumber")
def get_number(object: Element, property: str) -> float:
    """A number property. https://developers.google.com/earth-engine/apidocs/ee-element-getnumber"""
    value = property_of(object, property)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ServiceError(f"Element.getNumber: Property '{property}' is not a number: {value!s:.60}.")
    return value


@algorithm("Element.getString")
def get_string(object: Element, property: str) -> str:
    """A text property. https://developers.google.com/earth-engine/apidocs/ee-element-getstring"""
    value = property_of(object, property)
    if not isinstance(value, str):
        raise ServiceError(f"Element.getString: Property '{property}' is not a string: {value!s:.60}.")
    return value


@algorithm("Element.set")
def set_(object: Element, key: str, value: Any) -> Element:
    """With one property set, or removed by null. https://developers.google.com/earth-engine/apidocs/ee-element-set"""
    kept = {name: old for name, old in object.properties.items() if name != key}
    return object.with_properties(kept if value is None else {**kept, key: value})


@algorithm("Element.setMulti")
def set_multi(object: Element, properties: dict[str, Any]) -> Element:
    """With several properties set. https://developers.google.com/earth-engine/apidocs/ee-element-set"""
    merged = {**object.properties, **properties}
    return object.with_properties({name: value for name, value in merged.items() if value is not None})


@algorithm("Element.propertyNames")
def property_names(element: Element) -> list[str]:
    """The names of the properties. https://developers.google.com/earth-engine/apidocs/ee-element-propertynames"""
    return list(element.properties)


@algorithm("Element.toDictionary")
def to_dictionary(element: Element, properties: list[str] | None) -> dict[str, Any]:
    """The given, or all ordinary properties. https://developers.google.com/earth-engine/apidocs/ee-element-todictionary"""
    if properties is None:
        return {k: v for k, v in element.properties.items() if not k.startswith("system:")}
    return {name: property_of(element, name) for name in properties}


def _copied(
    destination: Element | None, source: Element | None, properties: list[str] | None, exclude: list[str] | None
) -> Element | None:
    if destination is None or source is None:
        return destination
    if properties is not None and exclude is not None:
        raise ServiceError("Element.copyProperties: Parameters 'properties' and 'exclude' exclude each other.")
    if properties is not None:
        found = {name: property_of(source, name) for name in properties}
        copied = {name: value for name, value in found.items() if value is not None}
    else:
        left_out = exclude or []
        copied = {k: v for k, v in source.properties.items() if not k.startswith("system:") and k not in left_out}
    return destination.with_properties({**destination.properties, **copied})


@algorithm("Element.copyProperties")
def copy_properties(
    destination: Element | None, source: Element | None, properties: list[str] | None, exclude: list[str] | None
) -> Element | None:
    """The source's ordinary, or the given properties. https://developers.google.com/earth-engine/apidocs/ee-element-copyproperties"""
    return _copied(destination, source, properties, exclude)


@algorithm("Image.copyProperties")
def copy_image_properties(
    destination: Element | None, source: Element | None, properties: list[str] | None, exclude: list[str] | None
) -> Element | None:
    """The source's ordinary, or the given properties. https://developers.google.com/earth-engine/apidocs/ee-image-copyproperties"""
    return _copied(destination, source, properties, exclude)


def _index(element: Element) -> str:
    index = element.properties.get("system:index")
    if not isinstance(index, str):
        raise ServiceError("Element.id: the element is in no collection and has no id.")
    return index


@algorithm("Image.id")
def image_id(element: Element) -> str:
    """The element's id in its collection. https://developers.google.com/earth-engine/apidocs/ee-image-id"""
    return _index(element)


@algorithm("Feature.id")
def feature_id(element: Element) -> str:
    """The element's id in its collection. https://developers.google.com/earth-engine/apidocs/ee-feature-id"""
    return _index(element)


@algorithm("If", lazy=True)
def if_(condition: Callable[[], Any], true_case: Callable[[], Any], false_case: Callable[[], Any]) -> Any:
    """One of two values; only the chosen one is computed. https://developers.google.com/earth-engine/apidocs/ee-algorithms-if

    False are null, false, 0, the empty text and the empty list.
    """
    chosen = condition()
    return true_case() if chosen is not None and chosen not in (0, "", [], False) else false_case()


@algorithm("Element.replaceProperties")
def replace_properties(destination: Element, source: Element | None) -> Element:
    """The source's properties instead of the element's, but for its index. https://developers.google.com/earth-engine/apidocs/ee-element"""
    index = destination.properties.get("system:index")
    found = {} if source is None else dict(source.properties)
    return destination.with_properties(found if index is None else {**found, "system:index": index})


@algorithm("Element.geometry")
def geometry(feature: Element, max_error: Any, proj: Projection | None, geodesics: bool | None) -> Geometry | None:
    """Where the element lies, in longitude and latitude. https://developers.google.com/earth-engine/apidocs/ee-feature-geometry"""
    return located(feature, proj, "Element.geometry")


@algorithm("IsEqual")
def is_equal(left: Any, right: Any) -> bool:
    """Whether two values are equal. https://developers.google.com/earth-engine/apidocs/ee-algorithms-isequal"""
    return bool(describe(left) == describe(right))


@algorithm("ObjectType")
def object_type(value: Any) -> str:
    """The name of a value's type. https://developers.google.com/earth-engine/apidocs/ee-algorithms-objecttype"""
    if isinstance(value, Collection):
        return "ImageCollection" if value.images else "FeatureCollection"
    names = {bool: "Boolean", int: "Integer", float: "Float", str: "String", list: "List", dict: "Dictionary"}
    return names.get(type(value), "Object" if value is None else type(value).__name__)
