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
from relays import relay
from wire import Said, Told, Wire

import ee_emulator as emulator
from ee_spark.config import parse
from ee_spark.errors import JobError
from ee_spark.extract import Options, plan, run
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

    def versions(self, *versions: str, **more: Any) -> None:
        files = {OLD: "7.tif", NEW: "9.tif"}
        write_catalog(self.folder, [asset("ONE/IMAGE", {"b": files[v]}, updateTime=v, **more) for v in versions])


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[Archive, str]]:
    folder = tmp_path / "catalog"
    folder.mkdir()
    held = Archive(folder)
    with emulator.start(folder) as service:
        yield held, service.url


def job(url: str, out: Path, mask: str, east: float = -121.85, **source: Any) -> Any:
    return parse(
        {
            "name": "pinned",
            "earth_engine": {"endpoint": url, "concurrent_requests": 2, "requests_per_minute": 60000},
            "source": {"asset": "ONE/IMAGE", **source},
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


COLLECTIONS = {"version": 1_738_368_000_000_000}
"""A version that is not the time of the image's update, as some collections have."""


def versions_sent(server: Wire) -> list[bool]:
    """Of each request for pixels that are computed, whether a load in it names a version."""
    return [b'"version"' in said.body for said in server.said if "computePixels" in said.path]


def test_versions_that_the_service_does_not_take(
    archive: tuple[Archive, str], spark: SparkSession, tmp_path: Path
) -> None:
    held, url = archive
    held.versions(OLD, **COLLECTIONS)
    out, quiet = tmp_path / "out", Options(progress="none")
    with pytest.raises(JobError, match=r"source\.pin: true, and the service does not take the version of 'ONE/IMAGE'"):
        plan(job(url, out, "band", pin=True))
    first = plan(job(url, out, "band", -121.86))
    assert [note for note in first.notes if note[0] == "versions"] == [
        (
            "versions",
            "not sent",
            "the plan's probe shows that the service does not take them: images are loaded as they are, and updateTime "
            "is read again when a run ends",
        )
    ]
    report = run(job(url, out, "band", -121.86), spark, quiet)
    assert (report["status"], report["failed"], values(out)) == ("complete", 0, {7})
    assert report["versions"].startswith("not sent: the plan's probe")
    kept = json.loads((out / "_ee_spark" / "job.json").read_text())
    assert kept["versions"] is False
    assert kept["fingerprint"] == first.fingerprint
    assert "versions" not in kept["frozen"]
    assert not any("version" in key for key in kept["identity"])
    again = plan(job(url, out, "band"))
    assert "the dataset's first plan found" in next(why for what, _, why in again.notes if what == "versions")
    with pytest.raises(JobError, match="this dataset's first plan found"):
        plan(job(url, out, "band", pin=True))
    assert plan(job(url, out, "band", pin=False)).fingerprint == first.fingerprint == again.fingerprint
    held.versions(OLD)
    assert plan(job(url, tmp_path / "new", "band", pin=True)).fingerprint == first.fingerprint
    rest = run(job(url, out, "band"), spark, quiet)
    assert (rest["status"], rest["skipped"]) == ("complete", report["planned"])
    assert rest["versions"].startswith("not sent: the dataset's first plan"), "what was found first is followed"


def test_pin_false_sends_no_version_anywhere(archive: tuple[Archive, str], spark: SparkSession, tmp_path: Path) -> None:
    _, url = archive
    out = tmp_path / "out"
    with relay(url) as server:
        report = run(job(server.url, out, "band", -121.86, pin=False), spark, Options(progress="none"))
        sent = versions_sent(server)
        assert len(sent) > report["planned"]
        assert not any(sent), "neither the plan's probe nor a tile"
        assert (report["status"], report["versions"][:24]) == ("complete", "not sent: source.pin: fa")
        assert json.loads((out / "_ee_spark" / "job.json").read_text())["versions"] is None
        server.said.clear()
        auto = run(job(server.url, out, "band"), spark, Options(progress="none"))
        assert all(versions_sent(server)), "nobody had looked, so that the next plan does"
    assert (auto["status"], auto["skipped"]) == ("complete", report["planned"])
    assert auto["versions"] == "sent: the plan's probe shows that the service takes them"


def test_without_versions_a_change_in_mid_run_is_exit_3(
    archive: tuple[Archive, str], spark: SparkSession, tmp_path: Path
) -> None:
    held, url = archive
    held.versions(OLD, **COLLECTIONS)
    out = tmp_path / "out"

    def change(said: Said) -> None:
        if "computePixels" in said.path:
            asked.append(said)
            if len(asked) == 12:
                held.versions(NEW, **COLLECTIONS)

    asked: list[Said] = []
    with relay(url, change) as server:
        report = run(job(server.url, out, "band"), spark, Options(progress="none"))
    assert values(out) == {7, 9}
    assert (report["status"], report["exit_code"]) == ("changed", 3)
    assert report["fetched_from_two_versions"] == report["changed"] == ["ONE/IMAGE"]


def test_a_version_that_is_denied_stops_the_run_too(
    archive: tuple[Archive, str], spark: SparkSession, tmp_path: Path
) -> None:
    _, url = archive
    text = (
        "Permission 'earthengine.assets.get' denied on resource 'projects/earthengine-public/assets/ONE/IMAGE' "
        "(or it may not exist)."
    )
    asked: list[Said] = []

    def deny(said: Said) -> Told | None:
        if "computePixels" not in said.path:
            return None
        asked.append(said)
        return Told(403, json.dumps({"error": {"code": 403, "message": text}}).encode()) if len(asked) > 4 else None

    with relay(url, deny) as server:
        report = run(job(server.url, tmp_path / "out", "band"), spark, Options(progress="none"))
    assert (report["status"], report["exit_code"], report["failed"]) == ("stopped", 1, 0)
    assert "It was there when it was pinned; run with --repin" in report["stopped"]


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
