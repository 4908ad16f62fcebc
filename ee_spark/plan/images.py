"""The images of a source: what the service says of each, as columns, never as objects."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ee_spark.client import Client, asset_name
from ee_spark.errors import JobError, ServiceError
from ee_spark.job import Source
from ee_spark.plan.grid import Ints, Lattice, aligned
from ee_spark.plan.region import Polygon, polygons_of_geojson

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
    ``signatures``, ``footprints`` are polygons in lon/lat (None: unbounded, or not known). ``expressions`` has, for
    computed images, the JSON text of each one's graph. ``properties`` are JSON texts.
    """

    ids: tuple[str, ...]
    time: Ints
    end: Ints
    version: Ints
    signature: Ints
    signatures: tuple[Signature, ...]
    footprints: tuple[tuple[Polygon, ...] | None, ...]
    properties: tuple[str, ...]
    expressions: tuple[str, ...] | None = None
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


def stored(client: Client, source: Source, area: dict[str, Any]) -> Images:
    """Return the stored images of an asset or collection, those whose footprint meets ``area`` (GeoJSON) at least.

    Raises:
        JobError: if the asset is not there, is no image or collection, or an image of it is broken.
    """
    name = source.name
    try:
        asset = client.get(asset_name(name))
        if source.asset:
            _expect(asset, "IMAGE", "source.asset", name)
            return _images([asset], 0)
        _expect(asset, "IMAGE_COLLECTION", "source.collection", name)
        assets = list(_listed(client, source, area))
    except ServiceError as error:
        raise JobError(refused(f"source.{source.kind}", name, error)) from None
    kept, without_time = _in_dates(assets, source)
    return _images(kept, without_time)


def refused(key: str, name: str, error: ServiceError) -> str:
    """Return one line for what the service refused while the job was planned."""
    ways = {
        "access": "check earth_engine.credentials and project, that its Earth Engine API is enabled, and your roles",
        "transient": "is earth_engine.endpoint right, and reachable from here?",
        "unavailable": "is earth_engine.endpoint right, and reachable from here?",
        "daily": "run again tomorrow, or raise the project's daily quota",
    }
    if error.status == 404:
        return f"{key}: there is no asset {name!r} that the caller can read ({error.message})"
    way = ways.get(error.kind, "")
    return f"{key}: {name!r}: {error.message}" + (f"; {way}" if way else "")


def _expect(asset: dict[str, Any], kind: str, key: str, name: str) -> None:
    found = asset.get("type", "?")
    if found != kind:
        other = {"IMAGE": "source.asset", "IMAGE_COLLECTION": "source.collection", "TABLE": "region.table"}.get(found)
        raise JobError(f"{key}: {name!r} is a {found}, not an {kind}" + (f"; write {other}" if other else ""))


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
    token: str | None = None
    while True:
        page = client.get(
            f"{asset_name(source.name)}:listAssets",
            pageSize=PAGE,
            pageToken=token,
            filter=" AND ".join(terms),
            view="FULL",
        )
        yield from (asset for asset in page.get("assets", ()) if asset.get("type") == "IMAGE")
        token = page.get("nextPageToken")
        if not token:
            return


def _in_dates(assets: list[dict[str, Any]], source: Source) -> tuple[list[dict[str, Any]], int]:
    """Return the assets within dates and months, and how many were left out because they have no start time."""
    dated = bool(source.start or source.end or source.months)
    start = microseconds(source.start) if source.start else None
    end = microseconds(source.end) if source.end else None
    kept, without = [], 0
    for asset in assets:
        if "startTime" not in asset:
            without += dated
            if not dated:
                kept.append(asset)
            continue
        time = microseconds(asset["startTime"])
        month = (_EPOCH + dt.timedelta(microseconds=time)).month
        if (
            (start is None or time >= start)
            and (end is None or time < end)
            and (not source.months or month in source.months)
        ):
            kept.append(asset)
    return kept, without


def _images(assets: list[dict[str, Any]], without_time: int) -> Images:
    times = [microseconds(asset["startTime"]) if "startTime" in asset else NO_TIME for asset in assets]
    order = sorted(range(len(assets)), key=lambda index: (times[index], _id(assets[index])))
    assets = [assets[index] for index in order]
    signatures: dict[Signature, int] = {}
    index = [signatures.setdefault(_signature(asset), len(signatures)) for asset in assets]
    return Images(
        ids=tuple(_id(asset) for asset in assets),
        time=np.array([times[i] for i in order], np.int64),
        end=np.array([microseconds(a["endTime"]) if "endTime" in a else NO_TIME for a in assets], np.int64),
        version=np.array([microseconds(a["updateTime"]) if "updateTime" in a else -1 for a in assets], np.int64),
        signature=np.array(index, np.int64),
        signatures=tuple(signatures),
        footprints=tuple(polygons_of_geojson(a["geometry"]) or None if a.get("geometry") else None for a in assets),
        properties=tuple(json.dumps(asset.get("properties", {}), sort_keys=True) for asset in assets),
        without_time=without_time,
    )


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
    time = pa.timestamp("us", "UTC")
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("image_time", time),
            pa.field("image_end", time),
            pa.field("version", time),
            pa.field("changed", pa.bool_(), nullable=False),
            pa.field("geometry", pa.binary()),
            pa.field("properties", pa.string(), nullable=False),
        ]
    )
