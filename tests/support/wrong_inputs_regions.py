"""Areas that are none: GeoJSON files, Earth Engine tables, and ids of what does not exist."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from wrong_inputs_keys import DIGITS, HUGE
from wrong_inputs_place import Make, Place, Wrong, choices, planning, points_job, region_job
from wrong_inputs_points import CRSS, named

RING = [[-106.93, 40.277], [-106.90, 40.277], [-106.90, 40.299], [-106.93, 40.277]]
NO_POSITION: tuple[Any, ...] = (
    None, [], [1], "x", {}, 7, ["a", "b"], [None, None], [float("nan"), 0], [0, float("inf")], [0, 91], [361, 0], [[1,
    2], [3, 4]], [int(HUGE), 0],
    [True, {}], {"lon": 1, "lat": 2},
)  # fmt: skip
NO_RINGS: tuple[Any, ...] = (
    None,
    [],
    {},
    7,
    "x",
    [[]],
    [[[0, 0]]],
    [[[0, 0], [1, 1]]],
    [None],
    [7],
    [{}],
    ["x"],
    [[[[0, 0]]]],
    [RING, 7],
    [RING, []],
)


def _ring_with(position: Any, random: Random) -> list[Any]:
    ring: list[Any] = list(RING)
    ring.insert(random.randrange(1, len(ring)), position)
    return ring


def _wrapped(geometry: Any, random: Random) -> str:
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    return json.dumps(
        random.choice(
            (
                geometry,
                feature,
                {"type": "FeatureCollection", "features": [feature]},
                {"type": "GeometryCollection", "geometries": [geometry]},
            )
        )
    )


AREAS: dict[str, Callable[[Random], str | bytes]] = {
    "position": lambda random: _wrapped(
        {"type": "Polygon", "coordinates": [_ring_with(random.choice(NO_POSITION), random)]}, random
    ),
    "rings": lambda random: _wrapped({"type": "Polygon", "coordinates": random.choice(NO_RINGS)}, random),
    "polygons": lambda random: _wrapped(
        {
            "type": "MultiPolygon",
            "coordinates": random.choice((None, 7, "x", {}, [], [7], [[7]], [[[7]]], [RING], [[]])),
        },
        random,
    ),
    "crs": lambda random: json.dumps({"type": "Polygon", "coordinates": [RING], "crs": random.choice(CRSS)}),
    "crs-outside": lambda random: json.dumps(
        {"type": "Polygon", "coordinates": [[[0, 0], [1e9, 0], [1e9, 1e12]]], "crs": named("EPSG:32613")}
    ),
    "no-area": lambda random: _wrapped(
        {"type": random.choice(("Point", "LineString", "MultiPoint")), "coordinates": [1, 2]}, random
    ),
    "type": lambda random: _wrapped(
        {
            "type": random.choice((None, 7, [], {}, "polygon", "POLYGON", "Polygon ", "x" * 5000, "\n")),
            "coordinates": [RING],
        },
        random,
    ),
    "no-type": lambda random: random.choice(
        ('{"coordinates": []}', "{}", '{"type": "Feature"}', '{"type": "Polygon"}', '{"type": "FeatureCollection"}')
    ),
    "features": lambda random: json.dumps(
        {
            "type": "FeatureCollection",
            "features": random.choice((None, 7, "x", {}, [], {"a": 1}, [7], [None], [[]], ["x"])),
        }
    ),
    "geometry": lambda random: json.dumps(
        {"type": "Feature", "geometry": random.choice((None, 7, "x", [], {}, True, ["Polygon"]))}
    ),
    "top": lambda random: random.choice(("", "[]", "7", "null", '"x"', "NaN", "[[]]", "{", "true", "\ufeff")),
    "nested": lambda random: _nested(random),
    "digits": lambda random: '{"type": "Polygon", "coordinates": [[[' + DIGITS + ", 1], [2, 3], [3, 4]]]}",
    "truncated": lambda random: (text := json.dumps({"type": "Polygon", "coordinates": [RING]}))[
        : random.randrange(len(text) - 1)
    ],
    "bytes": lambda random: random.choice(
        (b"\xff\xfe{}", b"\x80", b"{\x00}", b'{"type": "\xe4"}', b"\x1f\x8b\x08", random.randbytes(1000) + b"\xff")
    ),
    "large": lambda random: (
        '{"type": "GeometryCollection", "geometries": [' + "[]," * (random.choice((3, 20)) << 18) + "7]}"
    ),
    "far": lambda random: json.dumps(
        {"type": "Polygon", "coordinates": [[[4e6, 5e5], [4.1e6, 5e5], [4.1e6, 6e5], [4e6, 5e5]]]}
    ),
}


def _nested(random: Random) -> str:
    depth = random.choice((500, 2_000, 100_000))
    if random.random() < 0.5:
        return '{"type": "GeometryCollection", "geometries": [' * depth + "7" + "]}" * depth
    return '{"type": "Polygon", "coordinates": ' + "[" * depth + "1" + "]" * depth + "}"


@choices("region-geojson", "points")
def areas() -> Mapping[str, Make]:
    return {name: partial(_area, name) for name in AREAS}


def _area(name: str, random: Random, place: Place) -> Wrong:
    file = place.write(random.choice(("area.geojson", "area.json", "area")), AREAS[name](random))
    job = region_job(place, file)
    if random.random() < 0.3:
        job = place.job({"region.bbox": None, "region.sample": f"{{count: 4, within: {{geojson: {file}}}}}"})
    return Wrong(planning(random, job), f"the GeoJSON's {name} make no area")


FILES: dict[str, Callable[[Random], tuple[str, bytes]]] = {
    "sqlite": lambda random: ("area.gpkg", b"SQLite format 3\0" + random.randbytes(random.choice((0, 84, 5000)))),
    "flatgeobuf": lambda random: ("area.fgb", b"fgb\x03fgb\x00" + random.randbytes(random.choice((0, 4, 5000)))),
    "shapefile": lambda random: ("area.shp", b"\0\0\x27\x0a" + random.randbytes(random.choice((0, 96, 500)))),
    "zip": lambda random: ("area.zip", _zip(random)),
    "zip-torn": lambda random: ("area.zip", _zip(random)[: random.randrange(8, 40)]),
    "gzip": lambda random: ("area.geojson.gz", gzip.compress(random.choice((b"", b"x", b"{", bytes(100))))),
    "xml": lambda random: (random.choice(("area.kml", "area.gml", "area")), b"<?xml version='1.0'?><kml/>"),
    "text": lambda random: (random.choice(("area.csv", "area.geojson")), b"lon,lat\n1,2\n"),
    "feather": lambda random: ("area.feather", b"ARROW1\0\0" + random.randbytes(50)),
    "no-geometry": lambda random: ("area.parquet", _plain_parquet()),
}


def _zip(random: Random) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in random.choice((["a.txt.bak"], ["a.shp", "b.shp"], ["a.shp"], ["xl/workbook.xml"], ["a.geojson"])):
            archive.writestr(name, b"\0\0\x27\x0a" + bytes(96))
    return sink.getvalue()


def _plain_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"geometry": [b"x"]}), sink)
    return sink.getvalue()


@choices("region-file", "points")
def files() -> Mapping[str, Make]:
    return {name: partial(_region_file, name) for name in FILES}


def _region_file(name: str, random: Random, place: Place) -> Wrong:
    file = place.write(*FILES[name](random))
    job = region_job(place, file) if random.random() < 0.7 or name == "text" else points_job(place, file)
    return Wrong(planning(random, job), f"the file holds no places: {name}")


IDS = (
    "", ".", "..", "/", "//", "EOBOX", "EOBOX/NONE", "EOBOX/LANDSAT/none", "nowhere/at/all", "a/../b",
    "../../etc/passwd", "%2e%2e/%2e%2e", "a?b=c", "a#b",
    "a b", "a\nb", "a\0b", "a\tb", "projects", "projects/", "projects/x", "projects/x/assets/", "EOBOX/LANDSAT ",
    " EOBOX/LANDSAT", "EOBOX//LANDSAT", "eobox/landsat",
    "EOBOX/LANDSAT:listAssets", "EOBOX/LANDSAT?x", "ä/ö", "🌍", "a" * 5_000, "a/" * 2_000, "http://127.0.0.1:9/x",
    "\x1b[31m", "*", "EOBOX/LANDSAT\u202e",
)  # fmt: skip


@choices("id", "boundary", share=2)
def ids() -> Mapping[str, Make]:
    return {key: partial(_id, key) for key in ("collection", "asset", "table")}


def _id(key: str, random: Random, place: Place) -> Wrong:
    name = random.choice(IDS)
    changes: dict[str, str | None]
    if key == "table":
        changes = {"region.bbox": None, "region.table": json.dumps(name)}
    elif key == "asset":
        changes = dict.fromkeys(("source.collection", "source.start", "source.end")) | {
            "source.asset": json.dumps(name)
        }
    else:
        changes = {"source.collection": json.dumps(name)}
    return Wrong(planning(random, place.job(changes)), f"there is no {key} {name[:40]!r}")
