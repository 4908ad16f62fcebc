"""Values that are not a number, in stored pixels: kept as they are, left out of the statistics, and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from lanes_here import Here

import ee_emulator
from ee_spark import JobError, plan
from ee_spark.extract import Options, as_config, run_on

SIDE, TILE = 48, 16


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """A raster of float32 of which a tile is nothing but NaN, and one has a few; 0 is masked."""
    random = np.random.default_rng(5)
    values = random.normal(10, 3, (SIDE, SIDE)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    values[:TILE, :TILE] = np.nan
    values[TILE : 2 * TILE, :TILE] = random.normal(10, 3, (TILE, TILE))
    values[-5:, -5:] = 0
    return values


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("nan")
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "float32", "crs": "EPSG:32633"}
    with rasterio.open(folder / "a.tif", "w", **profile, transform=Affine(10, 0, 500_000, 0, -10, 5_000_000)) as raster:
        raster.write(values, 1)
    bands = [{"id": "ratio", "file": "a.tif", "nodata": 0}]
    (folder / "catalog.json").write_text(json.dumps({"assets": [{"id": "OWN/A", "bands": bands}]}))
    with ee_emulator.start(catalog=str(folder)) as service:
        yield service.url


def job(url: str, out: Path) -> dict[str, object]:
    return {
        "name": "not-a-number",
        "earth_engine": {"endpoint": url},
        "source": {"asset": "OWN/A"},
        "region": {"bbox": [14.9995, 45.1480, 15.0070, 45.1545]},
        "grid": {"crs": "EPSG:32633", "scale": 10, "tile": TILE, "align": "asset"},
        "pixels": {"mask": "band"},
        "output": {"path": str(out)},
    }


def test_statistics_are_numpys_of_the_numbers(url: str, values: np.ndarray, tmp_path: Path) -> None:
    report = run_on(as_config(job(url, tmp_path / "out")), lambda _: Here(1), Options(progress="none"))
    assert report["status"] == "complete"
    rows = pq.read_table(tmp_path / "out" / "tiles").to_pylist()
    stored = {row["tile_id"]: row["ratio"] for row in pq.read_table(tmp_path / "out" / "pixels").to_pylist()}
    seen = 0
    for row in rows:
        if row["status"] != "ok":
            continue
        left, top = (round((a - b) / 10) for a, b in ((row["transform"][2], 500_000), (5_000_000, row["transform"][5])))
        tile = np.full((TILE, TILE), 0, np.float32)
        part = values[max(top, 0) : top + TILE, max(left, 0) : left + TILE]
        tile[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
        good = tile[tile != 0].astype(np.float64)
        assert np.array_equal(np.array(stored[row["tile_id"]], np.float32), tile.ravel(), equal_nan=True)
        assert (row["valid_count"], row["ratio_nan_count"]) == (good.size, np.isnan(good).sum())
        found = [row[f"ratio_{name}"] for name in ("min", "max", "mean", "stddev")]
        if np.isnan(good).all():
            assert found == [None] * 4
        else:
            right = [np.nanmin(good), np.nanmax(good), np.nanmean(good), np.nanstd(good)]
            assert found == pytest.approx(right, rel=1e-9)
        seen += np.isnan(good).sum()
    assert seen == np.isnan(values).sum()


def test_a_points_column_named_like_a_statistic_is_refused(url: str, tmp_path: Path) -> None:
    (tmp_path / "plots.csv").write_text("lon,lat,Ratio_Mean\n15.003,45.153,0.5\n")
    mine = {**job(url, tmp_path / "out"), "region": {"points": str(tmp_path / "plots.csv")}}
    with pytest.raises(JobError, match="column 'Ratio_Mean' is named like a statistic of band 'ratio' in `tiles`"):
        plan(mine)
