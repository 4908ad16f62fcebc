"""Stored images: the versions of an asset with their bands, as images and as the REST API's resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import ServiceError
from ..values import date as dates
from ..values.band import Band, Canvas, Dimensions
from ..values.geometry import Geometry
from ..values.grid import Grid, Pixels
from ..values.image import Image
from ..values.projection import TERMS
from ..values.raster import RasterBand


@dataclass(frozen=True)
class StoredBand:
    """A band of an asset: its id and its raster."""

    id: str
    raster: RasterBand


@dataclass(frozen=True, eq=False)
class Asset:
    """One version of a stored image. Times are milliseconds since 1970 or None, `version` microseconds."""

    id: str
    start: int | None
    end: int | None
    update_time: str
    version: int
    properties: Mapping[str, Any]
    geometry: Geometry
    bands: tuple[StoredBand, ...]

    @property
    def collection(self) -> str | None:
        """The id of the collection it is in."""
        return self.id.rpartition("/")[0] or None

    @cached_property
    def image(self) -> Image:
        """The image that `Image.load` gives."""
        index = self.id.rpartition("/")[2]
        properties: dict[str, Any] = {**self.properties, "system:index": index}
        if self.start is not None:
            properties["system:time_start"] = self.start
        if self.end is not None:
            properties["system:time_end"] = self.end
        properties["system:footprint"] = self.geometry
        return Image(tuple(map(_band, self.bands)), properties, self.geometry, self.id, self.version)

    @cached_property
    def resource(self) -> dict[str, Any]:
        """The asset as the REST API writes it (view FULL)."""
        times = {"startTime": self.start, "endTime": self.end}
        return {
            "type": "IMAGE",
            "name": asset_name(self.id),
            "id": self.id,
            "updateTime": self.update_time,
            **{key: dates.rfc3339(value) for key, value in times.items() if value is not None},
            **({"properties": dict(self.properties)} if self.properties else {}),
            "geometry": self.geometry.geojson(),
            "bands": [_band_resource(band) for band in self.bands],
        }


def public_id(name: str) -> str:
    """The id of an asset from its resource name: `projects/earthengine-public/assets/X` is `X`."""
    for prefix in ("projects/earthengine-public/assets/", "projects/earthengine-legacy/assets/"):
        if name.startswith(prefix):
            return name[len(prefix) :].strip("/")
    return name.strip("/")


def asset_name(asset_id: str) -> str:
    """The resource name of an asset id, as the official client derives it."""
    parts = asset_id.split("/")
    if len(parts) > 3 and parts[0] == "projects" and parts[2] == "assets":
        return asset_id
    owner = "earthengine-legacy" if parts[0] in ("users", "projects") else "earthengine-public"
    return f"projects/{owner}/assets/{asset_id}"


def _band(stored: StoredBand) -> Band:
    raster = stored.raster

    def read(canvas: Canvas) -> Pixels:
        return raster.seen_from(canvas.centre).sample(canvas.grid, canvas.cache)

    return Band(
        stored.id,
        raster.type,
        read,
        raster.projection,
        lambda canvas: raster.seen_from(canvas.centre).inside(canvas.grid),
        Dimensions(raster.width, raster.height),
    )


def _band_resource(stored: StoredBand) -> dict[str, Any]:
    raster = stored.raster
    return {
        "id": stored.id,
        "dataType": raster.type.resource(),
        "grid": {
            ("crsWkt" if len(raster.crs) > 40 else "crsCode"): raster.crs,
            "dimensions": {"width": raster.width, "height": raster.height},
            "affineTransform": {name: v for name, v in zip(TERMS, raster.transform, strict=True) if v},
        },
        "pyramidingPolicy": raster.policy,
    }


def native_grid(band: Band) -> Grid:
    """The whole of a stored band on its own pixels; a 400 for a computed band, which has none."""
    if band.dimensions is None:
        raise ServiceError("The image has no bounds of its own; the request needs a grid with dimensions.")
    return Grid(band.projection, *band.dimensions)
