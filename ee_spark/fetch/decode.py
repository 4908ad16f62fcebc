"""Answers as planes: checked for length, names, types and shape before they count.

NPY is read in place: a structured array whose fields are the bands, interleaved by pixel, in the order asked for
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile

from ee_spark.errors import ServiceError

_MAGIC = b"\x93NUMPY"


def decode(
    body: bytes, form: str, names: tuple[str, ...], types: Mapping[str, np.dtype[Any]], width: int, height: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the planes (height, width) of an answer by column name.

    ``names`` are the answer's band names in the order asked for; ``types`` the columns and their types, in that order.

    Raises:
        ServiceError: ``damaged`` if the answer is not what was asked for, which another try may mend; ``permanent``,
            labelled ``dtype``, if a band is wider than its column.
    """
    planes = _tiff(body, names) if form == "GEO_TIFF" else _npy(body, names)
    decoded = {}
    for (column, dtype), (name, plane) in zip(types.items(), planes.items(), strict=True):
        if plane.shape != (height, width):
            raise _damaged(f"band {name!r} is {plane.shape[1]} × {plane.shape[0]} pixels, not {width} × {height}")
        if plane.dtype != dtype and not np.can_cast(plane.dtype, dtype, "safe"):
            raise ServiceError(
                f"band {name!r} came as {plane.dtype}, and its column is {dtype}; write pixels.dtype: "
                f"{{{column}: {dtype}}}, or another output.path",
                kind="permanent",
                status=200,
                label="dtype",
            )
        decoded[column] = plane
    return decoded


def _npy(body: bytes, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    if body[:6] != _MAGIC or len(body) < 12:
        raise _damaged(f"an answer of {len(body)} bytes is no NPY")
    start = 10 + int.from_bytes(body[8:10], "little") if body[6] == 1 else 12 + int.from_bytes(body[8:12], "little")
    dtype, shape = _header(body[12 if body[6] > 1 else 10 : start])
    expected = start + dtype.itemsize * shape[0] * shape[1]
    if len(body) != expected:
        raise _damaged(f"the answer has {len(body)} bytes and its header says {expected}")
    if dtype.names != names:
        raise _damaged(f"the answer has bands {dtype.names}, asked for were {names}")
    block = np.frombuffer(body, dtype, offset=start).reshape(shape)
    return {name: block[name] for name in names}


@lru_cache(maxsize=64)
def _header(text: bytes) -> tuple[np.dtype[Any], tuple[int, int]]:
    try:
        header = ast.literal_eval(text.decode("latin1"))
        dtype, shape = np.dtype(header["descr"]), header["shape"]
        if header["fortran_order"] or dtype.names is None or dtype.hasobject or len(shape) != 2:
            raise ValueError("no structured block")
        return dtype, (int(shape[0]), int(shape[1]))
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise _damaged(f"an NPY header that cannot be read: {error}") from None


def _tiff(body: bytes, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    try:
        with MemoryFile(body) as file, file.open() as raster:
            if raster.count != len(names):
                raise _damaged(f"the answer has {raster.count} bands, asked for were {len(names)}")
            return dict(zip(names, raster.read(), strict=True))
    except RasterioIOError as error:
        raise _damaged(f"an answer of {len(body)} bytes is no whole GeoTIFF: {error}") from None


def _damaged(message: str) -> ServiceError:
    return ServiceError(message, kind="damaged", status=200)
