"""So many points of each class of an image, drawn block by block: every pixel has its chance, none is held for long."""

from __future__ import annotations

import hashlib
import heapq
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ee_spark.answers import damaged, npy
from ee_spark.client import Client
from ee_spark.errors import JobError, ServiceError
from ee_spark.limits import answer_bytes
from ee_spark.objects import INPUTS, Inputs
from ee_spark.planner import source as ee_source
from ee_spark.planner.crs import Floats, Ints, metres_to_units
from ee_spark.planner.intersection import pixels_inside, touched_tiles
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.listing import refused
from ee_spark.planner.points import Points, point_ids
from ee_spark.planner.polygon import Polygons
from ee_spark.planner.probe import patiently
from ee_spark.planner.request import Recipe
from ee_spark.planner.sample import area_of
from ee_spark.planner.tile import Shape
from ee_spark.planner.window import Window
from ee_spark.where import Sample, Stratify

log = logging.getLogger(__name__)

CRS = "EPSG:4326"
SIDE = 1024  # pixels per side of a block: with 8-byte classes and masks some 10 MB
BLOCKS_AT_ONCE = 8
ENOUGH_BLOCKS = 256
"""Of a larger area, so many blocks drawn at random stand for all, if every class that they hold has its points."""
MOST_BLOCKS = 4096
"""Blocks read for a class that is still short then: 4 billion pixels, some hours of a busy service."""
MOST_PLACES = 10_000_000
"""Blocks that may be drawn from: the whole Earth at 10 m has 7.7 million."""
MAX_CLASSES = 1000


def draw_by_class(sample: Sample, client: Client, inputs: Inputs = INPUTS, *, enough: int = ENOUGH_BLOCKS) -> Points:
    """Return ``count`` points of each class, uniform by area: centres of the class image's pixels at its scale.

    Each pixel gets a random key that depends on the seed and its place, weighted by its area; of each class the
    smallest keys win (Efraimidis and Spirakis 2006). The class stands in a column of the band's name. Blocks are read
    in an order drawn with the seed, eight at a time and no more than the job may have in flight; of a large area only
    as many as the classes need, once there are ``enough``.

    Raises:
        JobError: if the image cannot be computed, or is not an image of classes.
    """
    classes = sample.stratify
    assert classes is not None
    area = area_of(sample.within, inputs)
    resolution = metres_to_units(CRS, classes.scale)
    _refuse_fine(area, resolution, classes.scale)
    lattice, shape = Lattice(CRS, resolution, resolution), Shape(SIDE, SIDE)
    graph = ee_source.class_graph(classes, area.geojson(), client.service, inputs)
    blocks = list(
        zip(
            *(axis.tolist() for axis in touched_tiles(area, lattice, shape, "region.sample.stratify.scale")),
            strict=True,
        )
    )
    if len(blocks) > enough:
        blocks.sort(key=lambda block: hashlib.sha256(f"{sample.seed} {block}".encode()).digest())
    best: dict[int, list[tuple[float, int, int]]] = {}
    places = iter(blocks[:MOST_BLOCKS])
    read = 0
    with ThreadPoolExecutor(min(BLOCKS_AT_ONCE, client.connections)) as pool:
        fetch = partial(_ask, client, graph, classes, lattice)
        while (read < enough or _short(best, sample.count)) and (some := list(islice(places, BLOCKS_AT_ONCE))):
            read += len(some)
            for (row, column), block in zip(some, pool.map(fetch, some), strict=True):
                for value, keys, y, x in _drawn(block, area, lattice, row, column, sample.seed):
                    if value not in best and len(best) == MAX_CLASSES:
                        raise JobError(
                            f"region.sample.stratify: band {classes.band!r} has more than {MAX_CLASSES} classes"
                        )
                    _keep(best.setdefault(value, []), sample.count, keys, y, x)
    if read < len(blocks):
        log.warning("region.sample: %d of %d blocks stand for the whole area", read, len(blocks))
    if not best:
        raise JobError(f"region.sample.stratify: {classes.image} has no valid pixel of {classes.band!r} in the area")
    if short := _short(best, sample.count):
        counts = ", ".join(f"class {value}: {count}" for value, count in sorted(short.items()))
        log.warning("region.sample: fewer than %d points of some classes (%s)", sample.count, counts)
    rows = [(value, -key, y, x) for value, found in sorted(best.items()) for key, y, x in sorted(found, reverse=True)]
    v, u = np.array([row[2:] for row in rows], np.float64).T + 0.5
    lon, lat = lattice.coordinates(u, v)
    return Points(
        point_ids(lon, lat), lon, lat, pa.table({classes.band: pa.array([row[0] for row in rows], pa.int64())})
    )


def _refuse_fine(area: Polygons, resolution: float, scale: float) -> None:
    """Refuse a scale at which there is no pixel, or no end of them."""
    key = f"region.sample.stratify.scale: {scale:g} m per pixel"
    if not resolution < 360:
        raise JobError(f"{key} is larger than the Earth; write the class image's own scale, e.g. 10")
    west, south, east, north = area.bounds
    blocks = ((east - west) / resolution / SIDE + 1) * ((north - south) / resolution / SIDE + 1)
    if not blocks <= MOST_PLACES:
        raise JobError(
            f"{key} makes {blocks:.2g} blocks of {SIDE} × {SIDE} pixels, and at most {MOST_PLACES:,} are counted; "
            "write a larger scale"
        )


def _short(best: Mapping[int, Sequence[object]], count: int) -> dict[int, int]:
    """Return how many points each class has that has not yet all of its own."""
    return {value: len(found) for value, found in best.items() if len(found) < count}


def _keep(mine: list[tuple[float, int, int]], count: int, keys: Floats, y: Ints, x: Ints) -> None:
    """Keep the ``count`` smallest keys of a class with their rows and columns, as a heap of what is largest first."""
    least = np.argpartition(keys, count)[:count] if len(keys) > count else slice(None)
    for item in zip((-keys[least]).tolist(), y[least].tolist(), x[least].tolist(), strict=True):
        (heapq.heappush if len(mine) < count else heapq.heappushpop)(mine, item)


def _ask(
    client: Client, graph: str, classes: Stratify, lattice: Lattice, place: tuple[int, int]
) -> npt.NDArray[np.void]:
    row, column = place
    window = Window(CRS, lattice.transform(column * SIDE, row * SIDE), SIDE, SIDE)
    recipe = Recipe("computePixels", client.service.project, (classes.band, "valid"))
    path, body = recipe.call("", -1, graph, window)
    try:
        most = answer_bytes(SIDE, SIDE, len(recipe.bands))
        block = npy(patiently(lambda: client.call("POST", path, body, most=most)).body)
        if len(block.dtype.names or ()) != 2 or "valid" not in (block.dtype.names or ()) or block.shape != (SIDE, SIDE):
            raise damaged(f"the answer has bands {block.dtype.names} of {block.shape}, asked for was {recipe.bands}")
        return block
    except ServiceError as error:
        raise refused("region.sample.stratify", classes.image, error) from None


def _drawn(
    block: npt.NDArray[np.void], area: Polygons, lattice: Lattice, row: int, column: int, seed: int
) -> Iterator[tuple[int, Floats, Ints, Ints]]:
    """Yield (class, keys, rows, columns) of a block's valid pixels whose centre lies in the area."""
    values = block[(block.dtype.names or ("",))[0]]
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        raise JobError("region.sample.stratify: the band holds fractions, not classes; write a band of whole numbers")
    inside = pixels_inside(area, lattice, column * SIDE, row * SIDE, SIDE)
    y, x = np.nonzero((block["valid"] > 0) & inside)
    kinds, lat = (
        values[y, x].astype(np.int64),
        lattice.coordinates(x.astype(np.float64), y + row * SIDE + np.float64(0.5))[1],
    )
    digest = hashlib.sha256(f"{seed} {row} {column}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little"))).random((SIDE, SIDE))
    keys = -np.log1p(-random[y, x]) / np.cos(np.radians(lat))
    for value in np.unique(kinds).tolist():
        mine = kinds == value
        yield int(value), keys[mine], y[mine] + row * SIDE, x[mine] + column * SIDE
