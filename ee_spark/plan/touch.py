"""Which tiles or patches lie in the region, and which of them each image's footprint touches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ee_spark.plan.cover import Runs, cover, union
from ee_spark.plan.grid import Floats, Lattice, densify
from ee_spark.plan.images import Images
from ee_spark.plan.region import Points, Polygon, Polygons
from ee_spark.plan.tile import Shape, patches

TOLERANCE = 0.05
"""Pixels. Footprints follow curved edges to about a hundredth of a pixel; what reaches less than this into a tile holds
no pixel centre of it and only runs along its edge."""


def tile_runs(
    region: Polygons, images: Images, lattice_of: Sequence[int], lattices: Sequence[Lattice], shape: Shape
) -> list[tuple[int, int, Runs]]:
    """Return (lattice index, image index, tiles) for each image that touches a tile of the region."""
    wanted = [_runs(region.polygons, lattice, shape) for lattice in lattices]
    known: dict[tuple[int, bytes], Runs] = {}
    found = []
    for image, footprint in enumerate(images.footprints):
        where = lattice_of[image]
        if footprint is None:
            runs = wanted[where]
        else:
            key = (where, b"".join(ring.tobytes() for polygon in footprint for ring in polygon))
            if key not in known:
                near = _near(footprint, region.bounds, lattices[where], shape)
                known[key] = _runs(near, lattices[where], shape) & wanted[where]
            runs = known[key]
        if runs.count:
            found.append((where, image, runs))
    return found


def patch_runs(
    points: Points,
    images: Images,
    lattice_of: Sequence[int],
    lattices: Sequence[Lattice],
    shape: Shape,
    *,
    snap: bool,
) -> tuple[list[tuple[int, int, Runs]], list[tuple[Floats, Floats]]]:
    """Return (lattice index, image index, points) for each image that touches a patch, and the patches' corners.

    The corners are, for each lattice, the patches' (columns, rows) in tiles.
    """
    placed = [patches(lattice, shape, points, snap=snap) for lattice in lattices]
    found = []
    known: dict[tuple[int, bytes], npt.NDArray[np.bool_]] = {}
    for image, footprint in enumerate(images.footprints):
        where = lattice_of[image]
        key = (where, b"".join(ring.tobytes() for polygon in footprint or () for ring in polygon))
        if key not in known:
            tiles = placed[where]
            defined = np.isfinite(tiles.left) & np.isfinite(tiles.top)
            if footprint is not None:
                near = _near(footprint, points.bounds, lattices[where], shape)
                defined &= touching(near, lattices[where], tiles.left, tiles.top, shape)
            known[key] = defined
        index = np.flatnonzero(known[key])
        if len(index):
            found.append((where, image, Runs(index, np.zeros_like(index), np.ones_like(index))))
    return found, [(tiles.left / shape.width, tiles.top / shape.height) for tiles in placed]


def touching(
    polygons: Sequence[Polygon], lattice: Lattice, left: Floats, top: Floats, shape: Shape
) -> npt.NDArray[np.bool_]:
    """Return for each patch whether a polygon overlaps more than a sliver of it."""
    u1, u2 = left + TOLERANCE, left + shape.width - TOLERANCE
    v1, v2 = top + TOLERANCE, top + shape.height - TOLERANCE
    found = np.zeros(left.shape, bool)
    for rings in _projected(polygons, lattice):
        outer = rings[0]
        candidate = np.flatnonzero(
            (outer[:, 0].min() < u2) & (outer[:, 0].max() > u1) & (outer[:, 1].min() < v2) & (outer[:, 1].max() > v1)
        )
        if len(candidate):
            box = (u1[candidate], v1[candidate], u2[candidate], v2[candidate])
            found[candidate] |= _overlap(rings, *box)
    return found


def _overlap(rings: Sequence[Floats], u1: Floats, v1: Floats, u2: Floats, v2: Floats) -> npt.NDArray[np.bool_]:
    """Return for each box whether an edge passes through it or its middle lies inside the rings (even-odd)."""
    u, v = (u1 + u2) / 2, (v1 + v2) / 2
    inside, crossed = np.zeros(u.shape, bool), np.zeros(u.shape, bool)
    for ring in rings:
        for (a, b), (c, d) in zip(ring[:-1].tolist(), ring[1:].tolist(), strict=True):
            if b != d:
                inside ^= ((b > v) != (d > v)) & (u < (c - a) * (v - b) / (d - b) + a)
            enter, leave = np.zeros(u.shape), np.ones(u.shape)
            for origin, step, low, high in ((a, c - a, u1, u2), (b, d - b, v1, v2)):
                if step:
                    near, far = (low - origin) / step, (high - origin) / step
                    enter, leave = np.maximum(enter, np.minimum(near, far)), np.minimum(leave, np.maximum(near, far))
                else:
                    leave = np.where((low < origin) & (origin < high), leave, -1.0)
            crossed |= enter < leave
    return inside | crossed


def _runs(polygons: Sequence[Polygon], lattice: Lattice, shape: Shape) -> Runs:
    side = np.array([shape.width, shape.height])
    tolerance = TOLERANCE / max(shape.width, shape.height)
    return union([cover([ring / side for ring in rings], tolerance) for rings in _projected(polygons, lattice)])


def _projected(polygons: Sequence[Polygon], lattice: Lattice) -> list[list[Floats]]:
    """Return polygons in pixels of a lattice; what the projection cannot show is left out of them."""
    projected = []
    for polygon in polygons:
        rings = [densify(ring, lattice.from_lonlat, TOLERANCE / 5) for ring in polygon]
        rings = [ring[np.isfinite(ring).all(1)] for ring in rings]
        if len(rings[0]) > 2:
            closed = [np.vstack([ring, ring[:1]]) for ring in rings if len(ring) > 2]
            projected.append(closed)
    return projected


def _near(
    footprint: Sequence[Polygon], bounds: tuple[float, float, float, float], lattice: Lattice, shape: Shape
) -> list[Polygon]:
    """Return a footprint cut to the region's box and a tile around it.

    A footprint may be the whole Earth, which no UTM zone can show; far from the region it does not matter.
    """
    west, south, east, north = bounds
    middle = np.array([(west + east) / 2]), np.array([(south + north) / 2])
    u, v = lattice.from_lonlat(*middle)
    lon, lat = lattice.lonlat(u + np.array([0.0, 2.0 * shape.width]), v + np.array([0.0, 2.0 * shape.height]))
    reach = max(0.1, *np.abs([np.diff(lon)[0], np.diff(lat)[0]]).tolist()) if np.isfinite([lon, lat]).all() else 1.0
    box = (west - reach, south - reach, east + reach, north + reach)
    cut = [tuple(_clip(ring, box) for ring in polygon) for polygon in footprint]
    return [tuple(ring for ring in polygon if len(ring) > 3) for polygon in cut if len(polygon[0]) > 3]


def _clip(ring: Floats, box: tuple[float, float, float, float]) -> Floats:
    """Return a closed ring cut to a box (Sutherland and Hodgman 1974); where it is cut it runs along the box."""
    for axis, limit, sign in ((0, box[0], 1), (1, box[1], 1), (0, box[2], -1), (1, box[3], -1)):
        if not len(ring):
            break
        depth = sign * (ring[:, axis] - limit)
        if (depth >= 0).all():
            continue
        start, end, d1, d2 = ring[:-1], ring[1:], depth[:-1], depth[1:]
        crossing = (d1 >= 0) != (d2 >= 0)
        share = np.divide(d1, d1 - d2, out=np.zeros_like(d1), where=crossing)
        cut = start + (end - start) * share[:, None]
        cut[:, axis] = np.where(crossing, limit, cut[:, axis])
        kept = np.stack([cut, end], 1)[np.stack([crossing, d2 >= 0], 1)]
        ring = np.vstack([kept, kept[:1]]) if len(kept) else kept
    return ring
