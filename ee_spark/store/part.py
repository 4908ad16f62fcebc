"""Parts: fetched blocks as one Parquet object, built whole in memory."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.plan.images import NO_TIME
from ee_spark.plan.tile import Tiles
from ee_spark.store import ledger
from ee_spark.store.schema import STATISTICS, Layout, list_of

Planes = Mapping[str, npt.NDArray[Any]]
"""A block's planes by column name, each (height, width)."""


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
    """One part: its bytes, its ledger, that ledger's size in the footer, and the rows that it makes final."""

    data: bytes
    ledger: ledger.Ledger
    ledger_bytes: int
    rows: Sequence[Row] = field(repr=False)


def build(rows: Sequence[Row], layout: Layout, run_id: str, mask: str, fill: Mapping[str, float]) -> Part:
    """Return the part that makes ``rows`` (ok and empty) final, in the order of their chunk."""
    ordered = sorted(rows, key=lambda row: row.order)
    ok = [row for row in ordered if row.status == "ok"]
    empty = [row for row in ordered if row.status == "empty"]
    sink = pa.BufferOutputStream()
    measured: list[dict[str, Any]] = []
    with pq.ParquetWriter(sink, layout.pixels, **layout.writer_options(layout.pixels)) as writer:
        step = layout.group_rows()
        for first in range(0, len(ok), step):
            group = ok[first : first + step]
            planes = {name: _gather(group, name, dtype) for name, dtype in layout.planes.items()}
            measured += _measure(planes, layout, mask, fill)
            arrays = [*_key_columns(group, layout), *(_lists(plane) for plane in planes.values())]
            writer.write_table(pa.Table.from_arrays(arrays, schema=layout.pixels), row_group_size=len(group))
        final = [*ok, *empty]
        measured += [_nothing(layout, mask) for _ in empty]
        entry = ledger.Ledger(
            uuid.uuid4().hex,
            _final_table(final, measured, layout, run_id),
            pa.Table.from_arrays(_key_columns(empty, layout), schema=pa.schema(layout.keys)),
        )
        footer = entry.encode()
        writer.add_key_value_metadata({ledger.KEY: footer})
    return Part(sink.getvalue().to_pybytes(), entry, len(footer), ordered)


def failed_table(rows: Sequence[Row], layout: Layout, run_id: str) -> pa.Table:
    """Return rows of ``tiles`` for failed pairs."""
    keys = _key_columns(rows, layout)
    nothing = dict.fromkeys(_measured_names(layout))
    final = _final_table(rows, [nothing] * len(rows), layout, run_id).drop_columns(["tile_id", "image_id"])
    part = pa.nulls(len(rows), pa.string())
    return pa.Table.from_arrays([*keys, *final.columns, part], schema=layout.tiles.remove_metadata())


def zero_rows(schema: pa.Schema, layout: Layout) -> bytes:
    """Return a Parquet object with ``schema`` and no rows, for readers that open a table before its first part."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, **layout.writer_options(schema)) as writer:
        writer.write_table(schema.empty_table())
    return bytes(sink.getvalue().to_pybytes())


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
        "image_time": _times([row.image_time for row in rows]),
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


def _times(values: Sequence[int]) -> pa.Array:
    return pa.array([None if value in (NO_TIME, -1) else value for value in values], pa.timestamp("us", "UTC"))


def _measured_names(layout: Layout) -> list[str]:
    statistics = [f"{band.name}_{name}" for band in layout.frozen.bands for name in STATISTICS]
    return ["valid_count", *statistics, "crc32c"]


def _nothing(layout: Layout, mask: str) -> dict[str, Any]:
    return {name: 0 if name == "valid_count" and mask != "none" else None for name in _measured_names(layout)}


def _measure(planes: Planes, layout: Layout, mask: str, fill: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return valid_count, statistics over valid pixels, and crc32c of each row of ``planes`` (rows, pixels)."""
    bands = [band.name for band in layout.frozen.bands]
    count = len(next(iter(planes.values())))
    rows: list[dict[str, Any]] = [_nothing(layout, "none") for _ in range(count)]
    for index in range(count):
        crc = 0
        for plane in planes.values():
            values = plane[index]
            crc = google_crc32c.extend(crc, (values if values.dtype.byteorder != ">" else values.byteswap()).tobytes())
        rows[index]["crc32c"] = f"{crc:08x}"
    if mask == "none":
        return rows
    shared = planes["valid"] > 0 if mask == "band" else None
    every = np.ones(next(iter(planes.values())).shape, bool)
    for band in bands:
        valid = shared if shared is not None else (
            planes[f"valid_{band}"] > 0 if mask == "bands" else _is_not(planes[band], fill[band])
        )  # fmt: skip
        every &= valid
        for index, statistics in enumerate(_statistics(planes[band], valid)):
            rows[index].update(zip((f"{band}_{name}" for name in STATISTICS), statistics, strict=True))
    for index, valid_count in enumerate(every.sum(1).tolist()):
        rows[index]["valid_count"] = valid_count
    return rows


def _is_not(plane: npt.NDArray[Any], fill: float) -> npt.NDArray[np.bool_]:
    """Return where ``plane`` does not hold the fill value, which may be NaN."""
    return np.asarray(~np.isnan(plane) if math.isnan(fill) else plane != fill)


def _statistics(plane: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> list[tuple[float | None, ...]]:
    """Return (min, max, mean, population standard deviation) over the valid pixels of each row, in float64."""
    found: list[tuple[float | None, ...]] = []
    whole = [bool(row.all()) for row in valid]
    for index in range(len(plane)):
        values = plane[index] if whole[index] else plane[index][valid[index]]
        if not values.size:
            found.append((None,) * 4)
            continue
        mean = float(values.mean(dtype=np.float64))
        found.append((float(values.min()), float(values.max()), mean, float(values.std(dtype=np.float64))))
    return found


def _final_table(rows: Sequence[Row], measured: Sequence[Mapping[str, Any]], layout: Layout, run_id: str) -> pa.Table:
    now = dt.datetime.now(dt.UTC)
    columns: dict[str, pa.Array] = {
        "tile_id": pa.array([row.key[0] for row in rows], pa.string()),
        "image_id": pa.array([row.image_id for row in rows], pa.string()),
        "version": _times([row.version for row in rows]),
        "run_id": pa.array([run_id] * len(rows), pa.string()),
        "created_at": pa.array([now] * len(rows), pa.timestamp("us", "UTC")),
    }
    for item in layout.telemetry:
        if item.name in columns:
            continue
        if measured and item.name in measured[0]:
            columns[item.name] = pa.array([values[item.name] for values in measured], item.type)
        else:
            columns[item.name] = pa.array([getattr(row, item.name, None) for row in rows], item.type)
    names = ["tile_id", "image_id", *(item.name for item in layout.telemetry)]
    return pa.table({name: columns[name] for name in names})
