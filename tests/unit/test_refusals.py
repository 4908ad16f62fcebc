"""What a refusal means: every recorded text by its should_be, and no name of a user's that reads like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import REPO

from ee_spark.errors import ServiceError, one_line, way_out
from ee_spark.refusals import absent, classify, resets

# Texts of the real service, collected from public issues, notebooks and documentation: each has its source.
RECORDED: list[dict[str, Any]] = json.loads((REPO / "tests/data/recorded/errors.json").read_text(encoding="utf-8"))
TEXTS = [record["text"] for record in RECORDED]
ANY_STATUS = (400, 403, 404, 429, 500, 503, 504)
"""Where the status was not recorded, the text alone decides, whatever came with it …"""
COMPUTED = (400, 404)
"""… but of what the request itself has wrong: that is a 400, or a 404 of an asset."""


def statuses(record: dict[str, Any]) -> tuple[int, ...]:
    if record["status"] is not None:
        return (record["status"],)
    return COMPUTED if record["should_be"] == "permanent" else ANY_STATUS


@pytest.mark.parametrize("record", RECORDED, ids=[f"{n}" for n in range(len(RECORDED))])
def test_each_recorded_text_means_what_it_should(record: dict[str, Any]) -> None:
    for status in statuses(record):
        for text in (record["text"], one_line(record["text"])):
            assert classify(status, text) == record["should_be"], (status, text)


def test_the_table_is_whole() -> None:
    assert len(RECORDED) == 40
    kinds = {record["should_be"] for record in RECORDED}
    assert kinds == {"too_big", "permanent", "overload", "unavailable", "transient", "daily", "access"}


CARRIERS = (
    "Image.select: Band pattern '{}' did not match any bands.",
    "Image.select: Pattern '{}' did not match any bands. Available bands: [a, {}]",
    "Collection.first: Error in map(ID=1_1_LE07):\nImage.select: Pattern '{}' did not match any bands.",
    "Image.load: Image asset 'users/me/{}' not found (does not exist or caller does not have access).",
    "Asset 'projects/p/assets/{}' does not exist or doesn't allow this operation.",
    'Asset "projects/earthengine-legacy/assets/users/me/{}" not found.',
    "Dictionary.get: Dictionary does not contain key: '{}'.",
    "Element.get: Property '{}' is not set.",
)
WORDS = (
    *(text.replace("'", "").replace('"', "") for text in TEXTS),
    "daily_quota", "memory_capacity_exceeded", "quota per day", "quota per month", "monthly", "rate limit exceeded",
    "User memory limit exceeded.", "Deadline expired", "deadline", "Too Many Requests", "noncommercial quota exceeded",
    "custom quota", "Permission denied",
)  # fmt: skip


@given(st.sampled_from(CARRIERS), st.sampled_from(WORDS), st.text("ab_/ .:0", max_size=6), st.sampled_from((400, 404)))
def test_a_name_of_the_user_is_never_a_refusal(carrier: str, word: str, more: str, status: int) -> None:
    for name in (word, more + word, word + more):
        assert classify(status, carrier.format(name, name)) == "permanent"
        assert classify(status, one_line(carrier.format(name, name))) == "permanent"
        assert classify(500, carrier.format(name, name)) in ("transient", "permanent")


@given(st.sampled_from(WORDS))
def test_a_name_does_not_make_a_minutes_quota_a_days(word: str) -> None:
    text = f"Quota exceeded for quota metric 'Read requests' and limit 'per minute' for consumer 'projects/{word}'."
    assert classify(429, text) == "overload"
    assert classify(429, f"Too Many Requests: asset '{word}'") == "overload"


@pytest.mark.parametrize(
    ("text", "when"),
    [
        (TEXTS[21], "daily quota is reset (the next day)"),
        (TEXTS[22], "daily quota is reset (the next day)"),
        (TEXTS[21].replace("daily_", "monthly_"), "monthly quota is reset (the next month)"),
        ("Your project has exceeded its noncommercial compute quota.", "monthly quota is reset (the next month)"),
        (
            "Quota exceeded for quota metric 'EECU time' and limit 'EECU time per month' of service 'x'.",
            "the next month",
        ),
        ("Quota exceeded for quota metric 'EECU time' and limit 'EECU time per day' of service 'x'.", "the next day"),
        ("Quota exceeded: earthengine.googleapis.com/daily_eecu_usage_time", "the next day"),
    ],
)
def test_a_used_up_quota_stops_and_says_when_it_is_reset(text: str, when: str) -> None:
    for status in (400, 403, 429):
        assert classify(status, text) == "daily"
    error = ServiceError(text, kind="daily", status=429)
    assert when in resets(text)
    assert way_out(error) == f"run the same command again when {resets(text)}, or raise it"


def test_what_is_not_there_is_named() -> None:
    named = [absent(text) for text in TEXTS if absent(text)]
    assert named == [
        "projects/landler-open-data/assets/datasets/clms/npp/annual",
        "projects/p/assets/sepal_missing_1", "users/nobody/nothing", "projects/google",
        "projects/p/assets/sepal_missing_1",
        "projects/openet/reference_et/cimis/daily", "projects/openet/ptjpl/ancillary/fAPARmax",
    ]  # fmt: skip
