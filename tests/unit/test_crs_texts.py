"""A CRS's text, of a job or of a dataset, opens no file and no address, whatever stands in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ee_spark.errors import JobError
from ee_spark.planner.crs import crs_of

WKT = (
    'GEOGCS["x",DATUM["D",SPHEROID["WGS 84",6378137,298.257223563]{}],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]{}]'
)
INSIDE = (
    "+init={}:1",
    "+proj=tinshift +file={}",
    "+proj=tinshift +file = {}",
    "+proj=defmodel +model={}",
    "+proj=longlat +datum=WGS84 +nadgrids={}",
    "+proj=longlat +datum=WGS84 +nadgrids=@null,{}",
    "+proj=longlat +datum=WGS84 +geoidgrids={}",
    "+proj=longlat +datum=WGS84 +catalog={}",
)


@pytest.mark.parametrize("text", [*(WKT.format("", f',EXTENSION["PROJ4","{inside}"]') for inside in INSIDE)])
def test_a_proj_string_in_a_wkt_names_no_file(text: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # who opens it waits for ever
    with pytest.raises(JobError, match="is not a CRS that can be read"):
        crs_of(text.format(tmp_path / "pipe"))


def test_a_wkt_names_no_grid(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JobError, match="is not a CRS that can be read"):
        crs_of(WKT.format(f',EXTENSION["PROJ4_GRIDS","{tmp_path / "pipe"}"]', ""))


def test_the_mercator_of_web_maps_is_read_with_its_proj_string() -> None:
    mercator = crs_of("EPSG:3857").to_wkt(version="WKT1_GDAL")
    assert "+nadgrids=@null" in mercator
    assert crs_of(mercator).is_projected
    assert crs_of(WKT.format(',EXTENSION["PROJ4_GRIDS","@null"]', "")).is_geographic
