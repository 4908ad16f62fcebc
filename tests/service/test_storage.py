"""Storage settings belong to a job: two jobs of one process with different ones do not see each other's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from job_files import changed
from object_servers import BUCKET, gcs_server

from ee_spark import config
from ee_spark.client import Client, Service
from ee_spark.errors import AwayError
from ee_spark.job import JobConfig
from ee_spark.objects import Inputs, Settings, check_output, open_store, write_output
from ee_spark.planner.points import Points
from ee_spark.planner.region import load

JOB = f"gs://{BUCKET}/jobs/job.yaml"


@pytest.fixture(scope="module")
def servers() -> Iterator[list[str]]:
    """Two stores of the same names: in each a job, and a point that says which it is."""
    with gcs_server() as one, gcs_server() as two:
        for number, url in enumerate((one, two)):
            store = open_store(f"gs://{BUCKET}/jobs", Settings(gs_endpoint=url))
            storage = {"gs_endpoint": url, "anonymous": bool(number)}
            region = {"points": "points.csv"}
            data = changed({"region": region, "storage": storage, "output.path": f"gs://{BUCKET}/out"})
            store.create("job.yaml", yaml.safe_dump(data).encode())
            store.create("points.csv", f"id,lon,lat\np{number},{number},0\n".encode())
        yield [one, two]


def loaded(url: str) -> JobConfig:
    return config.load(JOB, [f"storage.gs_endpoint={url}"])


def points_of(job: JobConfig) -> Points:
    found = load(job.region, Client(Service("http://127.0.0.1:1", "p")), Inputs(config.storage_of(job)))
    assert isinstance(found, Points)
    return found


def test_two_jobs_side_by_side_read_their_own(servers: list[str]) -> None:
    jobs = [loaded(url) for url in servers]
    assert [job.storage.gs_endpoint for job in jobs] == servers
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(points_of, jobs * 4))
    assert [points.ids for points in found] == [("p0",), ("p1",)] * 4


def test_outputs_go_where_their_job_says(servers: list[str]) -> None:
    for number, url in enumerate(servers):
        settings = config.storage_of(loaded(url))
        check_output(f"gs://{BUCKET}/metrics/run.prom", "--metrics", settings)
        write_output(f"gs://{BUCKET}/metrics/run.prom", str(number).encode(), settings)
    for number, url in enumerate(servers):
        found = open_store(f"gs://{BUCKET}/metrics", Settings(gs_endpoint=url)).read("run.prom")
        assert found is not None
        assert found[0] == str(number).encode()


def test_a_job_leaves_no_settings_behind(servers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What names no settings takes the clouds' own, whatever was loaded before."""
    loaded(servers[0])
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", servers[1])
    found = open_store(f"gs://{BUCKET}/jobs").read("points.csv")
    assert found is not None
    assert found[0].startswith(b"id,lon,lat\np1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setattr("ee_spark.objects.contact.SECONDS", 0.1)
    with pytest.raises(AwayError, match="--config: cannot read"):
        config.load(JOB)
