"""The signatures of Earth Engine's algorithms, from the list that ships inside earthengine-api."""

from __future__ import annotations

import importlib.util
import json
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Argument:
    """One parameter of an algorithm: its Earth Engine name, its name in Python, its type and its default."""

    name: str
    parameter: str
    type: str
    optional: bool
    default: Any


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


def argument_of(entry: Mapping[str, Any]) -> Argument:
    """The parameter that an entry of the list describes."""
    name = entry["argumentName"]
    parameter = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if keyword.iskeyword(parameter):
        parameter += "_"
    return Argument(name, parameter, entry["type"], bool(entry.get("optional")), entry.get("defaultValue"))
