"""What a run planned, as text in its record: enough to enumerate its tiles again with no service and no planner."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from ee_spark.planner.chunk import Pairs
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.region import Points
from ee_spark.planner.tile import Shape

Key = tuple[str, str]


def pack(pairs: Pairs) -> dict[str, Any]:
    """Return pairs as JSON: their lattices, and their arrays as differences, which compress to almost nothing."""
    arrays = {
        item.name: np.diff(getattr(pairs, item.name), prepend=np.int64(0))
        for item in dataclasses.fields(pairs)
        if isinstance(getattr(pairs, item.name), np.ndarray)
    }
    sink = io.BytesIO()
    np.savez_compressed(sink, allow_pickle=False, **arrays)
    lattices = [dataclasses.asdict(lattice) for lattice in pairs.lattices]
    return {"lattices": lattices, "arrays": base64.b64encode(sink.getvalue()).decode()}


def unpack(data: dict[str, Any]) -> Pairs:
    """Return what :func:`pack` was given."""
    with np.load(io.BytesIO(base64.b64decode(data["arrays"])), allow_pickle=False) as arrays:
        columns = {name: np.cumsum(arrays[name], dtype=np.int64) for name in arrays.files}
    return Pairs(lattices=tuple(Lattice(**lattice) for lattice in data["lattices"]), **columns)


def chunk_keys(
    pairs: Pairs, images: list[str], shape: Shape, points: Points | None, *, snap: bool
) -> Iterator[tuple[str, set[Key]]]:
    """Yield each chunk's key and the (tile_id, image_id) planned in it."""
    for index in range(len(pairs)):
        tiles, tile, image = pairs.chunk(index).pairs(shape, points, snap=snap)
        yield pairs.key(index), {(tiles.ids[t], images[i]) for t, i in zip(tile.tolist(), image.tolist(), strict=True)}
