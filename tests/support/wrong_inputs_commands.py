"""What the commands themselves are told wrong: outputs, run ids, the emulator's catalog, a submission's places."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from wrong_inputs_keys import DIGITS
from wrong_inputs_place import JOB, Make, Place, Wrong, choices, kind, planning, submit


def _outputs(place: Place) -> Mapping[str, tuple[str, str]]:
    place.write("plain.txt", "x")
    os.mkfifo(place.work / "pipe")
    (place.work / "loop").symlink_to("loop")
    return {
        "file": ("plain.txt", "is a file"),
        "below-a-file": ("plain.txt/out", "lies below a file"),
        "null": ("/dev/null", "is a device"),
        "below-null": ("/dev/null/out", "lies below a device"),
        "empty": ("", "is empty"),
        "blank": (" ", "is blank"),
        "home": ("~", "is a name that only a shell knows"),
        "below-home": ("~/out", "is a name that only a shell knows"),
        "user": ("~root/out", "is a name that only a shell knows"),
        "variable": ("$HOME/out", "is a name that only a shell knows"),
        "braces": ("${HOME}/out", "is a name that only a shell knows"),
        "host": ("file://host/x", "lies on another host"),
        "file-url": ("file://", "names nothing"),
        "relative-url": ("file:x", "is no file URL"),
        "nul": ("a\0b", "has a NUL"),
        "control": ("out\n", "has a line end"),
        "escape": ("out\x1b[31m", "has a control character"),
        "pipe": ("pipe", "is a pipe"),
        "loop": ("loop", "is a link to itself"),
        "long": ("x" * 5_000, "is too long"),
        "long-name": ("x" * 300, "has a name that is too long"),
        "bucket": ("gs://", "names no bucket"),
        "no-bucket": ("gs:///x", "names no bucket"),
        "s3": ("s3://", "names no bucket"),
        "bucket-name": ("gs://A B/x", "is no name of a bucket"),
        "query": ("gs://bucket/x?y=1#z", "has a query"),
        "scheme": ("ftp://host/out", "is of no known scheme"),
        "http": ("https://host/out", "is of no known scheme"),
        "proc": ("/proc/nowhere/out", "cannot be written"),
        "root": ("/", "is the root of the file system"),
        "brackets": ("http://[::1/x", "is no URL"),
        "bidi": ("out\u202etxt", "has a character that turns the text"),
    }


OUTPUTS = (
    "file", "below-a-file", "null", "below-null", "empty", "blank", "home", "below-home", "user", "variable",
    "braces", "host", "file-url", "nul", "control", "escape", "pipe",
    "loop", "long", "long-name", "bucket", "no-bucket", "s3", "bucket-name", "scheme", "http", "proc", "brackets",
)  # fmt: skip


@choices("output", "files")
def outputs() -> Mapping[str, Make]:
    return {name: partial(_output, name) for name in OUTPUTS}


def _output(name: str, random: Random, place: Place) -> Wrong:
    path, why = _outputs(place)[name]
    job = place.job({"output.path": json.dumps(path)})
    return Wrong(planning(random, job), f"the output {path[:30]!r} {why}")


RUN_IDS = (
    "", ".", "..", "../x", "../../../x", "a/b", "/etc/x", "a\\b", "a\0b", "a\nb", "a b", "x" * 300, "~", "$HOME",
    ".hidden", "-x", "--json", "a:b", "ä", "🌍", "a%2fb", "*", "a\x1b[31m", "con/",
    "x/../../canary/x",
)  # fmt: skip


@kind("run-id", "files", share=5)
def run_id(random: Random, place: Place) -> Wrong:
    name = random.choice(RUN_IDS)
    face = random.choice((["ee-spark", "extract"], ["jobs/extract.py"]))
    return Wrong([*face, "--config", place.job(), f"--run-id={name}"], f"{name[:30]!r} is no name of a run")


METRICS = (
    "",
    ".",
    "nowhere/m.txt",
    "/dev/null/x",
    "plain.txt/x",
    "gs://",
    "ftp://host/x",
    "a\0b",
    "x" * 5_000,
    "http://[::1/x",
    "/proc/nowhere/m",
    "/",
)


@kind("metrics", "boundary", share=2)
def metrics(random: Random, place: Place) -> Wrong:
    place.write("plain.txt", "x")
    name = random.choice(METRICS)
    return Wrong(
        ["ee-spark", "extract", "--config", place.job(), f"--metrics={name}"],
        f"metrics cannot be written to {name[:30]!r}",
    )


@kind("plot", "boundary", share=2)
def plot(random: Random, place: Place) -> Wrong:
    place.write("plain.txt", "x")
    name = random.choice([name for name in METRICS if name not in ("", "gs://", "ftp://host/x")] + ["gs:///x.png"])
    return Wrong(
        ["ee-spark", "plan", "--config", place.job(), f"--plot={name}"], f"a picture cannot be written to {name[:30]!r}"
    )


ENDPOINTS = (
    "", "highvolume", "High-Volume", "ftp://host", "file:///etc/passwd", "http://", "https://", "http:///x",
    "http://host/path", "http://host?x=1", "http://host#x", "http://user@host",
    "http://a:b@host", "https://evil.example\\.googleapis.com", "https://evil.example%2f.googleapis.com",
    "http://host:99999", "http://host:port", "http://host:-1", "http://[::1", "http://a b",
    "http://a\nb", "http://a\tb", "http://a\0b", "http://\u2100.example", "http://host:80:80", "//host", "http:host",
    "http//host", "javascript:alert(1)", " http://127.0.0.1:9", "http://127.0.0.1:9 ",
    "http://127.0.0.1:9\n", "http://①②.example", "x" * 5_000,
)  # fmt: skip


@kind("endpoint", "wires", share=5)
def endpoint(random: Random, place: Place) -> Wrong:
    value = random.choice(ENDPOINTS)
    key = random.choice(
        ("earth_engine.endpoint", "earth_engine.endpoint", "storage.gs_endpoint", "storage.s3_endpoint")
    )
    if key != "earth_engine.endpoint" and value in ("http://host/path", "http://user@host", "http://a:b@host", ""):
        value = "ftp://host"
    job = place.job({key: json.dumps(value)})
    return Wrong(planning(random, job), f"{value[:40]!r} is no address of a service")


def _asset(**changes: Any) -> dict[str, Any]:
    return {
        "id": "A/B",
        "updateTime": "2024-01-01T00:00:00Z",
        "bands": [{"id": "x", "file": "x.tif", "index": 1}],
        **changes,
    }


CATALOGS: dict[str, Callable[[Random], str | bytes | None]] = {
    "missing": lambda random: None,
    "top": lambda random: random.choice(("", "[]", "7", "null", '"x"', "{", "NaN", "{}{}")),
    "assets": lambda random: json.dumps({"assets": random.choice((None, 7, "x", {}, [7], [None], [[]], [{}]))}),
    "nested": lambda random: '{"assets": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "digits": lambda random: '{"assets": [' + DIGITS + "]}",
    "bytes": lambda random: random.choice((b"\xff\xfe", b"\x80{}", b"\x1f\x8b\x08")),
    "id": lambda random: json.dumps({"assets": [_asset(id=random.choice((None, 7, [], {}, "")))]}),
    "bands": lambda random: json.dumps(
        {"assets": [_asset(bands=random.choice((None, 7, "x", [7], [{}], [{"id": "x"}], [[]])))]}
    ),
    "time": lambda random: json.dumps(
        {"assets": [_asset(startTime=random.choice((7, "yesterday", [], "2020-02-30T00:00:00Z")))]}
    ),
    "no-file": lambda random: json.dumps({"assets": [_asset()]}),
    "update": lambda random: json.dumps({"assets": [_asset(updateTime=random.choice((7, "never", [], None)))]}),
}


@choices("emulator-catalog", "emulator")
def catalogs() -> Mapping[str, Make]:
    return {name: partial(_catalog, name) for name in CATALOGS}


def _catalog(name: str, random: Random, place: Place) -> Wrong:
    data = CATALOGS[name](random)
    (place.work / "catalog").mkdir()
    if data is not None:
        place.write("catalog/catalog.json", data)
    return Wrong(["ee-spark", "emulator", "--catalog", "catalog"], f"the catalog's {name} are none")


FAULTS = (
    "x",
    "500",
    "500:",
    ":0.5",
    "500:2",
    "500:-1",
    "500:x",
    "500:nan",
    "500:inf",
    "404:0.5",
    "500:0.5,",
    "oom-above:x",
    "daily-after:-1",
    "500:0.5;503:0.5",
    "\0",
    DIGITS,
    "slow:1e400",
)


@kind("emulator", "emulator", share=4)
def emulator(random: Random, place: Place) -> Wrong:
    place.write("plain.txt", "x")
    words = random.choice(
        (
            ["--faults", random.choice(FAULTS)],
            ["--catalog", random.choice(("nowhere", "plain.txt", "/dev/null", "", "a\0b", "x" * 5_000, "/dev/zero"))],
            ["--port", str(_taken())],
            ["--latency-ms", random.choice(("nan", "inf"))],
            ["--jitter", "nan"],
        )
    )
    return Wrong(["ee-spark", "emulator", *words], f"no emulator can be started with {' '.join(words)[:40]!r}")


_listening: list[socket.socket] = []


def _taken() -> int:
    if not _listening:
        _listening.append(socket.create_server(("127.0.0.1", 0)))
    return int(_listening[0].getsockname()[1])


SUBMISSIONS: tuple[tuple[str, list[str]], ...] = (
    ("that is no label", ["--label", "novalue"]),
    ("that is no label", ["--label", "=x"]),
    ("that is no property", ["--property", "novalue"]),
    ("that is no file", ["--package=nowhere.zip"]),
    ("that is no file", ["--main=/dev/zero"]),
    ("that is no file", ["--main=nowhere.py"]),
    ("that is no file", ["--archive=nowhere.tar.gz"]),
    ("that is no path of a bucket", ["--staging=staging"]),
    ("that is no path of a bucket", ["--staging="]),
    ("that is no time", ["--ttl=forever"]),
    ("that is no time", ["--ttl=-1h"]),
    ("that is no command", ["--command=rm -rf"]),
    ("that is no name of a run", ["--run-id=../x"]),
    ("that is no level", ["--log-level=shouting"]),
)


@kind("submit", "boundary", share=4)
def submission(random: Random, place: Place) -> Wrong:
    why, more = random.choice(SUBMISSIONS)
    job = place.job({"output.path": '"gs://bucket/out"', "earth_engine.endpoint": '"http://10.0.0.1:8080"'})
    return Wrong([*submit(), "--config", job, *more], why)


@kind("doctor", "boundary", share=2)
def doctor(random: Random, place: Place) -> Wrong:
    name = random.choice(
        [name for name in JOB if name not in ("grid.tile", "source.bands", "source.start", "source.end", "region.bbox")]
    )
    words = random.choice((["--config", place.job({name: None})], ["--config", "nowhere.yaml"], ["--config", "."]))
    return Wrong(["ee-spark", "doctor", *words], "the job is none", told_on_stdout=True)
