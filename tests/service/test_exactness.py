"""Pixels as they come back, against rasterio: the same lattice, nearest neighbour, pixel for pixel and mask for mask.

A plan, its requests and the decoder, with the emulator in between and no Spark. What is expected is read with rasterio
and pyproj from the raster that the catalog names, by an own few lines: the pixel that holds each centre.
"""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import rasterio
from emulator_client import asset, write_catalog, write_raster
from job_files import planned

import ee_emulator as emulator
from ee_spark.client import Client
from ee_spark.fetch.decode import decode
from ee_spark.planner.window import Window, widened

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
# name: CRS of the raster, CRS to report, resolution, west, north
RASTERS = {
    "LANDSAT": ("EPSG:32610", None, 30.0, 560_025.0, 4_170_015.0),
    "SOUTH": ("EPSG:32733", None, 20.0, 300_000.0, 6_250_000.0),
    "GLOBAL": ("EPSG:4326", None, 0.0025, -122.4, 37.7),
    "ALBERS": ("EPSG:5070", None, 30.0, -2_200_005.0, 1_900_005.0),
    "FEET": ("EPSG:2263", None, 100.0, 980_000.0, 200_000.0),
    "POLAR": ("EPSG:3031", None, 250.0, 100_000.0, 400_000.0),
    "MODIS": (SINUSOIDAL, "SR-ORG:6974", 231.65635826395825, -231.65635826395825 * 46_000, 231.65635826395825 * 18_100),
    "EDGE": ("EPSG:4326", None, 0.01, 179.5, -16.5),
}
SIZE = (120, 90)
TYPE = {"GLOBAL": "float32", "POLAR": "int16"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    rng = np.random.default_rng(11)
    assets = []
    for name, (crs, code, resolution, west, north) in RASTERS.items():
        width, height = (50, 90) if name == "EDGE" else SIZE
        values = rng.permutation(width * height).reshape(height, width).astype(TYPE.get(name, "uint16")) + 1
        values[rng.random(values.shape) < 0.1] = 0  # masked
        write_raster(folder / f"{name}.tif", values, [resolution, 0, west, 0, -resolution, north], crs, 0)
        more = {"crs": code} if code else {}
        assets.append(asset(f"T/{name}", {"B1": f"{name}.tif"}, **more))
    write_catalog(folder, assets)
    with emulator.start(folder) as running:
        yield running.url, folder


def middle_of(name: str, share: float = 0.5) -> tuple[float, float]:
    crs, _, resolution, west, north = RASTERS[name]
    x, y = west + resolution * SIZE[0] * share, north - resolution * SIZE[1] * share
    lon, lat = pyproj.Transformer.from_crs(
        crs, "EPSG:4326" if "+R" not in crs else "+proj=longlat +R=6371007.181", always_xy=True
    ).transform(x, y)
    return lon, lat


def box_of(name: str) -> list[float]:
    """The box of the raster's middle two thirds."""
    corners = np.array([middle_of(name, share) for share in (0.2, 0.8)])
    return [*corners.min(0).tolist(), *corners.max(0).tolist()]


def expected(
    folder, name: str, crs: str, transform, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, validity, and which pixels are decided: their centre lies clear of the raster's pixel edges."""
    with rasterio.open(folder / f"{name}.tif") as source:
        values, own = source.read(1), source.transform
    sx, _, x0, _, sy, y0 = transform
    x = x0 + (np.arange(width) + 0.5) * sx + np.zeros((height, 1))
    y = y0 + (np.arange(height)[:, None] + 0.5) * sy + np.zeros((1, width))
    theirs = RASTERS[name][0]
    ours = SINUSOIDAL if crs == "SR-ORG:6974" else crs
    if theirs != ours:
        x, y = pyproj.Transformer.from_crs(ours, theirs, always_xy=True).transform(x, y)
    column, row = (x - own.c) / own.a, (y - own.f) / own.e
    decided = np.ones(column.shape, bool)
    for place in (column, row):
        decided &= np.abs(place - np.round(place)) > 1e-4
    inside = (column >= 0) & (row >= 0) & (column < values.shape[1]) & (row < values.shape[0])
    column, row = (
        np.clip(np.floor(axis), 0, side - 1).astype(int)
        for axis, side in ((column, values.shape[1]), (row, values.shape[0]))
    )
    found = np.where(inside, values[row, column], 0)
    return found, found > 0, decided


def blocks(plan):
    """Every planned tile with its planes: (tiles, index, {column: plane})."""
    client = Client(plan.service)
    width, height = plan.frozen.shape.stored
    types = {band.name: np.dtype(band.dtype) for band in plan.frozen.bands} | dict.fromkeys(
        plan.frozen.validity, np.dtype(np.uint8)
    )
    for number in range(len(plan.pairs)):
        tiles, tile, image = plan.pairs.chunk(number).pairs(plan.frozen.shape, plan.points, snap=plan.config.grid.snap)
        for t, i in zip(tile.tolist(), image.tolist(), strict=True):
            window = Window(tiles.lattice.crs, tiles.transform(t), width, height)
            asked, left = window.within_world()
            path, body = plan.recipe.call(plan.images.ids[i], int(plan.images.version[i]), plan.graph(i), asked)
            answer = client.call("POST", path, body).body
            (planes,) = decode(answer, plan.config.pixels.format, plan.recipe.bands, types, asked.width, asked.height)
            yield tiles, t, widened(planes, width, left, {}) if asked != window else planes


COMBINATIONS = [
    # raster, grid, what
    ("LANDSAT", {"crs": "EPSG:32610", "scale": 30, "tile": 16}, "asset"),
    ("LANDSAT", {"crs": "native", "tile": [23, 11], "margin": 3}, "native"),
    ("LANDSAT", {"crs": "EPSG:32610", "scale": 29, "tile": 32, "align": "crs"}, "crs"),
    ("LANDSAT", {"crs": "EPSG:32610", "scale": 12, "tile": 50}, "crs"),
    ("LANDSAT", {"crs": "EPSG:4326", "scale": 30, "tile": 24, "margin": 1}, "crs"),
    ("LANDSAT", {"crs": "EPSG:3857", "scale": 37.5, "tile": 20}, "crs"),
    ("LANDSAT", {"crs": "EPSG:5070", "resolution": 30, "tile": [40, 20]}, "crs"),
    ("LANDSAT", {"crs": "EPSG:32610", "transform": [30, 0, 560032.5, 0, -30, 4170007.5], "tile": 16}, "crs"),
    ("LANDSAT", {"crs": "utm", "scale": 30, "tile": 32}, "asset"),
    ("SOUTH", {"crs": "EPSG:32733", "scale": 20, "tile": 25}, "asset"),
    ("SOUTH", {"crs": "EPSG:32732", "scale": 20, "tile": 40, "margin": 2}, "crs"),
    ("GLOBAL", {"crs": "native", "tile": 17}, "native"),
    ("GLOBAL", {"crs": "EPSG:4326", "resolution": 0.0025, "tile": 17}, "asset"),
    ("GLOBAL", {"crs": "EPSG:32610", "scale": 200, "tile": 30}, "crs"),
    ("ALBERS", {"crs": "EPSG:5070", "scale": 30, "tile": 33, "margin": 1}, "asset"),
    ("FEET", {"crs": "EPSG:2263", "resolution": 100, "tile": 16}, "asset"),
    ("FEET", {"crs": "EPSG:2263", "scale": 20, "tile": 32}, "crs"),
    ("POLAR", {"crs": "EPSG:3031", "scale": 250, "tile": 15}, "asset"),
    ("POLAR", {"crs": "EPSG:3031", "scale": 190, "tile": 28, "margin": 4}, "crs"),
    ("MODIS", {"crs": "native", "tile": [23, 11]}, "native"),
    ("MODIS", {"crs": "EPSG:4326", "scale": 250, "tile": 20}, "crs"),
    ("LANDSAT", {"crs": "SR-ORG:6974", "scale": 31, "tile": 20}, "crs"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "grid", "align"), COMBINATIONS, ids=[f"{n}-{g['crs']}-{a}-{i}" for i, (n, g, a) in enumerate(COMBINATIONS)]
)
def test_blocks_are_the_nearest_pixels_and_tiles_meet(service, name, grid, align):
    url, folder = service
    region = {"bbox": box_of(name)}
    plan = planned(url, {"source": {"asset": f"T/{name}"}, "region": region, "grid": grid})
    assert plan.frozen.align == align
    shape, seen, undecided, total, valid = plan.frozen.shape, set(), 0, 0, 0
    cores = {}
    for tiles, t, planes in blocks(plan):
        values, validity, decided = expected(folder, name, tiles.lattice.crs, tiles.transform(t), *shape.stored)
        assert (planes["B1"] == values)[decided].all()
        assert (planes["valid"] == validity)[decided].all()
        assert (planes["B1"][planes["valid"] == 0] == 0).all()
        undecided, total, valid = undecided + (~decided).sum(), total + decided.size, valid + validity.sum()
        m = shape.margin
        key = (int(tiles.row[t]), int(tiles.column[t]))
        assert key not in seen
        seen.add(key)
        cores[key] = planes["B1"][m : m + shape.height, m : m + shape.width], planes["B1"]
    assert valid > 500
    assert undecided <= 0.02 * total
    if align in ("asset", "native"):
        assert undecided == 0  # nothing is resampled: every centre is a centre
    # adjoining tiles meet: as one mosaic they are one read of the lattice, and margins show the neighbours' pixels
    lattice = plan.pairs.lattices[0]
    rows, columns = [sorted({key[axis] for key in seen}) for axis in (0, 1)]
    assert rows == list(range(rows[0], rows[-1] + 1))
    if len(cores) == len(rows) * len(columns):
        mosaic = np.block([[cores[r, c][0] for c in columns] for r in rows])
        transform = lattice.transform(columns[0] * shape.width, rows[0] * shape.height)
        values, _, decided = expected(folder, name, lattice.crs, transform, mosaic.shape[1], mosaic.shape[0])
        assert (mosaic == values)[decided].all()
    for (r, c), (core, _) in cores.items():
        m = shape.margin
        if m and (r, c + 1) in cores:
            assert (cores[r, c + 1][1][m:-m, :m] == core[:, -m:]).all()


PATCHES = [
    ("LANDSAT", {"crs": "native", "tile": 9}),
    ("LANDSAT", {"crs": "EPSG:32610", "scale": 30, "tile": [8, 5], "margin": 2}),
    ("LANDSAT", {"crs": "EPSG:32610", "scale": 30, "tile": 8, "snap": False}),
    ("LANDSAT", {"crs": "EPSG:4326", "scale": 10, "tile": [7, 12], "snap": False, "margin": 1}),
    ("LANDSAT", {"crs": "utm", "scale": 30, "tile": 8}),
    ("MODIS", {"crs": "native", "tile": [23, 11]}),
    ("POLAR", {"crs": "EPSG:3031", "scale": 250, "tile": 6}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "grid"), PATCHES, ids=[f"{n}-{g['crs']}-{i}" for i, (n, g) in enumerate(PATCHES)])
def test_patches_are_the_nearest_pixels_around_their_points(service, tmp_path, name, grid):
    url, folder = service
    rng = np.random.default_rng(4)
    west, south, east, north = box_of(name)
    lon, lat = rng.uniform(west, east, 12), rng.uniform(south, north, 12)
    rows = "\n".join(f"{x!r},{y!r}" for x, y in zip(lon.tolist(), lat.tolist(), strict=True))
    (tmp_path / "p.csv").write_text(f"lon,lat\n{rows}\n")
    keys = {"source": {"asset": f"T/{name}"}, "region": {"points": "p.csv"}, "grid": grid}
    plan = planned(url, keys, tmp_path)
    count = 0
    for tiles, t, planes in blocks(plan):
        values, validity, decided = expected(
            folder, name, tiles.lattice.crs, tiles.transform(t), *plan.frozen.shape.stored
        )
        assert (planes["B1"] == values)[decided].all()
        assert (planes["valid"] == validity)[decided].all()
        assert decided.mean() > 0.98
        count += 1
        if not grid.get("snap", True):
            sx, _, x, _, sy, y = tiles.transform(t)
            w, h = plan.frozen.shape.stored
            crs = tiles.lattice.crs
            px, py = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(
                tiles.points.lon[t], tiles.points.lat[t]
            )
            assert (x + sx * w / 2, y + sy * h / 2) == pytest.approx((px, py), abs=1e-6)
    assert count >= 10  # a corner of the box may lie off a raster that is askew


def test_pixels_beyond_180_degrees_are_masked_unrequested(service):
    url, folder = service
    keys = {
        "source": {"asset": "T/EDGE"},
        "region": {"bbox": [179.55, -17.3, -179.9, -16.6]},
        "grid": {"crs": "EPSG:4326", "resolution": 0.01, "tile": 32},
    }
    plan = planned(url, keys)
    beyond = 0
    for tiles, t, planes in blocks(plan):
        values, validity, _ = expected(folder, "EDGE", "EPSG:4326", tiles.transform(t), 32, 32)
        assert (planes["B1"] == values).all()
        assert (planes["valid"] == validity).all()
        window = Window("EPSG:4326", tiles.transform(t), 32, 32)
        asked, left = window.within_world()
        west, east = asked.transform[2], asked.transform[2] + 0.01 * asked.width
        assert west >= -180 - 1e-9
        assert east <= 180 + 1e-9
        beyond += asked.width < 32
        if asked.width < 32:  # the raster goes on beyond 180°, so that tiles of both sides are planned
            assert (planes["valid"][:, :left] == 0).all()
            assert (planes["valid"][:, left + asked.width :] == 0).all()
    assert beyond


@pytest.mark.parametrize("mask", ["band", "bands"])
def test_a_geotiff_carries_validity_in_the_bands_own_type(service, mask):
    url, folder = service
    grid = {"crs": "native", "tile": 32}
    keys = {"source": {"asset": "T/POLAR"}, "region": {"bbox": box_of("POLAR")}, "grid": grid}
    plan = planned(url, {**keys, "pixels": {"format": "GEO_TIFF", "mask": mask}})
    for tiles, t, planes in blocks(plan):
        values, validity, _ = expected(folder, "POLAR", "EPSG:3031", tiles.transform(t), 32, 32)
        assert (planes["B1"] == values).all()
        valid = planes["valid" if mask == "band" else "valid_B1"]
        assert valid.dtype == np.uint8
        assert (valid == validity).all()


@pytest.mark.parametrize("form", ["NPY", "GEO_TIFF"])
def test_fill_clip_and_renaming_keep_pixels_where_they_are(service, tmp_path, form):
    url, folder = service
    west, south, east, north = box_of("LANDSAT")
    corners = [[west, south], [east, south + (north - south) / 3], [(west + east) / 2, north], [west, south]]
    (tmp_path / "area.geojson").write_text(f'{{"type": "Polygon", "coordinates": [{corners}]}}')
    keys = {
        "source": {"asset": "T/LANDSAT", "bands": {"tallness": "B1"}},
        "region": {"geojson": "area.geojson", "clip": True},
        "grid": {"crs": "native", "tile": 16},
        "pixels": {"mask": "fill", "fill": 65535, "format": form},
    }
    plan = planned(url, keys, tmp_path)
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32610", "EPSG:4326", always_xy=True)
    import shapely

    polygon = shapely.Polygon(corners)
    inside_pixels = 0
    for tiles, t, planes in blocks(plan):
        values, validity, _ = expected(folder, "LANDSAT", "EPSG:32610", tiles.transform(t), 16, 16)
        sx, _, x, _, sy, y = tiles.transform(t)
        lon, lat = to_lonlat.transform(
            x + (np.arange(16) + 0.5) * sx + np.zeros((16, 1)),
            y + (np.arange(16)[:, None] + 0.5) * sy + np.zeros((1, 16)),
        )
        inside = shapely.contains_xy(polygon, lon, lat)
        clear = shapely.distance(polygon.exterior, shapely.points(lon, lat)) > 1e-6
        assert (planes["tallness"] == np.where(inside & validity, values, 65535))[clear].all()
        inside_pixels += (inside & validity).sum()
    assert inside_pixels > 300
