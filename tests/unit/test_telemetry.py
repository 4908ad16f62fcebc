"""Telemetry: percentiles that add up over lanes, against numpy."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from ee_spark.fetch.telemetry import HISTORY, Telemetry, Traffic, percentiles, total


def test_percentiles_over_lanes_are_numpys_within_a_class() -> None:
    random = np.random.default_rng(3)
    every: list[float] = []
    lanes = []
    for mean in (0.05, 0.4, 3.0):
        lane = Telemetry()
        for seconds in random.gamma(2.0, mean / 2, 4000):
            lane.answered(200, 10.0, 10.0 + seconds)
            every.append(float(seconds))
        lanes.append(lane.traffic)
    report = total(lanes, 40, 1)
    for name, point in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
        exact = np.percentile(every, point, method="inverted_cdf")
        assert abs(report[f"latency_{name}"] - exact) <= 0.0101 * exact + 1e-4
    assert abs(report["latency_mean"] - np.mean(every)) < 1e-3


def test_quota_use_is_the_share_of_what_the_mean_latency_allows() -> None:
    lane = Telemetry()
    for index in range(100):  # 2 at a time, half a second each: 4 a second
        start = (index // 2) * 0.5
        lane.answered(200, start, start + 0.5)
    report = total([lane.traffic], 2, 1000)
    assert report["quota_use"] == 1.0
    assert report["requests_per_second"] == 4.0
    assert total([lane.traffic], 4, 1000)["quota_use"] == 0.5


def test_nothing_measured_is_no_number() -> None:
    report = total([Telemetry().traffic], 4, 0)
    assert report["latency_p50"] is None
    assert report["quota_use"] is None
    assert percentiles({}, (0.5,)) == [None]


def test_the_history_does_not_grow() -> None:
    lane = Telemetry()
    lane.looked(5.0, 3)
    assert lane.windows == []
    lane.answered(200, 5.0, 6.0)
    for second in range(100_000):
        lane.looked(6.0 + second, second)
    assert len(lane.windows) <= HISTORY
    assert lane.windows[0][0] == 1.0
    assert lane.windows[-1][0] > 90_000


def test_traffic_comes_back_from_json_as_it_went() -> None:
    lane = Telemetry(retries=3, splits=1)
    lane.answered(200, 5.0, 6.0)
    lane.answered(0, 5.0, 9.0)
    lane.looked(6.0, 4)
    assert Traffic.from_json(json.loads(json.dumps(asdict(lane.traffic)))) == lane.traffic
