"""What a dataset with ``clip`` shows: the raster and the shares of what lies in the polygon, against shapely's own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyproj
import pytest
import shapely
from lanes_here import Here

import ee_spark
from ee_spark.extract import Options, as_config, run_on
from ee_spark.read.canvas import PLACE, one_canvas
from ee_spark.read.clip import clip_of, clipped, pixels_inside
from ee_spark.read.dataset import Dataset
from ee_spark.show import page
from ee_spark.show.series import by_image, by_month, mosaics

pytest.importorskip("rioxarray", reason="rioxarray is not installed: pip install 'ee-spark[xarray]'")

AREAS = {
    "a field": {
        "type": "Polygon",
        "coordinates": [[[-106.922, 40.283], [-106.907, 40.284], [-106.914, 40.2955], [-106.922, 40.283]]],
    },
    "a field with a hole, and another one": {
        "type": "MultiPolygon",
        "coordinates": [
            [
                [
                    [-106.9235, 40.2825],
                    [-106.912, 40.2825],
                    [-106.912, 40.293],
                    [-106.9235, 40.293],
                    [-106.9235, 40.2825],
                ],
                [[-106.921, 40.284], [-106.915, 40.284], [-106.915, 40.288], [-106.921, 40.284]],
            ],
            [[[-106.91, 40.292], [-106.907, 40.292], [-106.907, 40.2955], [-106.91, 40.292]]],
        ],
    },
}
"""In the scenes, so that each of them covers all of the area."""
EDGE = 1e-7
"""Degrees, some hundredths of a metre: a centre that lies so near to an edge is in or out, as floats have it."""
GRIDS = {
    "metres": {"crs": "EPSG:32613", "scale": 30, "tile": 8},
    "degrees, margins": {"crs": "EPSG:4326", "resolution": 0.0003, "tile": [9, 7], "margin": 3},
    "two zones": {"crs": "utm", "scale": 30, "tile": 8},
}


def extracted(url: str, folder: Path, area: Any, grid: Any, **region: Any) -> Dataset:
    """Run a job of four dates in this process, and open what it wrote."""
    (folder / "area.geojson").write_text(json.dumps(area))
    job = {
        "name": "a-clip",
        "earth_engine": {"endpoint": url, "project": "demo", "credentials": "anonymous"},
        "source": {"collection": "EOBOX/LANDSAT", "start": "2010-05-01", "end": "2010-08-01", "bands": ["red", "nir"]},
        "region": {"geojson": str(folder / "area.geojson"), "clip": True, **region},
        "grid": grid,
        "output": {"path": str(folder / "out")},
    }
    report = run_on(as_config(job), lambda _: Here(1), Options(progress="none"))
    assert report.exit_code == 0, report
    return ee_spark.open_dataset(folder / "out")


def inside(area: Any, crs: str, xs: Any, ys: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Where pixel centres lie in an area whose edges are straight in lon/lat, and which lie on its edge: shapely's."""
    x, y = np.meshgrid(xs, ys)
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    shape = shapely.from_geojson(json.dumps(area))
    near = shapely.distance(shape.boundary, shapely.points(lon, lat)) < EDGE
    return shapely.contains_xy(shape, lon, lat), near


def touched(area: Any, crs: str, xs: Any, ys: Any, side: float) -> np.ndarray[Any, Any]:
    """Which pixels of a side an area touches, their corners' places being joined by straight lines in lon/lat."""
    x, y = (axis[..., None] + side * np.array(turn) for axis, turn in
            zip(np.meshgrid(xs, ys), ((-0.5, 0.5, 0.5, -0.5), (-0.5, -0.5, 0.5, 0.5)), strict=True))  # fmt: skip
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return shapely.intersects(shapely.from_geojson(json.dumps(area)), shapely.polygons(np.stack([lon, lat], -1)))


@pytest.fixture(scope="module", params=[(area, grid) for area in AREAS for grid in ("metres", "degrees, margins")],
                ids=lambda pair: " in ".join(pair))  # fmt: skip
def clipped_job(request: Any, service_url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Any]:
    area, grid = request.param
    return extracted(service_url, tmp_path_factory.mktemp("clip"), AREAS[area], GRIDS[grid]), AREAS[area]


def test_pixels_inside_are_those_whose_centre_is(clipped_job: tuple[Dataset, Any]) -> None:
    dataset, area = clipped_job
    tiles = dataset.tiles([*PLACE, "tile_id", "width", "height", "margin", "image_id"])
    found = pixels_inside(dataset, tiles)
    whole = 0
    for row, count in zip(tiles.to_pylist(), found.tolist(), strict=True):
        sx, _, x, _, sy, y = row["transform"]
        columns = np.arange(row["margin"], row["width"] - row["margin"]) + 0.5
        lines = np.arange(row["margin"], row["height"] - row["margin"]) + 0.5
        truth, near = inside(area, row["crs"], x + columns * sx, y + lines * sy)
        assert np.count_nonzero(truth & ~near) <= count <= np.count_nonzero(truth | near), row["tile_id"]
        whole += truth.all()
    assert whole, "some tiles lie in the area whole"
    assert (found < len(columns) * len(lines)).any(), "and some do not"


def test_xarray_is_cropped_to_the_clip_and_loses_nothing(clipped_job: tuple[Dataset, Any]) -> None:
    dataset, area = clipped_job
    whole, cube = one_canvas(dataset, "a test"), dataset.to_xarray()
    cells = touched(area, whole.crs, whole.xs, whole.ys, whole.resolution[0])
    rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    assert cube.shape[2:] != (whole.height, whole.width)
    np.testing.assert_allclose(cube.y.values, whole.ys[rows[0] : rows[-1] + 1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(cube.x.values, whole.xs[columns[0] : columns[-1] + 1], rtol=0, atol=1e-9)
    assert cube.spatial_ref.attrs["GeoTransform"].split()[0] == repr(cube.rio.transform().c)

    blocks = dataset.to_numpy().cores()
    assert np.isfinite(cube.values).sum() == sum(int(blocks.valid(band).sum()) for band in dataset.bands)
    seen, near = inside(area, whole.crs, cube.x.values, cube.y.values)
    assert (~np.isfinite(cube.values).any((0, 1)) | seen | near).all(), "what is outside is masked"
    assert np.isfinite(cube.values).any((0, 1)).sum() > 0.9 * seen.sum()
    for block in dataset.select(images=str(cube.image_id.values[-1])):
        sx, _, x, _, sy, y = block.keys["transform"]
        margin = block.keys["margin"]
        plane = block.masked("nir")[margin : -margin or None, margin : -margin or None]
        xs = x + (np.arange(plane.shape[1]) + margin + 0.5) * sx
        ys = y + (np.arange(plane.shape[0]) + margin + 0.5) * sy
        at_y, at_x = (
            [np.abs(one - cube.y.values) < abs(sy) / 9 for one in ys],
            [np.abs(one - cube.x.values) < sx / 9 for one in xs],
        )
        image = cube.sel(band="nir")[-1].values
        for line, have_y in zip(plane, at_y, strict=True):
            for value, have_x in zip(line, at_x, strict=True):
                if have_y.any() and have_x.any():
                    np.testing.assert_equal(image[have_y, have_x], [value])
                else:
                    assert np.isnan(value), "what is cut off is masked"


def test_quick_looks_and_months_are_cropped_to_the_clip(clipped_job: tuple[Dataset, Any]) -> None:
    dataset, area = clipped_job
    whole, cube = one_canvas(dataset, "a test"), dataset.to_xarray().sel(band="nir")
    cells = touched(area, whole.crs, whole.xs, whole.ys, whole.resolution[0])
    rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    assert (height, width) != (whole.height, whole.width)
    for number, image in enumerate(map(str, cube.image_id.values)):
        [look] = mosaics(dataset, image, ["nir"])
        assert look.values.shape == (height, width, 1)
        np.testing.assert_array_equal(look.values[..., 0], cube[number].values)
        for side in (9, 20):
            step = -(-max(height, width) // side)
            [thin] = mosaics(dataset, image, ["nir"], side)
            np.testing.assert_array_equal(thin.values, look.values[::step, ::step])
    [months] = by_month(dataset, "nir", None)
    each = [(image.time.dt.year.item(), image.time.dt.month.item()) for image in cube]
    for month, total, count in zip(months.months, months.total, months.count, strict=True):
        mine = cube.values[[number for number, one in enumerate(each) if one == month]]
        np.testing.assert_array_equal(count, np.isfinite(mine).sum(0))
        np.testing.assert_allclose(total, np.nansum(mine, 0))


def test_valid_shares_leave_out_what_lies_outside(clipped_job: tuple[Dataset, Any]) -> None:
    dataset, area = clipped_job
    canvas = one_canvas(dataset, "a test")
    pixels = int(inside(area, canvas.crs, canvas.xs, canvas.ys)[0].sum())
    blocks = dataset.to_numpy().cores()
    valid: dict[str, int] = {}
    for block in blocks:
        valid[block.image_id] = valid.get(block.image_id, 0) + int((block.valid("red") & block.valid("nir")).sum())
    numbers = page.numbers_of(dataset)
    times, shares = page.valid_shares(numbers.images, numbers.reading)
    named = numbers.images.filter(pc.is_valid(numbers.images["image_time"]))["image_id"].to_pylist()
    assert shares == pytest.approx([valid.get(name, 0) / pixels for name in named], abs=2 / pixels)
    assert shares.max() > 0.5, "a clear date is nearly whole, however small the field in its tiles"
    assert numbers.images["planned"].to_pylist() == pytest.approx([pixels] * len(times), abs=2)
    assert shares.max() <= 1


def test_zones_have_a_clip_each(service_url: str, tmp_path: Path) -> None:
    area = AREAS["a field"]
    dataset = extracted(service_url, tmp_path, area, GRIDS["two zones"])
    tiles = dataset.tiles([*PLACE, "image_id"])
    one = tiles.filter(pc.equal(tiles["image_id"], tiles["image_id"][0]))
    canvas = one_canvas(dataset, "a test")
    assert pixels_inside(dataset, one).sum() == inside(area, canvas.crs, canvas.xs, canvas.ys)[0].sum()


def test_without_clip_all_counts(service_url: str, tmp_path: Path) -> None:
    dataset = extracted(service_url, tmp_path, AREAS["a field"], GRIDS["metres"], clip=False)
    canvas = one_canvas(dataset, "a test")
    assert clip_of(dataset) is None
    assert clipped(dataset, canvas) is canvas
    assert dataset.to_xarray().shape[2:] == (canvas.height, canvas.width)
    assert by_image(dataset)["planned"].to_pylist()[0] == 64 * len(
        set(dataset.tiles(["tile_id"])["tile_id"].to_pylist())
    )


def test_a_clip_that_no_record_says_is_none(clipped_job: tuple[Dataset, Any], tmp_path: Path) -> None:
    """A dataset whose records are gone, or say another region, is shown whole: nothing of it is left out."""
    folder = tmp_path / "copy"
    shutil.copytree(clipped_job[0].path, folder)
    [record] = (folder / "_ee_spark" / "runs").glob("*.json")
    data = json.loads(record.read_text())
    data["region"]["geojson"]["coordinates"] = [[[-106, 40], [-105, 40], [-105, 41], [-106, 40]]]
    record.write_text(json.dumps(data))
    dataset = ee_spark.open_dataset(folder)
    canvas = one_canvas(dataset, "a test")
    assert clip_of(dataset) is None
    assert dataset.to_xarray().shape[2:] == (canvas.height, canvas.width)
    os.remove(record)
    assert clip_of(ee_spark.open_dataset(folder)) is None  # and no record at all
