"""Footprints grown by a distance on the ground, as edges in the pixels of a lattice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ee_spark.planner.crs import Floats, Ints, metres_of_unit
from ee_spark.planner.edges import Edges, straight
from ee_spark.planner.footprint import Footprints, degrees_of
from ee_spark.planner.geodesic import METRES_PER_DEGREE, along, unwrapped
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.outline import BATCH, Drawn, checked, cut_to, over_turns
from ee_spark.planner.polygon import Box

SLACK = 0.02
"""Parts of the distance by which a footprint is grown to which its edges are followed; it is grown by that more."""


def draw_footprints(
    footprints: Footprints, number: Ints, metres: Floats, lattice: Lattice, boxes: Sequence[Box]
) -> Iterator[Drawn]:
    """Yield the footprints ``number``, grown by ``metres``, in pixels of a lattice; each is named by its index there.

    Grown by two pixels of the lattice at least. As far as they lie near the boxes (lon/lat), batch by batch.
    """
    lon = unwrapped(footprints.places[:, 0], footprints.rings) if len(footprints.places) else np.zeros(0)
    lon = np.where(np.repeat(_planar_rings(footprints), np.diff(footprints.rings)), footprints.places[:, 0], lon)
    order = np.argsort(metres, kind="stable")  # boxes are widened by the largest of a batch
    for first in range(0, len(order), BATCH):
        index = order[first : first + BATCH]
        edges, number_of, planar = _footprint_edges(footprints, lon, number[index])
        yield _grown(edges, index[number_of], planar, metres[index][number_of], lattice, boxes)


def _planar_rings(footprints: Footprints) -> npt.NDArray[np.bool_]:
    shapes = footprints.polygons[footprints.shapes]
    return np.repeat(footprints.planar, np.diff(shapes))


def _footprint_edges(footprints: Footprints, lon: Floats, number: Ints) -> tuple[Edges, Ints, npt.NDArray[np.bool_]]:
    """Return edges owned by polygons, and for each polygon the index of its footprint, and whether it is planar."""
    polygon, of_polygon = _ranges(footprints.shapes, number)
    place, owner = _ranges(footprints.rings[footprints.polygons], polygon)
    ends = np.zeros(len(lon) + 1, bool)
    ends[footprints.rings] = True
    keep = ~ends[place + 1]  # from the last place of a ring no edge begins
    place, owner = place[keep], owner[keep]
    lat = footprints.places[:, 1]
    lines = np.column_stack([lon[place], lat[place], lon[place + 1], lat[place + 1]])
    return Edges(lines, owner), of_polygon, footprints.planar[number[of_polygon]]


def _ranges(edges: Ints, index: Ints) -> tuple[Ints, Ints]:
    """Return every whole number from ``edges[i]`` to ``edges[i + 1]`` for each i of ``index``, and which i it is."""
    start, count = edges[index], edges[index + 1] - edges[index]
    which = np.repeat(np.arange(len(index)), count)
    return np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(start, count), which


def _grown(
    edges: Edges, number: Ints, planar: npt.NDArray[np.bool_], metres: Floats, lattice: Lattice, boxes: Sequence[Box]
) -> Drawn:
    """Return footprints in pixels with how far each part reaches beyond its edges."""
    bends = ~planar[edges.owner]
    pixels = 0.1 * min(lattice.res_x, lattice.res_y) * metres_of_unit(lattice.crs)  # two, where a pixel is stretched
    slack = np.maximum(metres[edges.owner], pixels) * (SLACK / METRES_PER_DEGREE)
    followed = edges.take(bends).along(along, lambda x, y: (x, y), slack[bends])
    lines = np.concatenate([followed.lines, edges.lines[~bends]])
    edges = Edges(lines, np.concatenate([followed.owner, edges.owner[~bends]]))
    most = float(metres.max(initial=0.0))
    wide = [_widened(box, most) for box in boxes]
    drawn = cut_to(over_turns(edges, np.arange(len(number)), wide), wide)
    number, metres = number[drawn.number], metres[drawn.number]
    over = drawn.edges.lines[:, [0, 2]]
    unsure = number[:0]
    if _has_seam(lattice, boxes):  # what lies across ±180° would be drawn at the other end
        unsure = np.unique(number[drawn.edges.owner[(np.abs(over) > 180).any(1)]])
    reach = _reach(drawn.edges, len(number), metres, lattice)
    within = np.where(np.isfinite(reach).all(1), reach.min(1), 1.0)
    bent = drawn.edges.along(straight, lattice.from_lonlat, SLACK * within[drawn.edges.owner])
    kept = checked(bent, number)
    unknown = np.unique(np.concatenate([kept.unknown, unsure, number[~np.isfinite(reach).all(1)]]))
    inside = ~np.isin(number[kept.edges.owner], unknown)
    return Drawn(kept.edges.take(inside), number, unknown, reach * (1 + 2 * SLACK))


def _widened(box: Box, metres: float) -> Box:
    west, south, east, north = box
    x, y = degrees_of(metres, max(abs(south), abs(north)))
    return west - x, max(-90.0, south - y), east + x, min(90.0, north + y)


def _has_seam(lattice: Lattice, boxes: Sequence[Box]) -> bool:
    """Return True where the lattice jumps at ±180° of longitude, within the latitudes of the boxes."""
    lat = np.repeat([(box[1] + box[3]) / 2 for box in boxes], 3)
    u, v = lattice.from_lonlat(np.tile([180 - 3e-6, 180 - 1e-6, 180 + 1e-6], len(boxes)), lat)
    steps = np.abs(np.diff(np.stack([u, v]).reshape(2, -1, 3), axis=2)).max(0)
    return not bool((np.isfinite(steps).all(1) & (steps[:, 1] <= 10 * steps[:, 0] + 1e-3)).all())


def _reach(edges: Edges, count: int, metres: Floats, lattice: Lattice) -> Floats:
    """Return the half axes (count, 2), in pixels, of ellipses that hold each part's distance on the ground.

    They are the largest of those at five places of the box around the part.
    """
    box = np.tile([np.inf, np.inf, -np.inf, -np.inf], (count, 1))
    for end in (0, 2):
        for axis in (0, 1):
            np.minimum.at(box[:, axis], edges.owner, edges.lines[:, end + axis])
            np.maximum.at(box[:, 2 + axis], edges.owner, edges.lines[:, end + axis])
    there = np.isfinite(box).all(1)
    box[~there] = 0.0
    lon = np.stack([box[:, 0], box[:, 2], box[:, 0], box[:, 2], (box[:, 0] + box[:, 2]) / 2], 1)
    lat = np.stack([box[:, 1], box[:, 1], box[:, 3], box[:, 3], (box[:, 1] + box[:, 3]) / 2], 1).clip(-89.9, 89.9)
    step = 1e-4
    east, north = np.where(lon > 0, -step, step), np.where(lat > 0, -step, step)
    places = [(lon, lat), (lon + east, lat), (lon, lat + north)]
    here, right, up = (np.stack(lattice.from_lonlat(*place), -1) for place in places)
    with np.errstate(invalid="ignore"):
        by_lon = (right - here) / (step * METRES_PER_DEGREE * np.cos(np.radians(lat)))[..., None]
        by_lat = (up - here) / (step * 110_574.0)  # a degree of latitude is no shorter anywhere
        axes = np.hypot(by_lon, by_lat)
        tilt = np.abs(by_lon[..., 0] * by_lon[..., 1] + by_lat[..., 0] * by_lat[..., 1]) / axes.prod(-1)
        ellipse = axes * np.sqrt(1 + tilt)[..., None] * metres[:, None, None]
    known = np.isfinite(ellipse).all(2)
    most = np.where(known[..., None], ellipse, 0.0).max(1)
    most[there & ~known.any(1)] = np.inf
    return np.asarray(np.maximum(most * (1 + SLACK), 2.0))
