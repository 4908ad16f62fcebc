"""Which tiles and patches a region and rasters touch, against shapely and pyproj over every tile of the box."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from touch_truth import raster

from ee_spark.planner import utm
from ee_spark.planner.alignment import Layer
from ee_spark.planner.cover import union
from ee_spark.planner.edges import Edges
from ee_spark.planner.footprint import Footprints
from ee_spark.planner.images import Images
from ee_spark.planner.intersection import patch_runs, region_runs, tile_runs
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.metadata import gather
from ee_spark.planner.region import Points, Polygons, boxes
from ee_spark.planner.tile import Shape

SLIVER = 0.16  # pixels: what reaches less far into a tile, or stays so close outside it, decides no pixel centre


def image_of(number: int, crs: str, affine, size, geometry=None) -> dict:
    keys = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    grid = {
        "crsCode": crs,
        "affineTransform": dict(zip(keys, affine, strict=True)),
        "dimensions": {"width": size[0], "height": size[1]},
    }
    return {"name": f"I{number:05}", "bands": [{"id": "B", "grid": grid}], "geometry": geometry}


def computed(count: int) -> Images:
    zeros = np.zeros(count, np.int64)
    names = tuple(f"I{i}" for i in range(count))
    return Images(names, zeros, zeros, zeros, zeros, ((),), Footprints.none(count), ("{}",) * count)


def polygon_of(shape) -> tuple[np.ndarray, ...]:
    return tuple(np.array(ring.coords) for ring in (shape.exterior, *shape.interiors))


def polygons_of(shape) -> tuple[tuple[np.ndarray, ...], ...]:
    parts = [part for part in getattr(shape, "geoms", [shape]) if part.geom_type == "Polygon" and part.area]
    return tuple(polygon_of(part) for part in parts)


def in_pixels(shape, lattice: Lattice):
    """The shape with its lon/lat edges cut very fine, in pixels of the lattice."""
    fine = shapely.segmentize(shape, 0.01)
    transform = pyproj.Transformer.from_crs("OGC:CRS84", lattice.crs, always_xy=True).transform

    def to_pixels(places):
        x, y = transform(places[:, 0], places[:, 1])
        return np.column_stack([(x - lattice.x0) / lattice.res_x, (lattice.y0 - y) / lattice.res_y])

    return shapely.make_valid(shapely.transform(fine, to_pixels))


def truth(shape, lattice: Lattice, tile: Shape) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """The (row, column) of tiles that the shape surely touches, and of those that it touches at all."""
    pixels = in_pixels(shape, lattice)
    if pixels.is_empty:
        return set(), set()
    left, top, right, bottom = pixels.bounds
    columns = np.arange(int(left // tile.width) - 1, int(right // tile.width) + 2)
    rows = np.arange(int(top // tile.height) - 1, int(bottom // tile.height) + 2)
    c, r = (axis.ravel() for axis in np.meshgrid(columns, rows))
    tiles = shapely.box(c * tile.width, r * tile.height, (c + 1) * tile.width, (r + 1) * tile.height)
    shrunk = shapely.box(
        c * tile.width + SLIVER, r * tile.height + SLIVER, (c + 1) * tile.width - SLIVER, (r + 1) * tile.height - SLIVER
    )
    shapely.prepare(pixels)
    sure, all_ = shapely.intersects(pixels, shrunk), shapely.intersects(pixels.buffer(SLIVER), tiles)
    return (
        {(int(a), int(b)) for a, b in zip(r[sure], c[sure], strict=True)},
        {(int(a), int(b)) for a, b in zip(r[all_], c[all_], strict=True)},
    )


def cells(runs) -> set[tuple[int, int]]:
    rows, columns = runs.cells()
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def layer(crs: str, resolution: float, count: int, offset: float = 0.0) -> Layer:
    return Layer(Lattice(crs, resolution, resolution, offset, offset), np.arange(count))


@st.composite
def shapes(draw, around=(-121.5, 38.0), reach=0.6):
    count = draw(st.integers(3, 8))
    angles = np.sort(draw(st.lists(st.floats(0, 6.28), min_size=count, max_size=count, unique=True)))
    radii = np.array(draw(st.lists(st.floats(0.01, reach), min_size=count, max_size=count)))
    middle = np.array([around[0] + draw(st.floats(-0.3, 0.3)), around[1] + draw(st.floats(-0.3, 0.3))])
    shape = shapely.make_valid(
        shapely.Polygon(middle + radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]))
    )
    if draw(st.booleans()):
        shape = shape.difference(shape.buffer(-0.3 * reach))
    shape = shape.buffer(-0.004).buffer(0.004, quad_segs=2)  # what is thinner is test_cover's
    return shapely.MultiPolygon([part for part in getattr(shape, "geoms", [shape]) if part.geom_type == "Polygon"])


LATTICES = [
    ("EPSG:32610", 1000.0), ("EPSG:4326", 0.01), ("EPSG:5070", 1000.0), ("EPSG:3857", 1000.0), ("EPSG:2226", 3000.0),
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(shapes(), st.sampled_from(LATTICES), st.sampled_from([4, 7, 16]))
def test_tiles_are_those_that_the_region_touches(region, lattice, side):
    if not region.area:
        return
    on, tile = layer(*lattice, 2), Shape(side, side + 1)
    polygons = Polygons(polygons_of(region))
    wanted = region_runs(polygons, [on], tile)
    sure, possible = truth(region, on.lattice, tile)
    assert sure <= cells(wanted[0]) <= possible
    found, spared = tile_runs(polygons, computed(2), [on], wanted, tile)
    assert [cells(runs) for _, _, runs in found] == [cells(wanted[0])] * 2
    assert not spared


@st.composite
def rasters(draw, number):
    """An image with a raster near California: turned, sheared or plain, its rows running south or north."""
    crs, size = draw(st.sampled_from([("EPSG:32610", 900.0), ("EPSG:4326", 0.009), ("EPSG:5070", 1100.0)]))
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(
        -121.5 + draw(st.floats(-0.5, 0.5)), 38 + draw(st.floats(-0.5, 0.5))
    )
    turn = draw(st.sampled_from([0.0, 0.0, 0.3, 2.0]))
    shear = draw(st.sampled_from([0.0, 0.0, 0.4]))
    a, b = size * np.cos(turn), size * (shear * np.cos(turn) - np.sin(turn))
    c, d = size * np.sin(turn), size * (shear * np.sin(turn) + np.cos(turn))
    sign = draw(st.sampled_from([1, -1]))
    size = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    return image_of(number, crs, [float(v) for v in (a, sign * b, x, c, sign * d, y)], size)


def outline(image: dict, lattice: Lattice):
    """The raster of an image in pixels of a lattice, one output pixel larger where those are larger than its own."""
    grid = image["bands"][0]["grid"]
    own = shapely.segmentize(raster(image["bands"][0]), 1e9)
    turn = pyproj.Transformer.from_crs(grid["crsCode"], lattice.crs, always_xy=True).transform

    def to_pixels(places):
        x, y = turn(places[:, 0], places[:, 1])
        return np.column_stack(
            [(np.asarray(x) - lattice.x0) / lattice.res_x, (lattice.y0 - np.asarray(y)) / lattice.res_y]
        )

    return shapely.make_valid(shapely.transform(own, to_pixels))


def near_cells(shape, tile: Shape, inset: float) -> set[tuple[int, int]]:
    left, top, right, bottom = shape.bounds
    columns = np.arange(int(left // tile.width) - 2, int(right // tile.width) + 3)
    rows = np.arange(int(top // tile.height) - 2, int(bottom // tile.height) + 3)
    c, r = (axis.ravel() for axis in np.meshgrid(columns, rows))
    low = np.stack([c * tile.width, r * tile.height])
    boxes_ = shapely.box(*(low + inset), low[0] + tile.width - inset, low[1] + tile.height - inset)
    meets = shapely.intersects(shape, boxes_)
    return {(int(a), int(b)) for a, b in zip(r[meets], c[meets], strict=True)}


@settings(max_examples=60, deadline=None)
@given(st.lists(rasters(0), min_size=1, max_size=4), st.sampled_from(LATTICES), st.sampled_from([3, 8, 32]))
def test_tiles_are_those_that_a_raster_touches(drawn, lattice, side):
    assets = [{**asset, "name": f"I{number}"} for number, asset in enumerate(drawn)]
    images, on, tile = gather(assets), layer(*lattice, len(assets)), Shape(side, side + 1)
    region = Polygons(boxes((-124.5, 35.5, -118.5, 40.5)))
    wanted = region_runs(region, [on], tile)
    found, spared = tile_runs(region, images, [on], wanted, tile)
    by_image = {image: cells(runs) for _, image, runs in found}
    assert not spared
    for number, asset in enumerate(assets):
        shape = outline(asset, on.lattice)
        sure, possible = near_cells(shape, tile, 0.5), near_cells(shape.buffer(2.5), tile, 0)
        assert sure & cells(wanted[0]) <= by_image.get(number, set()) <= possible


@settings(max_examples=60, deadline=None)
@given(st.lists(rasters(0), min_size=1, max_size=3), st.sampled_from(LATTICES), st.integers(0, 2**31))
def test_patches_are_those_that_a_raster_touches(drawn, lattice, seed):
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-122.5, -120.5, 30), rng.uniform(37.2, 38.8, 30)
    points = Points(tuple(map(str, range(30))), lon, lat, pa.table({}))
    assets = [{**asset, "name": f"I{number}"} for number, asset in enumerate(drawn)]
    on, tile = layer(*lattice, len(assets)), Shape(5, 6)
    (found, _), corners = patch_runs(points, gather(assets), [on], tile, snap=True)
    left, top = corners[0][0] * tile.width, corners[0][1] * tile.height
    by_image = {image: set(runs.row.tolist()) for _, image, runs in found}
    for number, asset in enumerate(assets):
        shape = outline(asset, on.lattice)
        box = np.array([left, top, left + tile.width, top + tile.height])
        sure = shapely.intersects(shape, shapely.box(*(box + np.array([[0.5]] * 2 + [[-0.5]] * 2))))
        possible = shapely.intersects(shape.buffer(2.5), shapely.box(*box))
        assert set(np.flatnonzero(sure)) <= by_image.get(number, set()) <= set(np.flatnonzero(possible))


@settings(max_examples=150, deadline=None)
@given(shapes(), st.floats(-122, -121), st.floats(37.5, 38.2), st.floats(0.05, 1), st.floats(0.05, 1))
def test_edges_cut_to_a_box_bound_exactly_the_intersection(shape, west, south, width, height):
    box = (west, south, west + width, south + height)
    polygons = polygons_of(shape)
    edges = Edges.of(polygons).cut(box)
    expected = shape.intersection(shapely.box(*box))
    x1, y1, x2, y2 = edges.lines.T
    for owner in range(len(polygons)):  # the area by the parity of crossings, on a comb of meridians
        mine = edges.owner == owner
        part = shapely.Polygon(polygons[owner][0], polygons[owner][1:]).intersection(shapely.box(*box))
        for x in np.linspace(west, west + width, 17)[1:-1]:
            crosses = mine & ((x1 > x) != (x2 > x))
            y = np.sort((y1 + (x - x1) * (y2 - y1) / np.where(x1 == x2, 1, x2 - x1))[crosses])
            assert len(y) % 2 == 0
            assert (y[1::2] - y[::2]).sum() == pytest.approx(
                part.intersection(shapely.LineString([(x, -90), (x, 90)])).length, abs=1e-9
            )
    if not expected.area:
        assert not len(edges) or np.ptp(edges.lines[:, [0, 2]]) * np.ptp(edges.lines[:, [1, 3]]) < 1e-9


def test_a_polygon_that_ends_on_the_box_leaves_nothing_beyond_it():
    square = (np.array(shapely.box(-126, 30, -120, 32).exterior.coords),)
    assert not len(Edges.of([square]).cut((-120, 0, -114, 90)))
    inside = Edges.of([square]).cut((-126, 0, -120, 90))
    assert inside.lines[:, [0, 2]].min() == -126
    assert inside.lines[:, [0, 2]].max() == -120
    assert len(inside) == 4


def test_a_raster_of_the_whole_earth_touches_everything():
    world = polygons_of(shapely.box(-180, -90, 180, 90))[0][0]
    geometry = {"type": "Polygon", "coordinates": [world.tolist()]}
    images = gather([image_of(0, "EPSG:4326", (0.25, 0, -180, 0, -0.25, 90), (1440, 720), geometry),
                     image_of(1, "EPSG:4326", (0.25, 0, -180.125, 0, -0.25, 90.125), (1441, 721))])  # fmt: skip
    area = shapely.box(14.0, 52.0, 14.4, 52.2)
    for crs, resolution in (("EPSG:32633", 100.0), ("EPSG:3857", 100.0), ("EPSG:4326", 0.001), ("SR-ORG:6974", 500.0)):
        on, tile = layer(crs, resolution, 2), Shape(16, 16)
        polygons = Polygons(polygons_of(area))
        wanted = region_runs(polygons, [on], tile)
        found, spared = tile_runs(polygons, images, [on], wanted, tile)
        assert [cells(runs) for _, _, runs in found] == [cells(wanted[0])] * 2
        assert not spared
        assert wanted[0].count > 4


def test_a_polar_region_around_the_pole():
    area = shapely.box(-180, -90, 180, -85)
    on, tile = layer("EPSG:3031", 10_000.0, 1), Shape(4, 4)
    (found,) = region_runs(Polygons(polygons_of(area)), [on], tile)
    reach = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:3031", always_xy=True).transform(90, -85)[0] / 10_000
    disk = shapely.Point(0, 0).buffer(reach, quad_segs=4000)
    c, r = (axis.ravel() for axis in np.meshgrid(np.arange(-20, 20), np.arange(-20, 20)))
    touched = shapely.intersects(disk, shapely.box(c * 4 + 0.01, r * 4 + 0.01, c * 4 + 3.99, r * 4 + 3.99))
    assert cells(found) == {(int(a), int(b)) for a, b in zip(r[touched], c[touched], strict=True)}


# UTM


@given(st.floats(-180, 180), st.floats(-90, 90))
@example(179.99999999999997, 0.0)
def test_a_place_belongs_to_one_half_zone(lon, lat):
    zone = (Fraction(lon) + 180) // 6 + 1
    zone = 1 if lon == 180 else zone
    code = f"EPSG:{32600 + zone if lat >= 0 else 32700 + zone}"
    assert utm.codes(np.array([lon]), np.array([lat])) == [code]
    west, south, east, north = utm.half_zone(code)
    assert west - 1e-9 <= lon <= east or lon == 180
    assert south <= lat <= north
    assert utm.is_utm(code)


def test_norway_and_svalbard_are_no_exceptions():
    bergen, svalbard = (4.0, 60.0), (7.0, 78.0)
    assert utm.codes(*np.array([bergen, svalbard]).T) == ["EPSG:32631", "EPSG:32632"]
    assert not utm.is_utm("EPSG:32661")
    assert not utm.is_utm("EPSG:32600")


@settings(max_examples=25, deadline=None)
@given(shapes(around=(-120.0, 0.1), reach=0.8))
def test_utm_tiles_are_those_touched_in_each_half_zone(region):
    polygons = Polygons(polygons_of(region))
    if not region.area:
        return
    tile = Shape(8, 8)
    codes = utm.zones(polygons)
    layers = [Layer(Lattice(code, 500.0, 500.0), np.arange(1), utm.half_zone(code)) for code in codes]
    wanted = region_runs(polygons, layers, tile)
    for one, runs in zip(layers, wanted, strict=True):
        sure, possible = truth(region.intersection(shapely.box(*one.zone)), one.lattice, tile)
        assert sure <= cells(runs) <= possible
    covered = shapely.union_all(
        [
            shapely.transform(
                shapely.union_all(shapely.box(c * 8, r * 8, c * 8 + 8, r * 8 + 8)),
                lambda p, code=one.lattice.crs: np.column_stack(
                    pyproj.Transformer.from_crs(code, "OGC:CRS84", always_xy=True).transform(*(p * (500, -500)).T)
                ),
            )
            for one, runs in zip(layers, wanted, strict=True)
            for r, c in [runs.cells()]
            if len(r)
        ]
    )
    assert region.difference(covered.buffer(SLIVER * 500 / 110_000)).area < 1e-9  # no gap


def test_the_zones_that_a_box_touches():
    for bbox, codes in (
        ((-126.0, 30.0, -120.0, 31.0), ["EPSG:32610"]),
        ((-126.1, -1.0, -120.0, 31.0), ["EPSG:32609", "EPSG:32610", "EPSG:32709", "EPSG:32710"]),
        ((178.0, 1.0, -179.0, 2.0), ["EPSG:32601", "EPSG:32660"]),
    ):
        assert utm.zones(Polygons(boxes(bbox))) == codes


def test_a_point_has_a_patch_in_its_own_zone_only():
    points = Points(("a", "b", "c"), np.array([-120.001, -119.999, 180.0]), np.array([1.0, 1.0, -1.0]), pa.table({}))
    codes = utm.zones(points)
    layers = [Layer(Lattice(code, 10.0, 10.0), np.arange(1), utm.half_zone(code)) for code in codes]
    (found, _), _ = patch_runs(points, computed(1), layers, Shape(8, 8), snap=True)
    assert {codes[index]: runs.row.tolist() for index, _, runs in found} == {
        "EPSG:32610": [0], "EPSG:32611": [1], "EPSG:32701": [2],
    }  # fmt: skip


def test_thousands_of_images_are_found_together():
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-2_300_000, -1_700_000, 2_000), rng.uniform(1_400_000, 2_200_000, 2_000)
    turn = pyproj.Transformer.from_crs("EPSG:5070", "OGC:CRS84", always_xy=True).transform
    assets = []
    for number, (left, top) in enumerate(zip(x.round(), y.round(), strict=True)):
        lon, lat = turn(left + np.array([20e3, 215e3, 190e3, 0, 20e3]), top - np.array([0, 30e3, 225e3, 190e3, 0]))
        ring = {"type": "LinearRing", "coordinates": np.column_stack([lon, lat]).tolist()}
        assets.append(image_of(number, "EPSG:5070", (30.0, 0, float(left), 0, -30.0, float(top)), (7200, 7500), ring))
    region, on, tile = Polygons(boxes((-124.0, 34.0, -116.0, 41.0))), layer("EPSG:3310", 30.0, 2_000), Shape(256, 256)
    images = gather(assets)
    wanted = region_runs(region, [on], tile)
    started = time.process_time()
    found, spared = tile_runs(region, images, [on], wanted, tile)
    seconds = time.process_time() - started
    assert len(found) > 1_500
    assert len(spared) > 1_500
    assert union([runs for _, _, runs in found]).count > 7_000
    assert seconds < 5, f"{seconds:.1f} s"  # benchmarks/plan.py has the figures
