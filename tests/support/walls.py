"""The walls of a package: which room may import which, read from its source and not from what runs.

A room is a module or a package right below the package. Imports inside functions and for the type checker count like
any other, and so do modules that are named in strings: ``import_module("a.b")``, or ``"a.b"`` outside of a docstring.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LOADERS = ("import_module", "__import__")


@dataclass(frozen=True)
class Import:
    """One import: who, whom, in which line, and how: ``import``, ``string``, or ``unknown`` (a name at run time)."""

    module: str
    imported: str
    line: int
    how: str = "import"

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.imported}" + (" by a string" if self.how == "string" else "")


@dataclass(frozen=True)
class Rules:
    """The walls of a package.

    ``floors``: rooms from the top down; each may import what stands on a lower floor, and itself. ``neighbours``: pairs
    on one floor of which the first may import the second. ``doors``: foreign packages, and the modules that may import
    them. ``faces``: modules that hand on names of others, as text. ``loaders``: those that import what a user names.
    """

    package: str
    floors: Sequence[Sequence[str]]
    neighbours: frozenset[tuple[str, str]]
    doors: Mapping[str, frozenset[str]]
    faces: frozenset[str]
    loaders: frozenset[str]


def violations(root: Path, rules: Rules) -> list[str]:
    """Return what is wrong with the package in the folder ``root``, one line each."""
    modules = {
        _name(path, root, rules.package): path for path in sorted(root.rglob("*.py")) if "data" not in path.parts
    }
    found = [one for name, path in modules.items() for one in imports(name, path, modules, rules)]
    level = {room: index for index, floor in enumerate(rules.floors) for room in floor}
    wrong = [f"{room}: stands on no floor" for room in sorted({_room(name) for name in modules} - {""} - set(level))]
    for one in found:
        if one.how == "unknown":
            if one.module in rules.loaders:
                continue
            wrong.append(f"{one.module}:{one.line} imports a module whose name is known only when it runs")
        elif one.module in rules.faces:
            continue
        elif one.imported.split(".")[0] != rules.package:
            allowed = rules.doors.get(one.imported.split(".")[0])
            if allowed is not None and one.module not in allowed:
                wrong.append(f"{one}: it has no door there")
        elif (mine := _room(one.module)) and (theirs := _room(one.imported)) != mine and theirs in level:
            below = level[theirs] > level.get(mine, -1) or (mine, theirs) in rules.neighbours
            if not below:
                wrong.append(f"{one}: upward")
    arrows: dict[str, set[str]] = {name: set() for name in modules}
    for one in found:
        if one.imported in modules and one.imported != one.module and one.module not in rules.faces:
            arrows[one.module].add(one.imported)
    return wrong + [f"circle: {' -> '.join(circle)}" for circle in circles(arrows)]


def imports(name: str, path: Path, modules: Mapping[str, Path], rules: Rules) -> Sequence[Import]:
    """Return what a module imports, by any way."""
    package = path.name == "__init__.py"
    return _imports(name, package, path.read_text(), frozenset(modules), rules.package, name in rules.faces)


@cache
def _imports(
    name: str, is_package: bool, source: str, modules: frozenset[str], root: str, is_face: bool
) -> Sequence[Import]:
    return tuple(_found(name, is_package, ast.parse(source), modules, root, is_face))


def _found(
    name: str, is_package: bool, tree: ast.Module, modules: frozenset[str], root: str, is_face: bool
) -> Iterator[Import]:
    package = name.split(".") if is_package else name.split(".")[:-1]
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield Import(name, inner if inner in modules else module, node.lineno)
        elif is_face:
            continue
        elif isinstance(node, ast.Call) and _called(node) in LOADERS:
            first = node.args[0] if node.args else None
            if not isinstance(first, ast.Constant):
                yield Import(name, "", node.lineno, "unknown")
            elif str(first.value) not in modules:  # ours are found among the strings
                yield Import(name, str(first.value), node.lineno, "string")
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            text = str(node.value)
            if re.fullmatch(rf"{root}(\.\w+)+", text):
                known = [module for module in modules if f"{text}.".startswith(f"{module}.")]
                yield Import(name, max(known, key=len), node.lineno, "string")


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(arrows[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found


def _name(path: Path, root: Path, package: str) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
