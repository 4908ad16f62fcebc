"""The run report: a dict whose keys are typed attributes; as OpenMetrics text, what the format's own parser reads."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from job_files import job
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ee_spark.fetch.telemetry import Traffic
from ee_spark.lane.record import LaneRecord
from ee_spark.report import Changes, RunReport, build, how_to_open, openmetrics
from ee_spark.status import Status, TileStatus

REPORT: dict[str, Any] = {
    **{"run_id": 'a"run\\', "status": "partial", "planned": 100, "ok": 60, "empty": 20, "failed": 5, "skipped": 10},
    **{"missing": 5, "requests": 91, "retries": 3, "splits": 1, "rejected": 2, "bytes_in": 123456789},
    **{"seconds": 12.5, "path": "gs://bucket/a\nb"},
}


def test_the_text_is_the_report() -> None:
    text = openmetrics(REPORT, "a-job")
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    tiles = {sample.labels["state"]: sample.value for sample in families["ee_spark_tiles"].samples}
    assert tiles == {state: REPORT[state] for state in TileStatus}
    assert sum(tiles.values()) == families["ee_spark_tiles_planned"].samples[0].value == 100
    [run] = families["ee_spark_run"].samples
    assert run.labels == {"job_name": "a-job", "run_id": 'a"run\\', "path": "gs://bucket/a\nb"}
    status = {sample.labels["ee_spark_run_status"]: sample.value for sample in families["ee_spark_run_status"].samples}
    assert status == {"complete": 0, "partial": 1, "failed": 0, "changed": 0, "stopped": 0}
    assert families["ee_spark_duration_seconds"].unit == "seconds"
    assert families["ee_spark_received_bytes"].samples[0].value == 123456789
    for key in ("requests", "retries", "splits", "rejected"):
        assert families[f"ee_spark_{key}"].samples[0].value == REPORT[key]
    assert {labels for family in families.values() for sample in family.samples for labels in sample.labels} == {
        *("job_name", "run_id", "path", "ee_spark_run_status", "state")
    }


def test_no_run_makes_new_series() -> None:
    """All but the info have the same labels in every run."""
    first, second = (openmetrics({**REPORT, "run_id": name}, "a-job").splitlines() for name in ("one", "two"))
    differ = [a for a, b in zip(first, second, strict=True) if a != b]
    assert len(differ) == 1
    assert differ[0].startswith("ee_spark_run_info{")


TRAFFIC = Traffic(
    requests=9,
    retries=2,
    splits=1,
    statuses={"200": 8, "429": 1},
    latencies={-35: 9},
    busy_seconds=4.5,
    fetching_seconds=3.0,
    windows=((0.0, 5.0),),
)
LANE = LaneRecord(
    lane=0,
    ok=3,
    empty=1,
    failed=1,
    skipped=2,
    traffic=TRAFFIC,
    rejected=1,
    bytes_in=4096,
    peak_in_flight=5,
    errors={"no such band": 1},
    seconds=4.0,
)


def built(planned: int = 16, stopped: str | None = None, mixed: tuple[str, ...] = (), **retry: Any) -> RunReport:
    config = job({"retry": retry} if retry else {})
    return build(config, planned, "a-run", [LANE, LANE], {"skipped": 2}, stopped, Changes((), mixed), 5.0)


def test_lanes_and_the_rest_of_the_chunks_add_up() -> None:
    report = built()
    assert (report.ok, report.empty, report.failed, report.skipped, report.missing) == (6, 2, 2, 6, 0)
    assert (report.planned, report.requests, report.bytes_in, report.lanes) == (16, 18, 8192, 2)
    assert report.statuses == {"200": 16, "429": 2}
    assert report.errors == {"no such band": 2}
    assert (report.seconds, report.fetch_seconds, report.peak_in_flight) == (5.0, 4.0, 10)
    assert report.quota_use == round(9 / (3 * 40), 4)
    assert " ".join(report).startswith(
        "run_id status planned ok empty failed skipped missing requests retries splits rejected bytes_in seconds path"
    )


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"max_failed": 0}, Status.FAILED, 3),
        ({"max_failed": 1}, Status.FAILED, 3),
        ({"max_failed": 2}, Status.PARTIAL, 0),
        ({"max_failed": "12.5%"}, Status.PARTIAL, 0),
        ({"max_failed": "12.4%"}, Status.FAILED, 3),
        ({"max_failed": 2, "mixed": ("A/1",)}, Status.CHANGED, 3),
        ({"max_failed": 2, "planned": 17}, Status.STOPPED, 1),
        ({"max_failed": 2, "stopped": "daily quota"}, Status.STOPPED, 1),
    ],
)
def test_how_a_run_ends(given: dict[str, Any], status: Status, code: int) -> None:
    report = built(**given)
    assert report.status is status
    assert report["status"] == status.value
    assert type(report["status"]) is str
    assert report.exit_code == code


def test_a_report_is_the_dict_that_it_was() -> None:
    report = built()
    assert isinstance(report, dict)
    assert json.loads(json.dumps(report))["status"] == report["status"] == "failed"
    assert {**report} == dict(report) == report
    for twin in (pickle.loads(pickle.dumps(report)), copy.copy(report), copy.deepcopy(report), report.copy()):
        assert type(twin) is RunReport
        assert twin == report
        assert twin.status is Status.FAILED


def test_every_key_is_an_attribute_and_none_can_be_set() -> None:
    report = built()
    for key, value in report.items():
        assert getattr(report, key) == value
        with pytest.raises(AttributeError, match="read-only"):
            setattr(report, key, value)
    with pytest.raises(AttributeError, match="no 'quota_use'"):
        _ = RunReport({"status": "complete"}).quota_use


def test_the_summary_says_counts_errors_and_how_to_go_on() -> None:
    text = how_to_open(built(stopped="the daily quota is used up"))
    assert text.startswith("stopped: 16 planned: 6 ok, 2 empty, 2 failed, 6 skipped, 0 missing; 18 requests in 5.0 s")
    assert "stopped: the daily quota is used up; run the same command again, it resumes" in text
    assert "2 × no such band" in text


def test_empty_tiles_have_a_reason_or_are_told_as_unknown() -> None:
    """A lane that died noted none: what it committed as empty is counted, and nobody says why."""
    config = job()
    told = replace(LANE, empty=4, empties={"masked": 3, "no_image": 1})
    silent = replace(LANE, empty=2)
    report = build(config, 20, "a-run", [told, silent], {"skipped": 2, "empty": 1}, None, Changes(), 5.0)
    assert report.empty == 7
    assert report.empty_reasons == {"masked": 3, "no_image": 1, "unknown": 3}
    assert "\nempty: 3 masked, 1 without an image, 3 for a reason that was not noted\n" in how_to_open(report)
    assert built().empty_reasons == {"unknown": 2}
    old = {key: value for key, value in report.items() if key != "empty_reasons"}
    assert "\nempty:" not in how_to_open(old), "the report of an earlier version"
    assert LaneRecord.from_json(json.loads(json.dumps(told.to_json()))) == told
    with pytest.raises(ValueError, match="a reason that no empty tile has"):
        LaneRecord.from_json({**told.to_json(), "empties": {"planted": 1}})
