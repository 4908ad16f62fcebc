"""The command line, ``ee-spark COMMAND``: what is wrong is one line on stderr and exit 2."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import click
from pydantic import ValidationError

from ee_emulator import main as emulator
from ee_spark import extract as program
from ee_spark.boundary import cut, in_one_line
from ee_spark.check import asked
from ee_spark.check import refetch as again
from ee_spark.check.forget import forget as forgotten
from ee_spark.check.repair import repair
from ee_spark.check.verify import verify as check
from ee_spark.config import load, storage_of
from ee_spark.errors import EESparkError, JobError, StoreError
from ee_spark.export.split import CELL, parse
from ee_spark.job import Storage
from ee_spark.logs import LEVELS, Logs, log_as
from ee_spark.objects import FUNCTION_SECONDS, Functions, check_output, open_store, write_output
from ee_spark.planner.naming import BandNamesError
from ee_spark.planner.plot import picture
from ee_spark.planner.summary import figures, naming, table
from ee_spark.progress import Planning
from ee_spark.report import how_to_open, openmetrics
from ee_spark.store.manifest import required
from ee_spark.usage import Group
from ee_spark.version import __version__

SHOWN = 50
"""Problems that verify writes out one by one."""

log = logging.getLogger(__name__)


_job_options = (
    click.option("--config", "path", required=True, metavar="JOB.yaml", help="The job file."),
    click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. output.path=/data."
    ),
)


_function_options = (
    click.option(
        "--allow-remote-code", "remote_code", is_flag=True, help="Import the job's functions from gs:// or s3:// too."
    ),
    click.option(
        "--function-timeout",
        type=click.FloatRange(min=0, min_open=True, max=86_400),
        default=FUNCTION_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long each call of the job's function may take.",
    ),
)


def _functions(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_function_options):
        command = option(command)
    return command


def _job(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_job_options):
        command = option(command)
    return command


def _storage(settings: tuple[str, ...]) -> dict[str, Any]:
    """Return the storage settings that ``--set storage.KEY=VALUE`` gives."""
    known = ", ".join(Storage.model_fields)
    given: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key.removeprefix("storage.") not in Storage.model_fields or not key.startswith("storage."):
            raise JobError(f"--set {setting}: write storage.KEY=VALUE; the keys are {known}")
        given[key.removeprefix("storage.")] = value
    try:
        return Storage.model_validate(given).model_dump()
    except ValidationError as error:
        [problem] = error.errors()[:1]
        raise JobError(f"--set storage.{problem['loc'][0]}: got {problem['input']!r}: {problem['msg']}") from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Earth Engine pixels as complete, exact, resumable Parquet tables, with Spark."""
    log_as(Logs())


@main.command()
@_job
@click.option("--dry-run", is_flag=True, help="Print the plan and ask for no pixels but one.")
@click.option("--skip-failed", is_flag=True, help="Do not ask again for tiles that failed before.")
@click.option("--repin", is_flag=True, help="Take today's versions of images for tiles still to come.")
@_functions
@click.option("--run-id", metavar="ID", help="The name of the run; by default its time.")
@click.option("--progress", type=click.Choice(["auto", "bar", "log", "none"]), default="auto", show_default=True)
@click.option("--log-level", type=click.Choice(LEVELS), default="warning", show_default=True)
@click.option("--log-json", is_flag=True, help="Each log line as a JSON object with run, lane, tile and image.")
@click.option("--metrics", metavar="FILE", help="Write the report as OpenMetrics text too; gs:// or s3:// too.")
@in_one_line
def extract(
    path: str,
    settings: tuple[str, ...],
    dry_run: bool,
    log_level: str,
    log_json: bool,
    metrics: str | None,
    **options: Any,
) -> None:
    """Ask for every planned tile that is not committed yet; the last line on stdout is the run report as JSON."""
    logs = Logs(log_level, log_json)
    log_as(logs)
    config = load(path, settings)
    if dry_run:
        functions = Functions(options["remote_code"], options["function_timeout"])
        with program.service_of(config) as service:
            told, skips = Planning(options["progress"]), options["skip_failed"]
            found = program.preview(config, service, functions, told, skip_failed=skips, looked=told.looked)
            click.echo(table(found))
        return
    if metrics is not None:
        check_output(metrics, "--metrics", storage_of(config))  # now, not after hours
    report = program.run(config, options=program.Options(logs=logs, **options))
    if metrics is not None:
        try:
            write_output(metrics, openmetrics(report, config.name).encode(), storage_of(config))
        except EESparkError as error:  # what was extracted stands
            log.warning("--metrics: %s", error)
    click.echo(how_to_open(report), err=True)
    click.echo(json.dumps(report))
    sys.stdout.flush()
    sys.exit(report.exit_code)


@main.command()
@_job
@_functions
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.option("--plot", metavar="PICTURE.png", help="Draw tiles, footprints and region too.")
@in_one_line
def plan(
    path: str,
    settings: tuple[str, ...],
    as_json: bool,
    plot: str | None,
    remote_code: bool,
    function_timeout: float,
) -> None:
    """Print what a run would ask for, and why; no pixel is asked for but one."""
    config = load(path, settings)
    if plot is not None:
        check_output(plot, "--plot", storage_of(config))
    with program.service_of(config) as service:
        told, functions = Planning(), Functions(remote_code, function_timeout)
        try:
            planned = program.preview(config, service, functions, told, looked=told.looked)
        except BandNamesError as error:
            if as_json:  # the refusal, with what to write
                click.echo(json.dumps(naming(error)))
            raise
    click.echo(json.dumps(figures(planned)) if as_json else table(planned))
    if plot is not None:
        try:
            write_output(plot, picture(planned), storage_of(config))
        except StoreError as error:
            raise JobError(f"--plot: {error}") from None


@main.command()
@click.option("--dataset", required=True, metavar="PATH", help="The dataset.")
@click.option("--out", required=True, metavar="PAGE.html", help="The page to write, or PICTURE.png: one picture.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="How storage is reached: storage.KEY=VALUE."
)
@in_one_line
def report(dataset: str, out: str, settings: tuple[str, ...]) -> None:
    """Show a dataset: a self-contained page with a map, quick looks, charts, failures and numbers; or one picture."""
    from ee_spark.show.write import write

    click.echo(write(dataset, out, _storage(settings)), err=True)


@main.command()
@click.option("--dataset", required=True, metavar="PATH", help="The dataset: a path, gs:// or s3://.")
@click.option("--refetch", type=click.IntRange(min=0), default=0, metavar="N", help="Fetch N tiles again and compare.")
@click.option("--repair", "mend", is_flag=True, help="Put right what can be; what is lost becomes missing.")
@click.option("--forget", metavar="RUN_ID", help="Take a run out of the account: what it planned is expected no more.")
@click.option("--config", "path", metavar="JOB.yaml", help="With --refetch: the job, whose functions may be called.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Whom to ask, as whom: earth_engine.KEY, storage.KEY."
)
@_functions
@in_one_line
def verify(
    dataset: str,
    refetch: int,
    mend: bool,
    forget: str | None,
    path: str | None,
    settings: tuple[str, ...],
    remote_code: bool,
    function_timeout: float,
) -> None:
    """Check a dataset against itself: every part, ledger and checksum, and every planned tile; exit 0 or 3.

    With --refetch N tiles are asked for again, of the service that --set or --config name (high-volume without), with
    the user's own credentials; nothing that the dataset names is called or sent to.
    """
    config = asked.job_of(path, settings, dataset)
    store = open_store(dataset, storage_of(config))
    if forget is not None:
        for line in forgotten(store, forget):
            click.echo(line, err=True)
    findings = check(store)
    if mend and findings.problems:
        for line in repair(store, findings.problems):
            click.echo(line, err=True)
        findings = check(store)
    if refetch:
        with program.service_of(config) as given:
            service = asked.same_service(required(store), config, given, store.root)
            functions = Functions(remote_code, function_timeout)
            plan = program.plan_again(config, service, store, functions) if path else None
            findings.problems += again.refetch(store, config, service, refetch, plan)
    for problem in findings.problems[:SHOWN]:
        click.echo(str(problem), err=True)
    if len(findings.problems) > SHOWN:
        click.echo(f"and {len(findings.problems) - SHOWN:,} more", err=True)
    click.echo(json.dumps(findings.to_json()))
    sys.exit(findings.exit_code)


@main.command()
@click.option("--dataset", required=True, metavar="PATH", help="The dataset: a path, gs:// or s3://.")
@click.option("--to", required=True, metavar="FORMAT", help="geotiff, cog, zarr, tfrecord or npz.")
@click.option("--out", required=True, metavar="PATH", help="A directory or one .tif: a path, gs:// or s3://.")
@click.option("--bands", metavar="A,B", help="Only these bands.")
@click.option("--images", metavar="ID,ID", help="Only these images.")
@click.option("--crs", metavar="CODE", help="Of tiles on several lattices, those in this CRS.")
@click.option("--start", metavar="DATE", help="Only images from this time on (UTC).")
@click.option("--end", metavar="DATE", help="Only images before this time.")
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="Only tiles that touch this box, in degrees.")
@click.option("--split", metavar="80/10/10", help="Shares of train/validation/test, dealt by place (tfrecord, npz).")
@click.option("--split-cell", type=float, default=CELL, show_default=True, help="Degrees per side of what is dealt.")
@click.option("--lossy", is_flag=True, help="Allow tfrecord to round values to float32.")
@click.pass_obj
@in_one_line
def export(run: Callable[..., Any] | None, /, dataset: str, to: str, out: str, **given: Any) -> None:
    """Write a dataset in another program's format; each file written is one line of JSON on stdout."""
    from ee_spark import export as exports
    from ee_spark.read.dataset import open_dataset

    names = {key: given[key].split(",") for key in ("bands", "images") if given[key]}
    time = (given["start"], given["end"]) if given["start"] or given["end"] else None
    chosen = open_dataset(dataset).select(time=time, bbox=given["bbox"] or None, crs=given["crs"], **names)
    split = parse(given["split"], given["split_cell"]) if given["split"] else None
    tasks = exports.tasks(chosen, to, out, exports.Options(split, given["lossy"]))
    for result in (run or exports.run)(tasks):
        click.echo(json.dumps(result))


@main.command()
@click.option("--config", "path", metavar="JOB.yaml", help="Check what this job needs too.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of it.")
@click.option("--master", metavar="MASTER", help="The Spark master that it is for, e.g. spark://HOST:7077.")
@in_one_line
def doctor(path: str | None, settings: tuple[str, ...], master: str | None) -> None:
    """Check Python, Spark and Java, and a job's account, endpoint and output; exit 2 if something has to be done."""
    from ee_spark.doctor import Finding, examine

    job, findings = None, []
    if path:
        try:
            job = load(path, settings)
        except EESparkError as error:
            findings.append(Finding("job", *str(error).rpartition("; ")[::2]))
    findings += examine(job, master)
    for finding in findings:
        click.echo(cut(str(finding)))
    sys.exit(0 if all(finding.well for finding in findings) else 2)


main.add_command(emulator, "emulator")
