"""Features drawn on pixels: those whose centre lies in a feature's area, or that its points and lines touch.

https://developers.google.com/earth-engine/apidocs/ee-image-paint
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..errors import ServiceError, not_implemented
from ..evaluation.coverage import region_on
from ..evaluation.registry import algorithm
from ..evaluation.stack import Shared, pixel_type
from ..values.band import Band, Canvas
from ..values.element import Collection, Feature, geometry_of, of_elements, property_of
from ..values.geometry import Geometry
from ..values.grid import Pixels
from ..values.image import Image
from ..values.pixeltype import DOUBLE
from ..values.reducer import Reducer, Results, stack_of
from ..values.shape import geometry_of as drawn
from ..values.shape import shape_in
from .mask import clipped


def _inside(members: Sequence[Any], canvas: Canvas) -> Iterator[tuple[int, NDArray[Any]]]:
    """The number of each feature that touches a canvas, with the pixels it has there."""
    grid = canvas.grid
    box = shapely.box(grid.column, grid.row, grid.column + grid.width, grid.row + grid.height)
    for number, member in enumerate(members):
        area = geometry_of(member)
        if area is None:
            continue
        region = region_on(area, grid.projection)
        if region.shape.intersects(box):
            yield number, region.centres(grid)


@algorithm("Image.paint")
def paint(image: Image, feature_collection: Collection, color: Any, width: Any) -> Image:
    """Every band set to a number, or to a property of the feature that lies there, the last on top.

    https://developers.google.com/earth-engine/apidocs/ee-image-paint
    """
    operation = "Image.paint"
    if width is not None:
        raise not_implemented(f"{operation} with a 'width'")
    if not isinstance(color, (int, float, str)):
        raise ServiceError(f"{operation}: Parameter 'color' must be a number or the name of a property.")

    def painted(band: Band) -> Callable[[Canvas], Pixels]:
        def read(canvas: Canvas) -> Pixels:
            values, mask = canvas.pixels(band)
            values = values.copy()
            members = feature_collection.elements
            for number, inside in _inside(members, canvas):
                value = property_of(members[number], color) if isinstance(color, str) else color
                if not isinstance(value, (int, float)):
                    raise ServiceError(f"{operation}: Property '{color}' is not a number: {value!s:.60}.")
                values[inside] = band.type.cast(np.array([value]), DOUBLE)[0]
            return values, mask

        return read

    return image.with_bands(band.derived(band.type, painted(band)) for band in image.bands)


@algorithm("Collection.reduceToImage")
def reduce_to_image(collection: Collection, properties: list[str], reducer: Reducer) -> Image:
    """A reducer over the properties of the features at each pixel, one band for each output.

    https://developers.google.com/earth-engine/apidocs/ee-featurecollection-reducetoimage
    """
    operation = "Collection.reduceToImage"
    if reducer.inputs != len(properties):
        raise ServiceError(f"{operation}: the reducer has {reducer.inputs} inputs for {len(properties)} properties.")

    def compute(canvas: Canvas) -> Results:
        members = collection.elements
        columns = [stack_of([property_of(member, name) for member in members]) for name in properties]
        if any(values.dtype == object for values, _ in columns):
            raise ServiceError(f"{operation}: the properties {properties} must be numbers.")
        found = list(_inside(members, canvas)) or [(-1, np.zeros(canvas.grid.shape, bool))]
        numbers = [number for number, _ in found]
        inside = np.stack([pixels for _, pixels in found])
        stacks, weights = [], []
        for values, valid in columns:
            picked = np.array([values[n] if n >= 0 else 0 for n in numbers], values.dtype)
            known = np.array([bool(valid[n]) if n >= 0 else False for n in numbers])
            stacks.append(np.broadcast_to(picked[:, None, None], inside.shape))
            weights.append(inside & known[:, None, None])
        return reducer.apply(stacks, weights)

    shared = Shared(compute)

    def finish(canvas: Canvas, values: Any, mask: NDArray[Any]) -> Pixels:
        return np.where(mask, values, 0).astype(np.float64), np.broadcast_to(mask, canvas.grid.shape)

    kinds = [DOUBLE] * len(properties)
    for output in reducer.outputs:
        pixel_type(output, kinds, operation)
    bands = [Band(name, DOUBLE, shared.reader(i, finish)) for i, name in enumerate(reducer.names)]
    return Image(tuple(bands))


@algorithm("Image.clipToCollection")
def clip_to_collection(input: Image, collection: Any) -> Image:
    """Masked outside all features. https://developers.google.com/earth-engine/apidocs/ee-image-cliptocollection"""
    return clipped(input, _outline(_features(collection)))


@algorithm("Collection.union")
def union(collection: Collection, max_error: Any) -> Collection:
    """One feature with all geometries merged. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-union"""
    merged = Feature(_outline(collection), {"system:index": "union_result"})
    return of_elements([merged], images=False)


def _features(value: Any) -> Collection:
    if isinstance(value, Collection):
        return value
    if isinstance(value, (Feature, Geometry)):
        return of_elements([value if isinstance(value, Feature) else Feature(value)], images=False)
    raise ServiceError(f"Image.clipToCollection: Parameter 'collection' must be a collection, got {value!s:.60}.")


def _outline(collection: Collection) -> Geometry:
    shapes = [shape_in(geometry_of(member)) for member in collection.elements]
    return drawn(shapely.union_all(shapes))
