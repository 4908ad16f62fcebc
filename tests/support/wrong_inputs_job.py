"""Job files that are none: what is no YAML, or no job, whatever its values; and what ``--set`` can get wrong."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from wrong_inputs_keys import DIGITS, HUGE
from wrong_inputs_place import JOB, Make, Place, Wrong, choices, kind, loading, submit

WRONG_END = "no_such_key: 1\n"
"""Makes a job wrong whatever a limit says of the rest."""
SYNTAX = (
    "a: [1",
    "a: {b",
    'a: "b',
    "a: b: c",
    "\ta: 1",
    "a: *nowhere",
    "a: &",
    "%YAML 9.9\n---\na: 1",
    "a: !<",
    "@a: 1",
    "`a`",
)
TAGS = (
    "!!python/object/apply:os.system [touch pwned]",
    "!!python/name:os.system",
    "!!python/object/new:subprocess.Popen [[touch, pwned]]",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "!!timestamp 2020-99-99",
    "!!int twelve",
    "!!float [1]",
    "!!bool maybe",
    "!local x",
    "!!omap [a: 1]",
)  # fmt: skip
BYTES = (b"\xff\xfe", b"\x00", b"\x80\x81", b"\x1b[31m", b"\xed\xa0\x80", b"\x7f\x07", b"\xc3\x28", b"\xef\xbf\xbf")


@choices("yaml", "boundary", share=2)
def yaml() -> Mapping[str, Make]:
    return {
        "syntax": partial(_appended, lambda random: random.choice(SYNTAX), "is no YAML"),
        "tag": partial(
            _appended, lambda random: f"retry: {random.choice(TAGS)}", "has a tag or value that no key takes"
        ),
        "nested": partial(_appended, _nested, "nests too deep for any job"),
        "recursive": partial(_appended, _recursive, "holds itself"),
        "laughs": partial(_appended, _laughs, "unfolds into millions of values"),
        "quadratic": partial(_appended, _quadratic, "repeats a long text by reference thousands of times"),
        "duplicate": partial(
            _appended, lambda random: f"{random.choice(['name', 'grid', 'output'])}: 1", "has a key twice"
        ),
        "huge-number": partial(
            _appended, lambda random: f"retry: {random.choice([DIGITS, HUGE, '-' + DIGITS])}", "is no section"
        ),
        "bytes": _bytes,
        "truncated": _truncated,
        "top": _top,
        "unknown-key": _unknown,
        "key-type": partial(_appended, lambda random: random.choice(_KEYS), "has a key that is no name"),
        "large": _large,
        "utf-16": _utf16,
        "half-merge": partial(_appended, lambda random: random.choice(_MERGES), "merges what is no mapping"),
    }


_KEYS = (
    "1: 2",
    "true: 1",
    "null: 1",
    "[a, b]: 1",
    "{a: b}: 1",
    "? {a: {b: c}}\n: 1",
    "2020-01-01: 1",
    ".nan: 1",
    '"\\0": 1',
    '"": 1',
)
_MERGES = ("<<: 7", "<<: [1, 2]", "<<: &a {<<: *a}", "retry: {<<: [{}, 7]}", "retry:\n  <<: *nowhere")


def _appended(make: Callable[[Random], str], why: str, random: Random, place: Place) -> Wrong:
    job = place.write("job.yaml", place.text() + make(random) + "\n" + (WRONG_END if "nests" in why else ""))
    words, told = loading(random, job)
    return Wrong(words, f"the job file {why}", told)


def _nested(random: Random) -> str:
    depth = random.choice((200, 1_000, 10_000, 100_000))
    opening, closing = random.choice((("[", "]"), ("{a: ", "}")))
    return f"retry: {opening * depth}1{closing * depth if random.random() < 0.7 else ''}"


def _recursive(random: Random) -> str:
    return random.choice(
        (
            "retry: &a {attempts: *a}",
            "pixels: &a [*a]",
            "pixels: &a {dtype: {x: *a}}",
            "retry: &a\n  max_failed: [*a, *a]",
            "storage: &a {s3_region: {x: &b [*a, *b]}}",
        )
    )


def _laughs(random: Random) -> str:
    levels, wide = random.choice(((8, 10), (20, 4), (30, 10), (60, 2)))
    lines = ["pixels:", "  dtype: &l0 {red: uint8}"]
    lines += [f"  x{n}: &l{n} [{', '.join([f'*l{n - 1}'] * wide)}]" for n in range(1, levels + 1)]
    return "\n".join(lines)


def _quadratic(random: Random) -> str:
    return f"pixels: {{x: &a {'a' * 50_000}, y: [{', '.join(['*a'] * random.choice((2_000, 20_000)))}]}}"


def _bytes(random: Random, place: Place) -> Wrong:
    text = place.text().encode()
    at = random.randrange(len(text))
    words, told = loading(
        random, place.write("job.yaml", text[:at] + random.choice(BYTES) + text[at:] + b"\nretry: \x00\n")
    )
    return Wrong(words, "the job file has bytes that are no text", told)


def _truncated(random: Random, place: Place) -> Wrong:
    text = place.text({"output.path": None})  # whatever is left, no output is named
    words, told = loading(random, place.write("job.yaml", text[: random.randrange(len(text))]))
    return Wrong(words, "the job file ends before it names its output", told)


def _top(random: Random, place: Place) -> Wrong:
    value = random.choice(
        ("", "[]", "7", "null", "text", "---\n---\n", "a: 1\n---\nb: 2", "{}", "# nothing", "- a: 1", ".nan", DIGITS)
    )
    words, told = loading(random, place.write("job.yaml", value))
    return Wrong(words, "the job file is no job", told)


def _unknown(random: Random, place: Place) -> Wrong:
    key = random.choice([*JOB, "retry.attempts", "pixels.mask", "storage.s3_region"])
    section, _, name = key.rpartition(".")
    at = random.randrange(len(name))
    typed = random.choice(
        (name[:at] + name[at + 1 :] + "q", name + "ё", f"__{name}__", "x" * 5_000, name.upper() + "S", f'"{name}\\t"')
    )
    words, told = loading(random, place.job({f"{section}.{typed}" if section else typed: "1"}))
    return Wrong(words, f"{typed[:40]} is no key", told)


def _large(random: Random, place: Place) -> Wrong:
    filler = random.choice((f"# {'x' * 78}\n", "  \n", f"retry: {{a: {'[],' * 20}}}\n"))
    size = random.choice((3, 30)) << 20
    job = place.write("job.yaml", place.text() + filler * (size // len(filler)) + WRONG_END)
    words, told = loading(random, job)
    return Wrong(words, "the job file is of many megabytes, and has an unknown key", told)


def _utf16(random: Random, place: Place) -> Wrong:
    text = place.text() + WRONG_END
    data = random.choice(
        (text.encode("utf-16"), text.encode("utf-16-le"), text.encode("utf-32"), b"\xef\xbb\xbf" * 2 + text.encode())
    )
    words, told = loading(random, place.write("job.yaml", data))
    return Wrong(words, "the job file is in another encoding, and has an unknown key", told)


SETTINGS = (
    "", "=", "=7", "name", "grid", ".=1", "a..b=1", "grid.=1", ".grid=1", "name.x=1", "grid.scale.x=1", "grid.crs=[",
    "grid.scale=.nan",
    "nonsense=1", "grid.scal=30", "output.path=", "output.path=7", "region.bbox=[1,2,3]", "grid.scale=1:30",
    "source.start=2020-02-30",
    'grid.crs="', "grid={}", "region={}", "source=null", "name=", "name=[]", "grid.scale=&a [*a]",
    "retry=!!python/name:os.system",
    "grid.tile=\t7", "name=a\nb", "grid.scale=" + DIGITS, "earth_engine.concurrent_requests=" + HUGE,
    "retry.attempts=" + "[" * 5_000,
    "x" * 100_000 + "=1", "a." * 3_000 + "b=1", "storage.x=1", "storage=7", "storage.s3_region.x=1",
    "storage.anonymous=perhaps", "ключ=1",
)  # fmt: skip


@kind("set", "boundary", share=20)
def setting(random: Random, place: Place) -> Wrong:
    value = random.choice(SETTINGS)
    words, told = loading(random, place.job(), "--set", value)
    if words[0] == "ee-spark" and "doctor" in words and random.random() < 0.5:
        words, told = ["ee-spark", "plan", "--config", "job.yaml", "--set", value], False
    return Wrong(words, f"--set {value[:40]!r} sets no key to a value that it can have", told)


def _directory(place: Place) -> str:
    (place.work / "folder").mkdir()
    return "folder"


def _fifo(place: Place) -> str:
    os.mkfifo(place.work / "pipe")
    return "pipe"


def _socket(place: Place) -> str:
    here = os.getcwd()
    os.chdir(place.work)  # a socket's name has at most 107 characters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket")
    finally:
        os.chdir(here)
    return "socket"


def _loop(place: Place) -> str:
    (place.work / "loop").symlink_to("loop")
    return "loop"


def _below_a_file(place: Place) -> str:
    return f"{place.write('plain.txt', 'x')}/below"


PATHS: dict[str, Callable[[Place], str]] = {
    "missing": lambda place: "nowhere/none",
    "directory": _directory,
    "zero": lambda place: "/dev/zero",
    "urandom": lambda place: "/dev/urandom",
    "null": lambda place: "/dev/null",
    "full": lambda place: "/dev/full",
    "fifo": _fifo,
    "socket": _socket,
    "loop": _loop,
    "below-a-file": _below_a_file,
    "mem": lambda place: "/proc/self/mem",
    "long": lambda place: "x" * 5_000,
    "deep": lambda place: "a/" * 2_000 + "b",
    "no-bucket": lambda place: "gs:///name",
    "scheme": lambda place: "ftp://host/file",
    "host": lambda place: "file://host/etc/passwd",
    "home": lambda place: "~/none",
    "variable": lambda place: "$HOME/none",
    "empty": lambda place: "",
    "dot": lambda place: ".",
    "control": lambda place: "a\x1b[31m\rb",
    "surrogate": lambda place: "a\udc80b",
    "brackets": lambda place: "http://[::1/x",
    "nul": lambda place: "a\0b",
}
"""Paths of inputs that are no readable file, whatever key names them."""
ENDLESS = {"zero", "urandom", "fifo", "mem", "full"}
KEYS = {
    "region.geojson": (".geojson", ""),
    "region.points": (".csv", ".parquet", ".geojson", ""),
    "source.expression": (".json", ""),
    "source.map": (".py:f",),
    "source.image": (".py:f",),
}


@choices("path", "boundary", share=2)
def paths() -> Mapping[str, Make]:
    return {name: partial(_path, name) for name in PATHS}


def _path(name: str, random: Random, place: Place) -> Wrong:
    path = PATHS[name](place)
    key = random.choice([*KEYS, "--config"])
    if key == "--config" and "\0" not in path:
        words, told = loading(random, path)
        return Wrong(words, f"{path[:40]!r} is no job file", told)
    key = random.choice(list(KEYS)) if key == "--config" else key
    ending = "" if name in ENDLESS or name in ("directory", "loop", "socket") else random.choice(KEYS[key])
    if key.startswith("source."):
        ending = ".py:f" if key != "source.expression" else ending
        changes: dict[str, str | None] = {key: _yaml_text(path + ending)}
        if key != "source.map":
            changes |= dict.fromkeys(("source.collection", "source.start", "source.end"))
    else:
        changes = {"region.bbox": None, key: _yaml_text(path + ending)}
    job = place.job(changes)
    words = random.choice((["plan"], ["extract"], ["extract", "--dry-run"]))
    return Wrong(
        ["ee-spark", *words, "--config", job], f"{key} is {(path + ending)[:40]!r}, which is no file of that kind"
    )


def _yaml_text(text: str) -> str:
    """Return a text as YAML has it; a lone surrogate, which no file holds, as what stands for it."""
    return json.dumps(text.replace("\udc80", "\\x80"))


USAGE = (
    ["ee-spark", "nonsense"],
    ["ee-spark", "--nonsense"],
    ["ee-spark", "plan"],
    ["ee-spark", "extract", "--config"],
    ["ee-spark", "extract", "--config", "job.yaml", "--progress", "loud"],
    ["ee-spark", "extract", "--config", "job.yaml", "--log-level", "shouting"],
    ["ee-spark", "extract", "--config", "job.yaml", "extra"],
    ["ee-spark", "plan", "--config", "job.yaml", "--set"],
    ["ee-spark", "plan", "--config", "job.yaml", "--jsn"],
    ["ee-spark", "verify"],
    ["ee-spark", "verify", "--dataset", "out", "--refetch", "-1"],
    ["ee-spark", "verify", "--dataset", "out", "--refetch", "many"],
    ["ee-spark", "report", "--dataset", "out"],
    ["ee-spark", "export", "--dataset", "out", "--to", "npz"],
    ["ee-spark", "export", "--dataset", "out", "--to", "npz", "--out", "x", "--bbox", "1", "2", "3", "x"],
    ["ee-spark", "doctor", "--nonsense"],
    ["ee-spark", "emulator", "--port", "-1"],
    ["ee-spark", "emulator", "--port", "99999"],
    ["ee-spark", "emulator", "--quota", "many"],
    ["ee-spark", "emulator", "--jitter", "2"],
    ["ee-spark", "emulator", "--latency-ms", "-1"],
    ["ee-spark", "emulator", "--cache-mb", "0"],
    ["ee-spark", "emulator", "extra"],
    ["jobs/extract.py"],
    ["jobs/extract.py", "--config"],
    ["jobs/verify.py"],
    ["jobs/verify.py", "--dataset", "out", "--mend"],
    ["jobs/export.py", "--dataset", "out"],
    ["submit"],
    ["submit", "--config", "job.yaml"],
    [*submit(), "--nonsense"],
    [*submit(), "--config"],
)


@kind("usage", "boundary", share=8)
def usage(random: Random, place: Place) -> Wrong:
    place.job()
    words = list(random.choice(USAGE))
    return Wrong(words, "no such command, option or value of one")
