"""Packs: several images of one tile as the bands of one computed image, so that small patches cost few requests.

The graphs are rewritten as plain JSON, without the official client: the nodes of each get keys of their own, equal
nodes one key, and the images are joined by ``Image.addBands`` in a balanced tree, each band renamed after its image's
place (https://developers.google.com/earth-engine/reference/rest/v1/Expression).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ee_spark.planner.request import Recipe, TileRequest, filled


def packed(recipe: Recipe, wanted: Sequence[TileRequest[Any]]) -> tuple[Recipe, str]:
    """Return the recipe and graph of one HTTP request for all ``wanted`` tile requests, which are of one window.

    The answer's bands are those of the first, then of the second, and so on.
    """
    nodes = _Nodes()
    images = []
    names = [_band_names(index, recipe.bands) for index in range(len(wanted))]
    for one, new in zip(wanted, names, strict=True):
        image = nodes.add(json.loads(filled(one.graph or "", one.image_id, one.version)))
        images.append(
            nodes.call("Image.select", input=image, bandSelectors=_constant(recipe.bands), newNames=_constant(new))
        )
    while len(images) > 1:
        pairs = zip(images[::2], images[1::2], strict=False)
        joined = [nodes.call("Image.addBands", dstImg=left, srcImg=right) for left, right in pairs]
        images = joined + images[2 * len(joined) :]
    graph = json.dumps({"result": images[0]["valueReference"], "values": nodes.values})
    return replace(recipe, bands=tuple(name for new in names for name in new)), graph


@lru_cache(maxsize=2048)
def _band_names(index: int, bands: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"p{index}_{band}" for band in bands)


class _Nodes:
    """The values of one expression that several are gathered into; equal nodes are one."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._keys: dict[str, str] = {}

    def add(self, expression: dict[str, Any]) -> dict[str, Any]:
        """Add an expression's nodes; return a reference to its result."""
        values, keys = expression["values"], dict[str, str]()
        waiting = [str(expression["result"])]
        while waiting:  # no recursion from node to node: graphs may be deep
            key = waiting[-1]
            missing = [name for name in _references(values[key]) if name not in keys] if key not in keys else []
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if key not in keys:
                keys[key] = self._key(_renamed(values[key], keys))
        return {"valueReference": keys[str(expression["result"])]}

    def call(self, function: str, **arguments: Any) -> dict[str, Any]:
        """Add a function's call; return a reference to it."""
        invocation = {"functionInvocationValue": {"functionName": function, "arguments": arguments}}
        return {"valueReference": self._key(invocation)}

    def _key(self, node: Any) -> str:
        text = json.dumps(node, sort_keys=True)
        if text not in self._keys:
            self._keys[text] = key = str(len(self._keys))
            self.values[key] = node
        return self._keys[text]


def _constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}


def _references(node: Any) -> list[str]:
    """Return the keys of other nodes that a node names."""
    found: list[str] = []
    _renamed(node, _Collector(found))
    return found


class _Collector(dict[str, str]):
    """A renaming that renames nothing and remembers what it was asked for."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __missing__(self, key: str) -> str:
        self._found.append(key)
        return key


def _renamed(node: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    """Return a node with the keys that it names replaced; constants and argument names are left alone."""
    ((kind, content),) = node.items()
    if kind == "valueReference":
        return {kind: keys[content]}
    if kind == "arrayValue":
        return {kind: {**content, "values": [_renamed(part, keys) for part in content.get("values", ())]}}
    if kind == "dictionaryValue":
        values = content.get("values", {})
        return {kind: {**content, "values": {name: _renamed(part, keys) for name, part in values.items()}}}
    if kind == "functionDefinitionValue":
        return {kind: {**content, "body": keys[content["body"]]}}
    if kind == "functionInvocationValue":
        arguments = {name: _renamed(part, keys) for name, part in content.get("arguments", {}).items()}
        changed = {**content, "arguments": arguments}
        if "functionReference" in content:
            changed["functionReference"] = keys[content["functionReference"]]
        return {kind: changed}
    return node
