"""Where tiles lie around ±180° and the poles: every pixel by pyproj, every polygon by shapely."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from ee_spark.planner.extent import Extents, extents, halves
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.tile import Shape, grid_tiles

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
POLAR = {"EPSG:3413": 1, "EPSG:3995": 1, "EPSG:3031": -1}
CYLINDERS = ("EPSG:4326", "EPSG:3857", "EPSG:6933")
CODES = (*POLAR, "EPSG:3338", "EPSG:32601", "EPSG:32660", *CYLINDERS, "SR-ORG:6974")
COUNT = 40

Tile = tuple[int, int, NDArray[np.float64]]


@cache
def transformers(crs: str) -> tuple[Transformer, Transformer]:
    """To lon/lat, and from there."""
    known = CRS.from_proj4(SINUSOIDAL) if crs == "SR-ORG:6974" else CRS(crs)
    one, other = (known, "OGC:CRS84"), ("OGC:CRS84", known)
    return Transformer.from_crs(*one, always_xy=True), Transformer.from_crs(*other, always_xy=True)


def place(crs: str, draw: np.random.Generator) -> tuple[float, float]:
    """A place near ±180° or a pole, of those that the CRS is for."""
    lon, lat = 180 + draw.normal(0, 1.5), draw.uniform(-85, 85)
    if crs in POLAR:
        near = draw.random() < 0.5
        lon = draw.uniform(-180, 180) if near else lon
        lat = POLAR[crs] * (90 - 10 ** draw.uniform(-3, 1.2) if near else draw.uniform(50, 89))
    elif crs == "EPSG:3338":
        lon, lat = 180 + draw.normal(0, 6), draw.uniform(45, 75)
    elif crs == "SR-ORG:6974" and draw.random() < 0.3:
        lon, lat = draw.uniform(-180, 180), draw.choice([-1, 1]) * draw.uniform(85, 90)
    return (lon + 180) % 360 - 180, lat


def tiles(crs: str, count: int = COUNT, seed: int = 5) -> list[Tile]:
    """Random tiles: (width, height, transform); on the grid of the CRS, off it, and with a pole on a pixel corner."""
    draw, found = np.random.default_rng([seed, CODES.index(crs)]), []
    while len(found) < count:
        width, height = (int(side) for side in draw.integers(8, 97, 2))
        x, y = transformers(crs)[1].transform(*place(crs, draw))
        res = 10 ** draw.uniform(1, 4.3) / (111_320 if crs == "EPSG:4326" else 1)
        kind = draw.random()
        left, top = x - draw.uniform(0, width) * res, y + draw.uniform(0, height) * res
        if kind < 0.4:
            left, top = np.floor(x / (width * res)) * width * res, -np.floor(-y / (height * res)) * height * res
        elif kind < 0.6 and crs in POLAR:
            left, top = -draw.integers(0, width + 1) * res, draw.integers(0, height + 1) * res
        found.append((width, height, np.array([res, 0, left, 0, -res, top])))
    return found


def pixels(crs: str, tile: Tile, first: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """lon and lat of pixels' centres (``first`` 0.5) or corners (0), and which of these the CRS can show."""
    width, height, transform = tile
    more = 1 if first == 0 else 0
    column, row = (side.ravel() + first for side in np.meshgrid(np.arange(width + more), np.arange(height + more)))
    x, y = transform[2] + column * transform[0], transform[5] + row * transform[4]
    lon, lat = transformers(crs)[0].transform(x, y)
    good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
    lon, lat = (lon[good] + 180) % 360 - 180, lat[good]
    back = transformers(crs)[1].transform(lon, lat)
    known = np.hypot(back[0] - x[good], back[1] - y[good]) < 30
    return lon, lat, known | (crs in CYLINDERS)


@cache
def blocks(crs: str) -> list[tuple[Tile, Extents]]:
    """Random tiles, and where we say that each lies."""
    return [(tile, extents(crs, tile[2][None], tile[0], tile[1])) for tile in tiles(crs)]


@pytest.mark.parametrize("crs", CODES)
def test_a_box_excludes_no_pixel_from_plain_comparisons(crs: str) -> None:
    for tile, block in blocks(crs):
        west, south, east, north = block.boxes[0]
        assert -180 <= west < east <= 180
        assert -90 <= south < north <= 90
        for first in (0.5, 0):
            lon, lat, _ = pixels(crs, tile, first)
            lon = np.where((lon == -180) & (west > -180), 180, lon)
            assert ((west <= lon) & (lon <= east) & (south <= lat) & (lat <= north)).all(), tile


@pytest.mark.parametrize("crs", CODES)
def test_a_geometry_is_valid_and_holds_every_pixel(crs: str) -> None:
    for tile, block in blocks(crs):
        (found,) = shapely.from_wkb(block.wkb())
        assert found.is_valid, shapely.is_valid_reason(found)
        position = shapely.get_coordinates(found)
        assert np.isfinite(position).all()
        assert (np.abs(position) <= [180, 90]).all()
        assert shapely.box(*block.boxes[0]).covers(found)
        lon, lat, known = pixels(crs, tile, 0.5)
        assert shapely.intersects_xy(shapely.buffer(found, 1e-7), lon[known], lat[known]).all(), tile


@pytest.mark.parametrize("crs", [code for code in CODES if code not in CYLINDERS])
def test_a_geometry_holds_little_but_its_tile(crs: str) -> None:
    """Places inside it lie in the tile, by pyproj; but for one in 15, where a box stands for a tile off the map."""
    draw, beyond, count = np.random.default_rng(11), 0, 0
    for (width, height, transform), block in blocks(crs):
        (found,) = shapely.from_wkb(block.wkb())
        for part in shapely.get_parts(found):
            west, south, east, north = part.bounds
            lon, lat = draw.uniform(west, east, 400), draw.uniform(south, north, 400)
            inside = shapely.contains_xy(part, lon, lat)
            x, y = transformers(crs)[1].transform(lon[inside], lat[inside])
            column, row = (x - transform[2]) / transform[0], (y - transform[5]) / transform[4]
            mine = (column > -0.3) & (column < width + 0.3) & (row > -0.3) & (row < height + 0.3)
            beyond, count = beyond + (~mine).sum(), count + len(mine)
    assert beyond <= count / (15 if crs == "SR-ORG:6974" else 1000), (beyond, count)


@pytest.mark.parametrize("crs", CODES)
def test_touching_a_box_is_what_shapely_says(crs: str) -> None:
    draw = np.random.default_rng([3, CODES.index(crs)])
    found = [block for _, block in blocks(crs)]
    shapes = shapely.from_wkb([block.wkb()[0] for block in found])
    for _ in range(50):
        at = shapely.get_coordinates(shapes[draw.integers(len(shapes))])
        lon, lat = np.clip(at[draw.integers(len(at))] + draw.normal(0, 1, 2), [-1e9, -90], [1e9, 90])
        wide, high = 10 ** draw.uniform(-2, 1.5, 2)
        west, east = ((edge + 180) % 360 - 180 for edge in (lon - wide, lon + wide))
        south, north = max(-90.0, lat - high), min(90.0, lat + high)
        sides = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        wanted = shapely.union_all([shapely.box(one, south, other, north) for one, other in sides])
        touched = [bool(block.touch((west, south, east, north))[0]) for block in found]
        assert touched == shapely.intersects(shapes, wanted).tolist()


@pytest.mark.parametrize(
    ("crs", "resolution", "row", "column", "kind", "edges"),
    [
        ("EPSG:32601", 1000.0, -94, 4, "MultiPolygon", (-180, 180)),  # 54° N, by the Bering Sea
        ("EPSG:4326", 0.1, -5, 28, "MultiPolygon", (-180, 180)),  # 179.2 to 185.6
        ("EPSG:3413", 1000.0, 0, 0, "MultiPolygon", (-180, 180)),  # a corner on the pole
        ("EPSG:32610", 10.0, -6500, 800, "Polygon", None),
    ],
)
def test_kinds_of_geometry_and_their_boxes(
    crs: str, resolution: float, row: int, column: int, kind: str, edges: tuple[float, float] | None
) -> None:
    lattice = Lattice(crs, resolution, resolution)
    columns = grid_tiles(lattice, Shape(64, 64), np.array([row]), np.array([column])).columns
    found = shapely.from_wkb(columns["geometry"][0].as_py())
    box = columns["bbox"][0].as_py()
    assert found.geom_type == kind
    if edges:
        assert (box["xmin"], box["xmax"]) == edges
    else:
        assert box["xmax"] - box["xmin"] < 0.1


def test_a_tile_without_a_place_is_empty_and_its_box_excludes_it_not() -> None:
    beyond = extents("EPSG:4326", np.array([[0.1, 0, 10, 0, -0.1, 99.0]]), 8, 8)
    assert shapely.from_wkb(beyond.wkb()[0]).is_empty
    assert beyond.boxes.tolist() == [[-180, -90, 180, 90]]
    assert not beyond.touch((-180, -90, 180, 90)).any()
    assert len(extents("EPSG:32610", np.zeros((0, 6)), 8, 8)) == 0


def test_an_edge_bends_beyond_its_vertices_and_its_box_with_it() -> None:
    """A wide UTM tile: the northernmost place of its upper side lies between two vertices."""
    transform = np.array([1000.0, 0, 260_000, 0, -1000.0, 7_000_000])
    block = extents("EPSG:32610", transform[None], 301, 50)
    x = np.linspace(260_000, 561_000, 10_001)
    _, lat = transformers("EPSG:32610")[0].transform(x, np.full(10_001, 7_000_000.0))
    assert block.boxes[0, 3] >= lat.max()
    assert block.boxes[0, 3] < lat.max() + 0.001


def test_boxes_beyond_180_degrees_are_halved() -> None:
    assert halves((170, -1, -170, 1)) == ((170, -1, 180, 1), (-180, -1, -170, 1))
    assert sorted(halves((170, -1, 190, 1))) == [(-180, -1, -170, 1), (170, -1, 180, 1)]
    assert halves((-200, -1, 200, 1)) == ((-180, -1, 180, 1),)
    assert halves((10, -1, 20, 1)) == ((10, -1, 20, 1),)
