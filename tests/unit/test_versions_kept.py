"""What job.json keeps of versions, and unquoted dates: what older files say, and milliseconds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from job_files import job
from places import REPO

from ee_spark.core_yaml import loads
from ee_spark.errors import DamagedError, JobError
from ee_spark.planner.versions import Versions
from ee_spark.store.manifest import parse

JOB = (REPO / "tests" / "data" / "datasets-0.1" / "ndvi-band" / "dataset" / "_ee_spark" / "job.json").read_bytes()


def with_versions(value: Any) -> bytes:
    return json.dumps({**json.loads(JOB), "versions": value}).encode()


def test_an_older_dataset_sends_versions() -> None:
    assert "versions" not in json.loads(JOB)
    assert parse(JOB, "/data").frozen.versions is True
    assert [parse(with_versions(value), "/data").frozen.versions for value in (True, False, None)] == [
        True,
        False,
        None,
    ]
    for wrong in (1, "yes", [], {}):
        with pytest.raises(DamagedError, match="versions"):
            parse(with_versions(wrong), "/data")


@pytest.mark.parametrize(
    ("pin", "known", "sent"),
    [("auto", None, True), ("auto", True, True), ("auto", False, False), (False, True, False), (True, None, True)],
)
def test_versions_are_sent_where_job_and_service_say_so(pin: Any, known: bool | None, sent: bool) -> None:
    found = Versions(pin, known, applies=True)
    assert found.sent is sent
    assert found.probe(lambda version: version, "C/I", 5, None) == (5 if sent else -1)
    assert not Versions(pin, known, applies=False).sent


def test_pin_true_is_refused_where_versions_are_not_taken() -> None:
    with pytest.raises(JobError, match="write pin: auto"):
        Versions(True, False, applies=True)


def test_milliseconds_of_an_unquoted_date_are_kept() -> None:
    dates = loads("start: 2020-02-29T00:00:00.100Z\nend: 2020-03-01T09:00:00.5+09:00\n", "x")
    found = job({"source": {"collection": "SERIES", **dates}})
    assert (found.source.start, found.source.end) == ("2020-02-29T00:00:00.100Z", "2020-03-01T09:00:00.5+09:00")
    plain = loads("start: 2020-02-29T12:00:00Z\nend: 2020-03-01\n", "x")
    found = job({"source": {"collection": "SERIES", **plain}})
    assert (found.source.start, found.source.end) == ("2020-02-29T12:00:00Z", "2020-03-01")
