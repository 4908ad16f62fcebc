"""The algorithms, one file per Earth Engine family; importing this package registers them all.

To add one, write a function under its Earth Engine name in its family's file: `registry.algorithm` says how.
"""

from importlib import import_module
from pkgutil import iter_modules

from .registry import Context, call, described

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Context", "call", "described"]
