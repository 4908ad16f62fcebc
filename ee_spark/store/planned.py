"""What a run planned, as its record has it: enough to enumerate its tiles again with no service and no planner."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ee_spark.objects import Store
from ee_spark.planner.chunk import Pairs, grouped
from ee_spark.planner.crs import Ints
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.region import Points
from ee_spark.planner.tile import Shape
from ee_spark.store.content import note, noted
from ee_spark.store.points import read_table, write_table

Key = tuple[str, str]
PLANS = "_ee_spark/plans"
LEVEL = 9
"""Of zstd: what it makes of equal numbers is hundreds of times smaller than at level 1, and kept for ever."""
_RUNS = ("image", "row", "start", "stop", "lattice", "bucket")
_PLACES = ("block_row", "block_column")


def pack(store: Store, pairs: Pairs) -> dict[str, Any]:
    """Return pairs as a record has them: their lattices, their runs, and which block each place is in.

    Runs stand image by image, as differences, which compress to almost nothing. A place is the tiles of a run: a daily
    job has the same ones each day, and keeps them once.
    """
    order = np.lexsort((pairs.start, pairs.row, pairs.image))
    runs = {name: getattr(pairs, name)[order] for name in _RUNS}
    first, _ = _places(runs)
    places = {name: getattr(pairs, name)[order][first] for name in _PLACES}
    return {
        "lattices": [dataclasses.asdict(lattice) for lattice in pairs.lattices],
        "runs": note(store, PLANS, _encode(runs)),
        "places": note(store, PLANS, _encode(places)),
    }


def unpack(store: Store, data: Mapping[str, Any]) -> Pairs:
    """Return what :func:`pack` was given, or an older version's record has.

    Raises:
        StoreError: if an object that holds them is gone or damaged.
        ValueError, KeyError, TypeError: if they are something else.
    """
    lattices = tuple(Lattice(**lattice) for lattice in data["lattices"])
    if "arrays" in data:
        return Pairs(lattices=lattices, **_arrays(data["arrays"]))
    runs = _decode(noted(store, PLANS, data["runs"]), _RUNS)
    places = _decode(noted(store, PLANS, data["places"]), _PLACES)
    first, place = _places(runs)
    if len(first) != len(places["block_row"]):
        raise ValueError(f"{len(first)} places, and blocks of {len(places['block_row'])}")
    blocks = {name: column[place] for name, column in places.items()}
    return grouped(Pairs(lattices=lattices, **runs, **blocks, edges=np.zeros(1, np.int64)))


def pack_images(store: Store, ids: Sequence[str]) -> dict[str, str]:
    """Return the images' ids as a record has them."""
    sink = io.BytesIO()
    write_table(sink, pa.table({"id": pa.array(ids, pa.large_string())}), LEVEL)
    return note(store, PLANS, sink.getvalue())


def unpack_images(store: Store, said: Any) -> list[str]:
    """Return what :func:`pack_images` was given, or the list of an older version's record."""
    if isinstance(said, list):
        return [str(name) for name in said]
    found: list[str] = read_table(pa.BufferReader(noted(store, PLANS, said)))["id"].to_pylist()
    return found


def chunk_keys(
    pairs: Pairs, images: Sequence[str], shape: Shape, points: Points | None, *, snap: bool
) -> Iterator[tuple[str, set[Key]]]:
    """Yield each chunk's key and the (tile_id, image_id) planned in it."""
    for index in range(len(pairs)):
        yield pairs.key(index), keys_of(pairs, index, images, shape, points, snap=snap)


def keys_of(
    pairs: Pairs, index: int, images: Sequence[str], shape: Shape, points: Points | None, *, snap: bool
) -> set[Key]:
    """Return the (tile_id, image_id) planned in one chunk."""
    tiles, tile, image = pairs.chunk(index).pairs(shape, points, snap=snap)
    return {(tiles.ids[t], images[i]) for t, i in zip(tile.tolist(), image.tolist(), strict=True)}


def _places(runs: Mapping[str, Ints]) -> tuple[Ints, Ints]:
    """Return the index of the first run in each place, the places sorted, and the place of each run."""
    keys = [runs[name] for name in ("stop", "start", "row", "lattice")]
    order = np.lexsort(keys)
    new = np.ones(len(order), bool)
    new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(new) - 1
    return order[new], place


def _encode(columns: Mapping[str, Ints]) -> bytes:
    sink = io.BytesIO()
    table = pa.table({name: np.diff(column, prepend=np.int64(0)) for name, column in columns.items()})
    write_table(sink, table, LEVEL)
    return sink.getvalue()


def _decode(data: bytes, names: Sequence[str]) -> dict[str, Ints]:
    table = read_table(pa.BufferReader(data))
    return {name: np.cumsum(table[name].to_numpy(), dtype=np.int64) for name in names}


def _arrays(text: str) -> dict[str, Ints]:
    """Return the arrays of an older version's record."""
    with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as arrays:
        return {name: np.cumsum(arrays[name], dtype=np.int64) for name in arrays.files}
