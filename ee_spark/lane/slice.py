"""A slice: chunks, and those images, graphs and points that they index. As bytes it is Arrow, never pickle.

The bytes are Arrow IPC streams (https://arrow.apache.org/docs/format/Columnar.html), compressed with zstd, one after
the other: lattices, chunks, runs of tiles, what footprints took away, images, graphs, points, the points' own columns.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ee_spark.lane.spared import NOTHING, Spared
from ee_spark.planner.chunk import Chunk
from ee_spark.planner.crs import Ints
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.plan import Plan
from ee_spark.planner.points import Points
from ee_spark.planner.request import graph_of
from ee_spark.planner.tile import Shape
from ee_spark.store.bounds import read_table, write_table
from ee_spark.store.log import Key
from ee_spark.store.points import of_tables, tables_of

_LATTICES = pa.schema([("crs", pa.string()), *((name, pa.float64()) for name in ("res_x", "res_y", "x0", "y0"))])
_CHUNKS = pa.schema([("key", pa.string()), ("lattice", pa.int64()), ("runs", pa.int64())])
_RUNS = pa.schema([(name, pa.int64()) for name in ("row", "start", "stop", "image")])
_KEYS = pa.schema([("lattice", pa.string())])
_SPARED = pa.schema([(name, pa.int64()) for name in ("lattice", "image", "row", "start", "stop")])
_IMAGES = pa.schema([("id", pa.large_string()), ("time", pa.int64()), ("version", pa.int64())])
_GRAPHS = pa.schema([("graph", pa.large_string())])


@dataclass(frozen=True, eq=False)
class Slice:
    """Chunks and what they index: images by their ids, times and versions, their graphs, and points.

    ``graphs`` are none, one for all images, or one for each. ``spared`` is what lies beside the chunks' tiles and was
    not planned, for the images' footprints only.
    """

    chunks: tuple[Chunk, ...]
    image_ids: tuple[str, ...]
    image_times: tuple[int, ...]
    image_versions: tuple[int, ...]
    graphs: tuple[str, ...]
    points: Points | None
    spared: Spared = NOTHING

    @property
    def count(self) -> int:
        """How many pairs of image and tile there are."""
        return sum(chunk.count for chunk in self.chunks)

    def graph(self, image: int) -> str | None:
        """Return the graph of one image."""
        return graph_of(self.graphs, image)

    def keys(self, chunk: Chunk, shape: Shape, *, snap: bool) -> list[Key]:
        """Return the (tile_id, image_id) of a chunk's planned pairs, in their order."""
        tiles, tile, image = chunk.pairs(shape, self.points, snap=snap)
        return [(tiles.ids[t], self.image_ids[i]) for t, i in zip(tile.tolist(), image.tolist(), strict=True)]

    def cut(self, chunks: Sequence[Chunk]) -> Slice:
        """Return some chunks of this slice, or parts of them, with no more than what they index."""
        images = _used(chunk.image for chunk in chunks)
        points = _used(chunk.row for chunk in chunks) if self.points else None
        chosen = images.tolist()
        return Slice(
            chunks=tuple(
                replace(
                    chunk,
                    image=np.searchsorted(images, chunk.image),
                    row=chunk.row if points is None else np.searchsorted(points, chunk.row),
                )
                for chunk in chunks
            ),
            image_ids=tuple(self.image_ids[index] for index in chosen),
            image_times=tuple(self.image_times[index] for index in chosen),
            image_versions=tuple(self.image_versions[index] for index in chosen),
            graphs=tuple(self.graphs[index] for index in chosen) if len(self.graphs) > 1 else self.graphs,
            points=self.points.take(points) if self.points and points is not None else None,
            spared=self._beside(chunks, images),
        )

    def _beside(self, chunks: Sequence[Chunk], images: Ints) -> Spared:
        if not len(self.spared) or not len(images):
            return NOTHING
        rows = [edge for chunk in chunks for edge in (int(chunk.row.min()) - 1, int(chunk.row.max()) + 1)]
        return self.spared.near(images, min(rows), max(rows))


def slice_of(plan: Plan, versions: Ints) -> Slice:
    """Return a whole plan; ``versions`` are the images' to ask for, where the job sends them."""
    return Slice(
        chunks=tuple(plan.pairs.chunk(index) for index in range(len(plan.pairs))),
        image_ids=tuple(plan.images.ids),
        image_times=tuple(plan.images.time.tolist()),
        image_versions=tuple(versions.tolist() if plan.pins else [-1] * len(plan.images)),
        graphs=plan.graphs,
        points=plan.points,
        spared=NOTHING if plan.points else Spared.of(plan.spared),
    )


def encode(part: Slice) -> bytes:
    """Return a slice as bytes."""
    lattices = list(dict.fromkeys(chunk.lattice for chunk in part.chunks))
    number = {lattice: index for index, lattice in enumerate(lattices)}
    chunks = [
        [chunk.key for chunk in part.chunks],
        [number[chunk.lattice] for chunk in part.chunks],
        [len(chunk.row) for chunk in part.chunks],
    ]
    runs = [_differences([getattr(chunk, name) for chunk in part.chunks]) for name in _RUNS.names]
    spared = [_differences([getattr(part.spared, name)]) for name in _SPARED.names]
    points = tables_of(part.points) if part.points is not None else ()
    tables = [
        _table(_LATTICES, [[getattr(lattice, name) for lattice in lattices] for name in _LATTICES.names]),
        _table(_CHUNKS, chunks),
        _table(_RUNS, runs),
        _table(_KEYS, [part.spared.lattices]),
        _table(_SPARED, spared),
        _table(_IMAGES, [part.image_ids, part.image_times, part.image_versions]),
        _table(_GRAPHS, [part.graphs]),
        *points,
    ]
    sink = io.BytesIO()
    for table in tables:
        write_table(sink, table)
    return sink.getvalue()


def decode(data: bytes) -> Slice:
    """Return what :func:`encode` was given."""
    source = pa.BufferReader(data)
    lattices = [Lattice(**row) for row in read_table(source).to_pylist()]
    chunks, runs, keys, spared, images, graphs = (read_table(source) for _ in range(6))
    columns = [np.cumsum(runs[name].to_numpy(), dtype=np.int64) for name in _RUNS.names]
    cells = [np.cumsum(spared[name].to_numpy(), dtype=np.int64) for name in _SPARED.names]
    edges = np.cumsum([0, *chunks["runs"].to_pylist()]).tolist()
    return Slice(
        chunks=tuple(
            Chunk(chunk["key"], lattices[chunk["lattice"]], *(column[first:stop] for column in columns))
            for chunk, first, stop in zip(chunks.to_pylist(), edges[:-1], edges[1:], strict=True)
        ),
        image_ids=tuple(images["id"].to_pylist()),
        image_times=tuple(images["time"].to_pylist()),
        image_versions=tuple(images["version"].to_pylist()),
        graphs=tuple(graphs["graph"].to_pylist()),
        points=of_tables(read_table(source), read_table(source)) if source.tell() < source.size() else None,
        spared=Spared(tuple(keys["lattice"].to_pylist()), *cells),
    )


def _table(schema: pa.Schema, columns: Sequence[Any]) -> pa.Table:
    arrays = [pa.array(column, item.type) for column, item in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _differences(arrays: Sequence[Ints]) -> Ints:
    """Return the arrays one after the other as differences, which compress to almost nothing."""
    return np.diff(_joined(arrays), prepend=np.int64(0))


def _used(arrays: Iterable[Ints]) -> Ints:
    """Return the numbers that occur in any array, sorted."""
    return np.unique(_joined(list(arrays)))


def _joined(arrays: Sequence[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *arrays])
