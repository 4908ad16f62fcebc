"""No module is imported from the directory in which a command is given: it may be a dataset that others write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from places import REPO
from spark_cluster import environment

NAMES = (
    "abc", "asyncio", "click", "codecs", "encodings", "httptools", "io", "json", "numpy", "pyarrow", "pyspark",
    "rasterio", "shapely", "site", "sitecustomize", "socket", "subprocess", "types", "urllib3", "usercustomize", "yaml",
)  # fmt: skip


def test_a_run_imports_nothing_from_where_it_is_started(tmp_path: Path) -> None:
    """The embedded emulator, the child of functions, the driver's and the workers' Pythons all start there."""
    here = tmp_path / "here"
    here.mkdir()
    for name in NAMES:
        (here / f"{name}.py").write_text(
            f"open({str(tmp_path / 'owned')!r}, 'a').write('{name} ')\nraise ImportError\n"
        )
    config = str(REPO / "conf/quickstart_composites.yaml")
    command = [sys.executable, "-P", "-c", "from ee_spark.cli import main; main()", "extract", "--config", config]
    command += ["--set", f"output.path={tmp_path / 'out'}", "--set", "source.end=2010-03-01"]
    variables = environment(PYTHONPATH=os.pathsep.join([str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]))
    done = subprocess.run(command, cwd=here, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert not (tmp_path / "owned").exists(), (tmp_path / "owned").read_text()
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "complete"
