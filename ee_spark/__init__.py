"""Earth Engine pixels as complete, exact, resumable Parquet tables, with Spark."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ee_spark.version import __version__

if TYPE_CHECKING:
    from ee_spark import emulator
    from ee_spark.config import load
    from ee_spark.errors import EESparkError, JobError, MissingExtraError, ReadError, StoppedError
    from ee_spark.extract import plan, run
    from ee_spark.read.dataset import open_dataset
    from ee_spark.read.sql import pixels
    from ee_spark.report import RunReport
    from ee_spark.status import Status

__all__ = [
    "EESparkError",
    "JobError",
    "MissingExtraError",
    "ReadError",
    "RunReport",
    "Status",
    "StoppedError",
    "__version__",
    "emulator",
    "load",
    "open_dataset",
    "pixels",
    "plan",
    "run",
]

_HOMES = {
    "EESparkError": "ee_spark.errors",
    "JobError": "ee_spark.errors",
    "MissingExtraError": "ee_spark.errors",
    "ReadError": "ee_spark.errors",
    "RunReport": "ee_spark.report",
    "Status": "ee_spark.status",
    "StoppedError": "ee_spark.errors",
    "load": "ee_spark.config",
    "open_dataset": "ee_spark.read.dataset",
    "pixels": "ee_spark.read.sql",
    "plan": "ee_spark.extract",
    "run": "ee_spark.extract",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a worker that needs one module does not pay for all."""
    if name == "emulator":
        return import_module("ee_spark.emulator")
    if name not in _HOMES:
        raise AttributeError(f"module 'ee_spark' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
