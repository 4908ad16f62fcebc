"""Parts: fetched blocks as one Parquet object, built whole in memory."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.planner.images import timestamps
from ee_spark.planner.tile import Tiles
from ee_spark.status import TileStatus
from ee_spark.store import ledger
from ee_spark.store.georeference import extent
from ee_spark.store.measure import measure, no_measures
from ee_spark.store.schema import Layout, list_of, with_extent


@dataclass(frozen=True)
class Row:
    """One finished pair of image and tile: where it lies, what it cost, and its pixels or why there are none.

    ``order`` is its place in its chunk, ``tile`` its index in ``tiles``; times are microseconds since 1970.
    """

    order: int
    tiles: Tiles
    tile: int
    image_id: str
    image_time: int
    version: int
    status: str
    block: Any = None
    error_class: str | None = None
    error_message: str | None = None
    http_status: int | None = None
    attempts: int = 1
    requests: int = 1
    fetch_ms: int = 0
    bytes_in: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """(tile_id, image_id)."""
        return self.tiles.ids[self.tile], self.image_id


@dataclass
class Part:
    """One part: its bytes, its ledger, that ledger's size in the footer, and the rows that it commits."""

    data: bytes
    ledger: ledger.Ledger
    ledger_bytes: int
    rows: Sequence[Row] = field(repr=False)


def build(rows: Sequence[Row], layout: Layout, run_id: str) -> Part:
    """Return the part that commits ``rows`` (ok and empty), in the order of their chunk."""
    ordered = sorted(rows, key=lambda row: row.order)
    ok = [row for row in ordered if row.status == TileStatus.OK]
    empty = [row for row in ordered if row.status == TileStatus.EMPTY]
    sink = io.BytesIO()  # which gives its bytes away without a copy
    measured: list[pa.Table] = []
    where = pa.Table.from_arrays(_key_columns(ok, layout), schema=pa.schema(layout.keys))
    schema = with_extent(layout.pixels, extent(where))
    with pq.ParquetWriter(sink, schema, **layout.writer_options(layout.pixels)) as writer:
        step = layout.group_rows()
        for first in range(0, len(ok), step):
            group = ok[first : first + step]
            planes = _planes(group, layout)
            measured.append(measure(planes, layout))
            writer.write_table(_pixel_table(group, planes, layout), row_group_size=len(group))
        committed = [*ok, *empty]
        measured.append(no_measures(len(empty), layout, 0 if layout.validity.known else None))
        entry = ledger.Ledger(
            uuid.uuid4().hex,
            _committed_table(committed, pa.concat_tables(measured), layout, run_id),
            pa.Table.from_arrays(_key_columns(empty, layout), schema=pa.schema(layout.keys)),
        )
        footer = entry.encode()
        writer.add_key_value_metadata({ledger.KEY: footer})
    return Part(sink.getvalue(), entry, len(footer), ordered)


def pixel_table(rows: Sequence[Row], layout: Layout) -> pa.Table:
    """Return rows of ``pixels`` for ok pairs, in the order in which they are given."""
    return _pixel_table(rows, _planes(rows, layout), layout)


def failed_table(rows: Sequence[Row], layout: Layout, run_id: str) -> pa.Table:
    """Return rows of ``tiles`` for failed pairs."""
    keys = _key_columns(rows, layout)
    committed = _committed_table(rows, no_measures(len(rows), layout, None), layout, run_id).drop_columns(
        ["tile_id", "image_id"]
    )
    part = pa.nulls(len(rows), pa.string())
    return pa.Table.from_arrays([*keys, *committed.columns, part], schema=layout.tiles.remove_metadata())


def zero_rows(schema: pa.Schema, layout: Layout) -> bytes:
    """Return a Parquet object with ``schema`` and no rows, for readers that open a table before its first part.

    It has no row group either: Hugging Face's ``datasets`` takes the first one's rows as its batch, and fails on 0.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, **layout.writer_options(schema)):
        pass
    return bytes(sink.getvalue().to_pybytes())


def _planes(rows: Sequence[Row], layout: Layout) -> dict[str, npt.NDArray[Any]]:
    return {name: _gather(rows, name, dtype) for name, dtype in layout.planes.items()}


def _pixel_table(rows: Sequence[Row], planes: Mapping[str, npt.NDArray[Any]], layout: Layout) -> pa.Table:
    arrays = [*_key_columns(rows, layout), *(_lists(plane) for plane in planes.values())]
    return pa.Table.from_arrays(arrays, schema=layout.pixels)


def _gather(rows: Sequence[Row], name: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return one plane of all rows as (rows, pixels), widened to its column's type."""
    first = rows[0].block[name]
    plane = np.empty((len(rows), first.size), dtype)
    for index, row in enumerate(rows):
        plane[index].reshape(first.shape)[...] = row.block[name]
    return plane


def _lists(plane: npt.NDArray[Any]) -> pa.Array:
    count, size = plane.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * size)
    values = pa.array(plane.ravel())
    return pa.ListArray.from_arrays(offsets, values, type=list_of(values.type))


def _key_columns(rows: Sequence[Row], layout: Layout) -> list[pa.Array]:
    """Return the key, georeference and point columns of rows."""
    columns: dict[str, pa.Array] = {
        "image_id": pa.array([row.image_id for row in rows], pa.string()),
        "image_time": timestamps([row.image_time for row in rows]),
    }
    groups: dict[int, Tiles] = {id(row.tiles): row.tiles for row in rows}
    starts, total = {}, 0
    for key, tiles in groups.items():
        starts[key] = total
        total += len(tiles)
    take = pa.array([starts[id(row.tiles)] + row.tile for row in rows], pa.int64())
    for item in layout.keys:
        if item.name not in columns:
            parts = [tiles.columns[item.name] for tiles in groups.values()]
            whole = pa.concat_arrays(parts) if parts else pa.nulls(0, item.type)
            columns[item.name] = whole.take(take)
    return [columns[item.name].cast(item.type) for item in layout.keys]


def _committed_table(rows: Sequence[Row], measured: pa.Table, layout: Layout, run_id: str) -> pa.Table:
    now = dt.datetime.now(dt.UTC)
    columns: dict[str, pa.Array] = {
        "tile_id": pa.array([row.key[0] for row in rows], pa.string()),
        "image_id": pa.array([row.image_id for row in rows], pa.string()),
        "version": timestamps([row.version for row in rows]),
        "run_id": pa.array([run_id] * len(rows), pa.string()),
        "created_at": pa.array([now] * len(rows), pa.timestamp("us", "UTC")),
        **{name: measured[name] for name in measured.column_names},
    }
    for item in layout.telemetry:
        if item.name not in columns:
            columns[item.name] = pa.array([getattr(row, item.name) for row in rows], item.type)
    return pa.table(
        {name: columns[name] for name in ("tile_id", "image_id", *(item.name for item in layout.telemetry))}
    )
