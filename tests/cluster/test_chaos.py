"""All that goes wrong at once: at the end each tile is there once, its pixels exact, and nothing else is left.

Kill -9 of everything at work, two drivers, speculation, a full disk, a store that refuses and loses what it is sent, a
tile that kills its worker. The truth is arithmetic: each image of the catalog holds row · 1024 + column + 1,000,000 ·
its number.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import urllib3
import yaml
from emulator_client import write_raster
from object_servers import BUCKET, Flaky, gcs_server, settings_for
from spark_cluster import Cluster, kill_tree, runs, standalone
from wire import Said, Told, wire

import ee_emulator as emulator
from ee_spark import extract
from ee_spark.check.verify import verify
from ee_spark.cluster import WORKERS
from ee_spark.objects import FileStore, Store, open_store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SIDE, TILE, IMAGES = 512, 16, 3
TILES = (SIDE // TILE) ** 2
X, Y = 300_000, 4_500_000
WHOLE = [-107.3665, 40.490, -107.185, 40.630]


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


def job(service: str, path: Path | str, end: str, part_size: str, region: list[float] = WHOLE) -> dict[str, Any]:
    return {
        "name": "chaos",
        "earth_engine": {"endpoint": service, "concurrent_requests": 16, "requests_per_minute": 60_000},
        "source": {"collection": "TRUTH", "bands": ["v"], "start": "2020-01-01", "end": end},
        "region": {"bbox": region},
        "grid": {"crs": "EPSG:32613", "scale": 30, "tile": TILE},
        "output": {"path": str(path), "part_size": part_size},
    }


def requests(service: str) -> int:
    return int(json.loads(urllib3.PoolManager().request("GET", f"{service}/_emulator/stats").data)["requests"])


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 150.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def place(row: dict[str, Any]) -> tuple[int, int]:
    """Return the column and row of a block's first pixel in its image."""
    _, _, x, _, _, y = row["transform"]
    return round((x - X) / 30), round((Y - y) / 30)


def exact(rows: list[dict[str, Any]]) -> None:
    """Compare every row of ``pixels`` with the truth; past the edge of the image nothing is valid."""
    padded = {image: np.pad(truth(image), TILE) for image in range(IMAGES)}
    inside = np.pad(np.ones((SIDE, SIDE), np.uint8), TILE)
    for row in rows:
        left, top = place(row)
        window = (slice(top + TILE, top + 2 * TILE), slice(left + TILE, left + 2 * TILE))
        image = int(row["image_id"].rpartition("/")[2])
        assert np.array_equal(np.array(row["v"]), padded[image][window].ravel()), row["tile_id"]
        assert np.array_equal(np.array(row["valid"]), inside[window].ravel()), row["tile_id"]


class Reader:
    """Opens the tables every second, and keeps what it should never have seen."""

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
        while not self._end.wait(1.0):
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


def table_of(store: Store, table: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(store.open(entry.name)) for entry in store.list(f"{table}/")])


def check_the_end(store: Store, planned: int, failed: int = 0) -> None:
    """Every planned pair is committed or failed, once, with exact pixels; nothing temporary and no note is left."""
    found = verify(store)
    assert found.problems == []
    assert (found.planned, found.counts["failed"], found.counts["missing"]) == (planned, failed, 0)
    pixels = table_of(store, "pixels").select(["tile_id", "image_id", "transform", "v", "valid"]).to_pylist()
    assert len({(row["tile_id"], row["image_id"]) for row in pixels}) == len(pixels) == found.counts["ok"]
    assert table_of(store, "tiles").num_rows == planned
    exact(pixels)
    assert [entry.name for place in ("tmp", "lanes") for entry in store.list(f"_ee_spark/{place}/")] == []
    assert bool(store.list("_SUCCESS")) != bool(failed)


def report_of(folder: Path, name: str) -> dict[str, Any]:
    lines = (folder / f"{name}.out").read_text().splitlines()
    assert lines, (folder / f"{name}.err").read_text()[-2000:]
    return dict(json.loads(lines[-1]))


@pytest.mark.timeout(900)
def test_kill_9_of_everything_that_works(tmp_path: Path, service: str) -> None:
    file, out = tmp_path / "job.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(job(service, out, "2020-03-01", "120kB")))
    began = requests(service)

    def done(count: int) -> Callable[[], bool]:
        return lambda: requests(service) - began >= count

    two_executors = ("cores.max=2", "executor.cores=1")
    speculative = ("cores.max=4", "executor.cores=2", "speculation=true", "speculation.interval=100ms")
    events = (
        "eventLog.enabled=true",
        "eventLog.rolling.enabled=true",
        f"eventLog.dir={tmp_path}",
        "eventLog.compress=false",
    )
    with standalone(tmp_path) as cluster, Reader(out) as reader:
        first = cluster.submit(file, "first", conf=two_executors)
        kill_one(cluster, done(150), Cluster.python_workers)
        kill_one(cluster, done(450), Cluster.executors)
        wait_for(done(700), "700 requests")
        kill_tree(first)
        assert not (out / "_SUCCESS").exists()
        again = cluster.submit(file, "again", conf=(*speculative, "speculation.task.duration.threshold=1s", *events))
        later = cluster.submit(file, "later", "source.end=2020-04-01", conf=("cores.max=2", "executor.cores=2"))
        codes = [again.wait(400), later.wait(400)]
    assert codes == [0, 0], (tmp_path / "again.err").read_text()[-1500:] + (tmp_path / "later.err").read_text()[-1500:]
    reports = [report_of(tmp_path, name) for name in ("again", "later")]
    assert [report["status"] for report in reports] == ["complete", "complete"]
    started = [line for log in tmp_path.glob("eventlog*/events*") for line in log.read_text().splitlines()]
    assert any('"Speculative":true' in line for line in started), "no lane ever ran twice"
    assert reader.seen_wrong == []
    assert reader.looks > 5
    assert reports[1]["planned"] >= 0.99 * IMAGES * TILES  # the box cuts a corner
    check_the_end(FileStore(out), reports[1]["planned"])


def kill_one(cluster: Cluster, when: Callable[[], bool], which: Callable[[Cluster], list[psutil.Process]]) -> None:
    """kill -9 the first of some processes once ``when`` has happened and one is there."""
    wait_for(when, "so many requests")
    wait_for(lambda: bool(which(cluster)), f"a process of {which.__name__}")
    which(cluster)[0].kill()


@contextmanager
def no_file_above(size: int, spark: SparkSession) -> Iterator[None]:
    """Let no file of Spark's Python processes grow beyond ``size`` bytes, as on a disk that is full."""
    spark.sparkContext.environment.update(WORKERS)  # as a run does: workers of another environment are other processes
    spark.sparkContext.parallelize([0], 1).map(abs).collect()  # the process that all others are forked from is there
    workers = [process for process in psutil.Process().children(recursive=True) if runs(process, "pyspark.daemon")]
    assert workers
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for process in workers:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        for process in {*workers, *(child for daemon in workers for child in daemon.children())}:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_a_full_disk_stops_the_run_and_the_next_one_ends_it(tmp_path: Path, service: str, spark: SparkSession) -> None:
    """Parts of 300 tiles of 1,280 bytes do not fit; then the disk has room."""
    data = job(service, tmp_path, "2020-02-01", "400kB")
    with no_file_above(20_000, spark):
        report = extract.run(data, spark, extract.Options(progress="none"))
    assert (report["status"], report["exit_code"], report["ok"]) == ("stopped", 1, 0)
    assert "File too large" in report["stopped"]
    assert list((tmp_path / "_ee_spark/tmp").glob("*")) == []
    report = extract.run(data, spark, extract.Options(progress="none"))
    assert (report["status"], report["exit_code"]) == ("complete", 0)
    check_the_end(FileStore(tmp_path), report["planned"])


def test_a_tile_that_kills_its_worker_on_a_faulty_store(service: str, spark: SparkSession) -> None:
    """Whoever asks for one tile is killed, as if out of memory: it fails, alone; when it is healed, it comes."""
    http = urllib3.PoolManager(maxsize=64)
    poison = [30, X + 9 * TILE * 30, Y - 11 * TILE * 30]
    killed: list[int] = []
    healed = threading.Event()

    def script(said: Said) -> Told:
        if said.path.endswith("computePixels") and not healed.is_set():
            place = json.loads(said.body)["grid"]["affineTransform"]
            if [place["scaleX"], place["translateX"], place["translateY"]] == poison:
                killed.append(kill_peer(int(said.headers["x-peer"])))
        reply = http.request(
            said.method, service + said.path, body=said.body, headers={"content-type": "application/json"}
        )
        return Told(reply.status, reply.data, {"Content-Type": "application/json"})

    path = f"gs://{BUCKET}/chaos"
    with gcs_server() as direct, wire(script) as server:
        flaky = Flaky(direct, {"refuse": 0.04, "drop": 0.02, "lose": 0.04}, seed=6)
        with flaky.serving() as url:
            small = job(server.url, path, "2020-02-01", "5kB", [-107.3137, 40.5775, -107.3085, 40.5815])
            small["storage"] = {"gs_endpoint": url}
            report = extract.run(small, spark, extract.Options(progress="none"))
            assert report["planned"] == 4
            assert (report["status"], report["exit_code"], report["failed"]) == ("failed", 3, 1), report["stopped"]
            assert report["ok"] == report["planned"] - 1
            assert len(killed) == len(set(killed)) >= 3  # first with others, then twice alone
            store = open_store(path, settings_for("gs", direct))
            check_the_end(store, report["planned"], failed=1)
            (row,) = [row for row in table_of(store, "tiles").to_pylist() if row["status"] == "failed"]
            assert (row["error_class"], place(row)) == ("worker_died", (9 * TILE, 11 * TILE))
            healed.set()
            whole = {**small, "region": {"bbox": WHOLE}, "output": {"path": path, "part_size": "60kB"}}
            report = extract.run(whole, spark, extract.Options(progress="none"))
        assert (report["status"], report["exit_code"], report["failed"]) == ("complete", 0, 0)
        assert min(flaky.met[fault] for fault in flaky.faults) > 1
        check_the_end(store, report["planned"])


def kill_peer(port: int) -> int:
    """kill -9 the Python worker that talks from ``port``; its process id."""
    for child in psutil.Process().children(recursive=True):
        if any(link.laddr and link.laddr.port == port for link in links(child)) and "python" in child.name():
            os.kill(child.pid, signal.SIGKILL)
            return child.pid
    raise AssertionError(f"nobody talks from {port}")


def links(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections("tcp"))
    except psutil.Error:
        return []
