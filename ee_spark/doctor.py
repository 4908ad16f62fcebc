"""What a run needs of this machine, of the account and of the service, checked one by one: ``ee-spark doctor``.

No pixel is asked for; in the output one small object is written and removed. A check that fails says what to do.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ee_spark import config as config_files
from ee_spark.client import Client, Service, load_credentials
from ee_spark.errors import REGISTER, EESparkError, MissingExtraError, ServiceError, way_out
from ee_spark.extract import check_emulator
from ee_spark.java import java_home, java_major
from ee_spark.job import JobConfig
from ee_spark.objects import open_store, probe


@dataclass(frozen=True)
class Finding:
    """What one check found: ``way_out`` is empty where all is well."""

    check: str
    found: str
    way_out: str = ""

    @property
    def well(self) -> bool:
        """True where nothing has to be done."""
        return not self.way_out

    def __str__(self) -> str:
        mark = "ok  " if self.well else "FAIL"
        return f"{mark}  {self.check:<12}{self.found}" + ("" if self.well else f"; {self.way_out}")


def examine(job: JobConfig | None = None, master: str | None = None) -> Iterator[Finding]:
    """Yield what is found, one check after the other; with a job its project, credentials, endpoint and output too.

    ``master`` is the Spark master that the job is for; by default what spark-submit would take, local[*].
    """
    master = master or os.environ.get("MASTER") or "local[*]"
    yield python()
    yield spark()
    yield java()
    if job is None:
        return
    if job.earth_engine.endpoint == "emulator":
        yield emulator(master)
    else:
        yield project(job)
        credentials = account(job)
        yield credentials
        if credentials.well:
            yield service(job)
    yield output(job)


def python() -> Finding:
    """Which Python this is; without a new enough one the package does not install."""
    return Finding("python", f"Python {sys.version.split()[0]} at {sys.executable}")


def spark() -> Finding:
    """A Spark between 3.5 and 4."""
    try:
        found = version("pyspark")
    except PackageNotFoundError:
        return Finding(
            "spark", "pyspark is not installed", "pip install 'ee-spark[local]', or run by your cluster's spark-submit"
        )
    major, minor = (int(part) for part in re.findall(r"\d+", found)[:2])
    if (3, 5) <= (major, minor) < (5, 0):
        return Finding("spark", f"Spark {found}")
    return Finding("spark", f"Spark {found}", "ee_spark runs on 3.5 to 4: pip install 'pyspark>=3.5,<5'")


def java() -> Finding:
    """A Java that fits this Spark: 8 to 17 for 3.5, 17 to 25 for 4."""
    try:
        home = java_home()
    except PackageNotFoundError:
        return Finding("java", "not needed without pyspark")
    except EESparkError as error:
        fact, _, way_out = str(error).rpartition(": ")
        return Finding("java", fact, f"{way_out}; Java 17 serves Spark 3.5 and 4")
    return Finding("java", f"Java {java_major(home)} at {home}")


def emulator(master: str) -> Finding:
    """The embedded emulator only beside a local driver."""
    try:
        check_emulator()
    except MissingExtraError as error:
        fact, _, way = str(error).partition(": ")[2].rpartition("; ")
        return Finding("endpoint", fact, way)
    if master.startswith("local"):
        return Finding("endpoint", f"the embedded emulator, on {master}")
    return Finding(
        "endpoint",
        f"the embedded emulator listens on the driver's loopback only, and the master is {master}",
        "start 'ee-spark emulator' where workers reach it and write endpoint: http://HOST:PORT, or use local[*]",
    )


def project(job: JobConfig) -> Finding:
    """A Cloud project, whose quota is used."""
    name = job.earth_engine.project
    if not name and Service.of(job).anonymous:
        return Finding("project", "none needed: only Google's endpoints count requests by it")
    if name in ("", "my-project"):
        return Finding(
            "project",
            f"earth_engine.project is {name!r}",
            f"write the id of a Cloud project that is registered for Earth Engine ({REGISTER})",
        )
    return Finding("project", name)


def account(job: JobConfig) -> Finding:
    """Credentials, where the endpoint is Google's."""
    which = job.earth_engine.credentials
    if Service.of(job).anonymous:
        return Finding("credentials", "none needed: only Google's endpoints get a token")
    try:
        load_credentials(which)
    except ServiceError as error:
        return Finding("credentials", error.message, way_out(error))
    except EESparkError as error:
        fact, _, way = str(error).rpartition("; ")
        return Finding("credentials", fact, way)
    return Finding("credentials", which)


def service(job: JobConfig) -> Finding:
    """An endpoint that answers, and a project that may ask it."""
    asked = Service.of(job)
    client = Client(asked, connections=1)
    try:
        client.get(f"projects/{asked.project}/algorithms")
    except ServiceError as error:
        return Finding("endpoint", f"{asked.url}: {error.message}", way_out(error))
    except EESparkError as error:
        return Finding("credentials", str(error), "see above")
    finally:
        client.close()
    return Finding("endpoint", f"{asked.url} answers")


def output(job: JobConfig) -> Finding:
    """An output that can be written, and creates a name once only."""
    try:
        probe(open_store(job.output.path, config_files.storage_of(job)))
    except EESparkError as error:
        fact, _, way_out = str(error).rpartition("; ")
        return Finding("output", fact or way_out, way_out if fact else "write to another path")
    return Finding("output", f"{job.output.path} can be written, and each name is created once")
