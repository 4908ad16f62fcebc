"""The program: one job from its file to its tables.

job → service → plan → lanes → tables → report. Spark is used here to run lanes side by side, and for nothing else.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ee_spark import config as config_files
from ee_spark.client import HIGH_VOLUME, STANDARD, Client, Service
from ee_spark.errors import JobError
from ee_spark.fetch import telemetry
from ee_spark.fetch.quota import share
from ee_spark.java import java_home
from ee_spark.job import JobConfig
from ee_spark.lane import Brief, Lane, deal, work
from ee_spark.lane.notes import Notes
from ee_spark.lane.notes import clear as clear_notes
from ee_spark.lane.remote import is_connect, run_on_connect
from ee_spark.lane.rounds import Suspect, left_over, next_lanes
from ee_spark.objects import Store, open_store, probe
from ee_spark.plan.chunk import Chunk
from ee_spark.plan.grid import Ints
from ee_spark.plan.images import stored
from ee_spark.plan.plan import Plan, make
from ee_spark.progress import Progress
from ee_spark.store import pins, records
from ee_spark.store.schema import SUCCESS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LEAST_SHARE = 8
"""Requests in flight that a lane should have at least: fewer, larger lanes use a small quota better."""
UNEVEN = 1.05
EXECUTOR_WAIT = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changes:
    """Ids of images that changed since they were pinned, and of those that a run fetched from two versions."""

    flagged: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """What a run is told beside its job file."""

    skip_failed: bool = False
    repin: bool = False
    remote_code: bool = False
    run_id: str | None = None
    progress: str = "auto"


def run(
    config: JobConfig | Mapping[str, Any] | str, spark: SparkSession | None = None, options: Options | None = None
) -> dict[str, Any]:
    """Run a job, given as a job file's path, a mapping or a config, to its end, and return the run report.

    The report's ``exit_code`` is 0 where the job is done, 1 where the run was stopped and should be run again, 3 where
    more tiles failed than the job allows.

    Raises:
        JobError: if the job is wrong; nothing was asked for.
        StoppedError: if the run cannot report.
    """
    job, options, started = as_config(config), options or Options(), time.monotonic()
    store = open_store(job.output.path, config_files.storage_of(job))
    probe(store)
    with service_of(job) as service:
        plan = settle(job, service, store, remote_code=options.remote_code)
        spark = spark or session(job)
        refuse_remote_emulator(job, spark)
        layout = records.layout_of(plan)
        if plan.decides:
            records.open_tables(store, layout)
        pinned = pins.publish(store, plan.images, repin=options.repin)
        versions = (plan.images if plan.frozen.method == "getPixels" else pinned).version
        run_id = records.start_run(store, plan, options.run_id)
        store.delete(SUCCESS)
        store.clear_temp()
        with Progress(plan.pairs.count, options.progress, _progress_host(spark)) as progress:
            lanes = unspeculative(spark, make_lanes(plan, versions, run_id, spark, options, progress.address))
            found, stopped = run_rounds(spark, lanes, store)
        changes = look_again(plan, store, run_id)
        report = summarise(plan, run_id, found, stopped, changes, time.monotonic() - started)
        records.finish_run(store, run_id, report)
        if report["status"] == "complete":
            records.succeed(store, report)
        records.remove_replaced(store)
        store.clear_temp()
    return report


def as_config(config: JobConfig | Mapping[str, Any] | str) -> JobConfig:
    """Return a validated config from whatever names it."""
    if isinstance(config, JobConfig):
        return config
    return config_files.load(config) if isinstance(config, str) else config_files.parse(config)


@contextmanager
def service_of(job: JobConfig) -> Iterator[Service]:
    """Yield the service that a job names; an embedded emulator runs as long as the context."""
    engine = job.earth_engine
    urls = {"high-volume": HIGH_VOLUME, "standard": STANDARD}
    if engine.endpoint != "emulator":
        url = urls.get(engine.endpoint, engine.endpoint)
        yield Service(url, engine.project or "local", engine.credentials, job.name)
        return
    from ee_spark import emulator

    try:
        running = emulator.start(**engine.emulator)
    except (TypeError, RuntimeError) as error:
        raise JobError(f"earth_engine.emulator: {error}") from None
    with running:
        yield Service(running.url, engine.project or "local", "anonymous", job.name)


def settle(job: JobConfig, service: Service, store: Store, *, remote_code: bool = False) -> Plan:
    """Plan the job as its dataset has it: with what its first plan froze, which may be this one.

    Raises:
        JobError: if the dataset is another job's, and ``overwrite`` does not say to remove it.
    """
    found = records.read_job(store)
    plan = make(job, service, records.frozen_job(found), remote_code=remote_code)
    if found is None and not plan.decides:
        return plan  # a day without images leaves the choice of bands and types to the first that has some
    if found is None and not records.claim(store, plan):
        found = records.read_job(store)  # another driver was first: its plan holds
        plan = make(job, service, records.frozen_job(found), remote_code=remote_code)
    if found and found["fingerprint"] != plan.fingerprint:
        if not job.output.overwrite:
            records.refuse_other(store, plan, found)
        plan = make(job, service, remote_code=remote_code)
        records.take_over(store, plan)
        pins.publish(store, plan.images, fresh=True)
    records.remove_replaced(store)
    return plan


def preview(job: JobConfig, service: Service, *, remote_code: bool = False) -> Plan:
    """Plan the job as a run would, writing nothing."""
    store = open_store(job.output.path, config_files.storage_of(job))
    found = records.read_job(store)
    plan = make(job, service, records.frozen_job(found), remote_code=remote_code)
    if found and found["fingerprint"] != plan.fingerprint:
        if not job.output.overwrite:
            records.refuse_other(store, plan, found)
        plan = make(job, service, remote_code=remote_code)
    return plan


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


def refuse_remote_emulator(job: JobConfig, spark: SparkSession) -> None:
    """Refuse the embedded emulator where workers could not reach it."""
    master = master_of(spark)
    if job.earth_engine.endpoint == "emulator" and not master.startswith("local"):
        raise JobError(
            f"earth_engine.endpoint: emulator listens on the driver's loopback only, and master is {master}; start "
            "'ee-spark emulator' where workers reach it and write endpoint: http://HOST:PORT"
        )


def master_of(spark: SparkSession) -> str:
    """Return where a session's tasks run, e.g. ``local[4]``; Spark Connect has no context that says it."""
    return str(spark.conf.get("spark.master"))


def make_lanes(
    plan: Plan,
    versions: Ints,
    run_id: str,
    spark: SparkSession,
    options: Options,
    progress: tuple[str, int] | None,
) -> list[Lane]:
    """Cut the plan into lanes: as many as share the quota, with chunks dealt so that all end at about the same time."""
    engine, config = plan.config.earth_engine, plan.config
    chunks = [plan.pairs.chunk(index) for index in range(len(plan.pairs))]
    slots = engine.lanes if isinstance(engine.lanes, int) else task_slots(spark)
    count = max(1, min(slots, max(1, engine.concurrent_requests // LEAST_SHARE), plan.pairs.count))
    chunks, dealt = even(chunks, count)
    fill = config.pixels.fill
    names = [band.name for band in plan.frozen.bands]
    brief = Brief(
        run_id=run_id,
        path=config.output.path,
        storage=config_files.storage_of(config),
        service=plan.service,
        recipe=plan.recipe,
        layout=records.layout_of(plan),
        retry=config.retry,
        part_size=config.output.part_size,
        snap=config.grid.snap,
        fill=fill if isinstance(fill, dict) else dict.fromkeys(names, fill or 0.0),
        skip_failed=options.skip_failed,
        progress=progress,
        pack=plan.pack,
    )
    return [
        Lane(
            index=lane,
            brief=brief,
            chunks=tuple(chunks[i] for i in dealt[lane]),
            image_ids=plan.images.ids,
            image_times=tuple(plan.images.time.tolist()),
            image_versions=tuple(versions.tolist() if config.source.pin else [-1] * len(plan.images)),
            graphs=plan.graphs,
            points=plan.points,
            threads=max(1, share(engine.concurrent_requests, count, lane)),
            per_second=engine.requests_per_minute / 60 / count,
        )
        for lane in range(count)
    ]


def unspeculative(spark: SparkSession, lanes: list[Lane]) -> list[Lane]:
    """Return lanes that keep to the quota even where the session may run two copies of each: at half their share."""
    if str(spark.conf.get("spark.speculation", "false")).lower() != "true":
        return lanes
    log.warning("spark.speculation is on: each lane may run twice, and gets half of its share; turn it off")
    return [replace(lane, threads=max(1, lane.threads // 2), per_second=lane.per_second / 2) for lane in lanes]


def even(chunks: list[Chunk], lanes: int) -> tuple[list[Chunk], list[list[int]]]:
    """Deal chunks to lanes, halving the largest while the lanes would end more than 5 % apart."""
    for _ in range(8 * lanes):
        dealt = deal([chunk.count for chunk in chunks], lanes)
        loads = [sum(chunks[i].count for i in indices) for indices in dealt]
        if max(loads) <= UNEVEN * sum(loads) / lanes:
            break
        heaviest = dealt[loads.index(max(loads))]
        largest = max(heaviest, key=lambda index: chunks[index].count)
        if chunks[largest].count < 2:
            break
        chunks = [*chunks[:largest], *chunks[largest].halves(), *chunks[largest + 1 :]]
    return chunks, deal([chunk.count for chunk in chunks], lanes)


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


def run_rounds(spark: SparkSession, first: list[Lane], store: Store) -> tuple[list[dict[str, Any]], str | None]:
    """Run lanes, and again what was left when workers died, until nothing is left or a round achieves nothing.

    Returns the lanes' records, and why the run ended before its end, if it did.
    """
    records: list[dict[str, Any]] = []
    lanes, chunks, suspects, number = first, list[Chunk](), list[Suspect](), 0
    try:
        while True:
            reason = run_lanes(spark, lanes)
            notes = [Notes(store, lane.brief.run_id, lane.round, lane.index) for lane in lanes]
            found = [note.record() for note in notes]
            records += [record for record in found if record is not None]
            stopped = next((record["stopped"] for record in records if record["stopped"]), None)
            begun = lanes[0].alone, chunks, suspects
            chunks, new = left_over(lanes, found, [note.left_open() for note in notes])
            suspects = new if lanes[0].alone else [*suspects, *new]
            if stopped or not (chunks or suspects):
                return records, stopped
            if (lanes[0].alone, chunks, suspects) == begun:
                return records, f"{reason}; a round of work achieved nothing"
            number += 1
            log.warning("%s; round %d: %d chunks, %d suspects", reason, number + 1, len(chunks), len(suspects))
            lanes = next_lanes(first, chunks, suspects, number)
    finally:
        clear_notes(store, first[0].brief.run_id)


def run_lanes(spark: SparkSession, lanes: list[Lane]) -> str | None:
    """Run every lane in a partition of its own; return why the stage failed, if it did."""

    def attempt() -> int:
        from pyspark import TaskContext

        context = TaskContext.get()
        return int(context.attemptNumber()) if context else 0

    def partition(_: int, mine: Iterator[Lane]) -> Iterator[int]:
        for lane in mine:
            for _record in work(lane, attempt()):
                yield lane.index  # the record itself is among the lane's notes, where it outlives a stage that fails

    try:
        if is_connect(spark):
            run_on_connect(spark, lanes, attempt)
        else:
            context = spark.sparkContext
            context.setJobGroup("ee_spark", f"extract {lanes[0].brief.run_id}")
            context.parallelize(lanes, len(lanes)).mapPartitionsWithIndex(partition).collect()
    except Exception as error:  # whatever py4j makes of workers that died; what they published holds
        lines = [line.strip() for line in str(error).splitlines()]
        told = [line for line in lines if "Error" in line or "crashed" in line or "ExecutorLost" in line]
        return f"a Spark stage failed: {(told or [type(error).__name__])[0][:300]}"
    return None


def look_again(plan: Plan, store: Store, run_id: str) -> Changes:
    """Say which images changed since they were pinned, and of which this run fetched two versions.

    Only getPixels can have: what is computed is loaded by its version.
    """
    source, before = plan.config.source, dict(zip(plan.images.ids, plan.images.version.tolist(), strict=True))
    if not source.pin or source.kind not in ("asset", "collection"):
        return Changes()
    today = before
    if plan.frozen.method == "getPixels":
        images = stored(Client(plan.service), source, plan.region.geojson())
        today = {**before, **dict(zip(images.ids, images.version.tolist(), strict=True))}
    meanwhile = {name for name in before if today[name] != before[name]}
    mixed = pins.fetched(store, records.layout_of(plan), run_id, meanwhile)
    return Changes(tuple(pins.flag(store, today)), tuple(sorted(mixed)))


def summarise(
    plan: Plan, run_id: str, lanes: list[dict[str, Any]], stopped: str | None, changes: Changes, seconds: float
) -> dict[str, Any]:
    """Add up the lanes' records: the run report."""
    names = ("ok", "empty", "failed", "skipped", "requests", "retries", "splits", "rejected", "bytes_in")
    counts: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for lane in lanes:
        counts.update({name: lane[name] for name in names})
        statuses.update(lane["statuses"])
        errors.update(lane["errors"])
    missing = plan.pairs.count - sum(counts[name] for name in ("ok", "empty", "failed", "skipped"))
    allowed = plan.config.retry.max_failed
    limit = float(allowed.rstrip("%")) / 100 * plan.pairs.count if isinstance(allowed, str) else allowed
    if missing or stopped:
        status, code = "stopped", 1
    elif counts["failed"] > limit:
        status, code = "failed", 3
    elif changes.mixed:
        status, code = "changed", 3
    else:
        status, code = ("partial" if counts["failed"] else "complete"), 0
    return {
        "run_id": run_id,
        "status": status,
        "planned": plan.pairs.count,
        **{name: counts[name] for name in names[:4]},
        "missing": missing,
        **{name: counts[name] for name in names[4:]},
        "seconds": round(seconds, 3),
        "path": plan.config.output.path,
        "exit_code": code,
        "lanes": len(lanes),
        "fetch_seconds": round(max((lane["seconds"] for lane in lanes), default=0.0), 3),
        "peak_in_flight": sum(lane["peak_in_flight"] for lane in lanes),
        **telemetry.total(lanes, plan.config.earth_engine.concurrent_requests, counts["bytes_in"]),
        "statuses": dict(statuses),
        "errors": dict(errors.most_common(10)),
        "restricted": any(lane["restricted"] for lane in lanes),
        "stopped": stopped,
        "changed": list(changes.flagged),
        "fetched_from_two_versions": list(changes.mixed),
    }


def _progress_host(spark: SparkSession) -> str:
    """Return the address on which workers reach the driver."""
    local = is_connect(spark) or spark.sparkContext.master.startswith("local")
    return "127.0.0.1" if local else str(spark.sparkContext.getConf().get("spark.driver.host"))
