"""Files of points and areas that a submission ships: all that is read of them, and where the job then finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ee_spark.config import parse
from ee_spark.dataproc.batch import ship

JOB: dict[str, Any] = {
    "name": "shipped-places",
    "earth_engine": {"project": "p"},
    "source": {"collection": "MODIS/061/MOD13Q1"},
    "grid": {"crs": "native"},
    "output": {"path": "gs://bucket/out"},
}


@pytest.mark.parametrize(
    ("region", "key"),
    [
        ({"points": {"file": "my plots.shp", "id": "plot"}}, "region.points.file"),
        ({"points": "my plots.shp"}, "region.points"),
        ({"geojson": "my plots.shp"}, "region.geojson"),
    ],
)
def test_a_shapefile_is_shipped_with_what_lies_beside_it(region: dict[str, Any], key: str, tmp_path: Path) -> None:
    for suffix in (".shp", ".shx", ".dbf", ".prj", ".qix"):
        (tmp_path / f"my plots{suffix}").write_text(suffix)
    config = parse({**JOB, "region": region}, base=str(tmp_path))
    shipped = ship(config, b"job", lambda path, _: Path(path).read_bytes())
    files = dict(shipped.files)
    assert {name: body.decode() for name, body in files.items() if name != "job.yaml"} == {
        f"my_plots{suffix}": suffix for suffix in (".shp", ".shx", ".dbf", ".prj")
    }
    assert f"{key}=my_plots.shp" in shipped.command


def test_other_files_are_shipped_alone(tmp_path: Path) -> None:
    for name in ("plots.csv", "plots.dbf"):
        (tmp_path / name).write_text("lon,lat\n1,2\n")
    config = parse({**JOB, "region": {"points": {"file": "plots.csv"}}}, base=str(tmp_path))
    shipped = ship(config, b"job", lambda path, _: Path(path).read_bytes())
    assert sorted(dict(shipped.files)) == ["job.yaml", "plots.csv"]
