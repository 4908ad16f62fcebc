"""YAML by the 1.2 core schema, against its specification's own table, and bounded before it is built."""

from __future__ import annotations

import tracemalloc

import pytest
import yaml

from ee_spark.core_yaml import loads
from ee_spark.errors import JobError

# https://yaml.org/spec/1.2.2/#1032-tag-resolution, and what YAML 1.1 made of it
SCALARS = [
    ("null", None), ("~", None), ("", None), ("Null", None), ("true", True), ("FALSE", False), ("0", 0), ("-19", -19),
    ("+7", 7), ("0o7", 7), ("0o17", 15), ("0x3A", 58), ("017", 17), ("0.", 0.0), ("-0.0", -0.0), (".5", 0.5),
    ("+12e03", 12_000.0), ("-2E+05", -200_000.0), ("1e3", 1000.0), ("1e-6", 1e-6), (".inf", float("inf")),
    ("-.Inf", float("-inf")), ("1:30", "1:30"), ("190:20:30.15", "190:20:30.15"), ("1_000", "1_000"), ("yes", "yes"),
    ("No", "No"), ("on", "on"), ("off", "off"), ("y", "y"), ("2020-01-01", "2020-01-01"),
    ("2020-02-30", "2020-02-30"), ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"), ("0b11", "0b11"),
    ("1.2.3", "1.2.3"), ("e3", "e3"), (".", "."), ("=", "="), ("'7'", "7"), ('"true"', "true"),
    ("!!str 7", "7"), ("!!int '0x1F'", 31), ("!!float 3", 3.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=lambda one: str(one)[:12])
def test_a_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    found = loads(f"key: {text}", "job.yaml")["key"]
    assert (found, type(found)) == (value, type(value))


def test_what_is_written_is_read_again() -> None:
    job = {"a": [1, 2.5, "x", None, True], "b": {"c": "1:30", "f": "yes", "g": "null"}}
    assert loads(yaml.safe_dump(job), "job.yaml") == job


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_read_right(encoding: str) -> None:
    assert loads("name: Zürich\n".encode(encoding), "job.yaml") == {"name": "Zürich"}


def test_anchors_and_merge_keys_work() -> None:
    text = "base: &b {scale: 10, tile: 16}\ngrid: {<<: *b, scale: 30}\nlist: [*b, *b]\n"
    found = loads(text, "job.yaml")
    assert found["grid"] == {"scale": 30, "tile": 16}
    assert found["list"] == [{"scale": 10, "tile": 16}] * 2


LAUGHS = "a0: &a0 [lol]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 30))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}]}}\n" for k in range(1, 30))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "more than 50,000 values, with aliases written out"),
        (MERGES, "more than 50,000 values, with aliases written out"),
        ("a: &a [*a]\n", "'a' holds itself"),
        ("a: &a {b: {c: *a}}\n", "'a' holds itself"),
        ("[" * 1000, "more than 40 levels"),
        ("{a: " * 1000, "more than 40 levels"),
        ("- " * 1000 + "a", "more than 40 levels"),
        ("a: 1\na: 2\n", "in line 2: key 'a' stands twice"),
        ("a: !!python/object/apply:os.system [ls]\n", "in line 1"),
        ("a: !!timestamp 2020-02-30\n", "day is out of range"),
        ("a: !!int yes\n", "not YAML"),
        ("a: " + "9" * 5000 + "\n", "a number of more than 4,300 digits"),
        ("a: 1\n\tb: 2\n", "in line 2"),
        ("? [a]\n: 1\n", "unhashable"),
        ("a: *b\n", "undefined alias 'b'"),
        ("a: 1\n---\nb: 2\n", "but found another document"),
        ("a: \x00\n", "unacceptable character"),
        (b"a: \xff\n", "invalid start byte"),
        ("a: 1\n".encode("utf-16-le"), "not YAML"),
        ("a: 1\n".encode("utf-32"), "not YAML"),
    ],
    ids=range(20),
)
def test_what_is_no_job_file_is_one_short_line(text: str | bytes, said: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(JobError) as caught:
            loads(text, "job.yaml")
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert said in str(caught.value)
    assert str(caught.value).startswith("job.yaml: not YAML")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
