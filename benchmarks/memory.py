"""Peak memory of a lane against its bound: 300 MB + 2 × threads × request bytes + 3 × part bytes.

5,000 small tiles in small parts, then large tiles, where the requests in flight are what counts.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from measure import used

from ee_spark.lane import work

CASES = ((128, 2, 100, 50, 20, "128MB"), (1024, 4, 8, 5, 8, "64MB"))


def plan(url: str, tile: int, columns: int, rows: int, threads: int, part: str, out: Path) -> None:
    """Leave a lane as the driver sends it to its worker."""
    import bench

    engine = {"requests_per_minute": 600_000, "concurrent_requests": threads}
    output = {"path": str(out), "part_size": part}
    data = bench.job(url, out, columns * tile, rows * tile, tile, earth_engine=engine, output=output)
    (share,) = bench.shares_of(data)
    out.with_suffix(".lane").write_bytes(pickle.dumps(share.lane(None)))


def child(lane_file: Path) -> dict[str, Any]:
    """Do a lane's work in a process that has done nothing else."""
    lane = pickle.loads(lane_file.read_bytes())
    record = work(lane)
    brief = lane.brief
    assert record.missing == 0, record
    bound = 300 + (2 * lane.threads * brief.layout.frozen.tile_bytes + 3 * brief.part_size) / 1e6
    return {"peak": used()[1], "bound": bound, "parts": record.parts}


def main() -> int:
    import bench

    from ee_spark import cluster

    good = True
    for tile, bands, columns, rows, threads, part in CASES:
        with bench.scratch() as folder:
            catalog = bench.noise(folder, columns * tile, rows * tile, bands, 128)
            os.environ.update(cluster.WORKERS)
            with bench.served(catalog) as url:
                bench.measured(__file__, url, tile, columns, rows, threads, part, folder / "out")
                found = bench.measured(__file__, folder / "out.lane")
        ratio = found["peak"] / found["bound"]
        good &= ratio <= 1
        print(
            f"{columns * rows} tiles of {tile} × {tile} × {bands} uint16, {threads} threads, parts of {part}: "
            f"{ratio:.2f} × the bound: peak {found['peak']:.0f} MB of {found['bound']:.0f} MB, {found['parts']} parts"
        )
    return 0 if good else 1


if __name__ == "__main__":
    if len(sys.argv) > 2:
        url, tile, columns, rows, threads, part, out = sys.argv[1:]
        plan(url, int(tile), int(columns), int(rows), int(threads), part, Path(out))
        print("{}")
    elif len(sys.argv) > 1:
        print(json.dumps(child(Path(sys.argv[1]))))
    else:
        sys.exit(main())
