"""Values as `value:compute` writes them: the descriptions that getInfo returns.

https://developers.google.com/earth-engine/reference/rest/v1/projects.value/compute
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ServiceError
from .band import Band
from .element import Collection, Feature
from .image import Image
from .limit import ELEMENTS, too_large

_MOST_ELEMENTS = 5000
"""Elements of a collection that a description may have (developers.google.com/earth-engine/guides/debugging)."""


def describe(value: Any) -> Any:
    """The JSON of a value; a 400 for what has none or is too large, as a collection of more than 5000 elements is."""
    return _Description().of(value)


class _Description:
    """One description; counts its parts, since a small graph can share a list into a huge value."""

    def __init__(self) -> None:
        self._parts = 0

    def of(self, value: Any) -> Any:
        self._parts += 1
        if self._parts > ELEMENTS:
            raise too_large()
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return _number(value)
        if isinstance(value, np.generic):
            return self.of(value.item())
        if isinstance(value, (list, tuple)):
            return [self.of(part) for part in value]
        if isinstance(value, dict):
            return {str(key): self.of(part) for key, part in value.items()}
        if isinstance(value, (Image, Feature, Collection)):
            return self._element(value)
        describing = getattr(value, "describe", None)
        if describing is not None:
            return describing()
        raise ServiceError(f"A value of type {type(value).__name__} cannot be encoded as JSON.")

    def _element(self, value: Image | Feature | Collection) -> dict[str, Any]:
        if isinstance(value, Feature):
            return self._feature(value)
        if isinstance(value, Image) and value.info is not None:
            return dict(value.info)
        found = self._image(value) if isinstance(value, Image) else self._collection(value)
        if value.id is not None:
            found["id"] = value.id
        if value.version is not None:
            found["version"] = value.version
        if value.properties:
            found["properties"] = self.of(dict(value.properties))
        return found

    def _image(self, image: Image) -> dict[str, Any]:
        return {"type": "Image", "bands": [_band(band) for band in image.bands]}

    def _feature(self, feature: Feature) -> dict[str, Any]:
        properties = {key: self.of(value) for key, value in feature.properties.items() if key != "system:index"}
        geometry = None if feature.geometry is None else feature.geometry.describe()
        found: dict[str, Any] = {"type": "Feature", "geometry": geometry, "properties": properties}
        if "system:index" in feature.properties:
            found["id"] = str(feature.properties["system:index"])
        return found

    def _collection(self, collection: Collection) -> dict[str, Any]:
        elements = collection.elements
        if len(elements) > _MOST_ELEMENTS:
            raise ServiceError(f"Collection query aborted after accumulating over {_MOST_ELEMENTS} elements.")
        kind: dict[str, Any] = {"type": "FeatureCollection", "columns": {}}
        if collection.images:
            kind = {"type": "ImageCollection", "bands": []}
        return {**kind, "features": [self.of(part) for part in elements]}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else ("NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity")


def _band(band: Band) -> dict[str, Any]:
    found: dict[str, Any] = {"id": band.name, "data_type": band.type.describe()}
    if band.dimensions is not None:
        found["dimensions"] = list(band.dimensions[:2])
        if any(band.dimensions[2:]):
            found["origin"] = list(band.dimensions[2:])
    found["crs"] = band.projection.crs
    found["crs_transform"] = list(band.projection.transform)
    return found
