"""The boundary: whatever is raised while a user's input is read is one line that says where; no traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from ee_spark.boundary import SHOWN, in_one_line, reading, shortened
from ee_spark.errors import JobError, StoppedError


def raising(error: BaseException, **options: object) -> str:
    with pytest.raises(JobError) as caught, reading("region.points", "p.csv", **options):  # type: ignore[arg-type]
        raise error
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("row 3\nhas 2 fields"), "region.points: p.csv: cannot be read (row 3 has 2 fields)"),
        (KeyError("type"), "region.points: p.csv: cannot be read (no 'type')"),
        (RecursionError(), "region.points: p.csv: cannot be read (RecursionError)"),
        (MemoryError(), "region.points: p.csv: cannot be read (MemoryError)"),
        (ZeroDivisionError("division by zero"), "cannot be read (division by zero)"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "invalid start byte"),
    ],
)
def test_any_error_is_one_line_with_its_place(error: Exception, said: str) -> None:
    assert said in raising(error)


def test_of_the_users_own_code_type_and_line_are_told() -> None:
    said = raising(ValueError("no such thing"), what="maps.py:f failed", code=True)
    assert said.startswith("region.points: p.csv: maps.py:f failed: ValueError: no such thing (test_boundary.py line ")
    assert "SystemExit: 3" in raising(SystemExit(3), code=True)


@pytest.mark.parametrize("error", [StoppedError("stop"), KeyboardInterrupt()])
def test_our_own_errors_and_interrupts_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, reading("source"):
        raise error
    assert caught.value is error


def test_the_traceback_is_there_for_those_who_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "ee_spark"):
        raising(ValueError("no"))
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.exc_info is not None


def test_a_long_value_is_cut() -> None:
    assert shortened("a\nb") == "a b"
    assert shortened("x" * 5000) == "x" * SHOWN + "…"


def command(body: Callable[[], object]) -> click.Command:
    return click.command()(in_one_line(lambda: body()))


def test_the_last_resort_of_a_command_is_one_line_too() -> None:
    def broken() -> None:
        raise ZeroDivisionError("division\nby zero")

    done = CliRunner().invoke(command(broken))
    assert done.exit_code == 1
    assert done.stderr.startswith("unexpected ZeroDivisionError: division by zero (test_boundary.py line ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "body"), [(2, lambda: click.get_current_context().fail("no")), (3, lambda: sys.exit(3))]
)
def test_what_click_tells_itself_stays_as_it_is(code: int, body: Callable[[], object]) -> None:
    done = CliRunner().invoke(command(body))
    assert done.exit_code == code
    assert "unexpected" not in done.stderr
