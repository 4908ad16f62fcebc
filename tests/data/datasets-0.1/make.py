"""Make the datasets of this folder with version 0.1.0, and write down what they hold, as the scenes' rasters say.

    git worktree add /tmp/before b0cda61
    python tests/data/datasets-0.1/make.py /tmp/before            # datasets and truth
    python tests/data/datasets-0.1/make.py /tmp/before --truth    # only truth.json, of the datasets that are there

The datasets are made by the code in the folder that is named, the last commit before its modules moved; this script
imports nothing of it. It needs what that version's tests need. Each job runs in /tmp/ee_spark-fixture, so that the
paths in the records of the runs are nobody's, and the name of the machine in them is replaced by ``fixture``. A dataset
made again has other run ids, times and part attempts, and the run that is killed stops elsewhere: tests go by
``truth.json``.

That is computed with rasterio and numpy from the rasters beside the emulator's catalog. What the tables say
is only looked at to compare, and, of the run that was killed, to see how far it came.
"""

from __future__ import annotations

import argparse
import base64
import csv
import datetime as dt
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import rasterio.warp
import yaml
from shapely import Polygon, box

HERE = Path(__file__).parent
WORK = Path("/tmp/ee_spark-fixture")
COMPLETE = ("ndvi-band", "ndvi-fill", "patches", "native")
KILLED = "stopped"
# What a later run adds: settings over the job file.
LATER: dict[str, dict[str, Any]] = {
    "ndvi-band": {"source.end": "2008-07-01"},
    "ndvi-fill": {"source.end": "2008-07-01"},
    "patches": {"region.points": "points-later.csv"},
    "native": {"region.bbox": [-34.900, -8.030, -34.876, -8.020]},
    "stopped": {"source.end": "2009-10-20"},
}
LATENCY_MS = 400
PARTS = 5
"""Parts of the run that is killed, when it is killed."""
KEYS = ["tile_id", "image_id"]

Plane = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """Rasters of one size and place: of each image the values of each band, and where they are valid."""

    crs: str
    resolution: float
    left: float
    top: float
    images: Mapping[str, Mapping[str, tuple[Plane, Mask]]]

    @property
    def offset(self) -> tuple[float, float]:
        """Where the lattice begins that the pixels lie on: less than a pixel from the CRS's origin."""
        return self.left % self.resolution, self.top % self.resolution

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """The column and row of a place, counted from the lattice's origin."""
        x0, y0 = self.offset
        return (x - x0) / self.resolution, (y0 - y) / self.resolution

    @property
    def corner(self) -> tuple[int, int]:
        """The column and row of the scene's corner."""
        column, row = self.pixel(self.left, self.top)
        return round(column), round(row)

    def window(self, image: str, band: str, place: tuple[int, int], size: tuple[int, int]) -> tuple[Plane, Mask]:
        """Values and validity of a block whose corner is the pixel ``place``; past the scene 0 and not valid."""
        values, valid = self.images[image][band]
        (column, row), (width, height) = place, size
        left, top = column - self.corner[0], row - self.corner[1]
        block, good = np.zeros((height, width), values.dtype), np.zeros((height, width), np.bool_)
        rows = slice(max(0, top), max(0, min(top + height, values.shape[0])))
        columns = slice(max(0, left), max(0, min(left + width, values.shape[1])))
        there = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        block[there], good[there] = values[rows, columns], valid[rows, columns]
        return block, good


@dataclass(frozen=True)
class Tile:
    """One tile: its name, and the pixel that is the corner of its core, counted from the lattice's origin."""

    name: str
    column: int
    row: int


def ndvi_scene(data: Path, assets: list[dict[str, Any]]) -> Scene:
    """Clear NDVI of every date: where Fmask is 0 and both bands are reflectances, computed in double precision."""
    read: dict[str, Plane] = {}
    for band in ("red", "nir", "fmask"):
        with rasterio.open(data / "landsat" / f"{band}.tif") as raster:
            read[band], crs, transform = raster.read(), raster.crs.to_string(), raster.transform
    images = {}
    for asset in assets:
        index = asset["bands"][0]["index"] - 1
        red, nir = (read[band][index].astype(np.float64) for band in ("red", "nir"))
        valid = (read["fmask"][index] == 0) & (red >= 0) & (nir >= 0) & (red + nir > 0)
        ndvi = np.zeros(red.shape, np.float32)
        ndvi[valid] = ((nir - red)[valid] / (nir + red)[valid]).astype(np.float32)
        images[asset["id"]] = {"NDVI": (ndvi, valid)}
    return Scene(crs, transform.a, transform.c, transform.f, images)


def stored_scene(data: Path, asset: dict[str, Any], bands: list[str]) -> Scene:
    """The bands of one stored image as they are; its rasters say of no pixel that it is none."""
    planes = {}
    for band in asset["bands"]:
        if band["id"] in bands:
            with rasterio.open(data / band["file"]) as raster:
                values, crs, transform = raster.read(band.get("index", 1)), raster.crs.to_string(), raster.transform
            planes[band["id"]] = values, np.ones(values.shape, np.bool_)
    return Scene(crs, transform.a, transform.c, transform.f, {asset["id"]: {band: planes[band] for band in bands}})


def scene_of(job: dict[str, Any], data: Path) -> Scene:
    """The images that a job reads, and nothing of the others."""
    assets = json.loads((data / "catalog.json").read_text())["assets"]
    source = job["source"]
    if "asset" in source:
        return stored_scene(data, next(asset for asset in assets if asset["id"] == source["asset"]), source["bands"])
    start, end = (dt.date.fromisoformat(str(source[key])) for key in ("start", "end"))
    mine = [asset for asset in assets if asset["id"].startswith(f"{source['collection']}/")]
    return ndvi_scene(data, [a for a in mine if start <= dt.date.fromisoformat(a["startTime"][:10]) < end])


def tiles_of(job: dict[str, Any], scene: Scene, folder: Path) -> Iterator[Tile]:
    """The tiles whose core the region and the scene touch; or a patch around each point."""
    side = job["grid"]["tile"]
    width, height = side if isinstance(side, list) else (side, side)
    region = job["region"]
    if "points" in region:
        points = list(csv.DictReader((folder / region["points"]).read_text().splitlines()))
        places = ([float(point[axis]) for point in points] for axis in ("lon", "lat"))
        for point, x, y in zip(points, *rasterio.warp.transform("OGC:CRS84", scene.crs, *places), strict=True):
            column, row = scene.pixel(x, y)
            yield Tile(point["id"], math.floor(column - width / 2 + 0.5), math.floor(row - height / 2 + 0.5))
        return
    outline = np.asarray(box(*region["bbox"]).segmentize(1e-4).exterior.coords)
    area = Polygon(zip(*rasterio.warp.transform("OGC:CRS84", scene.crs, *outline.T), strict=True))
    (rows, columns), (x0, y0) = next(iter(next(iter(scene.images.values())).values()))[0].shape, scene.offset
    whole = box(
        *(scene.left, scene.top - rows * scene.resolution, scene.left + columns * scene.resolution, scene.top),
    )
    west, south, east, north = area.bounds
    (first_column, first_row), (last_column, last_row) = scene.pixel(west, north), scene.pixel(east, south)
    for row in range(math.floor(first_row / height), math.floor(last_row / height) + 1):
        for column in range(math.floor(first_column / width), math.floor(last_column / width) + 1):
            left, top = x0 + column * width * scene.resolution, y0 - row * height * scene.resolution
            core = box(left, top - height * scene.resolution, left + width * scene.resolution, top)
            if core.intersection(area).area > 0 and core.intersection(whole).area > 0:
                yield Tile(f"{scene.crs.replace(':', '-')}/r{row}c{column}", column * width, row * height)


def rows_of(job: dict[str, Any], data: Path, folder: Path) -> list[dict[str, Any]]:
    """What each planned pair of tile and image holds, in the order of their names."""
    scene, pixels = scene_of(job, data), job["pixels"]
    side, margin = job["grid"]["tile"], job["grid"].get("margin", 0)
    width, height = side if isinstance(side, list) else (side, side)
    size = width + 2 * margin, height + 2 * margin
    core = slice(margin, margin + height), slice(margin, margin + width)
    rows = []
    for tile in tiles_of(job, scene, folder):
        for image, bands in scene.images.items():
            row: dict[str, Any] = {"tile": tile.name, "image": image, "status": "empty"}
            row |= {"valid": {}, "sum": {}, "core_valid": {}, "core_sum": {}}
            digest, checked, centre = hashlib.sha256(), list[Mask](), dict[str, float]()
            for band in bands:
                values, valid = scene.window(image, band, (tile.column - margin, tile.row - margin), size)
                if pixels["mask"] == "none":
                    valid = np.ones(valid.shape, np.bool_)
                values = np.where(valid, values, np.array(pixels.get("fill", 0), values.dtype))
                digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
                checked += [] if pixels["mask"] == "none" else [valid]
                for prefix, part in (("", slice(None)), ("core_", core)):
                    row[f"{prefix}valid"][band] = int(valid[part].sum())
                    row[f"{prefix}sum"][band] = math.fsum(values[part][valid[part]].tolist())
                if valid[core][height // 2, width // 2]:
                    centre[band] = values[core][height // 2, width // 2].item()
                row["status"] = "ok" if valid.any() else row["status"]
            for valid in checked:
                digest.update(valid.astype(np.uint8).tobytes())
            x0, y0 = scene.offset
            x = x0 + (tile.column + width // 2 + 0.5) * scene.resolution
            y = y0 - (tile.row + height // 2 + 0.5) * scene.resolution
            row |= {"left": x0 + (tile.column - margin) * scene.resolution}
            row |= {"top": y0 - (tile.row - margin) * scene.resolution}
            row |= {"centre": {"x": x, "y": y, **centre}, "sha256": digest.hexdigest()}
            rows.append(row)
    return sorted(rows, key=lambda row: (str(row["tile"]), str(row["image"])))


def total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many rows there are by status, and what their valid samples come to."""
    count = {"planned": len(rows), **{what: sum(row["status"] == what for row in rows) for what in ("ok", "empty")}}
    sums: dict[str, Any] = {}
    for name in ("valid", "core_valid"):
        sums[name] = {band: sum(row[name][band] for row in rows) for band in rows[0][name]}
    for name in ("sum", "core_sum"):
        sums[name] = {band: math.fsum(row[name][band] for row in rows) for band in rows[0][name]}
    return {**count, **sums}


def truth(name: str, data: Path) -> dict[str, Any]:
    """What the dataset ``name`` should hold, what a later run should make of it; refused where its tables differ."""
    folder = HERE / name
    job = yaml.safe_load((folder / "job.yaml").read_text())
    planned = {(row["tile"], row["image"]) for row in rows_of(job, data, folder)}
    later: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in job.items()}
    for key, value in LATER[name].items():
        section, _, last = key.partition(".")
        later[section][last] = value
    rows = rows_of(later, data, folder)
    found = written(folder / "dataset")
    for row in rows:
        pair = row["tile"], row["image"]
        row["when"] = "written" if pair in found else "missing" if pair in planned else "later"
    there = [row for row in rows if row["when"] == "written"]
    differ = found.items() ^ {(row["tile"], row["image"]): row["status"] for row in there}.items()
    if differ or (name != KILLED and found.keys() != planned) or (name == KILLED and not planned - found.keys()):
        raise SystemExit(f"{name}: tables and rasters differ: {differ or planned ^ found.keys()}")
    return {
        "written": total(there),
        "missing": len(planned) - len(there),
        "complete": total([row for row in rows if row["when"] != "later"]),
        "later": total(rows),
        "settings": LATER[name],
        "rows": rows,
    }


def written(dataset: Path) -> dict[tuple[str, str], str]:
    """What is final in a dataset: what the footers of its parts say, which the rows of ``pixels`` must agree with."""
    found: dict[tuple[str, str], str] = {}
    twice = 0
    for part in sorted((dataset / "pixels").glob("part-*.parquet")):
        footer = pq.read_metadata(part).metadata or {}
        if b"ee_spark.ledger" in footer:
            final = base64.b64decode(json.loads(footer[b"ee_spark.ledger"])["final"])
            rows = pa.ipc.open_stream(final).read_all().select([*KEYS, "status"]).to_pylist()
            twice += sum((row["tile_id"], row["image_id"]) in found for row in rows)
            found |= {(row["tile_id"], row["image_id"]): row["status"] for row in rows}
    ok = [(row["tile_id"], row["image_id"]) for row in pq.read_table(dataset / "pixels", columns=KEYS).to_pylist()]
    folded = pq.read_table(dataset / "tiles", columns=[*KEYS, "status"]).to_pylist()
    if twice or sorted(ok) != sorted(key for key, what in found.items() if what == "ok"):
        raise SystemExit(f"{dataset}: its parts do not agree with their footers; make it again")
    if any(found.get((row["tile_id"], row["image_id"])) != row["status"] for row in folded):
        raise SystemExit(f"{dataset}: a tile has failed; make it again")
    return found


def start(before: Path, name: str, *settings: str) -> subprocess.Popen[str]:
    """Start a job with the older version, on what this folder has for it, as a group of processes of its own."""
    shutil.rmtree(WORK / name, ignore_errors=True)
    shutil.copytree(HERE / name, WORK / name, ignore=shutil.ignore_patterns("dataset", "truth.json", "__pycache__"))
    known = {**os.environ, "PYTHONPATH": str(before), "PYTHONDONTWRITEBYTECODE": "1", "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, "-m", "ee_spark.java"]
    java = subprocess.run(command, env=known, cwd=before, check=True, capture_output=True, text=True).stdout.strip()
    return subprocess.Popen(
        [sys.executable, "jobs/extract.py", "--config", str(WORK / name / "job.yaml"), *settings],
        env={**known, "JAVA_HOME": java, "PYSPARK_PYTHON": sys.executable},
        cwd=before,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def finish(before: Path, name: str) -> None:
    """Run a job to its end."""
    stdout, _ = (process := start(before, name)).communicate(timeout=300)
    report = json.loads(stdout.splitlines()[-1])
    if process.returncode or report["status"] != "complete":
        raise SystemExit(f"{name}: {report}")


def kill(before: Path, name: str) -> None:
    """Run a job and kill it when it has published some parts; the workers' processes go with their Java."""
    process = start(before, name, "--set", f"earth_engine.emulator.latency_ms={LATENCY_MS}")
    pixels = WORK / name / "dataset" / "pixels"
    while len([part for part in pixels.glob("part-*.parquet") if "schema" not in part.name]) < PARTS:
        if process.poll() is not None:
            raise SystemExit(f"{name}: ended before it could be killed")
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there: list[Path] = []
    while there != (there := sorted((WORK / name).rglob("*"))):  # until nothing of it writes any more
        time.sleep(5)


def keep(name: str) -> None:
    """Bring a dataset into this folder, byte for byte but for the machine's name in the records of its runs."""
    kept = HERE / name / "dataset"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(WORK / name / "dataset", kept)
    for record in (kept / "_ee_spark" / "runs").glob("*.json"):
        record.write_bytes(re.sub(rb'("owner": \{\s*"host": )"[^"]*"', rb'\1"fixture"', record.read_bytes()))


def text_of(found: dict[str, Any]) -> str:
    """JSON with a line for each row: short, and readable where it changes."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in found["rows"])
    head = [f' "{key}": {json.dumps(value)},' for key, value in found.items() if key != "rows"]
    return "\n".join(["{", *head, ' "rows": [', rows, " ]", "}", ""])


def main() -> None:
    """Make all datasets, or only say what they hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path, help="a clone at commit b0cda61")
    parser.add_argument("--truth", action="store_true", help="only write truth.json")
    given = parser.parse_args()
    before = given.before.resolve()
    for name in (*COMPLETE, KILLED):
        if not given.truth:
            (kill if name == KILLED else finish)(before, name)
            keep(name)
        found = truth(name, before / "ee_spark" / "emulator" / "data")
        (HERE / name / "truth.json").write_text(text_of(found))
        print(name, found["written"], "missing", found["missing"], "later", found["later"]["planned"])


if __name__ == "__main__":
    main()
