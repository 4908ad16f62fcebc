"""The walls of the house: imports run one way, without a circle, and each foreign thing has one door."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from places import REPO
from walls import Rules, violations

PACKAGE = REPO / "ee_spark"
HTTP = frozenset(
    {"ee_spark.client", "ee_spark.connections", "ee_spark.hosts", "ee_spark.objects.gs", "ee_spark.objects.s3"}
)
SPARK = frozenset({"ee_spark.cluster", "ee_spark.read.sql", "ee_spark.datasource"})
RULES = Rules(
    package="ee_spark",
    floors=(
        ("batch", "submit", "metrics"),  # old names of what has moved
        ("cli",),
        ("check", "show", "export", "datasource", "doctor"),
        ("extract", "read"),
        ("cluster",),
        ("lane", "report", "progress", "java"),
        ("store", "fetch"),
        ("planner",),
        ("dataproc",),
        ("config", "emulator"),
        ("objects", "client"),
        ("tokens",),
        ("job", "core_yaml", "connections", "answers", "json_answers", "geometries"),
        ("usage",),
        ("boundary", "where"),
        ("logs", "hosts", "limits", "status", "gdal"),
        ("errors",),
        ("refusals", "version"),
    ),
    neighbours=frozenset({("report", "lane")}),
    doors={
        "pyspark": SPARK,
        "ee": frozenset({"ee_spark.planner.source", "ee_spark.planner.function"}),
        "ee_emulator": frozenset({"ee_spark.cli", "ee_spark.extract", "ee_spark.emulator"}),
        "urllib3": HTTP,
        "boto3": frozenset({"ee_spark.objects.s3"}),
        **{name: frozenset() for name in ("requests", "http", "httplib2", "googleapiclient", "pickle", "cloudpickle")},
    },
    faces=frozenset({"ee_spark", "ee_spark.read.export"}),
    loaders=frozenset({"ee_spark.planner.function"}),
)


def test_the_walls_stand() -> None:
    assert violations(PACKAGE, RULES) == []


@pytest.mark.parametrize(
    ("module", "plant", "told"),
    [
        ("objects/file.py", "import pyspark", "ee_spark.objects.file:1 imports pyspark: it has no door there"),
        ("objects/file.py", "import ee", "ee_spark.objects.file:1 imports ee: it has no door there"),
        (
            "lane/work.py",
            "def f():\n    from pyspark.sql import Row",
            "lane.work:2 imports pyspark.sql: it has no door",
        ),
        ("lane/work.py", "from ee_emulator import start", "ee_spark.lane.work:1 imports ee_emulator: it has no door"),
        ("store/part.py", "import pickle", "ee_spark.store.part:1 imports pickle: it has no door there"),
        (
            "fetch/quota.py",
            "import_module('requests')",
            "quota:1 imports requests by a string: it has no door",
        ),
        ("fetch/quota.py", "__import__('ee')", "ee_spark.fetch.quota:1 imports ee by a string: it has no door there"),
        ("fetch/quota.py", "import_module(name)", "ee_spark.fetch.quota:1 imports a module whose name is known only"),
        ("objects/file.py", "from ee_spark.extract import run", "objects.file:1 imports ee_spark.extract: upward"),
        ("objects/file.py", "from ee_spark import extract", "objects.file:1 imports ee_spark.extract: upward"),
        ("objects/file.py", "from ..extract import run", "objects.file:1 imports ee_spark.extract: upward"),
        ("errors.py", "def f():\n    import ee_spark.config", "ee_spark.errors:2 imports ee_spark.config: upward"),
        ("errors.py", "if TYPE_CHECKING:\n    from ee_spark.job import JobConfig", "errors:2 imports ee_spark.job: up"),
        (
            "planner/crs.py",
            "import_module('ee_spark.extract')",
            "crs:1 imports ee_spark.extract by a string: up",
        ),
        ("planner/crs.py", "HOMES = {'run': 'ee_spark.extract.run'}", "imports ee_spark.extract by a string: upward"),
        (
            "planner/window.py",
            "from ee_spark.planner.lattice import Lattice",
            "circle: ee_spark.planner.lattice ->",
        ),
        (
            "planner/crs.py",
            "if TYPE_CHECKING:\n    from ee_spark.planner import window",
            "circle: ee_spark.planner.",
        ),
        ("helpers.py", "", "helpers: stands on no floor"),
    ],
)
def test_a_planted_violation_is_found(module: str, plant: str, told: str, tmp_path: Path) -> None:
    copy = tmp_path / "ee_spark"
    shutil.copytree(PACKAGE, copy, ignore=lambda folder, names: [name for name in names if name == "__pycache__"])
    path = copy / module
    path.write_text(f"{plant}\n" + (path.read_text().partition('"""\n\n')[2] if path.exists() else ""))
    assert [line for line in violations(copy, RULES) if told in line]
