"""The tables' schema, as others see it: geopandas the geometry, footers the encodings, all parts one schema."""

from __future__ import annotations

import io
import json

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from store_data import FINGERPRINT, LATTICE, layout, part, row, tiles

from ee_spark.planner.columns import is_own
from ee_spark.store.part import zero_rows
from ee_spark.store.schema import GROUP_BYTES

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@pytest.mark.parametrize("mask", ["band", "bands", "none"])
@pytest.mark.parametrize("dtype", TYPES)
def test_encodings_read_back_from_the_footer(dtype: str, mask: str) -> None:
    """Integers of 16 bit and more as deltas; bytes and floats by dictionary, or plain where that does not pay."""
    mine = layout([("a", dtype)], mask=mask)
    file = pq.ParquetFile(io.BytesIO(part(mine, [row(mine, n) for n in range(8)]).data))
    group = file.metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    pixels = columns["a.list.element"]
    assert pixels.compression == "ZSTD"
    assert not pixels.is_stats_set
    if dtype in ("uint8", "int8", "float32", "float64"):
        assert "DELTA_BINARY_PACKED" not in pixels.encodings
        assert {"RLE_DICTIONARY", "PLAIN"} & set(pixels.encodings)
    else:
        assert "DELTA_BINARY_PACKED" in pixels.encodings
    assert not {name for column in columns.values() for name in column.encodings} & {"BYTE_STREAM_SPLIT"}
    assert columns["bbox.xmin"].is_stats_set
    assert columns["tile_id"].is_stats_set
    assert set(mine.frozen.validity) == {"band": {"valid"}, "bands": {"valid_a"}, "none": set()}[mask]


def test_geopandas_reads_the_footprints_and_prunes_by_the_box() -> None:
    mine = layout()
    data = part(mine, [row(mine, n) for n in range(8)]).data
    frame = geopandas.read_parquet(io.BytesIO(data))
    boxes = pq.read_table(io.BytesIO(data))["bbox"].to_pylist()
    assert frame.crs == "OGC:CRS84"
    assert frame.geometry.is_valid.all()
    assert (frame.geometry.geom_type == "Polygon").all()
    # The independent truth: the corners of the tiles, by pyproj.
    from pyproj import Transformer

    to_lonlat = Transformer.from_crs("EPSG:32613", "OGC:CRS84", always_xy=True)
    for index in range(8):
        sx, _, x, _, sy, y = frame["transform"][index]
        assert (sx, sy) == (30.0, -30.0)
        corner = shapely.Point(to_lonlat.transform(x, y))
        assert shapely.get_coordinates(frame.geometry[index])[0] == pytest.approx((corner.x, corner.y), abs=1e-12)
        box = boxes[index]
        edges = tuple(box[name] for name in ("xmin", "ymin", "xmax", "ymax"))
        assert shapely.box(*edges).covers(frame.geometry[index])
        assert edges == pytest.approx(frame.geometry[index].bounds, abs=2e-7)
        assert x == LATTICE.x0 + tiles(mine.frozen.shape, 64).left[index] * 30.0
    west = geopandas.read_parquet(io.BytesIO(data), bbox=tuple(frame.geometry[0].centroid.buffer(1e-9).bounds))
    assert west["tile_id"].tolist() == [frame["tile_id"][0]]


def test_every_part_has_the_one_schema_of_its_table() -> None:
    mine = layout()
    wanted = pq.read_schema(io.BytesIO(zero_rows(mine.pixels, mine)))
    for rows in ([row(mine, 0)], [row(mine, 1, "empty")], [row(mine, 2), row(mine, 3, "empty")]):
        found = pq.ParquetFile(io.BytesIO(part(mine, rows).data)).schema_arrow
        assert found.remove_metadata().equals(wanted.remove_metadata(), check_metadata=True)
        assert found.metadata[b"ee_spark"] == wanted.metadata[b"ee_spark"]
        geo = json.loads(found.metadata[b"geo"])
        extent = geo["columns"]["geometry"].pop("bbox", None)  # of the rows that a part has, and no other's
        assert (extent is not None) == any(one.status == "ok" for one in rows)
        assert geo == json.loads(wanted.metadata[b"geo"])
    own = json.loads(wanted.metadata[b"ee_spark"])
    assert own["fingerprint"] == FINGERPRINT
    assert [band["dtype"] for band in own["bands"]] == ["uint16", "float32", "uint8"]


def test_pixel_columns_and_keys_hold_no_nulls() -> None:
    mine = layout([("a", "int16")], mask="bands")
    for name in ("tile_id", "image_id", "crs", "transform", "bbox", "geometry", "a", "valid_a"):
        assert not mine.pixels.field(name).nullable, name
    assert not mine.pixels.field("a").type.value_field.nullable
    assert mine.pixels.field("a").type.value_type == pa.int16()
    assert mine.pixels.field("image_time").nullable
    assert mine.pixels.field("image_time").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize(("side", "dtype", "rows"), [(256, "uint16", 170), (2048, "float32", 1), (4096, "float64", 1)])
def test_row_groups_stay_within_32_mib_of_raw_pixels(side: int, dtype: str, rows: int) -> None:
    mine = layout([("a", dtype)], side=side)
    assert mine.group_rows() == rows
    raw = side * side * (np.dtype(dtype).itemsize + 1)
    assert rows == 1 or (rows * raw <= GROUP_BYTES < (rows + 1) * raw)


def test_no_column_of_the_tables_can_be_a_bands_name() -> None:
    for mask in ("band", "bands", "none"):
        mine = layout([("a", "uint16")], mask=mask)
        for schema in (mine.pixels, mine.tiles):
            taken = [name for name in schema.names if name != "a" and not name.startswith("a_")]
            assert all(is_own(name) and is_own(name.upper()) for name in taken)
    assert is_own("Point_ID")
    assert not is_own("a")
