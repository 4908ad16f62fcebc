"""The columns of the tables, how each is encoded, and where each object lies.

Sources: https://geoparquet.org/releases/v1.1.0/ for the ``geo`` key, and the project's own measurements for encodings:
integers of 16 bit and more as deltas, bytes and floats by dictionary, which falls back to plain; all as zstd level 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ee_spark.planner.columns import FETCHED, KEYS, NANS, PART, POINT_KEYS, STATISTICS, WRITTEN
from ee_spark.planner.columns import list_of as list_of
from ee_spark.planner.frozen import Frozen
from ee_spark.planner.validity import Validity, validity_of_columns
from ee_spark.store.life import JOB as JOB
from ee_spark.store.life import prefix_of

PIXELS = "pixels"
TILES = "tiles"
IMAGES = "images/part-0.parquet"
RUNS = "_ee_spark/runs"
SUCCESS = "_SUCCESS"
GROUP_BYTES = 32 * 2**20
"""Raw pixel bytes of a row group: Spark's vectorised reader holds a whole one in memory."""
GROUP_ROWS = 4096
PART_TILES = 4096

GEO = "geo"
CALENDAR = {"org.apache.spark.version": "3.5.0"}
"""By which Spark 3.5 knows that times before 1900 count days as all others do, and not as Spark 2 did.

Every file that holds times has it; without it that Spark refuses them (READ_ANCIENT_DATETIME):
https://spark.apache.org/docs/3.5.0/sql-data-sources-parquet.html, ``datetimeRebaseMode``.
"""

_PART = re.compile(r"(?:^|/)part-([0-9a-f]{8})-([^-/]+)(?:-([0-9]+))?\.parquet$")


class PartName(NamedTuple):
    """What the name of an object in ``pixels`` or ``tiles`` says.

    ``job`` has the first eight digits of the dataset's life, or of the job's fingerprint; ``number`` counts the parts
    of a chunk in ``pixels``, and is None in ``tiles``. The part that shows the schema has no chunk.
    """

    job: str
    chunk: str
    number: int | None


def parse_part(name: str) -> PartName | None:
    """Return what the name of a part says, a path or URL before it or not; None if it is not the name of one."""
    match = _PART.search(name)
    if not match:
        return None
    chunk = "" if match[2] == "schema" else match[2]
    return PartName(match[1], chunk, None if match[3] is None else int(match[3]))


def validity_of_footer(footer: Mapping[bytes, bytes] | None) -> Validity | None:
    """Return which samples are valid, as the footer of one of our parts says it.

    None where it does not say: a foreign file's, and that of a part of an earlier version without validity columns,
    which is alike for ``mask: fill`` and ``mask: none``.
    """
    try:
        own = json.loads((footer or {}).get(b"ee_spark", b"{}"))
        bands = [str(band["name"]) for band in own["bands"]]
        columns, fill = [*bands, *own["validity"]], dict(own.get("fill", {}))
        found = validity_of_columns(columns, fill)
        return found if found.known or own.get("mask") == found.mask else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def is_covered(footer: Mapping[bytes, bytes] | None) -> bool:
    """Return True if the boxes of a part exclude none of its rows, as its footer says.

    Those of earlier versions, which knew Polygons only, are wrong across ±180° and around the poles.
    """
    try:
        columns = json.loads((footer or {})[GEO.encode()])["columns"]
        return "MultiPolygon" in columns["geometry"]["geometry_types"]
    except (ValueError, KeyError, TypeError):
        return False


def with_extent(schema: pa.Schema, extent: Sequence[float] | None) -> pa.Schema:
    """Return the schema of a table whose rows lie in a box: west, south, east, north; west > east crosses ±180°."""
    if extent is None:
        return schema
    geo = json.loads(schema.metadata[GEO.encode()])
    geo["columns"]["geometry"]["bbox"] = list(extent)
    return schema.with_metadata({**schema.metadata, GEO.encode(): json.dumps(geo).encode()})


@dataclass(frozen=True)
class Layout:
    """The two tables of one job: its fingerprint, what its first plan froze, the points' own columns, and fill values.

    ``fill`` is what stands for masked samples in each band, with ``mask: fill``.
    """

    fingerprint: str
    frozen: Frozen
    points: bool = False
    point_columns: pa.Schema | None = None
    fill: Mapping[str, float] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """The stem of all parts of this life of the dataset, e.g. ``part-1a2b3c4d-``."""
        return prefix_of(self.fingerprint, self.frozen.life)

    @property
    def schema_part(self) -> str:
        """The name of the zero-row part that shows readers the full schema."""
        return f"{self.prefix}schema.parquet"

    def chunk_of(self, name: str) -> str | None:
        """Return the chunk of an object of this job in ``pixels`` or ``tiles``; None if it is another object."""
        part, folder = parse_part(name), name.rpartition("/")[0]
        if part is None or f"part-{part.job}-" != self.prefix or not part.chunk:
            return None
        return part.chunk if folder == (TILES if part.number is None else PIXELS) else None

    @cached_property
    def keys(self) -> list[pa.Field]:
        """Keys, georeference and point columns: what both tables begin with."""
        return [*KEYS, *(POINT_KEYS if self.points else ()), *(self.point_columns or () if self.points else ())]

    @cached_property
    def validity(self) -> Validity:
        """Which samples of the tables' pixels are valid."""
        return Validity(self.frozen.mask, tuple(band.name for band in self.frozen.bands), self.fill)

    @cached_property
    def planes(self) -> dict[str, np.dtype[Any]]:
        """The pixel columns in order: each band's and each validity's numpy type."""
        bands = {band.name: np.dtype(band.dtype) for band in self.frozen.bands}
        return {**bands, **dict.fromkeys(self.frozen.validity, np.dtype(np.uint8))}

    @cached_property
    def pixels(self) -> pa.Schema:
        """The schema of ``pixels``."""
        planes = [
            pa.field(name, list_of(pa.from_numpy_dtype(dtype)), nullable=False) for name, dtype in self.planes.items()
        ]
        return pa.schema([*self.keys, *planes], self._metadata("pixels"))

    @cached_property
    def telemetry(self) -> list[pa.Field]:
        """The columns of ``tiles`` that a ledger carries for every committed tile."""
        return [*FETCHED, *(item for band in self.frozen.bands for item in self.statistics(band.name)), *WRITTEN]

    def statistics(self, band: str) -> list[pa.Field]:
        """Return the columns of ``tiles`` that hold the statistics of a band."""
        found = [pa.field(f"{band}_{name}", pa.float64()) for name in STATISTICS]
        counts = self.frozen.nans and self.planes[band].kind == "f"
        return [*found, pa.field(f"{band}_{NANS}", pa.int64())] if counts else found

    @cached_property
    def tiles(self) -> pa.Schema:
        """The schema of ``tiles``."""
        return pa.schema([*self.keys, *self.telemetry, PART], self._metadata("tiles"))

    def group_rows(self) -> int:
        """Return how many rows of ``pixels`` stand in one row group."""
        return max(1, min(GROUP_BYTES // max(1, self.frozen.tile_bytes), GROUP_ROWS))

    def writer_options(self, schema: pa.Schema) -> dict[str, Any]:
        """Return the keyword arguments of ``pyarrow.parquet.ParquetWriter`` for one of the tables."""
        delta, dictionary, statistics = {}, [], []
        for path, kind in _leaves(schema):
            pixel = path.partition(".")[0] in self.planes and path.endswith(".list.element")
            if pixel and pa.types.is_integer(kind) and kind.bit_width > 8:
                delta[path] = "DELTA_BINARY_PACKED"
            elif path != "geometry":
                dictionary.append(path)
            if not pixel and path not in ("geometry", "crs_wkt"):
                statistics.append(path)
        return {
            "compression": "zstd",
            "compression_level": 1,
            "version": "2.6",
            "use_dictionary": dictionary,
            "column_encoding": delta,
            "write_statistics": statistics,
        }

    def _metadata(self, table: str) -> dict[str, str]:
        geo = {
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {
                "geometry": {
                    "encoding": "WKB",
                    "geometry_types": ["MultiPolygon", "Polygon"],
                    "covering": {"bbox": {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}},
                }
            },
        }
        own = {
            "spec": 1,
            "table": table,
            "fingerprint": self.fingerprint,
            "layout": "one row per tile and image, each band a list, row by row from the top left",
            "bands": [{"name": band.name, "source": band.old, "dtype": band.dtype} for band in self.frozen.bands],
            "validity": list(self.frozen.validity),
            "mask": self.frozen.mask,
        }
        if self.fill:
            own["fill"] = dict(self.fill)
        return {GEO: json.dumps(geo), "ee_spark": json.dumps(own), **CALENDAR}


def _leaves(schema: pa.Schema) -> Iterable[tuple[str, pa.DataType]]:
    """Yield (Parquet path, type) of every leaf column."""
    for item in schema:
        if pa.types.is_list(item.type):
            yield f"{item.name}.list.element", item.type.value_type
        elif pa.types.is_struct(item.type):
            yield from ((f"{item.name}.{inner.name}", inner.type) for inner in item.type)
        else:
            yield item.name, item.type
