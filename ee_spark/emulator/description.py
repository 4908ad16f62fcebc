"""Values as `value:compute` writes them: the descriptions that getInfo returns.

https://developers.google.com/earth-engine/reference/rest/v1/projects.value/compute
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .element import Collection, Feature
from .errors import ServiceError
from .image import Band, Image

_MOST_ELEMENTS = 5000
"""Elements of a collection that a description may have (developers.google.com/earth-engine/guides/debugging)."""


def describe(value: Any) -> Any:
    """The JSON of a value; a 400 for what has none, a collection of more than 5000 elements for one."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else ("NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity")
    if isinstance(value, np.generic):
        return describe(value.item())
    if isinstance(value, (list, tuple)):
        return [describe(part) for part in value]
    if isinstance(value, dict):
        return {str(key): describe(part) for key, part in value.items()}
    if isinstance(value, Image):
        return _image(value)
    if isinstance(value, Feature):
        return _feature(value)
    if isinstance(value, Collection):
        return _collection(value)
    describing = getattr(value, "describe", None)
    if describing is not None:
        return describing()
    raise ServiceError(f"A value of type {type(value).__name__} cannot be encoded as JSON.")


def _image(image: Image) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "Image", "bands": [_band(band) for band in image.bands]}
    if image.id is not None:
        found["id"] = image.id
    if image.version is not None:
        found["version"] = image.version
    if image.properties:
        found["properties"] = {key: describe(value) for key, value in image.properties.items()}
    return found


def _band(band: Band) -> dict[str, Any]:
    found: dict[str, Any] = {"id": band.name, "data_type": band.type.describe()}
    if band.dimensions is not None:
        found["dimensions"] = list(band.dimensions[:2])
        if any(band.dimensions[2:]):
            found["origin"] = list(band.dimensions[2:])
    found["crs"] = band.projection.crs
    found["crs_transform"] = list(band.projection.transform)
    return found


def _feature(feature: Feature) -> dict[str, Any]:
    properties = {key: describe(value) for key, value in feature.properties.items() if key != "system:index"}
    geometry = None if feature.geometry is None else feature.geometry.describe()
    found: dict[str, Any] = {"type": "Feature", "geometry": geometry, "properties": properties}
    if "system:index" in feature.properties:
        found["id"] = str(feature.properties["system:index"])
    return found


def _collection(collection: Collection) -> dict[str, Any]:
    elements = collection.elements
    if len(elements) > _MOST_ELEMENTS:
        raise ServiceError(f"Collection query aborted after accumulating over {_MOST_ELEMENTS} elements.")
    kind = (
        {"type": "ImageCollection", "bands": []} if collection.images else {"type": "FeatureCollection", "columns": {}}
    )
    found: dict[str, Any] = {**kind, "features": [describe(part) for part in elements]}
    if collection.id is not None:
        found["id"] = collection.id
    if collection.version is not None:
        found["version"] = collection.version
    if collection.properties:
        found["properties"] = {key: describe(value) for key, value in collection.properties.items()}
    return found
