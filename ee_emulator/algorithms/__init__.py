"""The algorithms, one file per Earth Engine family, all of them in the registry once this package is imported.

To add one, write a function under its Earth Engine name in its family's file: `evaluation.registry.algorithm` says
how. A new family's file is named here.
"""

from __future__ import annotations

from ..evaluation.registry import Context, call, implemented

# To import a family is to register it.
from . import (  # noqa: F401
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

__all__ = ["Context", "call", "implemented"]
