"""The region of a job as frozen values: which of its keys go together, and what each may hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

POINT_TYPES = (
    *("string", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64"),
    *("date", "timestamp"),
)
"""Types that a job can state for a column that points carry along."""
MOST_POINTS = 20_000_000
"""Points of one job: their ids and places are in memory."""


def refused(text: str) -> ValueError:
    """Return the error of a value that no job may have, for pydantic to tell with its key."""
    return ValueError(text)


def as_tuple(value: object) -> object:
    """Return a list as a tuple, as frozen values have it."""
    return tuple(value) if isinstance(value, list) else value


def exactly_one(section: BaseModel, keys: tuple[str, ...]) -> None:
    """Refuse a section that gives none of some keys, or several."""
    given = [key for key in keys if getattr(section, key) is not None]
    if len(given) != 1:
        raise refused(f"{' and '.join(given) or 'none'} given; write exactly one of {', '.join(keys)}")


def _check_bbox(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = value
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise refused("degrees are out of range: longitudes are -180 to 180, latitudes -90 to 90")
    if south >= north:
        raise refused(f"its south ({south:g}) is not below its north ({north:g})")
    if west == east:
        raise refused(f"its west and east are both {west:g}")
    return value


Bbox = Annotated[tuple[float, float, float, float], BeforeValidator(as_tuple), AfterValidator(_check_bbox)]


class Section(BaseModel):
    """A section of a job file: frozen, its types as they are written, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Stratify(Section):
    """Draw ``count`` points of each class of an image."""

    image: str
    band: str
    scale: PositiveFloat


class Within(Section):
    """Where a sample is drawn."""

    bbox: Bbox | None = None
    geojson: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Within:
        exactly_one(self, ("bbox", "geojson"))
        return self


class Sample(Section):
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
        raise refused("a mapping that is not GeoJSON: it has no type")
    return Inline(json.dumps(value))


class PointsFile(Section):
    """A file of points, and how it is read: which columns say where, which is the id, and types of others."""

    file: str = Field(description="a file: CSV, GeoJSON, GeoParquet, GeoPackage, FlatGeobuf or a shapefile")
    lon: str | None = Field(None, description="the name of the column of longitudes")
    lat: str | None = Field(None, description="the name of the column of latitudes")
    id: str | None = Field(None, description="the name of the column of ids")
    types: dict[str, str] = Field({}, description=f"{{column: type}}, a type being one of {', '.join(POINT_TYPES)}")

    @model_validator(mode="after")
    def _check(self) -> PointsFile:
        if (self.lon is None) != (self.lat is None):
            raise refused("lon and lat go together; write both or neither")
        names = [name for name in (self.lon, self.lat, self.id) if name is not None]
        if len(set(names)) != len(names):
            raise refused("lon, lat and id name one column twice; write three columns")
        for name, kind in self.types.items():
            if kind not in POINT_TYPES:
                raise refused(f"types.{name}: {kind!r} is not a type; write one of {', '.join(POINT_TYPES)}")
        if twice := set(names) & set(self.types):
            raise refused(f"types: {min(twice)!r} is not a column of your own: an id is text, and places are degrees")
        return self


def _form_of(value: object) -> str:
    """Return which of the forms of ``points`` a value has; names in brackets are no part of a key's path."""
    if isinstance(value, dict):
        return "(inline)" if "type" in value else "(columns)"
    return "(inline)" if isinstance(value, Inline) else "(columns)" if isinstance(value, PointsFile) else "(file)"


class Region(Section):
    """Where."""

    bbox: Bbox | None = Field(None, description="[west, south, east, north] in degrees")
    geojson: Annotated[str | Inline | None, BeforeValidator(_inline)] = Field(
        None, description="a file with polygons: GeoJSON, GeoParquet, GeoPackage …, or GeoJSON itself"
    )
    table: str | None = Field(None, min_length=1, description="the id of an Earth Engine table")
    points: (
        Annotated[
            Annotated[str, Tag("(file)")]
            | Annotated[Inline, BeforeValidator(_inline), Tag("(inline)")]
            | Annotated[PointsFile, Tag("(columns)")],
            Discriminator(_form_of),
        ]
        | None
    ) = Field(None, description="a file with points: CSV, GeoJSON, Parquet …, or {file: …, lon: …, lat: …, id: …}")
    sample: Sample | None = Field(None, description="{count: N, seed: N, within: {bbox: [...]}}")
    clip: bool = Field(False, description="true or false")

    @property
    def kind(self) -> str:
        """Which of bbox, geojson, table, points and sample this is."""
        kinds = ("bbox", "geojson", "table", "points", "sample")
        return next(kind for kind in kinds if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _check(self) -> Region:
        exactly_one(self, ("bbox", "geojson", "table", "points", "sample"))
        if self.clip and self.kind in ("points", "sample"):
            raise refused(f"clip does not go with {self.kind}: a patch has no polygon; leave it out")
        return self
