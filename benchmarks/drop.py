"""The service's quota drops to half in the middle of a run, and comes back: how much is refused, and what is used.

Two lanes of 20, 0.25 s a request. At most 3 % of what is sent from the drop on may be refused.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from dataclasses import replace

import bench

from ee_spark.lane.record import LaneRecord

COLUMNS, ROWS, TILE = 90, 60, 32
MOST = 0.03


def main() -> int:
    with bench.scratch() as folder:
        catalog = bench.noise(folder, COLUMNS * TILE, ROWS * TILE, 1, 128)
        with bench.served(catalog, latency_ms=250, quota=40) as url:
            engine = {"requests_per_minute": 60_000, "concurrent_requests": 40}
            data = bench.job(url, folder / "out", COLUMNS * TILE, ROWS * TILE, TILE, earth_engine=engine)
            (share,) = bench.shares_of(data)
            chunks = [half for chunk in share.chunks for half in chunk.halves()]
            shares = [replace(share, index=i, chunks=tuple(chunks[i::2]), threads=20) for i in range(2)]
            found: list[LaneRecord] = []
            running = threading.Thread(target=lambda: found.extend(bench.run_side_by_side(shares)))
            running.start()
            marks = []
            for quota, seconds in ((40, 6.0), (20, 12.0), (40, 8.0), (40, 0.0)):
                bench.traffic(url, quota=quota)
                marks.append((time.monotonic(), bench.stats(url)))
                time.sleep(seconds)
            running.join()
            end = bench.stats(url)
    rates = []
    for (start, before), (stop, after) in itertools.pairwise(marks):
        rates.append((after["by_status"].get("200", 0) - before["by_status"].get("200", 0)) / (stop - start))
    refused = end["by_status"].get("429", 0) - marks[1][1]["by_status"].get("429", 0)
    sent = end["requests"] - marks[1][1]["requests"]
    part = refused / sent
    good = part <= MOST and not marks[1][1]["by_status"].get("429", 0)
    good &= sum(record.ok for record in found) == COLUMNS * ROWS and rates[2] > 1.3 * rates[1]
    print(
        f"quota 40 → 20 → 40: {part:.4f} of {sent} requests refused from the drop on (at most {MOST}); "
        f"{rates[0]:.0f}/s before, {rates[1]:.0f}/s at half, {rates[2]:.0f}/s in the 8 s after it came back; "
        f"all {COLUMNS * ROWS} tiles arrived"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
