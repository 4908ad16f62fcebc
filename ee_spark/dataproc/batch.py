"""A job as a Dataproc workload: the one builder of the Batch message that the script, the API and Airflow share.

Everything here is pure: a job and options in, dictionaries and command lines out. Field names are those of the v1 API
(https://cloud.google.com/dataproc-serverless/docs/reference/rest/v1/projects.locations.batches).
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ee_spark.errors import JobError
from ee_spark.job import DEFAULT_TILE, JobConfig
from ee_spark.limits import MAX_BYTES
from ee_spark.where import Inline, PointsFile

EXECUTOR_CORES = 4
"""Serverless executors and drivers have 4, 8 or 16 cores, and a workload has at least two executors
(https://cloud.google.com/dataproc-serverless/docs/concepts/properties)."""
LEAST_EXECUTORS = 2
CORE_MB = (1024, 7424)
"""Memory of a core, heap and overhead together: what the standard tier allows (same page)."""
HEAP_MB = 2048
"""Pixels never pass through the Java heap: it holds Spark itself."""
DAEMON_MB = 512
LANE_BYTES = 300_000_000
"""What a lane holds beside its pixels."""
TTL = "24h"
"""Runtimes from 2.1 on end a batch without a ttl after four hours; an extraction at its quota may take longer."""
DEPENDENCIES = "dependencies"
"""Folder in which the archive of dependencies is unpacked."""
ATTACHED = ("PENDING", "RUNNING", "SUCCEEDED")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FILES = (
    "source.image",
    "source.map",
    "source.expression",
    "region.geojson",
    "region.points",
    "region.points.file",
    "region.sample.within.geojson",
    "region.sample.stratify.image",
)


@dataclass(frozen=True)
class Options:
    """Where and how a workload runs; what is left empty is left to the service.

    ``staging`` is a gs:// folder for what is shipped. ``image`` is a container image with the locked dependencies,
    ``archive`` a gs:// URI of them as a folder of packages. ``version`` is the runtime's: this project claims none.
    """

    project: str
    region: str
    staging: str
    version: str = ""
    image: str = ""
    archive: str = ""
    service_account: str = ""
    network: str = ""
    subnet: str = ""
    tags: tuple[str, ...] = ()
    ttl: str = TTL
    history_server: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    java_home: str = ""

    def __post_init__(self) -> None:
        if not self.staging.startswith("gs://"):
            raise JobError(f"staging: {self.staging!r} is not a gs:// folder; write gs://BUCKET/PATH")
        if self.network and self.subnet:
            raise JobError(f"network {self.network} and subnet {self.subnet} are given; write one of them")
        if self.image and self.archive:
            raise JobError(f"image {self.image} and archive {self.archive} are given; write one of them")
        for key, value in self.labels.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                raise JobError(f"label {key}={value}: labels are a-z, 0-9, - and _; rename it")
        seconds(self.ttl)


@dataclass(frozen=True)
class Shipment:
    """What a driver needs beside the code, as (name, bytes) in one folder, and the command that finds it there."""

    name: str
    files: tuple[tuple[str, bytes], ...]
    command: tuple[str, ...]
    date: str = ""

    @property
    def stem(self) -> str:
        """``<name>-<8 hex of job file, arguments and logical date>``."""
        digest = hashlib.sha256()
        for part in (*(piece for name, body in self.files for piece in (name.encode(), body)), self.date.encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
        for argument in self.command:
            digest.update(b"\0" + argument.encode())
        return f"{self.name}-{digest.hexdigest()[:8]}"

    def folder(self, options: Options) -> str:
        """Where it is staged: its name follows from its contents, so nothing there is ever replaced."""
        return f"{options.staging.rstrip('/')}/{self.stem}"


@dataclass(frozen=True)
class Code:
    """What is the same for every job: URIs of the driver's file and of the package as a zip."""

    main: str
    package: str


def ship(
    config: JobConfig,
    job_file: bytes,
    read: Callable[[str, str], bytes],
    *,
    settings: Iterable[str] = (),
    arguments: Iterable[str] = (),
    date: str = "",
    name: str = "extract",
) -> Shipment:
    """Return what has to be beside the driver that runs ``ee-spark extract`` on the job, and its command line.

    ``read(path, key)`` returns a file's bytes. Files on object storage stay where they are.

    Raises:
        JobError: if the job cannot run on workers elsewhere, or two files would have one name.
    """
    refuse_local(config)
    files, moved = {"job.yaml": job_file}, []
    for key, path, suffix in local_files(config):
        for part in (path, *_siblings(path)):
            target, body = _plain(PurePosixPath(part).name), read(part, key)
            if files.setdefault(target, body) != body:
                raise JobError(f"{key}: {part} and another file are both shipped as {target!r}; rename one of them")
        target = _plain(PurePosixPath(path).name)
        moved += ["--set", f"{key}={target}{suffix}"]
    given = [word for setting in settings for word in ("--set", setting)]
    command = (name, "--config", "job.yaml", *given, *moved, *arguments)
    return Shipment(config.name, tuple(sorted(files.items())), command, date)


def _siblings(path: str) -> list[str]:
    if not path.lower().endswith(".shp"):
        return []
    from ee_spark.objects import siblings_of  # it brings pyarrow, which a scheduler has no need of

    return [str(found) for found in siblings_of(Path(path))]


def local_files(config: JobConfig) -> Iterator[tuple[str, str, str]]:
    """Yield (key, path, ``:FUNCTION`` or nothing) of each file of this machine that a job names."""
    for key in _FILES:
        value: Any = config
        for step in key.split("."):
            value = getattr(value, step, None)
        if isinstance(value, Inline | PointsFile):
            continue
        path, colon, function = str(value or "").rpartition(":")
        if colon and path.endswith(".py"):
            value = path
        elif key in ("source.image", "source.map", "region.sample.stratify.image"):
            continue  # a module's name: the image brings it
        if value and urlsplit(str(value)).scheme in ("", "file"):
            yield key, str(value).removeprefix("file://"), f":{function}" if value == path and colon else ""


def refuse_local(config: JobConfig) -> None:
    """Refuse a job that only this machine can run."""
    engine, path = config.earth_engine, config.output.path
    if urlsplit(path).scheme not in ("gs", "s3"):
        raise JobError(f"output.path: {path} is on this machine; for workers elsewhere write gs://BUCKET/PATH")
    if engine.endpoint == "emulator":
        raise JobError("earth_engine.endpoint: emulator listens on this machine only; write high-volume or a URL")
    if engine.credentials.startswith("service-account:"):
        raise JobError(
            f"earth_engine.credentials: {engine.credentials} is a file of this machine, and keys are never shipped; "
            "write credentials: default and give the workload that service account"
        )


def choose(stem: str, state_of: Callable[[str], str | None], *, new: bool = False) -> tuple[str, bool]:
    """Return the batch id to use, and whether a batch of that id is there to attach to.

    ``state_of(id)`` is its state, None where there is none. A pending, running or succeeded batch is the same batch; a
    failed or cancelled one moves ``k`` on; ``new`` passes over whatever is there.
    """
    k = 1
    while True:
        name = batch_id(stem, k)
        state = state_of(name)
        if state is None:
            return name, False
        if state in ATTACHED and not new:
            return name, True
        k += 1


def batch_id(stem: str, k: int) -> str:
    """Return ``<stem>-<k>``.

    Raises:
        JobError: if it is not 4 to 63 of a-z, 0-9 and -.
    """
    name = f"{stem}-{k}"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{2,61}[a-z0-9]", name):
        raise JobError(f"batch id {name!r} is not 4 to 63 of a-z, 0-9 and -; shorten the job's name")
    return name


def request_id(name: str) -> str:
    """Return a UUID that follows from the batch id: the service takes a second request with it for the first."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"ee_spark/{name}"))


def lanes(config: JobConfig) -> int:
    """Return how many lanes share the job's quota, if there are slots for them."""
    engine = config.earth_engine
    return engine.most_lanes(engine.lanes if isinstance(engine.lanes, int) else engine.concurrent_requests)


def lane_megabytes(config: JobConfig) -> int:
    """Return the most memory that a lane takes: 300 MB + 2 × threads × request + 3 × part, rounded up to MiB."""
    threads = math.ceil(config.earth_engine.concurrent_requests / lanes(config))
    bands, (width, height) = config.source.bands, config.grid.size or (DEFAULT_TILE, DEFAULT_TILE)
    request = MAX_BYTES
    if bands:
        together = config.pixels.images_per_request
        side = 2 * config.grid.margin
        pixels = (width + side) * (height + side)
        request = min(
            MAX_BYTES, max(1_000_000, pixels * 9 * len(bands) * (together if isinstance(together, int) else 1))
        )
    return math.ceil((LANE_BYTES + 2 * threads * request + 3 * config.output.part_size) / 2**20)


def properties(
    config: JobConfig, *, cluster: bool = False, archive: bool = False, java_home: str = ""
) -> dict[str, str]:
    """Return Spark's settings for a job: slots for its lanes and no more, and memory for what lanes hold.

    Raises:
        JobError: if a lane needs more memory than an executor can have.
    """
    count, megabytes = lanes(config), lane_megabytes(config)
    limit = EXECUTOR_CORES * CORE_MB[1] - HEAP_MB - DAEMON_MB
    fits = [cpus for cpus in (1, 2, 4) if min(count, EXECUTOR_CORES // cpus) * megabytes <= limit]
    if not fits:
        raise JobError(
            f"a lane of this job takes up to {megabytes:,} MiB, and an executor has {limit:,}; write a smaller "
            "output.part_size or grid.tile, or more earth_engine.lanes"
        )
    cpus = fits[0]
    tasks = min(EXECUTOR_CORES // cpus, count)
    executors = max(1 if cluster else LEAST_EXECUTORS, math.ceil(count / tasks))
    overhead = max(tasks * megabytes + DAEMON_MB, EXECUTOR_CORES * CORE_MB[0] - HEAP_MB)
    found = {
        "spark.driver.cores": str(EXECUTOR_CORES),
        "spark.driver.memory": "4g",
        "spark.driver.memoryOverhead": "4g",
        "spark.executor.cores": str(EXECUTOR_CORES),
        "spark.executor.instances": str(executors),
        "spark.executor.memory": f"{HEAP_MB}m",
        "spark.executor.memoryOverhead": f"{overhead}m",
        "spark.task.cpus": str(cpus),
        "spark.dynamicAllocation.enabled": "false",
        "spark.dynamicAllocation.maxExecutors": str(executors),
        "spark.speculation": "false",
        "spark.task.maxFailures": "8",
    }
    if archive:
        found["spark.executorEnv.PYTHONPATH"] = DEPENDENCIES
    if java_home:
        found["spark.executorEnv.JAVA_HOME"] = java_home
        found["spark.yarn.appMasterEnv.JAVA_HOME" if cluster else "spark.dataproc.driverEnv.JAVA_HOME"] = java_home
    return found


def message(config: JobConfig, shipment: Shipment, code: Code, options: Options) -> dict[str, Any]:
    """Return the Batch as a dictionary of the v1 API's snake_case fields, without the empty ones."""
    settings = properties(config, archive=bool(options.archive), java_home=options.java_home)
    history = {"spark_history_server_config": {"dataproc_cluster": options.history_server}}
    execution = {
        "service_account": options.service_account,
        "network_uri": options.network,
        "subnetwork_uri": options.subnet,
        "network_tags": list(options.tags),
        "ttl": f"{seconds(options.ttl)}s",
    }
    return {
        "pyspark_batch": _filled(
            {
                "main_python_file_uri": code.main,
                "args": arguments(shipment, options),
                "python_file_uris": [code.package],
                "archive_uris": [f"{options.archive}#{DEPENDENCIES}"] if options.archive else [],
            }
        ),
        "runtime_config": _filled(
            {
                "version": options.version,
                "container_image": options.image,
                "properties": {**settings, **options.properties},
            }
        ),
        "environment_config": _filled(
            {
                "execution_config": _filled(execution),
                "peripherals_config": history if options.history_server else {},
            }
        ),
        "labels": labels(config, options),
    }


def arguments(shipment: Shipment, options: Options) -> list[str]:
    """Return the driver's arguments: the folder it works in, then a command of ``ee-spark``."""
    return [shipment.folder(options), *shipment.command]


def labels(config: JobConfig, options: Options) -> dict[str, str]:
    """Return the labels of a workload: ours, then the user's."""
    return {"app": "ee-spark", "job": config.name, **options.labels}


def cluster_job(config: JobConfig, shipment: Shipment, code: Code, options: Options, cluster: str) -> dict[str, Any]:
    """Return a Job for a cluster as a dictionary of the v1 API's snake_case fields."""
    settings = properties(config, cluster=True, archive=bool(options.archive), java_home=options.java_home)
    return {
        "placement": {"cluster_name": cluster},
        "pyspark_job": _filled(
            {
                "main_python_file_uri": code.main,
                "args": arguments(shipment, options),
                "python_file_uris": [code.package],
                "archive_uris": [f"{options.archive}#{DEPENDENCIES}"] if options.archive else [],
                "properties": {**settings, **options.properties},
            }
        ),
        "labels": labels(config, options),
    }


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as ``90m``, ``4h`` or ``2d``.

    Raises:
        JobError: if it is none, or not between ten minutes and fourteen days.
    """
    match = re.fullmatch(r"(\d+)([smhd])", duration)
    found = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 600 <= found <= 14 * 86400:
        raise JobError(f"ttl: {duration!r} is not between ten minutes and fourteen days; write e.g. 90m, 4h or 2d")
    return found


def _filled(section: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value}


def _plain(name: str) -> str:
    """Return a file's name with only such characters as every flag, URI and Python module file can hold."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)
