"""What the service says of stored images, read into columns: none is held as an object for longer than its turn.

https://developers.google.com/earth-engine/reference/rest/v1/projects.assets#EarthEngineAsset
"""

from __future__ import annotations

import hashlib
import json
import marshal
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from ee_spark.errors import JobError
from ee_spark.planner.images import NO_TIME, Images, Signature, StoredBand, microseconds
from ee_spark.planner.lattice import aligned
from ee_spark.planner.polygon import Polygon, at_both_sides, polygons_of_geojson

_INTS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")


def gather(assets: Iterable[dict[str, Any]]) -> Images:
    """Return assets, as the service describes them (view FULL), as columns; none is held for longer than its turn.

    Equal footprints and signatures are held once, and properties compressed: 20,000 scenes take some 30 MB.
    """
    rows: list[tuple[int, str, int, int, int, int, bytes]] = []
    signatures: dict[Signature, int] = {}
    kinds: dict[bytes, int] = {}
    outlines: dict[bytes, int] = {}
    footprints: list[tuple[Polygon, ...] | None] = []
    texts = _Packer()
    for asset in assets:
        grids = _digest(asset.get("bands"))
        if grids not in kinds:
            kinds[grids] = signatures.setdefault(_signature(asset), len(signatures))
        outline = _digest(asset.get("geometry"))
        if outline not in outlines:
            outlines[outline] = len(footprints)
            footprints.append(_footprint(asset))
        time, end = (microseconds(asset[key]) if key in asset else NO_TIME for key in ("startTime", "endTime"))
        version = microseconds(asset["updateTime"]) if "updateTime" in asset else -1
        packed = texts.pack(json.dumps(asset.get("properties", {}), sort_keys=True))
        rows.append((time, _id(asset), end, version, kinds[grids], outlines[outline], packed))
    rows.sort(key=lambda row: row[:2])
    columns = [np.array([row[index] for row in rows], np.int64) for index in (0, 2, 3, 4)]
    return Images(
        ids=tuple(row[1] for row in rows),
        time=columns[0],
        end=columns[1],
        version=columns[2],
        signature=columns[3],
        signatures=tuple(signatures),
        footprints=tuple(footprints[row[5]] for row in rows),
        properties=Texts(texts.first, tuple(row[6] for row in rows)),
    )


def _digest(value: Any) -> bytes:
    """Return what tells values of JSON apart: by marshal, which is several times as fast as JSON."""
    return hashlib.sha256(marshal.dumps(value, 2)).digest()


@dataclass(frozen=True)
class Texts(Sequence[str]):
    """Texts that are much alike, each compressed with the first as its dictionary."""

    first: bytes
    packed: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return replace(self, packed=self.packed[index])
        return zlib.decompressobj(zdict=self.first).decompress(self.packed[index]).decode()


class _Packer:
    first = b""

    def pack(self, text: str) -> bytes:
        data = text.encode()
        self.first = self.first or data[-32_768:]
        packer = zlib.compressobj(level=6, zdict=self.first)
        return packer.compress(data) + packer.flush()


def _footprint(asset: dict[str, Any]) -> tuple[Polygon, ...] | None:
    """Return where an image is; None where it is not said, or has no area."""
    geometry = asset.get("geometry")
    if not geometry:
        return None
    polygons = polygons_of_geojson(geometry)
    grid = asset["bands"][0]["grid"]
    planar = str(grid.get("crsCode") or grid.get("crsWkt") or "").startswith(("EPSG:4326", "GEOGC"))
    return tuple(part for polygon in polygons for part in at_both_sides(polygon, short_way=not planar)) or None


def _id(asset: dict[str, Any]) -> str:
    """Return the id that ``Image.load`` takes; the asset's own ``id`` is for display only."""
    name = str(asset["name"])
    for owner in ("projects/earthengine-public/assets/", "projects/earthengine-legacy/assets/"):
        name = name.removeprefix(owner)
    return name


def _signature(asset: dict[str, Any]) -> Signature:
    if not asset.get("bands"):
        raise JobError(f"source: image {_id(asset)!r} has no bands")
    return tuple(_stored_band(band) for band in asset["bands"])


def _stored_band(band: dict[str, Any]) -> StoredBand:
    grid = band["grid"]
    affine = {"scaleX": 0.0, "translateX": 0.0, "scaleY": 0.0, "translateY": 0.0, **grid.get("affineTransform", {})}
    lattice = aligned(
        grid.get("crsCode") or grid.get("crsWkt", ""),
        abs(float(affine["scaleX"])),
        abs(float(affine["scaleY"])),
        float(affine["translateX"]),
        float(affine["translateY"]),
    )
    return StoredBand(str(band["id"]), pixel_type(band.get("dataType", {})), lattice)


def pixel_type(data_type: dict[str, Any]) -> str:
    """Return the numpy type in which the service sends a band: integers by range, int64 and unknown as float64.

    https://developers.google.com/earth-engine/reference/rest/v1/PixelDataType
    """
    precision = data_type.get("precision")
    if precision == "FLOAT":
        return "float32"
    if precision == "INT" and "range" in data_type:
        low, high = (float(data_type["range"].get(end, 0)) for end in ("min", "max"))
        for name in _INTS:
            limits = np.iinfo(name)
            if limits.min <= low and high <= limits.max:
                return name
    return "float64"
