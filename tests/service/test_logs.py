"""Log lines of a real run, on the driver and in Spark's workers: each says where it comes from, and no secret."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from object_servers import BUCKET, s3_server
from places import REPO
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ee_spark.cli import main
from ee_spark.java import java_home
from ee_spark.logs import Logs, log_as
from ee_spark.objects import Settings, open_store

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYzEXAMPLEKEY"
JOB = {
    "source.start": "2010-06-01",
    "source.end": "2010-07-01",
    "grid.tile": "32",
    "retry": "{attempts: 2, max_failed: 0}",
    "earth_engine.emulator": "{faults: '500:0.35', seed: 3}",
    "earth_engine.concurrent_requests": "16",
}


@dataclass(frozen=True)
class Run:
    code: int
    report: dict[str, Any]
    lines: list[dict[str, Any]]
    noise: str
    tiles: list[dict[str, Any]]
    metrics: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on local[2] into an S3 that wants a signature, every third request refused, with all that can be logged."""
    folder = tmp_path_factory.mktemp("logs")
    environment = {**os.environ, "JAVA_HOME": str(java_home()), "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(REPO)}
    environment |= {
        "PYSPARK_PYTHON": sys.executable,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    }
    command = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2]"]
    command += ["--properties-file", "conf/spark/local.conf", "jobs/extract.py", "--config", "conf/quickstart.yaml"]
    command += ["--log-level", "debug", "--log-json", "--run-id", "logged", "--progress", "none"]
    with s3_server() as url:
        where = {"output.path": f"s3://{BUCKET}/out", "storage": f"{{s3_endpoint: '{url}', s3_region: us-east-1}}"}
        command += ["--metrics", f"s3://{BUCKET}/metrics/run.prom"]
        for key, value in {**JOB, **where}.items():
            command += ["--set", f"{key}={value}"]
        done = subprocess.run(command, env=environment, cwd=REPO, capture_output=True, text=True, timeout=300)
        assert done.stdout.strip(), done.stderr
        store = open_store(f"s3://{BUCKET}", Settings(s3_endpoint=url, s3_region="us-east-1"))
        tiles: list[dict[str, Any]] = []
        for entry in store.list("out/tiles/"):
            with store.open(entry.name) as file:
                tiles += pq.read_table(file, columns=["tile_id", "image_id", "status", "requests"]).to_pylist()
        metrics = store.read("metrics/run.prom")
    (folder / "stderr").write_text(done.stderr)
    output = [*done.stdout.splitlines()[:-1], *done.stderr.splitlines()]
    found = [line for line in output if line.startswith('{"time"')]
    noise = "\n".join(line for line in output if line not in found)
    assert metrics is not None
    report = json.loads(done.stdout.splitlines()[-1])
    return Run(done.returncode, report, [json.loads(line) for line in found], noise, tiles, metrics[0].decode())


def test_every_line_says_where_it_comes_from(run: Run) -> None:
    assert run.code == 3, "some tiles met two refusals"
    assert {line["run"] for line in run.lines} == {"logged"}
    assert {line["logger"].split(".")[0] for line in run.lines} == {"ee_spark"}
    for line in run.lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
        assert ("lane" in line) == line["logger"].startswith(("ee_spark.lane", "ee_spark.fetch"))
    assert {line["lane"] for line in run.lines if "lane" in line} == {0, 1}
    assert [line["message"].split()[0] for line in run.lines if line["logger"] == "ee_spark.extract"][-1] == "failed"


def test_the_tiles_lines_are_the_tables(run: Run) -> None:
    """By tile and image: one line for each answer, one for each failed tile, one for each refusal."""
    planned = {(row["tile_id"], row["image_id"]): row for row in run.tiles}
    lines = {kind: Counter[tuple[str, str]]() for kind in ("answered", "failed", "transient")}
    for line in run.lines:
        if "tile" in line:
            lines[line["message"].partition(":")[0]][line["tile"], line["image"]] += 1
    assert lines["answered"] == Counter(dict.fromkeys(planned, 1))
    failed = {key for key, row in planned.items() if row["status"] == "failed"}
    assert 0 < len(failed) == run.report["failed"] < len(planned)
    assert lines["failed"] == Counter(dict.fromkeys(failed, 1))
    refused = {key: row["requests"] - (row["status"] != "failed") for key, row in planned.items()}
    assert lines["transient"] == Counter({key: count for key, count in refused.items() if count})
    assert {line["level"] for line in run.lines if "tile" in line} == {"DEBUG", "INFO"}


def test_no_secret_is_said(run: Run) -> None:
    said = run.noise + json.dumps(run.lines) + run.metrics
    for secret in (SECRET, "AKIDEXAMPLE", "Signature=", "authorization"):
        assert secret.lower() not in said.lower()


def test_the_metrics_of_a_failed_run_are_its_report(run: Run) -> None:
    families = {family.name: family for family in text_string_to_metric_families(run.metrics)}
    tiles = {sample.labels["state"]: sample.value for sample in families["ee_spark_tiles"].samples}
    assert tiles == {state: run.report[state] for state in tiles}
    assert tiles["failed"] > 0
    [info] = families["ee_spark_run"].samples
    assert info.labels == {"job_name": "quickstart", "run_id": "logged", "path": f"s3://{BUCKET}/out"}


def test_a_line_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet but for warnings, and one line a record; foreign libraries are never let below warnings."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    ours, theirs = logging.getLogger("ee_spark.here"), logging.getLogger("elsewhere")
    try:
        log_as(Logs(), "a-run", 3)
        ours.info("not this")
        ours.warning("this\nand %d", 7, extra={"tile": "EPSG-32613/r1c2", "image": "A/B"})
        log_as(Logs("info"), "a-run")
        ours.info("now this")
        theirs.info("Bearer secret")
        theirs.warning("that")
        lines = sys.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
    finally:
        log_as(Logs())
    assert [line.partition(" ")[2] for line in lines] == [
        "WARNING ee_spark.here run=a-run lane=3 tile=EPSG-32613/r1c2 image=A/B: this and 7",
        "INFO ee_spark.here run=a-run: now this",
        "WARNING elsewhere run=a-run: that",
    ]


@pytest.mark.parametrize("path", ["nowhere/run.prom", "jobs", "ftp://host/run.prom"])
def test_metrics_that_cannot_be_written_are_refused_first(path: str) -> None:
    done = CliRunner().invoke(main, ["extract", "--config", str(REPO / "conf/quickstart.yaml"), "--metrics", path])
    assert (done.exit_code, done.stdout) == (2, "")
    assert path.rpartition("/")[0] in done.stderr
    assert len(done.stderr.splitlines()) == 1
