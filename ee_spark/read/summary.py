"""What a run left behind, for people: where the tables are, and a line for each program that opens them."""

from __future__ import annotations

from typing import Any


def how_to_open(report: dict[str, Any]) -> str:
    """Return a few lines about a run's report: its counts, and how to open its tables with pandas, DuckDB and Spark."""
    path = report["path"]
    counts = ", ".join(f"{report[name]:,} {name}" for name in ("ok", "empty", "failed", "skipped", "missing"))
    lines = [
        f"{report['status']}: {report['planned']:,} planned: {counts}; {report['requests']:,} requests "
        f"in {report['seconds']:.1f} s",
    ]
    lines += [f"stopped: {report['stopped']}; run again, it resumes"] if report["stopped"] else []
    lines += [f"{count:,} × {message}" for message, count in report["errors"].items()]
    return "\n".join(
        [
            *lines,
            f"tables: {path}/pixels and {path}/tiles",
            f"  pandas  pandas.read_parquet({path + '/tiles'!r})",
            f"  DuckDB  SELECT status, count(*) FROM read_parquet('{path}/tiles/*.parquet') GROUP BY status",
            f"  Spark   spark.read.parquet({path + '/pixels'!r})",
        ]
    )
