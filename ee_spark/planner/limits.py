"""What no request can hold and no column can take: refused before anything is asked for, with the numbers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from ee_spark.boundary import shortened, shown
from ee_spark.errors import JobError
from ee_spark.job import Grid, Pixels
from ee_spark.limits import MAX_BANDS, MAX_BYTES, MAX_PAYLOAD, MAX_SIDE
from ee_spark.planner.crs import check_horizontal, metres_of_unit
from ee_spark.planner.frozen import Band, Frozen, fill_values
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.polygon import Box
from ee_spark.planner.tile import Shape
from ee_spark.planner.utm import METRE_CRS, UTM

LEAST_METRES, MOST_METRES = 1e-3, 1e7
"""Metres per pixel: less is finer than any image, more is coarser than the Earth."""
MOST_ROWS = 4_000_000
"""Rows of tiles of one region: each is a few numbers in memory."""
MOST_TILES = 200_000_000
"""Tiles of one plan: the land of the Earth at 10 m, in tiles of 256 pixels, is some 25 million."""
AROUND = 10_000
"""Bytes of a request beside its expression and the names of its bands: the grid, and an id in its place."""
MOST_INDEX = 2**31
"""Below which the row and column of a tile lie, so that both are one number."""


def check_grid(grid: Grid) -> None:
    """Refuse a CRS without a lattice and pixels that no image has, before anything is asked for.

    Raises:
        JobError: with the key and what to write.
    """
    if grid.crs == "native":
        return
    crs = METRE_CRS if grid.crs == UTM else grid.crs
    check_horizontal(crs)
    key = next(key for key in ("scale", "resolution", "transform") if getattr(grid, key) is not None)
    if grid.scale:
        sizes = [grid.scale]
    else:
        units = (grid.transform[0], -grid.transform[4]) if grid.transform else (grid.resolution or 0.0,)
        sizes = [size * metres_of_unit(crs) for size in units]
    for size in sizes:
        if not LEAST_METRES <= size <= MOST_METRES:
            raise JobError(
                f"grid.{key}: a pixel is {size:.3g} m; write one of {LEAST_METRES:g} to {MOST_METRES:g} metres"
            )
    if grid.transform:
        scale_x, _, x0, _, scale_y, y0 = grid.transform
        if max(abs(x0 / scale_x), abs(y0 / scale_y)) > 2**50:
            raise JobError(f"grid.transform: its corner ({x0:g}, {y0:g}) is beyond any coordinate; write one in {crs}")


def check_extent(lattice: Lattice, boxes: Sequence[Box], shape: Shape, key: str) -> bool:
    """Refuse a region of too many rows of tiles, before there is an array of them; return whether it can be shown.

    Raises:
        JobError: with the numbers.
    """
    total, shows = 0.0, False
    for west, south, east, north in boxes:
        lon, lat = (axis.ravel() for axis in np.meshgrid(np.linspace(west, east, 17), np.linspace(south, north, 17)))
        u, v = lattice.from_lonlat(lon, lat)
        known = np.isfinite(u) & np.isfinite(v)
        if not known.any():
            continue
        shows = True
        column, row = np.abs(u[known]).max() / shape.width, np.abs(v[known]).max() / shape.height
        if max(column, row) >= MOST_INDEX:
            raise JobError(
                f"{key}: tiles of {shape.width} × {shape.height} pixels of {lattice.res_x:g} in {shown(lattice.crs)} "
                f"are counted up to {max(column, row):.2g}, and 2^31 are possible; write a coarser scale"
            )
        total += float(np.ptp(v[known])) / shape.height
    if total > MOST_ROWS:
        raise JobError(
            f"{key}: the region has {total:,.0f} rows of tiles at {lattice.res_x:g} per pixel, and a plan at most "
            f"{MOST_ROWS:,}; write a coarser scale, larger tiles or a smaller region"
        )
    return shows


def check_count(tiles: int, key: str, most: int = MOST_TILES) -> None:
    """Refuse more tiles than a plan holds.

    Raises:
        JobError: with the numbers.
    """
    if tiles > most:
        raise JobError(
            f"{key}: the region is {tiles:,} tiles, and a plan has at most {most:,}; write a coarser scale, larger "
            "tiles or a smaller region"
        )


def outside(crs: str, lon: float, lat: float) -> JobError:
    """Return the error of a region that a CRS cannot show."""
    return JobError(f"grid.crs: {shortened(crs)} cannot show the region around {lon:g}, {lat:g}; write another crs")


def check(frozen: Frozen, pixels: Pixels, graphs: Iterable[str], *, resumed: bool = False) -> None:
    """Refuse tiles, bands and graphs whose requests the service cannot take.

    Raises:
        JobError: with what is too large, and what would fit.
    """
    check_bands(frozen.bands, pixels, resumed=resumed)
    check_size(frozen)
    check_graphs(graphs, [*(band.name for band in frozen.bands), *frozen.validity])


def check_asked(bands: Collection[str] | None) -> None:
    """Refuse more named bands than an answer has, before any is asked for."""
    if bands and len(bands) > MAX_BANDS:
        raise JobError(f"source.bands: {len(bands)} bands are more than {MAX_BANDS} per request; name fewer")


def check_graphs(graphs: Iterable[str], names: Collection[str] = ()) -> None:
    """Refuse expressions that no request can hold beside the ``names`` of its bands.

    Raises:
        JobError: with the bytes of the largest.
    """
    largest = max((len(graph.encode()) for graph in graphs), default=0)
    beside = AROUND + len(json.dumps(list(names)))
    if largest > MAX_PAYLOAD - beside:
        raise JobError(
            f"source: the expression has {largest:,} bytes, and a request holds {MAX_PAYLOAD:,} with {beside:,} for "
            "the rest; simplify the region's polygons, or keep what the function holds as an Earth Engine asset"
        )


def check_size(frozen: Frozen) -> None:
    """Refuse a tile that no request can hold, with the numbers and the largest that fits."""
    width, height = frozen.shape.stored
    margin, samples = frozen.shape.margin, len(frozen.bands) + len(frozen.validity)
    if samples > MAX_BANDS:
        raise JobError(f"source.bands: {samples} bands with validity are more than {MAX_BANDS} per request; name fewer")
    if max(width, height) > MAX_SIDE:
        raise JobError(
            f"grid.tile: {width} × {height} pixels with margins, and a request has at most {MAX_SIDE} per side: write "
            f"tile: {MAX_SIDE - 2 * margin} or less"
        )
    count = width * height * frozen.counted_bytes
    if count > MAX_BYTES:
        side = int((MAX_BYTES / frozen.counted_bytes) ** 0.5) - 2 * margin
        way = f"write tile: {side} or less" if side > 0 else "name fewer bands, or write a smaller margin"
        raise JobError(
            f"grid.tile: {width} × {height} pixels of {frozen.counted_bytes} bytes (one mask byte per sample) are "
            f"{count} bytes, and a request holds {MAX_BYTES}: {way}"
        )


def check_bands(bands: Sequence[Band], pixels: Pixels, *, resumed: bool = False) -> None:
    """Refuse a fill value that a band's type cannot hold, and bands of several types in one GeoTIFF.

    A dataset that was begun with a value that its type holds as another one (``resumed``) goes on with it.
    """
    fills = fill_values([band.name for band in bands], pixels)
    lacking = [band.name for band in bands if fills and band.name not in fills]
    unknown = set(fills) - {band.name for band in bands}
    if lacking or unknown:
        what = f"has no value for {lacking[0]!r}" if lacking else f"names {sorted(unknown)[0]!r}"
        raise JobError(f"pixels.fill: {what}; the bands are {', '.join(band.name for band in bands)}")
    for band in bands:
        if band.name in fills and not _holds(band.dtype, fills[band.name]):
            raise JobError(f"pixels.fill: {_unheld(band, fills[band.name])}")
        if not resumed and band.name in fills and (other := _stored(band.dtype, fills[band.name])) != fills[band.name]:
            raise JobError(
                f"pixels.fill: {band.name!r} is {band.dtype}, which holds {fills[band.name]} as {other}; write a "
                "number that it holds exactly, e.g. -9999"
            )
    types = {band.dtype for band in bands}
    if pixels.format == "GEO_TIFF" and len(types) > 1:
        kinds = ", ".join(f"{band.name} {band.dtype}" for band in bands)
        raise JobError(
            f"pixels.format: a GEO_TIFF has bands of one type, and these have {len(types)} ({kinds}); cast them with "
            "pixels.dtype, or write format: NPY"
        )


def _unheld(band: Band, value: float) -> str:
    """Say that a band's type cannot hold a value, and which can."""
    wider = next((kind for kind in ("float32", "float64") if _holds(kind, value)), None)
    way = f", or pixels.dtype: {{{band.name}: {wider}}}" if wider else ""
    return f"{band.name!r} is {band.dtype}, which cannot hold {value:g}; write a value from {_range(band.dtype)}{way}"


def _stored(dtype: str, value: float) -> float:
    """Return what a value is once it is stored in a type that holds numbers of its size."""
    return float(np.dtype(dtype).type(value)) if np.dtype(dtype).kind == "f" else value


def _holds(dtype: str, value: float) -> bool:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return abs(value) <= float(np.finfo(kind).max)
    limits = np.iinfo(kind)
    return value == int(value) and limits.min <= value <= limits.max


def _range(dtype: str) -> str:
    limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    return f"{limits.min:g} to {limits.max:g}" if np.dtype(dtype).kind == "f" else f"{limits.min} to {limits.max}"
