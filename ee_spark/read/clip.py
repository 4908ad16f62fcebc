"""What a dataset is clipped to, and which of its pixels lie in there: of the others nobody asked for a value."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

import numpy as np
import pyarrow as pa

from ee_spark.boundary import reading
from ee_spark.errors import EESparkError, JobError
from ee_spark.objects import Settings
from ee_spark.planner.cover import Runs, cover
from ee_spark.planner.crs import Ints
from ee_spark.planner.inside import pixels
from ee_spark.planner.plan import area_digest
from ee_spark.planner.polygon import Polygons, polygons_of_geojson
from ee_spark.read.canvas import PLACE, Canvas, canvases
from ee_spark.read.rows import Rows, store_of
from ee_spark.store import runs

_ROW = 1 << 32
"""One key for (row, column) of a tile: there are fewer columns."""


def clip_of(rows: Rows) -> Polygons | None:
    """Return the area that a dataset is clipped to; None where it is not, or no record says it any more."""
    digest = rows.manifest.identity.get("region.clip")
    return _area(rows.path, rows.settings, str(digest)) if digest else None


def clipped(rows: Rows, canvas: Canvas) -> Canvas:
    """Return the part of a canvas that holds every pixel which the dataset's clip touches.

    The canvas itself where the dataset is not clipped, or the clip touches no pixel of it.
    """
    area = clip_of(rows)
    touched = None if area is None else pixels(area, canvas, cover)
    if touched is None or not len(touched.row):
        return canvas
    left, top = int(touched.start.min()), int(touched.row.min())
    part = canvas.part(left, top, int(touched.stop.max()) - left, int(touched.row.max()) + 1 - top)
    assert isinstance(part, Canvas)
    return part


def pixels_inside(rows: Rows, places: pa.Table) -> Ints:
    """Return, for each row of ``places``, how many pixels of its tile's core have their centre in the clip.

    ``places`` are rows of the tables with the columns of :data:`~ee_spark.read.canvas.PLACE`. All pixels of the core
    where the dataset is not clipped.
    """
    shape = rows.frozen.shape
    found = np.full(places.num_rows, shape.width * shape.height, np.int64)
    area = clip_of(rows)
    if area is None or not places.num_rows:
        return found
    for canvas in canvases(rows, places.select(PLACE)):
        inside = pixels(area, canvas)
        if inside is not None:
            mine = np.flatnonzero(canvas.holds(places))
            row, column = canvas.places(places.take(pa.array(mine)))
            found[mine] = _counts(inside, canvas.tile, row, column)
    return found


@lru_cache(maxsize=16)
def _area(path: str, settings: Settings, digest: str) -> Polygons | None:
    """Return the area of this digest that a run's record has: all runs of a clipped job have the same."""
    store = store_of(path, settings)
    for run_id in sorted(runs.run_ids(store), reverse=True):
        with suppress(EESparkError, ValueError, TypeError):
            record = runs.read_runs(store, [run_id])[run_id] or {}
            region = runs.read_region(store, record.get("region") or {})
            if region is not None and area_digest(region) == digest:
                with suppress(JobError), reading("region"):
                    return Polygons(polygons_of_geojson(region))
    return None


def _counts(cells: Runs, tile: tuple[int, int], row: Ints, column: Ints) -> Ints:
    """Return how many of the cells lie in each tile of (height, width) cells whose corner is at ``row``, ``column``.

    A run adds the same to all tiles between its first and its last one: only where that changes is noted, so that
    what this costs grows with the rows of pixels, not with the pixels.
    """
    height, width = tile
    base, first, last = cells.row // height * _ROW, cells.start // width, (cells.stop - 1) // width
    head = np.minimum(cells.stop, (first + 1) * width) - cells.start
    more = first < last
    base2, first2, last2 = base[more], first[more], last[more]
    tail = cells.stop[more] - last2 * width
    where = [base + first, base + first + 1, base2 + first2 + 1, base2 + last2, base2 + last2 + 1]
    what = [head, -head, np.full(len(last2), width), tail - width, -tail]
    keys = np.concatenate(where)
    order = np.argsort(keys, kind="stable")
    keys, sums = keys[order], np.concatenate([[0], np.cumsum(np.concatenate(what)[order])])
    wanted = row // height * _ROW + column // width
    return np.asarray(sums[np.searchsorted(keys, wanted, "right")], np.int64)
