"""The boundary: whatever is raised while a user's input is read is one line that says where; no traceback."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from ee_spark.boundary import LONGEST, SHOWN, cut, in_one_line, plain, reading, shortened, shown
from ee_spark.errors import JobError, ServiceError, StoppedError, way_out


def raising(error: BaseException, **options: object) -> str:
    with pytest.raises(JobError) as caught, reading("region.points", "p.csv", **options):  # type: ignore[arg-type]
        raise error
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "wrong", [lambda: None["type"], lambda: [][0], lambda: "".geometry, lambda: (lambda a, b: a)(*[])]
)  # type: ignore[index,attr-defined,call-arg]
def test_words_of_python_are_left_out(wrong: Callable[[], object]) -> None:
    with pytest.raises(JobError) as caught, reading("region.points", what="is not a Point"):
        wrong()
    assert str(caught.value) == "region.points: is not a Point"


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
    assert shown(10**5000) == "a number of about 5,001 digits"
    assert shown([[[[[[1]]]]]]) == "[[[[[...]]]]]"
    laughs: list[object] = ["lol"]
    for _ in range(30):
        laughs = [laughs] * 10
    assert len(shown(laughs)) <= SHOWN + 1
    assert len(shown("x" * 10**6)) <= SHOWN + 1
    assert shown({"a": [1, 2.5, None]}) == "{'a': [1, 2.5, None]}"
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
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted; what was published holds: run again, and it resumes"),
        (MemoryError(), 1, "not enough memory (test_boundary.py line "),
        (RecursionError("too deep"), 1, "unexpected RecursionError: too deep"),
        (JobError("word " * 300 + "; write less"), 2, "; write less"),
        (StoppedError("away\x1b[2J\nnow"), 1, "away\\x1b[2J now"),
    ],
)
def test_a_command_ends_with_one_short_line(error: BaseException, code: int, said: str) -> None:
    def body() -> None:
        raise error

    done = CliRunner().invoke(command(body))
    assert done.exit_code == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) <= LONGEST + 1


def test_a_message_is_cut_between_words_and_keeps_its_end() -> None:
    assert cut("short") == "short"
    text = cut("the fact " + "word " * 200 + "https://example.com/a/long/address; the way out")
    assert len(text) <= LONGEST
    assert text.startswith("the fact word ")
    assert text.endswith(" word https://example.com/a/long/address; the way out")


def test_a_long_way_out_is_told_whole() -> None:
    denied = ServiceError("Caller does not have permission. " * 20, kind="access", status=403)
    for way in ("write " + "less " * 40 + "of it", way_out(denied)):
        text = cut(f"the fact {'word ' * 200}; {way}")
        assert len(text) <= LONGEST
        assert text.startswith("the fact word ")
        assert text.endswith(f"word …; {way}")


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"grid": {"scale": INF}}, "job: grid.scale: got inf: not a finite number; write one"),
        ({"a": [1, {"b": NAN}]}, "job: a.1.b: got nan: not a finite number"),
        ({"a": 10**400}, "job: a: got a number of about 401 digits: a number that no job can hold"),
        ({"a": -(2**63)}, "job: a: got -9223372036854775808: a number that no job can hold"),
        ({1: 2}, "job: job: got 1: a key that is not text; write it quoted"),
        ({"a": {None: 2}}, "job: a: got None: a key that is not text"),
        ({"a": "b\0c"}, "a text with '\\x00', which no name can have"),
        ({"a": "\ud800"}, "a text with '\\ud800', which no name can have"),
        ({"a\0": 1}, "which no name can have"),
        ({"a": "x" * 30_000}, "a text of 30,000 characters; write one of at most 20,000"),
        ({"x" * 30_000: 1}, "a text of 30,000 characters"),
        ({"a": b"bytes"}, "a value of type bytes; write text, a number"),
        ({"a": {1, 2}}, "a value of type set"),
        ({"a": object()}, "a value of type object"),
        ({"a": [0] * 60_000}, "it is of more than 50,000 values"),
    ],
    ids=range(15),
)
def test_what_no_job_can_hold_is_refused_by_its_key(data: dict[object, object], said: str) -> None:
    with pytest.raises(JobError) as caught:
        plain(data, "job")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_a_mapping_that_holds_itself_is_refused() -> None:
    data: dict[str, object] = {}
    data["a"] = [data]
    with pytest.raises(JobError, match="it is more than 40 levels deep"):
        plain(data, "job")


def test_plain_values_are_kept_and_dates_become_text() -> None:
    data = {"a": [1, 2.5, None, True, "x"], "b": (1, 2), "source": {"args": {"long": "x" * 30_000}}}
    assert plain(data, "job") == data
    day, time = dt.date(2020, 1, 2), dt.datetime(2020, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert plain({"a": [day, time]}, "job") == {"a": ["2020-01-02", "2020-01-02T02:00:00Z"]}


@pytest.mark.parametrize(
    ("code", "body"), [(2, lambda: click.get_current_context().fail("no")), (3, lambda: sys.exit(3))]
)
def test_what_click_tells_itself_stays_as_it_is(code: int, body: Callable[[], object]) -> None:
    done = CliRunner().invoke(command(body))
    assert done.exit_code == code
    assert "unexpected" not in done.stderr
