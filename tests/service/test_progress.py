"""Progress: what lanes say is added up and shown, moves by itself, and can neither slow nor fail a job."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import socket
import time

import pytest

from ee_spark.lane.reporter import Reporter
from ee_spark.progress import Progress


def say(progress: Progress, **counters: object) -> None:
    assert progress.address is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(json.dumps(counters).encode(), progress.address)


def shows(progress: Progress, text: str) -> str:
    until = time.monotonic() + 10
    while text not in (line := progress.line()) and time.monotonic() < until:
        time.sleep(0.01)
    assert text in line
    return line


def test_lanes_add_up_whatever_datagrams_are_doubled_or_late() -> None:
    with Progress(1000, "log", out=io.StringIO()) as progress:
        for _ in range(3):
            say(progress, lane=0, answers=200, empty=20, failed=1, retries=7, in_flight=20, skipped=50)
        say(progress, lane=1, answers=100, empty=5, failed=0, retries=1, in_flight=19, skipped=0)
        say(progress, lane=0, answers=150, empty=10, failed=1, retries=5, in_flight=18, skipped=50)
        line = shows(progress, "350/1,000 tiles")
        for part in ("35%", "25 empty", "8 retries", "1 failed", "s to go"):
            assert part in line
        shows(progress, "37 in flight")


def test_the_rate_leaves_out_the_time_before_the_lanes() -> None:
    with Progress(1000, "log", out=io.StringIO()) as progress:
        time.sleep(0.5)  # what Spark takes to start a worker
        started = time.monotonic()
        say(progress, lane=0, answers=0)
        time.sleep(0.2)
        say(progress, lane=0, answers=500)
        line = shows(progress, "500/1,000 tiles")
        slowest = 500 / (time.monotonic() - started)
    found = re.search(r"([\d,]+)/s ", line)
    assert found
    assert float(found[1].replace(",", "")) >= 0.99 * slowest - 1


@pytest.mark.parametrize(
    "noise", [b"", b"\xff\xfe", b"[]", b"{}", b'{"lane": "x"}', b'{"lane": 1, "answers": null}', b"7"]
)
def test_noise_is_no_harm(noise: bytes) -> None:
    with Progress(10, "log", out=io.StringIO()) as progress:
        assert progress.address is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(noise, progress.address)
        say(progress, lane=0, answers=4)
        shows(progress, "4/10 tiles")


def test_a_terminal_gets_a_bar_that_moves_and_ends_its_line() -> None:
    ours, theirs = pty.openpty()
    seen, drawn = b"", list[float]()
    with os.fdopen(theirs, "w") as terminal:
        started = time.monotonic()
        with Progress(100, "auto", out=terminal) as progress:
            say(progress, lane=0, answers=50)
            while time.monotonic() - started < 3:  # nobody says anything more: it moves all the same
                if select.select([ours], [], [], 0.05)[0]:
                    seen += os.read(ours, 65536)
                    drawn.append(time.monotonic())
        seen += os.read(ours, 65536)
    os.close(ours)
    text = seen.decode()
    assert text.count("\r\x1b[K") >= 4
    assert max(late - early for early, late in zip([started, *drawn], drawn, strict=False)) < 2
    assert "50/100 tiles" in text
    assert text.endswith("\n")
    assert len(set(re.findall(r"(\d+)/s ", text))) > 1  # the rate, at least, is another each time


def test_elsewhere_there_are_plain_lines() -> None:
    out = io.StringIO()
    with Progress(100, "auto", out=out) as progress:
        say(progress, lane=0, answers=100)
        shows(progress, "100/100")
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


def test_a_closed_terminal_stops_nothing() -> None:
    with Progress(100, "none") as progress:
        assert progress.address is None
    closed = io.StringIO()
    closed.close()
    with Progress(100, "bar", out=closed) as progress:
        say(progress, lane=0, answers=1)
        shows(progress, "1/100")


def test_a_driver_that_hears_nothing_does_not_hold_a_lane_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        address = deaf.getsockname()
    # A port that is closed again, one that nobody has, loopback's broadcast address (refused), and no address.
    for target in (address, ("127.0.0.1", 9), ("127.255.255.255", 9), None):
        started = time.monotonic()
        with Reporter(target, lambda: {"lane": "0.0.0"}):
            pass
        assert time.monotonic() - started < 5


def test_a_lane_reports_now_and_then_and_at_its_end() -> None:
    counters: dict[str, int | str] = {"lane": "0.3.0", "answers": 0}
    with Progress(10, "log", out=io.StringIO()) as progress:
        with Reporter(progress.address, lambda: dict(counters)):
            counters["answers"] = 2
            shows(progress, "2/10")
            counters["answers"] = 9
        shows(progress, "9/10")


def test_a_further_round_grows_the_total() -> None:
    """Lanes of a further deal are others, whatever their index: what they answer is added to what there was."""
    with Progress(100, "log", out=io.StringIO()) as progress:
        say(progress, lane="aa/0.0.0", answers=100, ended=1)
        shows(progress, "100/100 tiles")
        progress.grow(50)
        shows(progress, "100/150 tiles   67%")
        say(progress, lane="bb/0.0.0", answers=20)
        shows(progress, "120/150 tiles   80%")
        say(progress, lane="bb/0.0.0", answers=50, ended=1)
        shows(progress, "150/150 tiles  100%")


def test_what_a_dead_lane_did_is_counted_once() -> None:
    """It answered 40 of 60, of which 30 were committed: those are skipped, the others answered again."""
    with Progress(100, "log", out=io.StringIO()) as progress:
        say(progress, lane="aa/0.0.0", answers=40, empty=4, failed=1, retries=3)
        say(progress, lane="aa/0.1.0", answers=40, empty=2, ended=1)
        shows(progress, "80/100 tiles")
        say(progress, lane="aa/1.0.0", answers=10, skipped=30)
        line = shows(progress, "80/100 tiles")
        assert "2 empty" in line
        assert "3 retries" in line, "which were requests"
        say(progress, lane="aa/1.0.0", answers=30, skipped=30, ended=1)
        shows(progress, "100/100 tiles")
    with Progress(100, "log", out=io.StringIO()) as progress:
        say(progress, lane="aa/0.0.0", answers=40)
        say(progress, lane="aa/0.1.0", answers=10)
        say(progress, lane="aa/0.0.1", answers=5, skipped=20)
        shows(progress, "35/100 tiles")
