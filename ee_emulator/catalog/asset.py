"""Stored images: the versions of an asset with their bands, as images and as the REST API's resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ..errors import CatalogError, ServiceError
from ..values import date as dates
from ..values.band import Band, Canvas, Dimensions
from ..values.crs import parse_crs
from ..values.geometry import Geometry, from_geojson
from ..values.grid import Grid, Pixels
from ..values.image import Image
from ..values.pixeltype import PixelType
from ..values.projection import TERMS
from ..values.pyramid import POLICIES
from ..values.raster import RasterBand, open_bands
from .entry import checked, file_of, properties_of, update_of
from .footprint import enclosed, outline, ring_of
from .recording import Recording, read_recording


@dataclass(frozen=True)
class StoredBand:
    """A band of an asset: its id and its raster."""

    id: str
    raster: RasterBand

    @cached_property
    def resource(self) -> dict[str, Any]:
        """The band as the REST API writes it."""
        raster = self.raster
        return {
            "id": self.id,
            "dataType": raster.type.resource(),
            "grid": {
                ("crsWkt" if len(raster.crs) > 40 else "crsCode"): raster.crs,
                "dimensions": {"width": raster.width, "height": raster.height},
                "affineTransform": {name: v for name, v in zip(TERMS, raster.transform, strict=True) if v},
            },
            "pyramidingPolicy": raster.policy,
        }


@dataclass(frozen=True, eq=False)
class Asset:
    """One version of a stored image. Times are milliseconds since 1970 or None, `version` microseconds.

    `loaded_as` is the version by which `Image.load` finds it: in some collections that of the collection.

    A hundred thousand of them may share a raster: what they have in common is one object.
    `geometry` is the area that it covers, `footprint` the GeoJSON that says so; `recorded` is what stands for all that
    is described here, where the catalog has it.
    """

    id: str
    start: int | None
    end: int | None
    update_time: str
    version: int
    properties: Mapping[str, Any]
    geometry: Geometry
    footprint: Any
    bands: tuple[StoredBand, ...]
    loaded_as: int
    recorded: Recording | None = None

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
        if self.footprint is not None:
            properties["system:footprint"] = self.footprint
        if self.recorded is not None:
            properties |= self.recorded.properties
        image = Image(tuple(map(_band, self.bands)), properties, self.geometry, self.id, self.loaded_as)
        info = None if self.recorded is None else self.recorded.info
        return image if info is None else image.described_as(info)

    @property
    def resource(self) -> dict[str, Any]:
        """The asset as the REST API writes it (view FULL)."""
        if self.recorded is not None:
            return dict(self.recorded.resource)
        times = {"startTime": self.start, "endTime": self.end}
        return {
            "type": "IMAGE",
            "name": asset_name(self.id),
            "id": self.id,
            "updateTime": self.update_time,
            **{key: dates.rfc3339(value) for key, value in times.items() if value is not None},
            **({"properties": dict(self.properties)} if self.properties else {}),
            "geometry": self.footprint,
            "bands": [band.resource for band in self.bands],
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


def native_grid(band: Band) -> Grid:
    """The whole of a stored band on its own pixels; a 400 for a computed band, which has no bounds."""
    if band.dimensions is None:
        raise ServiceError("The image has no bounds of its own; the request needs a grid with dimensions.")
    return Grid(band.projection, *band.dimensions)


_ASSET_KEYS = {
    *("id", "startTime", "endTime", "updateTime", "properties", "geometry", "crs", "bands", "recorded", "version"),
}
_BAND_KEYS = {"id", "file", "index", "nodata", "pyramidingPolicy", "range"}


def read_asset(entry: Any, where: str, folder: Path, rasters: dict[tuple[str, str | None], list[RasterBand]]) -> Asset:
    """An image from its catalog entry; `rasters` are the files that were opened before, by name and `crs`."""
    asset_id = checked(entry, where, _ASSET_KEYS)
    where = f"{where} ('{asset_id}')"
    listed = entry.get("bands")
    if not isinstance(listed, list) or not listed:
        raise CatalogError(f"{where}: needs a list 'bands' with at least one band")
    bands = tuple(_stored(b, f"{where}: bands[{i}]", folder, entry.get("crs"), rasters) for i, b in enumerate(listed))
    names = [band.id for band in bands]
    if len(set(names)) < len(names):
        raise CatalogError(f"{where}: two bands have the same id: {names}")
    properties = properties_of(entry, where)
    try:
        times = {
            key: None if entry.get(key) is None else dates.parse(entry[key]).millis for key in ("startTime", "endTime")
        }
        update_time, version = update_of(entry)
        given = entry.get("geometry")
        if given:
            geometry, footprint = enclosed(given) or from_geojson(given), given
        else:
            geometry, footprint = _outlined(bands[0].raster)
    except (ServiceError, AttributeError, TypeError) as error:
        raise CatalogError(f"{where}: {error}") from error
    loaded_as = entry.get("version", version)
    if not isinstance(loaded_as, int) or isinstance(loaded_as, bool) or loaded_as < 0:
        raise CatalogError(f"{where}: version {loaded_as!r} is not a whole number of at least 0")
    span = times["startTime"], times["endTime"]
    asset = Asset(
        public_id(asset_id), *span, update_time, version, properties, geometry, footprint, bands, loaded_as=loaded_as
    )
    return _as_recorded(asset, entry, where) if "recorded" in entry else asset


@lru_cache(maxsize=4096)
def _outlined(raster: RasterBand) -> tuple[Geometry, Any]:
    """The area that a raster covers, and the footprint that says so."""
    geometry = outline(raster)
    return geometry, ring_of(geometry)


@lru_cache(maxsize=4096)
def _shared(band_id: str, raster: RasterBand, nodata: float | None, kind: PixelType, policy: str) -> StoredBand:
    return StoredBand(band_id, replace(raster, nodata=nodata, type=kind, policy=policy))


def _as_recorded(asset: Asset, entry: Any, where: str) -> Asset:
    """An asset that is described by its recording; what the entry itself says of times stays."""
    policies = {band.id: band.raster.policy for band in asset.bands}
    found = read_recording(entry["recorded"], asset_name(asset.id), asset.id, policies, where)
    timed = replace(
        asset,
        start=found.start if asset.start is None else asset.start,
        end=found.end if asset.end is None else asset.end,
        geometry=enclosed(found.footprint) or asset.geometry,
        footprint=found.footprint,
        recorded=found,
    )
    if "updateTime" in entry or found.version is None:
        return timed
    update_time = dates.rfc3339_micros(found.version)
    return replace(timed, version=found.version, loaded_as=entry.get("version", found.version), update_time=update_time)


def _stored(
    entry: Any,
    where: str,
    folder: Path,
    crs: str | None,
    rasters: dict[tuple[str, str | None], list[RasterBand]],
) -> StoredBand:
    band_id = checked(entry, where, _BAND_KEYS)
    file, index = file_of(entry, where), entry.get("index", 1)
    if (file, crs) not in rasters:
        try:
            if crs is not None:
                parse_crs(crs)
            rasters[file, crs] = open_bands(folder / file, crs)
        except Exception as error:  # rasterio and GDAL have no common public error class
            raise CatalogError(f"{where}: cannot open raster '{file}': {' '.join(str(error).split())}") from error
    opened = rasters[file, crs]
    if not isinstance(index, int) or isinstance(index, bool) or not 1 <= index <= len(opened):
        raise CatalogError(f"{where}: index {index} is not a band of '{file}', which has {len(opened)}")
    policy = entry.get("pyramidingPolicy", "MEAN")
    if policy not in POLICIES:
        raise CatalogError(f"{where}: pyramidingPolicy '{policy}'; use one of {', '.join(POLICIES)}")
    raster = opened[index - 1]
    nodata = entry.get("nodata", raster.nodata)
    if nodata is not None:
        try:
            nodata = float(nodata)
        except (TypeError, ValueError):
            raise CatalogError(f"{where}: nodata '{nodata}' is not a number") from None
    pixel_type = _ranged(raster, entry.get("range"), where)
    return _shared(band_id, raster, nodata, pixel_type, policy)


def _ranged(raster: RasterBand, given: Any, where: str) -> PixelType:
    if given is None:
        return raster.type
    numbers = isinstance(given, list) and len(given) == 2 and all(isinstance(v, (int, float)) for v in given)
    if not numbers or given[0] > given[1]:
        raise CatalogError(f"{where}: range must be [min, max], got {given}")
    return PixelType(raster.type.precision, given[0], given[1])
