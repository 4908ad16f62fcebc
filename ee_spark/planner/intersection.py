"""Which tiles or patches lie in the region, and which of them each image touches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ee_spark.errors import JobError
from ee_spark.planner.alignment import Layer
from ee_spark.planner.choice import ALL, Choice
from ee_spark.planner.cover import Runs, centres, union
from ee_spark.planner.crs import Floats, Ints
from ee_spark.planner.edges import Edges
from ee_spark.planner.footprint import UNBOUNDED
from ee_spark.planner.growth import draw_footprints
from ee_spark.planner.images import Images
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.limits import MOST_TILES, check_count, check_extent, outside
from ee_spark.planner.outline import outlines_of
from ee_spark.planner.overlap import Patches, Tiling, covered
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Box, Polygons
from ee_spark.planner.raster import Chosen
from ee_spark.planner.tile import Shape, patches
from ee_spark.planner.utm import in_half_zone

BEND = 0.1
"""Pixels. How closely curved edges are followed; what reaches less far into a tile holds no pixel centre of it."""
FARTHEST = 2.0**50
"""Pixels from the CRS origin; a projection gives such numbers where it does not end, as at the other pole."""
MOST_LISTED = 4_000_000
"""Tiles that are listed one by one."""
WORLD: Box = (-180.0, -90.0, 180.0, 90.0)

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
        bent = mine.bent(layer.lattice.from_lonlat, BEND)
        found.append(union([runs for _, runs in covered(bent, shape)]))
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


Touched = tuple[list[Found], list[Found]]
"""The tiles (or points) of each image, and those that its raster touches and its footprint took away."""


def tile_runs(
    region: Polygons,
    images: Images,
    layers: Sequence[Layer],
    wanted: Sequence[Runs],
    shape: Shape,
    choice: Choice = ALL,
) -> Touched:
    """Return which of the ``wanted`` tiles of its layer each image touches, and which of them its footprint spares.

    Raises:
        JobError: if nothing says where an image is.
    """
    found: list[Found] = []
    spared: list[Found] = []
    for index, (layer, tiles) in enumerate(zip(layers, wanted, strict=True)):
        boxes = near(region.boxes, layer.lattice, shape)
        for image, mine, less in _touched(images, layer, choice, boxes, Tiling(shape, tiles)):
            found += [(index, image, mine)] * bool(mine.count)
            spared += [(index, image, less)] * bool(less.count)
    return found, spared


def patch_runs(
    points: Points,
    images: Images,
    layers: Sequence[Layer],
    shape: Shape,
    *,
    snap: bool,
    choice: Choice = ALL,
) -> tuple[Touched, list[tuple[Floats, Floats]]]:
    """Return the points, as runs of one, whose patch each image touches, and the patches' corners.

    The corners are, for each layer, the patches' (columns, rows) in tiles. In UTM a point has a patch in its own zone.

    Raises:
        JobError: if nothing says where an image is, or the lattice shows no point.
    """
    found: list[Found] = []
    spared: list[Found] = []
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
        boxes = near(points.boxes, lattice, shape)
        for image, mine, less in _touched(images, layer, choice, boxes, Patches(tiles, placed)):
            found += [(index, image, mine)] * bool(len(mine.row))
            spared += [(index, image, less)] * bool(len(less.row))
    if not shows:
        raise outside(layers[0].lattice.crs, float(points.lon[0]), float(points.lat[0]))
    return (found, spared), corners


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


def _touched(
    images: Images, layer: Layer, choice: Choice, boxes: Sequence[Box], target: Tiling | Patches
) -> Iterator[tuple[int, Runs, Runs]]:
    """Yield (image, cells that it touches, cells that only its footprint took away)."""
    none = union([])
    if images.rasters is None:
        yield from ((image, target.everything, none) for image in layer.images.tolist())
        return
    names = [[band.name for band in signature] for signature in images.signatures]
    chosen = images.rasters.chosen(layer.images, images.signature, names, choice.bands)
    by_raster = _by_raster(images, chosen, layer.lattice, boxes, target)
    number = images.footprints.number[layer.images]
    spares = np.array([choice.prune and image not in choice.by_raster for image in layer.images.tolist()], bool)
    usable = np.array([not why for why in images.footprints.reason])[number]
    looks = usable & (spares | ~chosen.sized[chosen.kind])
    metres = images.rasters.growth(chosen)[chosen.kind]
    looks &= np.isfinite(metres)
    pairs, pair = np.unique(np.stack([number, metres], 1)[looks], axis=0, return_inverse=True)
    grown = draw_footprints(images.footprints, pairs[:, 0].astype(np.int64), pairs[:, 1], layer.lattice, boxes)
    by_footprint = target.of(grown, len(pairs))
    pair_of = np.full(len(number), -1)
    pair_of[looks] = np.ravel(pair)
    known: dict[tuple[int, int], tuple[Runs, Runs]] = {}
    for image, kind, which, outline in zip(
        layer.images.tolist(), chosen.kind.tolist(), pair_of.tolist(), number.tolist(), strict=True
    ):
        whole = by_raster[kind]
        if not chosen.sized[kind]:
            _check_placed(images, image, outline)
        if (kind, which) not in known:
            inner = whole if which < 0 else whole & by_footprint[which]
            less = none if not chosen.sized[kind] or inner.count == whole.count else whole - inner
            known[kind, which] = inner, less
        yield image, *known[kind, which]


def _by_raster(
    images: Images, chosen: Chosen, lattice: Lattice, boxes: Sequence[Box], target: Tiling | Patches
) -> list[Runs]:
    """Return the cells that each kind of image touches by its rasters; all where nothing says where those are."""
    assert images.rasters is not None
    rasters = np.unique(chosen.rasters[chosen.sized][chosen.rasters[chosen.sized] >= 0])
    outlines, outline = outlines_of(images.rasters, rasters, lattice)
    runs = target.of_rasters(outlines, images.rasters.crs, lattice, boxes)
    found = []
    for sized, mine in zip(chosen.sized.tolist(), chosen.rasters, strict=True):
        numbers = np.unique(outline[np.searchsorted(rasters, mine[mine >= 0])]).tolist() if sized else []
        parts = [runs[number] for number in numbers]
        found.append(union(parts) if len(parts) > 1 else parts[0] if parts else target.everything)
    return found


def _check_placed(images: Images, image: int, footprint: int) -> None:
    """Refuse an image whose bands have no dimensions, where its footprint does not say where it is either.

    Raises:
        JobError: with the image, and why its footprint says nothing.
    """
    why = images.footprints.reason[footprint]
    if not images.footprints.bounds[footprint] and why != UNBOUNDED:
        raise JobError(
            f"source: image {images.ids[image]!r}: its bands have no dimensions, and nobody knows where it is, as it "
            f"has no footprint ({why}); name other bands in source.bands, or leave it out with source.filter"
        )
