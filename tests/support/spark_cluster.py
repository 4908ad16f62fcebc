"""A Spark standalone cluster on loopback, from the installed pyspark: a master and workers, each its own process."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyspark

from ee_spark.java import java_home

REPO = Path(__file__).parents[2]
SPARK_HOME = Path(pyspark.__file__).parent
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"
"""For processes that live for seconds: without the optimising compiler they cost half as much of the processor."""


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "JAVA_HOME": str(java_home()),
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "200m",
        "JAVA_TOOL_OPTIONS": SHORT_LIVED,
        "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": str(REPO),
        **more,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """A running master and its workers; drivers are submitted to it."""

    url: str
    folder: Path
    workers: list[psutil.Popen]
    drivers: list[psutil.Popen] = field(default_factory=list)

    def submit(self, job: Path, name: str, *settings: str, conf: tuple[str, ...] = ()) -> psutil.Popen:
        """Start a driver for a job file, with ``--set`` settings and Spark ``conf``; its output goes to files."""
        return start_driver(self.url, self.folder, job, name, settings, conf, self.drivers)

    def executors(self) -> list[psutil.Process]:
        """Return the executor JVMs that are alive."""
        return [child for worker in self.workers for child in _below(worker) if runs(child, "CoarseGrainedExecutor")]

    def python_workers(self) -> list[psutil.Process]:
        """Return the forked Python processes that tasks run in."""
        daemons = [child for java in self.executors() for child in _below(java) if runs(child, "pyspark.daemon")]
        return [child for child in daemons if _parent_is_daemon(child)]


def start_driver(
    master: str,
    folder: Path,
    job: Path,
    name: str,
    settings: tuple[str, ...],
    conf: tuple[str, ...],
    started: list[psutil.Popen],
) -> psutil.Popen:
    """Start spark-submit with jobs/extract.py."""
    options = ["--master", master, "--name", name, "--driver-memory", "512m"]
    base = ("driver.host=127.0.0.1", "driver.bindAddress=127.0.0.1", "ui.enabled=false", "executor.memory=512m")
    for setting in (*base, "log.level=ERROR", "task.maxFailures=8", *conf):
        options += ["--conf", f"spark.{setting}"]
    command = [f"{Path(sys.executable).parent}/spark-submit", *options, str(REPO / "jobs/extract.py")]
    command += ["--config", str(job), "--run-id", name, "--progress", "none"]
    for setting in settings:
        command += ["--set", setting]
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        driver = psutil.Popen(command, stdout=out, stderr=err, env=environment(), cwd=REPO)
    started.append(driver)
    return driver


@contextmanager
def standalone(folder: Path, workers: int = 2, **more: str) -> Iterator[Cluster]:
    """Yield a cluster of ``workers`` workers with four slots each; all its processes end with the context.

    ``more`` is what its daemons, and the executors that they start, have otherwise in their environment. Each worker
    has an address of its own, as Spark runs a speculative copy only on another host.
    """
    port, daemons, here = free_port(), [], environment(**more)
    spark_class = str(SPARK_HOME / "bin/spark-class")

    def daemon(name: str, *arguments: str, host: str = "127.0.0.1") -> psutil.Popen:
        settings = {**here, "SPARK_LOCAL_IP": host}
        with (folder / f"{name}.log").open("wb") as out:
            started = psutil.Popen([spark_class, *arguments], stdout=out, stderr=out, env=settings, cwd=folder)
        daemons.append(started)
        return started

    cluster = Cluster(f"spark://127.0.0.1:{port}", folder, [])
    try:
        ports = ("--host", "127.0.0.1", "--port", str(port), "--webui-port", str(free_port()))
        daemon("master", "org.apache.spark.deploy.master.Master", *ports)
        _until(lambda: "I have been elected leader" in (folder / "master.log").read_text(), "the master starts")
        for number in range(workers):
            host = f"127.0.0.{number + 1}"
            where = ("--host", host, "--webui-port", str(free_port()), "--work-dir", str(folder / f"w{number}"))
            size = ("--cores", "4", "--memory", "2g")
            name = "org.apache.spark.deploy.worker.Worker"
            cluster.workers.append(daemon(f"worker{number}", name, *where, *size, cluster.url, host=host))
        _until(lambda: (folder / "master.log").read_text().count("Registering worker") == workers, "workers register")
        yield cluster
    finally:
        for process in (*cluster.drivers, *daemons):
            kill_tree(process)


def kill_tree(process: psutil.Process) -> None:
    """kill -9 a process that a test started, and all below it."""
    with suppress(psutil.NoSuchProcess):
        for each in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(10)


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def runs(process: psutil.Process, word: str) -> bool:
    try:
        return any(word in argument for argument in process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def _parent_is_daemon(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
        return parent is not None and runs(parent, "pyspark.daemon")
    except psutil.NoSuchProcess:
        return False


def _until(happened: object, what: str, seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.1)
