"""Runs with files of points: types that the first plan decided, and what later files may say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from emulator_client import asset, connect, write_catalog, write_raster
from lanes_here import Here

import ee_emulator
from ee_spark import JobError, plan
from ee_spark.config import parse
from ee_spark.extract import Options, run_on
from ee_spark.store.manifest import parse as manifest_of

FIELD = shapely.Polygon([(500_100, 4_999_700), (500_400, 4_999_700), (500_250, 4_999_400)])
ROWS = {
    "a": "a,15.0015,45.152,01001,3.5,1",
    "b": "b,15.003,45.151,01002,4,2",
    "c": "c,15.0045,45.1495,7,12.25,3",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("catalog")
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 1
    values[:20] = 0
    write_raster(folder / "a.tif", values, [10, 0, 500_000, 0, -10, 5_000_000], "EPSG:32633", 0)
    with ee_emulator.start(catalog=str(write_catalog(folder, [asset("OWN/A", {"v": "a.tif"})]))) as service:
        connect(service.url)
        yield service.url


def job(url: str, folder: Path, points: Any, **output: Any) -> dict[str, Any]:
    return {
        "name": "points-run",
        "earth_engine": {"endpoint": url},
        "source": {"asset": "OWN/A"},
        "region": {"points": points},
        "grid": {"crs": "EPSG:32633", "scale": 10, "tile": 8},
        "output": {"path": str(folder / "out"), **output},
    }


def run(data: dict[str, Any]) -> dict[str, Any]:
    return run_on(parse(data), lambda _: Here(1), Options(progress="none"))


def write(folder: Path, *rows: str, header: str = "id,lon,lat,fips,yield,n") -> str:
    path = folder / "p.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(JobError) as caught:
        plan(data)
    assert len(str(caught.value)) < 300 + len(data["region"]["points"])
    return str(caught.value)


def test_later_files_are_read_with_the_types_of_the_first(url: str, tmp_path: Path) -> None:
    first = plan(job(url, tmp_path, write(tmp_path, ROWS["a"], ROWS["b"])))
    assert ("points", "fips is text") in [note[:2] for note in first.notes]
    assert run(job(url, tmp_path, write(tmp_path, ROWS["a"], ROWS["b"])))["planned"] == 2
    whole = "c,15.0045,45.1495,7,12,3"  # by itself this file would have other types: all numbers, all whole
    later = plan(job(url, tmp_path, write(tmp_path, whole)))
    assert later.fingerprint == first.fingerprint
    report = run(job(url, tmp_path, write(tmp_path, ROWS["a"], ROWS["b"], whole)))
    assert (report["ok"], report["skipped"]) == (1, 2)
    table = pq.read_table(tmp_path / "out" / "tiles").sort_by("point_id")
    assert table["fips"].to_pylist() == ["01001", "01002", "7"]
    assert table["yield"].to_pylist() == [3.5, 4.0, 12.0]
    assert table["n"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "c,15.0045,45.1495,7,1.50,3",
            "point 2 has yield '1.50', and the dataset's column is double, which would print",
        ),
        ("c,15.0045,45.1495,7,x,3", "point 2 has yield 'x', and the dataset's column is double; correct it"),
        ("c,15.0045,45.1495,7,1.5,007", "point 2 has n '007', and the dataset's column is int64"),
        ("c,15.0045,45.1495,7,1.5,2.5", "point 2 has n '2.5', and the dataset's column is int64"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_row(url: str, tmp_path: Path, row: str, said: str) -> None:
    run(job(url, tmp_path, write(tmp_path, ROWS["a"], ROWS["b"])))
    data = job(url, tmp_path, write(tmp_path, ROWS["a"], row))
    assert said in refusal(data)
    stated = {"file": data["region"]["points"], "types": {"yield": "float64"}}
    if "1.50" in row:
        assert plan({**data, "region": {"points": stated}}).resumed  # the way out that it names
    replaced = plan({**data, "output": {**data["output"], "overwrite": True}})
    assert not replaced.resumed  # another job, which replaces this one


def test_other_columns_are_another_job_that_is_told_by_column(url: str, tmp_path: Path) -> None:
    run(job(url, tmp_path, write(tmp_path, ROWS["a"])))
    more = write(tmp_path, ROWS["b"] + ",x", header="id,lon,lat,fips,yield,n,crop")
    assert "holds another job (region.columns.crop: 'string' here, None there)" in refusal(job(url, tmp_path, more))


def test_a_dataset_of_an_older_version_goes_on_with_its_types(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a one has ``fips`` as int64, and no word about exactness in its job.json."""
    typed = {"file": write(tmp_path, ROWS["a"], ROWS["b"]), "types": {"fips": "int64"}}
    run(job(url, tmp_path, typed))
    path = tmp_path / "out" / "_ee_spark" / "job.json"
    older = json.loads(path.read_text())
    del older["frozen"]["exact"]
    path.write_text(json.dumps(older))
    assert not manifest_of(path.read_bytes(), "x").frozen.exact
    report = run(job(url, tmp_path, write(tmp_path, *ROWS.values())))
    assert (report["ok"], report["skipped"]) == (1, 2)
    assert "fips is int64, which changes values" in caplog.text
    table = pq.read_table(tmp_path / "out" / "tiles").sort_by("point_id")
    assert table["fips"].to_pylist() == [1001, 1002, 7]


def test_a_property_of_nulls_gets_its_values_later(url: str, tmp_path: Path) -> None:
    def features(crop: str | None, *ids: str) -> str:
        found = [
            {
                "type": "Feature",
                "id": key,
                "properties": {"crop": crop},
                "geometry": {"type": "Point", "coordinates": at},
            }
            for key, at in (("a", [15.0015, 45.152]), ("b", [15.003, 45.151]))
            if key in ids
        ]
        (tmp_path / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": found}))
        return str(tmp_path / "p.geojson")

    run(job(url, tmp_path, features(None, "a")))
    assert run(job(url, tmp_path, features("maize", "b")))["ok"] == 1
    table = pq.read_table(tmp_path / "out" / "tiles").sort_by("point_id")
    assert table["crop"].to_pylist() == [None, "maize"]


@pytest.mark.filterwarnings("ignore")
def test_an_area_of_a_geopackage_runs_as_its_geojson_does(url: str, tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(geometry=[FIELD], crs=32633)
    frame.to_file(tmp_path / "area.gpkg")
    frame.to_crs(4326).to_file(tmp_path / "area.geojson")
    found = []
    for name in ("area.gpkg", "area.geojson"):
        folder = tmp_path / name.partition(".")[2]
        data = job(url, folder, None)
        report = run({**data, "region": {"geojson": str(tmp_path / name), "clip": True}})
        assert report["status"] == "complete"
        found.append(pq.read_table(folder / "out" / "pixels", columns=["tile_id", "v", "valid"]))
    assert found[0].sort_by("tile_id").equals(found[1].sort_by("tile_id"))


def test_points_that_pandas_wrote_end_in_tables_of_types_that_all_read(url: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"lon": [15.0015, 15.0045], "lat": [45.1525, 45.1495], "crop": ["a", "b"]}, index=[4, 2])
    frame["sown"] = pd.array(pd.to_datetime(["2020-01-01 10:00", "2021-01-01 11:00"]).astype("datetime64[ns]"))
    frame["crop"] = frame["crop"].astype("category")
    frame.to_parquet(tmp_path / "p.parquet")
    assert pq.read_schema(tmp_path / "p.parquet").field("sown").type == pa.timestamp("ns")
    report = run(job(url, tmp_path, str(tmp_path / "p.parquet")))
    assert (report["ok"], report["empty"]) == (1, 1)
    for table in ("pixels", "tiles"):
        schema = pq.read_schema(next((tmp_path / "out" / table).glob("*.parquet")))
        assert (schema.field("sown").type, schema.field("crop").type) == (pa.timestamp("us"), pa.string())
        assert "__index_level_0__" not in schema.names
    rows = pq.read_table(tmp_path / "out" / "tiles").sort_by("crop")
    assert rows["sown"].to_pylist() == frame["sown"].tolist()
