"""Statistics of the pixels of a region. https://developers.google.com/earth-engine/guides/reducers_reduce_region

Weighted reducers take a pixel with the smaller of its mask and the fraction of it that the region covers, any other
reducer takes it whole where its centre is in the region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..evaluation.aggregation import area_of, grid_of, limited, reduced
from ..evaluation.registry import Context, algorithm
from ..values.element import Collection, Feature, geometry_of
from ..values.geometry import Geometry
from ..values.image import Image
from ..values.projection import Projection
from ..values.reducer import Reducer


@algorithm("Image.reduceRegion")
def reduce_region(
    context: Context,
    image: Image,
    reducer: Reducer,
    geometry: Geometry | None,
    scale: float | None,
    crs: Projection | None,
    crs_transform: list[float] | None,
    best_effort: bool,
    max_pixels: int,
    tile_scale: float,
) -> dict[str, Any]:
    """A dictionary by band, or `<band>_<output>` of a reducer with several outputs; null where nothing counted.

    https://developers.google.com/earth-engine/apidocs/ee-image-reduceregion
    """
    operation = "Image.reduceRegion"
    if not image.bands:
        return {}
    projection = grid_of(image, operation, crs, crs_transform, scale)
    area = area_of(image, geometry, operation)
    region = limited(area, projection, max_pixels, best_effort, len(image.bands), operation)
    results = reduced(context, image, region, reducer, operation)
    if reducer.inputs > 1:
        return {name: results["", name] for name in reducer.names}
    single = len(reducer.names) == 1
    return {
        (band if single else f"{band}_{name}"): results["" if len(image.bands) == 1 else band, name]
        for band in image.names
        for name in reducer.names
    }


@algorithm("Image.reduceRegions")
def reduce_regions(
    context: Context,
    image: Image,
    collection: Collection,
    reducer: Reducer,
    scale: float | None,
    crs: Projection | None,
    crs_transform: list[float] | None,
    tile_scale: float,
    max_pixels_per_region: int | None,
) -> Collection:
    """The features with the results as properties: named by the output for one band, by the band for one output, else
    `<band>_<output>`; without a property where nothing counted.

    https://developers.google.com/earth-engine/apidocs/ee-image-reduceregions
    """
    operation = "Image.reduceRegions"
    projection = grid_of(image, operation, crs, crs_transform, scale)
    most = 10_000_000 if max_pixels_per_region is None else max_pixels_per_region

    def named(band: str, output: str) -> str:
        if not band:
            return output
        return band if len(reducer.names) == 1 else f"{band}_{output}"

    def elements() -> Sequence[Feature]:
        found = []
        for member in collection.elements:
            area = geometry_of(member)
            properties = dict(member.properties)
            if area is not None:
                region = limited(area, projection, most, False, len(image.bands), operation)
                results = reduced(context, image, region, reducer, operation)
                for (band, output), value in results.items():
                    if value is not None:
                        properties[named(band, output)] = value
            found.append(Feature(area, properties))
        return found

    return collection.derived(elements)
