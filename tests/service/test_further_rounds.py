"""A footprint that is wrong: what its pixels show is asked for in further rounds, whatever happens in between."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from emulator_client import asset, post, write_catalog, write_raster
from lanes_here import Here
from pyproj import Transformer

import ee_emulator
from ee_spark import open_dataset
from ee_spark.check.verify import verify
from ee_spark.extract import Options, as_config, run_on
from ee_spark.objects import FileStore
from ee_spark.report import RunReport
from ee_spark.store import exceeded, runs

SIDE, TILE, PIXEL = 1200, 64, 30.0
LEFT, TOP = 400_000.0, 5_000_000.0
WRONG = 300
"""Pixels by which the footprints end too early, on their eastern sides."""


def ring(right: float, bottom: float = TOP - SIDE * PIXEL) -> dict[str, Any]:
    """The footprint of a raster that would end at ``right`` and ``bottom``, in lon/lat."""
    x, y = np.array([LEFT, right, right, LEFT, LEFT]), np.array([bottom, bottom, TOP, TOP, bottom])
    lon, lat = Transformer.from_crs("EPSG:32633", "OGC:CRS84").transform(x, y)
    return {"type": "LinearRing", "coordinates": np.column_stack([lon, lat]).tolist()}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images: one's footprint is too narrow by 300 pixels, the other's too low by 300."""
    folder = tmp_path_factory.mktemp("catalog")
    values = np.random.default_rng(5).integers(1, 60_000, (SIDE, SIDE)).astype(np.uint16)
    for name in ("east", "south"):
        write_raster(folder / f"{name}.tif", values, (PIXEL, 0, LEFT, 0, -PIXEL, TOP), "EPSG:32633", nodata=0)
        values = values[::-1]
    east, south = ring(LEFT + (SIDE - WRONG) * PIXEL), ring(LEFT + SIDE * PIXEL, TOP - (SIDE - WRONG) * PIXEL)
    return write_catalog(
        folder,
        [
            asset("C/E/east", {"a": "east.tif"}, "2020-01-01T00:00:00Z", geometry=east),
            asset("C/S/south", {"a": "south.tif"}, "2020-01-02T00:00:00Z", geometry=south),
        ],
    )


def run(url: str, out: Path, collection: str, progress: str = "none", **changes: Any) -> RunReport:
    """Run a job over all of a collection's raster and a little more."""
    west, south, east, north = 13.6, 44.7, 14.3, 45.2
    job = {
        "name": "further",
        "earth_engine": {"project": "p", "endpoint": url, "concurrent_requests": 8},
        "source": {"collection": collection, "start": "2020-01-01", "end": "2021-01-01"},
        "region": {"bbox": [west, south, east, north]},
        "grid": {"crs": "native", "tile": TILE},
        "output": {"path": str(out)},
        **changes,
    }
    return run_on(as_config(job), lambda _: Here(), Options(progress=progress))


def pixels(out: Path, height: int = SIDE, width: int = SIDE) -> np.ndarray[Any, Any]:
    """What the table has of the raster; 0 where it has nothing."""
    found = np.zeros((height, width), np.uint16)
    for block in open_dataset(str(out)):
        left, top = round((block.transform[2] - LEFT) / PIXEL), round((TOP - block.transform[5]) / PIXEL)
        high, wide = min(TILE, height - top), min(TILE, width - left)
        y, x = max(0, -top), max(0, -left)
        found[top + y : top + high, left + x : left + wide] = block["a"][y:high, x:wide]
    return found


@pytest.mark.parametrize(("collection", "name"), [("C/E", "east"), ("C/S", "south")])
@pytest.mark.parametrize("pixel", [{"mask": "band"}, {"mask": "none"}, {"mask": "fill", "fill": 0}], ids=str)
def test_what_a_footprint_hid_is_found(
    catalog: Path, tmp_path: Path, collection: str, name: str, pixel: dict[str, Any]
) -> None:
    with rasterio.open(catalog / f"{name}.tif") as raster:
        truth = raster.read(1)
    with ee_emulator.start(catalog=str(catalog)) as service:
        report = run(service.url, tmp_path, collection, pixels=pixel)
        assert (report["status"], report["missing"], report["failed"]) == ("complete", 0, 0)
        assert report["footprint_exceeded"] == {collection: 1}
        np.testing.assert_array_equal(pixels(tmp_path), truth)
        found = verify(FileStore(tmp_path))
        assert found.problems == []
        assert found.planned == report["planned"] == report["ok"] + report["empty"]
        again = run(service.url, tmp_path, collection, pixels=pixel)
        assert (again["requests"], again["skipped"], again["planned"]) == (0, report["planned"], report["planned"])


def test_a_run_that_is_stopped_before_it_is_resumed(catalog: Path, tmp_path: Path) -> None:
    with rasterio.open(catalog / "east.tif") as raster:
        truth = raster.read(1)
    with ee_emulator.start(catalog=str(catalog)) as service:
        post(service.url, "/_emulator/traffic", {"faults": "daily-after:280"})
        stopped = run(service.url, tmp_path, "C/E", retry={"attempts": 1})
        assert stopped["exit_code"] == 1
        assert exceeded.noted(FileStore(tmp_path), *life_of(tmp_path)) == {"C/E/east"}, (
            "it was stopped after it was seen"
        )
        assert stopped["missing"] > 0
        assert not (tmp_path / "_SUCCESS").exists()
        post(service.url, "/_emulator/traffic", {"faults": ""})
        resumed = run(service.url, tmp_path, "C/E")
    assert (resumed["status"], resumed["footprint_exceeded"]) == ("complete", {"C/E": 1})
    np.testing.assert_array_equal(pixels(tmp_path), truth)
    assert verify(FileStore(tmp_path)).problems == []
    assert (tmp_path / "_SUCCESS").exists()


def test_a_driver_killed_before_it_looks_is_no_loss(catalog: Path, tmp_path: Path) -> None:
    class Killed(Here):
        """An engine whose driver dies when its lanes have ended."""

        def run(self, shares: Any) -> str | None:
            super().run(shares)
            raise KeyboardInterrupt

    with ee_emulator.start(catalog=str(catalog)) as service:
        config = as_config(
            {
                "name": "further",
                "earth_engine": {"project": "p", "endpoint": service.url, "concurrent_requests": 8},
                "source": {"collection": "C/E", "start": "2020-01-01", "end": "2021-01-01"},
                "region": {"bbox": [13.6, 44.7, 14.3, 45.2]},
                "grid": {"crs": "native", "tile": TILE},
                "output": {"path": str(tmp_path)},
            }
        )
        with pytest.raises(KeyboardInterrupt):
            run_on(config, lambda _: Killed(), Options(progress="none"))
        resumed = run(service.url, tmp_path, "C/E")
    assert (resumed["status"], resumed["footprint_exceeded"]) == ("complete", {"C/E": 1})
    with rasterio.open(catalog / "east.tif") as raster:
        np.testing.assert_array_equal(pixels(tmp_path), raster.read(1))
    assert verify(FileStore(tmp_path)).problems == []


def test_ignored_footprints_take_nothing_away(catalog: Path, tmp_path: Path) -> None:
    source = {"collection": "C/E", "start": "2020-01-01", "end": "2021-01-01", "footprints": "ignore"}
    with ee_emulator.start(catalog=str(catalog)) as service:
        report = run(service.url, tmp_path, "C/E", source=source)
    assert (report["status"], report["footprint_exceeded"]) == ("complete", {})
    with rasterio.open(catalog / "east.tif") as raster:
        np.testing.assert_array_equal(pixels(tmp_path), raster.read(1))


def life_of(folder: Path) -> tuple[str, str]:
    """The fingerprint and the life of the dataset."""
    [record] = [one for one in runs.read_runs(FileStore(folder)).values() if one]
    return str(record["fingerprint"]), str(record["life"])


def test_the_bar_ends_at_all_that_was_planned(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The total grows when a further round begins, and its lanes are not taken for those before them."""
    with ee_emulator.start(catalog=str(catalog)) as service:
        report = run(service.url, tmp_path, "C/E", progress="bar")
    assert report["footprint_exceeded"] == {"C/E": 1}
    bars = re.findall(r"([\d,]+)/([\d,]+) tiles +(\d+)%", capsys.readouterr().err)
    counts = [tuple(int(text.replace(",", "")) for text in bar) for bar in bars]
    totals = sorted({total for _, total, _ in counts})
    assert totals[-1] == report["planned"]
    assert len(totals) <= 2
    assert counts[-1] == (report["planned"], report["planned"], 100)
    assert all(done <= total and share <= 100 for done, total, share in counts)
