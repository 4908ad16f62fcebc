"""Reading back: numpy against ``pq.read_table`` of the same columns, and torch samples on one core.

``python benchmarks/read.py [--tiles 1000]``: prints MB of raw pixel bytes per second, and ratios taken in one run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from read_data import write_raster_dataset

import ee_spark

ROUNDS = 3


def best(run: Any, clock: Any = time.perf_counter) -> float:
    seconds: list[float] = []
    for _ in range(ROUNDS):
        started = clock()
        run()
        seconds.append(clock() - started)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiles", type=int, default=1024, help="tiles of 256 x 256 pixels in 4 bands of uint16")
    side = int(parser.parse_args().tiles ** 0.5)
    with tempfile.TemporaryDirectory() as folder:
        write_raster_dataset(Path(folder), side, bands=4)
        dataset = ee_spark.open_dataset(folder)
        raw = dataset.counts["ok"] * 256 * 256 * 8 / 1e6
        parts = [str(Path(folder) / name) for name in dataset.parts if "schema" not in name]
        columns = list(dataset.bands)

        floor = best(lambda: [pq.read_table(part, columns=columns) for part in parts])
        ours = best(lambda: dataset.to_numpy())
        print(
            f"pq.read_table {raw / floor:,.0f} MB/s, to_numpy {raw / ours:,.0f} MB/s: {ours / floor:.2f} x (within 1.5)"
        )
        stream = best(lambda: sum(len(blocks) for blocks in dataset.batches()))
        print(f"batches {raw / stream:,.0f} MB/s: {stream / floor:.2f} x")
        try:
            import torch
        except ImportError:
            print("torch is not installed")
            return
        torch.set_num_threads(1)
        import pyarrow as pa

        pa.set_cpu_count(1)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        # Seconds of the processor, so that other programs on it do not count.
        samples = best(lambda: sum(1 for _ in dataset.to_torch(shuffle=True)), time.process_time)
        print(f"torch {raw / samples:,.0f} MB/s of one core (at least 300)")


if __name__ == "__main__":
    main()
