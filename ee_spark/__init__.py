"""Earth Engine pixels as complete, exact, resumable Parquet tables, with Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["EESparkError", "JobError", "StoppedError", "__version__", "load", "open_dataset", "pixels", "plan", "run"]

if TYPE_CHECKING:
    from ee_spark.config import load
    from ee_spark.errors import EESparkError, JobError, StoppedError
    from ee_spark.extract import run
    from ee_spark.read.dataset import open_dataset
    from ee_spark.read.sql import pixels

_HOMES = {
    "EESparkError": "ee_spark.errors",
    "JobError": "ee_spark.errors",
    "StoppedError": "ee_spark.errors",
    "load": "ee_spark.config",
    "open_dataset": "ee_spark.read.dataset",
    "pixels": "ee_spark.read.sql",
    "run": "ee_spark.extract",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a worker that needs one module does not pay for all.

    ``plan`` is a package that can be called.
    """
    from importlib import import_module

    if name == "plan":
        return import_module("ee_spark.plan")
    if name not in _HOMES:
        raise AttributeError(f"module 'ee_spark' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
