"""Images pinned at their first version: an asset that changes before, between and during runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import urllib3
from emulator_client import asset, write_catalog, write_raster

import ee_emulator as emulator
from ee_spark.config import parse
from ee_spark.extract import Options, run
from ee_spark.objects import open_store
from ee_spark.planner.images import NO_TIME, Images
from ee_spark.store import pins

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OLD, NEW = "2024-01-01T00:00:00Z", "2025-06-01T00:00:00Z"
SIDE = 64


class Archive:
    """An emulator whose one asset is 7 everywhere, and from its second version on 9."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for value in (7, 9):
            block = np.full((SIDE, SIDE), value, np.uint8)
            write_raster(folder / f"{value}.tif", block, [30, 0, 600000, 0, -30, 4200000], "EPSG:32610")
        self.versions(OLD)

    def versions(self, *versions: str) -> None:
        files = {OLD: "7.tif", NEW: "9.tif"}
        write_catalog(self.folder, [asset("ONE/IMAGE", {"b": files[v]}, updateTime=v) for v in versions])


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[Archive, str]]:
    folder = tmp_path / "catalog"
    folder.mkdir()
    held = Archive(folder)
    with emulator.start(folder) as service:
        yield held, service.url


def job(url: str, out: Path, mask: str, east: float = -121.85) -> Any:
    return parse(
        {
            "name": "pinned",
            "earth_engine": {"endpoint": url, "concurrent_requests": 2, "requests_per_minute": 60000},
            "source": {"asset": "ONE/IMAGE"},
            "region": {"bbox": [-121.87, 37.925, east, 37.945]},
            "grid": {"crs": "EPSG:32610", "scale": 30, "tile": 8},
            "pixels": {"mask": mask},
            "output": {"path": str(out)},
        }
    )


def values(out: Path) -> set[int]:
    table = pq.read_table(out / "pixels", columns=["b"])
    return set(np.unique(table["b"].combine_chunks().flatten().to_numpy()).tolist()) - {0}


def changed(out: Path) -> list[bool]:
    return pq.read_table(out / "images", columns=["changed"])["changed"].to_pylist()


def test_computed_pixels_stay_with_the_pinned_version(
    archive: tuple[Archive, str], spark: SparkSession, tmp_path: Path
) -> None:
    held, url = archive
    out = tmp_path / "out"
    quiet = Options(progress="none")
    first = run(job(url, out, "band", -121.86), spark, quiet)
    held.versions(OLD, NEW)
    second = run(job(url, out, "band"), spark, quiet)
    assert second["skipped"] == first["planned"]
    assert second["ok"] > 0
    assert (second["status"], second["exit_code"]) == ("complete", 0)
    assert values(out) == {7}, "tiles that came later are of the version pinned first"
    assert second["changed"] == ["ONE/IMAGE"]
    assert changed(out) == [True]


def test_a_pinned_version_that_is_gone_stops_until_repin(
    archive: tuple[Archive, str], spark: SparkSession, tmp_path: Path
) -> None:
    held, url = archive
    out = tmp_path / "out"
    run(job(url, out, "band", -121.86), spark, Options(progress="none"))
    held.versions(NEW)
    gone = run(job(url, out, "band"), spark, Options(progress="none"))
    assert (gone["status"], gone["exit_code"]) == ("stopped", 1)
    assert "--repin" in gone["stopped"]
    assert gone["failed"] == 0
    again = run(job(url, out, "band"), spark, Options(progress="none", repin=True))
    assert (again["status"], again["missing"]) == ("complete", 0)
    assert values(out) == {7, 9}
    assert changed(out) == [False]
    versions = set(pq.read_table(out / "tiles", columns=["version"])["version"].to_pylist())
    assert {version.year for version in versions} == {2024, 2025}


def test_get_pixels_from_two_versions_in_one_run_is_exit_3(
    archive: tuple[Archive, str], spark: SparkSession, tmp_path: Path
) -> None:
    held, url = archive
    out = tmp_path / "out"
    http = urllib3.PoolManager()
    http.request("POST", f"{url}/_emulator/traffic", json={"latency_ms": 60})

    def change_in_the_middle() -> None:
        for _ in range(20_000):  # bounded: each look is an answer of the service
            if json.loads(http.request("GET", f"{url}/_emulator/stats").data)["requests"] >= 20:
                break
        held.versions(OLD, NEW)

    changer = threading.Thread(target=change_in_the_middle)
    changer.start()
    report = run(job(url, out, "none"), spark, Options(progress="none"))
    changer.join()
    assert values(out) == {7, 9}
    assert (report["status"], report["exit_code"]) == ("changed", 3)
    assert report["fetched_from_two_versions"] == report["changed"] == ["ONE/IMAGE"]
    assert changed(out) == [True]
    assert not (out / "_SUCCESS").exists()
    calm = run(job(url, out, "none"), spark, Options(progress="none"))
    assert (calm["status"], calm["exit_code"], calm["requests"]) == ("complete", 0, 0)
    assert calm["changed"] == ["ONE/IMAGE"], "it is still named"


def test_racing_drivers_keep_the_first_version(tmp_path: Path) -> None:
    def images(*versions: int) -> Images:
        count = len(versions)
        times = np.full(count, NO_TIME)
        return Images(
            ids=tuple(f"A/{i}" for i in range(count)),
            time=times,
            end=times,
            version=np.array(versions, np.int64),
            signature=np.zeros(count, np.int64),
            signatures=((),),
            footprints=(None,) * count,
            properties=("{}",) * count,
        )

    store = open_store(str(tmp_path))
    assert pins.publish(store, images(5, 6)).version.tolist() == [5, 6]
    assert pins.publish(store, images(7, 8, 9)).version.tolist() == [5, 6, 9]
    assert pins.flag(store, {"A/0": 5, "A/1": 8}) == ["A/1"]
    assert pins.publish(store, images(7, 8, 9), repin=True).version.tolist() == [7, 8, 9]
    assert pins.flag(store, {}) == []
