"""A disk that is full, or becomes read-only, while lanes write: one line says it, and the next run resumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from emulator_client import asset, write_catalog, write_raster
from places import REPO

import ee_emulator as emulator

SIDE, IMAGES = 512, 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Images of noise, which nothing compresses: 2 MB."""
    folder, assets = tmp_path_factory.mktemp("noise"), []
    for number in range(IMAGES):
        noise = np.random.default_rng(number).integers(0, 2**16, (SIDE, SIDE), np.uint16)
        write_raster(folder / f"{number}.tif", noise, [30, 0, 300_000, 0, -30, 4_500_000], "EPSG:32613")
        assets.append(asset(f"NOISE/{number}", {"v": f"{number}.tif"}, f"2020-0{number + 1}-01T00:00:00Z"))
    write_catalog(folder, assets)
    with emulator.start(catalog=str(folder), latency_ms=20) as running:
        yield running.url


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def extract(service: str, folder: Path, tmp_path: Path, in_flight: int = 16) -> subprocess.Popen[str]:
    job = {
        "name": "noise",
        "earth_engine": {
            "endpoint": service,
            "concurrent_requests": in_flight,
            "requests_per_minute": 60_000,
            "lanes": 2,
        },
        "source": {"collection": "NOISE", "start": "2020-01-01", "end": "2021-01-01"},
        "region": {"bbox": [-107.36, 40.50, -107.19, 40.62]},
        "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 64},
        "output": {"path": str(folder / "set"), "part_size": "64KB"},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    code = "from ee_spark.cli import main; main()"
    command = [sys.executable, "-c", code, "extract", "--config", str(tmp_path / "job.yaml"), "--progress", "none"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO, env=quiet)


def ours(stderr: str) -> list[str]:
    """Return the lines on stderr without what Spark's launcher and the JVM say before anything runs."""
    return [
        line for line in stderr.splitlines() if not line.startswith(("WARNING: ", "Setting ", "To adjust", "Using "))
    ]


def told_once(stdout: str, stderr: str, reason: str) -> None:
    """The reason is one line; where the report found room too, it comes with that, and else alone."""
    lines = [line for line in ours(stderr) if "WARN" not in line]
    assert [reason in line for line in lines].count(True) == 1, stderr
    assert "Traceback" not in stderr
    assert not any("ERROR" in line for line in lines), stderr
    if stdout:
        assert json.loads(stdout.splitlines()[-1])["status"] == "stopped"
    else:
        assert len(lines) == 1, stderr


@pytest.mark.parametrize("before", ["mid-run", "at the start"])
def test_a_full_disk_is_told_once(before: str, service: str, small: Path, tmp_path: Path) -> None:
    if before == "at the start":
        fill(small / "other")
    process = extract(service, small, tmp_path)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 1, stderr
    told_once(stdout, stderr, "No space left on device; make room there")
    if before == "mid-run":
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        process = extract(service, small, tmp_path)
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr
        report = json.loads(stdout.splitlines()[-1])
        assert report["skipped"] > 0
        assert report["ok"] + report["empty"] + report["skipped"] == report["planned"]
        assert list((small / "set/_ee_spark/tmp").iterdir()) == []
        assert list((small / "set/_ee_spark/lanes").iterdir()) == []


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return


def test_a_disk_that_turns_read_only_is_told_once(service: str, small: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
    process = extract(service, small, tmp_path, in_flight=2)
    while process.poll() is None and not list(small.glob("set/pixels/*-1.parquet")):
        pass
    remount = ["mount", "-o", "remount,ro", str(small)]
    while subprocess.run(remount, capture_output=True).returncode and process.poll() is None:
        pass  # a file is open for writing at this moment
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 1, stderr
    told_once(stdout, stderr, "Read-only file system; mount it writable")
