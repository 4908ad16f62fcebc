"""Quota use: requests per second over what the requests in flight allow at the mean latency, on local[2].

2,000 tiles of 128 × 128 × uint16 at 0.5 s with 40 in flight; 6,000 with 200 in flight and 30,000 requests per minute.
Aim: 0.97 and 0.9, and not one 429.
"""

from __future__ import annotations

import os
import sys

import bench

CASES = ((40, 6_000, 50, 40, 0.95), (200, 30_000, 100, 60, 0.9))


def main() -> int:
    os.environ.setdefault("MASTER", "local[2]")
    from ee_spark import cluster, extract
    from ee_spark.config import parse

    spark, good = None, True
    for concurrent, minute, columns, rows, least in CASES:
        with bench.scratch() as folder:
            catalog = bench.noise(folder, columns * 128, rows * 128, 1, 128)
            with bench.served(catalog, latency_ms=500, quota=concurrent, requests_per_minute=minute) as url:
                engine = {"concurrent_requests": concurrent, "requests_per_minute": minute, "lanes": 2}
                data = bench.job(url, folder / "out", columns * 128, rows * 128, 128, earth_engine=engine)
                spark = spark or cluster.session(parse(data))
                report = extract.run(data, spark, extract.Options(progress="none"))
                refused = bench.stats(url)["by_status"].get("429", 0)
        good &= report["quota_use"] >= least and not refused and report["ok"] == columns * rows
        print(
            f"{concurrent} in flight: quota use {report['quota_use']:.3f} (at least {least}): "
            f"{report['requests']} requests, {report['requests_per_second']:.1f}/s, "
            f"latency mean {report['latency_mean']:.3f} s, p95 {report['latency_p95']:.3f} s, "
            f"{refused} refused, peak {report['peak_in_flight']} in flight"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
