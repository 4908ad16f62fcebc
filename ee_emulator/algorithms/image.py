"""Images: loading, constants, bands, projection. https://developers.google.com/earth-engine/apidocs/ee-image"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ServiceError
from ..evaluation.argument import image_of
from ..evaluation.registry import Context, algorithm
from ..evaluation.text import replaced
from ..values import mask as masks
from ..values.band import Band, Canvas, constant_band
from ..values.element import located
from ..values.geometry import Geometry
from ..values.grid import Pixels
from ..values.image import Image, appended, matching
from ..values.pixeltype import PixelType
from ..values.projection import Projection

_UNIT_FLOAT = PixelType("float", -1, 1)


@algorithm("Image.load")
def load(context: Context, id: str, version: int) -> Image:
    """A stored image by id. https://developers.google.com/earth-engine/apidocs/ee-image

    `version` is the asset's update time in microseconds; -1 is the newest.
    """
    found: Image | None = context.assets.image(id, None if version < 0 else version)
    if found is None:
        raise ServiceError(f"Image.load: Image asset '{id}' not found (does not exist or caller does not have access).")
    return found


@algorithm("Image.constant")
def constant(value: Any) -> Image:
    """A number or a list of numbers everywhere. https://developers.google.com/earth-engine/apidocs/ee-image-constant"""
    found = image_of(value)
    if found is None:
        raise ServiceError(
            f"Image.constant: Parameter 'value' must be a number or a list of numbers, got {value!s:.60}."
        )
    return found


@algorithm("Image.select")
def select(input: Image, band_selectors: list[Any], new_names: list[str] | None) -> Image:
    """Bands by name, full-match pattern or index. https://developers.google.com/earth-engine/apidocs/ee-image-select"""
    found = [band for selector in band_selectors for band in matching(input, selector, "Image.select")]
    if new_names is None:
        return input.with_bands(found)
    if len(new_names) != len(found):
        raise ServiceError(
            f"Image.select: Can't rename {len(found)} bands with {len(new_names)} names: "
            "the number of new names must match the number of bands."
        )
    return input.with_bands(b.renamed(n) for b, n in zip(found, _distinct(new_names, "Image.select"), strict=True))


def _distinct(names: list[str], operation: str) -> list[str]:
    for name in names:
        if not name or names.count(name) > 1:
            raise ServiceError(f"{operation}: Band name '{name}' is empty or given more than once.")
    return names


@algorithm("Image.rename")
def rename(input: Image, names: list[str]) -> Image:
    """New names for all bands. https://developers.google.com/earth-engine/apidocs/ee-image-rename"""
    if len(names) != len(input.bands):
        raise ServiceError(
            f"Image.rename: The number of names ({len(names)}) must match the number of bands ({len(input.bands)})."
        )
    return input.with_bands(b.renamed(n) for b, n in zip(input.bands, _distinct(names, "Image.rename"), strict=True))


@algorithm("Image.slice")
def slice_(image: Image, start: int, end: int | None) -> Image:
    """Bands by position. https://developers.google.com/earth-engine/apidocs/ee-image-slice"""
    return image.with_bands(image.bands[start:end])


@algorithm("Image.addBands")
def add_bands(dst_img: Image, src_img: Image, names: list[str] | None, overwrite: bool) -> Image:
    """Bands of both, with the metadata of the first. https://developers.google.com/earth-engine/apidocs/ee-image-addbands

    A name that exists gets a numerical suffix (`foo_1`), or replaces the band with `overwrite`.
    """
    added = src_img.bands
    if names is not None:
        added = tuple(band for name in names for band in matching(src_img, name, "Image.addBands"))
    return dst_img.with_bands(appended(dst_img.bands, added, overwrite))


@algorithm("Image.cat")
def cat(images: list[Any]) -> Image:
    """All bands of all images, with the metadata of the first. https://developers.google.com/earth-engine/apidocs/ee-image-cat"""
    converted = [image_of(part) for part in images]
    found = [part for part in converted if part is not None]
    if len(found) != len(images):
        raise ServiceError("Image.cat: Parameter 'images' must be a list of images or numbers.")
    bands = appended([], [band for part in found for band in part.bands], overwrite=False)
    return found[0].with_bands(bands) if found else Image()


@algorithm("Image.bandNames")
def band_names(image: Image) -> list[str]:
    """The names in order. https://developers.google.com/earth-engine/apidocs/ee-image-bandnames"""
    return image.names


@algorithm("Image.bandTypes")
def band_types(image: Image) -> dict[str, Any]:
    """The pixel type of each band. https://developers.google.com/earth-engine/apidocs/ee-image-bandtypes"""
    return {band.name: band.type for band in image.bands}


@algorithm("Image.geometry")
def geometry(feature: Image, max_error: Any, proj: Projection | None, geodesics: bool | None) -> Geometry:
    """The footprint in longitude and latitude. https://developers.google.com/earth-engine/apidocs/ee-image-geometry"""
    found = located(feature, proj, "Image.geometry")
    if found is None:
        raise ServiceError("Image.geometry: the image is unbounded or has no geometry.")
    return found


@algorithm("Image.normalizedDifference")
def normalized_difference(input: Image, band_names: list[str] | None) -> Image:
    """(first - second) / (first + second) as one float band `nd`, without the input's properties.

    Masked where either value is negative; 0 where both are 0.
    https://developers.google.com/earth-engine/apidocs/ee-image-normalizeddifference
    """
    chosen = input.bands[:2]
    if band_names is not None:
        chosen = tuple(b for name in band_names for b in matching(input, name, "Image.normalizedDifference"))
    if len(chosen) != 2:
        raise ServiceError(f"Image.normalizedDifference: Need two bands, got {len(chosen)}.")
    first, second = chosen
    compute: np.dtype[Any] = (
        np.dtype("f8") if "double" in (first.type.precision, second.type.precision) else np.dtype("f4")
    )
    if max(first.type.dtype.itemsize, second.type.dtype.itemsize) > 2 and first.type.precision == "int":
        compute = np.dtype("f8")

    def read(canvas: Canvas) -> Pixels:
        (a, mask_a), (b, mask_b) = canvas.pixels(first), canvas.pixels(second)
        x, y = a.astype(compute, copy=False), b.astype(compute, copy=False)
        total = x + y
        values = np.divide(x - y, total, out=np.zeros_like(total), where=total != 0)
        valid = (a >= 0) & (b >= 0)
        mask = masks.both(mask_a, mask_b)
        return values.astype(np.float32, copy=False), masks.both(mask, valid)

    extent = masks.meet(first.extent, second.extent)
    band = Band("nd", _UNIT_FLOAT, read, first.projection, extent, first.dimensions)
    return Image((band,), {}, input.geometry)


@algorithm("Image.metadata")
def metadata(image: Image, property: str, name: str | None) -> Image:
    """A numeric property as a constant double band. https://developers.google.com/earth-engine/apidocs/ee-image-metadata"""
    value = image.properties.get(property)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ServiceError(f"Image.metadata: Property '{property}' is not a number: {value!s:.60}.")
    return Image((constant_band(float(value), name or property, PixelType("double")),))


@algorithm("Image.blend")
def blend(bottom: Image, top: Image) -> Image:
    """The top image over the bottom one, its masks as opacity. https://developers.google.com/earth-engine/apidocs/ee-image-blend"""
    sizes = (len(bottom.bands), len(top.bands))
    if sizes[0] != sizes[1] and 1 not in sizes:
        raise ServiceError(f"Image.blend: images of {sizes[0]} and {sizes[1]} bands.")
    bands = []
    for i in range(max(sizes) if min(sizes) else 0):
        below, above = bottom.bands[i if sizes[0] > 1 else 0], top.bands[i if sizes[1] > 1 else 0]
        name = (bottom if sizes[0] >= sizes[1] else top).names[i]
        blended = _blended(below, above)
        bands.append(replace(blended, extent=masks.join(below.extent, above.extent)).renamed(name))
    return bottom.with_bands(bands)


def _blended(below: Band, above: Band) -> Band:
    kind = below.type.union(above.type)

    def read(canvas: Canvas) -> Pixels:
        (low, low_mask), (high, high_mask) = canvas.pixels(below), canvas.pixels(above)
        a, b = kind.cast(high, above.type), kind.cast(low, below.type)
        if high_mask.dtype == bool and low_mask.dtype == bool:
            return np.where(high_mask, a, b), high_mask | low_mask
        opacity, rest = masks.fraction(high_mask), masks.fraction(low_mask)
        total = opacity + rest * (1 - opacity)
        mixed = (a * opacity + b * rest * (1 - opacity)) / np.where(total > 0, total, 1)
        return np.where(opacity == 1, a, np.where(opacity == 0, b, mixed)).astype(kind.dtype), total

    return below.derived(kind, read)


@algorithm("Image.regexpRename")
def regexp_rename(input: Image, regex: str, replacement: str, all: bool) -> Image:
    """Band names by a pattern, every match or only the first. https://developers.google.com/earth-engine/apidocs/ee-image-regexprename"""
    operation = "Image.regexpRename"
    return rename(input, [replaced(regex, replacement, name, operation, every=all) for name in input.names])
