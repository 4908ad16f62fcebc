"""Kill -9 of everything at work, two drivers, speculation, a full disk: at the end each tile once, its pixels exact.

The truth is arithmetic: each image of the catalog holds row · 1024 + column + 1,000,000 · its number.
"""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import urllib3
import yaml
from emulator_client import write_raster
from spark_cluster import Cluster, kill_tree, standalone, start_driver

from ee_spark import emulator
from ee_spark.objects import FileStore
from ee_spark.read.verify import verify

SIDE, TILE, IMAGES = 512, 16, 3
TILES = (SIDE // TILE) ** 2
X, Y = 300_000, 4_500_000


def truth(image: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    return (np.arange(SIDE)[:, None] * 1024 + np.arange(SIDE) + 1_000_000 * image).astype(np.int32)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog")
    assets = []
    for image in range(IMAGES):
        write_raster(folder / f"{image}.tif", truth(image), [30, 0, X, 0, -30, Y], "EPSG:32613")
        start = f"2020-0{image + 1}-01T00:00:00Z"
        band = {"id": "v", "file": f"{image}.tif", "index": 1}
        assets.append(
            {"id": f"TRUTH/{image}", "startTime": start, "endTime": start, "updateTime": start, "bands": [band]}
        )
    (folder / "catalog.json").write_text(json.dumps({"assets": assets}))
    return folder


@pytest.fixture(scope="module")
def service(catalog: Path) -> Iterator[str]:
    with emulator.start(catalog=str(catalog), latency_ms=60, faults="500:0.01,reset:0.01", seed=4) as running:
        yield running.url


def job_file(folder: Path, service: str) -> Path:
    job = {
        "name": "chaos",
        "earth_engine": {"endpoint": service, "concurrent_requests": 16, "requests_per_minute": 60_000},
        "source": {"collection": "TRUTH", "bands": ["v"], "start": "2020-01-01", "end": "2020-03-01"},
        "region": {"bbox": [-107.3665, 40.490, -107.185, 40.630]},
        "grid": {"crs": "EPSG:32613", "scale": 30, "tile": TILE},
        "output": {"path": str(folder / "out"), "part_size": "120kB"},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def requests(service: str) -> int:
    return int(json.loads(urllib3.PoolManager().request("GET", f"{service}/_emulator/stats").data)["requests"])


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 150.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def exact(table: Any) -> None:
    """Compare every row of ``pixels`` with the truth; past the edge of the image nothing is valid."""
    rows = table.to_pydict()
    for index in range(table.num_rows):
        image = int(rows["image_id"][index].rpartition("/")[2])
        _, _, x, _, _, y = rows["transform"][index]
        left, top = round((x - X) / 30), round((Y - y) / 30)
        padded = np.zeros((SIDE + 2 * TILE,) * 2, np.int32)
        inside = np.zeros_like(padded, np.uint8)
        padded[TILE:-TILE, TILE:-TILE], inside[TILE:-TILE, TILE:-TILE] = truth(image), 1
        window = (slice(top + TILE, top + 2 * TILE), slice(left + TILE, left + 2 * TILE))
        assert np.array_equal(np.array(rows["v"][index]), padded[window].ravel()), rows["tile_id"][index]
        assert np.array_equal(np.array(rows["valid"][index]), inside[window].ravel())


class Reader:
    """Opens the tables all the time, and keeps what it should never have seen."""

    def __init__(self, path: Path) -> None:
        self._path, self._end = path, threading.Event()
        self.looks, self.rows, self.seen_wrong = 0, 0, list[str]()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.5):
            if not list((self._path / "tiles").glob("*.parquet")):
                continue
            try:
                for table in ("pixels", "tiles"):
                    found = ds.dataset(self._path / table).to_table(columns=["tile_id", "image_id"])
                    keys = list(zip(*found.to_pydict().values(), strict=True))
                    if len(keys) != len(set(keys)):
                        self.seen_wrong.append(f"{table}: {len(keys) - len(set(keys))} rows twice")
                    self.rows = max(self.rows, len(keys))
                self.looks += 1
            except Exception as error:
                self.seen_wrong.append(repr(error))


def check_the_end(out: Path, planned: int) -> None:
    found = verify(FileStore(out))
    assert found.problems == []
    assert found.planned == planned
    assert found.counts["failed"] == found.counts["missing"] == 0
    pixels = pq.read_table(out / "pixels", columns=["tile_id", "image_id", "transform", "v", "valid"])
    assert pixels.num_rows == found.counts["ok"]
    exact(pixels)
    assert list((out / "_ee_spark/tmp").glob("*")) == []
    assert (out / "_SUCCESS").exists()


def report_of(folder: Path, name: str) -> dict[str, Any]:
    lines = (folder / f"{name}.out").read_text().splitlines()
    assert lines, (folder / f"{name}.err").read_text()[-2000:]
    return dict(json.loads(lines[-1]))


@pytest.mark.timeout(1200)
def test_kill_9_of_everything_that_works(tmp_path: Path, service: str) -> None:
    job, out = job_file(tmp_path, service), tmp_path / "out"
    began = requests(service)

    def done(count: int) -> Callable[[], bool]:
        return lambda: requests(service) - began >= count

    with standalone(tmp_path) as cluster, Reader(out) as reader:
        first = cluster.submit(job, "first", conf=("cores.max=2", "executor.cores=1"))
        kill_one(cluster, done(150), Cluster.python_workers)
        kill_one(cluster, done(450), Cluster.executors)
        wait_for(done(700), "700 requests")
        kill_tree(first)
        assert not (out / "_SUCCESS").exists()
        half = ("cores.max=2", "executor.cores=1")
        speculative = (*half, "speculation=true", "speculation.interval=100ms", "speculation.multiplier=1.01")
        again = cluster.submit(job, "again", conf=(*speculative, "speculation.quantile=0.1"))
        later = cluster.submit(job, "later", "source.end=2020-04-01", conf=half)
        codes = [again.wait(400), later.wait(400)]
    assert codes == [0, 0], (tmp_path / "again.err").read_text()[-1500:] + (tmp_path / "later.err").read_text()[-1500:]
    reports = [report_of(tmp_path, name) for name in ("again", "later")]
    assert [report["status"] for report in reports] == ["complete", "complete"]
    assert reader.seen_wrong == []
    assert reader.looks > 10
    assert reports[1]["planned"] >= 0.99 * IMAGES * TILES  # the box cuts a corner
    check_the_end(out, reports[1]["planned"])


def kill_one(cluster: Cluster, when: Callable[[], bool], which: Callable[[Cluster], list[psutil.Process]]) -> None:
    """kill -9 the first of some processes once ``when`` has happened and one is there."""
    wait_for(when, "so many requests")
    wait_for(lambda: bool(which(cluster)), f"a process of {which.__name__}")
    which(cluster)[0].kill()


@pytest.mark.timeout(900)
def test_a_full_disk_stops_the_run_and_the_next_one_ends_it(tmp_path: Path, service: str) -> None:
    """No file may grow beyond 60 kB: parts of 200 tiles of 1,280 bytes cannot be written. Then the disk has room."""
    job, drivers = job_file(tmp_path, service), list[psutil.Popen]()
    full = ("output.part_size=400kB",)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        driver = start_driver("local-cluster[2,1,1024]", tmp_path, job, "full", full, (), drivers)
        wait_for(lambda: (tmp_path / "out/_ee_spark/job.json").exists(), "the run begins")
        for process in (driver, *driver.children(recursive=True)):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, hard))
        assert driver.wait(200) == 1, (tmp_path / "full.err").read_text()[-2000:]
        assert "File too large" in report_of(tmp_path, "full")["stopped"]
        assert list((tmp_path / "out/_ee_spark/tmp").glob("*")) == []
        driver = start_driver("local-cluster[2,1,1024]", tmp_path, job, "room", full, (), drivers)
        assert driver.wait(200) == 0, (tmp_path / "room.err").read_text()[-2000:]
        check_the_end(tmp_path / "out", report_of(tmp_path, "room")["planned"])
    finally:
        assert resource.getrlimit(resource.RLIMIT_FSIZE) == (soft, hard)
        for process in drivers:
            kill_tree(process)
