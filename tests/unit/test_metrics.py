"""A run report as OpenMetrics text: what the reference parser of the format makes of it is the report."""

from __future__ import annotations

from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ee_spark.metrics import TILES, openmetrics

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
    assert tiles == {state: REPORT[state] for state in TILES}
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
