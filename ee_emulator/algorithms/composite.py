"""Image collections made into one image: loading, reduction, mosaics, stacks of bands.

A composite has no fixed projection: its default is EPSG:4326 with pixels of one degree.
https://developers.google.com/earth-engine/guides/projections#the-default-projection
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import ServiceError
from ..evaluation.reduction import BASIC
from ..evaluation.registry import Context, algorithm
from ..evaluation.stack import reduced
from ..values import element
from ..values.band import Band
from ..values.element import Collection, footprint, images_of, merged
from ..values.image import Image, first_band
from ..values.limit import check_made
from ..values.reducer import Reducer


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


def _columns(collection: Collection, operation: str) -> dict[str, list[Band]]:
    """The bands of all images by name, in the order of the first image; every image must have the same."""
    found = images_of(collection, operation)
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


@algorithm("ImageCollection.reduce")
def reduce(collection: Collection, reducer: Reducer, parallel_scale: float) -> Image:
    """Each band over all images, named `<band>_<output>`; or all bands together where the reducer has as many inputs.

    https://developers.google.com/earth-engine/apidocs/ee-imagecollection-reduce
    """
    operation = "ImageCollection.reduce"
    columns = _columns(collection, operation)
    if reducer.inputs == 1:
        bands = [
            band
            for name, stack in columns.items()
            for band in reduced([stack], reducer, [f"{name}_{output}" for output in reducer.names], operation)
        ]
    elif reducer.inputs == len(columns):
        bands = reduced(list(columns.values()), reducer, reducer.names, operation)
    else:
        raise ServiceError(
            f"{operation}: the reducer has {reducer.inputs} inputs; the images have {len(columns)} bands."
        )
    return Image(tuple(bands), {}, footprint(collection))


@algorithm("Image.reduce")
def reduce_bands(image: Image, reducer: Reducer) -> Image:
    """All bands of a pixel into one band for each output of the reducer.

    https://developers.google.com/earth-engine/apidocs/ee-image-reduce
    """
    first = first_band(image, "Image.reduce")
    if reducer.inputs != 1:
        raise ServiceError(f"Image.reduce: the reducer must have a single input, it has {reducer.inputs}.")
    bands = reduced([image.bands], reducer, reducer.names, "Image.reduce")
    return image.with_bands(replace(band, projection=first.projection, dimensions=first.dimensions) for band in bands)


def _register(name: str, reducer: Reducer) -> None:
    def apply(collection: Collection) -> Image:
        operation = f"reduce.{name}"
        columns = _columns(collection, operation)
        bands = [band for key, stack in columns.items() for band in reduced([stack], reducer, [key], operation)]
        return Image(tuple(bands), {}, footprint(collection))

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
    found = images_of(collection, "ImageCollection.mosaic")
    columns = {
        name: [band for member in found for band in member.bands if band.name == name]
        for name in (found[0].names if found else [])
    }
    bands = [
        band
        for name, stack in columns.items()
        for band in reduced([stack], BASIC["last"], [name], "ImageCollection.mosaic")
    ]
    return Image(tuple(bands), {}, footprint(collection))


@algorithm("ImageCollection.toBands")
def to_bands(collection: Collection) -> Image:
    """Every band of every image, named `<index>_<band>`. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-tobands"""
    bands = []
    for i, member in enumerate(images_of(collection, "ImageCollection.toBands")):
        index = member.properties.get("system:index", str(i))
        bands += [band.renamed(f"{index}_{band.name}") for band in member.bands]
    check_made(len(bands), "ImageCollection.toBands")
    return Image(tuple(bands), {}, footprint(collection))


@algorithm("ImageCollection.merge")
def merge(collection1: Collection, collection2: Collection) -> Collection:
    """The images of both; indices get the prefixes 1_ and 2_. https://developers.google.com/earth-engine/apidocs/ee-imagecollection-merge"""
    return merged(collection1, collection2)
