"""``spark.read.format("earthengine").option("config", "JOB.yaml")``: the rows of a job's ``pixels``, without a dataset.

For sinks of one's own (Delta, Iceberg, BigQuery). Each partition is a lane of the job: as many as share the quota, each
with its share of the requests in flight and a minute, through the same fetch engine, into parts on the worker's own
disk, whose rows are handed on as they appear. Nothing is kept: a task that is tried again asks again.
Source: https://spark.apache.org/docs/latest/api/python/tutorial/sql/python_data_source.html, Spark 4 only.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark import config as config_files
from ee_spark.errors import JobError, StoppedError
from ee_spark.extract import service_of
from ee_spark.job import JobConfig
from ee_spark.lane import Lane, work
from ee_spark.lane.deal import make_lanes
from ee_spark.lane.notes import Notes
from ee_spark.objects import FileStore, Settings
from ee_spark.planner.plan import Plan, make
from ee_spark.store.manifest import layout_of
from ee_spark.store.schema import JOB, PIXELS, Layout

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
LOOK_SECONDS = 0.1
"""How often a partition looks for parts that were published meanwhile."""
STOP_SECONDS = 15.0
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
                plan = make(job, service)
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
        """Return one partition a lane: no more are ever at work at once, whatever the cluster does."""
        return [InputPartition(lane) for lane in self.lanes]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a lane's fetched tiles."""
        schema = pa.schema([pa.field(item.name, _signed(item.type)) for item in self.layout.pixels])
        for table in fetched(partition.value):
            yield from table.cast(schema).combine_chunks().to_batches()


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


def lanes_of(plan: Plan) -> list[Lane]:
    """Return the plan's lanes; none for a plan without any pair of image and tile."""
    lanes = plan.config.earth_engine.lanes
    slots = lanes if isinstance(lanes, int) else os.cpu_count() or 1
    return make_lanes(plan, plan.images.version, "read", slots) if plan.pairs.count else []


def fetched(lane: Lane) -> Iterator[pa.Table]:
    """Fetch a lane's tiles and yield the rows of its parts, row group by row group.

    Raises:
        StoppedError: if the lane could not finish, or a tile failed: rows that are missing are never silent.
    """
    with tempfile.TemporaryDirectory(prefix="ee-spark-", ignore_cleanup_errors=True) as folder:
        store = FileStore(Path(folder))
        store.create(JOB, json.dumps({"fingerprint": lane.brief.layout.fingerprint}).encode())
        mine = replace(lane, brief=replace(lane.brief, path=folder, storage=Settings(), progress=None))
        records: list[dict[str, Any]] = []
        failures: list[BaseException] = []
        ended = threading.Event()

        def run() -> None:
            try:
                records.extend(work(mine))
            except BaseException as error:  # raised again below
                failures.append(error)
            finally:
                ended.set()

        thread = threading.Thread(target=run, name="lane", daemon=True)
        thread.start()
        seen: set[str] = set()
        try:
            while True:
                last = ended.wait(LOOK_SECONDS)
                for entry in store.list(f"{PIXELS}/"):
                    if entry.name not in seen:
                        seen.add(entry.name)
                        yield from _groups(Path(folder) / entry.name)
                if last:
                    break
        finally:
            if not ended.is_set():  # whoever reads has had enough, as with limit(1)
                Notes(store, mine.brief.run_id, mine.round, mine.index).stop_all("nobody reads on")
            thread.join(STOP_SECONDS)
        if failures:
            raise failures[0]
        _refuse_incomplete(records)


def _groups(part: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def _refuse_incomplete(records: list[dict[str, Any]]) -> None:
    for record in records:
        if record["stopped"] or record["missing"]:
            raise StoppedError(f"format('{FORMAT}'): stopped: {record['stopped'] or 'tiles are missing'}")
        if record["failed"]:
            reason = next(iter(record["errors"]), "no reason given")
            raise StoppedError(
                f"format('{FORMAT}'): {record['failed']:,} tiles failed ({reason}); ee_spark.run keeps what came and "
                "asks again for these alone"
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
