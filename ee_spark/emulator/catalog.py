"""The catalog: a folder's `catalog.json` as assets, versions and collections, read again when the file changes."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from . import element, moment
from .element import Collection
from .errors import CatalogError, ServiceError
from .footprint import outline
from .geometry import Geometry, from_geojson
from .image import Band, Canvas, Dimensions, Image
from .pixeltype import PixelType
from .projection import Grid, Projection, parse_crs
from .pyramid import POLICIES
from .raster import Pixels, RasterBand, open_bands

PACKAGED = Path(__file__).parent / "data"
"""The catalog of real scenes that comes with the package."""

_ASSET_KEYS = {"id", "startTime", "endTime", "updateTime", "properties", "geometry", "crs", "bands"}
_BAND_KEYS = {"id", "file", "index", "nodata", "pyramidingPolicy", "range"}


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
            **{key: moment.rfc3339(value) for key, value in times.items() if value is not None},
            **({"properties": dict(self.properties)} if self.properties else {}),
            "geometry": self.geometry.geojson(),
            "bands": [_band_resource(band) for band in self.bands],
        }


@dataclass(frozen=True, eq=False)
class _Content:
    """What one reading of the file gave: the versions of each image newest first, the images of each collection."""

    versions: Mapping[str, list[Asset]]
    collections: Mapping[str, list[Asset]]


class Catalog:
    """A catalog folder. Any thread may ask; the file is read again when it changed.

    Raises CatalogError when the folder cannot be served at the start; a file that becomes unreadable later is
    reported on stderr and the last good reading stays.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "catalog.json"
        self._lock = threading.Lock()
        self._stamp = self._signature()
        self._content = _read(self._path)

    def image(self, asset_id: str, version: int | None = None) -> Image | None:
        """The stored image, its newest version for None; None where there is no such image or version."""
        asset = self.asset(asset_id, version)
        return None if asset is None else asset.image

    def asset(self, asset_id: str, version: int | None = None) -> Asset | None:
        """As `image`, the catalog's entry."""
        for asset in self._current().versions.get(public_id(asset_id), ()):
            if version is None or asset.version == version:
                return asset
        return None

    def members(self, collection_id: str) -> list[Asset] | None:
        """The newest version of each image of a collection, by id; None where there is no such collection."""
        return self._current().collections.get(public_id(collection_id))

    def collection(self, asset_id: str) -> Collection | None:
        """The stored image collection; None where there is none."""
        found = self.members(asset_id)
        if found is None:
            return None
        version = max(asset.version for asset in found)
        return replace(
            element.of_elements([asset.image for asset in found], images=True), id=public_id(asset_id), version=version
        )

    def collection_resource(self, asset_id: str) -> dict[str, Any] | None:
        """The collection as the REST API writes it; None where there is none."""
        found = self.members(asset_id)
        if found is None:
            return None
        newest = max(found, key=lambda asset: asset.version)
        name = public_id(asset_id)
        return {"type": "IMAGE_COLLECTION", "name": asset_name(name), "id": name, "updateTime": newest.update_time}

    def _signature(self) -> tuple[int, int]:
        try:
            stat = os.stat(self._path)
        except OSError:
            return (0, 0)
        return stat.st_mtime_ns, stat.st_size

    def _current(self) -> _Content:
        stamp = self._signature()
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    try:
                        self._content = _read(self._path)
                    except CatalogError as error:
                        print(f"ee-spark emulator: kept the last good catalog: {error}", file=sys.stderr, flush=True)
                    self._stamp = stamp
        return self._content


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
        Projection(raster.crs, raster.transform),
        lambda canvas: raster.seen_from(canvas.centre).inside(canvas.grid),
        Dimensions(raster.width, raster.height),
    )


def _band_resource(stored: StoredBand) -> dict[str, Any]:
    raster = stored.raster
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    return {
        "id": stored.id,
        "dataType": raster.type.resource(),
        "grid": {
            ("crsWkt" if len(raster.crs) > 40 else "crsCode"): raster.crs,
            "dimensions": {"width": raster.width, "height": raster.height},
            "affineTransform": {name: v for name, v in zip(names, raster.transform, strict=True) if v},
        },
        "pyramidingPolicy": raster.policy,
    }


def _read(path: Path) -> _Content:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror or error}; a catalog is a folder with a catalog.json") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("assets"), list):
        raise CatalogError(f"{path}: needs an object with a list 'assets'")
    rasters: dict[tuple[str, str | None], list[RasterBand]] = {}
    versions: dict[str, list[Asset]] = defaultdict(list)
    for number, entry in enumerate(data["assets"]):
        asset = _asset(entry, f"{path}: assets[{number}]", path.parent, rasters)
        versions[asset.id].append(asset)
    collections: dict[str, list[Asset]] = defaultdict(list)
    for asset_id, found in sorted(versions.items()):
        found.sort(key=lambda asset: -asset.version)
        if len({asset.version for asset in found}) < len(found):
            raise CatalogError(f"{path}: two entries of '{asset_id}' have the same updateTime; versions need their own")
        if found[0].collection:
            collections[found[0].collection].append(found[0])
    return _Content(dict(versions), dict(collections))


def _asset(entry: Any, where: str, folder: Path, rasters: dict[tuple[str, str | None], list[RasterBand]]) -> Asset:
    asset_id = _checked(entry, where, _ASSET_KEYS)
    where = f"{where} ('{asset_id}')"
    listed = entry.get("bands")
    if not isinstance(listed, list) or not listed:
        raise CatalogError(f"{where}: needs a list 'bands' with at least one band")
    bands = tuple(_stored(b, f"{where}: bands[{i}]", folder, entry.get("crs"), rasters) for i, b in enumerate(listed))
    names = [band.id for band in bands]
    if len(set(names)) < len(names):
        raise CatalogError(f"{where}: two bands have the same id: {names}")
    properties = entry.get("properties", {})
    if not isinstance(properties, dict):
        raise CatalogError(f"{where}: 'properties' must be an object")
    update_time = entry.get("updateTime", "1970-01-01T00:00:00Z")
    try:
        times = {
            key: None if entry.get(key) is None else moment.parse(entry[key]).millis for key in ("startTime", "endTime")
        }
        version = moment.micros(update_time)
        geometry = from_geojson(entry["geometry"]) if entry.get("geometry") else outline(bands[0].raster)
    except (ServiceError, AttributeError, TypeError) as error:
        raise CatalogError(f"{where}: {error}") from error
    return Asset(
        public_id(asset_id), times["startTime"], times["endTime"], update_time, version, properties, geometry, bands
    )


def _checked(entry: Any, where: str, keys: set[str]) -> str:
    """The id of an entry that is an object with known keys."""
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"]:
        raise CatalogError(f"{where}: needs an object with a text 'id'")
    unknown = sorted(set(entry) - keys)
    if unknown:
        raise CatalogError(f"{where}: unknown key '{unknown[0]}'; known are {', '.join(sorted(keys))}")
    return str(entry["id"])


def _stored(
    entry: Any,
    where: str,
    folder: Path,
    crs: str | None,
    rasters: dict[tuple[str, str | None], list[RasterBand]],
) -> StoredBand:
    band_id = _checked(entry, where, _BAND_KEYS)
    file, index = entry.get("file"), entry.get("index", 1)
    if not isinstance(file, str):
        raise CatalogError(f"{where}: needs a text 'file', relative to the catalog's folder")
    if (file, crs) not in rasters:
        try:
            if crs is not None:
                parse_crs(crs)
            rasters[file, crs] = open_bands(folder / file, crs)
        except Exception as error:  # rasterio and GDAL have no common public error class
            raise CatalogError(f"{where}: cannot open raster '{file}': {' '.join(str(error).split())}") from error
    opened = rasters[file, crs]
    if not isinstance(index, int) or isinstance(index, bool) or not 1 <= index <= len(opened):
        raise CatalogError(f"{where}: index {index} is no band of '{file}', which has {len(opened)}")
    policy = entry.get("pyramidingPolicy", "MEAN")
    if policy not in POLICIES:
        raise CatalogError(f"{where}: pyramidingPolicy '{policy}'; use one of {', '.join(POLICIES)}")
    raster = opened[index - 1]
    nodata = entry.get("nodata", raster.nodata)
    if nodata is not None:
        try:
            nodata = float(nodata)
        except (TypeError, ValueError):
            raise CatalogError(f"{where}: nodata '{nodata}' is no number") from None
    pixel_type = _ranged(raster, entry.get("range"), where)
    return StoredBand(band_id, replace(raster, nodata=nodata, type=pixel_type, policy=policy))


def _ranged(raster: RasterBand, given: Any, where: str) -> PixelType:
    if given is None:
        return raster.type
    numbers = isinstance(given, list) and len(given) == 2 and all(isinstance(v, (int, float)) for v in given)
    if not numbers or given[0] > given[1]:
        raise CatalogError(f"{where}: range must be [min, max], got {given}")
    return PixelType(raster.type.precision, given[0], given[1])


def native_grid(band: Band) -> Grid:
    """The whole of a stored band on its own pixels; a 400 for a computed band, which has none."""
    if band.dimensions is None:
        raise ServiceError("The image has no bounds of its own; the request needs a grid with dimensions.")
    return Grid(band.projection, *band.dimensions)
