"""The program: one job from its file to its tables.

job → service → plan → lanes → tables → report. Spark is used here to run lanes side by side, and for nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ee_spark import config as config_files
from ee_spark.client import Client, Service
from ee_spark.cluster import engine as spark_engine
from ee_spark.errors import JobError, StoreError, missing_extra
from ee_spark.job import JobConfig
from ee_spark.lane.deal import make_shares
from ee_spark.lane.engine import Engine
from ee_spark.lane.further import run_all
from ee_spark.lane.notes import clear_dead
from ee_spark.logs import Logs, log_as
from ee_spark.objects import FUNCTION_SECONDS, FUNCTIONS, Functions, Store, open_store, probe
from ee_spark.objects.names import check_run_id
from ee_spark.planner.difference import difference
from ee_spark.planner.listing import Listed, stored
from ee_spark.planner.plan import Plan, make
from ee_spark.progress import Planning, Progress
from ee_spark.report import Changes, RunReport, build
from ee_spark.status import Status
from ee_spark.store import account, exceeded, manifest, pins, runs, samples
from ee_spark.store.schema import SUCCESS
from ee_spark.store.standing import standing

if TYPE_CHECKING:
    from ee_spark.cluster import SparkSession

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What a run is told beside its job file; without ``logs`` nothing is set: the program has logging of its own."""

    skip_failed: bool = False
    repin: bool = False
    remote_code: bool = False
    function_timeout: float = FUNCTION_SECONDS
    run_id: str | None = None
    progress: str = "auto"
    logs: Logs | None = None

    @property
    def functions(self) -> Functions:
        """How the job's functions are called."""
        return Functions(self.remote_code, self.function_timeout)


def run(
    config: JobConfig | Mapping[str, Any] | str, spark: SparkSession | None = None, options: Options | None = None
) -> RunReport:
    """Run a job, given as a job file's path, a mapping or a config, to its end, and return the run report.

    The report's ``exit_code`` is 0 where the job is done, 1 where the run was stopped and should be run again, 3 where
    more tiles failed than the job allows or images changed.

    Raises:
        JobError: if the job is wrong; nothing was asked for.
        StoppedError: if the service is away while the job is planned, or the run cannot report.
    """
    return run_on(as_config(config), partial(spark_engine, spark=spark), options or Options())


def run_on(job: JobConfig, engine_of: Callable[[JobConfig], Engine], options: Options) -> RunReport:
    """Run a job on the engine that ``engine_of`` starts, once the plan is known to be right."""
    started = time.monotonic()
    if options.run_id is not None:
        check_run_id(options.run_id)
    store = open_store(job.output.path, config_files.storage_of(job), "output.path")
    with service_of(job) as service:
        plan = join_dataset(job, service, store, options.functions, Planning(options.progress))
        engine = engine_of(job)
        slots = job.earth_engine.lanes if isinstance(job.earth_engine.lanes, int) else engine.slots()
        layout = manifest.layout_of(plan)
        if plan.decides:
            manifest.open_tables(store, layout)
        pinned = pins.publish(store, plan.images, repin=options.repin)
        versions = (plan.images if plan.frozen.method == "getPixels" else pinned).version
        run_id = runs.start_run(store, plan, options.run_id)
        if options.logs is not None:
            log_as(options.logs, run_id)
        store.delete(SUCCESS)
        store.clear_temp()
        with Progress(plan.pairs.count, options.progress, engine.host) as progress:
            shares_of = partial(
                make_shares,
                versions=versions,
                run_id=run_id,
                slots=slots,
                skip_failed=options.skip_failed,
                progress=progress.address,
                logs=options.logs,
            )
            log.info("%d pairs of image and tile", plan.pairs.count)
            done = run_all(plan, store, run_id, engine, shares_of, progress.grow)
        changes = look_again(plan, store, run_id)
        seconds = time.monotonic() - started
        report = build(
            plan.config,
            done.plan.pairs.count,
            run_id,
            done.records,
            done.rest,
            done.stopped,
            changes,
            seconds,
            done.exceeded,
            done.plan.points_without_image,
        )
        try:
            runs.finish_run(store, run_id, report)
        except StoreError as error:  # a full disk, say: why the run was stopped is the first to be told
            raise StoreError(done.stopped or str(error)) from error
        log.info("%s after %.1f s", report.status, report.seconds)
        if report.status == Status.COMPLETE:
            account.settle(store, layout, report)
        manifest.remove_replaced(store)
        clear_dead(store)
        store.clear_temp()
    return report


def as_config(config: JobConfig | Mapping[str, Any] | str) -> JobConfig:
    """Return a validated config from whatever names it."""
    if isinstance(config, JobConfig):
        return config
    return config_files.load(config) if isinstance(config, str) else config_files.parse(config)


def check_emulator() -> None:
    """Refuse the embedded emulator where something that it needs is not installed.

    Raises:
        MissingExtraError: so.
    """
    import ee_emulator as emulator

    if package := emulator.missing():
        raise missing_extra("earth_engine.endpoint: emulator", package, "local")


@contextmanager
def service_of(job: JobConfig) -> Iterator[Service]:
    """Yield the service that a job names; an embedded emulator runs as long as the context."""
    if job.earth_engine.endpoint != "emulator":
        yield Service.of(job)
        return
    check_emulator()
    import ee_emulator as emulator

    try:
        running = emulator.start(**job.earth_engine.emulator)
    except (TypeError, RuntimeError) as error:
        raise JobError(f"earth_engine.emulator: {error}") from None
    with running:
        yield Service.of(job, emulator=running.url)


def join_dataset(
    job: JobConfig,
    service: Service,
    store: Store,
    functions: Functions = FUNCTIONS,
    listed: Listed = lambda count: None,
) -> Plan:
    """Plan the job as its dataset has it: with what its first plan froze, which may be this one.

    Raises:
        JobError: if the dataset is another job's, and ``overwrite`` does not say to remove it.
    """
    found, sample = manifest.read(store), job.region.sample
    draft = partial(make, job, service, functions=functions, region=samples.held(store, sample), listed=listed)
    plan = draft(found.frozen if found else None, by_raster=_beyond(store, found))
    if found and not job.output.overwrite:
        manifest.refuse_other(store, plan, found)
    probe(store)  # after the plan: a wrong job writes nothing
    if found is None and not plan.decides:
        return plan  # a day without images leaves the choice of bands and types to the first that has some
    if found is None and not manifest.claim(store, plan):
        found = manifest.read(store)  # another driver was first: its plan holds
        plan = draft(found.frozen if found else None, by_raster=_beyond(store, found))
    if found and found.fingerprint != plan.fingerprint:
        if not job.output.overwrite:
            manifest.refuse_other(store, plan, found)
        plan = draft()
        if not manifest.take_over(store, plan):
            return join_dataset(job, service, store, functions, listed)  # another driver did the same meanwhile
        pins.publish(store, plan.images, fresh=True)
    manifest.remove_replaced(store)
    others = samples.hold(store, sample, plan.region)  # drawn by another driver meanwhile
    return draft(plan.frozen, region=others) if others else plan


def _beyond(store: Store, found: manifest.Manifest | None) -> frozenset[str]:
    """Return the images of which a dataset knows that their pixels reach beyond their footprints."""
    return exceeded.noted(store, found.fingerprint, found.frozen.life) if found else frozenset()


def plan(
    config: JobConfig | Mapping[str, Any] | str,
    *,
    remote_code: bool = False,
    function_timeout: float = FUNCTION_SECONDS,
) -> Plan:
    """Plan a job (a job file's path, its content, or a validated one) as a run would, writing nothing.

    ``remote_code``: functions may come from object storage; ``function_timeout``: seconds that each call may take.

    Raises:
        JobError: for everything that is wrong with the job, in one line.
        StoppedError: if the service is away, or its quota is used up: run again.
    """
    job = as_config(config)
    with service_of(job) as service:
        return preview(job, service, Functions(remote_code, function_timeout))


def preview(
    job: JobConfig,
    service: Service,
    functions: Functions = FUNCTIONS,
    listed: Listed = lambda count: None,
    *,
    skip_failed: bool = False,
    looked: Callable[[int, int], None] = lambda done, chunks: None,
) -> Plan:
    """Plan the job as a run would, writing nothing, and say what its dataset has of it already.

    ``looked`` is told how many of how many chunks of the dataset were read.
    """
    store = open_store(job.output.path, config_files.storage_of(job), "output.path")
    found = manifest.read(store)
    held = samples.held(store, job.region.sample)
    draft = partial(make, job, service, functions=functions, region=held, listed=listed)
    plan = draft(found.frozen if found else None, by_raster=_beyond(store, found))
    if found is None:
        return plan
    if found.fingerprint != plan.fingerprint:
        if not job.output.overwrite:
            manifest.refuse_other(store, plan, found)
        plan = draft()
        note = (
            "overwrite",
            "all that is there is removed",
            f"of another job: {difference(plan.identity, dict(found.identity))}",
        )
        return replace(plan, notes=(*plan.notes, note))
    layout = manifest.layout_of(plan)
    return replace(plan, standing=standing(store, layout, plan, skip_failed=skip_failed, looked=looked))


def plan_again(job: JobConfig, service: Service, store: Store, functions: Functions = FUNCTIONS) -> Plan:
    """Plan the job as the dataset at ``store`` has it, wherever the job would write.

    Raises:
        JobError: if the dataset is another job's.
    """
    found = manifest.required(store)
    held = samples.held(store, job.region.sample)
    again = make(job, service, found.frozen, functions=functions, region=held, by_raster=_beyond(store, found))
    manifest.refuse_other(store, again, found)
    return again


def look_again(plan: Plan, store: Store, run_id: str) -> Changes:
    """Say which images changed since they were pinned, and of which this run fetched two versions.

    What is computed is loaded by its version, where the service takes that; getPixels takes none.
    """
    versions = next((f"{value}: {why}" for what, value, why in plan.notes if what == "versions"), None)
    source, before = plan.config.source, dict(zip(plan.images.ids, plan.images.version.tolist(), strict=True))
    if source.kind not in ("asset", "collection"):
        return Changes()
    today = before
    if plan.frozen.method == "getPixels" or not plan.pins:
        images = stored(Client(plan.service), source, plan.region.geojson())
        today = {**before, **dict(zip(images.ids, images.version.tolist(), strict=True))}
    meanwhile = {name for name in before if today[name] != before[name]}
    mixed = pins.fetched(store, manifest.layout_of(plan), run_id, meanwhile)
    return Changes(tuple(pins.flag(store, today)), tuple(sorted(mixed)), versions)
