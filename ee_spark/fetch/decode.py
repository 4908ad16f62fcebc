"""Answers as planes: checked for length, names, types and shape before they count.

NPY is read in place: a structured array whose fields are the bands, interleaved by pixel, in the order asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.answers import damaged, npy, tiff
from ee_spark.errors import ServiceError

Planes = dict[str, npt.NDArray[Any]]
"""An image's planes by column name, each (height, width)."""


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
            raise damaged(f"band {name!r} is {plane.shape[1]} × {plane.shape[0]} pixels, not {width} × {height}")
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
    block = npy(body)
    if block.dtype.names != names:
        raise damaged(f"the answer has bands {_some(block.dtype.names or ())}, asked for were {_some(names)}")
    return [block[name] for name in names]


def _tiff(body: bytes, names: Sequence[str], width: int, height: int) -> list[npt.NDArray[Any]]:
    with tiff(body) as raster:
        if raster.count != len(names):
            raise damaged(f"the answer has {raster.count} bands, asked for were {len(names)}")
        if raster.shape != (height, width):  # before anything as large as a broken header may claim is read
            raise damaged(f"the answer is {raster.width} × {raster.height} pixels, not {width} × {height}")
        for name, found in zip(names, raster.descriptions, strict=True):
            if found and found != name:
                raise damaged(f"the answer has band {found!r}, asked for was {name!r}")
        return list(raster.read())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown}, … ({len(names)})" if len(names) > 8 else shown
