"""What the service says of stored images, read into columns: none is held as an object for longer than its turn.

https://developers.google.com/earth-engine/reference/rest/v1/projects.assets#EarthEngineAsset
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from marshal import dumps
from typing import Any, overload

import numpy as np

from ee_spark.boundary import shortened
from ee_spark.errors import JobError
from ee_spark.planner.footprint import Reader
from ee_spark.planner.images import (
    NO_TIME,
    SHEARED,
    WITHOUT_DIMENSIONS,
    Images,
    Signature,
    StoredBand,
    microseconds,
)
from ee_spark.planner.lattice import aligned
from ee_spark.planner.raster import Grid, Sheets, diagonal, is_sheared

_INTS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
_LARGEST, _FARTHEST = 2**40, 2**50
"""Pixels of a side, and pixels from a corner to the origin of its CRS."""
SCENE = 5_000_000.0
"""Metres: a raster of a shorter diagonal is one of a scene, which does not go round the Earth."""


def gather(assets: Iterable[dict[str, Any]]) -> Images:
    """Return assets, as the service describes them (view FULL), as columns; none is held for longer than its turn.

    Equal footprints and signatures are held once, and properties compressed: 20,000 scenes take some 30 MB.

    Raises:
        JobError: if an image lacks what is needed, or it cannot be read: with the image and the key.
    """
    ids: list[str] = []
    packed: list[bytes] = []
    numbers = array("q")  # of each image: time, end, version, signature, sheet, footprint
    signatures: dict[Signature, int] = {}
    kinds: dict[bytes, tuple[int, int, bool]] = {}
    outlines: dict[bytes, int] = {}
    sheets, footprints, texts = Sheets(), Reader(), _Packer()
    for asset in assets:
        name = _id(asset)
        bands, geometry = asset.get("bands"), asset.get("geometry")
        key = _digest(bands)
        if key not in kinds:
            signature, grids = _read_bands(name, bands)
            kinds[key] = signatures.setdefault(signature, len(signatures)), sheets.add(grids), _is_scene(grids)
        kind, sheet, narrow = kinds[key]
        key = _digest([narrow, geometry])
        if key not in outlines:
            outlines[key] = footprints.read(geometry, narrow=narrow)
        time, end = (_time(asset, key, name, NO_TIME) for key in ("startTime", "endTime"))
        numbers.extend((time, end, _time(asset, "updateTime", name, -1), kind, sheet, outlines[key]))
        ids.append(name)
        packed.append(texts.pack(json.dumps(asset.get("properties") or {}, sort_keys=True)))
    columns = np.array(numbers, np.int64).reshape(-1, 6)
    order = sorted(range(len(ids)), key=lambda row: (numbers[6 * row], ids[row]))
    time, end, version, kind, sheet, outline = columns[order].T.copy() if len(order) else columns.T
    return Images(
        ids=tuple(ids[row] for row in order),
        time=time,
        end=end,
        version=version,
        signature=kind,
        signatures=tuple(signatures),
        footprints=footprints.footprints(outline),
        properties=Texts(texts.first, tuple(packed[row] for row in order)),
        rasters=sheets.rasters(sheet),
    )


def _digest(value: Any) -> bytes:
    """Return what tells values of JSON apart: as marshal writes them, in a quarter of JSON's time."""
    return hashlib.sha256(dumps(value, 2)).digest()


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


def _id(asset: object) -> str:
    """Return the id that ``Image.load`` takes; the asset's own ``id`` is for display only."""
    if not isinstance(asset, dict) or not isinstance(asset.get("name"), str):
        raise JobError(
            f"source: the service lists {shortened(asset)}, which has no name; leave it out with source.filter"
        )
    name = str(asset["name"])
    for owner in ("projects/earthengine-public/assets/", "projects/earthengine-legacy/assets/"):
        name = name.removeprefix(owner)
    return name


def _unread(image: str, key: str, value: object, what: str) -> JobError:
    """Return the error of what the service says of an image and nobody can read."""
    said = "missing" if value is None else shortened(value)
    return JobError(
        f"source: image {shortened(image)}: its {key} is {said}, and not {what}; leave it out with source.filter"
    )


def _time(asset: dict[str, Any], key: str, image: str, otherwise: int) -> int:
    """Return one of an asset's times in microseconds since 1970."""
    value = asset.get(key)
    if value is None:
        return otherwise
    try:
        return microseconds(value)
    except (TypeError, ValueError, OverflowError):
        raise _unread(image, key, value, "a time") from None


def _is_scene(grids: Sequence[Grid]) -> bool:
    """Return True where the grids that have dimensions are small enough for a scene, and there is one."""
    sizes = [diagonal(grid) for grid in dict.fromkeys(grids) if grid[2]]
    return bool(sizes) and max(sizes) < SCENE


def _read_bands(image: str, bands: object) -> tuple[Signature, list[Grid]]:
    if not isinstance(bands, list) or not bands:
        raise JobError(f"source: image {image!r} has no bands")
    signature, grids = [], []
    for index, band in enumerate(bands):
        key = f"bands[{index}]"
        if not isinstance(band, dict):
            raise _unread(image, key, band, "a band")
        name = band.get("id")
        if not isinstance(name, str) or not name:
            raise _unread(image, f"{key}.id", name, "a name")
        grid = _read_grid(image, f"{key}.grid", band.get("grid"))
        signature.append(_stored_band(name, _read_type(image, f"{key}.dataType", band.get("dataType")), grid))
        grids.append(grid)
    return tuple(signature), grids


def _stored_band(name: str, dtype: str, grid: Grid) -> StoredBand:
    """Return a band with the lattice of its pixels, whose rows may run south or north.

    A sheared one has none: its lattice is one of pixels of that size.
    """
    crs, affine, size = grid
    res_x, res_y = math.hypot(affine[0], affine[3]), math.hypot(affine[1], affine[4])
    if is_sheared(affine):
        return StoredBand(name, dtype, aligned(crs, res_x, res_y, 0.0, 0.0), SHEARED)
    lattice = aligned(crs, res_x, res_y, affine[2], affine[5])
    return StoredBand(name, dtype, lattice, "" if size else WITHOUT_DIMENSIONS)


def _read_grid(image: str, key: str, grid: object) -> Grid:
    if not isinstance(grid, dict):
        raise _unread(image, key, grid, "a grid")
    crs = grid.get("crsCode") or grid.get("crsWkt")
    if not isinstance(crs, str):
        raise _unread(image, f"{key}.crsCode", crs, "a CRS")
    affine = grid.get("affineTransform")
    if not isinstance(affine, dict):
        raise _unread(image, f"{key}.affineTransform", affine, "an affine transform")
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    a, b, x, c, d, y = (_number(image, f"{key}.affineTransform.{name}", affine.get(name, 0.0)) for name in names)
    longest = max(abs(a), abs(b), abs(c), abs(d))
    flat = not 0 < longest < 1e100 or abs(a * d - b * c) <= 1e-9 * longest**2
    if flat or max(abs(x), abs(y)) > _FARTHEST * math.sqrt(abs(a * d - b * c)):
        raise _unread(image, f"{key}.affineTransform", affine, "that of a grid of pixels")
    return crs, (a, b, x, c, d, y), _read_size(image, f"{key}.dimensions", grid.get("dimensions"))


def _read_size(image: str, key: str, size: object) -> tuple[int, int] | None:
    """Return width and height; None where a band has none. A zero is left out by the service like any other."""
    if size is None:
        return None
    if not isinstance(size, dict):
        raise _unread(image, key, size, "a width and a height")
    width, height = (_number(image, f"{key}.{name}", size.get(name, 0)) for name in ("width", "height"))
    for name, side in (("width", width), ("height", height)):
        if side != int(side) or not 0 <= side <= _LARGEST:
            raise _unread(image, f"{key}.{name}", size[name], "a number of pixels")
    return (int(width), int(height)) if width and height else None


def _number(image: str, key: str, value: object) -> float:
    """Return a number that the service wrote as one, or as a text (https://protobuf.dev/programming-guides/json/)."""
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise _unread(image, key, value, "a finite number")


def _read_type(image: str, key: str, kind: object) -> str:
    if kind is not None and not isinstance(kind, dict):
        raise _unread(image, key, kind, "a type")
    try:
        return pixel_type(kind or {})
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise _unread(image, f"{key}.range", (kind or {}).get("range"), "one of two numbers") from None


def pixel_type(data_type: dict[str, Any]) -> str:
    """Return the numpy type in which the service sends a band: integers by range, int64 and unknown as float64.

    https://developers.google.com/earth-engine/reference/rest/v1/PixelDataType
    """
    precision = data_type.get("precision")
    if precision == "FLOAT":
        return "float32"
    if precision in ("INT", "INTEGER") and data_type.get("range") is not None:
        low, high = (float(data_type["range"].get(end, 0)) for end in ("min", "max"))
        for name in _INTS:
            limits = np.iinfo(name)
            if limits.min <= low and high <= limits.max:
                return name
    return "float64"
