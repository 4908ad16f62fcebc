"""Lanes on a session: their workers' environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ee_spark.cluster import WORKERS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_workers_have_the_pool_that_gives_back(spark: SparkSession, series: object) -> None:
    """After a job, in a worker of the session: its Arrow's pool by its own name."""

    def pool(_: int) -> str:
        import pyarrow

        return str(pyarrow.default_memory_pool().backend_name)

    assert spark.sparkContext.parallelize([0], 1).map(pool).collect() == [WORKERS["ARROW_DEFAULT_MEMORY_POOL"]]
