"""Errors: one table of ways out, one form of one line."""

from __future__ import annotations

from typing import get_args

import pytest

from ee_spark.errors import MissingExtraError, ServiceError, missing_extra, one_line, way_out
from ee_spark.planner.listing import refused
from ee_spark.refusals import Kind

HOPELESS = {"permanent", "too_big"}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_each_kind_of_refusal_has_a_way_out(kind: Kind) -> None:
    error = ServiceError("it said no", kind=kind, status=400)
    assert bool(way_out(error)) is (kind not in HOPELESS)
    told = refused("source.asset", "A", error)
    way = way_out(error, "run")
    assert str(told) == f"source.asset: 'A': it said no{'; ' + way if way else ''}"
    assert told.exit_code == (2 if kind in {*HOPELESS, "access"} else 1), "an outage passes: run again"


def test_no_answer_and_no_login_come_before_the_kind() -> None:
    assert "HTTPS_PROXY" in way_out(ServiceError("gone", kind="unavailable", status=0))
    assert "application-default login" in way_out(ServiceError("who?", kind="access", status=401))


def test_one_line_is_short_and_never_empty_for_an_error() -> None:
    assert one_line("a\n  b\tc\u2028d") == "a b c d"
    assert one_line("x" * 1000) == "x" * 500
    assert one_line("x" * 1000, None) == "x" * 1000
    assert one_line(KeyError()) == "KeyError"
    assert one_line("") == ""
    assert one_line("a\0b\x1b[1m\ud800") == "a\\x00b\\x1b[1m\\ud800"


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def test_what_cannot_be_written_is_named() -> None:
    assert one_line(MuteError()) == "MuteError that cannot be written"
    assert one_line(10**5000) == "int that cannot be written"


def test_a_missing_extra_is_an_import_error_that_names_it() -> None:
    error = missing_extra("s3://", "boto3", "s3")
    assert isinstance(error, ImportError)
    assert isinstance(error, MissingExtraError)
    assert str(error) == "s3://: boto3 is not installed; pip install 'ee-spark[s3]'"
    assert error.exit_code == 2
