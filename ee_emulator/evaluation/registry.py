"""Algorithms by their Earth Engine name, with the signatures that ship inside earthengine-api.

    @algorithm("Image.normalizedDifference")
    def normalized_difference(input: Image, band_names: list[str] | None) -> Image: ...

Parameters are the Earth Engine arguments in snake_case (a trailing underscore where Python reserves the word). They
arrive with the list's defaults filled in and converted to their declared type (`argument.convert`); what is missing,
unknown or of another type is a 400 before the function runs. A first parameter named `context` gets the request's
`Context`. A function whose parameters differ from the signature fails at import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..errors import ServiceError, not_implemented
from ..values.block import BlockCache
from . import argument
from .signature import Argument, argument_of, described

_F = TypeVar("_F", bound=Callable[..., Any])


class Assets(Protocol):
    """Where stored images, collections and tables come from."""

    def image(self, asset_id: str, version: int | None) -> Any:
        """The stored image (its newest version for None), or None where there is none."""

    def collection(self, asset_id: str) -> Any:
        """The stored image collection, or None where there is none."""

    def table(self, asset_id: str, version: int | None) -> Any:
        """The stored table's features (its newest version for None), or None where there is none."""


@dataclass(frozen=True)
class Context:
    """What an algorithm may need of the request it runs in."""

    assets: Assets
    cache: BlockCache


@dataclass(frozen=True)
class _Algorithm:
    function: Callable[..., Any]
    arguments: tuple[Argument, ...]
    wants_context: bool
    lazy: bool


_ALGORITHMS: dict[str, _Algorithm] = {}


def implemented() -> list[str]:
    """The names of the algorithms that are built here, sorted."""
    return sorted(_ALGORITHMS)


def built() -> frozenset[str]:
    """The names of the algorithms that are registered here."""
    return frozenset(_ALGORITHMS)


def algorithm(name: str, *, lazy: bool = False) -> Callable[[_F], _F]:
    """Register a function as the algorithm `name`; with `lazy` its arguments are callables not yet evaluated."""

    def register(function: _F) -> _F:
        parameters = list(inspect.signature(function).parameters)
        wants_context = parameters[:1] == ["context"]
        arguments = tuple(argument_of(entry) for entry in described()[name].get("arguments", []))
        expected = [a.parameter for a in arguments]
        if parameters[int(wants_context) :] != expected:
            raise TypeError(f"{name} has parameters {parameters}; its signature is {expected}")
        _ALGORITHMS[name] = _Algorithm(function, arguments, wants_context, lazy)
        return function

    return register


def call(name: str, given: Mapping[str, Callable[[], Any]], context: Context) -> Any:
    """Run an algorithm with arguments by their Earth Engine names.

    A name that Earth Engine does not have, one that is not built here, and arguments that do not fit are 400s.
    """
    entry = _ALGORITHMS.get(name)
    if entry is None:
        if name in described():
            raise not_implemented(f"Algorithm '{name}'")
        raise ServiceError(f"Unknown algorithm '{name}'.")
    known = {a.name for a in entry.arguments}
    for extra in given:
        if extra not in known:
            raise ServiceError(f"{name}: Unrecognized argument '{extra}'.")
    values: dict[str, Any] = {"context": context} if entry.wants_context else {}
    for wanted in entry.arguments:
        if entry.lazy:
            values[wanted.parameter] = given.get(wanted.name, lambda default=wanted.default: default)
            continue
        value = given[wanted.name]() if wanted.name in given else None
        if value is None:
            value = wanted.default
        if value is None:
            if not wanted.optional:
                raise ServiceError(f"{name}: Parameter '{wanted.name}' is required and may not be null.")
            values[wanted.parameter] = None
            continue
        values[wanted.parameter] = argument.convert(value, wanted.type, f"{name}: Parameter '{wanted.name}'")
    return entry.function(**values)
