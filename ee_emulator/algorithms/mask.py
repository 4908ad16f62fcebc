"""Masks, clipping and conditional replacement. https://developers.google.com/earth-engine/tutorials/tutorial_api_05"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values import element
from ..values import mask as masks
from ..values.band import Band, Canvas, Dimensions, Extent, constant_band
from ..values.bounds import crop
from ..values.crs import LONLAT
from ..values.element import Collection, Feature
from ..values.geometry import Geometry, from_geojson
from ..values.grid import Pixels
from ..values.image import Image
from ..values.pixeltype import PixelType
from ..values.shape import shape_in

_MANY = 64
"""Vertices from which on a prepared shape finds the pixels inside faster than edge by edge."""
_FRACTION = PixelType("float", 0, 1)


def _paired(image: Image, other: Image, operation: str, role: str) -> list[tuple[Band, Band]]:
    """Each band with the other image's only band, or with its band of the same position."""
    if len(other.bands) == 1:
        return [(band, other.bands[0]) for band in image.bands]
    if len(other.bands) != len(image.bands):
        raise ServiceError(
            f"{operation}: {role} has {len(other.bands)} bands; it must have one, or as many as the input "
            f"({len(image.bands)})."
        )
    return list(zip(image.bands, other.bands, strict=True))


@algorithm("Image.mask")
def mask(image: Image, mask: Image | None) -> Image:
    """The masks of the bands as float 0..1, itself masked outside the footprint; or the image with new masks.

    https://developers.google.com/earth-engine/apidocs/ee-image-mask
    """
    if mask is None:
        return image.with_bands(band.derived(_FRACTION, _mask_reader(band)) for band in image.bands)
    return image.with_bands(
        band.derived(band.type, _set_reader(band, other))
        for band, other in _paired(image, mask, "Image.mask", "Parameter 'mask'")
    )


def _mask_reader(band: Band) -> Any:
    def read(canvas: Canvas) -> Pixels:
        found = masks.fraction(canvas.pixels(band)[1])
        inside = np.broadcast_to(np.True_, found.shape) if band.extent is None else band.extent(canvas)
        return found, inside

    return read


def _set_reader(band: Band, other: Band) -> Any:
    def read(canvas: Canvas) -> Pixels:
        values, old = canvas.pixels(band)
        new = masks.as_mask(*canvas.pixels(other))
        return np.where(old > 0, values, np.zeros((), values.dtype)), _inside(band, canvas, new)

    return read


def _inside(band: Band, canvas: Canvas, found: NDArray[Any]) -> NDArray[Any]:
    return found if band.extent is None else masks.both(found, band.extent(canvas))


@algorithm("Image.updateMask")
def update_mask(image: Image, mask: Image) -> Image:
    """The mask becomes `mask` wherever it was not zero. https://developers.google.com/earth-engine/apidocs/ee-image-updatemask"""
    return image.with_bands(
        band.derived(band.type, _update_reader(band, other))
        for band, other in _paired(image, mask, "Image.updateMask", "Parameter 'mask'")
    )


def _update_reader(band: Band, other: Band) -> Any:
    def read(canvas: Canvas) -> Pixels:
        values, old = canvas.pixels(band)
        new = masks.as_mask(*canvas.pixels(other))
        if new.dtype == bool:
            return values, old & new if old.dtype == bool else np.where(new & (old > 0), np.float32(1), np.float32(0))
        return values, np.where(old > 0, new, np.float32(0))

    return read


@algorithm("Image.selfMask")
def self_mask(image: Image) -> Image:
    """Masked by its own values. https://developers.google.com/earth-engine/apidocs/ee-image-selfmask"""
    return image.with_bands(band.derived(band.type, _update_reader(band, band)) for band in image.bands)


@algorithm("Image.unmask")
def unmask(input: Image, value: Image | None, same_footprint: bool) -> Image:
    """Value and mask of `value` (default 0) where the input's mask is zero.

    Outside the input's footprint it stays masked, unless `sameFootprint` is false.
    https://developers.google.com/earth-engine/apidocs/ee-image-unmask
    """
    fill = value or Image((constant_band(0, "constant", PixelType("int", 0, 0)),))
    bands = []
    for band, other in _paired(input, fill, "Image.unmask", "Parameter 'value'"):
        result = band.derived(band.type.union(other.type), _fill_reader(band, other, same_footprint))
        bands.append(result if same_footprint else replace(result, extent=masks.join(band.extent, other.extent)))
    return input.with_bands(bands)


def _fill_reader(band: Band, other: Band, same_footprint: bool) -> Any:
    pixel_type = band.type.union(other.type)

    def read(canvas: Canvas) -> Pixels:
        (values, old), (fill, filled) = canvas.pixels(band), canvas.pixels(other)
        if same_footprint:
            filled = _inside(band, canvas, filled)
        keep = old > 0
        first, second = pixel_type.cast(values, band.type), pixel_type.cast(fill, other.type)
        if old.dtype == bool and filled.dtype == bool:
            return np.where(keep, first, second), old | filled
        return np.where(keep, first, second), np.where(keep, masks.fraction(old), masks.fraction(filled))

    return read


@algorithm("Image.where")
def where(input: Image, test: Image, value: Image) -> Image:
    """`value` where `test` is nonzero and both are valid; a masked input stays masked.

    https://developers.google.com/earth-engine/apidocs/ee-image-where
    """
    tests = _paired(input, test, "Image.where", "Parameter 'test'")
    values = _paired(input, value, "Image.where", "Parameter 'value'")
    bands = []
    for (band, tested), (_, other) in zip(tests, values, strict=True):
        bands.append(band.derived(band.type.union(other.type), _where_reader(band, tested, other)))
    return input.with_bands(bands)


def _where_reader(band: Band, test: Band, other: Band) -> Any:
    pixel_type = band.type.union(other.type)

    def read(canvas: Canvas) -> Pixels:
        (values, found), (tested, test_mask) = canvas.pixels(band), canvas.pixels(test)
        replacement, other_mask = canvas.pixels(other)
        take = (tested != 0) & (test_mask > 0) & (other_mask > 0)
        return np.where(take, pixel_type.cast(replacement, other.type), pixel_type.cast(values, band.type)), found

    return read


@algorithm("Image.clip")
def clip(input: Image, geometry: Any) -> Image:
    """Masked where the pixel centre is not inside the geometry. https://developers.google.com/earth-engine/apidocs/ee-image-clip

    Pixels are kept whole by their centre; the partial masks that Earth Engine gives boundary pixels are not made.
    """
    return clipped(input, area_of(geometry, "Image.clip"))


def clipped(input: Image, shape: Geometry) -> Image:
    """An image masked outside a geometry."""

    exact = shape_in(shape) if len(shape.vertices) > _MANY else None
    if exact is not None:
        shapely.prepare(exact)

    def extent(canvas: Canvas) -> NDArray[Any]:
        lons, lats = canvas.grid.centres_in(LONLAT)
        return shape.contains_points(lons, lats) if exact is None else shapely.contains_xy(exact, lons, lats)

    bands = []
    known: dict[Any, Dimensions] = {}
    for band in input.bands:
        inside = masks.meet(band.extent, extent)
        frame = band.projection, band.dimensions
        if frame not in known:
            known[frame] = crop(*frame, shape, "Image.clip")
        read = _clip_reader(band, extent)
        bands.append(replace(band.derived(band.type, read), extent=inside, dimensions=known[frame]))
    properties = {**input.properties, "system:footprint": shape.geojson()}
    return replace(input, bands=tuple(bands), properties=properties, geometry=shape, info=None)


def area_of(geometry: Any, operation: str) -> Geometry:
    """A geometry argument that must have an area."""
    if isinstance(geometry, (Image, Feature, Collection)):
        geometry = element.geometry_of(geometry)
    shape = from_geojson(geometry, geodesic=True)
    if not shape.polygons:
        raise ServiceError(f"{operation}: Parameter 'geometry' must have an area, got a {shape.kind}.")
    return shape


def _clip_reader(band: Band, extent: Extent) -> Any:
    def read(canvas: Canvas) -> Pixels:
        values, found = canvas.pixels(band)
        return values, masks.both(found, extent(canvas))

    return read
