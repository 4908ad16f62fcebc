"""Chunks: pairs of image and tile that belong to one log, cut by a key that no run's extent can change.

The key depends on the lattice, a square block of neighbouring tiles whose side follows from a tile's bytes, and a time
bucket whose length the first plan freezes: never on dates, area, part size or lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ee_spark.planner.cover import Runs
from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.images import NO_TIME
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.points import Points
from ee_spark.planner.tile import Shape, Tiles, grid_tiles, patches

CHUNK_BYTES = 128_000_000
CHUNK_PAIRS = 65_536
BLOCK_TILES = 4_096
FEW_CHUNKS = 16
FEW_PAIRS = 64
PACK_BYTES = 1_000_000
COLUMNS = ("lattice", "block_row", "block_column", "bucket", "image", "row", "start", "stop")
"""What a run of pairs is."""
DAY = 86_400_000_000
LONGEST_DAYS = 16_384


@dataclass(frozen=True)
class Chunk:
    """One chunk's planned pairs, as runs of tiles: tiles ``row[i]``, ``start[i]`` to ``stop[i]`` of image ``image[i]``.

    For points a run is one point: ``row`` is its index and its columns are 0 to 1. Images are indices into the plan's.
    """

    key: str
    lattice: Lattice
    row: Ints
    start: Ints
    stop: Ints
    image: Ints

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return int((self.stop - self.start).sum())

    def halves(self) -> tuple[Chunk, Chunk]:
        """Return the chunk's pairs in two parts of one key, for two lanes: each holds whole tiles where it can."""
        order = np.lexsort((self.image, self.start, self.row))
        length = np.cumsum((self.stop - self.start)[order])
        at = int(np.searchsorted(length, length[-1] // 2, "right"))
        if 0 < at < len(order):
            first, second = np.sort(order[:at]), np.sort(order[at:])
            return self._runs(first, self.start, self.stop), self._runs(second, self.start, self.stop)
        every = np.arange(len(order))
        middle = (self.start + self.stop + 1) // 2
        rest = np.flatnonzero(middle < self.stop)
        return self._runs(every, self.start, middle), self._runs(rest, middle, self.stop)

    def run(self, index: int) -> Chunk:
        """Return one of the chunk's runs: tiles of one image."""
        return self._runs(np.array([index]), self.start, self.stop)

    def _runs(self, index: Ints, start: Ints, stop: Ints) -> Chunk:
        return replace(self, row=self.row[index], start=start[index], stop=stop[index], image=self.image[index])

    def pairs(self, shape: Shape, points: Points | None, *, snap: bool) -> tuple[Tiles, Ints, Ints]:
        """Return the chunk's tiles, and for each pair the index of its tile and of its image.

        Pairs stand in the order of the table: tile by tile along a Morton curve, points by their id, within a tile by
        time.
        """
        length = self.stop - self.start
        row, column = Runs(self.row, self.start, self.stop).cells()
        image = np.repeat(self.image, length)
        code = morton(row, column) if points is None else row
        _, first, tile = np.unique(code, return_index=True, return_inverse=True)
        if points is None:
            tiles = grid_tiles(self.lattice, shape, row[first], column[first])
        else:
            by_id = np.argsort(np.array(points.ids)[row[first]], kind="stable")
            tiles = patches(self.lattice, shape, points.take(row[first][by_id]), snap=snap)
            tile = np.argsort(by_id)[tile]
        order = np.lexsort((image, tile))
        return tiles, tile[order], image[order]


@dataclass(frozen=True)
class Pairs:
    """All planned pairs, as runs sorted by chunk; chunk i is the runs ``edges[i]`` to ``edges[i + 1]``."""

    lattices: tuple[Lattice, ...]
    lattice: Ints
    block_row: Ints
    block_column: Ints
    bucket: Ints
    image: Ints
    row: Ints
    start: Ints
    stop: Ints
    edges: Ints

    def __len__(self) -> int:
        return len(self.edges) - 1

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return int((self.stop - self.start).sum())

    @property
    def counts(self) -> Ints:
        """How many pairs each chunk has."""
        return np.add.reduceat(self.stop - self.start, self.edges[:-1]) if len(self) else np.zeros(0, np.int64)

    def where(self, mask: npt.NDArray[np.bool_]) -> Pairs:
        """Return the pairs of the runs where ``mask`` (one a run) is True."""
        return grouped(replace(self, **{name: getattr(self, name)[mask] for name in COLUMNS}))

    def with_others(self, others: Pairs) -> Pairs:
        """Return these pairs and others, of the same lattices, sides and days."""
        both: dict[str, Any] = {name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in COLUMNS}
        return grouped(replace(self, **both))

    def requests(self, pack: int) -> int:
        """Return how many requests the pairs come to, ``pack`` images of one tile in one at most.

        Images whose runs of tiles differ within a chunk are counted apart, so that it may be a few less.
        """
        if pack <= 1 or not len(self):
            return self.count
        chunk = np.repeat(np.arange(len(self)), np.diff(self.edges))
        alike = _paired(_paired(chunk, self.row), _paired(self.start, self.stop))
        _, first, images = np.unique(alike, return_index=True, return_counts=True)
        return int(((self.stop - self.start)[first] * -(-images // pack)).sum())

    def chunk(self, index: int) -> Chunk:
        """Return one chunk."""
        part = slice(self.edges[index], self.edges[index + 1])
        first = self.edges[index]
        return Chunk(
            self.key(index),
            self.lattices[self.lattice[first]],
            self.row[part],
            self.start[part],
            self.stop[part],
            self.image[part],
        )

    def key(self, index: int) -> str:
        """Return the name of one chunk, without any ``-``."""
        first = self.edges[index]
        bucket = int(self.bucket[first])
        time = "x" if bucket == NO_TIME else _whole(bucket)
        block = f"r{_whole(int(self.block_row[first]))}c{_whole(int(self.block_column[first]))}"
        return f"{self.lattices[self.lattice[first]].key}_{block}_t{time}"


def lattice_key(chunk: str) -> str:
    """Return the key of the lattice of a chunk of this name: what :meth:`Pairs.key` put there."""
    return chunk.partition("_")[0]


def block_side(tile_bytes: int, *, points: bool) -> int:
    """Return how many tiles wide and high a block is: a power of two, so that a block is about a part's bytes.

    Patches lie scattered, so their blocks span sixteen times as much.
    """
    tiles = max(1, min(BLOCK_TILES, CHUNK_BYTES // max(1, tile_bytes)))
    return int(2 ** ((tiles.bit_length() - 1) // 2)) * (16 if points else 1)


def cut(
    lattices: Sequence[Lattice],
    runs: Sequence[tuple[int, int, Runs]],
    side: int,
    origins: Sequence[tuple[Floats, Floats]] | None = None,
) -> Pairs:
    """Return the pairs of ``runs`` (lattice index, image index, runs of tiles) as one chunk per lattice and block.

    For points, runs hold point indices and ``origins`` has each lattice's patch corners, in tiles (columns, rows).
    """
    known: dict[int, Runs] = {}  # images of one footprint have the same runs
    for _, _, part in runs:
        if id(part) not in known:
            known[id(part)] = part if origins else part.split(side)
    split = [(lattice, image, known[id(part)]) for lattice, image, part in runs]
    lengths = [len(part.row) for _, _, part in split]
    lattice = np.repeat(np.array([item[0] for item in split], np.int64), lengths)
    image = np.repeat(np.array([item[1] for item in split], np.int64), lengths)
    row, start, stop = (_joined([getattr(part, name) for _, _, part in split]) for name in ("row", "start", "stop"))
    if origins is None:
        block_row, block_column = row // side, start // side
    else:
        block_row, block_column = np.zeros_like(row), np.zeros_like(row)
        for index, (columns, rows) in enumerate(origins):
            mine = lattice == index
            block_row[mine] = np.floor(rows[row[mine]] / side)
            block_column[mine] = np.floor(columns[row[mine]] / side)
    pairs = Pairs(
        tuple(lattices), lattice, block_row, block_column, np.full(len(row), NO_TIME), image, row, start, stop, _NONE
    )
    return grouped(pairs)


def bucket_days(pairs: Pairs, time: Ints, tile_bytes: int, *, packed: bool) -> int:
    """Return how many days one chunk spans, a power of two: long enough to be worth a file, short enough to share work.

    ``packed``: images of one tile go into one request, so that a bucket is not cut below what fills one.
    """
    if not len(pairs) or (time == NO_TIME).all():
        return LONGEST_DAYS
    total, length = pairs.count, pairs.stop - pairs.start
    block = np.repeat(np.arange(len(pairs)), np.diff(pairs.edges))
    tiles = len(np.unique(_paired(_paired(pairs.lattice, pairs.row), _paired(pairs.start, length))))
    day_of = np.where(time == NO_TIME, -(2**40), time // DAY)[pairs.image]
    _, first = np.unique(_paired(block, day_of), return_index=True)
    block, day_of = block[first], day_of[first]
    images_per_tile = total / max(1, tiles * float(length.mean()))
    days = LONGEST_DAYS
    while days > 1:
        chunks = len(np.unique(_paired(block, day_of // days)))
        mean = total / chunks
        filled = images_per_tile * tile_bytes * days / LONGEST_DAYS < PACK_BYTES
        too_large = mean > CHUNK_PAIRS or mean * tile_bytes > CHUNK_BYTES
        too_few = chunks < FEW_CHUNKS and mean > FEW_PAIRS and not (packed and filled)
        if not (too_large or too_few):
            break
        days //= 2
    return days


def by_time(pairs: Pairs, time: Ints, days: int) -> Pairs:
    """Return the same pairs with each chunk cut into buckets of ``days`` days since 1970."""
    times = time[pairs.image] if len(pairs.image) else pairs.image
    bucket = np.where(times == NO_TIME, NO_TIME, times // (days * DAY))
    return grouped(replace(pairs, bucket=bucket))


def morton(row: Ints, column: Ints) -> Ints:
    """Return the position of cells on a Morton (Z-order) curve over their 31 lowest bits."""
    return (_spread(row) << 1) | _spread(column)


def grouped(pairs: Pairs) -> Pairs:
    """Return the pairs with their runs sorted by lattice, block and bucket, and the chunks' edges found anew."""
    keys = (pairs.bucket, pairs.block_column, pairs.block_row, pairs.lattice)
    order = np.lexsort(keys)
    changed = np.zeros(max(0, len(order) - 1), np.bool_)
    for key in keys:
        ordered = key[order]
        changed |= ordered[1:] != ordered[:-1]
    changes = np.flatnonzero(changed) + 1
    edges = np.concatenate([[0], changes, [len(order)]]) if len(order) else np.zeros(1, np.int64)
    return replace(pairs, edges=edges, **{name: getattr(pairs, name)[order] for name in COLUMNS})


_NONE: Ints = np.zeros(0, np.int64)


def _paired(first: Ints, second: Ints) -> Ints:
    """Return one number for each pair of numbers, equal where both are."""
    low = int(second.min())
    return (first - int(first.min())) * (int(second.max()) - low + 1) + (second - low)


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _whole(number: int) -> str:
    return str(number) if number >= 0 else f"m{-number}"


def _spread(values: Ints) -> Ints:
    """Return the bits of 31-bit values spread to every other bit."""
    x = values.astype(np.int64) & 0x7FFFFFFF
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        x = (x | (x << shift)) & mask
    return x
