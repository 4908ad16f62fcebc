"""Image collections made into one image: loading, reduction, mosaics, stacks of bands.

A composite has no fixed projection: its default is EPSG:4326 with pixels of one degree.
https://developers.google.com/earth-engine/guides/projections#the-default-projection
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import element
from .. import image as images
from ..element import Collection
from ..errors import ServiceError
from ..geometry import Geometry
from ..image import Band, Canvas, Image
from ..projection import WGS84
from ..raster import Pixels
from .reducer import BASIC, Reducer
from .registry import Context, algorithm


@algorithm("ImageCollection.load")
def load(context: Context, id: str, version: int | None) -> Collection:
    """A stored collection by id, its images in the order of their ids. https://developers.google.com/earth-engine/apidocs/ee-imagecollection"""
    found: Collection | None = context.assets.collection(id)
    if found is None:
        raise ServiceError(
            f"ImageCollection.load: ImageCollection asset '{id}' not found "
            "(does not exist or caller does not have access)."
        )
    return found


@algorithm("ImageCollection.fromImages")
def from_images(images: list[Image]) -> Collection:
    """A collection of given images, indexed from 0. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-fromimages"""
    indexed = [
        part if "system:index" in part.properties else part.with_properties({**part.properties, "system:index": str(i)})
        for i, part in enumerate(images)
    ]
    return element.of_elements(indexed, images=True)


def members(collection: Collection, operation: str) -> list[Image]:
    """The images of a collection; a 400 when an element is none."""
    for member in collection.elements:
        if not isinstance(member, Image):
            raise ServiceError(f"{operation}: the collection contains a {type(member).__name__}, not only images.")
    return list(collection.elements)


def _columns(collection: Collection, operation: str) -> dict[str, list[Band]]:
    """The bands of all images by name, in the order of the first image; every image must have the same."""
    found = members(collection, operation)
    columns: dict[str, list[Band]] = {}
    for i, member in enumerate(found):
        if i and member.names != found[0].names:
            raise ServiceError(
                "Expected a homogeneous image collection, but an image with incompatible bands was encountered. "
                f"First image type: {len(found[0].bands)} bands ({found[0].names}). "
                f"Current image type: {len(member.bands)} bands ({member.names})."
            )
        for band in member.bands:
            columns.setdefault(band.name, []).append(band)
    return columns


def _reduced(name: str, bands: Sequence[Band], reducer: Reducer) -> Band:
    """One band from the bands of a stack."""
    common = bands[0].type
    for band in bands:
        common = common.union(band.type)
    pixel_type = reducer.typing(common)

    extent = images.join(*(band.extent for band in bands))

    def read(canvas: Canvas) -> Pixels:
        found = [(*canvas.pixels(band), band.type) for band in bands]
        # What is masked everywhere here counts for nothing: most images of a collection do not touch most requests.
        touching = [part for part in found if part[1].any()] or found[:1]
        values = np.stack([common.cast(pixels, kind) for pixels, _, kind in touching])
        valid = np.stack([mask > 0 for _, mask, _ in touching])
        result, mask = reducer.apply(values, valid)
        if reducer.always and extent is not None:
            mask = extent(canvas)
        return result.astype(pixel_type.dtype, copy=False), mask

    return Band(name, pixel_type, read, WGS84, extent)


def _footprint(collection: Collection) -> Geometry | None:
    parts = [member.geometry for member in collection.elements]
    if any(part is None for part in parts):
        return None
    return Geometry("GeometryCollection", parts=tuple(part for part in parts if part is not None))


@algorithm("ImageCollection.reduce")
def reduce(collection: Collection, reducer: Any, parallel_scale: float) -> Image:
    """Each band over all images, named `<band>_<output>`. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-reduce"""
    chosen = as_reducer(reducer, "ImageCollection.reduce")
    columns = _columns(collection, "ImageCollection.reduce")
    bands = [_reduced(f"{name}_{chosen.name}", stack, chosen) for name, stack in columns.items()]
    return Image(tuple(bands), {}, _footprint(collection))


def as_reducer(value: Any, operation: str) -> Reducer:
    """A reducer argument."""
    if not isinstance(value, Reducer):
        raise ServiceError(f"{operation}: Parameter 'reducer' must be of type Reducer, got {value!s:.60}.")
    return value


@algorithm("Image.reduce")
def reduce_bands(image: Image, reducer: Any) -> Image:
    """All bands of a pixel into one band named by the reducer. https://developers.google.com/earth-engine/apidocs/ee-image-reduce"""
    chosen = as_reducer(reducer, "Image.reduce")
    first = images.only_band(image, "Image.reduce")
    band = _reduced(chosen.name, image.bands, chosen)
    placed = Band(band.name, band.type, band.read, first.projection, band.extent, first.dimensions)
    return image.with_bands([placed])


def _register(name: str, reducer: Reducer) -> None:
    def apply(collection: Collection) -> Image:
        columns = _columns(collection, f"reduce.{name}")
        bands = [_reduced(band, stack, reducer) for band, stack in columns.items()]
        return Image(tuple(bands), {}, _footprint(collection))

    apply.__doc__ = f"https://developers.google.com/earth-engine/apidocs/ee-imagecollection-{name}"
    algorithm(f"reduce.{name}")(apply)


for _name in ("min", "max", "mean", "median", "sum", "product", "count", "mode"):
    _register(_name, BASIC[_name])
_register("and", BASIC["allNonZero"])
_register("or", BASIC["anyNonZero"])


@algorithm("ImageCollection.mosaic")
def mosaic(collection: Collection) -> Image:
    """The last image on top: each pixel from the last image that is valid there.

    Bands are those of the first image; an image that lacks one adds nothing to it.
    https://developers.google.com/earth-engine/apidocs/ee-imagecollection-mosaic
    """
    found = members(collection, "ImageCollection.mosaic")
    columns = {
        name: [band for member in found for band in member.bands if band.name == name]
        for name in (found[0].names if found else [])
    }
    bands = [_reduced(name, stack, BASIC["last"]) for name, stack in columns.items()]
    return Image(tuple(bands), {}, _footprint(collection))


@algorithm("ImageCollection.toBands")
def to_bands(collection: Collection) -> Image:
    """Every band of every image, named `<index>_<band>`. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-tobands"""
    bands = []
    for i, member in enumerate(members(collection, "ImageCollection.toBands")):
        index = member.properties.get("system:index", str(i))
        bands += [band.renamed(f"{index}_{band.name}") for band in member.bands]
    if len(bands) > 5000:
        raise ServiceError(
            f"ImageCollection.toBands: the image would have {len(bands)} bands; at most 5000 are allowed."
        )
    return Image(tuple(bands), {}, _footprint(collection))


@algorithm("ImageCollection.merge")
def merge(collection1: Collection, collection2: Collection) -> Collection:
    """The images of both; indices get the prefixes 1_ and 2_. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-merge"""
    return merged(collection1, collection2)


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
