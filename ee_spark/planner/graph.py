"""Graphs of computed images as JSON: checked, and put together node by node, without the official client.

A graph is what ``ee.Image.serialize()`` writes: named values that refer to each other, and the name of the result
(https://developers.google.com/earth-engine/reference/rest/v1/Expression). Nothing here follows a reference twice: a few
kilobytes of a graph may stand for more values than there are atoms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ee_spark.boundary import reading, shortened, shown
from ee_spark.errors import JobError

SOURCE = "ee_spark/placeholder/source"
"""The id of the image that stands, in a frame, for the one that is put into it."""
MOST_VALUES = 1_000_000
"""Values of one list or dictionary, with those of the lists within it: the official client writes all of them out."""
_KINDS = frozenset(
    {
        "constantValue", "integerValue", "bytesValue", "argumentReference", "valueReference", "arrayValue",
        "dictionaryValue", "functionDefinitionValue", "functionInvocationValue",
    }
)  # fmt: skip
_PLACE = {
    "functionInvocationValue": {"functionName": "Image.load", "arguments": {"id": {"constantValue": SOURCE}}}
}  # what ee.Image.load(SOURCE) is


def checked(text: str | bytes, key: str, name: str) -> None:
    """Make sure that a text is a graph: each name in it stands for a value, and none for itself.

    Raises:
        JobError: if not, with the key of the job file and what it names.
    """
    with reading(key, what=f"{shown(name)} is not what ee.Image.serialize() writes"):
        graph = json.loads(text)
        values = graph["values"] if isinstance(graph, dict) else None
        if not isinstance(values, dict):
            raise ValueError("it is not an object with values" if values is None else "its values are not an object")
        size: dict[str, int] = {}
        for node in _inside_out(str(graph["result"]), values):
            size[node] = _written_out(values[node], size)
            if size[node] > MOST_VALUES:
                raise JobError(
                    f"{key}: {shown(name)}: its value {node} is {size[node]:.0e} values, written out; write less"
                )


def framed(frame: str, images: Iterable[str]) -> Iterator[str]:
    """Yield the graph of a frame with each image in the place of ``ee.Image.load(SOURCE)``."""
    whole = json.loads(frame)
    parts = {key: _opened(value) for key, value in whole["values"].items()}
    for image in images:
        nodes = Nodes()
        inner = nodes.add(json.loads(image))
        result = nodes.add({"result": whole["result"], "values": parts}, {SOURCE: inner["valueReference"]})
        yield nodes.text(result)


def _opened(node: Any) -> Any:
    """Return a frame's value with a reference to SOURCE where the image goes."""
    if node == _PLACE:
        return {"valueReference": SOURCE}
    if isinstance(node, dict):
        return {key: _opened(part) for key, part in node.items()}
    return [_opened(part) for part in node] if isinstance(node, list) else node


class Nodes:
    """The values of one expression that several are gathered into; equal nodes are one."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._keys: dict[str, str] = {}

    def add(self, expression: Mapping[str, Any], known: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Add an expression's nodes; return a reference to its result.

        ``known`` are names in it that stand for nodes of this one.
        """
        values, keys = expression["values"], dict(known or {})
        for key in _inside_out(str(expression["result"]), values, keys):
            node = renamed(values[key], keys)
            keys[key] = node["valueReference"] if "valueReference" in node else self._key(node)
        return {"valueReference": keys[str(expression["result"])]}

    def call(self, function: str, **arguments: Any) -> dict[str, Any]:
        """Add a function's call; return a reference to it."""
        invocation = {"functionInvocationValue": {"functionName": function, "arguments": arguments}}
        return {"valueReference": self._key(invocation)}

    def text(self, result: Mapping[str, Any]) -> str:
        """Return the expression whose result is a reference to a node."""
        return json.dumps({"result": result["valueReference"], "values": self.values})

    def _key(self, node: Any) -> str:
        text = json.dumps(node, sort_keys=True)
        if text not in self._keys:
            self._keys[text] = key = str(len(self._keys))
            self.values[key] = node
        return self._keys[text]


def _inside_out(result: str, values: Mapping[str, Any], known: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the names that a result is made of, each once and after those that it refers to; the result comes last."""
    done, opened = set(known or ()), set[str]()
    waiting = [result]
    while waiting:  # no recursion from node to node: graphs may be deep
        key = waiting[-1]
        missing = [name for name in _references(values[key]) if name not in done] if key not in done else []
        if missing:
            if key in opened:
                raise ValueError(f"value {key} refers to itself")
            opened.add(key)
            waiting += missing
            continue
        waiting.pop()
        if key not in done:
            yield key
            done.add(key)


def _kind(node: Any) -> tuple[str, Any]:
    """Return the one kind of a node, and what it holds.

    Raises:
        ValueError: if it is not an object of one kind.
    """
    if not isinstance(node, dict) or len(node) != 1:
        raise ValueError(f"{shortened(node)} is not a value of one kind")
    ((kind, content),) = node.items()
    return kind, content


def _written_out(node: dict[str, Any], size: Mapping[str, int]) -> int:
    """Return how many values a node is where the lists that it refers to are written out in it."""
    kind, content = _kind(node)
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is not a kind of value")
    if kind == "valueReference":
        return size[content]
    if kind == "arrayValue":
        return 1 + sum(_written_out(part, size) for part in content.get("values", ()))
    if kind == "dictionaryValue":
        return 1 + sum(_written_out(part, size) for part in content.get("values", {}).values())
    return 1


def _references(node: Any) -> list[str]:
    """Return the keys of other nodes that a node names."""
    found: list[str] = []
    renamed(node, _Collector(found))
    return found


class _Collector(dict[str, str]):
    """A renaming that renames nothing and remembers what it was asked for."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __missing__(self, key: str) -> str:
        self._found.append(key)
        return key


def renamed(node: dict[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    """Return a node with the keys that it names replaced; constants and argument names are left alone."""
    kind, content = _kind(node)
    if kind == "valueReference":
        return {kind: keys[content]}
    if kind == "arrayValue":
        return {kind: {**content, "values": [renamed(part, keys) for part in content.get("values", ())]}}
    if kind == "dictionaryValue":
        values = content.get("values", {})
        return {kind: {**content, "values": {name: renamed(part, keys) for name, part in values.items()}}}
    if kind == "functionDefinitionValue":
        return {kind: {**content, "body": keys[content["body"]]}}
    if kind == "functionInvocationValue":
        arguments = {name: renamed(part, keys) for name, part in content.get("arguments", {}).items()}
        changed = {**content, "arguments": arguments}
        if "functionReference" in content:
            changed["functionReference"] = keys[content["functionReference"]]
        return {kind: changed}
    return node
