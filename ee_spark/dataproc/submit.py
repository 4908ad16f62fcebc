"""What ``submit_dataproc.sh`` runs: ships a job, prints the exact command, and submits it or attaches to its batch."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ee_spark.boundary import in_one_line
from ee_spark.config import load, storage_in
from ee_spark.dataproc import batch, gcloud
from ee_spark.errors import JobError, StoppedError, one_line
from ee_spark.logs import LEVELS
from ee_spark.objects import read_input
from ee_spark.objects.names import check_run_id
from ee_spark.usage import Command

Upload = tuple[str, tuple[tuple[str, bytes], ...]]
"""A folder on object storage, and the files that are to be in it."""
COMMANDS = ("extract", "plan", "doctor")
"""Those that need a job file, and nothing else that would have to be shipped."""


@click.command(name="submit_dataproc.sh", cls=Command)
@click.option("--config", "path", required=True, metavar="JOB.yaml", help="The job file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of it.")
@click.option("--new", is_flag=True, help="A new batch, even where one of the same job runs or has succeeded.")
@click.option("--dry-run", is_flag=True, help="Print the exact commands; nothing is uploaded or submitted.")
@click.option("--json", "as_json", is_flag=True, help="Print the Batch (or Job) message instead; asks nobody.")
@click.option("--date", default="", help="The logical date, for a scheduled job: part of the batch's id.")
@click.option(
    "--command",
    type=click.Choice(COMMANDS),
    default="extract",
    show_default=True,
    help="The command of ee-spark that runs.",
)
@click.option("--skip-failed", is_flag=True, help="Do not ask again for tiles that failed before.")
@click.option("--run-id", default="", metavar="ID", help="The name of the run.")
@click.option("--log-level", type=click.Choice(LEVELS), default=None, help="Of the driver's and workers' lines.")
@click.option("--log-json", is_flag=True, help="Log lines as JSON objects.")
@click.option("--metrics", default="", metavar="gs://FILE", help="The run report as OpenMetrics text too.")
@click.option("--project", required=True, envvar="EE_SPARK_PROJECT", help="Cloud project of the batch.")
@click.option("--region", required=True, envvar="EE_SPARK_REGION", help="Region, e.g. us-central1.")
@click.option("--staging", required=True, envvar="EE_SPARK_STAGING", help="gs://BUCKET/PATH for what is shipped.")
@click.option("--version", default="", envvar="EE_SPARK_VERSION", help="Runtime version; left to the service.")
@click.option("--image", default="", envvar="EE_SPARK_IMAGE", help="Container image with the dependencies.")
@click.option("--archive", default="", help="Archive of the dependencies: a file here, or a gs:// URI.")
@click.option("--package", required=True, help="ee_spark as a zip: a file here, or a gs:// URI.")
@click.option("--main", "driver", required=True, help="jobs/dataproc.py: a file here, or a gs:// URI.")
@click.option("--cluster", default="", help="A cluster's name: a job there instead of a serverless batch.")
@click.option("--service-account", default="", help="As whom the workload runs.")
@click.option("--network", default="")
@click.option("--subnet", default="", help="Needs Private Google Access.")
@click.option("--tag", "tags", multiple=True, help="Network tag.")
@click.option("--ttl", default=batch.TTL, show_default=True, help="When the batch is ended, e.g. 90m, 4h, 2d.")
@click.option("--history-server", default="", metavar="projects/P/regions/R/clusters/C")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="Spark property.")
@click.option("--java-home", default="", help="JAVA_HOME of driver and executors, where it is not the default.")
@click.argument("flags", nargs=-1)
@in_one_line
def main(
    path: str,
    settings: tuple[str, ...],
    new: bool,
    dry_run: bool,
    as_json: bool,
    date: str,
    command: str,
    package: str,
    driver: str,
    cluster: str,
    labels: tuple[str, ...],
    properties: tuple[str, ...],
    **places: Any,
) -> None:
    """Submit a job to Dataproc. The rest after -- are flags of gcloud."""
    flags = tuple(places.pop("flags"))
    switches = [f"--{name.replace('_', '-')}" for name in ("skip_failed", "log_json") if places.pop(name)]
    named = {name: places.pop(name) for name in ("run_id", "log_level", "metrics")}
    if named["run_id"]:
        check_run_id(named["run_id"])
    given = [word for name, value in named.items() if value for word in (f"--{name.replace('_', '-')}", value)]
    archive = places.pop("archive")
    options = batch.Options(labels=_pairs(labels), properties=_pairs(properties), **places)
    uploads, uris = _code(options.staging, [driver, package], [archive] if archive else [])
    options = batch.Options(**{**vars(options), "archive": uris[2] if archive else ""})
    job = load(path, settings)
    shipment = batch.ship(
        job,
        read_input(path, "--config", storage_in(settings)),
        read_input,
        settings=settings,
        arguments=[*switches, *given],
        date=date,
        name=command,
    )
    code = batch.Code(*uris[:2])
    uploads.append((shipment.folder(options), shipment.files))
    if cluster:
        message = batch.cluster_job(job, shipment, code, options, cluster)
        words, there = gcloud.job_command(message, options), False
    else:
        message = batch.message(job, shipment, code, options)
        if as_json:
            name, there = batch.batch_id(shipment.stem, 1), False
        else:
            name, there = batch.choose(shipment.stem, lambda name: _state(name, options), new=new)
        words = gcloud.batch_command(message, name, options)
    if as_json:
        click.echo(json.dumps(message, indent=1))
        return
    if there:
        sys.exit(_attach(name, options, dry_run))
    end = words.index("--")
    words = [*words[:end], *flags, *words[end:]]
    _upload(uploads, options, dry_run)
    click.echo(shlex.join(words), err=not dry_run)
    sys.exit(0 if dry_run else subprocess.run(words).returncode)


def _code(staging: str, *groups: Sequence[str]) -> tuple[list[Upload], list[str]]:
    """Return what has to be uploaded of the code, and its URIs, each group in a folder named by its contents.

    So nothing there is ever replaced: a batch that waits runs what it was submitted with.
    """
    uploads: list[Upload] = []
    uris: list[str] = []
    for paths in groups:
        bodies = {path: read_input(path, "--package, --main or --archive") for path in paths if path[:5] != "gs://"}
        digest = hashlib.sha256(b"".join(hashlib.sha256(body).digest() for body in bodies.values())).hexdigest()[:12]
        folder = f"{staging.rstrip('/')}/code/{digest}"
        uploads.append((folder, tuple((Path(path).name, body) for path, body in bodies.items())))
        uris += [f"{folder}/{Path(path).name}" if path in bodies else path for path in paths]
    return uploads, uris


def _upload(uploads: Iterable[Upload], options: batch.Options, dry_run: bool) -> None:
    """Copy what is not there yet; in a dry run say so."""
    for folder, files in uploads:
        with tempfile.TemporaryDirectory(prefix="ee_spark-") as here:
            for name, body in files:
                click.echo(f"# {folder}/{name}: {len(body):,} bytes", err=True)
                (Path(here) / name).write_bytes(body)
            sources = [str(Path(here) / name) for name, _ in files]
            copy = ["gcloud", "storage", "cp", "--no-clobber", f"--project={options.project}", *sources, f"{folder}/"]
            if dry_run or not files:
                continue
            done = subprocess.run(copy, capture_output=True, text=True)
            if done.returncode:
                raise StoppedError(f"cannot upload to {folder}: {one_line(done.stderr[-400:])}")


def _state(name: str, options: batch.Options) -> str | None:
    """Return the state of a batch, None where there is none."""
    where = [f"--project={options.project}", f"--region={options.region}"]
    command = ["gcloud", "dataproc", "batches", "describe", name, *where, "--format=value(state)"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.strip()
    if "NOT_FOUND" in done.stderr:
        return None
    raise StoppedError(f"gcloud cannot describe batch {name}: {one_line(done.stderr)}")


def _attach(name: str, options: batch.Options, dry_run: bool) -> int:
    """Wait for a batch that is there, and return what ``gcloud`` says of its end."""
    where = [f"--project={options.project}", f"--region={options.region}"]
    words = ["gcloud", "dataproc", "batches", "wait", name, *where]
    click.echo(f"batch {name} is there already: attaching; --new makes another", err=True)
    click.echo(shlex.join(words), err=not dry_run)
    return 0 if dry_run else subprocess.run(words).returncode


def _pairs(texts: Iterable[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise JobError(f"{text!r}: write KEY=VALUE")
        pairs[key] = value
    return pairs


if __name__ == "__main__":
    main()
