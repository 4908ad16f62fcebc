"""A dataset whose first run found no image: complete, empty for readers, and whole once a run finds some."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator_client import small_catalog
from lanes_here import Here

import ee_emulator
from ee_spark import ReadError, open_dataset
from ee_spark.check.verify import verify
from ee_spark.config import parse
from ee_spark.export import export
from ee_spark.extract import Options, run_on
from ee_spark.objects import FileStore
from ee_spark.read.dataset import Dataset
from ee_spark.report import RunReport, how_to_open
from ee_spark.show.write import write


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("catalog")
    with ee_emulator.start(catalog=str(small_catalog(folder, "2020-01-02T00:00:00Z"))) as service:
        yield service.url


def run(url: str, out: Path, day: int, region: dict[str, Any] | None = None) -> RunReport:
    job = {
        "name": "daily",
        "earth_engine": {"endpoint": url},
        "source": {"collection": "OWN", "start": f"2020-01-0{day}", "end": f"2020-01-0{day + 1}"},
        "region": region or {"bbox": [15.001, 45.148, 15.003, 45.150]},
        "grid": {"crs": "EPSG:32633", "scale": 10, "tile": 16},
        "output": {"path": str(out)},
    }
    return run_on(parse(job), lambda _: Here(1), Options(progress="none"))


@pytest.mark.parametrize("points", [False, True])
def test_it_is_complete_and_empty_for_readers(url: str, tmp_path: Path, points: bool) -> None:
    (tmp_path / "plots.csv").write_text("lon,lat,crop\n15.002,45.149,rye\n")
    region = {"points": str(tmp_path / "plots.csv")} if points else None
    report = run(url, tmp_path / "out", 1, region)
    assert (report.status, report.planned, report.exit_code) == ("complete", 0, 0)
    assert "no image touches the region in this period" in how_to_open(report)
    dataset = open_dataset(tmp_path / "out")
    assert (list(dataset), dataset.bands, dataset.grid, len(dataset.to_numpy())) == ([], {}, None, 0)
    assert dataset.counts == {"planned": 0, "ok": 0, "empty": 0, "failed": 0}
    assert (dataset.tiles().num_rows, dataset.keys().num_rows, dataset.images.num_rows) == (0, 0, 0)
    assert dataset.tiles(["status"]).column_names == ["status"]
    assert list(dataset.select(time="2020-01-01", bbox=(0, 0, 1, 1), images="x")) == []
    found = verify(FileStore(tmp_path / "out"))
    assert (found.runs, found.planned, found.problems) == (1, 0, [])
    assert run(url, tmp_path / "out", 1, region).status == "complete"


@pytest.mark.parametrize(
    "use",
    [
        lambda dataset, out: dataset.to_xarray(),
        lambda dataset, out: dataset.to_torch(),
        *(lambda dataset, out, to=to: export(dataset, to, str(out / "x")) for to in ("geotiff", "zarr", "npz")),
        lambda dataset, out: write(dataset.path, str(out / "x.html")),
        lambda dataset, out: write(dataset.path, str(out / "x.png")),
    ],
)
def test_what_needs_bands_says_so(url: str, tmp_path: Path, use: Callable[[Dataset, Path], object]) -> None:
    run(url, tmp_path / "out", 1)
    with pytest.raises(ReadError, match="no run of it has found an image yet, so that it has no bands"):
        use(open_dataset(str(tmp_path / "out")), tmp_path)
    assert not list(tmp_path.glob("x*"))


def test_the_first_image_decides(url: str, tmp_path: Path) -> None:
    run(url, tmp_path, 1)
    report = run(url, tmp_path, 2)
    assert report.ok == report.planned > 0
    assert json.loads((tmp_path / "_SUCCESS").read_text())
    dataset = open_dataset(tmp_path)
    assert dataset.bands == {"v": np.dtype("uint16")}
    assert len(list(dataset)) == report.ok
    assert verify(FileStore(tmp_path)).problems == []


def test_a_folder_whose_job_json_is_gone_is_no_such_dataset(url: str, tmp_path: Path) -> None:
    run(url, tmp_path, 2)
    (tmp_path / "_ee_spark" / "job.json").unlink()
    with pytest.raises(ReadError, match=r"is not a dataset: it has no _ee_spark/job\.json"):
        open_dataset(tmp_path)
