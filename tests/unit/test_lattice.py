"""The pixel lattice: scale in units, offsets, the point formula, curved edges."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ee_spark.errors import JobError
from ee_spark.planner.crs import LONLAT, crs_of, metres_to_units, project
from ee_spark.planner.lattice import Lattice, aligned
from ee_spark.planner.region import Points
from ee_spark.planner.tile import Shape, patches

TO_LONLAT = pyproj.Transformer.from_crs("EPSG:32610", "OGC:CRS84", always_xy=True)

SINUSOIDAL = pyproj.CRS.from_proj4("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m")


@pytest.mark.parametrize(
    ("crs", "metres", "units"),
    [
        ("EPSG:4326", 10, 8.98315284120e-05),  # the contract's own number
        ("EPSG:4326", 30, float(f"{30 * 180 / (math.pi * 6378137):.12g}")),
        ("EPSG:4267", 10, float(f"{10 * 180 / (math.pi * 6378206.4):.12g}")),  # NAD27: Clarke 1866
        ("EPSG:3857", 10, 10.0),
        ("EPSG:32610", 30, 30.0),
        ("EPSG:5070", 30, 30.0),
        ("EPSG:3031", 30, 30.0),
        ("EPSG:2263", 10, float(f"{10 * 3937 / 1200:.12g}")),  # the US survey foot is 1200/3937 m
        ("EPSG:2222", 10, float(f"{10 / 0.3048:.12g}")),  # the international foot
        ("SR-ORG:6974", 500, 500.0),
    ],
)
def test_a_scale_in_metres_is_at_the_true_scale_of_the_crs(crs, metres, units):
    assert metres_to_units(crs, metres) == units


def test_what_is_no_crs_is_refused():
    with pytest.raises(
        JobError, match=r"grid\.crs: 'EPSG:nothing' is not a CRS that can be read; write e\.g\. EPSG:32610"
    ):
        crs_of("EPSG:nothing")


@pytest.mark.parametrize("crs", ["EPSG:32610", "EPSG:32733", "EPSG:3857", "EPSG:5070", "EPSG:2263", "EPSG:3031"])
def test_projecting_is_what_pyproj_says(crs):
    rng = np.random.default_rng(3)
    area = pyproj.CRS(crs).area_of_use
    lon, lat = rng.uniform(area.west, area.east, 50), rng.uniform(area.south, area.north, 50)
    lon[7], lat[11], lat[12] = np.inf, 91.0, np.nan
    x, y = project(LONLAT, crs, lon, lat)
    tx, ty = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(lon, lat)
    good = np.ones(50, bool)
    good[[7, 11, 12]] = False
    np.testing.assert_allclose(x[good], tx[good], rtol=0, atol=1e-6)
    np.testing.assert_allclose(y[good], ty[good], rtol=0, atol=1e-6)
    assert not np.isfinite(x[~good]).any()


def test_the_modis_sphere_is_the_one_that_the_data_lie_on():
    x, y = project(LONLAT, "SR-ORG:6974", np.array([-122.4]), np.array([37.7]))
    tx, ty = pyproj.Transformer.from_crs("+proj=longlat +R=6371007.181", SINUSOIDAL, always_xy=True).transform(
        -122.4, 37.7
    )
    assert (x[0], y[0]) == pytest.approx((-10768769.37, 4192053.46), abs=0.01)  # the published figures
    assert (x[0], y[0]) == pytest.approx((tx, ty), abs=0.01)


@pytest.mark.parametrize(
    ("crs", "resolution", "x", "y", "offset"),
    [
        ("EPSG:32610", 30.0, 459585.0, 4264515.0, (15.0, 15.0)),  # Landsat: 15 m off multiples of 30
        ("EPSG:32610", 10.0, 499980.0, 4200000.0, (0.0, 0.0)),  # Sentinel-2
        ("EPSG:32613", 30.0, 336375.0, 4462425.0, (15.0, 15.0)),  # the quickstart's series
        ("EPSG:32610", 30.0, -15.0, -15.0, (15.0, 15.0)),
        ("EPSG:31985", 28.5, 288776.25, 9120760.75, (288776.25 % 28.5, 9120760.75 % 28.5)),
    ],
)
def test_the_offset_is_the_remainder_of_the_corner(crs, resolution, x, y, offset):
    lattice = aligned(crs, resolution, resolution, x, y)
    assert (lattice.x0, lattice.y0) == pytest.approx(offset, abs=1e-6)


def test_modis_tiles_share_one_lattice_despite_float_noise():
    # the two 250 m resolutions and corners that products publish
    a = aligned("SR-ORG:6974", 231.65635826395825, 231.65635826395834, -20015109.354, 10007554.677)
    b = aligned(
        "SR-ORG:6974", 231.65635826395825, 231.65635826395834, -20015109.354 + 231.65635826395825 * 4800, 10007554.677
    )
    c = aligned("SR-ORG:6974", 231.65635826395825, 231.65635826395834, -20015109.354, 8895604.157336)
    assert a.key == b.key == c.key
    assert abs(a.x0) < 1e-3
    assert abs(a.y0) < 1e-3


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([10.0, 30.0, 28.5, 0.0001, 231.65635826395825, 32.8083333333]),
    st.integers(-200_000, 200_000),
    st.floats(0, 1, exclude_max=True),
    st.integers(-1000, 1000),
)
def test_images_on_one_lattice_have_one_key_wherever_they_begin(resolution, column, share, steps):
    edge = (column + share) * resolution
    one = aligned("EPSG:32610", resolution, resolution, edge, edge)
    other = aligned("EPSG:32610", resolution, resolution, edge + steps * resolution, edge - steps * resolution)
    assert 0 <= one.x0 < resolution
    # edges coincide: the distance between the two corners is a whole number of pixels
    for a, b in ((one.x0, other.x0), (one.y0, other.y0)):
        apart = abs(a - b) / resolution
        assert min(apart, abs(apart - 1)) < 2e-6
    noise = one.offset[0]
    if 1e-5 < noise < 1 - 1e-5 and abs(noise * 1e5 - round(noise * 1e5)) < 0.3:
        assert one.key == other.key


def test_lattices_that_differ_have_different_keys():
    keys = {
        Lattice(*values).key
        for values in (
            ("EPSG:32610", 30, 30, 0, 0),
            ("EPSG:32610", 30, 30, 15, 15),
            ("EPSG:32610", 30, 30, 15, 0),
            ("EPSG:32610", 10, 10, 0, 0),
            ("EPSG:32611", 30, 30, 0, 0),
        )
    }
    assert len(keys) == 5


@settings(max_examples=500, deadline=None)
@given(
    st.floats(400_000, 600_000),
    st.floats(4_000_000, 4_300_000),
    st.integers(1, 65),
    st.integers(1, 65),
    st.sampled_from([10.0, 30.0, 28.5]),
    st.sampled_from([0.0, 15.0, 7.25]),
)
def test_the_point_formula(x, y, width, height, resolution, offset):
    """CONTRACT: u = (x − x0)/res, v = (y0 − y)/res; left = floor(u − w/2 + ½), top = floor(v − h/2 + ½)."""
    lattice = Lattice("EPSG:32610", resolution, resolution, offset, offset)
    lon, lat = TO_LONLAT.transform(x, y)
    tiles = patches(
        lattice, Shape(width, height), Points(("p",), np.array([lon]), np.array([lat]), pa.table({})), snap=True
    )
    left, top = tiles.left[0], tiles.top[0]
    u, v = Fraction(x - offset) / Fraction(resolution), Fraction(offset - y) / Fraction(resolution)
    near = Fraction(1, 10_000)  # what projecting there and back may cost
    for place, corner, side in ((u, left, width), (v, top, height)):
        exact = place - Fraction(side, 2) + Fraction(1, 2)
        if min(exact % 1, 1 - exact % 1) > near:
            assert corner == math.floor(exact)
        if side % 2:  # the middle pixel holds the point
            assert corner + side // 2 - near <= place <= corner + side // 2 + 1 + near
        else:  # the middle is the nearest lattice corner
            assert abs(corner + side // 2 - place) <= Fraction(1, 2) + near
    sx, _, tx, _, sy, ty = tiles.transform(0)
    assert (sx, sy) == (resolution, -resolution)
    assert ((tx - offset) / resolution, (offset - ty) / resolution) == pytest.approx((left, top), abs=1e-9)


@given(st.floats(-170, 170), st.floats(-80, 80), st.integers(1, 65), st.integers(1, 65), st.integers(0, 5))
def test_off_the_lattice_a_patch_is_centred_exactly_on_its_point(lon, lat, width, height, margin):
    lattice = Lattice("EPSG:4326", 0.001, 0.001)
    points = Points(("p",), np.array([lon]), np.array([lat]), pa.table({}))
    tiles = patches(lattice, Shape(width, height, margin), points, snap=False)
    sx, _, x, _, sy, y = tiles.transform(0)
    w, h = tiles.shape.stored
    assert (w, h) == (width + 2 * margin, height + 2 * margin)
    assert (x + sx * w / 2, y + sy * h / 2) == pytest.approx((lon, lat), abs=1e-9)
    assert tiles.row is None
    assert tiles.column is None
