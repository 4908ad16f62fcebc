"""Names of earlier versions that users' copies of our jobs, DAGs, Makefiles and scripts use: all still work."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

NAMES = {
    "ee_spark.batch": (
        *("Code", "Options", "Shipment", "batch_id", "choose", "cluster_job", "labels", "lane_megabytes", "lanes"),
        *("local_files", "message", "properties", "refuse_local", "request_id", "seconds", "ship", "arguments", "TTL"),
    ),
    "ee_spark.cli": ("export", "extract", "main", "verify"),
    "ee_spark.config": ("load", "parse", "storage_of"),
    "ee_spark.emulator": ("Emulator", "main", "start"),
    "ee_spark.errors": ("EESparkError", "JobError", "ServiceError", "StoppedError", "StoreError"),
    "ee_spark.extract": ("Options", "plan", "run"),
    "ee_spark.java": ("java_home",),
    "ee_spark.metrics": ("STATUSES", "TILES", "openmetrics"),
    "ee_spark.objects": ("Settings", "open_store", "read_input"),
    "ee_spark.read.export": ("Options", "Task", "run", "tasks"),
    "ee_spark.read.sql": ("blocks", "pixels"),
    "ee_spark.submit": ("main",),
    "pyspark_earthengine": ("DefaultSource",),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_the_name_is_where_it_was(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is not None


def test_modules_of_the_package_are_imported_from_it() -> None:
    from ee_spark import batch, emulator
    from ee_spark.dataproc import batch as moved

    assert batch.Options is moved.Options
    assert callable(emulator.start)


@pytest.mark.parametrize("module", ["ee_spark.submit", "ee_spark.emulator"])
def test_commands_by_their_module(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")


def test_java_by_its_module() -> None:
    """``$(python -m ee_spark.java)`` in Makefiles is a JAVA_HOME, or one line that says what to install."""
    done = subprocess.run(
        [sys.executable, "-m", "ee_spark.java", "--help"], capture_output=True, text=True, timeout=180
    )
    assert len((done.stdout + done.stderr).strip().splitlines()) == 1
    assert done.returncode == 0 or "pip install 'ee-spark[local]'" in done.stderr


def test_inputs_are_read_as_the_dags_read_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    from ee_spark.objects import open_store, read_input

    folder = tmp_path_factory.mktemp("inputs")
    (folder / "job.yaml").write_bytes(b"name: a-job")
    assert read_input(str(folder / "job.yaml"), "job_file") == b"name: a-job"
    assert open_store(str(folder)).create("a", b"1")
