"""Bands whose names no column can have: what the refusal says, and that its mapping is all that is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from emulator_client import asset, write_catalog, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from lanes_here import Here

import ee_emulator
from ee_spark.cli import main
from ee_spark.extract import Options, as_config, plan, run_on
from ee_spark.planner.columns import is_own
from ee_spark.planner.naming import BandNamesError, column_names, why_not

BANDS = [
    "height",
    "tile_id",
    "B4",
    "b4",
    "2m-temperature",
    "wind speed (u)",
    "température",
    "10",
    "valid_x",
    "_",
    "B4_2",
]
REFUSED = {"height", "tile_id", "b4", "2m-temperature", "wind speed (u)", "température", "10", "valid_x"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One asset whose bands have such names; each is filled with its own number."""
    folder = tmp_path_factory.mktemp("names")
    for number in range(len(BANDS)):
        values = np.full((32, 32), number + 1, np.uint8)
        write_raster(folder / f"{number}.tif", values, (10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633", nodata=0)
    bands = {name: f"{number}.tif" for number, name in enumerate(BANDS)}
    plain = {"height": "0.tif", "plain": "1.tif"}
    return write_catalog(
        folder,
        [asset("N/odd", bands, "2020-01-01T00:00:00Z"), asset("N/one", plain, "2020-01-01T00:00:00Z")],
    )


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with ee_emulator.start(folder) as service:
        yield service.url


def job_file(url: str, folder: Path, **source: object) -> Path:
    job = {
        "name": "odd-names",
        "earth_engine": {"endpoint": url, "project": "demo", "credentials": "anonymous"},
        "source": {"asset": "N/odd", **source},
        "region": {"bbox": [15.0, 45.151, 15.003, 45.153]},
        "grid": {"crs": "native", "tile": 16},
        "output": {"path": str(folder / "out")},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


def test_the_refusal_names_three_and_the_command(url: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["plan", "--config", str(job_file(url, tmp_path))])
    assert (ran.exit_code, ran.stdout) == (2, "")
    [line] = ran.stderr.splitlines()
    assert f"{len(REFUSED)} of {len(BANDS)} bands have names that no column of the tables can have" in line
    assert "('height', 'tile_id', 'b4', …)" in line
    assert "ee-spark plan --json prints them, ready for the job file (key bands)" in line
    assert len(line) < 300


def test_the_whole_mapping_is_ready_for_the_job_file(url: str, tmp_path: Path) -> None:
    path = job_file(url, tmp_path)
    ran = CliRunner().invoke(main, ["plan", "--config", str(path), "--json"])
    assert ran.exit_code == 2
    said = json.loads(ran.stdout)
    assert said["error"] == ran.stderr.strip()
    mapping = said["source"]["bands"]
    assert list(mapping.values()) == BANDS
    assert [band["source"] for band in said["bands"]] == BANDS
    assert {band["dtype"] for band in said["bands"]} == {"uint8"}
    assert {old for new, old in mapping.items() if new != old} == REFUSED, "the others keep their names"
    assert {mapping[new]: new for new in mapping}["2m-temperature"] == "b2m_temperature"
    assert {mapping[new]: new for new in mapping}["température"] == "temperature"
    assert {mapping[new]: new for new in mapping}["height"] == "band_height"

    fixed = job_file(url, tmp_path, bands=mapping)
    ran = CliRunner().invoke(main, ["plan", "--config", str(fixed), "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["bands"] == said["bands"]
    report = run_on(as_config(str(fixed)), lambda _: Here(1), Options(progress="none"))
    assert report.ok > 0
    [row, *_] = pq.read_table(tmp_path / "out" / "pixels").to_pylist()
    for number, (new, old) in enumerate(mapping.items()):
        assert BANDS[number] == old
        assert row[new][row["valid"].index(1)] == number + 1, "each column holds its own band"


def test_a_single_one_is_told_so_too_where_the_job_names_no_bands(url: str, tmp_path: Path) -> None:
    """To write only that one under ``source.bands`` would leave the others out."""
    with pytest.raises(BandNamesError) as refused:
        plan(str(job_file(url, tmp_path, asset="N/one")))
    assert "1 of 2 bands have names that no column of the tables can have ('height')" in str(refused.value)
    assert refused.value.mapping == {"band_height": "height", "plain": "plain"}


def test_several_that_the_job_names_are_told_together(url: str, tmp_path: Path) -> None:
    named = job_file(url, tmp_path, bands=["2m-temperature", "B4", "wind speed (u)", "10", "a b"])
    ran = CliRunner().invoke(main, ["plan", "--config", str(named)])
    assert ran.exit_code == 2
    [line] = ran.stderr.splitlines()
    assert "bands: 4 of 5 are not valid column names ('2m-temperature', 'wind speed (u)', '10', …)" in line
    assert "ee-spark plan --json prints names for all" in line


names = st.lists(
    st.one_of(st.sampled_from([*BANDS, "Crs", "BBOX", "valid", "status", "b_10", "10_"]), st.text(max_size=8)),
    min_size=1,
    max_size=30,
    unique=True,
)


@given(bands=names, taken=st.lists(st.sampled_from(["a", "B4", "height_2", "temperature"]), unique=True))
@settings(max_examples=300, deadline=None)
def test_any_names_become_columns(bands: list[str], taken: list[str]) -> None:
    found = column_names(bands, taken)
    assert list(found.values()) == bands
    assert len({name.lower() for name in [*found, *taken]}) == len(bands) + len(taken)
    for new, old in found.items():
        assert re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", new)
        assert not is_own(new)
        if (
            not why_not(old, {name.lower(): name for name in taken})
            and [b.lower() for b in bands].count(old.lower()) == 1
        ):
            assert new == old
