"""A job as frozen values: which keys a job file may have, what each may hold, and what contradicts what."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ee_spark.boundary import shown
from ee_spark.hosts import ENDPOINTS, is_endpoint
from ee_spark.limits import MAX_SIDE
from ee_spark.where import (
    Region,
    Section,
    as_tuple,
    exactly_one,
    refused,
)

SIZE_TEXT = 20
MOST_PART = 16_000_000_000
"""Bytes of a part, which a lane holds in memory."""
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
DEFAULT_TILE = 256
"""Pixels per side of a tile, where the job file says nothing and so much fits."""
LEAST_SHARE = 8
"""Requests in flight that a lane should have at least: fewer, larger lanes use a small quota better."""


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
        raise refused("not a date")
    try:
        time = dt.datetime.fromisoformat(value)
        time.astimezone(dt.UTC)  # which the first and the last day of all may lack
    except (ValueError, OverflowError):
        raise refused("not a date") from None
    if re.match(r"\d{4}-\d\d-\d\d", value):
        return value
    return time.isoformat() if "T" in value else time.date().isoformat()  # other forms of ISO 8601: 20200101, 2020-W01


def _check_endpoint(value: str) -> str:
    if value in ENDPOINTS or value == "emulator" or is_endpoint(value):
        return value.rstrip("/")
    raise refused("not a valid endpoint")


def _check_storage_endpoint(value: str) -> str:
    if is_endpoint(value):
        return value.rstrip("/")
    raise refused("not a valid endpoint")


def _check_credentials(value: str) -> str:
    if value in ("default", "anonymous") or re.fullmatch(r"service-account:.+|impersonate:[^@\s]+@[^@\s]+", value):
        return value
    raise refused("not valid credentials")


def _check_max_failed(value: int | str) -> int | str:
    if isinstance(value, int):
        if value < 0:
            raise refused("it must not be negative")
        return value
    if not re.fullmatch(r"\d{1,3}(\.\d{1,9})?%", value) or float(value[:-1]) > 100:
        raise refused("neither a count nor a percentage")
    return value


def _check_size(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB)", value)
        if not match or len(value) > SIZE_TEXT:
            raise refused("not a size")
        return int(float(match[1]) * {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}[match[2]])
    return value


Date = Annotated[str, BeforeValidator(_iso_date), AfterValidator(_check_date)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Size = Annotated[int, BeforeValidator(_check_size), Field(ge=1, le=MOST_PART)]


class EarthEngine(Section):
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
            raise refused(f"emulator is only for endpoint: emulator, and endpoint is {self.endpoint}")
        if not self.project and self.endpoint in ENDPOINTS:
            raise refused(f"project is missing; endpoint {self.endpoint} needs the Cloud project whose quota is used")
        return self


class Source(Section):
    """Which images."""

    collection: str | None = Field(None, description="the id of an image collection")
    asset: str | None = Field(None, description="the id of one stored image")
    image: str | None = Field(None, description="FILE.py:FUNCTION or MODULE:FUNCTION")
    expression: str | None = Field(None, description="a file that ee.Image.serialize() wrote")
    start: Date | None = Field(None, description="an ISO date, e.g. 2020-01-01")
    end: Date | None = Field(None, description="an ISO date, e.g. 2021-01-01 (exclusive)")
    months: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=12)], ...],
            BeforeValidator(as_tuple),
            Field(min_length=1, max_length=12),
        ]
        | None
    ) = Field(None, description="a list of month numbers, e.g. [6, 7, 8]")
    filter: str | None = Field(None, description="listAssets filter text, e.g. properties.CLOUD_COVER < 20")
    every: Annotated[str, Field(pattern=r"^[1-9]\d{0,4} (day|month|year)s?$")] | None = Field(
        None, description="n days, n months or n years, e.g. 1 month"
    )
    map: str | None = Field(None, description="FILE.py:FUNCTION or MODULE:FUNCTION")
    args: dict[str, Any] = Field({}, description="keyword arguments of the function, e.g. {cloud_probability: 50}")
    bands: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] | dict[str, str] | None = Field(
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
        exactly_one(self, ("collection", "asset", "image", "expression"))
        allowed = {
            "collection": {"start", "end", "months", "filter", "map", "args"},
            "asset": {"map", "args"},
            "image": {"start", "end", "every", "args"} if self.every else {"args"},
            "expression": set(),
        }[self.kind]
        for key in ("start", "end", "months", "filter", "every", "map", "args"):
            if getattr(self, key) and key not in allowed:
                hint = "; with image, dates need every" if key in ("start", "end") and self.kind == "image" else ""
                raise refused(f"{key} does not go with {self.kind}{hint}; leave it out")
        if self.args and not (self.map or self.image):
            raise refused("args are given, but neither map nor image takes them; leave them out")
        if self.start and self.end and _instant(self.start) >= _instant(self.end):
            raise refused(f"start ({self.start}) is not before end ({self.end}); end is exclusive")
        if self.every and not (self.start and self.end):
            raise refused("every needs start and end")
        if self.method == "getPixels" and (self.map or self.kind in ("image", "expression")):
            raise refused("method: getPixels reads stored pixels and cannot compute; write method: auto")
        _check_bands(self.bands)
        return self


class Grid(Section):
    """On which pixel lattice, in which tiles."""

    crs: str = Field(description="a CRS that Earth Engine knows, e.g. EPSG:32610, or native, or utm")
    scale: PositiveFloat | None = Field(None, description="metres per pixel, e.g. 10")
    resolution: PositiveFloat | None = Field(None, description="CRS units per pixel, e.g. 0.0001")
    transform: Annotated[tuple[float, float, float, float, float, float], BeforeValidator(as_tuple)] | None = Field(
        None, description="[scaleX, shearX, translateX, shearY, scaleY, translateY]"
    )
    like: str | None = Field(None, description="the name of a band")
    align: Literal["auto", "asset", "crs"] = Field("auto", description="auto, asset or crs")
    tile: Annotated[Side | tuple[Side, Side], BeforeValidator(as_tuple)] | None = Field(
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
                raise refused(
                    f"{given[0]} does not go with crs: native, which keeps the images' own pixels; leave it out"
                )
            if self.align == "crs":
                raise refused(
                    "align: crs does not go with crs: native, which keeps the images' own pixels; leave it out"
                )
            if not self.snap:
                raise refused("snap: false does not go with crs: native: it would resample; write a crs and a scale")
        elif len(given) != 1:
            raise refused(
                f"{'nothing' if not given else ' and '.join(given)} given; write exactly one of scale, "
                "resolution and transform"
            )
        if self.like and self.crs != "native":
            raise refused(f"like goes with crs: native only, and crs is {self.crs}; leave it out")
        if not self.snap and self.align == "asset":
            raise refused("snap: false does not go with align: asset: patches off the lattice are resampled")
        if self.transform:
            sx, shx, _, shy, sy, _ = self.transform
            if shx or shy:
                raise refused(f"transform has shear ({shx:g}, {shy:g}); write a north-up one: [sx, 0, x0, 0, -sy, y0]")
            if sx <= 0 or sy >= 0:
                raise refused(f"transform has scales {sx:g}, {sy:g}; write a north-up one: [sx, 0, x0, 0, -sy, y0]")
            if self.crs == "utm" or self.align == "asset":
                raise refused("transform fixes the lattice and goes with neither crs: utm nor align: asset")
        return self


class Pixels(Section):
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
            raise refused("mask: fill and fill: NUMBER go together; write both or neither")
        known = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
        for band, dtype in self.dtype.items():
            if dtype not in known:
                raise refused(f"dtype.{band}: {dtype!r} is not a valid type; write one of {', '.join(known)}")
        return self


class Output(Section):
    """Where the tables go."""

    path: str = Field(description="gs://, s3://, file:// or a plain path")
    part_size: Size = Field(128_000_000, description="a size, e.g. 128MB")
    overwrite: bool = Field(False, description="true or false")


class Storage(Section):
    """Settings for every gs:// and s3:// path."""

    gs_endpoint: Annotated[str, AfterValidator(_check_storage_endpoint)] | None = Field(
        None, description="http(s)://HOST[:PORT], e.g. http://127.0.0.1:4443"
    )
    s3_endpoint: Annotated[str, AfterValidator(_check_storage_endpoint)] | None = Field(
        None, description="http(s)://HOST[:PORT], e.g. http://127.0.0.1:9000"
    )
    s3_region: str | None = Field(None, description="a region, e.g. eu-central-1")
    anonymous: bool = Field(False, description="true or false")


class Retry(Section):
    """How hard to try."""

    attempts: PositiveInt = Field(6, le=10_000, description="how often a tile is asked for before it is failed, e.g. 6")
    deadline: PositiveFloat = Field(1800.0, le=31_536_000, description="seconds for one tile, e.g. 1800")
    split: bool = Field(True, description="true or false")
    min_tile: PositiveInt = Field(32, le=MAX_SIDE, description="pixels per side below which a request is not split")
    max_failed: Annotated[int | str, AfterValidator(_check_max_failed)] = Field(
        0, description='a count, or a percentage such as "0.1%"'
    )


class JobConfig(Section):
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
            raise refused(
                f"grid.snap: false is for patches around points, and region is a {self.region.kind}; leave it out"
            )
        if self.source.kind in ("image", "expression"):
            if self.grid.crs == "native":
                raise refused("grid.crs: native needs stored images, and source is computed; write a crs and a scale")
            if self.grid.align == "asset":
                raise refused("grid.align: asset needs stored images, and source is computed; write align: crs")
        if self.source.method == "getPixels":
            if self.region.clip:
                raise refused(
                    "source.method: getPixels does not support region.clip; leave it out, or write method: auto"
                )
            for key, value, plain in (
                ("mask", self.pixels.mask, "none"),
                ("resample", self.pixels.resample, "nearest"),
            ):
                if value != plain:
                    raise refused(
                        f"source.method: getPixels does not support {key}: {value}; write pixels.{key}: {plain}, or "
                        "method: auto"
                    )
            if self.pixels.dtype or self.pixels.images_per_request not in ("auto", 1):
                raise refused(
                    "source.method: getPixels neither casts nor packs; leave pixels.dtype and "
                    "images_per_request out, or write method: auto"
                )
        return self


def _check_bands(bands: tuple[str, ...] | dict[str, str] | None) -> None:
    if bands is None:
        return
    if not bands:
        raise refused("bands is empty; name at least one band, or leave it out")
    names = list(bands)
    bad = [name for name in names if not re.fullmatch(NAME, name)]
    if len(bad) > 1:
        named = ", ".join(shown(name) for name in bad[:3]) + (", …" if len(bad) > 3 else "")
        raise refused(
            f"bands: {len(bad):,} of {len(names):,} are not valid column names ({named}); leave bands out, and "
            "ee-spark plan --json prints names for all, ready for the job file (key bands)"
        )
    for name in names:
        if not re.fullmatch(NAME, name):
            raise refused(f"bands: {name!r} is not a valid column name; rename it: bands: {{a_name: {name}}}")
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise refused(f"bands: {seen[name.lower()]!r} and {name!r} are one column name; rename one of them")
        seen[name.lower()] = name


def _instant(date: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(date)
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
