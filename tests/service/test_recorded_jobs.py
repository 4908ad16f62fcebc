"""A job over each recorded asset, end to end: the metadata of the real service, pixels of the test's own.

Rasters are as large as the recorded ones, with pixels around the place that a job asks for. What the tables have is
compared with those pixels by each band's own transform.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from affine import Affine
from lanes_here import Here
from pyproj import Transformer
from rasterio.windows import Window
from recorded import recordings, rest

import ee_emulator
from ee_spark import open_dataset
from ee_spark.check.verify import verify
from ee_spark.extract import Options, as_config, run_on
from ee_spark.objects import FileStore

NUMBERS = [n for n, one in enumerate(recordings()) if one["asset"].get("bands") and one["asset"].get("id")]
AROUND = 160
"""Pixels to every side of the middle that the rasters hold."""
TILE = 24
HALF = ("B8",)
"""Landsat's band of 15 m: its pixels' centres lie on the edges of the others', where rounding decides."""
PLAIN = 7
"""The value of placeholders: bands that have no grid of the image's."""


def affine_of(band: dict[str, Any]) -> Affine:
    terms = band["grid"]["affineTransform"]
    return Affine(*(terms.get(k, 0.0) for k in ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")))


def size_of(band: dict[str, Any]) -> tuple[int, int]:
    size = band["grid"].get("dimensions", {})
    return size.get("width", 0), size.get("height", 0)


def is_placeholder(band: dict[str, Any]) -> bool:
    return size_of(band)[0] * size_of(band)[1] <= 1


@cache
def place(number: int) -> tuple[float, float]:
    """Where in the rasters of a recording its job looks, as parts of their sides: within its footprint."""
    footprint, band = rest(number).get("geometry"), rest(number)["bands"][0]
    numbers = footprint and all(isinstance(value, float | int) for value in np.ravel(footprint["coordinates"]).tolist())
    if not numbers:
        return 0.5, 0.5
    ring = footprint["coordinates"] if footprint["type"] == "LinearRing" else footprint["coordinates"][0]
    inside = shapely.Polygon(ring).representative_point()
    x, y = Transformer.from_crs("OGC:CRS84", band["grid"]["crsCode"], always_xy=True).transform(inside.x, inside.y)
    column, row = ~affine_of(band) @ (x, y)
    return column / size_of(band)[0], row / size_of(band)[1]


@cache
def pattern(width: int, height: int, across: float, down: float) -> tuple[Window, npt.NDArray[np.uint8]]:
    """The pixels of a raster of this size, and where in it they are: around a place."""
    side = min(2 * AROUND, width), min(2 * AROUND, height)
    column, row = (int(share * total - AROUND) for share, total in ((across, width), (down, height)))
    window = Window(min(max(0, column), width - side[0]), min(max(0, row), height - side[1]), *side)
    row, column = np.mgrid[window.row_off : window.row_off + side[1], window.col_off : window.col_off + side[0]]
    return window, ((row * 31 + column * 17) % 250 + 1).astype(np.uint8)


def write(path: Path, band: dict[str, Any], at: tuple[float, float]) -> None:
    """Write the raster of a band: sparse, with pixels around its middle, or a placeholder's one value."""
    if is_placeholder(band):
        world = not size_of(band)[0]
        transform = Affine(1, 0, -180, 0, -1, 90) if world else affine_of(band)
        values = np.full((180, 360) if world else (1, 1), PLAIN, np.uint8)
        window = Window(0, 0, *values.shape[::-1])
    else:
        transform = affine_of(band)
        window, values = pattern(*size_of(band), *at)
    width, height = (max(1, n) for n in size_of(band)) if values.shape != (180, 360) else (360, 180)
    shape = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8"}
    sparse = {"sparse_ok": True, "bigtiff": True, "compress": "deflate"}
    if min(width, height) > 1024:
        sparse |= {"tiled": True, "blockxsize": 1024, "blockysize": 1024}
    with rasterio.open(path, "w", crs=band["grid"]["crsCode"], transform=transform, **shape, **sparse) as raster:
        raster.write(values, 1, window=window)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Every recording in one catalog, each in a folder of its own: some are of one and the same asset."""
    folder = tmp_path_factory.mktemp("recorded")
    assets, files = [], dict[str, str]()
    for number in NUMBERS:
        asset = dict(recordings()[number]["asset"])
        asset["id"] = f"N{number}/{asset['id']}"
        if "name" in asset:
            asset["name"] = f"projects/earthengine-public/assets/{asset['id']}"
        if "geometry" not in rest(number) and "properties" in asset:  # the source shows only a part of its ring
            asset["properties"] = {k: v for k, v in asset["properties"].items() if k != "system:footprint"}
        bands = []
        for band in rest(number)["bands"]:
            key = json.dumps([band["grid"], place(number)])
            if key not in files:
                files[key] = f"{len(files)}.tif"
                write(folder / files[key], band, place(number))
            bands.append({"id": band["id"], "file": files[key]})
        assets.append({"id": asset["id"], "bands": bands, "recorded": asset})
    (folder / "catalog.json").write_text(json.dumps({"assets": assets}))
    with ee_emulator.start(catalog=str(folder)) as service:
        yield service.url


def stored(
    band: dict[str, Any], at: tuple[float, float], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """The value of the pixel of a band at each place in its CRS; -1 where its raster has none."""
    width, height = size_of(band)
    column, row = (np.floor(axis).astype(np.int64) for axis in ~affine_of(band) @ (x, y))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    window, values = pattern(width, height, *at)
    column, row = column - int(window.col_off), row - int(window.row_off)
    held = inside & (column >= 0) & (column < values.shape[1]) & (row >= 0) & (row < values.shape[0])
    found = np.where(inside, 0, -1)
    found[held] = values[row[held], column[held]]
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_a_job_over_a_recorded_asset_is_exact(url: str, tmp_path: Path, number: int) -> None:
    bands = {band["id"]: band for band in rest(number)["bands"] if band["id"] not in HALF}
    first = min((band for band in bands.values() if not is_placeholder(band)), key=lambda band: abs(affine_of(band).a))
    affine, (width, height), crs = affine_of(first), size_of(first), first["grid"]["crsCode"]
    sheared = bool(affine.b or affine.d)
    at = place(number)
    middle = np.array([(width * at[0] + step, height * at[1] + step) for step in (-40, 40)]).T
    lon, lat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(*(affine @ (middle[0], middle[1])))
    grid = {"crs": crs, "resolution": 0.6} if sheared else {"crs": "native", "like": first["id"]}
    job = {
        "name": "recorded",
        "earth_engine": {"project": "p", "endpoint": url, "concurrent_requests": 8},
        "source": {"asset": f"N{number}/{recordings()[number]['asset']['id']}", "bands": list(bands)},
        "region": {"bbox": [float(min(lon)), float(min(lat)), float(max(lon)), float(max(lat))]},
        "grid": {**grid, "tile": TILE},
        "pixels": {"mask": "bands"},
        "output": {"path": str(tmp_path)},
    }
    report = run_on(as_config(job), lambda _: Here(1), Options(progress="none"))
    assert (report["status"], report["failed"], report["missing"]) == ("complete", 0, 0)
    assert report["ok"] >= 9
    assert verify(FileStore(tmp_path)).problems == []
    seen = 0
    for block in open_dataset(str(tmp_path)):
        down, across = np.mgrid[:TILE, :TILE] + 0.5
        x, y = Affine(*block.transform) @ (across, down)
        for name, band in bands.items():
            valid, values = block.valid(name), block[name]
            assert valid is not None
            if is_placeholder(band):
                assert (values[valid] == PLAIN).all()
                continue
            truth = stored(band, at, x, y)
            np.testing.assert_array_equal(valid, truth >= 0, err_msg=name)
            np.testing.assert_array_equal(values[valid], truth[valid], err_msg=name)
            seen += int((truth > 0).sum())
    assert seen > 1000
