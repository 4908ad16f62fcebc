"""Pixel requests: grid, region and bands of a request body, and the service's limits on them.

https://developers.google.com/earth-engine/reference/rest/v1/PixelGrid
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..catalog.asset import native_grid
from ..errors import ServiceError
from ..values.band import Band
from ..values.bounds import box_in, covering
from ..values.crs import parse_crs
from ..values.geometry import Geometry, from_geojson
from ..values.grid import Grid
from ..values.image import Image, first_band, matching
from ..values.projection import TERMS, Affine6, Projection
from .scalar import number, whole

MAX_BYTES = 50331648
"""Uncompressed bytes of a reply, including one mask byte per sample."""
MAX_SIDE = 32768
MAX_BANDS = 1024
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9-]*:[A-Za-z0-9]+")


def choose_bands(image: Image, body: dict[str, Any], operation: str) -> Image:
    """The image with the bands that `bandIds` names, in that order; all of them where it names none."""
    wanted = body.get("bandIds") or []
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise ServiceError("Invalid value at 'bandIds': expected a list of strings.")
    first_band(image, operation)
    if not wanted:
        return image
    chosen = [band for name in wanted for band in matching(image, name, "Image.select")]
    for place, band in enumerate(chosen):
        if band.name in [other.name for other in chosen[:place]]:
            raise ServiceError(f"Invalid value at 'bandIds': band '{band.name:.60}' is asked for twice.")
    return image.with_bands(chosen)


def output_grid(image: Image, body: dict[str, Any]) -> Grid:
    """The pixels a request asks for.

    The affine transform's missing numbers are 0, a missing CRS is the first band's, no grid at all is its own pixels.
    A region without dimensions is its bounding box on the lattice of the grid's (or the band's own) transform,
    widened to whole pixels; with dimensions it is the box itself, divided into that many pixels.
    """
    band = image.bands[0]
    given = body.get("grid") or {}
    if not isinstance(given, dict):
        raise ServiceError("Invalid value at 'grid': expected an object.")
    unknown = sorted(set(given) - {"dimensions", "affineTransform", "crsCode", "crsWkt"})
    if unknown:
        raise ServiceError(
            f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at 'grid': Cannot find field."
        )
    projection = _projection(given, band)
    size = _dimensions(given)
    region = body.get("region")
    if region is not None:
        return _of_region(from_geojson(region), projection, size)
    if size is not None:
        return _limited(Grid(projection, *size))
    if projection != band.projection:
        raise ServiceError("Invalid value at 'grid': 'dimensions' are required with 'affineTransform' or a CRS.")
    return _limited(native_grid(band))


def check_size(parts: Sequence[tuple[Sequence[Band], Grid]]) -> int:
    """The bytes of a reply as the service counts them, with a mask byte per sample; a 400 above its limits."""
    count = sum(len(bands) for bands, _ in parts)
    if count > MAX_BANDS:
        raise ServiceError(f"Number of bands ({count}) must be less than or equal to {MAX_BANDS}.")
    total = sum(
        grid.width * grid.height * sum(band.type.wire_dtype.itemsize + 1 for band in bands) for bands, grid in parts
    )
    if total > MAX_BYTES:
        raise ServiceError(f"Total request size ({total} bytes) must be less than or equal to {MAX_BYTES} bytes.")
    return total


def _projection(given: dict[str, Any], band: Band) -> Projection:
    code, wkt = given.get("crsCode"), given.get("crsWkt")
    if code and wkt:
        raise ServiceError("Invalid value at 'grid': only one of 'crsCode' and 'crsWkt' may be set.")
    crs = code or wkt or band.projection.crs
    if not isinstance(crs, str):
        raise ServiceError("Invalid value at 'grid': a CRS must be a string.")
    if code and not _CODE.fullmatch(code):
        raise ServiceError(f"Invalid value at 'grid.crsCode': '{code:.60}' is not a code; put WKT in 'crsWkt'.")
    parse_crs(crs)
    affine = given.get("affineTransform")
    if affine is None:
        return Projection(crs, band.projection.transform) if crs == band.projection.crs else Projection(crs)
    if not isinstance(affine, dict):
        raise ServiceError("Invalid value at 'grid.affineTransform': expected an object.")
    unknown = sorted(set(affine) - set(TERMS))
    if unknown:
        raise ServiceError(f"Invalid value at 'grid.affineTransform': unknown name \"{unknown[0]}\".")
    numbers = [number(affine.get(name, 0)) for name in TERMS]
    for name, value in zip(TERMS, numbers, strict=True):
        if value is None:
            raise ServiceError(f"Invalid value at 'grid.affineTransform.{name}': {affine[name]!s:.60} is not a number.")
    transform: Affine6 = tuple(numbers)  # type: ignore[assignment]
    found = Projection(crs, transform)
    if found.pixel_area == 0:
        raise ServiceError("Invalid value at 'grid.affineTransform': the transform has no area.")
    return found


def _dimensions(given: dict[str, Any]) -> tuple[int, int] | None:
    size = given.get("dimensions")
    if size is None:
        return None
    sides = [whole(size.get(side)) or 0 for side in ("width", "height")] if isinstance(size, dict) else []
    if len(sides) != 2 or min(sides) <= 0:
        raise ServiceError(f"Invalid value at 'grid.dimensions': width and height must be positive, got {size!s:.80}.")
    return sides[0], sides[1]


def _limited(grid: Grid) -> Grid:
    if max(grid.width, grid.height) > MAX_SIDE:
        raise ServiceError(
            f"Pixel grid dimensions ({grid.width}x{grid.height}) must be less than or equal to {MAX_SIDE}."
        )
    return grid


def _of_region(region: Geometry, projection: Projection, size: tuple[int, int] | None) -> Grid:
    box = box_in(region, projection.crs, "Invalid value at 'region'")
    if size is None:
        if projection.transform[1] or projection.transform[3]:
            raise ServiceError("A 'region' on a sheared grid needs 'grid.dimensions'.")
        return _limited(Grid(projection, *covering(projection, box)))
    west, south, east, north = box
    width, height = size
    a, e = projection.transform[0], projection.transform[4]
    transform = ((east - west) / width or abs(a), 0.0, west, 0.0, (south - north) / height or -abs(e), north)
    return _limited(Grid(Projection(projection.crs, transform), width, height))
