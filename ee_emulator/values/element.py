"""Features and collections of elements (images, features, nested collections)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..errors import ServiceError, not_implemented
from .crs import LONLAT
from .geometry import Geometry
from .image import Image
from .limit import ELEMENTS, IMAGES, too_large
from .projection import WGS84, Projection


@dataclass(frozen=True, eq=False)
class Feature:
    """A geometry (or none) with properties."""

    geometry: Geometry | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)

    def with_properties(self, properties: Mapping[str, Any]) -> Feature:
        """The same geometry with other properties."""
        return replace(self, properties=dict(properties))


@dataclass(frozen=True, eq=False)
class Collection:
    """Elements in order, produced when first needed. `images` says that it is an ImageCollection."""

    source: Callable[[], Sequence[Any]]
    images: bool = False
    id: str | None = None
    version: int | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def elements(self) -> Sequence[Any]:
        """The elements; a 400 where there are more than any memory should hold."""
        found = self.source()
        if len(found) > (IMAGES if self.images else ELEMENTS):
            raise too_large()
        return found

    def derived(self, source: Callable[[], Sequence[Any]]) -> Collection:
        """A collection made from this one: same metadata, other elements."""
        return replace(self, source=source)

    def with_properties(self, properties: Mapping[str, Any]) -> Collection:
        """The same elements under other properties of the collection."""
        return replace(self, properties=dict(properties))


Element = Image | Feature | Collection


def of_elements(elements: Sequence[Any], images: bool | None = None) -> Collection:
    """A collection of given elements; an ImageCollection when they are all images, unless said."""
    found = list(elements)
    kind = bool(found) and all(isinstance(e, Image) for e in found) if images is None else images
    return Collection(lambda: found, images=kind)


def property_of(element: Element, name: str) -> Any:
    """A property by name, None where it is not set; `.geo` is the geometry, `system:id` the id of a stored asset."""
    if name in element.properties:
        return element.properties[name]
    if name == ".geo":
        return geometry_of(element)
    if name == "system:id" and isinstance(element, (Image, Collection)):
        return element.id
    if name == "system:version" and isinstance(element, (Image, Collection)):
        return element.version
    return None


def geometry_of(element: Element) -> Geometry | None:
    """The footprint of an image, the geometry of a feature, those of all elements of a collection."""
    if isinstance(element, Collection):
        parts = [geometry_of(e) for e in element.elements]
        return Geometry("GeometryCollection", parts=tuple(p for p in parts if p is not None))
    return element.geometry


def located(element: Element, proj: Projection | None, operation: str) -> Geometry | None:
    """Where an element lies, for the algorithms that could give it in another projection."""
    if proj is not None and proj != WGS84:
        raise not_implemented(f"{operation} with a 'proj' other than {LONLAT}")
    return geometry_of(element)


def images_of(collection: Collection, operation: str) -> list[Image]:
    """The images of a collection; a 400 when an element is not an image."""
    for member in collection.elements:
        if not isinstance(member, Image):
            raise ServiceError(f"{operation}: the collection contains a {type(member).__name__}, not only images.")
    return list(collection.elements)


def footprint(collection: Collection) -> Geometry | None:
    """The footprints of all images of a collection; None where one of them is unbounded."""
    parts = [member.geometry for member in collection.elements]
    if any(part is None for part in parts):
        return None
    return Geometry("GeometryCollection", parts=tuple(part for part in parts if part is not None))


def merged(first: Collection, second: Collection) -> Collection:
    """The elements of both collections."""

    def elements() -> list[Any]:
        found = []
        for prefix, part in (("1_", first), ("2_", second)):
            for i, member in enumerate(part.elements):
                index = f"{prefix}{member.properties.get('system:index', i)}"
                found.append(member.with_properties({**member.properties, "system:index": index}))
        return found

    return Collection(elements, images=first.images)
