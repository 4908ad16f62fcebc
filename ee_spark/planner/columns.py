"""The columns that every job's tables have, so that no band and no point's column may be named like one of them."""

from __future__ import annotations

import pyarrow as pa

from ee_spark.planner.validity import SHARED, is_validity

TIME = pa.timestamp("us", "UTC")
_BOX = pa.struct([pa.field(name, pa.float64(), nullable=False) for name in ("xmin", "ymin", "xmax", "ymax")])


def list_of(kind: pa.DataType) -> pa.DataType:
    """Return a list of ``kind`` that holds no nulls."""
    return pa.list_(pa.field("element", kind, nullable=False))


KEYS = (
    pa.field("tile_id", pa.string(), nullable=False),
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("image_time", TIME),
    pa.field("crs", pa.string(), nullable=False),
    pa.field("crs_wkt", pa.string(), nullable=False),
    pa.field("transform", list_of(pa.float64()), nullable=False),
    *(pa.field(name, pa.int32(), nullable=False) for name in ("width", "height", "margin")),
    *(pa.field(name, pa.int32()) for name in ("tile_row", "tile_col")),
    pa.field("bbox", _BOX, nullable=False),
    pa.field("geometry", pa.binary(), nullable=False),
)
"""Keys and georeference of a tile: what both tables begin with."""

POINT_KEYS = (
    pa.field("point_id", pa.string(), nullable=False),
    *(pa.field(name, pa.float64(), nullable=False) for name in ("point_lon", "point_lat")),
)
"""What a patch around a point has beside them."""

FETCHED = (
    pa.field("status", pa.string(), nullable=False),
    pa.field("error_class", pa.string()),
    pa.field("error_message", pa.string()),
    *(pa.field(name, pa.int32()) for name in ("http_status", "attempts", "requests")),
    *(pa.field(name, pa.int64()) for name in ("fetch_ms", "bytes_in", "valid_count")),
)
"""How a tile was fetched, in ``tiles``; the bands' statistics follow."""

STATISTICS = ("min", "max", "mean", "stddev")
NANS = "nan_count"
"""The statistic of bands of floats that says how many of their valid samples the others leave out."""

WRITTEN = (
    pa.field("version", TIME),
    pa.field("crc32c", pa.string()),
    pa.field("run_id", pa.string(), nullable=False),
    pa.field("created_at", TIME, nullable=False),
)
"""What was written of it, and by whom."""

PART = pa.field("part", pa.string())
"""The file in ``pixels`` that holds a tile."""

_OWN = frozenset([*(field.name for field in (*KEYS, *POINT_KEYS, *FETCHED, *WRITTEN, PART)), SHARED])


def is_own(name: str) -> bool:
    """Return True if a column of this name, in whatever case, is one of the tables' own."""
    return name.lower() in _OWN or is_validity(name)


def statistics_of(band: str) -> list[str]:
    """Return the names of all columns of ``tiles`` that tell of a band's values."""
    return [f"{band}_{name}" for name in (*STATISTICS, NANS)]
