"""What ``package.sh`` packs is all that a cluster's workers need: a Python that has nothing runs the quickstart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import environments
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from places import REPO
from read_data import landsat
from spark_cluster import environment, kill_tree, standalone

import ee_emulator as emulator

SCRIPT = str(REPO / "package.sh")


def package(*files: Path, **more: str) -> subprocess.CompletedProcess[str]:
    here = {**os.environ, "PYTHON": sys.executable, **more}
    return subprocess.run([SCRIPT, *map(str, files)], env=here, capture_output=True, text=True, timeout=800)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ee_spark.zip and dependencies.tar.gz for this Python; these are packed once, and kept."""
    folder = tmp_path_factory.mktemp("packed")
    done = package(folder / "ee_spark.zip", folder / "dependencies.tar.gz")
    if "the dependencies cannot be installed" in done.stderr:
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-2]}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of this version with nothing but its standard library."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=180)
    return home / "bin" / "python"


def test_what_is_packed(packed: Path) -> None:
    with zipfile.ZipFile(packed / "ee_spark.zip") as package:
        names = set(package.namelist())
    ours = {str(path.relative_to(REPO)) for path in (REPO / "ee_spark").rglob("*.py")}
    assert ours <= names, "every module"
    with tarfile.open(packed / "dependencies.tar.gz") as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if name.count("/")}
    assert {"ee", "pyarrow", "rasterio", "google", "yaml", "boto3"} <= tops
    assert not tops & {"pyspark", "ee_spark", "py4j"}, "the cluster has its Spark, the package is shipped beside"


def test_workers_without_ee_spark_run_the_quickstart(packed: Path, bare: Path, tmp_path: Path) -> None:
    clean = environment(PYSPARK_PYTHON=str(bare), PYTHONPATH="")
    for module in ("ee_spark", "pyarrow", "numpy"):
        alone = subprocess.run([str(bare), "-c", f"import {module}"], env=clean, cwd=tmp_path, capture_output=True)
        assert b"ModuleNotFoundError" in alone.stderr, f"the workers' Python has {module}"
    out = tmp_path / "out"
    settings = ("source.start=2010-06-01", "source.end=2010-09-01", f"output.path={out}", "earth_engine.emulator={}")
    with emulator.start() as service, standalone(tmp_path, 1, PYTHONPATH="") as cluster:
        command = [str(Path(sys.executable).with_name("spark-submit")), "--master", cluster.url]
        command += ["--properties-file", str(REPO / "conf/spark/standalone.conf"), "--driver-memory", "512m"]
        for conf in ("executor.instances=1", "executor.cores=2", "cores.max=2", "executor.memory=512m"):
            command += ["--conf", f"spark.{conf}"]
        command += ["--conf", f"spark.pyspark.python={bare}", "--conf", "spark.executorEnv.PYTHONPATH=dependencies"]
        command += ["--conf", f"spark.pyspark.driver.python={sys.executable}", "--conf", "spark.ui.enabled=false"]
        command += ["--py-files", str(packed / "ee_spark.zip")]
        command += ["--archives", f"{packed / 'dependencies.tar.gz'}#dependencies"]
        command += ["jobs/extract.py", "--config", "conf/quickstart.yaml"]
        for setting in (*settings, f"earth_engine.endpoint={service.url}"):
            command += ["--set", setting]
        here = {key: value for key, value in environment(PYTHONPATH=str(REPO)).items() if "PYSPARK_" not in key}
        driver = psutil.Popen(command, cwd=REPO, env=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            stdout, stderr = driver.communicate(timeout=300)
        finally:
            kill_tree(driver)
        assert driver.returncode == 0, stdout + stderr
        [unpacked] = (tmp_path / "w0").glob("app-*/0/dependencies/pyarrow")
        assert unpacked.is_dir()
        shipped = tmp_path / "shipped"
        shipped.mkdir()
        (shipped / "job.yaml").write_text((REPO / "conf" / "quickstart.yaml").read_text().replace("images/", ""))
        shutil.copy(REPO / "conf" / "images" / "landsat.py", shipped)
        plan = [str(bare), str(REPO / "jobs" / "dataproc.py"), str(shipped), "plan", "--config", "job.yaml", "--json"]
        plan += ["--set", f"earth_engine.endpoint={service.url}", "--set", "earth_engine.emulator={}"]
        beside = {"env": {**clean, "PYTHONPATH": str(packed / "ee_spark.zip")}, "cwd": unpacked.parents[1]}
        done = subprocess.run(plan, **beside, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["pairs"] == 25 * 105, "a driver that has no more plans"
    report = json.loads(stdout.splitlines()[-1])
    truth = {name: planes for name, planes in landsat().items() if "20100601" <= name[-8:] < "20100901"}
    assert report["planned"] == 25 * len(truth)
    valid = dict.fromkeys(truth, 0)
    for row in pq.read_table(out / "pixels", columns=["image_id", "transform", "NDVI", "valid"]).to_pylist():
        ndvi, mask = truth[row["image_id"]]
        x, y = round((row["transform"][2] - 336375) / 30), round((4462425 - row["transform"][5]) / 30)
        rows, columns = slice(max(y, 0), y + 16), slice(max(x, 0), x + 16)
        inside = (slice(max(-y, 0), 61 - y), slice(max(-x, 0), 61 - x))
        mine = np.array(row["valid"]).reshape(16, 16)
        np.testing.assert_array_equal(mine[inside], mask[rows, columns])
        expected = np.where(mask, ndvi, 0)[rows, columns]
        np.testing.assert_array_equal(np.array(row["NDVI"], np.float32).reshape(16, 16)[inside], expected)
        valid[row["image_id"]] += int(mine.sum())
    assert valid == {name: int(mask.sum()) for name, (_, mask) in truth.items()}


@pytest.mark.parametrize(
    ("files", "more", "says"),
    [
        ((), {}, "package.sh: no FILE; write package.sh ee_spark.zip dependencies.tar.gz"),
        (("a.egg",), {}, "a.egg is neither a .zip"),
        (("a.zip",), {"PYTHON": "/nowhere/python"}, "no Python at /nowhere/python"),
    ],
)
def test_what_it_refuses(files: tuple[str, ...], more: dict[str, str], says: str) -> None:
    done = package(*map(Path, files), **more)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_is_clean() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert shellcheck, "shellcheck comes with the test extra"
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout


def test_the_source_distribution_has_every_file(tmp_path: Path) -> None:
    """Also what runs elsewhere: Dockerfile, lock, scripts, docs. Only what CI and git need stays behind."""
    python = environments.environment("hatchling", "hatchling==1.27.0")
    program = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"
    command = [str(python), "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / done.stdout.strip()) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(tracked) - packed == {".ci/run", ".github/workflows/audit.yml"}
    assert packed - set(tracked) == {"PKG-INFO"}
