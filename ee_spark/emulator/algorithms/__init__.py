"""The algorithms, one file per Earth Engine family; importing this package registers them all.

To add one, write a function under its Earth Engine name in its family's file: `registry.algorithm` says how.
"""

from . import (
    arithmetic,
    cast,
    collection,
    composite,
    date,
    dictionary,
    element,
    feature,
    filters,
    geometry,
    image,
    join,
    lists,
    mask,
    number,
    projection,
    reducer,
    string,
)
from .registry import Context, call, described

__all__ = [
    "Context",
    "arithmetic",
    "call",
    "cast",
    "collection",
    "composite",
    "date",
    "described",
    "dictionary",
    "element",
    "feature",
    "filters",
    "geometry",
    "image",
    "join",
    "lists",
    "mask",
    "number",
    "projection",
    "reducer",
    "string",
]
