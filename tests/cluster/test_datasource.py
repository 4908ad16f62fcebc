"""format("earthengine"): the same rows as the job, within the quota, and never silently fewer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import REPO

import ee_emulator as emulator
import ee_spark
from ee_spark.datasource import FORMAT, job_of, register
from ee_spark.errors import JobError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ORDER = [("tile_id", "ascending"), ("image_id", "ascending")]


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/_emulator/stats", timeout=30) as answer:
        return dict(json.load(answer))


def frame(spark: SparkSession, config: str, url: str, **settings: Any) -> DataFrame:
    reader = spark.read.format(FORMAT).option("config", str(REPO / "conf" / f"{config}.yaml"))
    chosen = {"earth_engine.endpoint": url, "earth_engine.emulator": "{}", **settings}
    for key, value in chosen.items():
        reader = reader.option(f"set.{key}", str(value))
    return reader.load()


def sorted_rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.sort_by(ORDER).to_pylist()


def test_the_same_rows_as_the_job_within_the_quota(spark: SparkSession, series: Path) -> None:
    with emulator.start(latency_ms=20, quota=16) as service:
        settings = {"source.start": "2010-05-01", "source.end": "2010-09-01", "earth_engine.concurrent_requests": 16}
        rows = frame(spark, "quickstart", service.url, **settings)
        assert rows.rdd.getNumPartitions() == 2
        found = rows.toArrow()
        seen = stats(service.url)
    assert seen["by_status"].get("429", 0) == 0
    assert seen["peak_in_flight"] <= 16
    job = ee_spark.open_dataset(series).select(time=("2010-05-01", "2010-09-01"))
    table = pa.concat_tables([pq.read_table(series / name) for name in job.parts if "schema" not in name])
    kept = table.filter(pa.array([5 <= time.month < 9 for time in table["image_time"].to_pylist()]))
    assert found.column_names == table.column_names
    assert sorted_rows(found) == sorted_rows(kept)
    assert found.num_rows > 100


def test_unsigned_bands_as_spark_reads_them_from_parquet(spark: SparkSession, patches: Path) -> None:
    with emulator.start() as service:
        rows = frame(spark, "quickstart_patches", service.url)
        truth = spark.read.parquet(str(patches / "pixels"))
        assert [(item.name, item.dataType.simpleString()) for item in rows.schema] == [
            (item.name, item.dataType.simpleString()) for item in truth.schema
        ]
        assert sorted_rows(rows.toArrow()) == sorted_rows(truth.toArrow())


def test_a_failed_tile_is_never_silent(spark: SparkSession) -> None:
    with emulator.start() as service:
        rows = frame(spark, "quickstart_patches", service.url, **{"retry.split": "false"})
        change = urllib.request.Request(f"{service.url}/_emulator/traffic", b'{"faults": "oom-above:1"}', method="POST")
        urllib.request.urlopen(change, timeout=30).close()  # after the plan, which has probed a tile
        with pytest.raises(Exception, match="StoppedError") as raised:
            rows.collect()
    assert re.search("(tiles failed|stopped).*memory", str(raised.value))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no option 'config'; write .option\('config', 'JOB.yaml'\)"):
        job_of({})
    with pytest.raises(JobError, match="endpoint: emulator lives beside a driver's run; start 'ee-spark emulator'"):
        job_of({"config": str(REPO / "conf" / "quickstart.yaml")})


def test_on_spark_3_a_clear_message(tmp_path: Path) -> None:
    """Spark 3.5 has no pyspark.sql.datasource: an interpreter that cannot import it stands for one."""
    script = (
        "import sys; sys.modules['pyspark.sql.datasource'] = None\n"
        "from ee_spark.datasource import register\n"
        "class Session: version = '3.5.9'\n"
        "register(Session())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPO, timeout=360)
    assert "format('earthengine') needs Spark 4, and this is 3.5.9; write a dataset with ee_spark.run" in done.stderr


def test_registering_by_hand_is_no_error(spark: SparkSession) -> None:
    register(spark)
    with pytest.raises(Exception, match=r"no option 'config'; write \.option\('config', 'JOB\.yaml'\)"):
        spark.read.format("earthengine").load()
