"""A lane's share of the quota: never more in flight, never faster than the pace, half on refusal and back again."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ee_spark.fetch.quota import BURST_SECONDS, STEPS, Quota, share

NEVER = threading.Event()


def test_never_more_in_flight_than_the_limit() -> None:
    quota, lock = Quota(7, 1e6), threading.Lock()
    now = most = done = 0

    def send(number: int) -> None:
        nonlocal now, most, done
        for round_ in range(60):
            assert quota.acquire(NEVER)
            sent = time.monotonic()
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.0002 * (number % 3))
            with lock:
                now -= 1
                done += 1
            quota.release(sent, refused=(round_ + number) % 17 == 0)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert done == 24 * 60
    assert most <= 7
    assert (quota.peak, quota.in_flight) == (most, 0) or (quota.peak <= 7 and quota.in_flight == 0)


def test_the_pace_holds_over_any_stretch_of_time() -> None:
    quota, starts, lock = Quota(50, 200.0), list[float](), threading.Lock()

    def send() -> None:
        for _ in range(15):
            assert quota.acquire(NEVER)
            with lock:
                starts.append(time.monotonic())
            quota.release(time.monotonic())

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    starts.sort()
    assert len(starts) == 300
    for first in range(0, 300, 10):  # from any start on, no more than the rate and the burst allow
        for last in range(first + 20, 300, 10):
            allowed = 200.0 * (starts[last] - starts[first] + BURST_SECONDS) + 2
            assert last - first <= allowed
    assert starts[-1] - starts[0] >= 300 / 200 - BURST_SECONDS - 0.05


def test_half_on_a_refusal_once_for_all_that_were_sent_before() -> None:
    quota = Quota(40, 1e6)
    sent = time.monotonic()
    for _ in range(40):
        quota.acquire(NEVER)
    for _ in range(40):
        quota.release(sent, refused=True)
    assert quota.window == 20
    assert quota.refusals == 40
    for expected in (10, 5, 2.5, 1.25, 1, 1):
        quota.acquire(NEVER)
        quota.release(time.monotonic() + 0.001, refused=True)
        assert quota.window == expected
        time.sleep(0.002)


def test_the_window_is_back_after_as_many_windows_as_steps() -> None:
    quota = Quota(40, 1e6, window=1)
    answers = 0
    while quota.window < 40:
        quota.acquire(NEVER)
        quota.release(time.monotonic())
        answers += 1
    assert answers <= STEPS * 40 / 2 + STEPS
    assert quota.window == 40


def test_restricted_mode_halves_the_limit_until_it_ends() -> None:
    quota = Quota(10, 1e6)
    for _ in range(30):
        quota.acquire(NEVER)
        quota.release(time.monotonic(), restricted=True)
    assert (quota.window, quota.refusals) == (5, 0)
    quota.acquire(NEVER)
    quota.release(time.monotonic(), restricted=None)  # an answer that says nothing changes nothing
    assert quota.window == 5
    for _ in range(200):
        quota.acquire(NEVER)
        quota.release(time.monotonic(), restricted=False)
    assert quota.window == 10


@pytest.mark.parametrize("paced", [False, True])
def test_a_stop_wakes_those_who_wait(paced: bool) -> None:
    quota, stop, found = Quota(1, 0.01 if paced else 1e6), threading.Event(), list[bool]()
    assert quota.acquire(stop)
    if paced:
        quota.release(time.monotonic())
    thread = threading.Thread(target=lambda: found.append(quota.acquire(stop)))
    thread.start()
    stop.set()
    quota.wake()
    thread.join(5)
    assert found == [False]
    assert quota.in_flight == (0 if paced else 1)


def test_a_pause_holds_everybody() -> None:
    quota = Quota(5, 1e6)
    quota.pause(0.3)
    started = time.monotonic()
    assert quota.acquire(NEVER)
    assert time.monotonic() - started >= 0.29


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_shares_add_up_and_are_equal_but_for_one(total: int, lanes: int) -> None:
    shares = [share(total, lanes, lane) for lane in range(lanes)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)
