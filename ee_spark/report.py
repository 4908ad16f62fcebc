"""The report of a run: built of what its lanes recorded, a typed value, and shown to people and to collectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from ee_spark.fetch import telemetry
from ee_spark.job import JobConfig
from ee_spark.lane.record import LaneRecord
from ee_spark.status import Emptiness, Status, TileStatus, empty_counts, tile_counts

NAMED_POINTS = 100
"""Ids of points that a report names."""
T = TypeVar("T")


class _Key(Generic[T]):
    """A key of the report as a read-only attribute."""

    def __init__(self, kind: type[T] | None = None) -> None:
        self._kind: Any = kind

    def __set_name__(self, owner: type[RunReport], name: str) -> None:
        self._name = name

    def __get__(self, report: RunReport | None, owner: type[RunReport] | None = None) -> T:
        if report is None:
            raise AttributeError(self._name)
        if self._name not in report:
            raise AttributeError(f"the run report has no {self._name!r}")
        value: T = self._kind(report[self._name]) if self._kind else report[self._name]
        return value

    def __set__(self, report: RunReport, value: NoReturn) -> None:
        raise AttributeError(f"a run report is read-only: {self._name}")


class RunReport(dict[str, Any]):
    """How a run ended, as a ``dict`` whose keys are attributes too.

    The tiles' counts describe all planned ones as they stand after the run: ``ok + empty + failed + skipped + missing
    == planned``. ``exit_code`` is what a command that made the run ends with.
    """

    run_id = _Key[str]()
    status = _Key(Status)
    planned = _Key[int]()
    ok = _Key[int]()
    empty = _Key[int]()
    failed = _Key[int]()
    skipped = _Key[int]()
    missing = _Key[int]()
    requests = _Key[int]()
    retries = _Key[int]()
    splits = _Key[int]()
    rejected = _Key[int]()
    bytes_in = _Key[int]()
    seconds = _Key[float]()
    path = _Key[str]()
    exit_code = _Key[int]()
    lanes = _Key[int]()
    fetch_seconds = _Key[float]()
    peak_in_flight = _Key[int]()
    requests_per_second = _Key["float | None"]()
    bytes_per_second = _Key["int | None"]()
    quota_use = _Key["float | None"]()
    latency_mean = _Key["float | None"]()
    latency_p50 = _Key["float | None"]()
    latency_p90 = _Key["float | None"]()
    latency_p95 = _Key["float | None"]()
    latency_p99 = _Key["float | None"]()
    latency_max = _Key["float | None"]()
    windows = _Key[list[list[tuple[float, float]]]]()
    statuses = _Key[dict[str, int]]()
    errors = _Key[dict[str, int]]()
    restricted = _Key[bool]()
    stopped = _Key["str | None"]()
    versions = _Key["str | None"]()
    footprint_exceeded = _Key[dict[str, int]]()
    points_without_image = _Key[int]()
    points_without_image_ids = _Key[list[str]]()
    empty_reasons = _Key[dict[str, int]]()
    changed = _Key[list[str]]()
    fetched_from_two_versions = _Key[list[str]]()

    def copy(self) -> RunReport:
        """Return a copy of the report."""
        return RunReport(self)


@dataclass(frozen=True)
class Changes:
    """Ids of images that changed since they were pinned, and of those that a run fetched from two versions.

    ``versions`` says whether loads carried the images' versions, and why; None where there was nothing to carry.
    """

    flagged: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()
    versions: str | None = None


def build(
    config: JobConfig,
    planned: int,
    run_id: str,
    lanes: Sequence[LaneRecord],
    rest: Mapping[str, int],
    stopped: str | None,
    changes: Changes,
    seconds: float,
    exceeded: Iterable[str] = (),
    unseen: Sequence[str] = (),
) -> RunReport:
    """Add up the lanes' records, and what the ``rest`` of the chunks is: the report of a run of ``planned`` pairs.

    ``exceeded`` are the ids of the images whose pixels reach beyond their footprints; they are counted by collection.
    ``unseen`` are the ids of points that no image covers, of which the first are named.
    """
    known = [status.value for status in TileStatus if status != TileStatus.MISSING]
    work = ["requests", "retries", "splits", "rejected", "bytes_in"]
    counts = Counter(rest)
    statuses: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    empties: Counter[str] = Counter()
    for lane in lanes:
        counts.update({name: getattr(lane, name, 0) + getattr(lane.traffic, name, 0) for name in (*known, *work)})
        statuses.update(lane.traffic.statuses)
        errors.update(lane.errors)
        empties.update(lane.empties)
    empties[Emptiness.UNKNOWN] += max(0, counts[TileStatus.EMPTY] - empties.total())  # of lanes that died
    missing = planned - sum(counts[name] for name in known)
    status, code = _ending(config.retry.max_failed, planned, counts[TileStatus.FAILED], missing, stopped, changes)
    return RunReport(
        {
            "run_id": run_id,
            "status": status.value,
            "planned": planned,
            **{name: counts[name] for name in known},
            "missing": missing,
            **{name: counts[name] for name in work},
            "seconds": round(seconds, 3),
            "path": config.output.path,
            "exit_code": code,
            "lanes": len(lanes),
            "fetch_seconds": round(max((lane.seconds for lane in lanes), default=0.0), 3),
            "peak_in_flight": sum(lane.peak_in_flight for lane in lanes),
            **telemetry.total(
                [lane.traffic for lane in lanes], config.earth_engine.concurrent_requests, counts["bytes_in"]
            ),
            "statuses": dict(statuses),
            "errors": dict(errors.most_common(10)),
            "restricted": any(lane.restricted for lane in lanes),
            "stopped": stopped,
            "versions": changes.versions,
            "footprint_exceeded": dict(sorted(Counter(name.rpartition("/")[0] for name in exceeded).items())),
            "points_without_image": len(unseen),
            "points_without_image_ids": list(unseen[:NAMED_POINTS]),
            "empty_reasons": {one: empties[one] for one in map(str, Emptiness) if empties[one]},
            "changed": list(changes.flagged),
            "fetched_from_two_versions": list(changes.mixed),
        }
    )


def _ending(
    allowed: int | str, planned: int, failed: int, missing: int, stopped: str | None, changes: Changes
) -> tuple[Status, int]:
    """Return how a run ended, and its exit code; ``allowed`` is a count of failed tiles, or a percentage."""
    limit = float(allowed.rstrip("%")) / 100 * planned if isinstance(allowed, str) else allowed
    if missing or stopped:
        return Status.STOPPED, 1
    if failed > limit:
        return Status.FAILED, 3
    if changes.mixed:
        return Status.CHANGED, 3
    return (Status.PARTIAL if failed else Status.COMPLETE), 0


def how_to_open(report: Mapping[str, Any]) -> str:
    """Return a few lines about a run's report: its counts, and how to open its tables with pandas, DuckDB and Spark."""
    path = report["path"]
    lines = [
        f"{report['status']}: {report['planned']:,} planned: {tile_counts(report)}; {report['requests']:,} requests "
        f"in {report['seconds']:.1f} s",
    ]
    reasons = empty_counts(report.get("empty_reasons") or {})
    lines += [f"empty: {reasons}"] if reasons else []
    lines += [f"stopped: {report['stopped']}; run the same command again, it resumes"] if report["stopped"] else []
    lines += [f"versions {report['versions']}"] if str(report.get("versions")).startswith("not sent") else []
    lines += [f"{count:,} × {message}" for message, count in report["errors"].items()]
    if not report["planned"]:
        lines.append("no image touches the region in this period: a dataset has its tables from its first image on")
    return "\n".join(
        [
            *lines,
            f"tables: {path}/pixels and {path}/tiles",
            f"  pandas  pandas.read_parquet({path + '/tiles'!r})",
            f"  DuckDB  SELECT status, count(*) FROM read_parquet('{path}/tiles/*.parquet') GROUP BY status",
            f"  Spark   spark.read.parquet({path + '/pixels'!r})",
        ]
    )


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

    For a textfile collector or a push gateway. All metrics are gauges with the label ``job_name``: a run that ended
    does not count on. The run's id is not a label, as every run would make new series; it stands in
    ``ee_spark_run_info``. Source: https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
    """
    return "\n".join([*_lines(report, {"job_name": name}), "# EOF", ""])


def _lines(report: Mapping[str, Any], labels: dict[str, str]) -> Iterator[str]:
    yield from _head("run", "info", "", "The run that the other metrics describe.")
    yield _sample("run_info", {**labels, "run_id": str(report["run_id"]), "path": str(report["path"])}, 1)
    yield from _head("run_status", "stateset", "", "How the run ended.")
    for status in Status:
        yield _sample("run_status", {**labels, "ee_spark_run_status": status}, int(report["status"] == status))
    yield from _head("tiles", "gauge", "", "Planned tiles as they stand after the run.")
    for state in TileStatus:
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
