"""Arithmetic expressions on images and numbers. https://developers.google.com/earth-engine/guides/image_math#expressions

Each operator and function is the algorithm of that name, with its types, masks and band names.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..errors import ServiceError
from ..evaluation.argument import image_of
from ..evaluation.formula import Formula, Node, parse
from ..evaluation.registry import Context, algorithm, call
from ..evaluation.signature import described
from ..values import mask as masks
from ..values.band import Band, Canvas
from ..values.function import Function
from ..values.grid import Pixels
from ..values.image import Image, matching

_CONSTANTS = {"PI": math.pi, "E": math.e, "pi": math.pi, "e": math.e}
_OPERATION = "Image.parseExpression"


@algorithm("Image.parseExpression")
def parse_expression(
    context: Context, expression: str, arg_name: str, vars: list[str], map_free_vars_to_default_image_bands: bool
) -> Function:
    """A function of images made from a text. https://developers.google.com/earth-engine/apidocs/ee-image-expression

    `vars` names its arguments, `argName` the one whose bands are b('name') and b(0). A result that is assigned a name
    (`x = a + b`) has its one band renamed; any other has the name that the outermost operator gives it.
    """
    formula = parse(expression, _OPERATION)

    def body(bound: Mapping[str, Any]) -> Image:
        given = {name: image_of(value) for name, value in bound.items()}
        return _Images(context, given, arg_name, map_free_vars_to_default_image_bands).result(formula)

    return Function(tuple(vars), body)


@algorithm("Number.expression")
def number_expression(context: Context, expression: str, vars: dict[str, Any] | None) -> float:
    """A number from a text and named numbers. https://developers.google.com/earth-engine/apidocs/ee-number-expression"""
    found: float = _Numbers(context, vars or {}).value(parse(expression, "Number.expression").root)
    return found


class _Evaluation(ABC):
    """Walks a tree and calls the algorithms of one type."""

    type = ""

    def __init__(self, context: Context, given: Mapping[str, Any]) -> None:
        self._context = context
        self._given = given

    def value(self, node: Node) -> Any:
        """The value of a part of the tree."""
        if node.kind == "number":
            return self.constant(node.value)
        if node.kind == "name":
            return self.named(node.value)
        if node.kind == "bands":
            return self.bands(node)
        parts = [self.value(part) for part in node.parts]
        return self.choice(*parts) if node.kind == "choice" else self.called(node.value, parts)

    def called(self, function: str, parts: list[Any]) -> Any:
        """One algorithm of this type by its name, with arguments by position."""
        name = f"{self.type}.{function}"
        listed = described().get(name, {}).get("arguments", [])
        required = [a for a in listed if not a.get("optional")]
        if not listed or not all(a["type"].startswith(self.type) for a in required) or len(required) != len(parts):
            raise ServiceError(f"{self.type} expression: there is no function '{function}' of {len(parts)} arguments.")
        arguments: dict[str, Callable[[], Any]] = {
            a["argumentName"]: partial(_same, part) for a, part in zip(required, parts, strict=True)
        }
        return call(name, arguments, self._context)

    def constant(self, value: float) -> Any:
        return value

    @abstractmethod
    def named(self, name: str | None) -> Any:
        """Return the value of a variable, or of the default image."""

    @abstractmethod
    def bands(self, node: Node) -> Any:
        """Return the value of a path into a variable."""

    @abstractmethod
    def choice(self, test: Any, first: Any, second: Any) -> Any:
        """Return what `test ? first : second` gives."""


class _Numbers(_Evaluation):
    type = "Number"

    def named(self, name: str | None) -> Any:
        if name is not None and name in self._given:
            return self._given[name]
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        raise ServiceError(f"Number.expression: '{name}' is not among the variables {sorted(self._given)}.")

    def bands(self, node: Node) -> Any:
        inner = self.value(node.parts[0])
        if not isinstance(inner, dict) or len(node.value) != 1 or node.value[0] not in inner:
            raise ServiceError(f"Number.expression: there is no value for '{'.'.join(map(str, node.value))}'.")
        return inner[node.value[0]]

    def choice(self, test: Any, first: Any, second: Any) -> Any:
        return first if test else second


class _Images(_Evaluation):
    type = "Image"

    def __init__(self, context: Context, given: Mapping[str, Image | None], default: str, free: bool) -> None:
        super().__init__(context, given)
        self._default = default
        self._free = free

    def result(self, formula: Formula) -> Image:
        found: Image = self.value(formula.root)
        if formula.name is None:
            return found
        if len(found.bands) != 1:
            raise ServiceError(f"{_OPERATION}: '{formula.name} =' needs a result of one band, got {len(found.bands)}.")
        return found.with_bands([found.bands[0].renamed(formula.name)])

    def constant(self, value: float) -> Image | None:
        return image_of(value)

    def named(self, name: str | None) -> Image:
        found: Image | None = self._given.get(self._default if name is None else name)
        if found is not None:
            return found
        if name in _CONSTANTS:
            return image_of(_CONSTANTS[name]) or Image()
        default: Image | None = self._given.get(self._default)
        if self._free and default is not None and name is not None:
            return default.with_bands(matching(default, name, _OPERATION))
        raise ServiceError(f"{_OPERATION}: the expression's variable '{name or self._default}' is not given.")

    def bands(self, node: Node) -> Image:
        inner: Image = self.value(node.parts[0])
        if not node.value:
            return inner
        return inner.with_bands(band for selector in node.value for band in matching(inner, selector, _OPERATION))

    def choice(self, test: Image, first: Image, second: Image) -> Image:
        """`first` where `test` is not zero, else `second`; masked where the test or what it chooses is."""
        sizes = {len(image.bands) for image in (test, first, second)} - {1}
        if len(sizes) > 1:
            raise ServiceError(f"{_OPERATION}: '? :' on images of {sorted(sizes)} bands.")
        count = sizes.pop() if sizes else 1

        def band(image: Image, position: int) -> Band:
            return image.bands[position if len(image.bands) > 1 else 0]

        longest = next(image for image in (first, second, test) if len(image.bands) == count)
        chosen = [
            _chosen(band(test, i), band(first, i), band(second, i)).renamed(longest.names[i]) for i in range(count)
        ]
        return first.with_bands(chosen)


def _chosen(test: Band, first: Band, second: Band) -> Band:
    kind = first.type.union(second.type)

    def read(canvas: Canvas) -> Pixels:
        (tested, valid), (a, mask_a), (b, mask_b) = map(canvas.pixels, (test, first, second))
        take = tested != 0
        values = np.where(take, kind.cast(a, first.type), kind.cast(b, second.type))
        chosen = np.where(take, mask_a, mask_b)
        return values, masks.both(valid, chosen)

    bounded = next((band for band in (first, second, test) if band.extent is not None), first)
    extent = masks.meet(test.extent, masks.join(first.extent, second.extent))
    return Band(first.name, kind, read, bounded.projection, extent, bounded.dimensions)


def _same(value: Any) -> Any:
    return value
