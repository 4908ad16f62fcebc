"""Spark: a session, how many tasks it runs at once, and lanes side by side in its partitions.

What lanes do is in :mod:`ee_spark.lane`; here is only how Spark runs them, with RDDs or, on Spark Connect, without.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ee_spark.errors import JobError, StoreError, missing_extra
from ee_spark.java import java_home
from ee_spark.job import JobConfig
from ee_spark.lane import Lane, work
from ee_spark.lane.deal import INLINE_BYTES, Share
from ee_spark.objects import open_store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession as SparkSession

EXECUTOR_WAIT = 60.0

log = logging.getLogger(__name__)

WORKERS = {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc", "PYTHONSAFEPATH": "1"}
"""The environment of Python workers: this pool of Arrow's gives back what it frees, a sixth of a lane's memory
(https://arrow.apache.org/docs/cpp/env_vars.html), and no module is imported from the directory in which they start,
which may be a dataset (https://docs.python.org/3/using/cmdline.html#envvar-PYTHONSAFEPATH)."""


@dataclass(frozen=True)
class SparkEngine:
    """Lanes in the partitions of a session: what :class:`ee_spark.lane.engine.Engine` asks for."""

    spark: SparkSession

    @property
    def host(self) -> str:
        """The driver's address as workers reach it."""
        return progress_host(self.spark)

    def slots(self) -> int:
        """Return how many tasks run at once."""
        return task_slots(self.spark)

    def held(self, shares: list[Share]) -> list[Share]:
        """Return the shares, halved where the session may run two copies of each lane."""
        return unspeculative(self.spark, shares)

    def run(self, shares: list[Share]) -> str | None:
        """Run every lane in a partition of its own."""
        return run_lanes(self.spark, shares)


def engine(job: JobConfig, spark: SparkSession | None = None) -> SparkEngine:
    """Return the engine of a job: the given session, or :func:`session`.

    Raises:
        JobError: if the job cannot run there.
        MissingExtraError: if Spark or its Java is not installed.
    """
    try:
        spark = spark or session(job)
    except ModuleNotFoundError as error:
        raise missing_extra("a run without a cluster", str(error.name), "local") from error
    refuse_remote_emulator(job, spark)
    return SparkEngine(spark)


def session(job: JobConfig) -> SparkSession:
    """Return the Spark session: the one that spark-submit configured, else a local one on all cores."""
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted:
        os.environ["JAVA_HOME"] = str(java_home())
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    local = not submitted or str(SparkConf().get("spark.master", "local")).startswith("local")
    if local:  # a cluster's workers have a Python of their own
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(job.name).config("spark.ui.showConsoleProgress", "false")
    if not submitted:
        builder = builder.config("spark.ui.enabled", "false").config("spark.log.level", "ERROR")
    return builder.getOrCreate()


def master_of(spark: SparkSession) -> str:
    """Return where a session's tasks run, e.g. ``local[4]``; Spark Connect has no context that says it."""
    return str(spark.conf.get("spark.master"))


def progress_host(spark: SparkSession) -> str:
    """Return the address on which workers reach the driver."""
    local = is_connect(spark) or spark.sparkContext.master.startswith("local")
    return "127.0.0.1" if local else str(spark.sparkContext.getConf().get("spark.driver.host"))


def refuse_remote_emulator(job: JobConfig, spark: SparkSession) -> None:
    """Refuse the embedded emulator where workers could not reach it."""
    master = master_of(spark)
    if job.earth_engine.endpoint == "emulator" and not master.startswith("local"):
        raise JobError(
            f"earth_engine.endpoint: emulator listens on the driver's loopback only, and master is {master}; start "
            "'ee-spark emulator' where workers reach it and write endpoint: http://HOST:PORT"
        )


def task_slots(spark: SparkSession) -> int:
    """Return how many tasks can run at once, after waiting for the configured minimum of executors."""
    if is_connect(spark):
        raise JobError(
            "earth_engine.lanes: a Spark Connect session does not say how many tasks run at once; write lanes: N"
        )
    context = spark.sparkContext
    if context.master.startswith("local"):
        return int(context.defaultParallelism)
    conf = context.getConf()
    wanted = int(conf.get("spark.executor.instances") or conf.get("spark.dynamicAllocation.minExecutors") or 1)
    cores = int(conf.get("spark.executor.cores") or 1)
    until = time.monotonic() + EXECUTOR_WAIT
    while (executors := context._jsc.sc().getExecutorMemoryStatus().size() - 1) < wanted and time.monotonic() < until:
        time.sleep(0.2)
    return max(1, int(executors)) * max(1, cores // int(conf.get("spark.task.cpus") or 1))


def unspeculative(spark: SparkSession, shares: list[Share]) -> list[Share]:
    """Return lanes that keep to the quota even where the session may run two copies of each: at half their share."""
    if str(spark.conf.get("spark.speculation", "false")).lower() != "true":
        return shares
    log.warning("spark.speculation is on: each lane may run twice, and gets half of its share; turn it off")
    return [replace(one, threads=max(1, one.threads // 2), per_second=one.per_second / 2) for one in shares]


def run_lanes(spark: SparkSession, shares: list[Share]) -> str | None:
    """Run every lane in a partition of its own; return why the stage failed, if it did.

    Raises:
        StoreError: if a slice that is too large to travel with its lane cannot be written, or a lane's record.
    """

    def attempt() -> int:
        from pyspark import TaskContext

        context = TaskContext.get()
        return int(context.attemptNumber()) if context else 0

    def ended(lane: Lane) -> str:
        record = work(lane, attempt())  # it is among the lane's notes, where it outlives a stage that fails
        return str(record.stopped) if record.unnoted else ""

    def partition(_: int, mine: Iterator[Lane]) -> Iterator[str]:
        yield from map(ended, mine)

    brief = shares[0].brief
    store = open_store(brief.path, brief.storage, away=True)
    inline = INLINE_BYTES // len(shares) if is_connect(spark) else INLINE_BYTES
    lanes = [one.lane(store, inline) for one in shares]
    try:
        if is_connect(spark):
            told = _run_on_connect(spark, lanes, ended)
        else:
            context = spark.sparkContext
            for name, value in WORKERS.items():
                context.environment.setdefault(name, value)
            context.setJobGroup("ee_spark", f"extract {brief.run_id}")
            told = context.parallelize(lanes, len(lanes)).mapPartitionsWithIndex(partition).collect()
    except Exception as error:  # whatever py4j makes of workers that died; what they published holds
        lines = [line.strip() for line in str(error).splitlines()]
        blamed = [line for line in lines if "Error" in line or "crashed" in line or "ExecutorLost" in line]
        return f"a Spark stage failed: {(blamed or [type(error).__name__])[0][:300]}"
    if any(told):
        raise StoreError(next(filter(None, told)))
    return None


def is_connect(spark: Any) -> bool:
    """Return True if ``spark`` is a Spark Connect session."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def _run_on_connect(spark: Any, lanes: list[Lane], ended: Callable[[Lane], str]) -> list[str]:
    """Run every lane in a partition of its own by ``ended``, and return what that says of each.

    All lanes travel in the closure, and a session's messages are small: so are the slices that lanes carry there.
    """

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                yield pa.RecordBatch.from_pydict({"told": [ended(lanes[index])]})

    rows = spark.range(0, len(lanes), 1, len(lanes)).mapInArrow(task, "told string").collect()
    return [str(row["told"]) for row in rows]
