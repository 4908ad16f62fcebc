"""Records of a dataset that are none: what job.json, parts and footers must hold, and do not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from wrong_inputs_keys import DIGITS, HUGE
from wrong_inputs_place import Make, Place, Wrong, choices, kind

JOB_FILE = "_ee_spark/job.json"
NEEDED = (
    "name",
    "fingerprint",
    "identity",
    "frozen",
    "replaced",
    "frozen.bands",
    "frozen.method",
    "frozen.mask",
    "frozen.shape",
)
OTHERS: tuple[Any, ...] = (None, 7, "x", [], {}, True, [7], {"x": 1}, 1.5)


def reading(random: Random, place: Place, *more: str) -> list[str]:
    """Return a command that reads the dataset at ``out``."""
    return [
        *random.choice(
            (
                ["ee-spark", "report", "--dataset", "out", "--out", "page.html"],
                ["ee-spark", "report", "--dataset", "out", "--out", "picture.png"],
                [
                    "ee-spark",
                    "export",
                    "--dataset",
                    "out",
                    "--out",
                    "exported",
                    "--to",
                    random.choice(("npz", "tfrecord", "zarr", "cog", "geotiff")),
                ],
                ["jobs/export.py", "--dataset", "out", "--out", "exported", "--to", "npz"],
            )
        ),
        *more,
    ]


def resuming(random: Random, place: Place) -> list[str]:
    """Return a command that finds the dataset at ``out`` where it would write."""
    job = place.job()
    return random.choice(
        (
            ["ee-spark", "plan", "--config", job],
            ["ee-spark", "extract", "--config", job],
            ["jobs/extract.py", "--config", job],
        )
    )


def _any(random: Random, place: Place) -> list[str]:
    checking = random.choice((["ee-spark", "verify"], ["jobs/verify.py"], ["ee-spark", "verify", "--repair"]))
    return random.choice((reading(random, place), resuming(random, place), [*checking, "--dataset", "out"]))


@choices("job.json", "lives", share=2)
def manifests() -> Mapping[str, Make]:
    return {
        "no-json": partial(
            _replaced, lambda random, text: random.choice(("", "{", "nonsense", "\0" * 100, "[1, 2", text + "x", "'a'"))
        ),
        "no-mapping": partial(
            _replaced, lambda random, text: random.choice(("{}", "[]", "null", "7", '"x"', "NaN", "true", "[[]]"))
        ),
        "truncated": partial(_replaced, lambda random, text: text[: random.randrange(len(text) - 1)]),
        "nested": partial(_replaced, lambda random, text: "[" * 100_000 + "]" * 100_000),
        "digits": partial(
            _replaced,
            lambda random, text: (
                text.replace('"spec"', f'"x": {DIGITS}, "frozen": {DIGITS}, "spec"', 1)[:-1] + ', "frozen": 7}'
            ),
        ),
        "bytes": partial(
            _replaced,
            lambda random, text: random.choice((b"\xff\xfe\x00", b"\x80{}", b"\x1f\x8b", text.encode()[:-2] + b"\xe4")),
        ),
        "lacking": _lacking,
        "swapped": _swapped,
        "large": partial(_replaced, lambda random, text: '{"x": [' + "[]," * (8 << 20) + "7]}"),
        "other": _other,
    }


def _replaced(make: Callable[[Random, str], str | bytes], random: Random, place: Place) -> Wrong:
    path = place.dataset() / JOB_FILE
    made = make(random, path.read_text())
    path.write_bytes(made.encode() if isinstance(made, str) else made)
    return Wrong(_any(random, place), "job.json holds no job")


def _change(path: Path, key: str, value: Any = None, *, remove: bool = False) -> None:
    record = json.loads(path.read_text())
    *sections, last = key.split(".")
    at = record
    for section in sections:
        at = at[section]
    if remove:
        del at[last]
    else:
        at[last] = value
    path.write_text(json.dumps(record))


def _lacking(random: Random, place: Place) -> Wrong:
    key = random.choice(NEEDED)
    _change(place.dataset() / JOB_FILE, key, remove=True)
    return Wrong(_any(random, place), f"job.json has no {key}")


def _swapped(random: Random, place: Place) -> Wrong:
    key = random.choice([name for name in NEEDED if name != "name"])
    path = place.dataset() / JOB_FILE
    at: Any = json.loads(path.read_text())
    for step in key.split("."):
        at = at[step]
    value = random.choice([other for other in OTHERS if type(other) is not type(at)])
    _change(path, key, value)
    return Wrong(_any(random, place), f"{key} of job.json is {value!r}")


def _other(random: Random, place: Place) -> Wrong:
    _change(place.dataset() / JOB_FILE, "fingerprint", "0" * 64)
    return Wrong(resuming(random, place), "the dataset is another job's")


@choices("parts", "datasets", share=2)
def parts() -> Mapping[str, Make]:
    return {
        "garbage": partial(_part, lambda random, data: random.randbytes(len(data))),
        "empty": partial(_part, lambda random, data: b""),
        "truncated": partial(_part, lambda random, data: data[: random.randrange(len(data) - 1)]),
        "no-footer": partial(_part, lambda random, data: data[:-8] + random.randbytes(8)),
        "long-footer": partial(_part, lambda random, data: data[:-8] + b"\xff\xff\xff\x7fPAR1"),
        "encrypted": partial(_part, lambda random, data: data[:-4] + b"PARE"),
        "json": partial(_part, lambda random, data: b"{}" * 100),
    }


def _part(make: Callable[[Random, bytes], bytes], random: Random, place: Place) -> Wrong:
    """Damage what is read by report, and by export too: all parts of ``pixels``, or all of ``tiles``."""
    out = place.dataset()
    table = random.choice(("pixels", "tiles"))
    for path in sorted((out / table).glob("*.parquet")):
        path.write_bytes(make(random, path.read_bytes()))
    words = reading(random, place)
    if table == "tiles":
        words = ["ee-spark", "report", "--dataset", "out", "--out", random.choice(("page.html", "picture.png"))]
    return Wrong(words, f"the parts of {table} are no Parquet")


def _no_datasets(place: Place) -> Iterator[tuple[str, str]]:
    place.write("plain.txt", "x")
    os.mkfifo(place.work / "pipe")
    (place.work / "loop").symlink_to("loop")
    (place.work / "empty").mkdir()
    place.dataset("half")
    (place.work / "half" / JOB_FILE).unlink()
    yield "nowhere", "is not there"
    yield "plain.txt", "is a file"
    yield "plain.txt/x", "lies below a file"
    yield "pipe", "is a pipe"
    yield "loop", "is a link to itself"
    yield "empty", "is empty"
    yield "half", "has no job.json"
    yield "/dev/null", "is a device"
    yield "/dev/zero", "is a device"
    yield "", "is empty"
    yield "/proc/self/fd", "is no folder of ours"
    yield "gs://", "names no bucket"
    yield "s3:///x", "names no bucket"
    yield "ftp://host/x", "is of no known scheme"
    yield "file://host/x", "lies on another host"
    yield "x" * 5_000, "is too long"
    yield "a\0b", "has a NUL"
    yield "a\nb\x1b[31m", "has control characters"
    yield "http://[::1", "is no URL"
    yield "~/none", "is not there"


@kind("dataset-path", "files", share=12)
def no_dataset(random: Random, place: Place) -> Wrong:
    path, why = random.choice(list(_no_datasets(place)))
    words = random.choice(
        (
            ["ee-spark", "report", "--out", "page.html", "--dataset", path],
            ["ee-spark", "verify", "--dataset", path],
            ["ee-spark", "verify", "--repair", "--dataset", path],
            ["ee-spark", "verify", "--refetch", "3", "--dataset", path],
            ["ee-spark", "export", "--to", "npz", "--out", "exported", "--dataset", path],
            ["jobs/verify.py", "--dataset", path],
            ["jobs/export.py", "--to", "cog", "--out", "exported", "--dataset", path],
        )
    )
    return Wrong(words, f"the dataset {path[:30]!r} {why}")


REPORTS = (
    "page.txt", "page", "", ".", "..", "/", "nowhere/page.html", "plain.txt/page.html", "folder.html", "/dev/null",
    "/dev/full", "gs:///page.html", "ftp://host/page.html", "page.html/", "page.html\n", "page.svg",
)  # fmt: skip
NO_URLS = (
    "http://[::1/page.html", "file://host/x/page.html", "a\0b.html", "~/page.html", "$HOME/page.html",
    "gs://A b/p.html", "x" * 300 + ".html",
)  # fmt: skip


@kind("report-out", "datasets", share=6)
def report(random: Random, place: Place) -> Wrong:
    return _report(random.choice(REPORTS), place)


@kind("report-url", "files", share=3)
def report_url(random: Random, place: Place) -> Wrong:
    return _report(random.choice(NO_URLS), place)


def _report(out: str, place: Place) -> Wrong:
    place.dataset()
    place.write("plain.txt", "x")
    (place.work / "folder.html").mkdir()
    return Wrong(["ee-spark", "report", "--dataset", "out", "--out", out], f"{out[:30]!r} is no place for a page")


EXPORTS: tuple[tuple[str, list[str]], ...] = (
    ("there is no such format", ["--to", "shapefile"]),
    ("there is no such format", ["--to", ""]),
    ("there is no such format", ["--to", "npz\n"]),
    ("there is no such band", ["--bands", "none"]),
    ("there is no such band", ["--bands", ","]),
    ("there is no such band", ["--bands", "a\0b\x1b[31m"]),
    ("there is no such band", ["--bands", "x" * 100_000]),
    ("there is no such image", ["--images", "none"]),
    ("there is no such image", ["--images", "../../x"]),
    ("there is no such CRS", ["--crs", "EPSG:4326"]),
    ("there is no such CRS", ["--crs", "/dev/zero"]),
    ("that is not a date", ["--start", "2020-02-30"]),
    ("that is not a date", ["--start", "yesterday"]),
    ("that is not a date", ["--end", DIGITS]),
    ("nothing lies then", ["--start", "9999-12-31"]),
    ("nothing lies then", ["--end", "0001-01-01"]),
    ("nothing lies there", ["--bbox", "0", "0", "1", "1"]),
    ("that is no box", ["--bbox", "nan", "0", "1", "1"]),
    ("that is no box", ["--bbox", "inf", "0", "1", "1"]),
    ("those are no shares", ["--split", "80/x"]),
    ("those are no shares", ["--split", "0/0/0"]),
    ("those are no shares", ["--split", "-1/2"]),
    ("those are no shares", ["--split", "nan/1"]),
    ("those are no shares", ["--split", "inf/1"]),
    ("those are no shares", ["--split", "1/1/1/1"]),
    ("those are no shares", ["--split", "/" * 5_000]),
    ("those are no shares", ["--split", HUGE + "0/1"]),
    ("that is no cell", ["--split", "1/1", "--split-cell", "0"]),
    ("that is no cell", ["--split", "1/1", "--split-cell", "nan"]),
    ("that is no cell", ["--split", "1/1", "--split-cell", "1e-300"]),
    ("that is no cell", ["--split", "1/1", "--split-cell", "-1"]),
    ("a mosaic has no sets", ["--to", "cog", "--split", "1/1"]),
    ("the directory is taken", ["--out", "taken"]),
    ("that is a file", ["--out", "plain.txt"]),
    ("that lies below a file", ["--out", "plain.txt/x"]),
    ("that is a device", ["--out", "/dev/null"]),
    ("that is a device", ["--out", "/dev/null/x"]),
    ("that is no store", ["--out", "ftp://host/x"]),
    ("that is no store", ["--out", "gs://"]),
    ("that is no path", ["--out", ""]),
    ("that is no path", ["--out", "x" * 5_000]),
    ("nobody can write there", ["--out", "/proc/nowhere/x"]),
)


NO_PLACES = ("a\0b", "file://host/x", "http://[::1/x", "~/x", "$HOME/x", "gs://A b/x")


@kind("export", "datasets", share=16)
def export(random: Random, place: Place) -> Wrong:
    why, more = random.choice(EXPORTS)
    return _export(random, place, why, more)


@kind("export-url", "files", share=3)
def export_url(random: Random, place: Place) -> Wrong:
    return _export(random, place, "that is no place to write to", ["--out", random.choice(NO_PLACES)])


def _export(random: Random, place: Place, why: str, more: list[str]) -> Wrong:
    place.dataset()
    place.write("plain.txt", "x")
    place.write("taken/file", "x")
    given = {"--to": "npz", "--out": "exported"}
    words = [part for name, value in given.items() if name not in more for part in (name, value)]
    face = random.choice((["ee-spark", "export"], ["jobs/export.py"]))
    return Wrong([*face, "--dataset", "out", *words, *more], why)
