"""Two lattices in one CRS, as the planner tells them apart: no reader lays the one on the other.

The rasters have their corner and their extent in common, and pixels of 0.00025° and 0.0005°. What is expected is what
rasterio says of them at each pixel's centre.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from emulator_client import write_catalog
from job_files import job, scene

import ee_emulator
import ee_spark
from ee_spark.errors import ReadError
from ee_spark.export import export
from ee_spark.extract import Options
from ee_spark.read.canvas import canvases
from ee_spark.read.dataset import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Array = np.ndarray[Any, Any]
SIZES = {"T/FINE": (0.00025, 256), "T/COARSE": (0.0005, 128)}


@pytest.fixture(scope="module")
def two(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """The dataset of both images with ``grid: native``, and the folder of their rasters."""
    catalog, out = tmp_path_factory.mktemp("catalog"), tmp_path_factory.mktemp("two") / "out"
    assets = [
        scene(catalog, name, [side, 0, 10, 0, -side, 50], "EPSG:4326", size=(count, count))
        for name, (side, count) in SIZES.items()
    ]
    write_catalog(catalog, assets)
    with ee_emulator.start(catalog) as service:
        changes = {
            "earth_engine": {"endpoint": service.url},
            "source.collection": "T",
            "region.bbox": [10.005, 49.94, 10.06, 49.995],
            "grid": {"crs": "native", "tile": 32},
            "output.path": str(out),
        }
        report = ee_spark.run(job(changes), spark, Options(progress="none"))
    assert report["status"] == "complete", report
    return ee_spark.open_dataset(out), catalog


def source_at(catalog: Path, image: str, x: Array, y: Array) -> tuple[Array, Array]:
    """Return what rasterio says of the source raster at the centres of a grid, and where the raster is."""
    with rasterio.open(catalog / f"{image.replace('/', '_')}_B1_.tif") as raster:
        values, (rows, columns) = raster.read(1), rasterio.transform.rowcol(raster.transform, *_flat(x, y))
    row, column = (np.asarray(place).reshape(len(y), len(x)) for place in (rows, columns))
    inside = (row >= 0) & (column >= 0) & (row < values.shape[0]) & (column < values.shape[1])
    return np.where(inside, values[row * inside, column * inside], 0), inside


def _flat(x: Array, y: Array) -> tuple[Array, Array]:
    across, down = np.meshgrid(x, y)
    return across.ravel(), down.ravel()


def test_the_plan_has_two_and_so_have_the_readers(two: tuple[Dataset, Path]) -> None:
    dataset, _ = two
    found = canvases(dataset)
    assert [canvas.resolution[0] for canvas in found] == sorted(side for side, _ in SIZES.values())
    names = {Path(part).name.split("-")[2].split("_")[0] for part in dataset.parts} - {"schema.parquet"}
    assert {canvas.key for canvas in found} == names, "the keys in the names of the parts"
    rows = dataset.to_numpy().keys
    held = np.array([canvas.holds(rows) for canvas in found])
    assert (held.sum(0) == 1).all()
    scale = np.array([transform[0] for transform in rows["transform"].to_pylist()])
    for canvas, mine in zip(found, held, strict=True):
        assert (scale[mine] == canvas.resolution[0]).all()


def test_what_needs_one_raster_refuses_two(two: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, _ = two
    text = r"the tiles lie on 2 lattices \(EPSG:4326 at 0.00025, EPSG:4326 at 0.0005\); select one by its crs"
    with pytest.raises(ReadError, match=f"to_xarray: {text}"):
        dataset.to_xarray()
    with pytest.raises(ReadError, match=f"--to zarr: {text}"):
        export(dataset, "zarr", str(tmp_path / "cube"))


@pytest.mark.parametrize("image", SIZES)
def test_one_image_at_a_time_is_the_raster(two: tuple[Dataset, Path], image: str) -> None:
    dataset, catalog = two
    cube = dataset.select(images=image).to_xarray()
    values, inside = source_at(catalog, image, cube.x.values, cube.y.values)
    assert inside.sum() > 10_000
    np.testing.assert_array_equal(cube.values[0, 0], np.where(inside, values, np.nan))


@pytest.mark.parametrize("to", ["geotiff", "cog"])
def test_mosaics_are_one_file_per_lattice(two: tuple[Dataset, Path], tmp_path: Path, to: str) -> None:
    dataset, catalog = two
    written = export(dataset, to, str(tmp_path / to))
    assert sorted(Path(result["path"]).name for result in written) == ["T_COARSE.tif", "T_FINE.tif"]
    assert sum(result["blocks"] for result in written) == dataset.counts["ok"]
    for result in written:
        with rasterio.open(result["path"]) as raster:
            image = raster.tags()["image_id"]
            assert raster.res == (SIZES[image][0],) * 2
            x = raster.transform.c + (np.arange(raster.width) + 0.5) * raster.transform.a
            y = raster.transform.f + (np.arange(raster.height) + 0.5) * raster.transform.e
            values, inside = source_at(catalog, image, x, y)
            np.testing.assert_array_equal(raster.dataset_mask() != 0, inside)
            np.testing.assert_array_equal(raster.read(1), values)
