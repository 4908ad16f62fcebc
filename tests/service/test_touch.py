"""Which tiles recorded and made-up scenes touch: none that holds a pixel is lost, few are vain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
import shapely.affinity
from recorded import images as recorded
from recorded import rest
from touch_truth import HALF, Grid, Tile, crs_of, footprint, grown, raster

from ee_spark.planner.alignment import Layer
from ee_spark.planner.choice import Choice
from ee_spark.planner.crs import metres_of_unit
from ee_spark.planner.intersection import region_runs, tile_runs
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.metadata import gather
from ee_spark.planner.polygon import Polygons, boxes
from ee_spark.planner.tile import Shape

SCENES = [number for number in recorded() if rest(number).get("geometry") and number not in (2, 20)]
MOST_VAIN = 0.05


def touched(
    asset: dict[str, Any], bands: set[str], grid: Grid, bbox: Any, **choice: Any
) -> tuple[set[Tile], set[Tile], set[Tile]]:
    """Return the tiles that are planned, those that only the footprint took away, and those of the region."""
    region, shape = Polygons(boxes(bbox)), Shape(grid.side, grid.side)
    layer = Layer(Lattice(grid.crs, grid.size, grid.size), np.arange(1))
    wanted = region_runs(region, [layer], shape)
    found, spared = tile_runs(region, gather([asset]), [layer], wanted, shape, Choice(frozenset(bands), **choice))

    def cells(runs: Any) -> set[Tile]:
        row, column = runs.cells()
        return set(zip(row.tolist(), column.tolist(), strict=True))

    mine, less = (cells(one[0][2]) if one else set() for one in (found, spared))
    return mine, less, cells(wanted[0])


def truth(asset: dict[str, Any], bands: set[str], grid: Grid) -> tuple[Any, Any, Any]:
    """Return the union of the bands' rasters in pixels, what the grown footprint leaves of it, and the ungrown one."""
    rasters, reach = [], 0.0
    for band in asset["bands"]:
        if band["id"] not in bands or "dimensions" not in band["grid"]:
            continue
        crs = band["grid"]["crsCode"]
        metres, shape = metres_of_unit(crs), raster(band)
        corners = [np.array(shape.exterior.coords[index]) for index in (0, 400, 800, 1200)]
        diagonals = [math.dist(corners[0], corners[2]), math.dist(corners[1], corners[3])]
        size = band["grid"]["dimensions"]
        pixels = [math.dist(corners[0], corners[1]) / size["width"], math.dist(corners[1], corners[2]) / size["height"]]
        reach = max(reach, metres * max(2 * max(pixels), 0.005 * max(diagonals)))
        rasters.append(grid.pixels(shape, crs_of(crs)))
    whole = shapely.union_all(rasters)
    if not asset.get("geometry"):
        return whole, whole, whole
    area = footprint(asset["geometry"])
    large, crs = grown(area, max(reach, 2 * grid.size * metres_of_unit(grid.crs)))
    outer, inner = grid.pixels(large, crs), grid.pixels(area, "OGC:CRS84")
    return whole, shapely.intersection(whole, outer), shapely.intersection(whole, inner)


def vain_share(asset: dict[str, Any], bands: set[str], grid: Grid, bbox: Any) -> tuple[int, int]:
    """Check that no tile is lost, and return how many are planned and how many of these in vain."""
    mine, less, wanted = touched(asset, bands, grid, bbox)
    whole, outer, inner = truth(asset, bands, grid)
    lost = (grid.tiles(outer, HALF) & wanted) - mine
    assert not lost, sorted(lost)[:5]
    assert not mine & less
    assert not (grid.tiles(whole, HALF) & wanted) - mine - less
    everything, none, _ = touched(asset, bands, grid, bbox, prune=False)
    assert everything == mine | less
    assert not none
    return len(mine), len(mine - grid.tiles(inner, 0))


def box_around(asset: dict[str, Any], more: float = 0.5) -> tuple[float, float, float, float]:
    west, south, east, north = footprint(asset["geometry"]).bounds
    return max(-180, west - more), max(-89, south - more), min(180, east + more), min(89, north + more)


@pytest.mark.parametrize("side", [32, 64, 128, 256, 512])
@pytest.mark.parametrize("number", SCENES)
def test_no_tile_of_a_recorded_scene_is_lost(number: int, side: int) -> None:
    asset = rest(number)
    band = next(band for band in asset["bands"] if "dimensions" in band["grid"])
    crs, size = band["grid"]["crsCode"], band["grid"]["affineTransform"]["scaleX"]
    metres = size * metres_of_unit(crs)
    if metres < 1:
        pytest.skip("millions of tiles")
    other = "EPSG:4326" if crs != "EPSG:4326" else "EPSG:3857"
    for code in (crs, other) if side > 64 else (crs,):
        grid = Grid(code, metres / metres_of_unit(code), side)
        planned, vain = vain_share(asset, {band["id"]}, grid, box_around(asset))
        if side == 256 and planned > 50:
            assert vain <= MOST_VAIN * planned


def test_all_bands_of_a_scene_of_2017_touch_what_the_large_ones_do() -> None:
    asset = rest(11)
    bands = {band["id"] for band in asset["bands"]}
    grid = Grid("EPSG:32635", 10.0, 256)
    planned, vain = vain_share(asset, bands, grid, box_around(asset))
    assert vain <= MOST_VAIN * planned


def test_the_unbounded_asset_touches_all_of_its_raster() -> None:
    mine, less, wanted = touched(rest(2), {"b1"}, Grid("EPSG:4326", 0.01, 64), (-20.0, -10.0, 20.0, 10.0))
    assert mine == wanted
    assert not less


def test_the_rotated_asset_touches_its_parallelogram() -> None:
    asset = rest(28)
    shape = raster(asset["bands"][0])
    lon, lat = pyproj.Transformer.from_crs("EPSG:32652", "OGC:CRS84", always_xy=True).transform(*shape.exterior.xy)
    box = min(lon) - 0.01, min(lat) - 0.01, max(lon) + 0.01, max(lat) + 0.01
    for code, size in (("EPSG:32652", 1.0), ("EPSG:4326", 1e-5)):
        grid = Grid(code, size, 256)
        mine, _, _ = touched(asset, {"b1"}, grid, box)
        own = grid.pixels(shape, crs_of("EPSG:32652"))
        assert grid.tiles(own, HALF) <= mine <= grid.tiles(own.buffer(2.5), 0)


def synthetic(seed: int) -> dict[str, Any]:
    """A scene somewhere on Earth: on a UTM, lon/lat, sinusoidal or polar grid, with a footprint of any kind or none."""
    dice = np.random.default_rng(seed)
    kind = seed % 5
    lon, lat = float(dice.uniform(-178, 178)), float(dice.uniform(-65, 75))
    north = lat > 0
    if kind < 2:
        crs, size = f"EPSG:{(32601 if north else 32701) + int((lon + 180) // 6)}", [(30.0, 7600), (10.0, 10980)][kind]
    elif kind == 2:
        crs, size = "EPSG:4326", (0.0022, int(dice.integers(400, 5000)))
    elif kind == 3:
        crs, size = "SR-ORG:6974", (231.65635826395825, 4800)
    else:
        lat = float(dice.uniform(66, 87)) * (1 if north else -1)
        crs, size = "EPSG:3413" if north else "EPSG:3031", (100.0, int(dice.integers(500, 8000)))
    pixel, side = size
    turn = pyproj.Transformer.from_crs("OGC:CRS84", crs_of(crs), always_xy=True)
    x, y = turn.transform(lon, lat)
    if kind == 3:
        lon = lon / 3  # away from the edge of the sinusoidal globe
        x, y = turn.transform(lon, lat)
    left, top = (math.floor(value / pixel) * pixel for value in (x - pixel * side / 2, y + pixel * side / 2))
    grid = {
        "crsCode": crs,
        "affineTransform": {"scaleX": pixel, "translateX": left, "scaleY": -pixel, "translateY": top},
        "dimensions": {"width": side, "height": int(side * dice.uniform(0.7, 1.2))},
    }
    asset: dict[str, Any] = {"name": f"S/{seed}", "bands": [{"id": "B", "grid": grid}]}
    angles = np.sort(dice.uniform(0, 2 * np.pi, int(dice.integers(4, 9))))
    reach = pixel * side * dice.uniform(0.25, 0.7, len(angles))
    places = np.column_stack([x + reach * np.cos(angles), y + reach * np.sin(angles)])
    ring = np.column_stack(turn.transform(*places.T, direction="INVERSE"))
    form = int(dice.integers(0, 6))
    if form == 0 or not np.isfinite(ring).all():
        return asset
    closed = [*ring.tolist(), ring[0].tolist()]
    inner = (ring.mean(0) + 0.2 * (ring - ring.mean(0))).tolist()
    asset["geometry"] = [
        {"type": "LinearRing", "coordinates": closed[::-1]},
        {"type": "Polygon", "coordinates": [closed[:-1]]},
        {"type": "Polygon", "coordinates": [closed, [*inner, inner[0]]]},
        {"type": "MultiPolygon", "coordinates": [[closed]], "geodesic": False},
        {"type": "GeometryCollection", "geometries": [
            {"type": "Point", "coordinates": closed[0]}, {"type": "Polygon", "coordinates": [closed]}]},
    ][form - 1]  # fmt: skip
    return asset


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_no_tile_of_a_made_up_scene_is_lost(first: int) -> None:
    planned = vain = 0
    for seed in range(first, first + 20):
        asset = synthetic(seed)
        band = asset["bands"][0]["grid"]
        crs, pixel = band["crsCode"], band["affineTransform"]["scaleX"]
        outline = raster(asset["bands"][0])
        turn = pyproj.Transformer.from_crs(crs_of(crs), "OGC:CRS84", always_xy=True)
        lon, lat = turn.transform(*outline.exterior.xy)
        if not np.isfinite(lon).all() or np.ptp(lon) > 100 or np.abs(lon).max() > 180:
            continue  # across a seam, or around a pole: those have tests of their own
        box = max(-180, min(lon) - 0.3), max(-89, min(lat) - 0.3), min(180, max(lon) + 0.3), min(89, max(lat) + 0.3)
        side = [64, 128, 256, 512][seed % 4] if seed % 7 else 32
        other = "EPSG:4326" if crs != "EPSG:4326" else "EPSG:3857"
        code = crs if seed % 3 == 0 else other
        metres = pixel * metres_of_unit(crs) * [1, 1, 2.5][seed % 3]
        grid = Grid(code, metres / metres_of_unit(code), side)
        mine, less = vain_share(asset, {"B"}, grid, box)
        if side == 256:
            planned, vain = planned + mine, vain + less
    assert vain <= MOST_VAIN * planned


def test_a_scene_across_the_antimeridian_touches_both_sides() -> None:
    affine = {"scaleX": 1000.0, "translateX": 600_000.0, "scaleY": -1000.0, "translateY": 1_200_000.0}
    grid = {"crsCode": "EPSG:32660", "affineTransform": affine, "dimensions": {"width": 400, "height": 200}}
    asset: dict[str, Any] = {"name": "A/B", "bands": [{"id": "B", "grid": grid}]}
    turn = pyproj.Transformer.from_crs("EPSG:32660", "OGC:CRS84", always_xy=True)
    lon, lat = turn.transform(*raster(asset["bands"][0]).exterior.xy)
    own = shapely.Polygon(np.column_stack([np.mod(lon, 360), lat]))
    for geometry in (None, {"type": "LinearRing", "coordinates": np.column_stack([lon, lat])[::100].tolist()}):
        for code, size in (("EPSG:4326", 0.01), ("EPSG:3857", 1000.0)):
            mine, _, wanted = touched(
                {**asset, "geometry": geometry}, {"B"}, Grid(code, size, 16), (179.0, 8.0, -178.0, 12.0)
            )
            need: set[Tile] = set()
            for west, east, shift in ((0, 180, 0), (180, 360, -360)):
                part = shapely.intersection(own, shapely.box(west, -90, east, 90))
                moved = shapely.affinity.translate(part, shift)
                need |= Grid(code, size, 16).tiles(Grid(code, size, 16).pixels(moved, "OGC:CRS84"), 1.5)
            assert len(need & wanted) > 20
            assert not (need & wanted) - mine
            assert len(mine) < len(wanted) if geometry is None else True


@pytest.mark.parametrize("code", ["EPSG:4326", "EPSG:3413", "EPSG:3857"])
def test_a_raster_with_a_pole_in_it_is_found_all_around(code: str) -> None:
    affine = {"scaleX": 1000.0, "translateX": -600_000.0, "scaleY": -1000.0, "translateY": 500_000.0}
    grid = {"crsCode": "EPSG:3995", "affineTransform": affine, "dimensions": {"width": 1100, "height": 900}}
    asset: dict[str, Any] = {"name": "A/B", "bands": [{"id": "B", "grid": grid}]}
    lattice = Grid(code, 0.02 if code == "EPSG:4326" else 1000.0, 16)
    mine, _, wanted = touched(asset, {"B"}, lattice, (-180.0, 82.0, 180.0, 88.0))
    turn = pyproj.Transformer.from_crs(crs_of(code), "EPSG:3995", always_xy=True)
    row, column = np.array(sorted(wanted)).T
    x, y = turn.transform((column + 0.5) * 16 * lattice.size, -(row + 0.5) * 16 * lattice.size)
    inside = (np.abs(x + 50_000) < 550_000) & (np.abs(y - 50_000) < 450_000)
    assert inside.any()
    assert {(int(r), int(c)) for r, c in zip(row[inside], column[inside], strict=True)} <= mine
    assert len(mine) < len(wanted)
