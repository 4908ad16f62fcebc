"""Answers as planes: checked for length, names, types and shape before they count.

NPY is read in place: a structured array whose fields are the bands, interleaved by pixel, in the order asked for
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from ee_spark.errors import ServiceError, one_line
from ee_spark.gdal import local_gdal

Planes = dict[str, npt.NDArray[Any]]
"""An image's planes by column name, each (height, width)."""

_MAGIC = b"\x93NUMPY"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LONGEST_HEADER = 1 << 20


def decode(
    body: bytes, form: str, names: Sequence[str], types: Mapping[str, np.dtype[Any]], width: int, height: int
) -> list[Planes]:
    """Return the planes of each image in an answer, by column name: views of ``body`` where that is possible.

    ``types`` are an image's columns and their types, in the order of its bands. ``names`` are the answer's bands in the
    order asked for: as many as there are columns, or a multiple of it where several images came in one answer.

    Raises:
        ServiceError: ``damaged`` if the answer is not what was asked for, which another try may mend; ``permanent``,
            labelled ``dtype``, if a band is wider than its column.
    """
    planes = _tiff(body, names, width, height) if form == "GEO_TIFF" else _npy(body, tuple(names))
    images: list[Planes] = []
    columns = tuple(types.items())
    for index, (name, plane) in enumerate(zip(names, planes, strict=True)):
        column, dtype = columns[index % len(columns)]
        if index % len(columns) == 0:
            images.append({})
        if plane.shape != (height, width):
            raise _damaged(f"band {name!r} is {plane.shape[1]} × {plane.shape[0]} pixels, not {width} × {height}")
        if form == "GEO_TIFF" and (column == "valid" or column.startswith("valid_")):
            plane = plane.astype(dtype)  # a TIFF has one type: validity comes in that of the bands
        if plane.dtype != dtype and not np.can_cast(plane.dtype, dtype, "safe"):
            raise ServiceError(
                f"band {name!r} came as {plane.dtype}, and its column is {dtype}; write pixels.dtype: "
                f"{{{column}: {dtype}}}, or another output.path",
                kind="permanent",
                status=200,
                label="dtype",
            )
        images[-1][column] = plane
    return images


def _npy(body: bytes, names: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    if body[:6] != _MAGIC or len(body) < 12 or body[6] not in (1, 2, 3):
        raise _damaged(f"an answer of {len(body)} bytes is not a valid NPY file")
    first = 10 if body[6] == 1 else 12
    start = first + int.from_bytes(body[8:first], "little")
    if start > min(len(body), _LONGEST_HEADER):
        raise _damaged(f"the answer has {len(body)} bytes and its header alone says {start}")
    dtype, shape = _header(body[first:start])
    expected = start + dtype.itemsize * shape[0] * shape[1]
    if len(body) != expected:
        raise _damaged(f"the answer has {len(body)} bytes and its header says {expected}")
    if dtype.names != names:
        raise _damaged(f"the answer has bands {_some(dtype.names or ())}, asked for were {_some(names)}")
    block = np.frombuffer(body, dtype, offset=start).reshape(shape)
    return [block[name] for name in names]


@lru_cache(maxsize=64)
def _header(text: bytes) -> tuple[np.dtype[Any], tuple[int, int]]:
    try:
        header = ast.literal_eval(text.decode("latin1").strip())
        dtype, (height, width) = np.dtype(header["descr"]), header["shape"]
        if header["fortran_order"] or dtype.names is None:
            raise ValueError("it is not a structured block in C order")
        if any(dtype[name].kind not in "buif" or dtype[name].shape for name in dtype.names):
            raise ValueError(f"its types are {dtype}")
        if not (type(height) is type(width) is int and height > 0 and width > 0):
            raise ValueError(f"its shape is {header['shape']}")
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError) as error:
        raise _damaged(f"an NPY header that cannot be read: {one_line(error)}") from None
    except (RecursionError, MemoryError):  # what literal_eval makes of deep nesting
        raise _damaged(f"an NPY header of {len(text)} bytes that is not a valid header") from None
    return dtype, (height, width)


def _tiff(body: bytes, names: Sequence[str], width: int, height: int) -> list[npt.NDArray[Any]]:
    if body[:4] not in _TIFF_MAGIC:
        raise _damaged(f"an answer of {len(body)} bytes is not a valid GeoTIFF")
    try:
        with local_gdal(), MemoryFile(body) as file, file.open(driver="GTiff") as raster:
            if raster.count != len(names):
                raise _damaged(f"the answer has {raster.count} bands, asked for were {len(names)}")
            if raster.shape != (height, width):  # before anything as large as a broken header may claim is read
                raise _damaged(f"the answer is {raster.width} × {raster.height} pixels, not {width} × {height}")
            for name, found in zip(names, raster.descriptions, strict=True):
                if found and found != name:
                    raise _damaged(f"the answer has band {found!r}, asked for was {name!r}")
            return list(raster.read())
    except (RasterioError, ValueError, TypeError, OSError) as error:
        raise _damaged(f"an answer of {len(body)} bytes is not a whole GeoTIFF: {one_line(error)}") from None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown}, … ({len(names)})" if len(names) > 8 else shown


def _damaged(message: str) -> ServiceError:
    return ServiceError(message, kind="damaged", status=200)
