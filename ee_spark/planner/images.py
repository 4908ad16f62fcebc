"""The images of a source: what the service says of each, as columns, never as objects."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, overload

import numpy as np
import pyarrow as pa

from ee_spark.boundary import shown
from ee_spark.client import Client, asset_name, understood
from ee_spark.errors import EESparkError, JobError, ServiceError, while_planning
from ee_spark.job import Source
from ee_spark.json_answers import pages
from ee_spark.planner.columns import TIME
from ee_spark.planner.crs import Ints
from ee_spark.planner.lattice import Lattice, aligned
from ee_spark.planner.polygon import Polygon, at_both_sides, polygons_of_geojson
from ee_spark.planner.probe import patiently

ID = "ee_spark/placeholder/image"
VERSION = 4398046511104123  # stands for an image's version in a template: the year 2109, no asset's
PAGE = 1000
NO_TIME = np.iinfo(np.int64).min
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_INTS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")


@dataclass(frozen=True)
class StoredBand:
    """One band of a stored image: its name, the numpy type of its pixels, and the lattice they lie on."""

    name: str
    dtype: str
    lattice: Lattice


Signature = tuple[StoredBand, ...]


def names(signature: Signature) -> str:
    """Return a signature's band names for people."""
    return ", ".join(band.name for band in signature)


@dataclass(frozen=True)
class Images:
    """n images in the order of their time and id.

    ``time`` and ``version`` are microseconds since 1970 (``NO_TIME`` where there is none), ``signature`` indexes
    ``signatures``, ``footprints`` are polygons in lon/lat (None: unbounded, or not known), equal ones the same object.
    ``properties`` are JSON texts.
    """

    ids: tuple[str, ...]
    time: Ints
    end: Ints
    version: Ints
    signature: Ints
    signatures: tuple[Signature, ...]
    footprints: tuple[tuple[Polygon, ...] | None, ...]
    properties: Sequence[str]
    without_time: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def microseconds(text: str) -> int:
    """Return an ISO date or timestamp (UTC where it names no zone) as microseconds since 1970."""
    value = dt.datetime.fromisoformat(text)
    value = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    return (value - _EPOCH) // dt.timedelta(microseconds=1)


def iso(time: int) -> str:
    """Return microseconds since 1970 as an ISO timestamp in UTC."""
    return (_EPOCH + dt.timedelta(microseconds=time)).isoformat().replace("+00:00", "Z")


def timestamps(values: Iterable[int]) -> pa.Array:
    """Return microseconds since 1970 as a column of the tables; null where there is none (``NO_TIME``, or -1)."""
    return pa.array([None if value in (NO_TIME, -1) else value for value in values], TIME)


def stored(client: Client, source: Source, area: dict[str, Any]) -> Images:
    """Return the stored images of an asset or collection, those whose footprint meets ``area`` (GeoJSON) at least.

    Raises:
        JobError: if the asset is not there, is not an image or collection, or an image of it is broken.
        StoppedError: if the service is away.
    """
    name = source.name
    try:
        asset = patiently(lambda: client.get(asset_name(name)))
        with understood(f"what the service says of {name!r} cannot be read"):
            if source.asset:
                _expect(asset, "IMAGE", "source.asset", name)
                return gather([asset])
            _expect(asset, "IMAGE_COLLECTION", "source.collection", name)
            dates = _Dates(source)
            found = gather(asset for asset in _listed(client, source, area) if dates.hold(asset))
            return replace(found, without_time=dates.without_time)
    except ServiceError as error:
        raise refused(f"source.{source.kind}", name, error) from None


def refused(key: str, name: str, error: ServiceError) -> EESparkError:
    """Return the error of what the service refused while the job was planned; an outage says to run again."""
    if error.status == 404:
        return JobError(f"{key}: asset {shown(name)} does not exist, or the caller may not read it ({error.message})")
    return while_planning(f"{key}: {shown(name)}", error)


def _expect(asset: dict[str, Any], kind: str, key: str, name: str) -> None:
    found = asset.get("type", "?")
    if found != kind:
        other = {"IMAGE": "source.asset", "IMAGE_COLLECTION": "source.collection", "TABLE": "region.table"}.get(found)
        raise JobError(f"{key}: {name!r} is of type {found}, not {kind}" + (f"; write {other}" if other else ""))


def _listed(client: Client, source: Source, area: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every asset of a collection, page by page; dates go by start time only, never the listing's own endTime."""
    terms = []
    if source.start:
        terms.append(f'startTime >= "{iso(microseconds(source.start))}"')
    if source.end:
        terms.append(f'startTime < "{iso(microseconds(source.end))}"')
    terms.append(f"intersects({json.dumps(json.dumps(area))})")
    if source.filter:
        terms.append(source.filter)  # OR binds closer than AND (https://google.aip.dev/160)
    where, wanted = f"{asset_name(source.name)}:listAssets", " AND ".join(terms)

    def ask(token: str | None) -> dict[str, Any]:
        return patiently(partial(client.get, where, pageSize=PAGE, pageToken=token, filter=wanted, view="FULL"))

    for assets in pages(ask, "assets"):
        yield from (asset for asset in assets if asset.get("type") == "IMAGE")


class _Dates:
    """The dates and months that a source wants, and how many images without a start time they left out."""

    def __init__(self, source: Source) -> None:
        self.without_time = 0
        self._start = microseconds(source.start) if source.start else None
        self._end = microseconds(source.end) if source.end else None
        self._months = source.months

    def hold(self, asset: dict[str, Any]) -> bool:
        """Return True if an asset's start time is wanted, or none is asked for."""
        if self._start is None and self._end is None and not self._months:
            return True
        if "startTime" not in asset:
            self.without_time += 1
            return False
        time = microseconds(asset["startTime"])
        return (
            (self._start is None or time >= self._start)
            and (self._end is None or time < self._end)
            and (not self._months or (_EPOCH + dt.timedelta(microseconds=time)).month in self._months)
        )


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


def _digest(value: object) -> bytes:
    return hashlib.sha256(json.dumps(value).encode()).digest()


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


def table_schema() -> pa.Schema:
    """Return the columns of ``images/part-0.parquet``."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("image_time", TIME),
            pa.field("image_end", TIME),
            pa.field("version", TIME),
            pa.field("changed", pa.bool_(), nullable=False),
            pa.field("geometry", pa.binary()),
            pa.field("properties", pa.string(), nullable=False),
        ]
    )
