"""What a run planned, as its record has it: enough to enumerate its tiles again with no service and no planner."""

from __future__ import annotations

import base64
import dataclasses
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa

from ee_spark.errors import JobError
from ee_spark.objects import Store
from ee_spark.planner.chunk import BLOCK_TILES, Pairs, grouped
from ee_spark.planner.crs import Ints
from ee_spark.planner.frozen import check_lattice
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.limits import MOST_INDEX, MOST_TILES
from ee_spark.planner.region import Points
from ee_spark.planner.tile import Shape
from ee_spark.store.bounds import MOST_STREAM, read_table, write_table
from ee_spark.store.content import note, noted

Key = tuple[str, str]
PLANS = "_ee_spark/plans"
LEVEL = 9
"""Of zstd: what it makes of equal numbers is hundreds of times smaller than at level 1, and kept for ever."""
MOST_RUNS = MOST_STREAM // 48
"""Runs of tiles of one plan: six numbers each."""
SMALL, ROW_BYTES = 1 << 20, 32
"""Bytes of a stream of places, and of each of its rows, of two numbers: at most, with all that is around them."""
MOST_PAIRS = 1 << 23
"""Pairs of one chunk whose names are in memory: of a chunk that is cut as it should be some ten thousand."""
_RUNS = ("image", "row", "start", "stop", "lattice", "bucket")
_PLACES = ("block_row", "block_column")


def pack(store: Store, pairs: Pairs) -> dict[str, Any]:
    """Return pairs as a record has them: their lattices, their runs, and which block each place is in.

    Runs stand image by image, as differences, which compress to almost nothing. A place is the tiles of a run: a daily
    job has the same ones each day, and keeps them once.

    Raises:
        JobError: if they are more than are read again.
    """
    if len(pairs.image) > MOST_RUNS:
        raise JobError(
            f"region: the plan has {len(pairs.image):,} runs of tiles, and a record holds {MOST_RUNS:,}; write fewer "
            "points, a shorter time, or several jobs with outputs of their own"
        )
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
    for lattice in lattices:
        check_lattice(lattice)
    if "arrays" in data:
        arrays = _arrays(data["arrays"])
        return grouped(Pairs(lattices=lattices, **{**arrays, "edges": np.zeros(1, np.int64)}))
    runs = _decode(noted(store, PLANS, data["runs"]), _RUNS)
    first, place = _places(runs)
    places = _decode(noted(store, PLANS, data["places"]), _PLACES, len(first))
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
    found: list[str] = read_table(pa.BufferReader(noted(store, PLANS, said)))["id"].cast(pa.large_string()).to_pylist()
    return found


def check(pairs: Pairs, images: int, points: int | None) -> None:
    """Refuse pairs that no plan has, of this many images and points: whoever can write to a record may say anything.

    Raises:
        ValueError: with what is wrong of them.
    """
    count = len(pairs.image)
    columns = [getattr(pairs, name) for name in (*_RUNS, *_PLACES)]
    if any(len(column) != count for column in columns):
        raise ValueError("runs of tiles with other numbers of values")
    if not count:
        return
    longest = 1 if points is not None else BLOCK_TILES
    length = pairs.stop - pairs.start
    for what, values, low, high in (
        ("lattices", pairs.lattice, 0, len(pairs.lattices)),
        ("images", pairs.image, 0, images),
        ("rows" if points is None else "points", pairs.row, -MOST_INDEX if points is None else 0, points or MOST_INDEX),
        ("columns", pairs.start, -MOST_INDEX, MOST_INDEX),
        ("columns", pairs.stop, -MOST_INDEX, MOST_INDEX + 1),
        ("tiles per run", length, 1, longest + 1),
    ):
        if int(values.min()) < low or int(values.max()) >= high:
            raise ValueError(f"{what} from {values.min():,} to {values.max():,}, and {low:,} to {high - 1:,} can be")
    if int(pairs.counts.max()) > MOST_PAIRS or pairs.count > MOST_TILES:
        raise ValueError(f"{pairs.count:,} tiles, {pairs.counts.max():,} of them in one chunk, which no plan has")


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


def _decode(data: bytes, names: Sequence[str], rows: int | None = None) -> dict[str, Ints]:
    """Return columns of differences as they were; what unfolds to many more than ``rows`` rows is not unfolded."""
    most = MOST_STREAM if rows is None else SMALL + ROW_BYTES * rows
    table = read_table(pa.BufferReader(data), most)
    if rows is not None and table.num_rows != rows:
        raise ValueError(f"{rows} places, and blocks of {table.num_rows}")
    return {name: np.cumsum(table[name].cast(pa.int64()).to_numpy(), dtype=np.int64) for name in names}


def _arrays(text: str) -> dict[str, Ints]:
    """Return the arrays of an older version's record.

    Raises:
        ValueError: if they unfold to more than is read, as the archive or one of them says.
    """
    data = base64.b64decode(text, validate=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {item.filename: item.file_size for item in archive.infolist()}
        if sum(sizes.values()) > MOST_STREAM:
            raise ValueError(f"arrays of {sum(sizes.values()):,} bytes")
        for name, size in sizes.items():
            with archive.open(name) as member:
                shape, _, kind = _header(member)
            if kind != np.int64 or len(shape) != 1 or shape[0] * kind.itemsize > size:
                raise ValueError(f"an array of {shape} values of type {kind}, in {size:,} bytes")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: np.cumsum(arrays[name], dtype=np.int64) for name in (*_RUNS, *_PLACES)}


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of an array in numpy's format, of which nothing else is read."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)
