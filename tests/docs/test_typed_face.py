"""The installed wheel is typed: a user's program that uses every public name passes ``mypy --strict`` against it."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from places import REPO

import ee_spark

USER = '''
"""A user's program."""

import json
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

import ee_spark
from ee_spark import RunReport, Status, emulator
from ee_spark.errors import ServiceError, StoreError
from ee_spark.extract import Options
from ee_spark.objects import open_store
from ee_spark.planner.plan import Plan
from ee_spark.read.sql import blocks


def extract(path: str, spark: SparkSession | None = None) -> RunReport:
    job = ee_spark.load(path, ["grid.scale=30"])
    planned: Plan = ee_spark.plan(job)
    print(planned.fingerprint, planned.requests, ee_spark.__version__, job.name)
    try:
        report = ee_spark.run(job, spark, Options(progress="none", run_id="mine"))
    except (ee_spark.MissingExtraError, ee_spark.JobError) as error:
        raise SystemExit(error.exit_code) from error
    except (ee_spark.StoppedError, ServiceError, StoreError, ee_spark.EESparkError):
        report = ee_spark.run({"name": "a-job"})
    return report


def told(report: RunReport) -> str:
    good: int = report.ok + report.empty + report.skipped
    share: float = good / report.planned
    use: float | None = report.quota_use
    why: str | None = report.stopped
    status: Status = report.status
    old: dict[str, object] = {**report}
    errors: list[str] = sorted(report.errors)
    if status is Status.COMPLETE or report["status"] == "partial":
        return json.dumps(report)
    return f"{report.path} {share} {use} {why} {old} {errors} {report.exit_code}"


def read(path: Path) -> Iterator[object]:
    dataset = ee_spark.open_dataset(path, {"anonymous": True})
    try:
        some = dataset.select(bands=["ndvi"], time=("2020-01-01", None), bbox=(0, 0, 1, 1))
    except ee_spark.ReadError:
        return
    counts: dict[str, int] = dataset.counts
    print(counts["ok"])
    for block in some:
        yield block
    yield some.to_numpy()
    yield some.to_xarray(masked=True)
    yield some.to_torch()


def pixels(df: DataFrame) -> DataFrame:
    return ee_spark.pixels(df, ["ndvi"], valid_only=False)


def served() -> str:
    with emulator.start(latency_ms=10) as one, ee_spark.emulator.start() as other:
        return one.url + other.url


def stored(path: str) -> list[str]:
    return [entry.name for entry in open_store(path).list("pixels/")] + [blocks.__name__]
'''
LARGE = "torch.*,xarray.*,pandas.*,matplotlib.*,rasterio.*,ee.*,google.*,pyarrow.*"
"""What ee_spark only hands on, and takes mypy minutes to read."""
WRONG = {
    "report.status = Status.FAILED": "assignment",
    "report.ok = 3": "assignment",
    "a: str = report.ok": "assignment",
    "b: int = ee_spark.plan('job.yaml')": "assignment",
    "ee_spark.open_dataset(3)": "arg-type",
    "ee_spark.load(3)": "arg-type",
}
"""Lines that must be refused: a package without types would let them pass."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of its own in which the built wheel is installed, and what it needs is there."""
    folder = tmp_path_factory.mktemp("typed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(REPO)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=600)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip(f"the wheel cannot be built without a package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, timeout=180)
    [packages] = (folder / "venv").glob("lib/*/site-packages")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(packages), str(wheel)], check=True, timeout=180)
    (packages / "needed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "venv" / "bin" / "python"


@pytest.fixture(scope="module")
def said(python: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of both programs."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "user.py").write_text(USER)
    (folder / "mypy.ini").write_text(f"[mypy]\n[mypy-{LARGE}]\nfollow_imports = skip\nignore_missing_imports = True\n")
    head = "import ee_spark\nfrom ee_spark import RunReport, Status\n\n\ndef f(report: RunReport) -> None:\n"
    (folder / "wrong.py").write_text(head + "".join(f"    {line}\n" for line in WRONG))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=mypy.ini", f"--python-executable={python}"]
    done = subprocess.run([*command, "user.py", "wrong.py"], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_users_program_is_strictly_typed(said: list[str]) -> None:
    used = {name for name in ee_spark.__all__ if re.search(rf"\b{name}\b", USER)}
    assert used == set(ee_spark.__all__), "every public name is used"
    assert [line for line in said if not line.startswith(("wrong.py", "Found"))] == []


def test_wrong_use_of_it_is_refused(said: list[str]) -> None:
    found = {line.split(":")[1]: line for line in said if line.startswith("wrong.py") and ": error:" in line}
    for number, (line, code) in enumerate(WRONG.items(), 6):
        assert found[str(number)].endswith(f"[{code}]"), line
