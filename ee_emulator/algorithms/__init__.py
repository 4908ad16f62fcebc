"""The algorithms, one file per Earth Engine family, all of them in the registry once this package is imported.

To add one, write a function under its Earth Engine name in its family's file: `evaluation.registry.algorithm` says
how. A new family's file is added to `FAMILIES`.
"""

from __future__ import annotations

from types import ModuleType

from ..evaluation.registry import Context, call, implemented
from . import (
    aggregate,
    arithmetic,
    array,
    cast,
    classifier,
    collection,
    combination,
    composite,
    confusion,
    date,
    dictionary,
    element,
    expression,
    feature,
    filter,
    geometry,
    image,
    join,
    kernel,
    link,
    list,
    mask,
    measure,
    neighbourhood,
    number,
    overlay,
    paint,
    pixeltype,
    position,
    projection,
    reducer,
    region,
    remap,
    resampling,
    sample,
    spatial,
    string,
    table,
    terrain,
    visualize,
)

FAMILIES: tuple[ModuleType, ...] = (
    aggregate,
    arithmetic,
    array,
    cast,
    classifier,
    collection,
    combination,
    composite,
    confusion,
    date,
    dictionary,
    element,
    expression,
    feature,
    filter,
    geometry,
    image,
    join,
    kernel,
    link,
    list,
    mask,
    measure,
    neighbourhood,
    number,
    overlay,
    paint,
    pixeltype,
    position,
    projection,
    reducer,
    region,
    remap,
    resampling,
    sample,
    spatial,
    string,
    table,
    terrain,
    visualize,
)
"""The modules that hold algorithms."""

__all__ = ["FAMILIES", "Context", "call", "implemented"]
