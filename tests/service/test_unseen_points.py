"""Points that no image covers: counted and named, and refused where nobody can have meant them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_client import small_catalog
from lanes_here import Here

import ee_emulator
from ee_spark import JobError, open_dataset, plan
from ee_spark.config import parse
from ee_spark.extract import Options, run_on

INSIDE = [(15.0021, 45.1512), (15.0043, 45.1497)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("catalog")
    with ee_emulator.start(catalog=str(small_catalog(folder, "2020-01-02T00:00:00Z"))) as service:
        yield service.url


def job(url: str, tmp_path: Path, places: list[tuple[float, float]], crs: str = "EPSG:4326", **source: Any) -> dict:
    lines = [f"{lon},{lat},p{number}" for number, (lon, lat) in enumerate(places)]
    (tmp_path / "points.csv").write_text("\n".join(["lon,lat,id", *lines]))
    return {
        "name": "unseen",
        "earth_engine": {"endpoint": url},
        "source": source,
        "region": {"points": str(tmp_path / "points.csv")},
        "grid": {"crs": crs, "scale": 10, "tile": 4},
        "output": {"path": str(tmp_path / "out")},
    }


def note(found: Any) -> str:
    return next((f"{value}: {why}" for what, value, why in found.notes if what == "points"), "")


def test_points_in_images_are_not_mentioned(url: str, tmp_path: Path) -> None:
    found = plan(job(url, tmp_path, INSIDE, asset="OWN/A"))
    assert (found.pairs.count, found.points_without_image, note(found)) == (2, [], "")


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32633", "utm", "native"])
@pytest.mark.parametrize("source", [{"asset": "OWN/A"}, {"collection": "OWN"}])
def test_swapped_lon_and_lat_are_told(url: str, tmp_path: Path, crs: str, source: dict[str, str]) -> None:
    mine = job(url, tmp_path, [(lat, lon) for lon, lat in INSIDE], crs, **source)
    if crs == "native":
        mine["grid"] = {"crs": "native", "tile": 4}
    with pytest.raises(JobError) as caught:
        plan(mine)
    assert "are lon and lat swapped?" in str(caught.value)
    assert "lon 45.1512, lat 15.0021" in str(caught.value)


def test_points_outside_one_asset_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="none of 1 points, the first at lon 16, lat 46, lies in asset OWN/A; write"):
        plan(job(url, tmp_path, [(16, 46)], asset="OWN/A"))


def test_a_day_without_scenes_is_complete(url: str, tmp_path: Path) -> None:
    for places, dates in (([(16, 46)], {}), (INSIDE, {"start": "2020-01-03", "end": "2020-01-04"})):
        mine = parse(job(url, tmp_path, places, collection="OWN", bands=["v"], **dates))
        report = run_on(mine, lambda _: Here(1), Options(progress="none"))
        assert (report.status, report.planned, report.exit_code) == ("complete", 0, 0)
        assert report.points_without_image == len(places)
        assert note(plan(mine)).startswith(f"{len(places)} of {len(places)} without image: e.g. p0")


def test_some_points_outside_are_counted_and_named(url: str, tmp_path: Path) -> None:
    mine = parse(job(url, tmp_path, [*INSIDE, (16, 46), (-170, -46)], collection="OWN"))
    assert note(plan(mine)) == "2 of 4 without image: e.g. p2, p3: no image covers them, so they get no rows"
    report = run_on(mine, lambda _: Here(1), Options(progress="none"))
    assert (report.status, report.planned, report.points_without_image) == ("complete", 2, 2)
    record = json.loads(next((tmp_path / "out" / "_ee_spark" / "runs").iterdir()).read_text())
    assert record["report"]["points_without_image_ids"] == ["p2", "p3"]
    assert len(list(open_dataset(str(tmp_path / "out")))) == 2
