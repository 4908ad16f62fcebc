"""A run report as OpenMetrics text, for a textfile collector or a push gateway.

Source of the format: https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TILES = ("ok", "empty", "failed", "skipped", "missing")
STATUSES = ("complete", "partial", "failed", "changed", "stopped")
# Of the report: its key, the metric's name, unit and help.
_GAUGES = (
    ("planned", "tiles_planned", "", "Pairs of image and tile that the run planned."),
    ("seconds", "duration_seconds", "seconds", "How long the run took."),
    ("requests", "requests", "", "Requests sent to Earth Engine."),
    ("retries", "retries", "", "Requests sent again."),
    ("splits", "splits", "", "Requests cut into quadrants."),
    ("rejected", "rejected", "", "Answers that were refused for the quota."),
    ("bytes_in", "received_bytes", "bytes", "Bytes of pixels received."),
)


def openmetrics(report: Mapping[str, Any], name: str) -> str:
    """Return a run report of the job ``name`` as OpenMetrics text, which ends with ``# EOF``.

    All metrics are gauges with the label ``job_name``: a run that ended does not count on. The run's id is no label,
    for every run would make new series; it stands in ``ee_spark_run_info``.
    """
    return "\n".join([*_lines(report, {"job_name": name}), "# EOF", ""])


def _lines(report: Mapping[str, Any], labels: dict[str, str]) -> Iterator[str]:
    yield from _head("run", "info", "", "The run that the other metrics describe.")
    yield _sample("run_info", {**labels, "run_id": str(report["run_id"]), "path": str(report["path"])}, 1)
    yield from _head("run_status", "stateset", "", "How the run ended.")
    for status in STATUSES:
        yield _sample("run_status", {**labels, "ee_spark_run_status": status}, int(report["status"] == status))
    yield from _head("tiles", "gauge", "", "Planned tiles as they stand after the run.")
    for state in TILES:
        yield _sample("tiles", {**labels, "state": state}, report[state])
    for key, metric, unit, text in _GAUGES:
        yield from _head(metric, "gauge", unit, text)
        yield _sample(metric, labels, report[key])


def _head(metric: str, kind: str, unit: str, text: str) -> Iterator[str]:
    yield f"# TYPE ee_spark_{metric} {kind}"
    if unit:
        yield f"# UNIT ee_spark_{metric} {unit}"
    yield f"# HELP ee_spark_{metric} {text}"


def _sample(metric: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"ee_spark_{metric}{{{inside}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
