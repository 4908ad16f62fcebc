"""``spark.read.format("earthengine").option("config", "JOB.yaml")``: the rows of a job's ``pixels``, without a dataset.

For sinks of one's own (Delta, Iceberg, BigQuery). Each partition is a lane of the job: as many as share the quota, each
with its share of the requests in flight and per minute, through the same fetch engine; its rows come as Arrow batches
in the order in which a run would publish them. Nothing is kept: a task that is tried again fetches all again.
Source: https://spark.apache.org/docs/latest/api/python/tutorial/sql/python_data_source.html, Spark 4 only.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ee_spark import config as config_files
from ee_spark.errors import JobError, StoppedError
from ee_spark.extract import service_of
from ee_spark.job import JobConfig
from ee_spark.lane import Lane
from ee_spark.lane.deal import make_shares
from ee_spark.lane.record import LaneRecord
from ee_spark.lane.sink import QueueSink
from ee_spark.lane.work import work_into
from ee_spark.planner.plan import Plan, make
from ee_spark.store.manifest import layout_of
from ee_spark.store.schema import Layout

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

try:
    from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
except ImportError:  # Spark 3.5: the classes below exist, and register() says why they are of no use
    DataSource = DataSourceReader = object

    class InputPartition:  # type: ignore[no-redef]
        """A stand-in for Spark 4's."""

        def __init__(self, value: Any) -> None:
            self.value = value


FORMAT = "earthengine"
# Spark has no unsigned types: each is read as the next wider signed one, as from Parquet.
_SIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
_NAMES = {
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.binary(): "binary",
    pa.bool_(): "boolean",
    pa.date32(): "date",
}


def register(spark: SparkSession) -> None:
    """Make ``spark.read.format("earthengine")`` known to a session that has not found it by itself.

    Raises:
        JobError: on Spark 3.5, which has no data sources in Python.
    """
    if DataSource is object:
        raise JobError(
            f"format('{FORMAT}') needs Spark 4, and this is {spark.version}; write a dataset with ee_spark.run(config) "
            "and read it with spark.read.parquet(path + '/pixels')"
        )
    spark.dataSource.register(EarthEngine)


class EarthEngine(DataSource):  # type: ignore[misc]
    """A job file as a DataFrame. Options: ``config``, the job file; ``set.<key>``, which override its keys.

    The job's ``output`` is not used, nor is ``retry.max_failed``: a read that lacks a tile fails. With ``lanes: auto``
    there are as many partitions as the driver has cores, and no more than give each eight requests in flight; write
    ``earth_engine.lanes`` on a cluster.
    """

    @classmethod
    def name(cls) -> str:
        """Return the format's name."""
        return FORMAT

    def schema(self) -> str:
        """Return the columns of ``pixels`` as DDL; plans the job for it."""
        return ", ".join(f"`{item.name}` {_ddl(item.type)}" for item in self._layout.pixels)

    def reader(self, schema: Any) -> Reader:
        """Return what makes partitions and reads them."""
        return Reader(self._lanes, self._layout)

    def _prepare(self) -> None:
        if not hasattr(self, "_held"):
            job = job_of(self.options)
            with service_of(job) as service:
                plan = make(_by_rasters(job), service)
            self._held = layout_of(plan), lanes_of(plan)

    @property
    def _layout(self) -> Layout:
        self._prepare()
        return self._held[0]

    @property
    def _lanes(self) -> list[Lane]:
        self._prepare()
        return self._held[1]


class Reader(DataSourceReader):  # type: ignore[misc]
    """Reads lanes."""

    def __init__(self, lanes: list[Lane], layout: Layout) -> None:
        self.lanes, self.layout = lanes, layout

    def partitions(self) -> list[InputPartition]:
        """Return one partition per lane: no more are ever at work at once, whatever the cluster does."""
        return [InputPartition(lane) for lane in self.lanes]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a lane's fetched tiles."""
        schema = pa.schema([pa.field(item.name, _signed(item.type)) for item in self.layout.pixels])
        for batch in fetched(partition.value):
            yield from pa.Table.from_batches([batch]).cast(schema).to_batches()


def job_of(options: Mapping[str, str]) -> JobConfig:
    """Return the job that a reader's options name.

    Raises:
        JobError: if there is none, or it cannot run so.
    """
    path = options.get("config")
    if not path:
        raise JobError(f"format('{FORMAT}'): no option 'config'; write .option('config', 'JOB.yaml')")
    settings = [f"{key[4:]}={value}" for key, value in options.items() if key.lower().startswith("set.")]
    job = config_files.load(path, settings)
    if job.earth_engine.endpoint == "emulator":
        raise JobError(
            f"format('{FORMAT}'): endpoint: emulator lives beside a driver's run; start 'ee-spark emulator' and write "
            "earth_engine.endpoint: http://127.0.0.1:PORT"
        )
    return job


def _by_rasters(job: JobConfig) -> JobConfig:
    """Return the job with nothing taken away for footprints: rows that are only read have no further rounds."""
    return job.model_copy(update={"source": job.source.model_copy(update={"footprints": "ignore"})})


def lanes_of(plan: Plan) -> list[Lane]:
    """Return the plan's lanes; none for a plan without any pair of image and tile."""
    lanes = plan.config.earth_engine.lanes
    slots = lanes if isinstance(lanes, int) else os.cpu_count() or 1
    shares = make_shares(plan, plan.images.version, "read", slots) if plan.pairs.count else []
    return [one.lane(None) for one in shares]


def fetched(lane: Lane) -> Generator[pa.RecordBatch, None, None]:
    """Fetch a lane's tiles and yield their rows as they are published; whoever reads no further ends the lane.

    Raises:
        StoppedError: if the lane could not finish, or a tile failed: rows that are missing are never silent.
    """
    sink = QueueSink(lane.brief)
    with ThreadPoolExecutor(1, "lane") as pool:
        done = pool.submit(_work, sink, lane)
        try:
            yield from sink.batches()
        finally:
            sink.leave()
    _refuse_incomplete(done.result())


def _work(sink: QueueSink, lane: Lane) -> LaneRecord:
    try:
        return work_into(sink, lane, lane.open(None))
    finally:
        sink.end()


def _refuse_incomplete(record: LaneRecord) -> None:
    if record.stopped or record.missing:
        raise StoppedError(f"format('{FORMAT}'): stopped: {record.stopped or 'tiles are missing'}")
    if record.failed:
        reason = next(iter(record.errors), "no reason given")
        raise StoppedError(
            f"format('{FORMAT}'): {record.failed:,} tiles failed ({reason}); ee_spark.run keeps what came and asks "
            "again for these alone"
        )


def _signed(kind: pa.DataType) -> pa.DataType:
    """Return the type as Spark's own side has it: signed, and nullable within."""
    if pa.types.is_list(kind):
        return pa.list_(_signed(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(item.name, _signed(item.type)) for item in kind])
    return _SIGNED.get(kind, kind)


def _ddl(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"array<{_ddl(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{item.name}: {_ddl(item.type)}' for item in kind)}>"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    kind = _signed(kind)
    if kind not in _NAMES:
        raise JobError(f"format('{FORMAT}'): Spark has no type for {kind}")
    return _NAMES[kind]
