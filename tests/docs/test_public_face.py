"""What ``import ee_spark`` shows: the public names, each what it says, and nothing imported before it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import ee_spark


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_completion_shows_the_public_names() -> None:
    shown = [name for name in dir(ee_spark) if not name.startswith("__")]
    assert shown == sorted(name for name in ee_spark.__all__ if not name.startswith("__"))
    assert set(shown) >= {"load", "plan", "run", "open_dataset", "pixels", "emulator", "RunReport", "JobError"}


@pytest.mark.parametrize("name", ee_spark.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(ee_spark, name)
    assert name == "__version__" or inspect.getdoc(thing)
    if inspect.isfunction(thing):
        assert "return" in inspect.get_annotations(thing)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ee_spark' has no attribute 'nothing'"):
        _ = ee_spark.nothing  # type: ignore[attr-defined]


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    heavy = "{'pyarrow', 'rasterio', 'pydantic', 'ee', 'pyspark', 'google.auth', 'numpy'}"
    assert python(f"import ee_spark, sys; dir(ee_spark); print(sorted({heavy} & set(sys.modules)))") == "[]"


@pytest.mark.parametrize("first", ["", "import ee_spark.planner; ", "import ee_spark.planner.plan, ee_spark.extract; "])
def test_plan_is_a_plain_function_whatever_came_before(first: str) -> None:
    assert python(f"{first}import ee_spark; print(type(ee_spark.plan).__name__)") == "function"


def test_the_emulator_is_there_without_an_import_of_its_own() -> None:
    assert python("import ee_spark; print(ee_spark.emulator.start.__module__)") == "ee_emulator.process"


def test_a_missing_extra_is_told_by_its_name() -> None:
    """boto3 stands for all: without it s3:// is an ImportError that is ours too."""
    hidden = "import sys; sys.modules['boto3'] = None; import ee_spark; from ee_spark.objects import open_store\n"
    said = python(
        f"{hidden}try:\n    open_store('s3://b/x')\n"
        "except ee_spark.EESparkError as error:\n    print(isinstance(error, ImportError), error)"
    )
    assert said == "True s3://: boto3 is not installed; pip install 'ee-spark[s3]'"
