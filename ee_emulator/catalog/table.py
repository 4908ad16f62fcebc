"""Stored tables: the features of a GeoJSON file as an asset. Coordinates are longitude and latitude (RFC 7946)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CatalogError, ServiceError
from ..values.element import Collection, Feature
from ..values.geometry import Geometry, from_geojson
from .entry import file_of, properties_of, update_of

KEYS = {"id", "file", "startTime", "endTime", "updateTime", "properties"}
"""What an entry of the catalog's `tables` may hold."""


@dataclass(frozen=True, eq=False)
class Table:
    """One version of a stored table; `version` is its update time in microseconds, `size` the bytes of its file."""

    id: str
    update_time: str
    version: int
    properties: Mapping[str, Any]
    features: tuple[Feature, ...]
    size: int

    @property
    def collection(self) -> Collection:
        """What `Collection.loadTable` gives."""
        return Collection(lambda: self.features, id=self.id, version=self.version, properties=self.properties)

    def resource(self, name: str) -> dict[str, Any]:
        """The asset as the REST API writes it, under its resource name."""
        return {
            "type": "TABLE",
            "name": name,
            "id": self.id,
            "updateTime": self.update_time,
            **({"properties": dict(self.properties)} if self.properties else {}),
            "sizeBytes": str(self.size),
            "featureCount": str(len(self.features)),
        }


def read_table(entry: Mapping[str, Any], asset_id: str, where: str, folder: Path) -> Table:
    """A table from its catalog entry; CatalogError names the entry, the fact and the way out."""
    file, properties = file_of(entry, where), properties_of(entry, where)
    try:
        text = (folder / file).read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as error:
        raise CatalogError(f"{where}: cannot read '{file}': {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{where}: '{file}' is not valid JSON: {error}") from error
    listed = content.get("features") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise CatalogError(f"{where}: '{file}' must be a GeoJSON FeatureCollection")
    try:
        update_time, version = update_of(entry)
        features = tuple(_feature(feature, number) for number, feature in enumerate(listed))
    except (ServiceError, AttributeError, TypeError) as error:
        raise CatalogError(f"{where}: '{file}': {error}") from error
    return Table(asset_id, update_time, version, properties, features, len(text.encode()))


def _feature(value: Any, number: int) -> Feature:
    """A GeoJSON feature; without an id it gets its place in the file as 20 hexadecimal digits."""
    if not isinstance(value, dict) or value.get("type") != "Feature":
        raise ServiceError(f"features[{number}] is not a GeoJSON Feature")
    shape: Geometry | None = None if value.get("geometry") is None else from_geojson(value["geometry"])
    properties = value.get("properties") or {}
    if not isinstance(properties, dict):
        raise ServiceError(f"features[{number}]: 'properties' must be an object")
    index = str(value["id"]) if value.get("id") is not None else f"{number:020x}"
    return Feature(shape, {**properties, "system:index": index})
