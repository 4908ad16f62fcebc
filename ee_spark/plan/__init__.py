"""What a job asks for: images × tiles, decided before any pixel is fetched.

The package is also what users call: ``ee_spark.plan(config)`` returns the plan of a job.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """The package under its name, which is a function's name too."""

    def __call__(self, config: Any, *, remote_code: bool = False) -> Any:
        """Plan a job as a run would, writing nothing: see :func:`ee_spark.extract.plan`."""
        return import_module("ee_spark.extract").plan(config, remote_code=remote_code)


sys.modules[__name__].__class__ = _Callable
