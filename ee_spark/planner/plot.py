"""A plan as a picture: its tiles or patches, the images' footprints, the region."""

from __future__ import annotations

import io

import numpy as np

from ee_spark.errors import missing_extra
from ee_spark.planner.crs import Floats
from ee_spark.planner.geodesic import along
from ee_spark.planner.plan import Plan
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import bounds, joined
from ee_spark.planner.tile import Shape, grid_tiles

MAX_TILES = 20_000
"""Tiles drawn one by one; of more, the outlines of blocks of tiles stand for them."""
MAX_FOOTPRINTS = 2_000
_SHARES = np.linspace(0, 1, 8, endpoint=False)


def picture(plan: Plan) -> bytes:
    """Return a PNG of the plan in longitude and latitude.

    Raises:
        MissingExtraError: where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("--plot", "matplotlib", "local") from None
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.add_subplot()
    outlines, blocks = _outlines(plan)
    region, dots = _region(plan)
    outlines, footprints, region, dots = joined(outlines, _footprints(plan), region, dots)
    axes.add_collection(LineCollection(footprints, colors="tab:orange", linewidths=0.8, alpha=0.6, label="footprints"))
    axes.add_collection(
        LineCollection(outlines, colors="tab:blue", linewidths=0.5, label="blocks" if blocks else "tiles")
    )
    if dots:
        axes.plot(*np.concatenate(dots).T, ".", color="black", markersize=3, label="points")
    else:
        axes.add_collection(LineCollection(region, colors="black", linewidths=1.2, label="region"))
    west, south, east, north = bounds(np.concatenate([*outlines, *region, *dots]))
    x, y = max(1e-4, 0.05 * (east - west)), max(1e-4, 0.05 * (north - south))
    axes.set(xlim=(west - x, east + x), ylim=(south - y, north + y), xlabel="longitude", ylabel="latitude")
    axes.set_aspect(1 / max(0.05, float(np.cos(np.radians((south + north) / 2)))))
    width, height = plan.frozen.shape.stored
    axes.set_title(
        f"{plan.config.name}: {len(plan.images):,} images, {plan.tiles:,} tiles of {width} × {height} pixels, "
        f"{plan.pairs.count:,} pairs",
        fontsize=10,
    )
    axes.legend(loc="upper right", fontsize=8)
    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_png(sink)
    return sink.getvalue()


def _outlines(plan: Plan) -> tuple[list[Floats], bool]:
    """Return the outline of every distinct tile, or of every block of them where there are too many."""
    shape, pairs = plan.frozen.shape, plan.pairs
    found: dict[tuple[str, str], tuple[Floats, ...]] = {}
    if plan.points is None and plan.tiles > MAX_TILES:
        side = plan.frozen.side
        block = Shape(side * shape.width, side * shape.height)
        for lattice, row, column in {
            (int(pairs.lattice[i]), int(pairs.block_row[i]), int(pairs.block_column[i]))
            for i in pairs.edges[:-1].tolist()
        }:
            blocks = grid_tiles(pairs.lattices[lattice], block, np.array([row]), np.array([column]))
            found[str(lattice), f"{row} {column}"] = blocks.extents.rings()[0]
        return [ring for rings in found.values() for ring in rings], True
    for number in range(len(pairs)):
        chunk = pairs.chunk(number)
        tiles, _, _ = chunk.pairs(shape, plan.points, snap=plan.config.grid.snap)
        names = [(chunk.lattice.key, name) for name in tiles.ids]
        found |= dict(zip(names, tiles.extents.rings(), strict=True))
    return [ring for rings in found.values() for ring in rings], False


def _region(plan: Plan) -> tuple[list[Floats], list[Floats]]:
    """Return the rings of the region, or its points, each as (1, 2)."""
    if isinstance(plan.region, Points):
        return [], list(np.column_stack([plan.region.lon, plan.region.lat])[:, None])
    return [ring for polygon in plan.region.polygons for ring in polygon], []


def _footprints(plan: Plan) -> list[Floats]:
    """Return the rings of distinct footprints, their edges as the service reads them, within ±180°."""
    footprints = plan.images.footprints
    rings = []
    for number in np.unique(footprints.number)[:MAX_FOOTPRINTS].tolist():
        for polygon in footprints.polygons_of(number) or ():
            for ring in polygon:
                lines = np.column_stack([ring[:-1], ring[1:]])
                places = along(lines, _SHARES).reshape(-1, 2) if not footprints.planar[number] else ring
                rings.append(np.vstack([places, places[:1]]))
    return rings
