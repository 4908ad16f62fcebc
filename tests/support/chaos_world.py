"""The world of the chaos rounds: a catalog whose pixels are arithmetic, servers on loopback, and what holds at the end.

Each image of the catalog holds row · 1024 + column + 1,000,000 · its number, so a block of pixels needs no other truth
than its own georeference.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import urllib3
from emulator_client import write_raster
from object_servers import BUCKET, settings_for

from ee_spark.check.verify import verify
from ee_spark.objects import Settings, Store, open_store

SIDE, IMAGES = 64, 3
X, Y, RES = 300_480, 4_500_480, 30
BOX = [-107.3594, 40.6136, -107.3356, 40.6318]
"""Longitudes and latitudes around the images."""
LATENCY_MS = 100
Key = tuple[str, str]


def truth(image: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the pixels of an image."""
    return (np.arange(SIDE)[:, None] * 1024 + np.arange(SIDE) + 1_000_000 * image).astype(np.int32)


def keys(tile: int) -> set[Key]:
    """Return the (tile_id, image_id) of all images, whose sides lie on the lattice of tiles."""
    row, column, count = -Y // (RES * tile), X // (RES * tile), SIDE // tile
    return {
        (f"EPSG-32613/r{row + down}c{column + right}", f"TRUTH/{image}")
        for down in range(count)
        for right in range(count)
        for image in range(IMAGES)
    }


def write_catalog(folder: Path) -> None:
    """Write the images, one for each of three months."""
    assets = []
    for image in range(IMAGES):
        write_raster(folder / f"{image}.tif", truth(image), [RES, 0, X, 0, -RES, Y], "EPSG:32613")
        start = f"2020-0{image + 1}-01T00:00:00Z"
        band = {"id": "v", "file": f"{image}.tif", "index": 1}
        assets.append(
            {"id": f"TRUTH/{image}", "startTime": start, "endTime": start, "updateTime": start, "bands": [band]}
        )
    (folder / "catalog.json").write_text(json.dumps({"assets": assets}))


@dataclass(frozen=True)
class World:
    """One service and the object stores that rounds share; ``stores`` has their URLs by kind."""

    service: str
    stores: dict[str, str]

    def traffic(self, **change: Any) -> None:
        """Change how the service behaves."""
        body = json.dumps(change).encode()
        answer = urllib3.request("POST", f"{self.service}/_emulator/traffic", body=body, retries=3)
        if answer.status != 200:
            raise RuntimeError(answer.data.decode())

    def settings(self, kind: str, url: str | None = None) -> Settings:
        """Return how a store of this kind is reached, directly or at ``url``."""
        return settings_for(kind, url or self.stores[kind]) if kind != "file" else Settings()


@contextmanager
def running_emulator(catalog: Path, seed: int) -> Iterator[str]:
    """Yield the URL of an emulator in a process of its own, which ends with this one."""
    command = [sys.executable, "-m", "ee_emulator", "--catalog", str(catalog), "--latency-ms", str(LATENCY_MS)]
    process = subprocess.Popen(
        [*command, "--seed", str(seed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=_ends
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()


def _ends() -> None:
    """Have this process end with its parent (https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def exchange(one: Path, other: Path) -> None:
    """Exchange two names in one step (https://man7.org/linux/man-pages/man2/rename.2.html)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):  # AT_FDCWD, RENAME_EXCHANGE
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def adopt() -> None:
    """Have orphans below this process become its children, so that it can wait for them."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def reap() -> bool:
    """Take note of children that have ended; False if there are none left, ended or not."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def store_at(path: str, settings: Settings) -> Store:
    """Return the store of a dataset, as a reader opens it."""
    return open_store(path, settings)


def path_of(kind: str, folder: Path, name: str) -> str:
    """Return where a round's dataset lies."""
    return str(folder / "dataset") if kind == "file" else f"{kind}://{BUCKET}/{name}"


def rows_of(store: Store, table: str, columns: list[str]) -> list[dict[str, Any]]:
    """Return the rows of a table, those of ``columns`` that it has, read with nothing of ours but the bytes."""
    rows: list[dict[str, Any]] = []
    for entry in store.list(f"{table}/"):
        data = store.read(entry.name)
        if data is not None:  # it may be overwritten at this moment
            rows += pq.ParquetFile(io.BytesIO(data[0])).read(columns=columns, use_threads=False).to_pylist()
    return rows


def wrong_pixels(rows: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with rows of ``pixels``: another value than the truth, or the same key twice."""
    wrong, seen = [], set[Key]()
    for row in rows:
        key = row["tile_id"], row["image_id"]
        if key in seen:
            wrong.append(f"{key} is there twice")
        seen.add(key)
        width, height = row["width"], row["height"]
        left, top = round((row["transform"][2] - X) / RES), round((Y - row["transform"][5]) / RES)
        image = int(row["image_id"].rpartition("/")[2])
        whole = np.pad(truth(image), SIDE)
        inside = np.pad(np.ones((SIDE, SIDE), np.uint8), SIDE)
        window = slice(top + SIDE, top + SIDE + height), slice(left + SIDE, left + SIDE + width)
        if not np.array_equal(row["v"], whole[window].ravel()):
            wrong.append(f"{key} has other pixels")
        if "valid" in row and not np.array_equal(row["valid"], inside[window].ravel()):
            wrong.append(f"{key} has another validity")
    return wrong


COLUMNS = ["tile_id", "image_id", "transform", "width", "height", "v", "valid"]
KEPT = ("job.json", "runs/", "done/", "graphs/", "plans/", "locks/")
LOCKS = 16


def problems_at_the_end(store: Store, planned: set[Key], folder: Path) -> list[str]:
    """Return what is lost, doubled, torn, wrong or left behind in a dataset that should be complete."""
    found = [str(problem) for problem in verify(store).problems]
    rows = rows_of(store, "pixels", COLUMNS)
    found += wrong_pixels(rows)
    tiles = rows_of(store, "tiles", ["tile_id", "image_id", "status"])
    keys = [(row["tile_id"], row["image_id"]) for row in tiles]
    found += [f"tiles: {key} is there twice" for key in {key for key in keys if keys.count(key) > 1}]
    found += [f"lost: {key}" for key in sorted(planned - set(keys))]
    found += [f"nobody planned {key}" for key in sorted(set(keys) - planned)]
    found += [f"{row['tile_id']}: {row['status']}" for row in tiles if row["status"] not in ("ok", "empty")]
    ok = {(row["tile_id"], row["image_id"]) for row in tiles if row["status"] == "ok"}
    found += [f"pixels without a tile: {key}" for key in {(row["tile_id"], row["image_id"]) for row in rows} ^ ok]
    success = store.read("_SUCCESS")
    if success is None:
        found.append("no _SUCCESS")
    elif store.read(f"_ee_spark/runs/{json.loads(success[0]).get('run_id')}.json") is None:
        found.append("_SUCCESS names no run")
    names = [entry.name.removeprefix("_ee_spark/") for entry in store.list("_ee_spark/")]
    found += [f"left behind: _ee_spark/{name}" for name in names if not name.startswith(KEPT)]
    locks = sum(name.startswith("locks/") for name in names)
    if locks > LOCKS:
        found.append(f"{locks} locks")
    if (folder / "dataset/_ee_spark").is_dir():
        for place in ("tmp", "lanes"):
            found += [f"left behind: {path}" for path in (folder / f"dataset/_ee_spark/{place}").glob("*")]
    return found


def watch(store: Store, until: Path, strict: bool, told: Path) -> None:
    """Read the dataset again and again until the file ``until`` is there; write what was wrong to ``told``.

    Not ``strict``: rows may be there twice, since a job is being overwritten.
    """
    wrong: list[str] = []
    looks = 0
    while not until.exists():
        try:
            rows = rows_of(store, "pixels", COLUMNS)
        except Exception as error:
            wrong.append(f"a reader meanwhile: {error!r}")
        else:
            looks += 1
            wrong += [f"a reader meanwhile: {text}" for text in wrong_pixels(rows) if strict or "twice" not in text]
        time.sleep(0.25)
    told.write_text(json.dumps({"looks": looks, "wrong": wrong[:5]}))
