"""The walls of the house: which room may import which. Arrows run one way; each foreign thing has one door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ee_spark"
# Each room may import itself and rooms further to the right.
FLOORS = (
    ("cli", "submit", "batch", "metrics"),
    ("show", "export", "check", "datasource"),
    ("read", "extract", "doctor", "emulator"),
    ("report",),
    ("progress", "lane", "java", "cluster"),
    ("store", "fetch"),
    ("planner",),
    ("dataproc",),
    ("config",),
    ("client",),
    ("job", "objects"),
    ("logs", "hosts", "boundary"),
    ("errors", "limits", "gdal", "version", "status"),
)
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}
# Rooms of one floor that may see each other.
NEIGHBOURS = {("cluster", "lane"), ("cluster", "java"), ("lane", "progress"), ("read", "extract")}
FACES = {"read/export.py"}
"""Old names of what has moved up: they hold nothing but an import."""
DOORS = {
    "pyspark": {"cluster.py", "read/sql.py", "datasource.py"},
    "ee": {"planner/source.py"},
    "urllib3": {"client.py", "hosts.py", "objects/gs.py", "objects/s3.py"},
    "requests": set(),
}


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "data" not in path.relative_to(PACKAGE).parts)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (module, whether it is imported only for the type checker)."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    package = ["ee_spark", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, id(node) in typing_only) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if module in ("ee_spark", *(".".join(package),)):
                yield from ((f"{module}.{name.name}", id(node) in typing_only) for name in node.names)
            else:
                yield module, id(node) in typing_only


def room(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    if str(path.relative_to(PACKAGE)) in FACES:
        return
    mine = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module, typing_only in imports(path):
        if not module.startswith("ee_spark") or typing_only:
            continue
        theirs = room(module)
        if mine == "emulator":
            assert theirs == "emulator", f"{path.name} imports {module}: the emulator stands alone"
        elif theirs == "emulator":
            assert mine in ("cli", "extract"), (
                f"{path.name} imports {module}: only the command line and the program may"
            )
        elif mine in LEVEL and theirs in LEVEL and mine != theirs:
            down = LEVEL[mine] < LEVEL[theirs] or (mine, theirs) in NEIGHBOURS
            assert down, f"{path.name} ({mine}) imports {module} ({theirs}): that runs against the stream"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_foreign_things_have_one_door(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    if name.startswith("emulator/"):
        return
    for module, typing_only in imports(path):
        top = module.split(".")[0]
        if top in DOORS and not typing_only and not (top == "ee" and module.startswith("ee_spark")):
            assert name in DOORS[top] or name.startswith("objects/"), f"{name} imports {module}"


def test_every_room_stands_on_a_floor() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files()} - {"__init__", "emulator"}
    assert rooms <= set(LEVEL), f"rooms without a floor: {rooms - set(LEVEL)}"
