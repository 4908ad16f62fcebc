"""Features of GeoParquet, GeoPackage, FlatGeobuf and shapefiles: columns, and geometries as WKB with their CRS."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.boundary import reading, shortened
from ee_spark.errors import JobError, missing_extra
from ee_spark.planner.file_crs import crs_of_column, known
from ee_spark.where import MOST_POINTS

UNREAD = "cannot be read"
_POINT_STRUCT = ("x", "y")


@dataclass(frozen=True)
class Features:
    """Features of a file: ``columns`` without the geometry, ``geometry`` as WKB, or as a struct of x and y."""

    columns: pa.Table
    geometry: pa.Array
    crs: str


def read_vector(data: bytes, label: str) -> Features:
    """Return the features of a file that GDAL reads, by pyogrio.

    Raises:
        JobError: if it cannot be read, has several layers, or no CRS.
        MissingExtraError: without pyogrio.
    """
    try:
        import pyogrio
    except ImportError:
        raise missing_extra(label, "pyogrio", "vector") from None
    with reading(label, what=UNREAD), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a GeoPackage in memory has no name that ends with .gpkg
        layers = [str(name) for name, kind in pyogrio.list_layers(data).tolist() if kind is not None]
        if len(layers) != 1:
            names = shortened(", ".join(layers)) or "none"
            raise JobError(f"{label}: has {len(layers)} layers with places ({names}); write a file with one")
        info = pyogrio.read_info(data, layer=layers[0])
        if info["features"] > MOST_POINTS:
            raise JobError(f"{label}: has {info['features']:,} features, and one job takes {MOST_POINTS:,}")
        meta, table = pyogrio.read_arrow(data, layer=layers[0])
        if not meta["crs"]:
            raise JobError(
                f"{label}: has no CRS, so nobody knows where it lies; put its .prj beside it, or write it with one "
                "(ogr2ogr -a_srs)"
            )
        name = meta["geometry_name"] or "wkb_geometry"
        return Features(table.drop_columns([name]), _one(table[name]), known(meta["crs"], label))
    raise AssertionError("reading raises")


def geometry_column(schema: pa.Schema, label: str) -> tuple[str, dict[str, Any]] | None:
    """Return the name of a GeoParquet's geometry column and what its metadata says of it; None without any.

    Raises:
        JobError: if the metadata is not GeoParquet's, or an encoding is not read.
    """
    text = (schema.metadata or {}).get(b"geo")
    if text is None:
        return None
    with reading(label, what="its GeoParquet metadata cannot be read"):
        geo = json.loads(text)
        name = geo["primary_column"]
        column = geo["columns"][name]
        if not isinstance(column, dict) or not isinstance(name, str):
            raise ValueError("what it says of its columns cannot be read")
        if name not in schema.names:
            raise ValueError(f"its column {shortened(name)!r} does not exist")
        encoding = column.get("encoding")
        if encoding not in ("WKB", "point"):
            raise JobError(f"{label}: its geometries are encoded as {shortened(encoding)}; write them as WKB")
        return name, column
    raise AssertionError("reading raises")


def coverings(column: dict[str, Any]) -> set[str]:
    """Return the columns that only repeat the boxes of a geometry column."""
    boxes = (column.get("covering") or {}).get("bbox") if isinstance(column.get("covering"), dict) else None
    paths = boxes.values() if isinstance(boxes, dict) else ()
    return {path[0] for path in paths if isinstance(path, list) and len(path) == 2 and isinstance(path[0], str)}


def read_geoparquet(data: bytes, label: str, columns: Collection[str] | None = None) -> Features:
    """Return the features of a GeoParquet; ``columns``: only these, beside the geometry.

    Raises:
        JobError: if it has no geometry, or it cannot be read.
    """
    with reading(label, what=UNREAD):
        file = pq.ParquetFile(pa.BufferReader(data))
        found = geometry_column(file.schema_arrow, label)
        if found is None:
            raise JobError(f"{label}: has no geometry: it is Parquet without the metadata of GeoParquet (key geo)")
        name, column = found
        table = file.read(columns=None if columns is None else [name, *columns])
        return Features(table.drop_columns([name]), _one(table[name]), crs_of_column(column, label))
    raise AssertionError("reading raises")


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    found = found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)
    return found.storage if isinstance(found, pa.ExtensionArray) else found
