"""The catalog: a folder's `catalog.json` as assets, versions and collections, read again when the file changes."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import CatalogError
from ..values import date as dates
from ..values import element
from ..values.element import Collection
from ..values.image import Image
from ..values.raster import RasterBand
from .asset import Asset, asset_name, public_id, read_asset
from .entry import checked
from .table import KEYS, Table, read_table

PACKAGED = Path(__file__).parents[1] / "data"
"""The catalog of real scenes that comes with the package."""


@dataclass(frozen=True, eq=False)
class _Content:
    """What one reading of the file gave: versions of images and tables newest first, the images of each collection."""

    versions: Mapping[str, list[Asset]]
    collections: Mapping[str, list[Asset]]
    tables: Mapping[str, list[Table]]

    @cached_property
    def inside(self) -> Mapping[str, list[str]]:
        """The ids directly inside each id and each root (`projects/P`), in order, images of collections left out."""
        found: dict[str, set[str]] = defaultdict(set)
        for asset_id in (*self.versions, *self.tables):
            child = asset_id
            while child:
                root = "/".join(asset_name(child).split("/")[:2])
                parent = root if _is_top(child) else child.rpartition("/")[0]
                if child not in self.versions or parent not in self.collections:
                    found[parent].add(child)
                child = "" if _is_top(child) else parent
        return {parent: sorted(children) for parent, children in found.items()}


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
        """The stored image, its newest version for None; None where it does not exist."""
        asset = self.asset(asset_id, version)
        return None if asset is None else asset.image

    def asset(self, asset_id: str, version: int | None = None) -> Asset | None:
        """As `image`, the catalog's entry."""
        for asset in self._current().versions.get(public_id(asset_id), ()):
            if version is None or asset.loaded_as == version:
                return asset
        return None

    def members(self, collection_id: str) -> list[Asset] | None:
        """The newest version of each image of a collection, by id; None where the collection does not exist."""
        return self._current().collections.get(public_id(collection_id))

    def collection(self, asset_id: str) -> Collection | None:
        """The stored image collection; None where it does not exist."""
        found = self.members(asset_id)
        if found is None:
            return None
        version = max(asset.version for asset in found)
        return replace(
            element.of_elements([asset.image for asset in found], images=True), id=public_id(asset_id), version=version
        )

    def table(self, asset_id: str, version: int | None = None) -> Collection | None:
        """The features of a stored table, its newest version for None; None where it does not exist."""
        for found in self._current().tables.get(public_id(asset_id), ()):
            if version is None or found.version == version:
                return found.collection
        return None

    def resource(self, asset_id: str) -> dict[str, Any] | None:
        """An image, collection, table or folder as the REST API writes it (view FULL); None where it does not exist."""
        content, name = self._current(), public_id(asset_id)
        if name in content.versions:
            return content.versions[name][0].resource
        if name in content.tables:
            return content.tables[name][0].resource(asset_name(name))
        if name in content.collections:
            return _collection_resource(name, content.collections[name])
        return {"type": "FOLDER", "name": asset_name(name), "id": name} if name in content.inside else None

    def inside(self, asset_id: str) -> list[dict[str, Any]] | None:
        """The assets directly in a folder, a root (`projects/P`) or a collection beside its images; None for others."""
        name = public_id(asset_id)
        children = self._current().inside.get(name)
        if children is None:
            return [] if re.fullmatch("projects/[^/]+", name) or self.members(name) is not None else None
        return [resource for child in children if (resource := self.resource(child)) is not None]

    def _signature(self) -> tuple[int, int]:
        try:
            stat = os.stat(self._path)
        except (OSError, ValueError):  # a name with a NUL
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


def _collection_resource(name: str, images: list[Asset]) -> dict[str, Any]:
    """A collection spans the times of its images; public ones say so in a property, too, which programs read."""
    newest = max(images, key=lambda asset: asset.version)
    found = {"type": "IMAGE_COLLECTION", "name": asset_name(name), "id": name, "updateTime": newest.update_time}
    starts = [asset.start for asset in images if asset.start is not None]
    if not starts:
        return found
    span = min(starts), max(asset.end if asset.end is not None else asset.start or 0 for asset in images)
    times = {"startTime": dates.rfc3339(span[0]), "endTime": dates.rfc3339(span[1])}
    return {**found, **times, "properties": {"date_range": list(span)}}


def _is_top(asset_id: str) -> bool:
    """True for an id that lies directly in a root: `X`, `users/X`, `projects/P/assets/X`."""
    parts = asset_id.split("/")
    if parts[0] == "projects" and len(parts) > 3 and parts[2] == "assets":
        return len(parts) == 4
    return len(parts) == (2 if parts[0] in ("users", "projects") else 1)


def _read(path: Path) -> _Content:
    """Read a catalog; a hundred thousand entries have no circles, and looking for some would take most of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return _content(path)
    finally:
        if collects:
            gc.enable()


def _content(path: Path) -> _Content:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CatalogError(f"{path}: {why}; a catalog is a folder with a catalog.json") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not valid JSON: {error}") from error
    listed = data.keys() & {"assets", "tables"} if isinstance(data, dict) else ()
    if not listed or not all(isinstance(data[key], list) for key in listed):
        raise CatalogError(f"{path}: needs an object with a list 'assets', 'tables' or both")
    rasters: dict[tuple[str, str | None], list[RasterBand]] = {}
    versions: dict[str, list[Asset]] = defaultdict(list)
    for number, entry in enumerate(data.get("assets", ())):
        asset = read_asset(entry, f"{path}: assets[{number}]", path.parent, rasters)
        versions[asset.id].append(asset)
    tables: dict[str, list[Table]] = defaultdict(list)
    for number, entry in enumerate(data.get("tables", ())):
        where = f"{path}: tables[{number}]"
        table_id = public_id(checked(entry, where, KEYS))
        tables[table_id].append(read_table(entry, table_id, f"{where} ('{table_id}')", path.parent))
    collections: dict[str, list[Asset]] = defaultdict(list)
    for asset_id, found in sorted(versions.items()):
        _order(found, asset_id, path)
        if asset_id in tables:
            raise CatalogError(f"{path}: '{asset_id}' is both an image and a table")
        if found[0].collection:
            collections[found[0].collection].append(found[0])
    for table_id, kept in tables.items():
        _order(kept, table_id, path)
    return _Content(dict(versions), dict(collections), dict(tables))


def _order(found: list[Any], asset_id: str, path: Path) -> None:
    """Sort versions, the newest first."""
    found.sort(key=lambda asset: -asset.version)
    if len({asset.version for asset in found}) < len(found):
        raise CatalogError(f"{path}: two entries of '{asset_id}' have the same updateTime; versions need their own")
