"""The Batch message: parsed strictly by Google's own client, its ids and its quota held to the rules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dataproc_service import dataproc_python
from hypothesis import assume, given
from hypothesis import strategies as st
from job_files import changed

from ee_spark import config
from ee_spark.dataproc import batch, gcloud
from ee_spark.errors import JobError
from ee_spark.job import JobConfig
from ee_spark.objects import read_input

GOOD = {"output.path": "gs://bucket/out", "earth_engine.project": "p", "earth_engine.endpoint": "high-volume"}
OPTIONS = batch.Options(
    project="p",
    region="us-central1",
    staging="gs://bucket/stage/",
    version="2.3",
    image="us-docker.pkg.dev/p/r/ee-spark:1",
    service_account="runner@p.iam.gserviceaccount.com",
    subnet="default",
    tags=("one", "two"),
    ttl="4h",
    history_server="projects/p/regions/us-central1/clusters/history",
    labels={"team": "green"},
    properties={"spark.x": "1,2"},
)
CODE = batch.Code("gs://bucket/main.py", "gs://bucket/ee_spark.zip")


def job(changes: dict[str, Any] | None = None, base: str = "/tmp") -> JobConfig:
    return config.parse(changed({**GOOD, **(changes or {})}), base=base)


def shipped(**more: Any) -> batch.Shipment:
    return batch.ship(job(), b"name: a-test", read_input, **more)


def strictly(message: dict[str, Any], kind: str = "Batch") -> dict[str, Any]:
    """Return a message as Google's client has it: an unknown field, or a value of a wrong kind, is an error there."""
    program = (
        "import json, sys; from google.cloud import dataproc_v1; kind = getattr(dataproc_v1, sys.argv[1]);"
        "print(kind.to_json(kind(json.load(sys.stdin), ignore_unknown_fields=False)))"
    )
    command = [str(dataproc_python()), "-c", program, kind]
    done = subprocess.run(command, input=json.dumps(message), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_message_is_a_batch() -> None:
    found = strictly(batch.message(job(), shipped(), CODE, OPTIONS))
    assert found["environmentConfig"]["executionConfig"]["ttl"] == "14400s"
    assert found["runtimeConfig"]["containerImage"] == OPTIONS.image
    assert found["pysparkBatch"]["pythonFileUris"] == [CODE.package]
    assert found["labels"] == {"app": "ee-spark", "job": "a-test", "team": "green"}
    folder, command, *rest = found["pysparkBatch"]["args"]
    assert (folder, command, rest[:2]) == (f"gs://bucket/stage/{shipped().stem}", "extract", ["--config", "job.yaml"])


def test_a_misspelt_field_is_none() -> None:
    with pytest.raises(AssertionError, match="ttls"):
        strictly({"environment_config": {"execution_config": {"ttls": "4h"}}})


def test_the_job_of_a_cluster_is_a_job() -> None:
    options = batch.Options(
        project="p", region="r", staging="gs://b", archive="gs://b/a.tar.gz", java_home="/usr/lib/j"
    )
    found = strictly(batch.cluster_job(job(), shipped(), CODE, options, "mine"), "Job")
    assert found["placement"]["clusterName"] == "mine"
    assert found["pysparkJob"]["archiveUris"] == ["gs://b/a.tar.gz#dependencies"]
    assert found["pysparkJob"]["properties"]["spark.executorEnv.PYTHONPATH"] == "dependencies"
    assert found["pysparkJob"]["properties"]["spark.yarn.appMasterEnv.JAVA_HOME"] == "/usr/lib/j"


@given(
    quota=st.integers(1, 2000),
    lanes=st.one_of(st.just("auto"), st.integers(1, 300)),
    tile=st.integers(1, 2300),
    part=st.integers(1, 2_000_000_000),
    bands=st.sampled_from([None, ["NDVI"], ["a", "b", "c", "d"]]),
)
def test_slots_hold_the_lanes_and_their_memory(quota: int, lanes: Any, tile: int, part: int, bands: Any) -> None:
    """Independent of the builder: the rules that Serverless and the design state, on what it chose."""
    changes = {"earth_engine.concurrent_requests": quota, "earth_engine.lanes": lanes, "grid.tile": tile}
    mine = job({**changes, "output.part_size": part, "source.bands": bands})
    most = max(1, min(quota // 8, lanes if isinstance(lanes, int) else quota))
    threads = -(-quota // most)
    if 300e6 + 2 * threads * 50_331_648 + 3 * part > 27_000 * 2**20:
        assume(bands is None)
        with pytest.raises(JobError, match="part_size"):
            batch.properties(mine)
        return
    found = batch.properties(mine)
    cores, cpus = int(found["spark.executor.cores"]), int(found["spark.task.cpus"])
    executors, wanted = int(found["spark.executor.instances"]), most
    assert executors * (cores // cpus) >= wanted, "every lane has a slot"
    assert executors == 2 or (executors - 1) * (cores // cpus) < wanted, "and no executor idles"
    assert found["spark.dynamicAllocation.maxExecutors"] == str(executors)
    assert (cores, executors >= 2, found["spark.speculation"]) == (4, True, "false")
    heap, overhead = (int(found[f"spark.executor.{key}"].rstrip("m")) for key in ("memory", "memoryOverhead"))
    assert 1024 <= (heap + overhead) / cores <= 7424
    request = min(50_331_648, max(10**6, tile * tile * 9 * len(bands))) if bands else 50_331_648
    held = 300e6 + 2 * threads * request + 3 * part
    assert overhead * 2**20 >= min(cores // cpus, wanted) * held


def test_lanes_too_large_are_refused_with_the_way_out() -> None:
    with pytest.raises(JobError, match=r"part_size or grid.tile"):
        batch.properties(job({"output.part_size": "10GB"}))


def test_the_id_follows_from_what_is_asked() -> None:
    first = shipped(date="2026-01-02")
    assert re.fullmatch(r"a-test-[0-9a-f]{8}", first.stem)
    assert shipped(date="2026-01-02").stem == first.stem
    others = [
        shipped(date="2026-01-03"),
        shipped(date="2026-01-02", arguments=["--skip-failed"]),
        shipped(date="2026-01-02", settings=["grid.scale=60"]),
        batch.ship(job(), b"name: a-test ", read_input, date="2026-01-02"),
    ]
    assert len({first.stem, *(other.stem for other in others)}) == 5


def test_ids_keep_the_rules() -> None:
    longest = config.parse(changed({**GOOD, "name": "a" + 39 * "b"}), base="/tmp")
    name = batch.batch_id(batch.ship(longest, b"", read_input).stem, 999)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-z0-9-]{4,63}", name)
    with pytest.raises(JobError, match="4 to 63"):
        batch.batch_id("a" * 80, 1)


@pytest.mark.parametrize(
    ("states", "new", "expected"),
    [
        ([], False, ("stem-1", False)),
        (["PENDING"], False, ("stem-1", True)),
        (["RUNNING"], False, ("stem-1", True)),
        (["SUCCEEDED"], False, ("stem-1", True)),
        (["SUCCEEDED"], True, ("stem-2", False)),
        (["FAILED"], False, ("stem-2", False)),
        (["FAILED", "CANCELLED", "RUNNING"], False, ("stem-3", True)),
        (["FAILED", "CANCELLING", "CANCELLED"], False, ("stem-4", False)),
    ],
)
def test_which_batch(states: list[str], new: bool, expected: tuple[str, bool]) -> None:
    there = {f"stem-{number}": state for number, state in enumerate(states, 1)}
    assert batch.choose("stem", there.get, new=new) == expected


def test_what_a_job_names_is_shipped_and_found(tmp_path: Path) -> None:
    folder = tmp_path / "with spaces"
    folder.mkdir()
    (folder / "a map.py").write_text("def f(image): return image")
    (folder / "my area.geojson").write_text("{}")
    changes = {"source.map": "a map.py:f", "region.bbox": None, "region.geojson": "my area.geojson"}
    mine = job(changes, str(folder))
    shipment = batch.ship(mine, b"x", read_input)
    assert [name for name, _ in shipment.files] == ["a_map.py", "job.yaml", "my_area.geojson"]
    settings = shipment.command[3:]
    assert settings == ("--set", "source.map=a_map.py:f", "--set", "region.geojson=my_area.geojson")
    far = job({"region.bbox": None, "region.geojson": "gs://there/area.geojson", "source.map": "a_module:f"})
    assert [name for name, _ in batch.ship(far, b"x", read_input).files] == ["job.yaml"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "f.py").write_text("1")
    (tmp_path / "f.py").write_text("2")
    sample = {
        "count": 1,
        "within": {"bbox": [0, 0, 1, 1]},
        "stratify": {"image": "one/f.py:g", "band": "b", "scale": 1},
    }
    mine = job({"source.map": "f.py:f", "region.bbox": None, "region.sample": sample}, str(tmp_path))
    with pytest.raises(JobError, match=r"both shipped as 'f.py'"):
        batch.ship(mine, b"x", read_input)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"output.path": "out"}, "gs://BUCKET/PATH"),
        ({"earth_engine.endpoint": "emulator"}, "emulator"),
        ({"earth_engine.credentials": "service-account:key.json"}, "never shipped"),
    ],
)
def test_what_only_this_machine_has_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(JobError, match=says):
        batch.ship(job(changes), b"x", read_input)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"staging": "/tmp/x"}, "gs://"),
        ({"network": "a", "subnet": "b"}, "one of them"),
        ({"image": "a", "archive": "gs://b"}, "one of them"),
        ({"ttl": "5m"}, "ten minutes"),
        ({"ttl": "forever"}, "ten minutes"),
        ({"labels": {"Team": "green"}}, "labels are"),
    ],
)
def test_wrong_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(JobError, match=says):
        batch.Options(**{"project": "p", "region": "r", "staging": "gs://b", **options})


@given(st.lists(st.text("ab,|;~= ", min_size=1), min_size=1))
def test_flags_with_commas_come_apart_again(words: list[str]) -> None:
    """Joined as ``gcloud topic escaping`` says: a first ^X^ names the delimiter."""
    text = gcloud.joined(words)
    mark = re.match(r"\^(.+?)\^", text)
    assert text[mark.end() :].split(mark[1]) == words if mark else text.split(",") == words


def test_the_same_job_has_one_request_id() -> None:
    name = batch.batch_id(shipped().stem, 1)
    assert batch.request_id(name) == batch.request_id(name) != batch.request_id(f"{name}1")
    assert re.fullmatch(r"[\w-]{1,40}", batch.request_id(name))


def test_the_builder_needs_no_cloud_library() -> None:
    """Airflow's scheduler imports it: nothing heavier than pydantic and YAML may come along."""
    program = (
        "import ee_spark.dataproc.batch, sys;"
        "print([m for m in ('numpy', 'ee', 'pyarrow', 'rasterio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180)
    assert done.stdout.strip() == "[]", done.stderr


def test_code_is_named_by_its_contents(tmp_path: Path) -> None:
    from ee_spark.dataproc.submit import _code

    (tmp_path / "a.zip").write_bytes(b"1")
    [(folder, files)], uris = _code("gs://b/s/", [str(tmp_path / "a.zip"), "gs://x/y.zip"])
    assert uris == [f"{folder}/a.zip", "gs://x/y.zip"]
    assert files == (("a.zip", b"1"),)
    assert folder.startswith("gs://b/s/code/")
    (tmp_path / "a.zip").write_bytes(b"2")
    assert _code("gs://b/s/", [str(tmp_path / "a.zip")])[0][0][0] != folder
