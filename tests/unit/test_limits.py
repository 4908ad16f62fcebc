"""What no plan can hold is refused by an estimate, before there is an array of it, with the numbers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from ee_spark.errors import JobError
from ee_spark.job import Grid
from ee_spark.limits import MAX_PAYLOAD
from ee_spark.planner import limits
from ee_spark.planner.alignment import Layer
from ee_spark.planner.crs import check_horizontal, metres_of_unit
from ee_spark.planner.intersection import patch_runs, region_runs, touched_tiles
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.metadata import gather
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons, boxes
from ee_spark.planner.source import periods
from ee_spark.planner.tile import Shape

WORLD = Polygons(boxes((-180.0, -90.0, 180.0, 90.0)))
SMALL = Polygons(boxes((9.0, 50.0, 9.01, 50.01)))


@pytest.mark.parametrize(
    "crs", ["EPSG:4326", "EPSG:32613", "SR-ORG:6974", "EPSG:3857", "EPSG:2263", "EPSG:3035", "utm"]
)
def test_horizontal_crss_have_pixels(crs: str) -> None:
    limits.check_grid(Grid(crs=crs, scale=30.0))


@pytest.mark.parametrize(
    ("crs", "what"),
    [
        ("EPSG:4978", "geocentric"), ("EPSG:4979", "with heights"), ("EPSG:5773", "a CRS of heights"),
        ("EPSG:5800", "a local one"), ("EPSG:7415", "with heights"), ("EPSG:9518", "with heights"),
        ("+proj=longlat +nadgrids=/etc/passwd", "not a CRS that can be read"),
        ("", "not a CRS that can be read"), ("EPSG:4326 # x", "not a CRS that can be read"),
        ("EPSG:99999999999999999999", "not a CRS that can be read"), ("GEOGCS[", "not a CRS that can be read"),
    ],
)  # fmt: skip
def test_other_crss_are_refused_by_name(crs: str, what: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JobError) as caught:
        check_horizontal(crs)
    assert what in str(caught.value)
    assert str(caught.value).startswith(f"grid.crs: {crs!r} is ")
    assert capfd.readouterr() == ("", ""), "GDAL says nothing beside it"


def test_a_unit_is_so_many_metres() -> None:
    assert metres_of_unit("EPSG:4326") == pytest.approx(111_319.49, abs=0.01)
    assert metres_of_unit("EPSG:2263") == pytest.approx(0.3048006, abs=1e-7)  # US survey feet
    assert metres_of_unit("EPSG:32601") == 1


@pytest.mark.parametrize(
    "grid",
    [
        {"scale": 1e-6}, {"scale": 1e-300}, {"scale": 1e300}, {"resolution": 1e-12},
        {"transform": (1e-9, 0.0, 0.0, 0.0, -30.0, 0.0)}, {"transform": (30.0, 0.0, 0.0, 0.0, -1e30, 0.0)},
        {"transform": (30.0, 0.0, 1e300, 0.0, -30.0, 0.0)},
    ],
    ids=str,
)  # fmt: skip
def test_pixels_that_no_image_has_are_refused(grid: dict[str, object]) -> None:
    with pytest.raises(JobError, match=r"^grid\.(scale|resolution|transform): .*; write one"):
        limits.check_grid(Grid(crs="EPSG:32613", **grid))


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32613", "SR-ORG:6974"])
@pytest.mark.parametrize(("metres", "tile"), [(1e-3, 256), (1e-3, 1), (0.1, 1), (1.0, 1)])
def test_a_world_of_small_tiles_takes_no_memory(crs: str, metres: float, tile: int) -> None:
    resolution = metres / metres_of_unit(crs)
    layer = Layer(Lattice(crs, resolution, resolution), np.zeros(0, np.int64))
    tracemalloc.start()
    try:
        with pytest.raises(JobError, match=r"; write a coarser scale") as caught:
            region_runs(WORLD, [layer], Shape(tile, tile))
        assert tracemalloc.get_traced_memory()[1] < 400e6
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("grid: ")
    assert len(str(caught.value)) < 300


def test_tiles_that_are_listed_one_by_one_are_fewer() -> None:
    lattice = Lattice("EPSG:4326", 0.001, 0.001)
    with pytest.raises(JobError, match=r"^grid: the region is 64,800,000 tiles, and a plan has at most 4,000,000"):
        touched_tiles(WORLD, lattice, Shape(10, 100))


def test_a_region_that_a_crs_cannot_show_is_refused() -> None:
    far = Polygons(boxes((99.0, 0.0, 101.0, 1.0)))
    layer = Layer(Lattice("EPSG:32632", 30.0, 30.0), np.zeros(0, np.int64))
    with pytest.raises(JobError, match=r"^grid.crs: EPSG:32632 cannot show the region around 100, 0.5; write another"):
        region_runs(far, [layer], Shape(8, 8))
    for crs, lon, lat in (("EPSG:32632", 100.0, 0.0), ("EPSG:3413", 10.0, -90.0)):
        point = Points(("a",), np.array([lon]), np.array([lat]), pa.table({}))
        layer = Layer(Lattice(crs, 30.0, 30.0), np.zeros(0, np.int64))
        with pytest.raises(JobError, match=f"^grid.crs: {crs} cannot show the region around {lon:g}, {lat:g}; write"):
            patch_runs(point, gather([]), [layer], Shape(8, 8), snap=True)


def test_a_region_without_an_inside_touches_no_tile() -> None:
    thin = Polygons(boxes((16.0, 16.0, 16.0 + 1e-9, 16.0 + 1e-9)))  # along the edge of a tile
    layer = Layer(Lattice("EPSG:4326", 1.0, 1.0), np.zeros(0, np.int64))
    assert region_runs(SMALL, [layer], Shape(16, 16))[0].count > 0
    with pytest.raises(JobError, match=r"^region: .* touch no tile; write a larger one"):
        region_runs(thin, [layer], Shape(16, 16))


def test_periods_begin_at_the_time_of_day_of_their_start() -> None:
    noon = periods("2020-01-01T12:00:00Z", "2020-01-04", "1 day")
    assert noon == [
        ("2020-01-01T12:00:00Z", "2020-01-02T12:00:00Z"),
        ("2020-01-02T12:00:00Z", "2020-01-03T12:00:00Z"),
    ]
    tokyo = periods("2020-01-01T00:00:00+09:00", "2020-04-01T00:00:00+09:00", "1 month")
    assert tokyo == [
        ("2019-12-31T15:00:00Z", "2020-01-31T15:00:00Z"),
        ("2020-01-31T15:00:00Z", "2020-02-29T15:00:00Z"),
        ("2020-02-29T15:00:00Z", "2020-03-31T15:00:00Z"),
    ], "months are those of the offset"
    assert periods("2020-01-01T09:00:00+09:00", "2020-01-02", "1 day") == [("2020-01-01", "2020-01-02")]
    assert periods("2020-01-01T00:00:00.250Z", "2020-01-02T00:00:00.250Z", "1 day") == [
        ("2020-01-01T00:00:00.250Z", "2020-01-02T00:00:00.250Z")
    ]
    assert periods("2020-01-01T00:00:00Z", "2020-01-03", "1 day") == periods("2020-01-01", "2020-01-03", "1 day")
    with pytest.raises(JobError, match="no whole period"):
        periods("2020-01-01T12:00:00Z", "2020-01-02", "1 day")


def test_periods_are_bounded_and_end_with_the_calendar() -> None:
    assert len(periods("2000-01-01", "2001-01-01", "1 day")) == 366
    assert periods("9998-01-01", "9999-12-31", "1 year") == [("9998-01-01", "9999-01-01")]
    assert periods("9000-01-01", "9999-12-31", "900 years") == [("9000-01-01", "9900-01-01")]
    with pytest.raises(JobError, match=r"^source.every: 1 day from 0001-01-01 to 9999-12-31 is about 3,652,058 images"):
        periods("0001-01-01", "9999-12-31", "1 day")
    with pytest.raises(JobError, match=r"^source.every: no whole period"):
        periods("2000-01-01", "2001-01-01", "99999 years")


def test_an_expression_is_counted_in_bytes_with_its_bands() -> None:
    room = MAX_PAYLOAD - limits.AROUND - len('["a"]')
    limits.check_graphs(["x" * room], ["a"])
    with pytest.raises(JobError, match=r"^source: the expression has 10,475,756 bytes, and a request holds 10,485,760"):
        limits.check_graphs(["", "x" * (room + 1)], ["a"])
    with pytest.raises(JobError, match=r"^source: the expression has 10,475,754 bytes"):
        limits.check_graphs(["é" * ((room - 1) // 2)], [f"b{number}" for number in range(100)])


def test_more_bands_than_a_request_has_are_refused_at_once() -> None:
    limits.check_asked(None)
    limits.check_asked([f"b{number}" for number in range(1024)])
    with pytest.raises(JobError, match=r"^source.bands: 1025 bands are more than 1024 per request; name fewer"):
        limits.check_asked({f"b{number}": "a" for number in range(1025)})
