"""Pixels as features. https://developers.google.com/earth-engine/apidocs/ee-image-sample

A seed gives the same pixels again, though not the ones that Earth Engine draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..evaluation.aggregation import area_of, collected, grid_of, limited
from ..evaluation.chance import generator
from ..evaluation.coverage import BLOCK, Region, region_on
from ..evaluation.registry import Context, algorithm
from ..values.array import Array
from ..values.crs import LONLAT, transform_points
from ..values.element import Collection, Feature, geometry_of, images_of, of_elements, property_of
from ..values.geometry import Geometry
from ..values.grid import Grid
from ..values.image import Image, first_band, matching
from ..values.limit import too_large
from ..values.projection import Projection

_MOST_PIXELS = 10_000_000
_MOST_OBJECTS = 1 << 21
"""Values that one sample may have."""
_MOST_VALUES = 1 << 20
"""Values that getRegion returns at most."""
_MOST_RECTANGLE = 262_144

Places = tuple[NDArray[Any], NDArray[Any]]
"""Columns and rows of pixels."""


def pixels_in(region: Region) -> Places:
    """The pixels whose centre is in a region, row by row within its blocks."""
    columns, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for grid in region.blocks():
        down, right = np.nonzero(region.centres(grid))
        columns.append(right + grid.column)
        rows.append(down + grid.row)
    return np.concatenate(columns), np.concatenate(rows)


def values_at(context: Context, image: Image, projection: Projection, places: Places) -> list[list[Any]]:
    """For each band its values at some pixels, None where masked."""
    columns, rows = places
    if columns.size * max(1, len(image.bands)) > _MOST_OBJECTS:
        raise too_large()
    found = [np.empty(columns.size, object) for _ in image.bands]
    for grid, where in _windows(projection, places):
        down, right = rows[where] - grid.row, columns[where] - grid.column
        for target, (values, mask) in zip(found, image.evaluate(grid, context.cache), strict=True):
            target[where] = values[down, right].tolist()
            target[where[mask[down, right] == 0]] = None
    return [column.tolist() for column in found]


def _windows(projection: Projection, places: Places) -> Iterator[tuple[Grid, NDArray[Any]]]:
    """Grids that hold the pixels, with the places of theirs."""
    columns, rows = places
    _, which = np.unique((rows // BLOCK) * (1 << 31) + columns // BLOCK, return_inverse=True)
    order = np.argsort(which, kind="stable")
    for where in np.split(order, np.cumsum(np.bincount(which))[:-1]):
        if where.size:
            left, top = int(columns[where].min()), int(rows[where].min())
            width, height = int(columns[where].max()) - left + 1, int(rows[where].max()) - top + 1
            yield Grid(projection, width, height, left, top), where


def centres_of(projection: Projection, places: Places) -> list[list[float]]:
    """Longitude and latitude of the centres of pixels."""
    centres = projection.points_at(places[0] + 0.5, places[1] + 0.5)
    lons, lats = transform_points(projection.crs, LONLAT, *centres)
    return [[float(x), float(y)] for x, y in zip(lons, lats, strict=True)]


def _features(
    names: Sequence[str],
    columns: Sequence[Sequence[Any]],
    points: Sequence[list[float]] | None,
    drop: bool,
    others: Sequence[dict[str, Any]] | None = None,
) -> Collection:
    """One feature for each row of the columns; those with a null dropped, if asked for."""
    made = []
    for i, row in enumerate(zip(*columns, strict=True)):
        if drop and any(value is None for value in row):
            continue
        properties = {} if others is None else dict(others[i])
        properties |= {name: value for name, value in zip(names, row, strict=True) if value is not None}
        properties.setdefault("system:index", str(i))
        made.append(Feature(None if points is None else Geometry("Point", points[i]), properties))
    return of_elements(made, images=False)


def _sampled(
    context: Context,
    image: Image,
    projection: Projection,
    places: Places,
    geometries: bool,
    drop: bool,
    others: Sequence[dict[str, Any]] | None = None,
) -> Sequence[Any]:
    """One feature for each of some pixels, with the values of the bands."""
    points = centres_of(projection, places) if geometries else None
    values = values_at(context, image, projection, places)
    return _features(image.names, values, points, drop, others).elements


@algorithm("Image.sample")
def sample(
    context: Context,
    image: Image,
    region: Geometry | None,
    scale: float | None,
    projection: Projection | None,
    factor: float | None,
    num_pixels: int | None,
    seed: int,
    drop_nulls: bool,
    tile_scale: float,
    geometries: bool,
) -> Collection:
    """The pixels of a region, all of them, a share, or a number of them drawn at random.

    https://developers.google.com/earth-engine/apidocs/ee-image-sample
    """
    operation = "Image.sample"
    if factor is not None and num_pixels is not None:
        raise ServiceError(f"{operation}: 'factor' and 'numPixels' exclude each other.")
    if factor is not None and not 0 < factor <= 1:
        raise ServiceError(f"{operation}: 'factor' must lie in (0, 1], got {factor}.")
    grid = grid_of(image, operation, projection, None, scale)
    found = limited(area_of(image, region, operation), grid, _MOST_PIXELS, False, 1, operation)

    def elements() -> Sequence[Any]:
        columns, rows = pixels_in(found)
        wanted = columns.size if factor is None else round(columns.size * factor)
        if num_pixels is not None:
            wanted = min(columns.size, max(0, num_pixels))
        if wanted < columns.size:
            chosen = np.sort(generator(seed).permutation(columns.size)[:wanted])
            columns, rows = columns[chosen], rows[chosen]
        return _sampled(context, image, grid, (columns, rows), geometries, drop_nulls)

    return of_elements([], images=False).derived(elements)


@algorithm("Image.sampleRegions")
def sample_regions(
    context: Context,
    image: Image,
    collection: Collection,
    properties: list[str] | None,
    scale: float | None,
    projection: Projection | None,
    tile_scale: float,
    geometries: bool,
) -> Collection:
    """The valid pixels of each feature, with its properties; a point has the pixel it lies in.

    https://developers.google.com/earth-engine/apidocs/ee-image-sampleregions
    """
    operation = "Image.sampleRegions"
    grid = grid_of(image, operation, projection, None, scale)

    def elements() -> Sequence[Any]:
        places: list[Places] = []
        others: list[dict[str, Any]] = []
        most = _MOST_OBJECTS // max(1, len(image.bands))
        for number, member in enumerate(collection.elements):
            area = geometry_of(member)
            if area is None:
                continue
            region = limited(area, grid, _MOST_PIXELS, False, 1, operation)
            if len(others) + region.pixels > 2 * most:  # an estimate, which must not refuse what fits
                raise too_large()
            places.append(pixels_in(region))
            if len(others) + places[-1][0].size > most:
                raise too_large()
            copied = _copied(member, properties)
            prefix = member.properties.get("system:index", number)
            others += [{**copied, "system:index": f"{prefix}_{i}"} for i in range(places[-1][0].size)]
        if not places:
            return []
        columns, rows = (np.concatenate([place[axis] for place in places]) for axis in (0, 1))
        return _sampled(context, image, grid, (columns, rows), geometries, True, others)

    return of_elements([], images=False).derived(elements)


def _copied(member: Any, names: list[str] | None) -> dict[str, Any]:
    if names is None:
        return {name: value for name, value in member.properties.items() if not name.startswith("system:")}
    found = {name: property_of(member, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


@algorithm("Image.stratifiedSample")
def stratified_sample(
    context: Context,
    image: Image,
    num_points: int,
    class_band: str | None,
    region: Geometry | None,
    scale: float | None,
    projection: Projection | None,
    seed: int,
    class_values: list[int] | None,
    class_points: list[int] | None,
    drop_nulls: bool,
    tile_scale: float,
    geometries: bool,
) -> Collection:
    """`numPoints` pixels of each value of a band, or `classPoints` of each of `classValues`; all where there are fewer.

    https://developers.google.com/earth-engine/apidocs/ee-image-stratifiedsample
    """
    operation = "Image.stratifiedSample"
    band = first_band(image, operation) if class_band is None else matching(image, class_band, operation)[0]
    if band.type.precision != "int":
        raise ServiceError(
            f"{operation}: the class band '{band.name}' must hold integers, it is {band.type.precision}."
        )
    if (class_values is None) != (class_points is None) or len(class_values or []) != len(class_points or []):
        raise ServiceError(f"{operation}: 'classValues' and 'classPoints' must be lists of one length.")
    if num_points < 0 or min(class_points or [0]) < 0:
        raise ServiceError(f"{operation}: a number of points must not be negative.")
    grid = grid_of(image, operation, projection, None, scale)
    found = limited(area_of(image, region, operation), grid, _MOST_PIXELS, False, 1, operation)
    counts = dict(zip(class_values or [], class_points or [], strict=True))

    def elements() -> Sequence[Any]:
        columns, rows = pixels_in(found)
        # the values come in the order of the pixels
        (classes,), (valid,) = collected(context, image.with_bands([band]), found, weighted=False)
        order = generator(seed).permutation(classes.size)
        order = order[valid[order]]
        chosen = np.concatenate(
            [np.empty(0, np.int64)]
            + [
                order[classes[order] == value][: counts.get(value, num_points)]
                for value in np.unique(classes[valid]).tolist()
            ]
        )
        return _sampled(context, image, grid, (columns[chosen], rows[chosen]), geometries, drop_nulls)

    return of_elements([], images=False).derived(elements)


@algorithm("ImageCollection.getRegion")
def get_region(
    context: Context,
    collection: Collection,
    geometry: Geometry,
    scale: float | None,
    crs: Projection,
    crs_transform: list[float] | None,
) -> list[Any]:
    """A table with a head: id, longitude, latitude, time and the bands, of each image for each pixel of a region.

    https://developers.google.com/earth-engine/apidocs/ee-imagecollection-getregion
    """
    operation = "ImageCollection.getRegion"
    found = images_of(collection, operation)
    names = found[0].names if found else []
    head = ["id", "longitude", "latitude", "time", *names]
    if not found:
        return [head]
    grid = grid_of(found[0], operation, crs, crs_transform, scale)
    region = limited(geometry, grid, _MOST_PIXELS, False, 1, operation)
    places = pixels_in(region)
    if places[0].size * len(found) * max(1, len(names)) > _MOST_VALUES:
        raise ServiceError(
            f"{operation}: Too many values: {places[0].size} points x {len(names)} bands x {len(found)} images "
            f"> {_MOST_VALUES}."
        )
    points = centres_of(grid, places)
    rows: list[list[Any]] = []
    for number, member in enumerate(found):
        index = member.properties.get("system:index", str(number))
        time = member.properties.get("system:time_start")
        columns = values_at(context, member, grid, places)
        rows += [[index, *points[i], time, *(column[i] for column in columns)] for i in range(len(points))]
    rows.sort(key=lambda row: (row[1], row[2]))
    return [head, *rows]


@algorithm("Image.sampleRectangle")
def sample_rectangle(
    context: Context,
    image: Image,
    region: Geometry | None,
    properties: list[str] | None,
    default_value: float | None,
    default_array_value: Any,
) -> Feature:
    """Each band's pixels in the box of a region, on the band's own pixels, as a two-dimensional array property.

    https://developers.google.com/earth-engine/apidocs/ee-image-samplerectangle
    """
    operation = "Image.sampleRectangle"
    area = area_of(image, region, operation)
    kept = {k: v for k, v in image.properties.items() if properties is None or k in properties}
    for band in image.bands:
        left, top, right, bottom = region_on(area, band.projection).window
        if (right - left) * (bottom - top) > _MOST_RECTANGLE:
            raise ServiceError(
                f"{operation}: Too many pixels in sample; must be <= {_MOST_RECTANGLE}. "
                f"Got {(right - left) * (bottom - top)}."
            )
        grid = Grid(band.projection, right - left, bottom - top, left, top)
        ((values, mask),) = image.with_bands([band]).evaluate(grid, context.cache)
        if default_value is None and not (mask > 0).all():
            raise ServiceError(
                f"{operation}: Fully masked pixels / pixels outside of the image footprint when sampling band "
                f"'{band.name}' with no default value set. Note that calling sampleRectangle() on an image after "
                "ee.Image.clip() may result in a sampling bounding box outside the geometry passed to clip()."
            )
        kept[band.name] = Array(np.where(mask > 0, values, 0 if default_value is None else default_value))
    return Feature(area, kept)
