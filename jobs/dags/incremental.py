"""What both DAGs do: the dates of a run, and what its report says. Airflow needs ``ee_spark``, and no Spark."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from ee_spark.config import load, storage_of
from ee_spark.dataproc import batch
from ee_spark.objects import open_store, read_input
from ee_spark.status import Status, tile_counts

JOBS = Path(__file__).resolve().parents[1]
POOL = "earth_engine"
"""A slot is a job that may use the project's quota: ``airflow pools set earth_engine 1 quota --include-deferred``."""
LOOKBACK_DAYS = 14
"""Images arrive late: each run asks for two weeks before its interval too, and fetches only what is new there."""
GOOD = (Status.COMPLETE, Status.PARTIAL)


def settings(start: dt.datetime, end: dt.datetime, lookback_days: int) -> list[str]:
    """Return the overrides of the job file for a data interval with its lookback."""
    first = start - dt.timedelta(days=lookback_days)
    return [f"source.start={first:%Y-%m-%dT%H:%M:%SZ}", f"source.end={end:%Y-%m-%dT%H:%M:%SZ}"]


def prepare(
    job_file: str, overrides: list[str], start: dt.datetime, end: dt.datetime, lookback_days: int
) -> dict[str, Any]:
    """Return what the tasks of a run need: the job's settings, its dataset, its runs' name, and the driver's arguments.

    Raises:
        JobError: if the job file is wrong.
    """
    chosen = [*overrides, *settings(start, end, lookback_days)]
    job = load(job_file, chosen)
    run = f"airflow-{end:%Y%m%dT%H%M%S}"  # a retry's run gets -2, -3 …
    arguments = ["--config", job_file, "--progress", "log", "--run-id", run]
    arguments += [word for setting in chosen for word in ("--set", setting)]
    return {"settings": chosen, "dataset": job.output.path, "run": run, "arguments": arguments}


def batches(job_file: str, prepared: dict[str, Any], code: batch.Code, options: batch.Options) -> dict[str, Any]:
    """Stage the job, and return the messages and id stems of its batch and of the batch that verifies the dataset."""
    job = load(job_file, prepared["settings"])
    storage, arguments = storage_of(job), prepared["arguments"][2:6]
    shipment = batch.ship(
        job, read_input(job_file, "job_file", storage), read_input, settings=prepared["settings"], arguments=arguments
    )
    store = open_store(shipment.folder(options), storage)
    for name, body in shipment.files:
        store.create(name, body)  # named by its contents: what is there is the same
    command = ("verify", "--dataset", prepared["dataset"])
    check = batch.Shipment(f"{job.name[:33]}-verify", (), command, date=prepared["run"])
    return {
        "stem": shipment.stem,
        "batch": batch.message(job, shipment, code, options),
        "check_stem": check.stem,
        "check": batch.message(job, check, code, options),
    }


def said(job_file: str, prepared: dict[str, Any]) -> str:
    """Return in one line how the newest run of this data interval ended, from ``_ee_spark/runs/<id>.json``.

    Raises:
        RuntimeError: with that line, if the run did not end well; a workload itself only succeeds or fails.
    """
    job = load(job_file, prepared["settings"])
    store = open_store(prepared["dataset"], storage_of(job))
    entries = store.list(f"_ee_spark/runs/{prepared['run']}")
    records = [json.loads(found[0]) for entry in entries if (found := store.read(entry.name))]
    if not records:
        raise RuntimeError(
            f"{prepared['dataset']} has no run {prepared['run']}: the job was refused; see the driver's log"
        )
    record = max(records, key=lambda record: str(record["started_at"]))
    report = record["report"]
    if report is None:
        raise RuntimeError(f"run {record['run_id']} has no report: its driver died; clear the task, it resumes")
    line = f"run {record['run_id']}: {report['status']}: of {report['planned']:,} tiles {tile_counts(report)}"
    if report.get("errors"):
        line += f"; {next(iter(report['errors']))}"
    if report["status"] not in GOOD:
        raise RuntimeError(line)
    return line
