"""Projections and resolutions of images. https://developers.google.com/earth-engine/guides/resample"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..evaluation.lattice import aggregated, interpolated, nearest
from ..evaluation.registry import algorithm
from ..values import mask as masks
from ..values.band import Band, Canvas, Dimensions, Extent
from ..values.bounds import box_in, covering
from ..values.crs import metres_per_unit
from ..values.geometry import Geometry
from ..values.grid import Pixels
from ..values.image import Image, first_band
from ..values.pixeltype import DOUBLE, FLOAT, PixelType
from ..values.projection import WGS84, Projection, projected
from ..values.pyramid import coarser, level_at, scale_ratio
from ..values.reducer import Reducer

_CLOSE = 1e-6
"""Relative difference of scales that counts as none."""


@algorithm("Image.projection")
def projection(image: Image) -> Projection:
    """The default projection that all bands share. https://developers.google.com/earth-engine/apidocs/ee-image-projection"""
    first = first_band(image, "Image.projection")
    for band in image.bands:
        if band.projection != first.projection:
            raise ServiceError(
                "Image.projection: The bands of the specified image contains different projections. "
                "Use Image.select to pick one band."
            )
    return first.projection


@algorithm("Image.setDefaultProjection")
def set_default_projection(
    image: Image, crs: Projection, crs_transform: list[float] | None, scale: float | None
) -> Image:
    """Another default projection, pixels unchanged. https://developers.google.com/earth-engine/apidocs/ee-image-setdefaultprojection"""
    found = projected(crs, crs_transform, scale, "Image.setDefaultProjection")
    return image.with_bands(replace(band, projection=found, dimensions=None) for band in image.bands)


@algorithm("Image.reproject")
def reproject(image: Image, crs: Projection, crs_transform: list[float] | None, scale: float | None) -> Image:
    """Computed in this projection whatever the output's, which takes its pixels by nearest neighbour.

    https://developers.google.com/earth-engine/apidocs/ee-image-reproject
    """
    found = projected(crs, crs_transform, scale, "Image.reproject")
    return image.with_bands(_reprojected(band, found) for band in image.bands)


def _reprojected(band: Band, projection: Projection) -> Band:
    """The band as seen through the lattice of a projection."""
    outline: Band | None = None
    if band.extent is not None:
        outline = Band("extent", PixelType("int", 0, 1), _filled(band.extent), projection)

    def extent(canvas: Canvas) -> NDArray[Any]:
        assert outline is not None
        return nearest(canvas, outline, projection)[1] > 0

    return Band(
        band.name,
        band.type,
        lambda canvas: nearest(canvas, band, projection),
        projection,
        None if outline is None else extent,
    )


def _filled(extent: Extent) -> Any:
    def read(canvas: Canvas) -> Pixels:
        inside = extent(canvas)
        return inside.astype(np.uint8), inside

    return read


@algorithm("Image.resample")
def resample(image: Image, mode: str) -> Image:
    """Interpolated between the pixels of its default projection, or of the pyramid level that the output reads.

    Bands of whole numbers become float (double above 16 bits). A band without a projection of its own, such as a
    composite's, is computed where the output needs it, so nothing is left to interpolate.
    https://developers.google.com/earth-engine/apidocs/ee-image-resample
    """
    if mode not in ("bilinear", "bicubic"):
        raise ServiceError(f"Image.resample: Parameter 'mode' must be 'bilinear' or 'bicubic', got '{mode:.60}'.")
    return image.with_bands(_resampled(band, mode) for band in image.bands)


def _resampled(band: Band, mode: str) -> Band:
    if band.projection == WGS84 and band.dimensions is None:
        return band
    pixel_type = _fractional(band.type, keeps_range=mode == "bilinear")

    def read(canvas: Canvas) -> Pixels:
        own = band.projection
        level = level_at(scale_ratio(own.crs, own.transform, canvas.centre))
        lattice = Projection(own.crs, coarser(own.transform, level))
        return interpolated(canvas, band, lattice, mode, pixel_type.dtype)

    return band.derived(pixel_type, read)


def _fractional(pixel_type: PixelType, keeps_range: bool) -> PixelType:
    found = pixel_type
    if pixel_type.precision == "int":
        found = replace(pixel_type, precision=(FLOAT if pixel_type.dtype.itemsize <= 2 else DOUBLE).precision)
    return found if keeps_range else PixelType(found.precision)


@algorithm("Image.reduceResolution")
def reduce_resolution(image: Image, reducer: Reducer, best_effort: bool, max_pixels: int) -> Image:
    """Each output pixel from all pixels of the default projection that it covers, weighted by the covered part.

    Pixels come at their own resolution, not from a pyramid level, unless `bestEffort` has too many to combine. Output
    finer than the input is left as it is. https://developers.google.com/earth-engine/apidocs/ee-image-reduceresolution
    """
    if reducer.inputs != 1 or any(output.typing is None for output in reducer.outputs):
        raise ServiceError("Image.reduceResolution: The reducer must have one input and numbers as outputs.")
    bands = []
    for band in image.bands:
        for position, output in enumerate(reducer.outputs):
            name = band.name if len(reducer.outputs) == 1 else f"{band.name}_{output.name}"
            bands.append(_coarsened(band, reducer, position, best_effort, max_pixels).renamed(name))
    return image.with_bands(bands)


def _coarsened(band: Band, reducer: Reducer, position: int, best_effort: bool, max_pixels: int) -> Band:
    output = reducer.outputs[position]
    assert output.typing is not None
    pixel_type = output.typing([band.type])

    def read(canvas: Canvas) -> Pixels:
        lattice = band.projection
        ratio = scale_ratio(lattice.crs, lattice.transform, canvas.centre)
        if ratio <= 1 + _CLOSE:
            values, mask = canvas.pixels(band)
            return pixel_type.cast(values, band.type), mask
        if ratio**2 > max_pixels * (1 + _CLOSE):
            if not best_effort:
                raise ServiceError(
                    f"Image.reduceResolution: Too many input pixels per output pixel: {math.ceil(ratio**2 - _CLOSE)} "
                    f"are needed, 'maxPixels' is {max_pixels}."
                )
            level = math.ceil(math.log2(ratio / math.sqrt(max(1, max_pixels))) - _CLOSE)
            lattice, ratio = Projection(lattice.crs, coarser(lattice.transform, level)), ratio / 2**level

        def combine(values: NDArray[Any], masks: NDArray[Any], weights: NDArray[Any]) -> Pixels:
            found, valid = reducer.apply([values], [masks * weights])[position]
            return np.asarray(found), valid

        return aggregated(canvas, band, lattice, ratio, pixel_type.dtype, combine)

    return band.derived(pixel_type, read)


@algorithm("Image.clipToBoundsAndScale")
def clip_to_bounds_and_scale(
    input: Image,
    geometry: Geometry | None,
    width: int | None,
    height: int | None,
    max_dimension: int | None,
    scale: float | None,
) -> Image:
    """Clipped to a bounding box in each band's projection, which gets that many pixels there.

    Without a size the box is widened to whole pixels of the projection; with a scale, to whole pixels of that scale
    from the origin of the coordinate system. https://developers.google.com/earth-engine/apidocs/ee-image-cliptoboundsandscale
    """
    what = "Image.clipToBoundsAndScale"
    if (width is None) != (height is None):
        raise ServiceError(f"{what}: 'width' and 'height' must be given together.")
    if sum(given is not None for given in (width, max_dimension, scale)) > 1:
        raise ServiceError(f"{what}: 'width' and 'height', 'maxDimension' and 'scale' exclude each other.")
    for name, value in {"width": width, "height": height, "maxDimension": max_dimension, "scale": scale}.items():
        if value is not None and value <= 0:
            raise ServiceError(f"{what}: Parameter '{name}' must be positive, got {value}.")
    size = None if width is None or height is None else (width, height)
    bands = [_framed(band, *_frame(band, geometry, size, max_dimension, scale)) for band in input.bands]
    return replace(input.with_bands(bands), geometry=geometry or input.geometry)


def _frame(
    band: Band, geometry: Geometry | None, size: tuple[int, int] | None, longest: int | None, scale: float | None
) -> tuple[Projection, Dimensions]:
    """The projection and the pixels that clipToBoundsAndScale gives a band."""
    own = band.projection
    if geometry is not None:
        box = box_in(geometry, own.crs, "Image.clipToBoundsAndScale")
    elif band.dimensions is not None:
        box = _box_of(own, band.dimensions)
    else:
        raise ServiceError("Image.clipToBoundsAndScale: The image is unbounded; a 'geometry' is needed.")
    left, bottom, right, top = box
    across, down = right - left, top - bottom
    if scale is not None:
        side = scale / metres_per_unit(own.crs)
        found = Projection(own.crs, (side, 0.0, 0.0, 0.0, -side, 0.0))
        return found, covering(found, box)
    if longest is not None and max(across, down) > 0:
        side = max(across, down) / longest
        size = max(1, round(across / side)), max(1, round(down / side))
    if size is None or across <= 0 or down <= 0:
        return own, covering(own, box)
    return Projection(own.crs, (across / size[0], 0.0, left, 0.0, -down / size[1], top)), Dimensions(*size)


def _box_of(own: Projection, bounds: Dimensions) -> tuple[float, float, float, float]:
    columns = np.array([bounds.column, bounds.column + bounds.width] * 2)
    rows = np.repeat([bounds.row, bounds.row + bounds.height], 2)
    xs, ys = own.points_at(columns, rows)
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def _framed(band: Band, projection: Projection, bounds: Dimensions) -> Band:
    def frame(canvas: Canvas) -> NDArray[Any]:
        columns, rows = canvas.grid.positions_in(projection)
        across = (columns >= bounds.column) & (columns < bounds.column + bounds.width)
        return np.asarray(across & (rows >= bounds.row) & (rows < bounds.row + bounds.height))

    def read(canvas: Canvas) -> Pixels:
        values, mask = canvas.pixels(band)
        return values, masks.both(mask, frame(canvas))

    return Band(band.name, band.type, read, projection, masks.meet(band.extent, frame), bounds)
