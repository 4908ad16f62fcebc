"""Answers that are files: what a head says is checked against the bytes that are there, before anything is made of it.

NPY: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html; GeoTIFF by GDAL, and by no other driver of
it: a file that says what to read elsewhere is not opened.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from ee_spark.errors import ServiceError, one_line
from ee_spark.gdal import local_gdal
from ee_spark.limits import MAX_BYTES

_MAGIC = b"\x93NUMPY"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LONGEST_HEADER = 1 << 18
"""Bytes of an NPY header: 1,024 bands take some 60,000, and more costs time and memory to read."""
MAX_TIFF_BLOCK = 4 * MAX_BYTES
"""Bytes of one tile or strip of a GeoTIFF, which GDAL sets aside whole, however small the image is."""


def npy(body: bytes) -> npt.NDArray[Any]:
    """Return an answer of NPY, read in place: (height, width), structured, its fields the bands.

    Raises:
        ServiceError: ``damaged`` for anything but one whole block.
    """
    if body[:6] != _MAGIC or len(body) < 12 or body[6] not in (1, 2, 3):
        raise damaged(f"an answer of {len(body)} bytes is not a valid NPY file")
    first = 10 if body[6] == 1 else 12
    start = first + int.from_bytes(body[8:first], "little")
    if start > min(len(body), LONGEST_HEADER):
        raise damaged(f"the answer has {len(body)} bytes and its header alone says {start}")
    dtype, shape = _header(body[first:start])
    expected = start + dtype.itemsize * shape[0] * shape[1]
    if len(body) != expected:
        raise damaged(f"the answer has {len(body)} bytes and its header says {expected}")
    return np.frombuffer(body, dtype, offset=start).reshape(shape)


@lru_cache(maxsize=64)
def _header(text: bytes) -> tuple[np.dtype[Any], tuple[int, int]]:
    try:
        header = ast.literal_eval(text.decode("latin1").strip())
        dtype, (height, width) = np.dtype(header["descr"]), header["shape"]
        if header["fortran_order"] or dtype.names is None:
            raise ValueError("it is not a structured block in C order")
        if any(dtype[name].kind not in "buif" or dtype[name].shape for name in dtype.names):
            raise ValueError(f"its types are {dtype}")
        if not (type(height) is type(width) is int and 0 < height <= MAX_BYTES and 0 < width <= MAX_BYTES):
            raise ValueError(f"its shape is {header['shape']}")
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError) as error:
        raise damaged(f"an NPY header that cannot be read: {one_line(error, 200)}") from None
    except (RecursionError, MemoryError):  # what literal_eval makes of deep nesting
        raise damaged(f"an NPY header of {len(text)} bytes that is not a valid header") from None
    return dtype, (height, width)


@contextmanager
def tiff(body: bytes) -> Iterator[Any]:
    """Open an answer of GeoTIFF, whose blocks are no larger than an answer can be; its size is the caller's to check.

    Raises:
        ServiceError: ``damaged`` for what is not a GeoTIFF, or breaks while it is read.
    """
    if body[:4] not in _TIFF_MAGIC:
        raise damaged(f"an answer of {len(body)} bytes is not a valid GeoTIFF")
    try:
        with local_gdal(), MemoryFile(body) as file, file.open(driver="GTiff") as raster:
            sample = max((np.dtype(name).itemsize for name in raster.dtypes), default=1)
            largest = max((rows * columns for rows, columns in raster.block_shapes), default=0)
            size = largest * sample * (raster.count if raster.profile.get("interleave") == "pixel" else 1)
            if size > MAX_TIFF_BLOCK:
                raise damaged(f"the answer has blocks of {size} bytes, more than {MAX_TIFF_BLOCK}")
            yield raster
    except (RasterioError, ValueError, TypeError, OSError, MemoryError) as error:
        raise damaged(f"an answer of {len(body)} bytes is not a whole GeoTIFF: {one_line(error, 200)}") from None


def damaged(message: str) -> ServiceError:
    """Return the error of an answer that is not what was asked for, which another try may mend."""
    return ServiceError(message, kind="damaged", status=200)
