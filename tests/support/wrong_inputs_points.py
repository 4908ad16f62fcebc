"""Files of points that are none: CSV, GeoJSON and Parquet, and samples that cannot be drawn."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from random import Random
from typing import Any

from wrong_inputs_keys import DIGITS, HUGE
from wrong_inputs_place import Make, Place, Wrong, choices, planning, points_job

ROWS = [("a", "-106.92", "40.28"), ("b", "-106.91", "40.29"), ("c", "-106.905", "40.285")]
NO_DEGREES = (
    "",
    "x",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "181",
    "-180.0001",
    DIGITS,
    HUGE,
    "-106,9",
    "0x10",
    "1 2",
    "40°N",
    "106.9W",
    "\0",
    "١٢٣x",
    "1__0",
)


def _csv(header: str = "id,lon,lat", rows: list[str] | None = None, end: str = "\n") -> str:
    return end.join([header, *(rows if rows is not None else [",".join(row) for row in ROWS])]) + end


@choices("points-csv", "points")
def tables() -> Mapping[str, Make]:
    return {
        "degrees": _bad_degrees,
        "long-field": partial(_file, _long_field, "a field of more than 131,072 characters that is no degree"),
        "ragged": partial(_file, _ragged, "rows of other lengths than the header"),
        "unclosed": partial(
            _file, lambda random: _csv(rows=['a,"-106.9,40.2', "b,1,2"] * 3), "a quote that nobody closes"
        ),
        "nul": partial(_file, _nul, "NUL characters"),
        "no-rows": partial(
            _file,
            lambda random: random.choice(("id,lon,lat\n", "id,lon,lat", "lon,lat\r\n\r\n", "lon,lat\r")),
            "no rows",
        ),
        "empty": partial(
            _file, lambda random: random.choice(("", "\n\n\n", "\ufeff", "\r", " ", "\r\n" * 1000)), "nothing"
        ),
        "header": partial(_file, _bad_header, "no header that names lon and lat once"),
        "repeated": partial(_file, _repeated, "an id or a place that comes twice"),
        "no-id": partial(
            _file, lambda random: _csv(rows=["a,-106.92,40.28", ",-106.91,40.29"]), "a point without its id"
        ),
        "encoding": partial(_file, _encoded, "no UTF-8"),
        "binary": partial(
            _file, lambda random: random.randbytes(random.choice((1, 100, 100_000))) + b"\xff\xfe\0\xff", "no text"
        ),
        "column": partial(_file, _column, "a column that no table can have"),
        "wide": partial(_file, lambda random: ",".join(f"c{n}" for n in range(100_000)) + "\n1,2\n", "100,000 columns"),
        "usual-names": partial(_file, _two_of_one, "two columns that could be the longitude or the latitude"),
        "compressed": partial(_file, _compressed, "a gzip that ends too early, or holds no CSV"),
        "decimal-comma": partial(
            _file, lambda random: "id;lon;lat\na;-106,92;40,28\nb;-106,91;40,29\n", "commas where a number has a point"
        ),
        "stated": _badly_stated,
        "large": partial(_file, _large, "many megabytes of rows, of which the last is wrong"),
    }


def _file(make: Callable[[Random], str | bytes], why: str, random: Random, place: Place) -> Wrong:
    file = place.write(random.choice(("points.csv", "points.txt", "points")), make(random))
    return Wrong(planning(random, points_job(place, file)), f"the CSV has {why}")


def _bad_degrees(random: Random, place: Place) -> Wrong:
    value, at = random.choice(NO_DEGREES), random.randrange(len(ROWS))
    name = random.choice((1, 2))
    if name == 2 and value in ("181", "-180.0001"):
        value = "90.00001"
    rows = [list(row) for row in ROWS]
    rows[at][name] = f'"{value}"' if "," in value else value
    file = place.write("points.csv", _csv(rows=[",".join(row) for row in rows]))
    return Wrong(
        planning(random, points_job(place, file)), f"{value[:20]!r} is no {'longitude' if name == 1 else 'latitude'}"
    )


def _long_field(random: Random) -> str:
    long = "7" * random.choice((131_073, 200_000, 3_000_000))
    return _csv(rows=["a,-106.92,40.28", f"b,{long},40.29"]) if random.random() < 0.5 else _csv(f"id,lon,{long}")


def _ragged(random: Random) -> str:
    row = random.choice(("a", "a,1", "a,1,2,3", "a,1,2,", "," * 1000, "a;1;2", "a\t1\t2"))
    return _csv(rows=["x,-106.92,40.28", row])


def _nul(random: Random) -> str:
    return random.choice(
        (_csv(rows=["a,-106.\0092,40.28"]), _csv("id,lon\0,lat"), "\0" * 10_000, _csv(rows=["a,1,2\0"]))
    )


def _bad_header(random: Random) -> str:
    header = random.choice(
        (
            "id,east,north",
            "id,longitude,latitude,x",
            "id,lon",
            "lon,lon,lat",
            "lon,lat,lat",
            "LON,Lon,lat",
            '"",""',
            "a,a,a",
            "1,2,3",
        )
    )
    return f"{header}\n" + "\n".join(",".join("123"[: header.count(",") + 1]) for _ in range(2)) + "\n"


def _two_of_one(random: Random) -> str:
    names = random.choice(
        (("longitude", "x", "lat"), ("lng", "LONG", "lat"), ("lon", "latitude", "Y"), ("x", "X", "y"))
    )
    return f"{','.join(names)}\n1,2,3\n4,5,6\n"


def _compressed(random: Random) -> bytes:
    whole = gzip.compress(_csv().encode())
    return random.choice((whole[: random.randrange(10, len(whole) - 8)], gzip.compress(random.randbytes(100) + b"\0")))


STATED = (
    ("types: {none: string}", "a column that does not exist"),
    ("types: {n: float}", "a type that is none"),
    ("types: {n: int64}", "whole numbers, and n has texts"),
    ("types: {n: date}", "dates, and n has texts"),
    ("types: {id: string}", "the id"),
    ("types: [n]", "no mapping"),
    ("lon: lon", "only one of two columns"),
    ("lon: none, lat: lat", "a column that does not exist"),
    ("lon: n, lat: lat", "a column of texts"),
    ("id: none", "an id that does not exist"),
    ("lon: lon, lat: lon", "one column twice"),
    ("crs: EPSG:4326", "a key that does not exist"),
)


def _badly_stated(random: Random, place: Place) -> Wrong:
    said, why = random.choice(STATED)
    file = place.write("points.csv", _csv("id,lon,lat,n", ["a,-106.92,40.28,x", "b,-106.91,40.29,y"]))
    job = place.job({"region.bbox": None, "region.points": f"{{file: {json.dumps(str(file))}, {said}}}"})
    return Wrong(planning(random, job), f"points state {why}")


def _repeated(random: Random) -> str:
    if random.random() < 0.5:
        return _csv(rows=["a,-106.92,40.28", "b,-106.91,40.29", "a,-106.90,40.27"])
    return _csv("lon,lat", ["-106.92,40.28", "-106.91,40.29", "-106.92,40.28"])


def _encoded(random: Random) -> bytes:
    text = _csv("id,lon,lat,näme", ["a,-106.92,40.28,ü"])
    return random.choice(
        (
            text.encode("utf-16-le"),
            text.encode("utf-16-be"),
            text.encode("latin-1"),
            text.encode("utf-32"),
            text.encode("cp500"),
        )
    )


def _column(random: Random) -> str:
    name = random.choice(
        ("point_id", "POINT_LON", "tile_id", "crs", "a b", "1st", "ä", "", "x'y", "valid", "geometry", "a.b", "red")
    )
    return _csv(f"id,lon,lat,{name}", ["a,-106.92,40.28,1", "b,-106.91,40.29,2"])


@cache
def _many() -> str:
    return "".join(f"p{n},{-106.93 + n * 1e-8:.8f},40.28\n" for n in range(1_000_000))


def _large(random: Random) -> str:
    return f"id,lon,lat\n{_many() * random.choice((1, 3))}last,181,91\n"


def _feature(lon: Any = -106.92, lat: Any = 40.28, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Point", "coordinates": [lon, lat]}}


def _collection(*features: Any) -> str:
    return json.dumps({"type": "FeatureCollection", "features": [_feature(id="a"), *features]})


def named(name: Any) -> dict[str, Any]:
    return {"type": "name", "properties": {"name": name}}


CRSS: tuple[Any, ...] = (
    named("EPSG:999999"),
    named("nowhere"),
    named("/etc/passwd"),
    named("http://127.0.0.1:9/crs"),
    named(7),
    named("EPSG:5773"),  # heights
    named("EPSG:4978"),  # geocentric
    named('LOCAL_CS["x",UNIT["metre",1]]'),
    {"type": "link", "properties": {"href": "http://127.0.0.1:9/x", "type": "proj4"}},
    {"type": "EPSG", "properties": {"code": "x"}},
    {"type": "EPSG"},
    {},
    "EPSG:4326",
    7,
)
JSON: dict[str, Callable[[Random], str | bytes]] = {
    "no-degrees": lambda random: _collection(
        _feature(
            random.choice((None, "x", [], {}, float("nan"), float("inf"), 181, int(HUGE), True, [[1, 2]])), 40.2, id="b"
        )
    ),
    "coordinates": lambda random: _collection(
        {
            "type": "Feature",
            "properties": {},
            "geometry": {
                "type": "Point",
                "coordinates": random.choice((None, [], [1], "1,2", {}, 7, [[1, 2], [3, 4]], [None, None])),
            },
        }
    ),
    "geometry": lambda random: _collection(
        {
            "type": "Feature",
            "properties": {},
            "geometry": random.choice(
                (None, [], {}, 7, "POINT (1 2)", {"type": "Polygon", "coordinates": []}, {"type": 7}, {"type": "Point"})
            ),
        }
    ),
    "feature": lambda random: _collection(random.choice((None, [], {}, 7, "feature", True, [[]], {"type": "Feature"}))),
    "features": lambda random: json.dumps(
        {"type": "FeatureCollection", "features": random.choice((None, [], {}, 7, "x", {"a": 1}, [[]], [[[]]]))}
    ),
    "properties": lambda random: _collection(
        {**_feature(), "properties": random.choice((7, "x", [1], True, [[1, 2]]))}
    ),
    "top": lambda random: random.choice(
        ("", "[]", "7", "null", '"x"', "{}", '{"type": "FeatureCollection"}', "NaN", '{"features"')
    ),
    "nested": lambda random: _nested(random),
    "digits": lambda random: '{"type": "FeatureCollection", "features": [' + DIGITS + "]}",
    "truncated": lambda random: (text := _collection(_feature(-106.91, id="b")))[: random.randrange(len(text) - 1)],
    "flipped": lambda random: _collection() + random.choice(("}", "x", "\0", ",{}", "\x1b[0m")),
    "bytes": lambda random: random.choice(
        (b"\xff\xfe{}", b"\x80", b"{\x00}", _collection().encode("latin-1")[:-2] + b"\xe4]}", b"\x1f\x8b\x08")
    ),
    "repeated": lambda random: _collection(_feature(-106.91, id="a")),
    "large": lambda random: (
        '{"type": "FeatureCollection", "features": [' + "[]," * (random.choice((3, 20)) << 18) + "7]}"
    ),
    "crs": lambda random: json.dumps(
        {"type": "FeatureCollection", "crs": random.choice(CRSS), "features": [_feature(id="a")]}
    ),
    "crs-inside": lambda random: _collection({**_feature(-106.91, id="b"), "crs": random.choice(CRSS[:4])}),
    "crs-outside": lambda random: json.dumps(
        {"type": "FeatureCollection", "crs": named("EPSG:32613"), "features": [_feature(1e9, 1e12, id="a")]}
    ),
    "own-column": lambda random: _collection(_feature(-106.91, id="b", point_lon=1)),
}


def _nested(random: Random) -> str:
    depth = random.choice((900, 2_000, 100_000))
    deep = random.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth))
    feature = json.dumps(_feature("no", id="b"))
    return random.choice(
        (
            f'{{"type": "FeatureCollection", "features": [{feature[:-1]}, "x": {deep}}}]}}',
            f'{{"type": "FeatureCollection", "features": {deep}}}',
        )
    )


@choices("points-geojson", "points")
def geojson() -> Mapping[str, Make]:
    return {name: partial(_json, name) for name in JSON}


def _json(name: str, random: Random, place: Place) -> Wrong:
    file = place.write(random.choice(("points.geojson", "points.json")), JSON[name](random))
    return Wrong(planning(random, points_job(place, file)), f"the GeoJSON's {name} are no points")


SLIVER = '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}'
SAMPLES = {
    "many": ["{count: 1000000000000, within: {bbox: [0, 0, 1, 1]}}",
    "{count: 9223372036854775807, within: {bbox: [0, 0, 1, 1]}}"],
    "seed": ["{count: 4, seed: -1, within: {bbox: [0, 0, 1, 1]}}",
    f"{{count: 4, seed: -{HUGE}, within: {{bbox: [0, 0, 1, 1]}}}}",
    "{count: 4, seed: x, within: {bbox: [0, 0, 1, 1]}}"],
    "sliver": ["{count: 4, within: {geojson: sliver.geojson}}", "{count: 300000, within: {geojson: sliver.geojson}}"],
    "within": ["{count: 4}", "{count: 4, within: {}}", "{count: 4, within: {bbox: [0, 0, 1, 1], geojson: a.geojson}}",
    "{count: 4, within: {geojson: none.geojson}}", "{count: 4, within: 7}"],
    "stratify": [
        "{count: 4, within: {bbox: [0, 0, 1, 1]}, stratify: {image: none.py:f, band: b, scale: 30}}",
        "{count: 4, within: {bbox: [0, 0, 1, 1]}, stratify: {image: f.py:f, band: none, scale: 30}}",
        "{count: 4, within: {bbox: [0, 0, 1, 1]}, stratify: {image: f.py:f, band: b, scale: 0}}",
        "{count: 4, within: {bbox: [0, 0, 1, 1]}, stratify: {image: f.py:f, band: b}}",
        "{count: 4, within: {bbox: [-180, -90, 180, 90]}, stratify: {image: f.py:f, band: constant, scale: 1.0e-6}}",
        "{count: 4, within: {bbox: [-180, -90, 180, 90]}, stratify: {image: f.py:f, band: constant, scale: 1.0e-300}}",
        "{count: 4, within: {bbox: [0, 0, 1, 1]}, stratify: {image: f.py:f, band: constant, scale: .inf}}",
    ],
}  # fmt: skip


@choices("sample", "points")
def samples() -> Mapping[str, Make]:
    return {name: partial(_sample, name) for name in SAMPLES}


def _sample(name: str, random: Random, place: Place) -> Wrong:
    place.write("sliver.geojson", SLIVER)
    place.write("f.py", "import ee\n\ndef f(region):\n    return ee.Image(1)\n")
    job = place.job({"region.bbox": None, "region.sample": random.choice(SAMPLES[name])})
    return Wrong(planning(random, job), f"no sample can be drawn so: {name}")
