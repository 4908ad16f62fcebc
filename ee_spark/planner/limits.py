"""What no request can hold and no column can take: refused before anything is asked for, with the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ee_spark.errors import JobError
from ee_spark.job import Pixels
from ee_spark.limits import MAX_BANDS, MAX_BYTES, MAX_PAYLOAD, MAX_SIDE
from ee_spark.planner.frozen import Band, Frozen, fill_values


def check(frozen: Frozen, pixels: Pixels, graphs: Iterable[str]) -> None:
    """Refuse tiles, bands and graphs whose requests the service cannot take.

    Raises:
        JobError: with what is too large, and what would fit.
    """
    check_bands(frozen.bands, pixels)
    check_size(frozen)
    largest = max(map(len, graphs), default=0)
    if largest > MAX_PAYLOAD - 10_000:
        raise JobError(
            f"source: the expression has {largest:,} bytes, and a request holds {MAX_PAYLOAD:,}; simplify the region's "
            "polygons, or keep what the function holds as an Earth Engine asset"
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


def check_bands(bands: Sequence[Band], pixels: Pixels) -> None:
    """Refuse a fill value that a band's type cannot hold, and bands of several types in one GeoTIFF."""
    fills = fill_values([band.name for band in bands], pixels)
    lacking = [band.name for band in bands if fills and band.name not in fills]
    unknown = set(fills) - {band.name for band in bands}
    if lacking or unknown:
        what = f"has no value for {lacking[0]!r}" if lacking else f"names {sorted(unknown)[0]!r}"
        raise JobError(f"pixels.fill: {what}; the bands are {', '.join(band.name for band in bands)}")
    for band in bands:
        if band.name in fills and not _holds(band.dtype, fills[band.name]):
            raise JobError(
                f"pixels.fill: {band.name!r} is {band.dtype}, which cannot hold {fills[band.name]:g}; write a value "
                f"from {_range(band.dtype)}, or pixels.dtype: {{{band.name}: float32}}"
            )
    types = {band.dtype for band in bands}
    if pixels.format == "GEO_TIFF" and len(types) > 1:
        kinds = ", ".join(f"{band.name} {band.dtype}" for band in bands)
        raise JobError(
            f"pixels.format: a GEO_TIFF has bands of one type, and these have {len(types)} ({kinds}); cast them with "
            "pixels.dtype, or write format: NPY"
        )


def _holds(dtype: str, value: float) -> bool:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return bool(abs(value) <= np.finfo(kind).max)
    limits = np.iinfo(kind)
    return value == int(value) and limits.min <= value <= limits.max


def _range(dtype: str) -> str:
    limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    return f"{limits.min:g} to {limits.max:g}" if np.dtype(dtype).kind == "f" else f"{limits.min} to {limits.max}"
