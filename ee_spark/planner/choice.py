"""What decides which tiles an image touches in a job: the rasters of some bands, and whether footprints count."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ee_spark.job import JobConfig
from ee_spark.planner.frozen import Band, Note
from ee_spark.planner.images import Images

NAMED = 3
"""Reasons that the notes name."""


@dataclass(frozen=True)
class Choice:
    """What decides which tiles an image touches: the rasters of these ``bands`` of the source (None: of all).

    Its footprint may take some away again where ``prune`` says so, but not of the images ``by_raster`` (indices).
    """

    bands: frozenset[str] | None = None
    prune: bool = True
    by_raster: frozenset[int] = frozenset()


ALL = Choice()


def choose(config: JobConfig, images: Images, bands: Sequence[Band], by_raster: Collection[str]) -> Choice:
    """Return what decides which tiles an image touches: of what is computed of several bands, all of them."""
    every = bool(config.source.map) or config.pixels.resample != "nearest"
    return Choice(
        None if every else frozenset(band.old for band in bands),
        config.source.footprints == "prune",
        frozenset(index for index, name in enumerate(images.ids) if name in by_raster) if by_raster else frozenset(),
    )


def footprint_notes(config: JobConfig, images: Images, spared: int) -> list[Note]:
    """Say how many images' footprints count, which do not and why, and what they took away."""
    if images.rasters is None or not len(images):
        return []
    if config.source.footprints == "ignore":
        return [("footprints", "ignored", "asked for: every tile that an image's raster touches is planned")]
    without = images.footprints.why_none()
    used = len(images) - sum(count for _, count, _ in without)
    took = f"{spared:,} pairs lie in a raster and outside its footprint: not asked for"
    notes = [("footprints", f"{used:,} of {len(images):,} images", took)]
    for why, count, first in without[:NAMED]:
        notes.append(("footprints", f"{count:,} take nothing away", f"{why}, e.g. {images.ids[first]}"))
    return notes
