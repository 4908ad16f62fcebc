"""What runs leave beside a dataset on disk, and what they refuse before they write anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from job_files import catalog, changed, scene

import ee_emulator as emulator
import ee_spark
from ee_spark.cli import main
from ee_spark.errors import JobError
from ee_spark.extract import Options
from ee_spark.objects import FileStore, probe
from ee_spark.objects.lock import SLOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("catalog")
    scenes = [
        scene(
            folder, f"SERIES/{day:02d}", [30, 0, 337_000, 0, -30, 4_461_000], "EPSG:32613", start=f"2020-01-{day:02d}"
        )
        for day in range(1, 21)
    ]
    for entry in scenes:
        entry["startTime"] += "T00:00:00Z"
    with emulator.start(catalog=str(catalog(folder, scenes))) as running:
        yield running.url


def day(service: str, path: Path, number: int) -> dict[str, object]:
    start, end = f"2020-01-{number:02d}", f"2020-01-{number + 1:02d}"
    changes = {
        "earth_engine.endpoint": service,
        "earth_engine.lanes": 2,
        "source.start": start,
        "source.end": end,
        "output.path": str(path),
    }
    return changed(changes)


def test_twenty_daily_runs_leave_their_records_only(service: str, spark: SparkSession, tmp_path: Path) -> None:
    own, counts = tmp_path / "_ee_spark", []
    for number in range(1, 21):
        report = ee_spark.run(day(service, tmp_path, number), spark, Options(progress="none"))
        assert report["status"] == "complete", report
        counts.append(len(list((own / "locks").iterdir())))
    here = sorted(path.name for path in own.iterdir())
    assert here == ["done", "graphs", "job.json", "lanes", "locks", "runs", "tmp"]
    assert [*(own / "lanes").iterdir(), *(own / "tmp").iterdir()] == []
    assert len(list((own / "runs").iterdir())) == 20
    assert max(counts) <= SLOTS
    assert {path.name[:5] for path in (own / "locks").iterdir()} == {"lock-"}


def test_probes_leave_no_lock_and_no_temporary(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for _ in range(100):
        probe(store)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("run_id", ["../../../climbed", "a/b", "..", "", "-x", "a\nb", "x" * 101])
def test_a_wrong_run_id_is_refused_before_any_writing(run_id: str, service: str, tmp_path: Path) -> None:
    out = tmp_path / "deep/out"
    with pytest.raises(JobError, match="--run-id: "):
        ee_spark.run(day(service, out, 1), None, Options(run_id=run_id))
    (tmp_path / "job.json").write_text(json.dumps(day(service, out, 1)))
    words = ["extract", "--config", str(tmp_path / "job.json"), f"--run-id={run_id}"]
    said = CliRunner().invoke(main, words)
    assert said.exit_code == 2, said.output
    assert len(said.stderr.splitlines()) == 1
    assert said.stderr.startswith("--run-id: ")
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


OUTPUTS = (
    "",
    "~/x",
    "$HOME/x",
    "/dev/null",
    "/proc/1/x",
    "file://host/x",
    "file:x",
    "FILE",
    "FILE/below",
    "/" + "x" * 300,
)


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_that_cannot_be_is_one_line(output: str, service: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    path = output.replace("FILE", str(tmp_path / "file"))
    job = changed({"output.path": path}, day(service, tmp_path, 1))
    (tmp_path / "job.json").write_text(json.dumps(job))
    for command in ("extract", "plan"):
        said = CliRunner().invoke(main, [command, "--config", str(tmp_path / "job.json")])
        assert said.exit_code == 2, said.output
        assert len(said.stderr.splitlines()) == 1, said.stderr
        assert "output.path: " in said.stderr
        assert len(said.stderr) < 300 + len(path)
    for option in ("--metrics", "--plot"):
        if path in (str(tmp_path / "file"),):
            continue  # a file to replace
        good = tmp_path / "good.json"
        good.write_text(json.dumps(day(service, tmp_path / "out", 1)))
        command = "plan" if option == "--plot" else "extract"
        said = CliRunner().invoke(main, [command, "--config", str(good), option, path])
        assert said.exit_code == 2, said.output
        assert said.stderr.startswith(f"{option}: "), said.stderr
        good.unlink()
    said = CliRunner().invoke(main, ["verify", "--dataset", path])
    assert said.exit_code == 2
    assert len(said.stderr.splitlines()) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "job.json"]
