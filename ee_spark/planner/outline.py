"""Outlines of rasters as edges in the pixels of a lattice: straight in their own plane, bent in ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ee_spark.errors import JobError
from ee_spark.planner.crs import LONLAT, Floats, Ints, crs_of, metres_of_unit, project
from ee_spark.planner.edges import Edges, pieces_of, straight
from ee_spark.planner.geodesic import METRES_PER_DEGREE, turned
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.polygon import Box
from ee_spark.planner.raster import Rasters

BEND = 0.25
"""Pixels. How closely outlines of rasters are followed: the centre of a pixel lies twice as far from its edge."""
LARGER = 1.01
"""How much larger than the band's an output pixel may be and count as equal: projections distort as much."""
TURNS = (-360.0, 0.0, 360.0)
"""Degrees by which what lies beyond ±180° is turned to where it lies too."""
BATCH = 4_000
"""Outlines drawn at a time."""
_SAMPLES = np.linspace(0.0, 1.0, 5)
_SHRINK = 1e-9  # of a raster's side: what lies on the seam of a projection would jump to the other end of it
_MOST_PIECES = 4096  # of a side of a raster
_CHAIN = 1024  # pieces of a side of a raster with a pole in it
_WIDE = 90.0  # degrees of longitude up to which a raster is drawn without looking at seams and poles
_MOST_PIXELS = 3e6  # a raster's side up to which it is drawn whole, wherever the region is

Plane = Callable[[Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Drawn:
    """Outlines in pixels: owner o of the edges is a part of the outline ``number[o]``.

    ``reach`` (owners, 2) are the half axes, in pixels, of the ellipse by which each part is grown. ``unknown`` outlines
    cannot be drawn: nobody knows what they touch.
    """

    edges: Edges
    number: Ints
    unknown: Ints
    reach: Floats | None = None


@dataclass(frozen=True)
class Outlines:
    """Parallelograms in CRSs: from ``corner`` along ``across`` and ``down``, each (n, 2), in the CRS ``code``."""

    code: Ints
    corner: Floats
    across: Floats
    down: Floats

    def take(self, index: Ints | slice) -> Outlines:
        """Return those at these indices."""
        return Outlines(self.code[index], self.corner[index], self.across[index], self.down[index])

    def is_level(self) -> npt.NDArray[np.bool_]:
        """Return which of them lie along the axes of their CRS."""
        return np.asarray((self.across[:, 1] == 0) & (self.down[:, 0] == 0))

    def at(self, across: Floats, down: Floats) -> Floats:
        """Return the places (n, k, 2) at shares of both sides, each (k)."""
        return self.corner[:, None] + across[:, None] * self.across[:, None] + down[:, None] * self.down[:, None]

    def lines(self) -> Floats:
        """Return the four sides (n, 4, 4), one after the other."""
        places = self.at(np.array([0.0, 1, 1, 0, 0]), np.array([0.0, 0, 1, 1, 0]))
        return np.concatenate([places[:, :-1], places[:, 1:]], 2)


def outlines_of(rasters: Rasters, index: Ints, lattice: Lattice) -> tuple[Outlines, Ints]:
    """Return the distinct outlines of the rasters ``index``, and for each of these the number of its outline.

    Where an output pixel is larger than the band's the outline is one output pixel larger on every side: the cells of
    pyramids reach beyond the raster's end.
    """
    corner, across, down = rasters.corners(index)
    affine = rasters.affine[index]
    column, row = affine[:, [0, 3]], affine[:, [1, 4]]
    outlines = Outlines(rasters.code[index], corner, across, down)
    steps = _own_pixels(outlines, column, row, rasters.crs, lattice)
    more = np.where((np.hypot(steps[:, 0], steps[:, 1]).max(1) > LARGER)[:, None], np.abs(steps).sum(2), 0.0)
    wider, higher = column * more[:, :1], row * more[:, 1:]
    grown = Outlines(outlines.code, corner - wider - higher, across + 2 * wider, down + 2 * higher)
    size = np.hypot(*np.abs(column + row).T)[:, None] * 1e-6
    alike = np.rint(np.concatenate([grown.corner, grown.across, grown.down], 1) / 10 ** np.floor(np.log10(size)))
    _, first, number = np.unique(np.column_stack([grown.code, alike]), axis=0, return_index=True, return_inverse=True)
    return grown.take(first), np.asarray(number, np.int64).ravel()


def _own_pixels(outlines: Outlines, column: Floats, row: Floats, crs: Sequence[str], lattice: Lattice) -> Floats:
    """Return how many of a raster's columns and rows one output pixel is, (n, 2, 2): [own axis, output axis]."""
    own = np.stack([column, row], 2)
    steps = np.zeros_like(own)
    for code, name in enumerate(crs):
        mine = np.flatnonzero(outlines.code == code)
        ratio = _ratio(name, lattice)
        if not len(mine) or not np.isfinite(ratio):
            continue
        nominal = np.linalg.inv(own[mine]) @ np.diag([lattice.res_x, -lattice.res_y]) * ratio
        steps[mine] = nominal
        if name == lattice.crs:
            continue
        middle = outlines.corner[mine] + (outlines.across[mine] + outlines.down[mine]) / 2
        places = np.stack([middle, middle + column[mine], middle + row[mine]], 1)
        pixels = np.stack(lattice.pixels(*project(name, lattice.crs, places[..., 0], places[..., 1])), -1)
        with np.errstate(all="ignore"):
            forward = np.stack([pixels[:, 1] - pixels[:, 0], pixels[:, 2] - pixels[:, 0]], 2)
            turn = np.linalg.det(forward)
            known = np.isfinite(turn) & (turn != 0)
        real = np.linalg.inv(np.where(known[:, None, None], forward, np.eye(2)))
        # far less than nominal is the seam of a projection that lies between the three places
        known &= np.abs(real).max((1, 2)) > 0.2 * np.abs(nominal).max((1, 2))
        steps[mine] = np.where(known[:, None, None], real, nominal)
    return steps


def _ratio(crs: str, lattice: Lattice) -> float:
    """Return how many units of a raster's CRS one of the lattice's is, nominally; infinite where nobody knows."""
    try:
        return 1.0 if crs == lattice.crs else metres_of_unit(lattice.crs) / metres_of_unit(crs)
    except JobError:
        return np.inf


def is_geographic(crs: str) -> bool:
    """Return True for coordinates in degrees; False where the CRS cannot be read too."""
    try:
        return bool(crs_of(crs).is_geographic)
    except JobError:
        return False


def draw_rasters(outlines: Outlines, crs: Sequence[str], lattice: Lattice, boxes: Sequence[Box]) -> Iterator[Drawn]:
    """Yield outlines of rasters in pixels of a lattice, batch by batch, as far as they lie in the boxes (lon/lat)."""
    for code, name in enumerate(crs):
        mine = np.flatnonzero(outlines.code == code)
        for first in range(0, len(mine), BATCH):
            number = mine[first : first + BATCH]
            some = outlines.take(number)
            if name == lattice.crs:
                yield _own(some, number, lattice)
                continue
            try:
                crs_of(name)
            except JobError:
                yield Drawn(Edges.of([]), np.zeros(0, np.int64), number)
                continue
            yield from _foreign(some, number, name, lattice, boxes)


def _own(outlines: Outlines, number: Ints, lattice: Lattice) -> Drawn:
    """Return outlines that lie in the lattice's own CRS; one in degrees is there again a turn to the west and east."""
    lines = outlines.lines().reshape(-1, 4)
    lines = np.column_stack([*lattice.pixels(lines[:, 0], lines[:, 1]), *lattice.pixels(lines[:, 2], lines[:, 3])])
    owner = np.repeat(np.arange(len(number)), 4)
    if not is_geographic(lattice.crs):
        return Drawn(Edges(lines, owner), number, number[:0])
    turns = np.array(TURNS) / lattice.res_x
    shift = np.array([1.0, 0, 1, 0])
    copies = np.concatenate([lines + turn * shift for turn in turns])
    owners = np.concatenate([owner + len(number) * copy for copy in range(3)])
    west, east = lattice.pixels(np.array([-180.0, 180.0]), np.zeros(2))[0].tolist()
    world = Edges(copies, owners).cut((west, -np.inf, east, np.inf))  # what of a tile lies beyond is not asked for
    return Drawn(world, np.tile(number, 3), number[:0])


def _foreign(outlines: Outlines, number: Ints, crs: str, lattice: Lattice, boxes: Sequence[Box]) -> Iterator[Drawn]:
    """Yield outlines that lie in another CRS: unknown where it fails or folds, else those near the boxes."""
    degrees = is_geographic(crs)
    outlines = _sound(outlines, degrees=degrees)
    down, across = (axis.ravel() for axis in np.meshgrid(_SAMPLES, _SAMPLES))
    places = outlines.at(across, down)
    lon, lat, known = _placed(places, crs, degrees=degrees)
    poles = _poles(outlines, crs) if not degrees else np.zeros((len(number), 2), bool)
    width, height = np.ptp(lon, 1), np.ptp(lat, 1)
    box = np.stack([lon.min(1) - width / 4, lat.min(1) - height / 4, lon.max(1) + width / 4, lat.max(1) + height / 4])
    box[1, poles[:, 0]], box[3, poles[:, 1]] = -90, 90
    box[0, poles.any(1)], box[2, poles.any(1)] = -360, 360
    near = np.zeros(len(number), bool)
    for west, south, east, north in boxes:
        for turn in TURNS:
            near |= (box[0] + turn <= east) & (box[2] + turn >= west) & (box[1] <= north) & (box[3] >= south)
    near &= known
    pixels = np.stack(lattice.pixels(*project(crs, lattice.crs, places[..., 0], places[..., 1])), -1)
    with np.errstate(invalid="ignore"):
        small = np.ptp(pixels, 1).max(1) < _MOST_PIXELS
    inner = (box[0] > -180) & (box[2] < 180) & (box[1] > -88) & (box[3] < 88) & (width < _WIDE)
    plain = near & inner & small & np.isfinite(pixels).all((1, 2)) & (len(boxes) == 1)
    if plain.any():
        lines = outlines.take(plain).lines().reshape(-1, 4)
        edges = Edges(lines, np.repeat(np.arange(int(plain.sum())), 4)).along(
            straight, lambda x, y: lattice.pixels(*project(crs, lattice.crs, x, y)), BEND
        )
        yield checked(edges, number[plain])
    yield Drawn(Edges.of([]), number[:0], number[~known])
    rest = near & ~plain & ~poles.any(1)
    if rest.any():
        edges = _in_degrees(outlines.take(rest), lon[rest, 12], crs, lattice, degrees=degrees)
        yield _bent(over_turns(edges, number[rest], boxes), lattice, boxes)
    for index in np.flatnonzero(near & ~plain & poles.any(1)).tolist():
        around = _around_pole(outlines.take(slice(index, index + 1)), crs, north=bool(poles[index, 1]))
        if around is None or poles[index].all():
            yield Drawn(Edges.of([]), number[:0], number[index : index + 1])
        else:
            yield _bent(Drawn(around, number[index : index + 1], number[:0]), lattice, boxes)


def _sound(outlines: Outlines, *, degrees: bool) -> Outlines:
    """Return outlines within the poles, a little smaller: their ends may lie on the seam of a projection."""
    corner, across, down = outlines.corner, outlines.across, outlines.down
    if degrees:
        level = outlines.is_level()
        first, last = (np.clip(end, -90, 90) for end in (corner[:, 1], corner[:, 1] + down[:, 1]))
        corner = np.where(level[:, None], np.column_stack([corner[:, 0], first]), corner)
        down = np.where(level[:, None], np.column_stack([down[:, 0], last - first]), down)
    corner = corner + (across + down) * _SHRINK
    return replace(outlines, corner=corner, across=across * (1 - 2 * _SHRINK), down=down * (1 - 2 * _SHRINK))


def _placed(places: Floats, crs: str, *, degrees: bool) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return lon and lat of places (n, 25, 2) without a jump at ±180°, and where the CRS neither fails nor folds."""
    x, y = places[..., 0], places[..., 1]
    lon, lat = project(crs, LONLAT, x, y)
    back_x, back_y = project(LONLAT, crs, lon, lat)
    with np.errstate(invalid="ignore"):
        off_x = turned(back_x - x) if degrees else back_x - x
        off = np.hypot(off_x, back_y - y).max(1)
        known = np.isfinite(lon).all(1) & np.isfinite(lat).all(1) & (off <= 1e-4 * (np.ptp(x, 1) + np.ptp(y, 1)))
        middle = x if degrees else lon[:, 12:13]
        lon = middle + turned(lon - middle)
    lon, lat = (np.where(known[:, None], one, 0.0) for one in (lon, lat))
    return lon, lat, known


def _poles(outlines: Outlines, crs: str) -> npt.NDArray[np.bool_]:
    """Return for each outline whether the south and the north pole lie in it."""
    x, y = project(LONLAT, crs, np.zeros(2), np.array([-90.0, 90.0]))
    off = np.stack([x, y], 1) - outlines.corner[:, None]
    with np.errstate(invalid="ignore"):
        share = np.linalg.solve(np.stack([outlines.across, outlines.down], 2)[:, None], off[..., None])[..., 0]
        return np.asarray(((share > -0.01) & (share < 1.01)).all(2))


def _in_degrees(outlines: Outlines, middle: Floats, crs: str, lattice: Lattice, *, degrees: bool) -> Edges:
    """Return outlines as edges in lon/lat that follow them to a fraction of a pixel; ``middle`` (n) are longitudes."""
    lines, owner = outlines.lines().reshape(-1, 4), np.repeat(np.arange(len(middle)), 4)
    pixel = min(lattice.res_x, lattice.res_y) * metres_of_unit(lattice.crs) / METRES_PER_DEGREE

    def to_degrees(places: Floats, reference: Floats) -> Floats:
        lon, lat = project(crs, LONLAT, places[..., 0], places[..., 1])
        reference = places[..., 0] if degrees else reference[:, None]
        with np.errstate(invalid="ignore"):
            return np.stack([reference + turned(lon - reference), np.clip(lat, -90, 90)], -1)

    sampled = to_degrees(straight(lines, _SAMPLES), middle[owner])
    count = pieces_of(sampled, BEND * pixel / 8, _MOST_PIECES)
    edge = np.repeat(np.arange(len(count)), count)
    piece = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    shares = np.stack([piece, piece + 1], 1) / count[edge, None]
    places = to_degrees(straight(lines[edge], shares), middle[owner][edge])
    first, last = piece == 0, piece == count[edge] - 1
    places[first, 0], places[last, 1] = sampled[:, 0], sampled[:, 4]  # the next side begins just there
    return Edges(places.reshape(-1, 4), owner[edge])


def _around_pole(outlines: Outlines, crs: str, *, north: bool) -> Edges | None:
    """Return the outline of one raster with a pole in it as edges in lon/lat, three times round.

    Closed along the pole; None where it does not go round once.
    """
    places = straight(outlines.lines()[0], np.arange(_CHAIN) / _CHAIN).reshape(-1, 2)
    lon, lat = project(crs, LONLAT, places[:, 0], places[:, 1])
    if not np.isfinite(lon).all():
        return None
    steps = turned(np.diff(lon, append=lon[0]))
    if abs(abs(steps.sum()) - 360) > 1e-6:
        return None
    turn = 360.0 * np.sign(steps.sum())
    once = lon[0] + np.cumsum(steps) - steps
    chain = np.concatenate([once - turn, once, once + turn, [once[0] + 2 * turn]])
    pole = 90.0 if north else -90.0
    x = np.concatenate([[chain[0]], chain, [chain[-1], chain[0]]])
    y = np.concatenate([[pole], np.tile(lat, 3), [lat[0]], [pole, pole]])
    lines = np.column_stack([x[:-1], y[:-1], x[1:], y[1:]])
    return Edges(lines, np.zeros(len(lines), np.int64))


def over_turns(edges: Edges, number: Ints, boxes: Sequence[Box]) -> Drawn:
    """Return outlines in lon/lat where they lie, and a turn to the west and to the east, as parts of their own."""
    west, east = min(box[0] for box in boxes), max(box[2] for box in boxes)
    parts, owners = [], []
    for copy, turn in enumerate(TURNS):
        low = np.full(len(number), np.inf)
        high = -low
        np.minimum.at(low, edges.owner, edges.lines[:, [0, 2]].min(1))
        np.maximum.at(high, edges.owner, edges.lines[:, [0, 2]].max(1))
        mine = ((low + turn < east) & (high + turn > west))[edges.owner]
        parts.append(edges.lines[mine] + turn * np.array([1.0, 0, 1, 0]))
        owners.append(edges.owner[mine] + copy * len(number))
    return Drawn(Edges(np.concatenate(parts), np.concatenate(owners)), np.tile(number, 3), number[:0])


def cut_to(drawn: Drawn, boxes: Sequence[Box]) -> Drawn:
    """Return what lies in the boxes, each box's as parts of their own."""
    count = len(drawn.number)
    cuts = [drawn.edges.cut(box) for box in boxes]
    lines = np.concatenate([part.lines for part in cuts])
    owner = np.concatenate([part.owner + count * index for index, part in enumerate(cuts)])
    return replace(drawn, edges=Edges(lines, owner), number=np.tile(drawn.number, len(boxes)))


def _bent(drawn: Drawn, lattice: Lattice, boxes: Sequence[Box]) -> Drawn:
    cut = cut_to(drawn, boxes)
    return checked(cut.edges.along(straight, lattice.from_lonlat, BEND), cut.number)


def checked(edges: Edges, number: Ints) -> Drawn:
    """Return outlines in pixels, unknown where a part of them has no place there."""
    lost = np.unique(number[edges.owner[~np.isfinite(edges.lines).all(1)]])
    kept = edges.take(~np.isin(number[edges.owner], lost)) if len(lost) else edges
    return Drawn(kept, number, lost)
