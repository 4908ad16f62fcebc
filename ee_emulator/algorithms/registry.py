"""Algorithms by their Earth Engine name, with the signatures that ship inside earthengine-api.

    @algorithm("Image.normalizedDifference")
    def normalized_difference(input: Image, band_names: list[str] | None) -> Image: ...

Parameters are the Earth Engine arguments in snake_case (a trailing underscore where Python reserves the word). They
arrive with the list's defaults filled in and converted to their declared type (`argument.convert`); what is missing,
unknown or of another type is a 400 before the function runs. A first parameter named `context` gets the request's
`Context`. A function whose parameters differ from the signature fails at import.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..blocks import BlockCache
from ..errors import ServiceError
from . import argument

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
class _Argument:
    name: str
    parameter: str
    type: str
    optional: bool
    default: Any


@dataclass(frozen=True)
class _Algorithm:
    function: Callable[..., Any]
    arguments: tuple[_Argument, ...]
    wants_context: bool
    lazy: bool


_ALGORITHMS: dict[str, _Algorithm] = {}


def packaged(name: str) -> Path:
    """The path of a data file that earthengine-api ships with its tests; found without importing `ee`."""
    spec = importlib.util.find_spec("ee")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "tests" / name
        if path.is_file():
            return path
    raise RuntimeError(f"earthengine-api's {name} was not found; install earthengine-api, whose wheel ships it")


@lru_cache(maxsize=1)
def described() -> dict[str, dict[str, Any]]:
    """The packaged description of every algorithm by name, 991 of them in 1.7.50."""
    with packaged("algorithms.json").open(encoding="utf-8") as file:
        listed = json.load(file)["algorithms"]
    return {entry["name"].removeprefix("algorithms/"): entry for entry in listed}


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
        arguments = tuple(_argument(entry) for entry in described()[name].get("arguments", []))
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
            raise ServiceError(f"Algorithm '{name}' is not implemented by this emulator.")
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


def _argument(entry: Mapping[str, Any]) -> _Argument:
    name = entry["argumentName"]
    parameter = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if keyword.iskeyword(parameter):
        parameter += "_"
    return _Argument(name, parameter, entry["type"], bool(entry.get("optional")), entry.get("defaultValue"))
