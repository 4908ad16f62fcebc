"""Tiles: ids, transforms, boxes and footprints against shapely, pyproj and rasterio."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine, array_bounds

from ee_spark.planner.crs import crs_of
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.points import Points
from ee_spark.planner.tile import Shape, grid_tiles, patches
from ee_spark.planner.window import Window, widened

CASES = [("EPSG:32610", 30.0, 15.0), ("EPSG:4326", 0.0025, 0.0), ("EPSG:5070", 30.0, 15.0), ("EPSG:2263", 100.0, 0.0)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CASES),
    st.integers(-1500, -1200),
    st.integers(100, 200),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0, 5),
)
def test_a_tile_lies_where_its_id_says(case, row, column, width, height, margin):
    crs, resolution, offset = case
    lattice, shape = Lattice(crs, resolution, resolution, offset, offset), Shape(width, height, margin)
    tiles = grid_tiles(lattice, shape, np.array([row]), np.array([column]))
    assert tiles.ids == (f"{crs.replace(':', '-')}/r{row}c{column}",)
    sx, shx, x, shy, sy, y = tiles.transform(0)
    assert (sx, shx, shy, sy) == (resolution, 0, 0, -resolution)
    assert x == pytest.approx(offset + (column * width - margin) * resolution)
    assert y == pytest.approx(offset - (row * height - margin) * resolution)
    columns = {name: array.to_pylist()[0] for name, array in tiles.columns.items()}
    assert (columns["width"], columns["height"], columns["margin"]) == (width + 2 * margin, height + 2 * margin, margin)
    assert (columns["tile_row"], columns["tile_col"]) == (row, column)
    assert columns["transform"] == list(tiles.transform(0))
    assert pyproj.CRS.from_wkt(columns["crs_wkt"]).equals(pyproj.CRS(crs), ignore_axis_order=True)


@pytest.mark.parametrize(("crs", "resolution", "offset"), CASES)
def test_bbox_and_geometry_are_the_cores_in_lon_lat(crs, resolution, offset):
    lattice, shape = Lattice(crs, resolution, resolution, offset, offset), Shape(60, 40, 7)
    middle = {
        "EPSG:32610": (-123.1, 37.5),
        "EPSG:4326": (-70.0, -33.0),
        "EPSG:5070": (-100.0, 40.0),
        "EPSG:2263": (-74.0, 40.7),
    }
    u, v = lattice.from_lonlat(*(np.array([value]) for value in middle[crs]))
    tiles = grid_tiles(lattice, shape, np.floor(v / 40).astype(np.int64), np.floor(u / 60).astype(np.int64))
    columns = tiles.columns
    sx, _, x, _, sy, y = lattice.transform(float(tiles.left[0]), float(tiles.top[0]))
    west, south, east, north = array_bounds(40, 60, Affine(sx, 0, x, 0, sy, y))
    ring = shapely.segmentize(shapely.box(west, south, east, north), resolution)
    expected = shapely.transform(
        ring, lambda p: np.column_stack(pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(*p.T))
    )
    found = shapely.from_wkb(columns["geometry"].to_pylist()[0])
    assert found.is_valid
    assert found.symmetric_difference(expected).area < 1e-4 * expected.area
    assert list(columns["bbox"].to_pylist()[0].values()) == pytest.approx(
        expected.bounds, abs=resolution_in_degrees(crs, resolution) / 50
    )
    edges = columns["bbox"].to_pylist()[0]
    assert shapely.box(*edges.values()).covers(expected.union(found))
    assert list(edges.values()) == pytest.approx(found.bounds, abs=resolution_in_degrees(crs, resolution) / 100)


def resolution_in_degrees(crs: str, resolution: float) -> float:
    return resolution if crs_of(crs).is_geographic else resolution / 111_000


def test_adjoining_tiles_share_their_edges_exactly():
    lattice, shape = Lattice("EPSG:32610", 30.0, 30.0, 15.0, 15.0), Shape(16, 8)
    rows, columns = (axis.ravel() for axis in np.meshgrid(np.arange(-3, 3), np.arange(5, 9), indexing="ij"))
    tiles = grid_tiles(lattice, shape, rows, columns)
    boxes = [array_bounds(8, 16, Affine(*tiles.transform(i))) for i in range(len(tiles))]
    whole = shapely.union_all([shapely.box(*box) for box in boxes])
    assert whole.area == len(tiles) * 16 * 8 * 900
    assert whole.equals(shapely.box(*whole.bounds))


def test_a_wkt_has_a_name_that_ids_can_hold():
    wkt = crs_of("EPSG:32610").to_wkt()
    tiles = grid_tiles(Lattice(wkt, 30.0, 30.0), Shape(8, 8), np.array([1]), np.array([2]))
    assert tiles.ids[0].startswith("WKT-")
    assert tiles.ids[0].endswith("/r1c2")
    assert len(tiles.ids[0]) < 30
    assert tiles.window(0).grid()["crsWkt"] == wkt
    assert grid_tiles(Lattice("SR-ORG:6974", 500.0, 500.0), Shape(8, 8), np.array([-1]), np.array([2])).ids == (
        "SR-ORG-6974/r-1c2",
    )


def test_patches_carry_their_points():
    columns = pa.table({"crop": ["a", None], "n": [1, 2]})
    points = Points(("x", "y"), np.array([-122.0, -122.5]), np.array([37.0, 37.5]), columns)
    found = patches(Lattice("EPSG:32610", 10.0, 10.0), Shape(5, 5), points, snap=True).columns
    assert found["tile_id"].to_pylist() == found["point_id"].to_pylist() == ["x", "y"]
    assert found["point_lon"].to_pylist() == [-122.0, -122.5]
    assert (found["crop"].to_pylist(), found["n"].to_pylist()) == (["a", None], [1, 2])


def test_two_points_in_one_pixel_are_two_patches_alike():
    points = Points(("x", "y"), np.array([-122.0, -122.0 + 1e-7]), np.array([37.0, 37.0]), pa.table({}))
    tiles = patches(Lattice("EPSG:32610", 30.0, 30.0), Shape(5, 5), points, snap=True)
    assert len(tiles) == 2
    assert tiles.transform(0) == tiles.transform(1)


@pytest.mark.parametrize(
    ("crs", "resolution", "half"),
    [
        ("EPSG:4326", 0.5, 360), ("EPSG:3857", 100_000.0, 200),
        ("EPSG:32601", 1e5, None), ("EPSG:3031", 1e5, None), ("SR-ORG:6974", 1e5, None), ("EPSG:3832", 1e5, None),
    ],
)  # fmt: skip
def test_only_maps_whose_x_is_longitude_end_at_180_degrees(crs: str, resolution: float, half: int | None) -> None:
    """``half``: columns of this resolution from 0 to 180°, by their centres (a web map: 20,037,508 m)."""
    window = Lattice(crs, resolution, resolution).window(-1000, 0, 2000, 1)
    asked, left = window.within_world()
    assert (left, asked.width) == ((1000 - half, 2 * half) if half else (0, 2000))


@settings(max_examples=200, deadline=None)
@given(st.integers(-25, 25), st.integers(1, 40), st.floats(-0.49, 0.49), st.booleans())
def test_columns_are_requested_if_their_centre_is_in_the_world(left, width, share, east):
    lattice = Lattice("EPSG:4326", 0.01, 0.01)
    start = (18_000 if east else -18_000) + left + share
    window = Window("EPSG:4326", lattice.transform(start, 0.0), width, 3)
    lon = window.transform[2] + (np.arange(width) + 0.5) * 0.01
    inside = np.flatnonzero(np.abs(lon) <= 180 + 1e-7)
    asked, skipped = window.within_world()
    if not len(inside):
        assert asked.width == 1
        return
    assert (skipped, asked.width) == (inside[0], len(inside))
    assert asked.transform[2] == pytest.approx(window.transform[2] + 0.01 * skipped)
    planes = {"B": np.ones((3, asked.width), np.int16), "valid": np.ones((3, asked.width), np.uint8)}
    wide = widened(planes, width, skipped, {"B": -9})
    assert (wide["B"][:, inside] == 1).all()
    assert (wide["valid"].sum(1) == len(inside)).all()
    assert (np.delete(wide["B"], inside, axis=1) == -9).all()
    assert wide["B"].dtype == np.int16
