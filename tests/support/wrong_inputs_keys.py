"""Wrong values of every key of the job file, as YAML texts, each with the reason why no job can have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from random import Random

from wrong_inputs_place import JOB, Make, Place, Wrong, choices, kind, loading, planning

HUGE = "1" + "0" * 400
DIGITS = "9" * 5000
NO_TEXT = ("7", "1.5", "true", "[a]", "{a: b}", "2020-01-01", ".nan")
NO_NUMBER = ('"forty"', "true", "[1]", "{a: 1}", '""', "1:30", "2020-01-01", "0x", '"\\0"', ".nan", DIGITS, HUGE)
NO_COUNT = (*NO_NUMBER, "0", "-1", "1.5", ".inf", "-.inf", "1e400", "-" + HUGE)
NO_LENGTH = (*NO_NUMBER, "0", "-1", "-0.0", ".inf", "-.inf", "1.0e-300", "5.0e-324", "1.0e+300", "1.0e+400")
NO_SWITCH = ('"yes please"', "1", "0", "2", "[true]", "{}", '"true"', ".nan")
NO_LIST = ("{}", "7", "true", '"a"', ".nan")
NO_MAPPING = ('"a"', "7", "[1]", "true", ".inf")


def _choice(*known: str) -> tuple[str, ...]:
    wrong = (f'"{known[0].upper()}X"', f'" {known[0]}"', '""', '"nonsense"', "7", "[a]", "{}", "true", ".nan")
    return (*wrong, f'"{known[0]}\\n"', f'"{known[0]}\\0"', json.dumps("x" * 100_000))


KEYS: dict[str, tuple[str, ...]] = {
    "name": (*NO_TEXT, '"A"', '"abc"', '"-abcd"', '"abcd-"', '"ab cd"', '"abcd\\n"', '"äbcd"', json.dumps("a" * 41),
        DIGITS),
    "earth_engine": NO_MAPPING,
    "earth_engine.project": ("7", "true", "[a]", "{}", ".nan"),
    "earth_engine.concurrent_requests": NO_COUNT,
    "earth_engine.requests_per_minute": NO_COUNT,
    "earth_engine.lanes": (*NO_COUNT, '"auto\\n"'),
    "earth_engine.credentials": (*NO_TEXT, '"defaults"', '"service-account:"', '"impersonate:me"',
        '"impersonate:a@b@c"'),
    "earth_engine.emulator": (*NO_MAPPING, "{latency_ms: 5}"),
    "source": NO_MAPPING,
    "source.collection": ("7", "true", "[a]", "{}"),
    "source.filter": ("7", "true", "[a]", "{}"),
    "source.months": (*NO_LIST, "[0]", "[13]", "[]", "[1.5]", "[true]", '["June"]', f"[{HUGE}]", "[-1]", "[6, null]"),
    "source.bands": ("7", "true", "[]", "{}", '[""]', '["a b"]', "[1]", "[red, RED]", "[red, red]", '["red\\0"]',
        "[[red]]"),
    "source.method": _choice("auto", "getPixels"),
    "source.pin": NO_SWITCH,
    "source.every": ("7", "[1]", '"1 week"', '"0 days"', '"-1 month"', '"1month"', '"1.5 days"', '"1 month"'),
    "source.args": (*NO_MAPPING, "{a: 1}"),
    "source.map": ("7", "true", "[a]", "{}"),
    "source.image": ('"images.py:f"', "7", "{}"),
    "source.expression": ('"e.json"', "7", "{}"),
    "source.asset": ('"A/B"', "7", "{}"),
    "region": (*NO_MAPPING, "{}", "{clip: true}"),
    "region.clip": NO_SWITCH,
    "region.geojson": ('"a.geojson"', "7", "[]", "{}"),
    "region.table": ('"a/table"', "7", "[]", "{}"),
    "region.points": ('"a.csv"', "7", "[]"),
    "region.sample": ("7", "[]", "{}", "{count: 5}", "{count: 0, within: {bbox: [0, 0, 1, 1]}}"),
    "grid": NO_MAPPING,
    "grid.scale": NO_LENGTH,
    "grid.resolution": ("30", *NO_LENGTH),
    "grid.like": ('"red"', "7", "[red]", "{}"),
    "grid.align": _choice("auto", "asset", "crs"),
    "grid.tile": (*NO_COUNT, "32769", "[16]", "[16, 16, 16]", "[16, 0]", "[[16], 16]", "[16, 1.5]", "{}"),
    "grid.margin": (*NO_NUMBER, "-1", "1.5", "16385", ".inf"),
    "grid.snap": (*NO_SWITCH, "false"),
    "pixels": NO_MAPPING,
    "pixels.format": _choice("NPY", "GEO_TIFF"),
    "pixels.mask": _choice("band", "bands"),
    "pixels.fill": ("0", "-9999", '"zero"', "true", ".nan", HUGE),
    "pixels.resample": _choice("nearest", "bilinear"),
    "pixels.dtype": (*NO_MAPPING, "{red: float}", "{red: 7}", "{red: [float32]}", '{red: "float32\\n"}'),
    "pixels.images_per_request": (*NO_COUNT, '"all"'),
    "output": (*NO_MAPPING, "{}"),
    "output.part_size": (*NO_COUNT, '"128 TB"', '"MB"', '"1e3MB"', '"-1MB"', '"0B"', f'"{DIGITS}MB"'),
    "output.overwrite": NO_SWITCH,
    "storage": NO_MAPPING,
    "storage.anonymous": NO_SWITCH,
    "storage.gs_endpoint": ("7", "[a]", "{}", "true"),
    "storage.s3_endpoint": ("7", "[a]", "{}", "true"),
    "storage.s3_region": ("7", "[a]", "{}", "true"),
    "retry": NO_MAPPING,
    "retry.attempts": NO_COUNT,
    "retry.deadline": (*NO_NUMBER, "0", "-1", "-.inf"),
    "retry.split": NO_SWITCH,
    "retry.min_tile": NO_COUNT,
    "retry.max_failed": ("-1", "1.5", '"1 %"', '"all"', "true", "[1]", "{}", ".inf", '"-1%"', HUGE, '"1%\\n"'),
}  # fmt: skip
"""Of every key, values that are of the wrong type, out of range, or contradict the rest of the right job."""


@kind("key", "boundary", share=60)
def key(random: Random, place: Place) -> Wrong:
    name = random.choice(list(KEYS))
    value = random.choice(KEYS[name])
    changes: dict[str, str | None] = {name: value}
    if "." not in name:  # a whole section
        changes |= {other: None for other in JOB if other.startswith(f"{name}.")}
    if name == "grid.resolution" and value != "30":
        changes["grid.scale"] = None
    job = place.job(changes)
    if name in ("grid.scale", "grid.resolution"):  # only the plan can tell that there are too many tiles
        return Wrong(planning(random, job), f"{name} cannot be {_short(value)}")
    words, told = loading(random, job)
    return Wrong(words, f"{name} cannot be {_short(value)}", told)


def _short(value: str) -> str:
    return value if len(value) < 40 else f"{value[:20]}… ({len(value):,} characters)"


_PARTS = {
    "no day of that month": ("2020-02-30", "2021-02-29", "2020-04-31", "2020-06-31T00:00:00Z"),
    "month 13": ("2020-13-01", "2020-00-01", "2020-99-99"),
    "year 0": ("0000-01-01", "0000-12-31T23:59:59Z", "00000-01-01"),
    "year 10000": ("10000-01-01", "99999-12-31", "+10000-01-01"),
    "no such time": ("2020-01-01T25:00:00Z", "2020-01-01T00:61:00", "2020-01-01 00:00:99", "2020-01-01T00:00:00+99:00"),
    "no date": ("yesterday", "20-01-2020", "2020/01/01", "2020-1", "Q1 2020", "2020-01-01-01", "01.01.2020", "now"),
    "digits": (DIGITS, "9" * 20, "-1", "1.5e9", "1:30", "0x7E4"),
    "no text": ("true", "[2020-01-01]", "{a: 2020-01-01}", ".inf", ".nan", "~x"),
    "strange letters": ("２０２０-０１-０１x", "2020‐01‐01", "2020-01-01​", '"2020-01-01\\0"', '"2020-01-01\\n"'),
}


@choices("date", "boundary", share=2)
def dates() -> Mapping[str, Make]:
    return {name.replace(" ", "-"): partial(_date, tuple(values)) for name, values in _PARTS.items()}


def _date(values: tuple[str, ...], random: Random, place: Place) -> Wrong:
    value = random.choice(values)
    if not value.startswith(('"', "[", "{")) and random.random() < 0.3:
        value = json.dumps(value, ensure_ascii=False)
    key = random.choice(("source.start", "source.end"))
    words, told = loading(random, place.job({key: value}))
    return Wrong(words, f"{_short(value)} is not a date", told)


_BOXES = {
    "not-a-number": ("[.nan, 0, 1, 1]", "[0, .nan, 1, 1]", "[0, 0, 1, .nan]"),
    "infinite": ("[-.inf, -90, .inf, 90]", "[0, 0, 1, .inf]", "[0, -1e400, 1, 1]"),
    "out of range": ("[-181, 0, 1, 1]", "[0, -91, 1, 1]", f"[0, 0, 1, {HUGE}]", "[0, 0, 1, 90.0000001]"),
    "empty": ("[0, 1, 1, 1]", "[0, 1, 1, 0]", "[1, 0, 1, 1]", "[]"),
    "not four": ("[0, 0, 1]", "[0, 0, 1, 1, 1]", "[[0, 0], [1, 1]]", "0", "{west: 0}", '"0,0,1,1"'),
    "no numbers": ("[a, b, c, d]", "[0, 0, true, 1]", "[null, 0, 1, 1]", "[0, 0, [1], 1]", "[0, 0, 1:30, 2]"),
}


@choices("bbox", "boundary")
def boxes() -> Mapping[str, Make]:
    return {name.replace(" ", "-"): partial(_box, values) for name, values in _BOXES.items()}


def _box(values: tuple[str, ...], random: Random, place: Place) -> Wrong:
    value = random.choice(values)
    within = {"region.bbox": None, "region.sample": f"{{count: 4, within: {{bbox: {value}}}}}"}
    words, told = loading(random, place.job(random.choice(({"region.bbox": value}, within))))
    return Wrong(words, f"{_short(value)} is no box", told)


_TRANSFORMS = {
    "not-a-number": (".nan, 0, 0, 0, -30, 0", "30, 0, .nan, 0, -30, 0", "30, 0, 0, 0, -30, .nan",
        "30, .nan, 0, 0, -30, 0"),
    "infinite": (".inf, 0, 0, 0, -30, 0", "30, 0, .inf, 0, -30, 0", "30, 0, 0, 0, -.inf, 0"),
    "flat": ("0, 0, 0, 0, -30, 0", "30, 0, 0, 0, 0, 0", "-30, 0, 0, 0, -30, 0", "30, 0, 0, 0, 30, 0"),
    "sheared": ("30, 1, 0, 0, -30, 0", "30, 0, 0, 1, -30, 0"),
    "not six": ("30", "30, 0, 0, 0, -30", "30, 0, 0, 0, -30, 0, 0", ""),
    "no numbers": ("a, b, c, d, e, f", "30, 0, null, 0, -30, 0", "30, 0, {}, 0, -30, 0", f"30, 0, {HUGE}, 0, -30, 0"),
    "far too fine": ("1.0e-300, 0, 0, 0, -1.0e-300, 0", "1.0e-9, 0, 0, 0, -1.0e-9, 0",
        "5.0e-324, 0, 0, 0, -5.0e-324, 0"),
    "out of this world": ("30, 0, 1.0e+300, 0, -30, 0", "30, 0, 0, 0, -30, -1.0e+200",
        "1.0e+300, 0, 0, 0, -1.0e+300, 0"),
}  # fmt: skip


@choices("transform", "boundary")
def transforms() -> Mapping[str, Make]:
    return {name.replace(" ", "-"): partial(_transform, values) for name, values in _TRANSFORMS.items()}


def _transform(values: tuple[str, ...], random: Random, place: Place) -> Wrong:
    value = random.choice(values)
    job = place.job({"grid.scale": None, "grid.transform": f"[{value}]"})
    return Wrong(planning(random, job), f"[{_short(value)}] makes no lattice that floats can count")


_SCALES = {
    "too fine": ("1.0e-6", "1.0e-9", "0.000001"),
    "vanishing": ("1.0e-300", "5.0e-324", "1.0e-100"),
    "infinite": (".inf", "1.0e+400", "+.inf"),
    "not a number": (".nan", '"30 m"', "30m", "30,5"),
    "larger than the Earth": ("1.0e+300", "1.0e+20", "1.0e+10"),
}


@choices("scale", "boundary", share=2)
def scales() -> Mapping[str, Make]:
    return {name.replace(" ", "-"): partial(_scale, values) for name, values in _SCALES.items()}


def _scale(values: tuple[str, ...], random: Random, place: Place) -> Wrong:
    value, tile = random.choice(values), random.choice(("1", "16", "256"))
    key = random.choice(("scale", "resolution"))
    job = place.job({"grid.scale": None, f"grid.{key}": value, "grid.tile": tile})
    return Wrong(planning(random, job), f"{key}: {value} makes no lattice, or more tiles than can be counted")


_CRS = {
    "unknown": ("EPSG:999999", "EPSG:0", "EPSG:-1", "EPSG:word", "EPSG:99999999999999999999", "ESRI:1", "XY:1",
        "EPSG:"),
    "geocentric": ("EPSG:4978", "EPSG:4936", "EPSG:7656"),
    "vertical": ("EPSG:5773", "EPSG:3855", "EPSG:5701"),
    "empty": ("", " ", "\n", "\0", "EPSG:32613\0", "EPSG:32613\n"),
    "a file": ("/etc/passwd", "/dev/zero", "canary.prj", "./job.yaml", "file:///etc/passwd", "/vsizip/a.zip",
        "/vsistdin/"),
    "an address": ("http://127.0.0.1:9/x", "https://127.0.0.1:9/x", "/vsicurl/http://127.0.0.1:9/x",
        "ESRI::http://127.0.0.1:9"),
    "a file within": ("+proj=longlat +nadgrids=/dev/zero", "+proj=longlat +geoidgrids=/etc/passwd",
        "+init=/etc/passwd:1"),
    "nonsense": ("GEOGCS[", 'PROJCS["a"]', "{}", '{"type": "GeographicCRS"}', "+proj=nothing", "+proj", "null", "🌍",
        "x" * 9999),
    "long": ("GEOGCS[" * 20_000, "[" * 100_000, "+" * 1_000_000, 'GEOGCS["' + "a" * 1_000_000 + '"'),
}  # fmt: skip


@choices("crs", "boundary", share=2)
def systems() -> Mapping[str, Make]:
    return {name.replace(" ", "-"): partial(_crs, values) for name, values in _CRS.items()}


def _crs(values: tuple[str, ...], random: Random, place: Place) -> Wrong:
    value = random.choice(values)
    place.write("canary.prj", 'GEOGCS["WGS 84",DATUM["D",SPHEROID["S",6378137,298]],UNIT["degree",0.0174532925]]')
    changes: dict[str, str | None] = {"grid.crs": json.dumps(value)}
    return Wrong(planning(random, place.job(changes)), f"{_short(value)!r} names no CRS of the Earth's surface")
