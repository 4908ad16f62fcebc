"""The expression graph interpreter: Earth Engine's JSON graphs, evaluated lazily and once per value.

https://developers.google.com/earth-engine/reference/rest/v1/Expression
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import ServiceError
from ..values.function import Function

_KINDS = (
    "constantValue",
    "integerValue",
    "bytesValue",
    "arrayValue",
    "dictionaryValue",
    "functionDefinitionValue",
    "functionInvocationValue",
    "argumentReference",
    "valueReference",
)
_DEEPEST = 10_000
"""References that may follow each other; no stack holds the evaluation of more."""
_POINTERS = ("valueReference", "functionReference", "body")
"""Where a node holds the key of another."""
Call = Callable[[str, Mapping[str, Callable[[], Any]]], Any]
"""Calls an algorithm by its Earth Engine name with arguments that are computed when asked for."""


@dataclass(eq=False)
class _Scope:
    """The arguments that are bound where a node is evaluated, and the values computed under them."""

    arguments: Mapping[str, Any]
    values: dict[str, Any]


class Graph:
    """One expression: `{"result": key, "values": {key: node}}`. Not for use from several threads at a time."""

    def __init__(self, expression: Any, call: Call) -> None:
        if not isinstance(expression, dict):
            raise ServiceError(f"Invalid expression: expected an object, got {_kind(expression)}.")
        values, result = expression.get("values"), expression.get("result")
        if not isinstance(values, dict) or not isinstance(result, str):
            raise ServiceError("Invalid expression: it needs 'values' (an object) and 'result' (one of its keys).")
        self._nodes: dict[str, Any] = values
        self._result = result
        self._call = call
        self._open: dict[str, bool] = {}
        self._root = _Scope({}, {})
        self._refuse_cycles()

    def evaluate(self) -> Any:
        """The value of the result node. ServiceError (400) for anything malformed, RecursionError never leaves."""
        try:
            return self._reference(self._result, self._root)
        except RecursionError:
            raise ServiceError("Invalid expression: it is nested too deeply.") from None

    def _reference(self, key: Any, scope: _Scope) -> Any:
        if not isinstance(key, str) or key not in self._nodes:
            raise ServiceError(f"Invalid expression: value '{key}' is referenced but not defined.")
        # What depends on no argument is computed once for all calls of a function.
        home = scope if scope is self._root or self._depends_on_arguments(key) else self._root
        if key not in home.values:
            home.values[key] = self._node(self._nodes[key], home)
        return home.values[key]

    def _depends_on_arguments(self, key: str) -> bool:
        """True when the node reads an argument, itself or through what it references."""
        known = self._open.get(key)
        if known is None:
            known = self._open[key] = self._reads(self._nodes.get(key))
        return known

    def _reads(self, node: Any) -> bool:
        """True when a part of a node reads an argument. A function's own arguments count: its body is not constant."""
        if isinstance(node, list):
            return any(map(self._reads, node))
        if not isinstance(node, dict) or "constantValue" in node:
            return False
        if "argumentReference" in node:
            return True
        for name, part in node.items():
            points = name in _POINTERS and isinstance(part, str)
            if self._depends_on_arguments(part) if points else self._reads(part):
                return True
        return False

    def _refuse_cycles(self) -> None:
        """A 400 where a value refers to itself: such a function would never end."""
        path: list[tuple[str, Iterator[str]]] = [(self._result, _pointers(self._nodes.get(self._result)))]
        entered, left = {self._result}, set[str]()
        while path:
            key, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                left.add(key)
            elif following not in entered:
                entered.add(following)
                path.append((following, _pointers(self._nodes.get(following))))
                if len(path) > _DEEPEST:
                    raise ServiceError("Invalid expression: it is nested too deeply.")
            elif following not in left:
                raise ServiceError(f"Invalid expression: value '{following:.60}' refers to itself.")

    def _node(self, node: Any, scope: _Scope) -> Any:
        if not isinstance(node, dict):
            raise ServiceError(f"Invalid expression: a value node must be an object, got {_kind(node)}.")
        kinds = [kind for kind in _KINDS if kind in node]
        if len(kinds) != 1:
            raise ServiceError(f"Invalid expression: a value node needs exactly one kind of value, got {sorted(node)}.")
        kind, content = kinds[0], node[kinds[0]]
        if kind == "constantValue":
            return content
        if kind == "valueReference":
            return self._reference(content, scope)
        if kind == "argumentReference":
            if not isinstance(content, str) or content not in scope.arguments:
                raise ServiceError(f"Invalid expression: argument '{content}' is not bound here.")
            return scope.arguments[content]
        if kind == "functionInvocationValue":
            return self._invocation(content, scope)
        if kind == "functionDefinitionValue":
            return self._definition(content, scope)
        return self._literal(kind, content, scope)

    def _literal(self, kind: str, content: Any, scope: _Scope) -> Any:
        if kind == "integerValue":
            try:
                return int(content)
            except (TypeError, ValueError):
                raise ServiceError(f"Invalid expression: integerValue '{content}' is not an integer.") from None
        if kind == "bytesValue":
            try:
                return base64.b64decode(content, validate=True)
            except (TypeError, binascii.Error, ValueError):
                raise ServiceError("Invalid expression: bytesValue is not base64.") from None
        parts = content.get("values") if isinstance(content, dict) else None
        if kind == "arrayValue":
            if not isinstance(parts, list):
                raise ServiceError("Invalid expression: arrayValue needs a list 'values'.")
            return [self._node(part, scope) for part in parts]
        if not isinstance(parts, dict):
            raise ServiceError("Invalid expression: dictionaryValue needs an object 'values'.")
        return {key: self._node(part, scope) for key, part in parts.items()}

    def _definition(self, content: Any, scope: _Scope) -> Function:
        names = content.get("argumentNames") if isinstance(content, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ServiceError("Invalid expression: a function definition needs a list 'argumentNames' of strings.")
        body = content.get("body")
        return Function(tuple(names), lambda bound: self._reference(body, _Scope({**scope.arguments, **bound}, {})))

    def _invocation(self, content: Any, scope: _Scope) -> Any:
        if not isinstance(content, dict):
            raise ServiceError(f"Invalid expression: a function invocation must be an object, got {_kind(content)}.")
        given = content.get("arguments", {})
        if not isinstance(given, dict):
            raise ServiceError(f"Invalid expression: 'arguments' must be an object, got {_kind(given)}.")
        arguments = {name: partial(self._node, node, scope) for name, node in given.items()}
        if "functionReference" in content:
            function = self._reference(content["functionReference"], scope)
            if not isinstance(function, Function):
                raise ServiceError("Invalid expression: functionReference does not refer to a function.")
            return function.body({name: value() for name, value in arguments.items()})
        name = content.get("functionName")
        if not isinstance(name, str):
            raise ServiceError("Invalid expression: a function invocation needs 'functionName' or 'functionReference'.")
        return self._call(name, arguments)


def _pointers(node: Any) -> Iterator[str]:
    """The keys that a node refers to, in itself and in the nodes that are written inside it."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict) and "constantValue" not in part:
            for name, inner in part.items():
                if name in _POINTERS and isinstance(inner, str):
                    yield inner
                elif isinstance(inner, (dict, list)):
                    waiting.append(inner)


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )
