"""Answers that are JSON: lists that never end, and texts that unfold to far more than they are."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from wire import Said, Told, wire

from ee_spark import json_answers
from ee_spark.client import Client, Service
from ee_spark.errors import JobError, ServiceError, StoreError
from ee_spark.job import Source
from ee_spark.json_answers import pages, parsed
from ee_spark.objects import Settings, open_store
from ee_spark.planner.listing import stored
from ee_spark.planner.table import read_table

AREA = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}


def test_a_list_of_a_hundred_thousand_is_whole() -> None:
    def ask(token: str | None) -> dict[str, Any]:
        first = int(token or 0)
        return {
            "assets": range(first, first + 1000),
            **({"nextPageToken": str(first + 1000)} if first < 99_000 else {}),
        }

    assert [item for page in pages(ask, "assets") for item in page] == list(range(100_000))


def test_pages_may_be_empty_on_the_way() -> None:
    given = {None: {"nextPageToken": "a"}, "a": {"x": [1], "nextPageToken": "b"}, "b": {"nextPageToken": ""}}
    assert [list(page) for page in pages(given.__getitem__, "x")] == [[], [1], []]


ENDLESS = {
    "the same": (lambda: {"nextPageToken": "same"}, "the same page twice"),
    "two in turn": (lambda: {"nextPageToken": next(TURNS), "items": [{}]}, "the same page twice"),
    "nothing": (lambda: {"nextPageToken": str(next(NUMBERS))}, r"pages of nothing"),
    "too many": (lambda: {"nextPageToken": str(next(NUMBERS)), "items": [{}]}, r"more than 50 pages"),
    "no text": (lambda: {"nextPageToken": [1]}, "not a valid token"),
    "long": (lambda: {"nextPageToken": "x" * 10_000}, "not a valid token"),
}
NUMBERS = count()


def _turns() -> Iterator[str]:
    while True:
        yield from ("a", "b")


TURNS = _turns()


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_answers, "MAX_PAGES", 50)
    monkeypatch.setattr(json_answers, "MAX_EMPTY", 10)


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("kind", ENDLESS)
def test_a_list_without_an_end_is_an_error(kind: str) -> None:
    answer, told = ENDLESS[kind]
    with pytest.raises(ValueError, match=told):
        for _ in pages(lambda token: answer(), "items"):
            pass


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("token", ['"same"', "{n}"])
def test_no_list_of_a_server_is_without_an_end(token: str) -> None:
    """Collections, tables and stores: pages of nothing with the same token, and with ever new ones."""

    def answer(said: Said) -> Told:
        if said.path.endswith(("/c", "/t")):
            return Told(body=b'{"type": "%s"}' % (b"TABLE" if said.path.endswith("t") else b"IMAGE_COLLECTION"))
        return Told(body=b'{"nextPageToken": %s}' % token.replace("{n}", f'"{next(NUMBERS)}"').encode())

    with wire(answer) as server:
        client = Client(Service(server.url, "p"))
        with pytest.raises(JobError, match="without an end"):
            stored(client, Source(collection="projects/p/assets/c"), AREA)
        with pytest.raises(JobError, match="without an end"):
            read_table("projects/p/assets/t", client)
        with pytest.raises(StoreError, match="without an end"):
            open_store("gs://bucket/x", Settings(gs_endpoint=server.url)).list("")
        assert len(server.said) < 50


def test_json_of_too_many_values_is_not_unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some hundred kB on the wire: refused before it fills the memory."""
    for piece in (b"{},", b"[],", b"0,", b'{"a":[0]},'):
        monkeypatch.setattr(json_answers, "MAX_VALUES", 200_000)
        body = b'{"items":[' + piece * 300_000 + b"0]}"
        told = Told(200, gzip.compress(body, 1), {"Content-Encoding": "gzip"})
        with wire(lambda _, told=told: told) as server:
            with pytest.raises(ServiceError, match="more than 200,000 values") as caught:
                Client(Service(server.url, "p")).get("x")
            with pytest.raises(StoreError, match="more than 200,000 values"):
                open_store("gs://bucket/x", Settings(gs_endpoint=server.url)).list("")
        assert caught.value.kind == "damaged"
    assert parsed(b'{"items":[' + b"0," * 190_000 + b"0]}")["items"][-1] == 0


def test_the_bomb_of_twenty_million_is_refused() -> None:
    body = gzip.compress(b'{"assets":[' + b"{}," * 20_000_000 + b"{}]}", 1)
    assert len(body) < 400_000
    told = Told(200, body, {"Content-Encoding": "gzip"})
    with wire(lambda _: told) as server, pytest.raises(ServiceError, match="more than 33554432 bytes"):
        Client(Service(server.url, "p")).get("x")


def test_a_page_of_coordinates_is_read() -> None:
    """What fills a page most densely: as many coordinates as its bytes allow."""
    pair = b"[-121.48375,38.573241],"
    body = b'{"c":[' + pair * (30_000_000 // len(pair)) + b"0]}"
    assert len(parsed(body)["c"]) == 30_000_000 // len(pair) + 1
