"""A job as frozen values: which keys a job file may have, what each may hold, and what contradicts what."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ee_spark.boundary import shown
from ee_spark.hosts import ENDPOINTS, is_endpoint
from ee_spark.limits import MAX_SIDE

SIZE_TEXT = 20
MOST_PART = 16_000_000_000
"""Bytes of a part, which a lane holds in memory."""
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
DEFAULT_TILE = 256
"""Pixels per side of a tile, where the job file says nothing and so much fits."""
LEAST_SHARE = 8
"""Requests in flight that a lane should have at least: fewer, larger lanes use a small quota better."""
MOST_POINTS = 20_000_000
"""Points of one job: their ids and places are in memory."""


def _refuse(text: str) -> ValueError:
    return ValueError(text)


def _iso_date(value: object) -> object:
    """Dates are handed on as ISO text; YAML reads an unquoted one as a date."""
    if isinstance(value, dt.datetime):
        value = value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return value.isoformat(timespec="milliseconds" if value.microsecond else "seconds").replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, dt.date) else value


def is_date(text: str) -> bool:
    """Return True for a date or time as ISO 8601 has it; Python takes any sign between the two: 2020-01-01-01."""
    return bool(re.match(r"(\d{4}-?\d\d-?\d\d|\d{4}-?W\d\d(-?\d)?)([T ]|$)", text))


def _check_date(value: str) -> str:
    if not is_date(value):
        raise _refuse("not a date")
    try:
        time = dt.datetime.fromisoformat(value)
        time.astimezone(dt.UTC)  # which the first and the last day of all may lack
    except (ValueError, OverflowError):
        raise _refuse("not a date") from None
    if re.match(r"\d{4}-\d\d-\d\d", value):
        return value
    return time.isoformat() if "T" in value else time.date().isoformat()  # other forms of ISO 8601: 20200101, 2020-W01


def _check_bbox(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = value
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise _refuse("degrees are out of range: longitudes are -180 to 180, latitudes -90 to 90")
    if south >= north:
        raise _refuse(f"its south ({south:g}) is not below its north ({north:g})")
    if west == east:
        raise _refuse(f"its west and east are both {west:g}")
    return value


def _check_endpoint(value: str) -> str:
    if value in ENDPOINTS or value == "emulator" or is_endpoint(value):
        return value.rstrip("/")
    raise _refuse("not a valid endpoint")


def _check_storage_endpoint(value: str) -> str:
    if is_endpoint(value):
        return value.rstrip("/")
    raise _refuse("not a valid endpoint")


def _check_credentials(value: str) -> str:
    if value in ("default", "anonymous") or re.fullmatch(r"service-account:.+|impersonate:[^@\s]+@[^@\s]+", value):
        return value
    raise _refuse("not valid credentials")


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _check_max_failed(value: int | str) -> int | str:
    if isinstance(value, int):
        if value < 0:
            raise _refuse("it must not be negative")
        return value
    if not re.fullmatch(r"\d{1,3}(\.\d{1,9})?%", value) or float(value[:-1]) > 100:
        raise _refuse("neither a count nor a percentage")
    return value


def _check_size(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB)", value)
        if not match or len(value) > SIZE_TEXT:
            raise _refuse("not a size")
        return int(float(match[1]) * {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}[match[2]])
    return value


Date = Annotated[str, BeforeValidator(_iso_date), AfterValidator(_check_date)]
Bbox = Annotated[tuple[float, float, float, float], BeforeValidator(_tuples), AfterValidator(_check_bbox)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Size = Annotated[int, BeforeValidator(_check_size), Field(ge=1, le=MOST_PART)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EarthEngine(_Section):
    """Which service, whose quota, and how much of it."""

    project: str = Field("", description="the id of the Cloud project whose quota is used")
    endpoint: Annotated[str, AfterValidator(_check_endpoint)] = Field(
        "high-volume", description="high-volume, standard, emulator or http(s)://HOST[:PORT]"
    )
    credentials: Annotated[str, AfterValidator(_check_credentials)] = Field(
        "default", description="default, anonymous, service-account:PATH or impersonate:EMAIL"
    )
    concurrent_requests: PositiveInt = Field(40, le=10_000, description="a number of requests in flight, e.g. 40")
    requests_per_minute: PositiveInt = Field(
        6000, le=10_000_000, description="a number of requests per minute, e.g. 6000"
    )
    lanes: Literal["auto"] | Annotated[PositiveInt, Field(le=100_000)] = Field(
        "auto", description="auto or a number of partitions"
    )
    emulator: dict[str, Any] = Field({}, description="options of 'ee-spark emulator', e.g. {latency_ms: 100}")

    def most_lanes(self, slots: int) -> int:
        """Return how many lanes share the quota where ``slots`` tasks run at once: each has eight of its requests."""
        return max(1, min(slots, self.concurrent_requests // LEAST_SHARE))

    @model_validator(mode="after")
    def _check(self) -> EarthEngine:
        if self.emulator and self.endpoint != "emulator":
            raise _refuse(f"emulator is only for endpoint: emulator, and endpoint is {self.endpoint}")
        if not self.project and self.endpoint in ENDPOINTS:
            raise _refuse(f"project is missing; endpoint {self.endpoint} needs the Cloud project whose quota is used")
        return self


class Source(_Section):
    """Which images."""

    collection: str | None = Field(None, description="the id of an image collection")
    asset: str | None = Field(None, description="the id of one stored image")
    image: str | None = Field(None, description="FILE.py:FUNCTION or MODULE:FUNCTION")
    expression: str | None = Field(None, description="a file that ee.Image.serialize() wrote")
    start: Date | None = Field(None, description="an ISO date, e.g. 2020-01-01")
    end: Date | None = Field(None, description="an ISO date, e.g. 2021-01-01 (exclusive)")
    months: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=12)], ...], BeforeValidator(_tuples), Field(min_length=1, max_length=12)
        ]
        | None
    ) = Field(None, description="a list of month numbers, e.g. [6, 7, 8]")
    filter: str | None = Field(None, description="listAssets filter text, e.g. properties.CLOUD_COVER < 20")
    every: Annotated[str, Field(pattern=r"^[1-9]\d{0,4} (day|month|year)s?$")] | None = Field(
        None, description="n days, n months or n years, e.g. 1 month"
    )
    map: str | None = Field(None, description="FILE.py:FUNCTION or MODULE:FUNCTION")
    args: dict[str, Any] = Field({}, description="keyword arguments of the function, e.g. {cloud_probability: 50}")
    bands: Annotated[tuple[str, ...], BeforeValidator(_tuples)] | dict[str, str] | None = Field(
        None, description="a list of band names, or {new: old}"
    )
    method: Literal["auto", "getPixels", "computePixels"] = Field(
        "auto", description="auto, getPixels or computePixels"
    )
    footprints: Literal["prune", "ignore"] = Field(
        "prune", description="prune or ignore: whether footprints may take pairs away"
    )
    pin: Literal["auto"] | bool = Field("auto", description="auto, true or false")

    @property
    def kind(self) -> str:
        """Which of collection, asset, image and expression this is."""
        return next(kind for kind in ("collection", "asset", "image", "expression") if getattr(self, kind) is not None)

    @property
    def name(self) -> str:
        """The id, function or file that the source names."""
        return str(getattr(self, self.kind))

    @model_validator(mode="after")
    def _check(self) -> Source:
        _exactly_one(self, ("collection", "asset", "image", "expression"))
        allowed = {
            "collection": {"start", "end", "months", "filter", "map", "args"},
            "asset": {"map", "args"},
            "image": {"start", "end", "every", "args"} if self.every else {"args"},
            "expression": set(),
        }[self.kind]
        for key in ("start", "end", "months", "filter", "every", "map", "args"):
            if getattr(self, key) and key not in allowed:
                hint = "; with image, dates need every" if key in ("start", "end") and self.kind == "image" else ""
                raise _refuse(f"{key} does not go with {self.kind}{hint}; leave it out")
        if self.args and not (self.map or self.image):
            raise _refuse("args are given, but neither map nor image takes them; leave them out")
        if self.start and self.end and _instant(self.start) >= _instant(self.end):
            raise _refuse(f"start ({self.start}) is not before end ({self.end}); end is exclusive")
        if self.every and not (self.start and self.end):
            raise _refuse("every needs start and end")
        if self.method == "getPixels" and (self.map or self.kind in ("image", "expression")):
            raise _refuse("method: getPixels reads stored pixels and cannot compute; write method: auto")
        _check_bands(self.bands)
        return self


class Stratify(_Section):
    """Draw ``count`` points of each class of an image."""

    image: str
    band: str
    scale: PositiveFloat


class Within(_Section):
    """Where a sample is drawn."""

    bbox: Bbox | None = None
    geojson: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Within:
        _exactly_one(self, ("bbox", "geojson"))
        return self


class Sample(_Section):
    """Points drawn uniformly by area, always the same ones for a seed."""

    count: PositiveInt = Field(le=MOST_POINTS, description=f"a number of points, at most {MOST_POINTS:,}")
    seed: int = Field(0, ge=0, description="a whole number from 0 on")
    within: Within
    stratify: Stratify | None = None


@dataclass(frozen=True)
class Inline:
    """GeoJSON that a job holds itself, in no file."""

    text: str


def _inline(value: object) -> object:
    if not isinstance(value, dict):
        return value
    if not isinstance(value.get("type"), str):
        raise _refuse("a mapping that is not GeoJSON: it has no type")
    return Inline(json.dumps(value))


class Region(_Section):
    """Where."""

    bbox: Bbox | None = Field(None, description="[west, south, east, north] in degrees")
    geojson: Annotated[str | Inline | None, BeforeValidator(_inline)] = Field(
        None, description="a GeoJSON file, or GeoJSON itself"
    )
    table: str | None = Field(None, min_length=1, description="the id of an Earth Engine table")
    points: Annotated[str | Inline | None, BeforeValidator(_inline)] = Field(
        None, description="a CSV, GeoJSON or Parquet file with lon and lat"
    )
    sample: Sample | None = Field(None, description="{count: N, seed: N, within: {bbox: [...]}}")
    clip: bool = Field(False, description="true or false")

    @property
    def kind(self) -> str:
        """Which of bbox, geojson, table, points and sample this is."""
        kinds = ("bbox", "geojson", "table", "points", "sample")
        return next(kind for kind in kinds if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _check(self) -> Region:
        _exactly_one(self, ("bbox", "geojson", "table", "points", "sample"))
        if self.clip and self.kind in ("points", "sample"):
            raise _refuse(f"clip does not go with {self.kind}: a patch has no polygon; leave it out")
        return self


class Grid(_Section):
    """On which pixel lattice, in which tiles."""

    crs: str = Field(description="a CRS that Earth Engine knows, e.g. EPSG:32610, or native, or utm")
    scale: PositiveFloat | None = Field(None, description="metres per pixel, e.g. 10")
    resolution: PositiveFloat | None = Field(None, description="CRS units per pixel, e.g. 0.0001")
    transform: Annotated[tuple[float, float, float, float, float, float], BeforeValidator(_tuples)] | None = Field(
        None, description="[scaleX, shearX, translateX, shearY, scaleY, translateY]"
    )
    like: str | None = Field(None, description="the name of a band")
    align: Literal["auto", "asset", "crs"] = Field("auto", description="auto, asset or crs")
    tile: Annotated[Side | tuple[Side, Side], BeforeValidator(_tuples)] | None = Field(
        None, description="pixels per side, e.g. 256, or [width, height]"
    )
    margin: Annotated[int, Field(ge=0, le=MAX_SIDE // 2)] = Field(0, description="a number of pixels")
    snap: bool = Field(True, description="true or false")

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of a tile in pixels, without its margin, if the job file gives them."""
        return (self.tile, self.tile) if isinstance(self.tile, int) else self.tile

    @model_validator(mode="after")
    def _check(self) -> Grid:
        given = [key for key in ("scale", "resolution", "transform") if getattr(self, key) is not None]
        if self.crs == "native":
            if given:
                raise _refuse(
                    f"{given[0]} does not go with crs: native, which keeps the images' own pixels; leave it out"
                )
            if self.align == "crs":
                raise _refuse(
                    "align: crs does not go with crs: native, which keeps the images' own pixels; leave it out"
                )
            if not self.snap:
                raise _refuse("snap: false does not go with crs: native: it would resample; write a crs and a scale")
        elif len(given) != 1:
            raise _refuse(
                f"{'nothing' if not given else ' and '.join(given)} given; write exactly one of scale, "
                "resolution and transform"
            )
        if self.like and self.crs != "native":
            raise _refuse(f"like goes with crs: native only, and crs is {self.crs}; leave it out")
        if not self.snap and self.align == "asset":
            raise _refuse("snap: false does not go with align: asset: patches off the lattice are resampled")
        if self.transform:
            sx, shx, _, shy, sy, _ = self.transform
            if shx or shy:
                raise _refuse(f"transform has shear ({shx:g}, {shy:g}); write a north-up one: [sx, 0, x0, 0, -sy, y0]")
            if sx <= 0 or sy >= 0:
                raise _refuse(f"transform has scales {sx:g}, {sy:g}; write a north-up one: [sx, 0, x0, 0, -sy, y0]")
            if self.crs == "utm" or self.align == "asset":
                raise _refuse("transform fixes the lattice and goes with neither crs: utm nor align: asset")
        return self


class Pixels(_Section):
    """What of each pixel."""

    format: Literal["NPY", "GEO_TIFF"] = Field("NPY", description="NPY or GEO_TIFF")
    mask: Literal["band", "bands", "fill", "none"] = Field("band", description="band, bands, fill or none")
    fill: int | float | dict[str, int | float] | None = Field(None, description="a number, or {band: number}")
    resample: Literal["nearest", "bilinear", "bicubic", "mean"] = Field(
        "nearest", description="nearest, bilinear, bicubic or mean"
    )
    dtype: dict[str, str] = Field({}, description="{band: type}, e.g. {NDVI: float32}")
    images_per_request: Literal["auto"] | Annotated[PositiveInt, Field(le=100_000)] = Field(
        "auto", description="auto or a number of images"
    )

    @model_validator(mode="after")
    def _check(self) -> Pixels:
        if (self.mask == "fill") != (self.fill is not None):
            raise _refuse("mask: fill and fill: NUMBER go together; write both or neither")
        known = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
        for band, dtype in self.dtype.items():
            if dtype not in known:
                raise _refuse(f"dtype.{band}: {dtype!r} is not a valid type; write one of {', '.join(known)}")
        return self


class Output(_Section):
    """Where the tables go."""

    path: str = Field(description="gs://, s3://, file:// or a plain path")
    part_size: Size = Field(128_000_000, description="a size, e.g. 128MB")
    overwrite: bool = Field(False, description="true or false")


class Storage(_Section):
    """Settings for every gs:// and s3:// path."""

    gs_endpoint: Annotated[str, AfterValidator(_check_storage_endpoint)] | None = Field(
        None, description="http(s)://HOST[:PORT], e.g. http://127.0.0.1:4443"
    )
    s3_endpoint: Annotated[str, AfterValidator(_check_storage_endpoint)] | None = Field(
        None, description="http(s)://HOST[:PORT], e.g. http://127.0.0.1:9000"
    )
    s3_region: str | None = Field(None, description="a region, e.g. eu-central-1")
    anonymous: bool = Field(False, description="true or false")


class Retry(_Section):
    """How hard to try."""

    attempts: PositiveInt = Field(6, le=10_000, description="how often a tile is asked for before it is failed, e.g. 6")
    deadline: PositiveFloat = Field(1800.0, le=31_536_000, description="seconds for one tile, e.g. 1800")
    split: bool = Field(True, description="true or false")
    min_tile: PositiveInt = Field(32, le=MAX_SIDE, description="pixels per side below which a request is not split")
    max_failed: Annotated[int | str, AfterValidator(_check_max_failed)] = Field(
        0, description='a count, or a percentage such as "0.1%"'
    )


class JobConfig(_Section):
    """One job: which images, where, on which grid, and where the tables go. Paths in it are absolute."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,38}[a-z0-9]$")] = Field(
        description="4 to 40 of a-z, 0-9 and -, beginning with a letter, e.g. modis-ndvi"
    )
    earth_engine: EarthEngine
    source: Source
    region: Region
    grid: Grid
    pixels: Pixels = Pixels()
    output: Output
    storage: Storage = Storage()
    retry: Retry = Retry()

    @model_validator(mode="after")
    def _check(self) -> JobConfig:
        points = self.region.kind in ("points", "sample")
        if not self.grid.snap and not points:
            raise _refuse(
                f"grid.snap: false is for patches around points, and region is a {self.region.kind}; leave it out"
            )
        if self.source.kind in ("image", "expression"):
            if self.grid.crs == "native":
                raise _refuse("grid.crs: native needs stored images, and source is computed; write a crs and a scale")
            if self.grid.align == "asset":
                raise _refuse("grid.align: asset needs stored images, and source is computed; write align: crs")
        if self.source.method == "getPixels":
            if self.region.clip:
                raise _refuse(
                    "source.method: getPixels does not support region.clip; leave it out, or write method: auto"
                )
            for key, value, plain in (
                ("mask", self.pixels.mask, "none"),
                ("resample", self.pixels.resample, "nearest"),
            ):
                if value != plain:
                    raise _refuse(
                        f"source.method: getPixels does not support {key}: {value}; write pixels.{key}: {plain}, or "
                        "method: auto"
                    )
            if self.pixels.dtype or self.pixels.images_per_request not in ("auto", 1):
                raise _refuse(
                    "source.method: getPixels neither casts nor packs; leave pixels.dtype and "
                    "images_per_request out, or write method: auto"
                )
        return self


def _exactly_one(section: BaseModel, keys: tuple[str, ...]) -> None:
    given = [key for key in keys if getattr(section, key) is not None]
    if len(given) != 1:
        raise _refuse(f"{' and '.join(given) or 'none'} given; write exactly one of {', '.join(keys)}")


def _check_bands(bands: tuple[str, ...] | dict[str, str] | None) -> None:
    if bands is None:
        return
    if not bands:
        raise _refuse("bands is empty; name at least one band, or leave it out")
    names = list(bands)
    bad = [name for name in names if not re.fullmatch(NAME, name)]
    if len(bad) > 1:
        named = ", ".join(shown(name) for name in bad[:3]) + (", …" if len(bad) > 3 else "")
        raise _refuse(
            f"bands: {len(bad):,} of {len(names):,} are not valid column names ({named}); leave bands out, and "
            "ee-spark plan --json prints names for all, ready for the job file (key bands)"
        )
    for name in names:
        if not re.fullmatch(NAME, name):
            raise _refuse(f"bands: {name!r} is not a valid column name; rename it: bands: {{a_name: {name}}}")
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise _refuse(f"bands: {seen[name.lower()]!r} and {name!r} are one column name; rename one of them")
        seen[name.lower()] = name


def _instant(date: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(date)
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
