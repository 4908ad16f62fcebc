"""Graphs as text: put together they are what the official client would have written, and never written out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ee_spark.errors import JobError
from ee_spark.planner.graph import SOURCE, checked, framed


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def graph(result: Any, **values: Any) -> str:
    return json.dumps({"result": "0", "values": {"0": result, **values}})


def constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}


def expanded(text: str) -> Any:
    """A small graph as the tree that it stands for."""
    whole = json.loads(text)

    def tree(node: Any) -> Any:
        if isinstance(node, dict) and set(node) == {"valueReference"}:
            return tree(whole["values"][node["valueReference"]])
        if isinstance(node, dict):
            return {key: tree(part) for key, part in node.items()}
        return [tree(part) for part in node] if isinstance(node, list) else node

    return tree({"valueReference": whole["result"]})


LOADED = call("Image.load", id=constant(SOURCE))
IMAGE = call("Image.add", image1={"valueReference": "x"}, image2={"valueReference": "x"})
SUM = graph(IMAGE, x=call("Image.load", id=constant("A/B")))


@pytest.mark.parametrize(
    "frame",
    [
        graph(call("Image.select", input=LOADED, bandSelectors=constant(["a"]))),
        graph(call("Image.addBands", dstImg={"valueReference": "7"}, srcImg={"valueReference": "7"}), **{"7": LOADED}),
        graph(LOADED),
        graph({"valueReference": "1"}, **{"1": LOADED}),
    ],
    ids=range(4),
)
def test_a_frame_holds_the_image_where_its_place_was(frame: str) -> None:
    [made] = framed(frame, [SUM])
    wanted = json.loads(json.dumps(expanded(frame)).replace(json.dumps(LOADED), json.dumps(expanded(SUM))))
    assert expanded(made) == wanted
    checked(made, "source", "made")
    assert SOURCE not in made


def test_each_image_has_a_graph_of_its_own() -> None:
    frame = graph(call("Image.select", input=LOADED, bandSelectors=constant(["a"])))
    images = [graph(call("Image.load", id=constant(name))) for name in ("A", "B", "C")]
    made = list(framed(frame, images))
    assert ['"A"' in made[0], '"B"' in made[1], '"A"' in made[2]] == [True, True, False]


def test_what_is_shared_stays_shared() -> None:
    values = {"0": call("Image.load", id=constant("A/B"))}
    for level in range(1, 31):
        arguments = {f"a{k}": {"valueReference": str(level - 1)} for k in range(10)}
        values[str(level)] = call("Image.cat", **arguments)
    text = json.dumps({"result": "30", "values": values})
    checked(text, "source", "made")
    [made] = framed(graph(call("Image.select", input=LOADED)), [text])
    assert len(made) < 2 * len(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"result": "0", "values": {"0": {"valueReference": "0"}}}', "value 0 refers to itself"),
        (graph(call("f", a={"valueReference": "1"}), **{"1": {"valueReference": "0"}}), "refers to itself"),
        (graph(call("f", a={"valueReference": "9"})), "no '9'"),
        (graph({"evil": 1}), "'evil' is not a kind of value"),
        (graph({"constantValue": 1, "bytesValue": "a"}), "is not a value of one kind"),
        ("[]", "it is not an object with values"),
        ("{}", "no 'values'"),
        ("", "Expecting value"),
        ("[" * 100_000, "recursion"),
        (json.dumps({"result": "0", "values": [1]}), "its values are not an object"),
    ],
    ids=range(10),
)
def test_what_is_no_graph_is_one_line(text: str, why: str) -> None:
    with pytest.raises(JobError) as caught:
        checked(text, "source.map", "maps.py:f")
    assert str(caught.value).startswith("source.map: 'maps.py:f' is not what ee.Image.serialize() writes (")
    assert why in str(caught.value)
    assert len(str(caught.value)) < 300
