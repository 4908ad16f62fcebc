"""The floors of the emulator: which room imports which, and that nothing imports in a circle or upwards.

The checks read the source only. They prove themselves on a small package in which each kind of violation is planted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import ee_emulator

PACKAGE = Path(ee_emulator.__file__).parent
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "values": {"errors"},
    "evaluation": {"errors", "values"},
    "catalog": {"errors", "values"},
    "algorithms": {"errors", "values", "evaluation"},
    "wire": {"errors", "values", "evaluation", "catalog", "algorithms"},
    "command": {"errors", "values", "catalog", "wire"},
    "process": set(),
    "": {"command", "process"},
    "__main__": {"command"},
    "data": set(),
}
"""For each room, or module at the top, the rooms it may import."""
STRANGERS = ("ee_spark", "pyspark", "pyspark_earthengine")
BY_NAME = ("import_module", "__import__", "resolve_name", "run_module", "run_path", "spec_from_file_location")
"""What imports a module that is named by a string."""


class Import(NamedTuple):
    """One module of the package imports another, or something from outside (`inner` is False)."""

    importer: str
    imported: str
    line: int
    inner: bool


def modules(package: Path) -> dict[str, Path]:
    """The file of each module by its name inside the package; the package itself is the empty name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path) -> Iterator[Import]:
    """Every import statement of a package, wherever it stands: in a function and under TYPE_CHECKING too."""
    known = modules(package)
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = _base(name, path, node, package.name)
                # `from room import module` imports the module; `from module import name` does not
                inside = base.removeprefix(package.name).removeprefix(".")
                listed = [f"{inside}.{alias.name}".strip(".") for alias in node.names]
                targets = [f"{package.name}.{item}" if item in known else base for item in listed]
            else:
                continue
            for target in dict.fromkeys(targets):
                head, _, rest = target.partition(".")
                yield Import(name, rest if head == package.name else target, node.lineno, head == package.name)


def _base(name: str, path: Path, node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    parts = [package, *filter(None, name.split("."))]
    parts = parts[: len(parts) - node.level + (path.name == "__init__.py")]
    return ".".join([*parts, *([node.module] if node.module else [])]) or "nothing"


def upward(package: Path) -> list[str]:
    """Imports of a room that does not lie below."""
    found = []
    for importer, imported, line, inner in imports(package):
        room, other = importer.partition(".")[0], imported.partition(".")[0]
        if inner and room != other and other not in BELOW.get(room, set()):
            found.append(f"{importer}:{line} imports {imported}")
    return found


def circles(package: Path) -> list[str]:
    """Modules that import themselves, through however many others."""
    known = modules(package)
    below: dict[str, set[str]] = {name: set() for name in known}
    for importer, imported, _, inner in imports(package):
        if inner and imported in known and imported != importer:
            below[importer].add(imported)
    found = []
    for start in known:
        seen: set[str] = set()
        waiting = list(below[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += below[name]
        if start in seen:
            found.append(start)
    return found


def strangers(package: Path) -> list[str]:
    """Imports of what the emulator must not know, relative ones that leave the package included."""
    return [
        f"{importer}:{line} imports {imported}"
        for importer, imported, line, inner in imports(package)
        if not inner and imported.partition(".")[0] in (*STRANGERS, "nothing")
    ]


def named(package: Path) -> list[str]:
    """Uses of what imports modules by a string."""
    found = []
    for name, path in modules(package).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            used = [node.id] if isinstance(node, ast.Name) else [node.attr] if isinstance(node, ast.Attribute) else []
            if isinstance(node, ast.ImportFrom):
                used = [alias.name for alias in node.names]
            found += [f"{name}:{getattr(node, 'lineno', 0)} uses {word}" for word in used if word in BY_NAME]
    return found


CHECKS = {"upward": upward, "circles": circles, "strangers": strangers, "named": named}


@pytest.mark.parametrize("check", CHECKS)
def test_the_package_keeps_its_walls(check: str) -> None:
    assert CHECKS[check](PACKAGE) == []


def test_every_room_has_a_floor() -> None:
    assert {name.partition(".")[0] for name in modules(PACKAGE)} == set(BELOW)


def test_every_file_of_algorithms_is_registered() -> None:
    files = {name for name in modules(PACKAGE) if name.startswith("algorithms.")}
    assert {found.imported for found in imports(PACKAGE) if found.importer == "algorithms"} >= files


SOUND = {
    "__init__.py": "from .command import main\n",
    "errors.py": "",
    "command.py": "def main():\n    from .wire import server\n",
    "values/__init__.py": "",
    "values/date.py": "from ..errors import X\n",
    "values/image.py": "from . import date\nfrom .date import Date\n",
    "evaluation/__init__.py": "",
    "evaluation/graph.py": "from ..values.image import Image\n",
    "algorithms/__init__.py": "from . import image\n",
    "algorithms/image.py": "import toy.values.image\nfrom ..evaluation import graph\n",
    "catalog/__init__.py": "",
    "catalog/folder.py": "from ..values import image\n",
    "wire/__init__.py": "",
    "wire/server.py": "from ..algorithms import call\nfrom ..catalog.folder import Catalog\n",
}


def build(folder: Path, plants: dict[str, str]) -> Path:
    """The package `toy` with some lines added to its files."""
    package = folder / "toy"
    for name, text in SOUND.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + plants.get(name, ""))
    return package


def test_a_sound_package_passes_every_check(tmp_path: Path) -> None:
    assert {name: check(build(tmp_path, {})) for name, check in CHECKS.items()} == {name: [] for name in CHECKS}


PLANTS = [
    ("upward", {"values/date.py": "from ..evaluation.graph import Graph\n"}),
    ("upward", {"values/date.py": "from .. import algorithms\n"}),
    ("upward", {"values/date.py": "import toy.wire.server\n"}),
    ("upward", {"values/date.py": "from toy.wire import server\n"}),
    ("upward", {"evaluation/graph.py": "def late():\n    from ..algorithms.image import load\n"}),
    ("upward", {"errors.py": "if TYPE_CHECKING:\n    from .values.image import Image\n"}),
    ("upward", {"algorithms/image.py": "from ..catalog.folder import Catalog\n"}),
    ("upward", {"catalog/folder.py": "from ..evaluation.graph import Graph\n"}),
    ("upward", {"wire/server.py": "from .. import main\n"}),
    ("circles", {"values/date.py": "from .image import Image\n"}),
    ("circles", {"values/date.py": "def late():\n    from . import image\n"}),
    ("circles", {"values/date.py": "if TYPE_CHECKING:\n    from .image import Image\n"}),
    ("circles", {"values/__init__.py": "from .image import Image\n", "values/date.py": "from . import Image\n"}),
    ("strangers", {"values/date.py": "import ee_spark.store\n"}),
    ("strangers", {"wire/server.py": "def late():\n    from pyspark.sql import SparkSession\n"}),
    ("strangers", {"command.py": "from pyspark_earthengine import register\n"}),
    ("strangers", {"values/date.py": "from ... import ee_spark\n"}),
    ("named", {"values/date.py": "import importlib\nimportlib.import_module('toy.wire.server')\n"}),
    ("named", {"values/date.py": "from importlib import import_module as later\nlater(f'{__name__}.x')\n"}),
    ("named", {"values/date.py": "__import__('ee_spark')\n"}),
    ("named", {"values/date.py": "from pkgutil import resolve_name\n"}),
]


@pytest.mark.parametrize(("check", "plants"), PLANTS)
def test_a_planted_violation_is_found(check: str, plants: dict[str, str], tmp_path: Path) -> None:
    assert CHECKS[check](build(tmp_path, plants))
