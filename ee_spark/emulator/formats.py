"""Pixels as files: NPY and GeoTIFF. Masked pixels are 0 in both.

https://developers.google.com/earth-engine/reference/rest/v1/ImageFileFormat
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from .errors import ServiceError
from .image import Band
from .projection import Grid, parse_crs
from .raster import Pixels

CONTENT_TYPES = {"NPY": "application/octet-stream", "GEO_TIFF": "image/tiff"}


def encode(file_format: str, bands: Sequence[Band], pixels: Sequence[Pixels], grid: Grid) -> bytes:
    """The file of `bands` with their `pixels` on `grid`; `file_format` is a key of `CONTENT_TYPES`."""
    arrays = [_filled(band, *found) for band, found in zip(bands, pixels, strict=True)]
    if file_format == "NPY":
        return _npy([band.name for band in bands], arrays, grid.shape)
    return _geotiff([band.name for band in bands], arrays, grid)


def _filled(band: Band, values: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """The values in the band's wire type, 0 where masked."""
    valid = mask if mask.dtype == bool else mask > 0
    if not valid.all():
        values = np.where(valid, values, np.zeros((), values.dtype))
    return values.astype(band.type.wire_dtype, copy=False)


@lru_cache(maxsize=1024)
def _header(fields: tuple[tuple[str, str], ...], shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    content = {"descr": list(fields), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def _npy(names: list[str], arrays: list[NDArray[Any]], shape: tuple[int, int]) -> bytes:
    """NPY 1.0, shape (height, width), one packed field a band, interleaved by pixel."""
    fields = tuple((name, array.dtype.str) for name, array in zip(names, arrays, strict=True))
    header = _header(fields, shape)
    if len(arrays) == 1:
        return header + arrays[0].tobytes()
    table = np.empty(shape, np.dtype(list(fields)))
    for name, array in zip(names, arrays, strict=True):
        table[name] = array
    return header + table.tobytes()


def _geotiff(names: list[str], arrays: list[NDArray[Any]], grid: Grid) -> bytes:
    kinds = sorted({array.dtype.name for array in arrays})
    if len(kinds) > 1:
        raise ServiceError(
            f"Exported bands must have compatible data types; found inconsistent types: {' and '.join(kinds)}."
        )
    transform = Affine(*grid.projection.transform) * Affine.translation(grid.column, grid.row)
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": len(arrays),
        "dtype": kinds[0],
        "crs": parse_crs(grid.projection.crs),
        "transform": transform,
        "compress": "deflate",
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            for index, (name, array) in enumerate(zip(names, arrays, strict=True), start=1):
                dataset.write(array, index)
                dataset.set_band_description(index, name)
        return bytes(memory.read())
