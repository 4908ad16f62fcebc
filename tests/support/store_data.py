"""Tables' layouts, tiles and finished rows for the store's tests, with pixels that follow from a tile's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from ee_spark.planner.frozen import Band, Frozen
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.region import Points
from ee_spark.planner.tile import Shape, Tiles, grid_tiles, patches
from ee_spark.store.part import Part, Row, build
from ee_spark.store.schema import Layout

LATTICE = Lattice("EPSG:32613", 30.0, 30.0, 15.0, 15.0)
FINGERPRINT = "0123abcd" * 8
DAY = 86_400_000_000


def layout(
    bands: Sequence[tuple[str, str]] = (("red", "uint16"), ("ndvi", "float32"), ("qa", "uint8")),
    *,
    mask: str = "band",
    side: int = 8,
    margin: int = 0,
    columns: pa.Schema | None = None,
    points: bool = False,
) -> Layout:
    shape = Shape(side, side, margin)
    frozen = Frozen(
        "computePixels", tuple(Band(name, name, dtype) for name, dtype in bands), mask, shape, LATTICE, "crs", 16, 16384
    )
    return Layout(FINGERPRINT, frozen, points, columns)


@cache
def tiles(shape: Shape, count: int) -> Tiles:
    """``count`` tiles of one row near Denver."""
    return grid_tiles(LATTICE, shape, np.full(count, -148000 // shape.width), 16000 // shape.width + np.arange(count))


def point_tiles(shape: Shape, points: Points) -> Tiles:
    return patches(LATTICE, shape, points, snap=True)


def block(layout: Layout, number: int, *, valid: float = 0.8) -> dict[str, np.ndarray[Any, Any]]:
    """Return the planes of tile ``number``; masked samples hold 0, as the service sends them."""
    rng = np.random.default_rng([number, 7])
    width, height = layout.frozen.shape.stored
    planes: dict[str, np.ndarray[Any, Any]] = {}
    good = rng.random((height, width)) < valid
    for band in layout.frozen.bands:
        dtype = np.dtype(band.dtype)
        if dtype.kind == "f":
            values = rng.normal(0, 1e3, (height, width)).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            values = rng.integers(limits.min, limits.max, (height, width), dtype, endpoint=True)
        planes[band.name] = np.where(good, values, np.zeros(1, dtype))
    for name in layout.frozen.validity:
        planes[name] = good.astype(np.uint8)
    return planes


def row(layout: Layout, number: int, status: str = "ok", *, of: Tiles | None = None, **changes: Any) -> Row:
    """Return the row of tile ``number`` and one image; the block of an ok row is :func:`block`'s."""
    made = Row(
        order=number,
        tiles=of or tiles(layout.frozen.shape, 64),
        tile=number,
        image_id="COLLECTION/IMAGE",
        image_time=19_000 * DAY,
        version=19_500 * DAY,
        status=status,
        block=block(layout, number) if status == "ok" else None,
        http_status=200,
        bytes_in=1000 + number,
    )
    return replace(made, **changes)


def part(layout: Layout, rows: Sequence[Row], run_id: str = "run", fill: dict[str, float] | None = None) -> Part:
    return build(rows, replace(layout, fill=fill or {}), run_id)
