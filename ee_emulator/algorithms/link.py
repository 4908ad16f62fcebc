"""Images put together with images of another collection. https://developers.google.com/earth-engine/apidocs/ee-image-linkcollection"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..evaluation.stack import Shared, common_type
from ..values import mask as masks
from ..values.band import Band, Canvas
from ..values.element import Collection, footprint, images_of, property_of
from ..values.filter import compare
from ..values.grid import Pixels
from ..values.image import Image, appended, matching
from ..values.pixeltype import PixelType
from .cast import cast as cast_image


@algorithm("Image.linkCollection")
def link_collection(
    input: Image, image_collection: Collection, linked_bands: Any, linked_properties: Any, match_property_name: str
) -> Image:
    """Bands and properties of the image whose property equals the input's, those of the same name replaced.

    Without such an image the bands are masked and the properties null.
    https://developers.google.com/earth-engine/apidocs/ee-image-linkcollection
    """
    operation = "Image.linkCollection"
    bands, properties = _names(linked_bands, operation), _names(linked_properties, operation)
    key = property_of(input, match_property_name)
    if key is None:
        raise ServiceError(f"{operation}: the image has no property '{match_property_name}'.")
    found = next(
        (
            other
            for other in images_of(image_collection, operation)
            if _equal(property_of(other, match_property_name), key)
        ),
        None,
    )
    if found is None:
        added = _masked(bands, image_collection, operation)
        values: dict[str, Any] = {}
    else:
        added = [band for name in bands for band in matching(found, name, operation)]
        values = {name: property_of(found, name) for name in properties}
    kept = {name: value for name, value in input.properties.items() if name not in properties}
    kept |= {name: value for name, value in values.items() if value is not None}
    return input.with_bands(appended(input.bands, added, overwrite=True)).with_properties(kept)


def _equal(first: Any, second: Any) -> bool:
    return first is not None and compare(first, second) == 0


def _names(given: Any, operation: str) -> list[str]:
    if given is None:
        return []
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ServiceError(f"{operation}: linked bands and properties must be names, got {given!s:.60}.")
    return names


def _masked(names: list[str], collection: Collection, operation: str) -> list[Band]:
    """Bands without a valid pixel, of the types that the collection's first image has."""

    def reader(kind: PixelType) -> Callable[[Canvas], Pixels]:
        return lambda canvas: (np.zeros(canvas.grid.shape, kind.dtype), np.zeros(canvas.grid.shape, bool))

    first = next(iter(collection.elements), None)
    if isinstance(first, Image):
        models = [band for name in names for band in matching(first, name, operation)]
        return [band.derived(band.type, reader(band.type)) for band in models]
    byte = PixelType("int", 0, 255)
    return [Band(name, byte, reader(byte)) for name in names]


@algorithm("ImageCollection.combine")
def combine(primary: Collection, secondary: Collection, overwrite: bool) -> Collection:
    """The images of the first collection that have one of the same index in the second, with its bands.

    https://developers.google.com/earth-engine/apidocs/ee-imagecollection-combine
    """
    operation = "ImageCollection.combine"

    def elements() -> list[Image]:
        others = {other.properties.get("system:index"): other for other in images_of(secondary, operation)}
        return [
            image.with_bands(appended(image.bands, others[index].bands, overwrite))
            for image in images_of(primary, operation)
            if (index := image.properties.get("system:index")) in others
        ]

    return primary.derived(elements)


@algorithm("ImageCollection.cast")
def cast(collection: Collection, band_types: dict[str, Any], band_order: list[str]) -> Collection:
    """Every image cast alike. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-cast"""
    return collection.derived(
        lambda: [cast_image(image, band_types, band_order) for image in images_of(collection, "ImageCollection.cast")]
    )


@algorithm("ImageCollection.qualityMosaic")
def quality_mosaic(collection: Collection, quality_band: str) -> Image:
    """Each pixel from the image whose quality band is greatest there, the first of several.

    https://developers.google.com/earth-engine/apidocs/ee-imagecollection-qualitymosaic
    """
    operation = "ImageCollection.qualityMosaic"
    found = images_of(collection, operation)
    if not found:
        return Image()
    names = found[0].names
    stacks = [[matching(image, name, operation)[0] for image in found] for name in names]
    qualities = [matching(image, quality_band, operation)[0] for image in found]
    best = _best(qualities)
    return Image(
        tuple(_chosen(name, stack, best) for name, stack in zip(names, stacks, strict=True)), {}, footprint(collection)
    )


def _best(qualities: list[Band]) -> Shared:
    """The number of the image to take each pixel from, masked where none has a quality."""

    def compute(canvas: Canvas) -> list[tuple[Any, Any]]:
        which = np.full(canvas.grid.shape, -1)
        most = np.full(canvas.grid.shape, -np.inf)
        for number, band in enumerate(qualities):
            values, mask = canvas.pixels(band)
            better = (mask > 0) & ((values > most) | (which < 0))
            which, most = np.where(better, number, which), np.where(better, values, most)
        return [(which, which >= 0)]

    return Shared(compute)


def _chosen(name: str, bands: list[Band], best: Shared) -> Band:
    kind = common_type(bands)

    def finish(canvas: Canvas, which: Any, known: Any) -> Pixels:
        found, valid = np.zeros(which.shape, kind.dtype), np.zeros(which.shape, np.float32)
        for number in np.unique(which[known]).tolist():
            values, mask = canvas.pixels(bands[number])
            here = which == number
            found[here] = kind.cast(values, bands[number].type)[here]
            valid[here] = masks.fraction(mask)[here]
        return found, valid

    return Band(name, kind, best.reader(0, finish), extent=masks.join(*(band.extent for band in bands)))
