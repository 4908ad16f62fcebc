"""Pixels as files: NPY, GeoTIFF, PNG and JPEG, and GeoTIFFs in a ZIP.

Masked pixels are 0 in NPY and in the GeoTIFFs of computePixels and getPixels. The GeoTIFFs of thumbnails mark them by
a nodata value instead: 0 for unsigned integers, the least value for signed ones, -inf for floats.
https://developers.google.com/earth-engine/reference/rest/v1/ImageFileFormat
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from ..errors import ServiceError
from ..values.band import Band
from ..values.crs import parse_crs
from ..values.grid import Grid, Pixels
from ..values.mask import fraction

PIXEL_FORMATS = ("NPY", "GEO_TIFF", "PNG", "JPEG", "AUTO_JPEG_PNG")
"""Formats of computePixels and getPixels."""
PICTURES = ("PNG", "JPEG", "AUTO_JPEG_PNG")
"""Formats that show 8-bit bands."""
THUMBNAIL_FORMATS = (*PIXEL_FORMATS, "ZIPPED_GEO_TIFF", "ZIPPED_GEO_TIFF_PER_BAND")
"""Formats of thumbnails."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_JPEG_QUALITY = 90
_INTERLEAVED = 1 << 18
"""Bytes of a table filled at a time, few enough to stay in the processor's cache for every band."""


@dataclass(frozen=True)
class Part:
    """Bands with their pixels on one grid."""

    bands: Sequence[Band]
    pixels: Sequence[Pixels]
    grid: Grid


File = bytes | memoryview


def encode(
    file_format: str, parts: Sequence[Part], *, nodata: bool = False, name: str = "download"
) -> tuple[str, File]:
    """The content type and the file of a format of `THUMBNAIL_FORMATS`; only a ZIP takes several parts.

    With `nodata` a GeoTIFF marks masked pixels by a nodata value. `name` is the stem of the files in a ZIP.
    """
    first = parts[0]
    if file_format == "NPY":
        arrays = [_filled(band, *found) for band, found in zip(first.bands, first.pixels, strict=True)]
        return "application/octet-stream", _npy([band.name for band in first.bands], arrays, first.grid.shape)
    if file_format == "GEO_TIFF":
        return "image/tiff", _geotiff(first, nodata)
    if file_format in PICTURES:
        return _picture(first, file_format)
    if file_format == "ZIPPED_GEO_TIFF":
        return "application/zip", _zipped({f"{name}.tif": _geotiff(first, True)})
    single = [
        (band.name, Part([band], [pixels], part.grid))
        for part in parts
        for band, pixels in zip(part.bands, part.pixels, strict=True)
    ]
    return "application/zip", _zipped({f"{name}.{band}.tif": _geotiff(part, True) for band, part in single})


def _zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return target.getvalue()


def _picture(part: Part, file_format: str) -> tuple[str, bytes]:
    """RGB (a single band is grey) with the mask as alpha in PNG; JPEG has none and shows masked pixels black."""
    colours = [_filled(band, *found) for band, found in zip(part.bands, part.pixels, strict=True)]
    alpha = np.minimum.reduce([fraction(mask) for _, mask in part.pixels])
    opaque = bool((alpha == 1).all())
    planes = colours * 3 if len(colours) == 1 else colours
    if file_format == "JPEG" or (file_format == "AUTO_JPEG_PNG" and opaque):
        return "image/jpeg", _written("JPEG", planes, quality=_JPEG_QUALITY)
    if not opaque:
        planes = [*planes, np.floor(alpha * 255 + 0.5).astype(np.uint8)]
    return "image/png", _written("PNG", planes)


def _written(driver: str, planes: Sequence[NDArray[Any]], **options: Any) -> bytes:
    height, width = planes[0].shape
    profile = {"driver": driver, "width": width, "height": height, "count": len(planes), "dtype": "uint8", **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with MemoryFile() as memory:
            with memory.open(**profile) as target:
                target.write(np.stack(planes))
            return bytes(memory.read())


def _all_valid(mask: NDArray[Any]) -> bool:
    """True when nothing is masked; a mask that is one value spread over all pixels is looked at once."""
    if mask.size and not any(mask.strides):
        return bool(mask[0, 0] > 0)
    return bool(_valid(mask).all())


def _valid(mask: NDArray[Any]) -> NDArray[Any]:
    return mask if mask.dtype == bool else mask > 0


def _filled(band: Band, values: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """The values in the band's wire type, 0 where masked."""
    if not _all_valid(mask):
        values = np.where(_valid(mask), values, np.zeros((), values.dtype))
    return values.astype(band.type.wire_dtype, copy=False)


@lru_cache(maxsize=1024)
def _header(fields: tuple[tuple[str, str], ...], shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    content = {"descr": list(fields), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def _npy(names: list[str], arrays: list[NDArray[Any]], shape: tuple[int, int]) -> memoryview:
    """NPY 1.0, shape (height, width), one packed field per band, interleaved by pixel."""
    fields = tuple((name, array.dtype.str) for name, array in zip(names, arrays, strict=True))
    header = _header(fields, shape)
    dtype = np.dtype(list(fields))
    file = np.empty(len(header) + shape[0] * shape[1] * dtype.itemsize, np.uint8)  # unlike a bytearray, not zeroed
    file[: len(header)] = np.frombuffer(header, np.uint8)
    table = file[len(header) :].view(dtype).reshape(shape)
    rows = max(1, _INTERLEAVED // (shape[1] * dtype.itemsize))
    for start in range(0, shape[0], rows):
        for name, array in zip(names, arrays, strict=True):
            table[name][start : start + rows] = array[start : start + rows]
    return file.data


def _geotiff(part: Part, nodata: bool) -> bytes:
    arrays = [_filled(band, *found) for band, found in zip(part.bands, part.pixels, strict=True)]
    kinds = sorted({array.dtype.name for array in arrays})
    if len(kinds) > 1:
        raise ServiceError(
            f"Exported bands must have compatible data types; found inconsistent types: {' and '.join(kinds)}."
        )
    grid = part.grid
    marker: float | None = None
    if nodata:
        marker = float("-inf") if arrays[0].dtype.kind == "f" else float(np.iinfo(arrays[0].dtype).min)
        arrays = [
            np.where(_valid(mask), array, np.asarray(marker, array.dtype))
            for array, (_, mask) in zip(arrays, part.pixels, strict=True)
        ]
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": len(arrays),
        "dtype": kinds[0],
        "crs": parse_crs(grid.projection.crs),
        "transform": Affine(*grid.projection.transform) * Affine.translation(grid.column, grid.row),
        "compress": "deflate",
        "nodata": marker,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            for index, (band, array) in enumerate(zip(part.bands, arrays, strict=True), start=1):
                dataset.write(array, index)
                dataset.set_band_description(index, band.name)
        return bytes(memory.read())
