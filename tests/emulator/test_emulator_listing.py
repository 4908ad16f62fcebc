"""Listings as both official clients ask for them: long queries, filters, partial responses, pages, versions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import ee
import numpy as np
import pytest
import urllib3
from emulator_client import asset, connect, get, post, write_catalog, write_raster

import ee_emulator as emulator
from ee_emulator import Emulator

LANDSAT = "/v1/projects/earthengine-public/assets/EOBOX/LANDSAT:listAssets"


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    with emulator.start() as running:
        connect(running.url)
        yield running


def circle(vertices: int, lon: float, lat: float) -> dict[str, Any]:
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    ring = np.column_stack([lon + 0.1 * np.cos(angle), lat + 0.1 * np.sin(angle)]).tolist()
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def ids(service: Emulator, text: str) -> list[str]:
    reply = get(service.url, LANDSAT, filter=text)
    assert reply.status == 200, reply.data
    return [found["id"] for found in json.loads(reply.data).get("assets", [])]


@pytest.mark.parametrize("vertices", [4, 100, 2_000])
def test_the_client_lists_by_a_polygon_of_many_vertices(service: Emulator, vertices: int) -> None:
    """From some thirty vertices on googleapiclient sends a POST that says GET."""
    wanted = {"parent": "EOBOX/LANDSAT", "region": circle(vertices, -106.914, 40.288)}
    assert len(ee.data.listImages(wanted)["images"]) == 105
    wanted["region"] = circle(vertices, -80.0, 10.0)
    assert ee.data.listImages(wanted)["images"] == []


def test_the_client_lists_by_wkt_and_properties(service: Emulator) -> None:
    wanted = {"parent": "EOBOX/LANDSAT", "region": "POINT (-106.914 40.288)", "properties": ["WRS_PATH=35"]}
    assert len(ee.data.listImages(wanted)["images"]) == 105
    assert ee.data.listImages(wanted | {"properties": ["WRS_PATH>35"]})["images"] == []


def test_a_long_query_is_a_form_that_says_get(service: Emulator) -> None:
    query = urlencode({"pageSize": 3, "view": "BASIC"})
    headers = {"x-http-method-override": "GET", "content-type": "application/x-www-form-urlencoded"}
    reply = post(service.url, LANDSAT, query.encode(), **headers)
    assert len(json.loads(reply.data)["assets"]) == 3
    assert json.loads(reply.data) == json.loads(get(service.url, LANDSAT, pageSize="3", view="BASIC").data)
    assert post(service.url, LANDSAT, query.encode(), **{**headers, "x-http-method-override": "PUT"}).status == 400


def test_or_binds_closer_than_and(service: Emulator) -> None:
    listed = json.loads(get(service.url, LANDSAT).data)["assets"]

    def truth(wanted: Any) -> list[str]:
        return [one["id"] for one in listed if wanted(one["startTime"])]

    a, b = 'startTime < "2009-01-01T00:00:00Z"', 'startTime >= "2010-01-01T00:00:00Z"'
    c = 'startTime < "2010-06-01T00:00:00Z"'
    either = truth(lambda time: time < "2009" or "2010" <= time < "2010-06")
    assert 0 < len(either) < 105
    assert ids(service, f"{a} OR {b} AND {c}") == either
    assert ids(service, f"{c} AND ({a} OR {b})") == either
    assert ids(service, f"({a}) OR (({b} AND {c}))") == truth(lambda t: t < "2009" or "2010" <= t < "2010-06")
    assert ids(service, f"NOT {a}") == truth(lambda time: not time < "2009")
    inside = "intersects(\"{'type':'Point','coordinates':[-106.914,40.288]}\")"
    assert ids(service, f"{inside} AND {a}") == truth(lambda time: time < "2009")


REFUSED = {
    "unquoted time": "startTime > 2009-01-01T00:00:00Z",
    "number as a time": "startTime > 2009",
    "unquoted text": "properties.SPACECRAFT_ID = LANDSAT_7",
    "escaped quotes": 'intersects("{\\"type\\": \\"Point\\", \\"coordinates\\": [-106.9, 40.3]}")',
    "escaped value": 'properties.X = "a\\"b"',
    "double quotes within": 'intersects(\'{"type": "Point", "coordinates": [-106.9, 40.3]}\')',
    "unknown field": 'colour = "red"',
    "an open parenthesis": '(startTime > "2009-01-01T00:00:00Z"',
    "a closing one": 'startTime > "2009-01-01T00:00:00Z")',
    "nothing joins": 'startTime > "2009-01-01" startTime < "2010-01-01"',
    "AND at the end": 'startTime > "2009-01-01" AND',
    "OR at the end": 'startTime > "2009-01-01" OR',
    "no operator": 'startTime "2009-01-01"',
    "no geometry": 'intersects("x")',
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_service_does_not_take_is_refused(service: Emulator, kind: str) -> None:
    reply = get(service.url, LANDSAT, filter=REFUSED[kind])
    assert reply.status == 400, reply.data
    assert "Invalid filter" in json.loads(reply.data)["error"]["message"]


@pytest.mark.parametrize(
    "query",
    [
        {"pageSize": "1001"},
        {"pageSize": "1001", "view": "FULL"},
        {"view": "BASIC", "fields": "assets(name,bands)"},
        {"view": "BASIC", "fields": "assets/updateTime"},
        {"view": "ALL"},
        {"fields": "assets(name"},
        {"fields": "assets("},
        {"fields": "/name"},
        {"fields": "assets name"},
    ],
    ids=str,
)
def test_pages_and_fields_that_a_view_has_not(service: Emulator, query: dict[str, str]) -> None:
    assert get(service.url, LANDSAT, **query).status == 400


def test_basic_has_type_name_and_id_only(service: Emulator) -> None:
    found = json.loads(get(service.url, LANDSAT, view="BASIC", pageSize="5000").data)["assets"]
    assert len(found) == 105
    assert all(set(one) == {"type", "name", "id"} for one in found)


def test_partial_responses_are_parts_of_whole_ones(service: Emulator) -> None:
    whole = json.loads(get(service.url, LANDSAT, pageSize="4").data)
    mask = "assets(name,startTime,geometry/type,bands(id,grid(crsCode,dimensions/width))),nextPageToken"
    part = json.loads(get(service.url, LANDSAT, pageSize="4", fields=mask).data)
    assert part["nextPageToken"] == whole["nextPageToken"]
    assert part["assets"] == [
        {
            "name": one["name"],
            "startTime": one["startTime"],
            "geometry": {"type": one["geometry"]["type"]},
            "bands": [
                {
                    "id": band["id"],
                    "grid": {
                        "crsCode": band["grid"]["crsCode"],
                        "dimensions": {"width": band["grid"]["dimensions"]["width"]},
                    },
                }
                for band in one["bands"]
            ],
        }
        for one in whole["assets"]
    ]
    assert json.loads(get(service.url, LANDSAT, pageSize="4", fields="*").data) == whole
    image = whole["assets"][0]["name"]
    assert json.loads(get(service.url, f"/v1/{image}", fields="id,bands/id").data) == {
        "id": whole["assets"][0]["id"],
        "bands": [{"id": band["id"]} for band in whole["assets"][0]["bands"]],
    }


def test_pages_of_a_filter_are_all_of_it_once(service: Emulator) -> None:
    text = 'startTime < "2009-01-01T00:00:00Z" OR startTime >= "2010-01-01T00:00:00Z"'
    everything = ids(service, text)
    for size in ("1", "7", "1000"):
        seen: list[str] = []
        query = {"filter": text, "pageSize": size, "fields": "assets/id,nextPageToken"}
        while True:
            page = json.loads(get(service.url, LANDSAT, **query).data)
            seen += [one["id"] for one in page["assets"]]
            if "nextPageToken" not in page:
                break
            query["pageToken"] = page["nextPageToken"]
        assert seen == everything


def test_an_image_may_have_a_version_of_its_own(tmp_path: Path) -> None:
    """In some collections it is the collection's: then the time of the update is none."""
    write_raster(tmp_path / "a.tif", np.full((4, 4), 1, "uint8"), [1, 0, 0, 0, -1, 4], "EPSG:32633")
    write_catalog(tmp_path, [asset("C/I", {"b": "a.tif"}, updateTime="2024-01-01T00:00:00Z", version=77)])
    with emulator.start(tmp_path) as running:
        connect(running.url)
        assert ee.Image("C/I").getInfo()["version"] == 77
        assert ee.Image.load("C/I", 77).getInfo()["bands"]
        assert ee.Image.load("C/I").getInfo()["bands"]
        with pytest.raises(ee.EEException, match="Image asset 'C/I' not found"):
            ee.Image.load("C/I", 1704067200000000).getInfo()
        found = json.loads(urllib3.request("GET", f"{running.url}/v1/projects/earthengine-public/assets/C/I").data)
        assert found["updateTime"] == "2024-01-01T00:00:00Z"
    write_catalog(tmp_path, [asset("C/I", {"b": "a.tif"}, version="x")])
    with pytest.raises(RuntimeError, match="version 'x' is not a whole number"), emulator.start(tmp_path):
        pass
