"""A job.json is data that anybody who can write there made: what is no job is told in one line, and never used."""

from __future__ import annotations

import json
from typing import Any

import pytest
from places import REPO

from ee_spark.errors import DamagedError
from ee_spark.limits import MAX_RECORD
from ee_spark.store.manifest import parse

JOB = (REPO / "tests" / "data" / "datasets-0.1" / "ndvi-band" / "dataset" / "_ee_spark" / "job.json").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": []},
        {"fingerprint": "../.."},
        {"fingerprint": None},
        {"name": 7},
        {"replaced": "x"},
        {"replaced": {}},
        {"replaced": [""]},
        {"replaced": ["../../../x"]},
        {"identity": []},
        {"frozen": None},
    ],
)
def test_a_job_of_other_values_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedError, match=r"job's manifest: .*; put back a copy") as told:
        parse(json.dumps({**json.loads(JOB), **changes}).encode(), "/data")
    assert told.value.exit_code == 2


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"[" * 10**5, JOB[:-9], JOB + b" " * MAX_RECORD])
def test_what_is_no_json_or_too_long_is_refused(data: bytes) -> None:
    assert parse(JOB, "/data").fingerprint == json.loads(JOB)["fingerprint"]
    with pytest.raises(DamagedError):
        parse(data, "/data")
