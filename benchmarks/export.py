"""Mosaics: memory of one larger than it, and time against rasterio writing the same array in one go.

``python benchmarks/export.py [--cog MB] [--mosaic MB]``: raw megabytes of one band of uint16 in tiles of 256 pixels.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rasterio
from measure import used
from rasterio.transform import Affine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from read_data import write_raster_dataset

import ee_spark
from ee_spark.export import export


def ours(dataset: str, out: str, to: str, seconds: Any) -> None:
    started = time.perf_counter()
    export(ee_spark.open_dataset(dataset), to, out)
    seconds.put(time.perf_counter() - started)


def theirs(dataset: str, out: str, to: str, seconds: Any) -> None:
    """Have the array in memory, and write it by rasterio with the options of ours; only the writing counts."""
    opened = ee_spark.open_dataset(dataset)
    array = opened.to_xarray(masked=False).values[0]
    [image] = opened.tiles(["image_id"])["image_id"].unique().to_pylist()
    started = time.perf_counter()
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS", GDAL_TIFF_INTERNAL_MASK=True):
        options = {"compress": "DEFLATE", "predictor": "YES", "blocksize": 512, "overview_resampling": "NEAREST"}
        with rasterio.open(
            out,
            "w",
            driver="COG",
            width=array.shape[2],
            height=array.shape[1],
            count=1,
            dtype="uint16",
            crs="EPSG:32610",
            transform=Affine(10, 0, 0, 0, -10, 0),
            num_threads="ALL_CPUS",
            **options,
        ) as raster:
            raster.write(array)
            raster.update_tags(image=image)
    seconds.put(time.perf_counter() - started)


def held(target: Any, *arguments: Any) -> float:
    """Return the largest resident set, in MB, of a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_held, args=(theirs, target, arguments))
    process.start()
    theirs.close()
    peak = float(mine.recv())
    process.join()
    return peak


def _held(answer: Any, target: Any, arguments: tuple[Any, ...]) -> None:
    target(*arguments)
    answer.send(used()[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cog", type=int, default=1000)
    parser.add_argument("--mosaic", type=int, default=4000)
    parser.add_argument("--folder", help="where the data goes; by default a temporary directory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for megabytes, what in ((given.mosaic, "memory"), (given.cog, "time")):
            if not megabytes:
                continue
            path = f"{folder}/{what}"
            side = round((megabytes * 1e6 / (256 * 256 * 2)) ** 0.5)
            write_raster_dataset(Path(path), side, bands=1)
            queue = multiprocessing.get_context("spawn").Queue()
            memory = held(ours, path, f"{folder}/{what}.tif", "cog", queue)
            seconds = queue.get()
            print(
                f"COG of {side * side * 0.131072:,.0f} MB: {seconds:.1f} s, at most {memory:,.0f} MB resident",
                flush=True,
            )
            if what == "time":
                held(theirs, path, f"{folder}/theirs.tif", "cog", queue)
                floor = queue.get()
                print(f"rasterio, the array in memory: {floor:.1f} s: ours is {seconds / floor:.2f} x (within 1.3)")


if __name__ == "__main__":
    main()
