"""Lanes on a session: their workers' environment, and their share where it runs two copies of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from places import REPO

import ee_spark
from ee_spark.cluster import WORKERS, unspeculative
from ee_spark.config import load
from ee_spark.lane.deal import make_shares

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_workers_have_the_pool_that_gives_back(spark: SparkSession, series: object) -> None:
    """After a job, in a worker of the session: its Arrow's pool by its own name."""

    def pool(_: int) -> str:
        import pyarrow

        return str(pyarrow.default_memory_pool().backend_name)

    assert spark.sparkContext.parallelize([0], 1).map(pool).collect() == [WORKERS["ARROW_DEFAULT_MEMORY_POOL"]]


def test_lanes_have_half_their_share_where_spark_speculates(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two copies of every lane then keep to the quota: 21 requests at once, 600 a minute."""
    settings = [f"output.path={tmp_path}/out", "earth_engine.lanes=2"]
    settings += ["earth_engine.concurrent_requests=21", "earth_engine.requests_per_minute=600"]
    plan = ee_spark.plan(load(str(REPO / "conf/quickstart.yaml"), settings))
    shares = make_shares(plan, plan.images.version, "run", slots=2)
    assert sum(one.threads for one in shares) == 21, (plan.images.ids[:1], plan.pairs.count)
    assert unspeculative(spark, shares) == shares
    other = spark.newSession()
    other.conf.set("spark.sql.legacy.setCommandRejectsSparkCoreConfs", "false")
    other.conf.set("spark.speculation", "true")
    halved = unspeculative(other, shares)
    assert "spark.speculation is on" in caplog.text
    assert 2 * sum(one.threads for one in halved) <= 21
    assert 2 * sum(one.per_second for one in halved) <= 10
