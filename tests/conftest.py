"""What many tests stand on: one emulator and one Spark session for the whole run, both real."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from places import REPO

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What the stores' servers on loopback are told; set here, since Spark's workers inherit it from the first session.
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true")
os.environ["NO_GCE_CHECK"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
# What takes longest begins first, so that two processes end at about the same time.
LONGEST = (
    "test_agreement",
    "test_chaos",
    "test_touch",
    "test_quickstart",
    "test_airflow",
    "test_walk",
    "test_package",
    "test_readme",
    "test_connect",
    "test_datasource",
    "test_submit",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def service_url() -> Iterator[str]:
    """The packaged scenes, served without latency."""
    import ee_emulator

    with ee_emulator.start() as service:
        yield service.url


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Spark on two cores of this machine."""
    from ee_spark.java import java_home

    os.environ["JAVA_HOME"] = str(java_home())
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .appName("tests")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.driver.memory", "1g")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def series(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the quickstart's 2010: NDVI with masks, tiles of 16 pixels."""
    return _extract("quickstart", spark, tmp_path_factory, "source.start=2010-01-01", "source.end=2011-01-01")


@pytest.fixture(scope="session")
def patches(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the quickstart's 64 patches: four bands of uint16, no masks."""
    return _extract("quickstart_patches", spark, tmp_path_factory)


def _extract(job: str, spark: SparkSession, folders: pytest.TempPathFactory, *settings: str) -> Path:
    import ee_spark
    from ee_spark.extract import Options

    path = folders.mktemp(job) / "out"
    config = ee_spark.load(
        str(REPO / "conf" / f"{job}.yaml"),
        [f"output.path={path}", "earth_engine.emulator.latency_ms=0", *settings],
    )
    report = ee_spark.run(config, spark, Options(progress="none"))
    assert report["status"] == "complete", report
    return path
