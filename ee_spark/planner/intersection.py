"""Which tiles or patches lie in the region, and which of them each image's footprint touches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ee_spark.errors import JobError
from ee_spark.planner.alignment import Layer
from ee_spark.planner.cover import Runs, centres, cover, union
from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.edges import Edges
from ee_spark.planner.images import Images
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.limits import MOST_TILES, check_count, check_extent, outside
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Box, Polygon, Polygons
from ee_spark.planner.tile import Shape, patches
from ee_spark.planner.utm import in_half_zone

TOLERANCE = 0.05
"""Pixels. The corners of footprints are given to about a hundredth of a pixel; a boundary that stays this close to a
tile's edge runs along it."""
BEND = 0.1
"""Pixels. How closely curved edges are followed; what reaches less far into a tile holds no pixel centre of it."""
FARTHEST = 2.0**50
"""Pixels from the CRS origin; a projection gives such numbers where it does not end, as at the other pole."""
MOST_LISTED = 4_000_000
"""Tiles that are listed one by one."""
WORLD: Box = (-180.0, -90.0, 180.0, 90.0)
_BATCH = 100_000  # edges bent at a time
_BANDS = 1 << 30  # rows of all polygons of one batch, stacked
_MATRIX = 1_000_000  # edges × patches looked at in one step

Found = tuple[int, int, Runs]
"""Index of the layer, index of the image, and its tiles (or points) there."""


def region_runs(
    region: Polygons, layers: Sequence[Layer], shape: Shape, key: str = "grid", most: int = MOST_TILES
) -> list[Runs]:
    """Return, for each layer, the tiles that the region touches, in a UTM zone only where it lies in the zone.

    Raises:
        JobError: if they are too many, or none: a region always touches a tile, where its CRS can show it.
    """
    found: list[Runs] = []
    shows = False
    edges = Edges.of(region.polygons)
    count = 0
    for layer in layers:
        boxes = [_within(box, layer.zone or WORLD) for box in region.boxes]
        shows |= check_extent(
            layer.lattice, [box for box in boxes if box[0] <= box[2] and box[1] <= box[3]], shape, key
        )
        mine = edges.cut(layer.zone) if layer.zone else edges
        found.append(union([runs for _, runs in _covered(mine, layer.lattice, shape)]))
        count += found[-1].count
        check_count(count, key, most)
    if layers and not count:
        west, south, east, north = region.boxes[0]
        if not shows:
            raise outside(layers[0].lattice.crs, (west + east) / 2, (south + north) / 2)
        raise JobError(
            f"region: {east - west:.3g} × {north - south:.3g} degrees at {west:g}, {south:g} touch no tile; write a "
            "larger one"
        )
    return found


def _within(box: Box, other: Box) -> Box:
    """Return what two boxes share; inside out where that is nothing."""
    west, south = max(box[0], other[0]), max(box[1], other[1])
    return west, south, min(box[2], other[2]), min(box[3], other[3])


def touched_tiles(area: Polygons, lattice: Lattice, shape: Shape, key: str = "grid") -> tuple[Ints, Ints]:
    """Return the (rows, columns) of the tiles that an area touches.

    Raises:
        JobError: if they are more than a list of them can be.
    """
    return region_runs(area, [Layer(lattice, np.zeros(0, np.int64))], shape, key, MOST_LISTED)[0].cells()


def pixels_inside(area: Polygons, lattice: Lattice, left: int, top: int, side: int) -> npt.NDArray[np.bool_]:
    """Return for each pixel of a square block whether its centre lies in an area; lattices in degrees only."""
    inside = np.zeros((side, side), bool)
    edges = Edges.of(area.polygons)
    x1, y1, x2, y2 = edges.lines.T
    pixels = np.column_stack([*lattice.pixels(x1, y1), *lattice.pixels(x2, y2)]) - (left, top, left, top)
    for owner in np.unique(edges.owner):
        runs = centres(pixels[edges.owner == owner])
        for row, start, stop in zip(runs.row.tolist(), runs.start.tolist(), runs.stop.tolist(), strict=True):
            if 0 <= row < side:
                inside[row, max(0, start) : max(0, stop)] = True
    return inside


def tile_runs(
    region: Polygons, images: Images, layers: Sequence[Layer], wanted: Sequence[Runs], shape: Shape
) -> list[Found]:
    """Return the tiles of each image that touches any of the ``wanted`` ones of its layer."""
    found: list[Found] = []
    for index, (layer, tiles) in enumerate(zip(layers, wanted, strict=True)):
        outlines, outline = _distinct(images, layer.images)
        touched = _touched(outlines, near(region.boxes, layer.lattice, shape), tiles, layer.lattice, shape)
        pairs = zip(layer.images.tolist(), outline, strict=True)
        found += [(index, image, touched[number]) for image, number in pairs if touched[number].count]
    return found


def patch_runs(
    points: Points, images: Images, layers: Sequence[Layer], shape: Shape, *, snap: bool
) -> tuple[list[Found], list[tuple[Floats, Floats]]]:
    """Return the points, as runs of one, whose patch each image touches, and the patches' corners.

    The corners are, for each layer, the patches' (columns, rows) in tiles. In UTM a point has a patch in its own zone.
    """
    found: list[Found] = []
    corners = []
    shows = not layers or not len(points.lon)
    for index, layer in enumerate(layers):
        lattice = layer.lattice
        tiles = patches(lattice, shape, points, snap=snap)
        corners.append((tiles.left / shape.width, tiles.top / shape.height))
        placed = (np.abs(tiles.left) < FARTHEST) & (np.abs(tiles.top) < FARTHEST)  # and not infinite
        if layer.zone:
            placed &= in_half_zone(lattice.crs, points.lon, points.lat)
        shows |= bool(placed.any())
        outlines, outline = _distinct(images, layer.images)
        boxes = near(points.boxes, lattice, shape)
        touched = [placed & one for one in _touching(outlines, boxes, lattice, tiles.left, tiles.top, shape)]
        index_of = [np.flatnonzero(one) for one in touched]
        runs = [Runs(where, np.zeros_like(where), np.ones_like(where)) for where in index_of]
        pairs = zip(layer.images.tolist(), outline, strict=True)
        found += [(index, image, runs[number]) for image, number in pairs if len(index_of[number])]
    if not shows:
        raise outside(layers[0].lattice.crs, float(points.lon[0]), float(points.lat[0]))
    return found, corners


def near(boxes: Sequence[Box], lattice: Lattice, shape: Shape) -> list[Box]:
    """Return boxes widened by more than a tile, within the world.

    A footprint may be the whole Earth, which no UTM zone can show; far from the region it does not matter.
    """
    wide = []
    for west, south, east, north in boxes:
        lon, lat = (axis.ravel() for axis in np.meshgrid(np.linspace(west, east, 3), np.linspace(south, north, 3)))
        u, v = lattice.from_lonlat(lon, lat)
        reach = [0.1, 0.1]
        for du, dv in ((2, 2), (-2, 2), (2, -2), (-2, -2)):
            lon2, lat2 = lattice.lonlat(u + du * shape.stored[0], v + dv * shape.stored[1])
            with np.errstate(invalid="ignore"):
                steps = np.abs(np.stack([(lon2 - lon + 180) % 360 - 180, lat2 - lat]))
            steps = steps[:, np.isfinite(steps).all(0)]
            if steps.size:
                reach = [max(known, float(step.max())) for known, step in zip(reach, steps, strict=True)]
        x, y = reach
        world = zip((west - x, south - y, east + x, north + y), WORLD, (max, max, min, min), strict=True)
        left, bottom, right, top = (limit(edge, most) for edge, most, limit in world)
        wide.append((left, bottom, right, top))
    return wide


def _distinct(images: Images, index: Ints) -> tuple[list[tuple[Polygon, ...] | None], list[int]]:
    """Return the distinct footprints of images, and for each image the number of its own."""
    known: dict[int, int] = {}
    outlines: list[tuple[Polygon, ...] | None] = []
    numbers = []
    for image in index.tolist():
        footprint = images.footprints[image]
        if id(footprint) not in known:
            known[id(footprint)] = len(outlines)
            outlines.append(footprint)
        numbers.append(known[id(footprint)])
    return outlines, numbers


def _touched(
    outlines: Sequence[tuple[Polygon, ...] | None], boxes: Sequence[Box], wanted: Runs, lattice: Lattice, shape: Shape
) -> list[Runs]:
    """Return which of the wanted tiles each footprint touches; all of them where it has no bounds."""
    found: list[list[Runs]] = [[] for _ in outlines]
    everywhere = {number for number, outline in enumerate(outlines) if outline is None}
    for outline_of, edges in _cut_outlines(outlines, boxes):
        for owner, runs in _covered(edges, lattice, shape):
            found[int(outline_of[owner])].append(runs)
    none = union([])
    return [
        wanted if number in everywhere else (union(parts) & wanted if parts else none)
        for number, parts in enumerate(found)
    ]


def _cut_outlines(outlines: Sequence[tuple[Polygon, ...] | None], boxes: Sequence[Box]) -> Iterator[tuple[Ints, Edges]]:
    """Yield the footprints' edges within the boxes, batch by batch, and the outline that each owner belongs to."""
    polygons = [(number, polygon) for number, outline in enumerate(outlines) for polygon in outline or ()]
    start = 0
    while start < len(polygons):
        size, stop = 0, start
        while stop < len(polygons) and (stop == start or size < _BATCH):
            size += sum(len(ring) for ring in polygons[stop][1])
            stop += 1
        edges = Edges.of([polygon for _, polygon in polygons[start:stop]])
        count = stop - start
        cuts = [edges.cut(box) for box in boxes]
        owners = [part.owner + count * number for number, part in enumerate(cuts)]
        outline_of = np.tile(np.array([number for number, _ in polygons[start:stop]], np.int64), len(boxes))
        yield outline_of, Edges(np.concatenate([part.lines for part in cuts]), np.concatenate(owners))
        start = stop


def _covered(edges: Edges, lattice: Lattice, shape: Shape) -> Iterator[tuple[int, Runs]]:
    """Yield (owner, tiles it overlaps) for the polygons of ``edges``: many polygons stacked into bands of rows."""
    bent = edges.bent(lattice.from_lonlat, BEND)
    if not len(bent):
        return
    cells = bent.lines / (shape.width, shape.height, shape.width, shape.height)
    whole = np.rint(cells)
    cells = np.where(np.abs(cells - whole) <= TOLERANCE / max(shape.width, shape.height), whole, cells)
    base = int(np.floor(cells[:, [1, 3]].min()))
    stride = int(np.ceil(cells[:, [1, 3]].max())) - base + 1
    owners, rank = np.unique(bent.owner, return_inverse=True)
    step = max(1, _BANDS // stride)
    for first in range(0, len(owners), step):
        mine = (rank >= first) & (rank < first + step)
        shift = (rank[mine] - first) * stride - base
        runs = cover(cells[mine] + np.column_stack([np.zeros_like(shift), shift, np.zeros_like(shift), shift]))
        band = runs.row // stride
        edges_of = np.searchsorted(band, np.arange(min(step, len(owners) - first) + 1))
        for number, (low, high) in enumerate(zip(edges_of[:-1].tolist(), edges_of[1:].tolist(), strict=True)):
            if high > low:
                part = slice(low, high)
                row = runs.row[part] - number * stride + base
                yield int(owners[first + number]), Runs(row, runs.start[part], runs.stop[part])


def _touching(
    outlines: Sequence[tuple[Polygon, ...] | None],
    boxes: Sequence[Box],
    lattice: Lattice,
    left: Floats,
    top: Floats,
    shape: Shape,
) -> list[npt.NDArray[np.bool_]]:
    """Return for each footprint which patches it overlaps by more than a sliver."""
    box = (left + TOLERANCE, top + TOLERANCE, left + shape.width - TOLERANCE, top + shape.height - TOLERANCE)
    found = [np.full(left.shape, outline is None) for outline in outlines]
    for outline_of, edges in _cut_outlines(outlines, boxes):
        bent = edges.bent(lattice.from_lonlat, BEND)
        order = np.argsort(bent.owner, kind="stable")
        owners, starts = np.unique(bent.owner[order], return_index=True)
        for owner, lines in zip(owners.tolist(), np.split(bent.lines[order], starts[1:]), strict=True):
            x, y = lines[:, [0, 2]], lines[:, [1, 3]]
            candidate = np.flatnonzero(
                (x.min() < box[2]) & (x.max() > box[0]) & (y.min() < box[3]) & (y.max() > box[1])
            )
            step = max(1, _MATRIX // len(lines))
            for first in range(0, len(candidate), step):
                some = candidate[first : first + step]
                found[int(outline_of[owner])][some] |= _overlap(lines, *(edge[some] for edge in box))
    return found


def _overlap(lines: Floats, u1: Floats, v1: Floats, u2: Floats, v2: Floats) -> npt.NDArray[np.bool_]:
    """Return for each box whether an edge passes through it or its middle lies inside the polygon (even-odd)."""
    a, b, c, d = (column[:, None] for column in lines.T)
    u, v = (u1 + u2) / 2, (v1 + v2) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = (b > v) != (d > v)
        inside = (crossing & (u < (c - a) * (v - b) / (d - b) + a)).sum(0) % 2 == 1
        enter, leave = np.zeros((len(lines), len(u))), np.ones((len(lines), len(u)))
        for origin, step, low, high in ((a, c - a, u1, u2), (b, d - b, v1, v2)):
            ends = (low - origin) / step, (high - origin) / step
            moves = step != 0
            within = (low < origin) & (origin < high)
            enter = np.where(moves, np.maximum(enter, np.minimum(*ends)), enter)
            leave = np.where(moves, np.minimum(leave, np.maximum(*ends)), np.where(within, leave, -1.0))
    return np.asarray(inside | (enter < leave).any(0))
