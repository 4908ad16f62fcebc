"""The numbers behind ``ee-spark report``: what is drawn, before it becomes colours and text.

What is expected of :mod:`ee_spark.show`:

``picture_numbers(dataset: Dataset) -> Numbers``
    What ``report --out X.png`` draws. ``looks``: for tiles one per month and lattice, of the first band, the mean of
    the valid pixels of the month's images; for patches one per patch of the first image and band that is shown.
    ``means``: the valid pixels of the first band in the cores of each image's tiles, from which the curve is made,
    before dates that are not clear enough are left out; none for patches. ``bands`` is empty.

``page_numbers(dataset: Dataset) -> Numbers``
    What ``report --out X.html`` draws. ``looks``: for tiles one per shown image, band and lattice; for patches one per
    shown patch and band. ``bands``: the table of bands, from the statistics in ``tiles`` and so with margins, and
    empty where validity is not known (``mask: none``). ``mean`` may be None with ``mask: bands`` and ``mask: fill``,
    where ``valid_count`` counts the pixels that are valid in every band and so is not the weight of one band's mean.
    ``means`` is empty.

Both draw from ``Dataset`` and its canvases, leave margins out of looks and means, and take a pixel of the fill value
for masked. The cases here are small: every image and every patch is shown, and an image with a valid pixel shows one
on each of its lattices, also where its tiles lie at both ends of a wide canvas (across 180 degrees). The attributes
that are read are those of the protocols below; frozen dataclasses will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from agreement_fetched import Fetched, Part
from agreement_jobs import BANDS
from agreement_pixels import Floats, Key, Pixels, Raster, differences, gathered

EXACT = 1e-12


class Look(Protocol):
    """A raster that is drawn. Of a large one every n-th row and column is shown: ``x`` and ``y`` say which."""

    @property
    def images(self) -> Sequence[str]:
        """The ids of the images that it shows."""

    @property
    def band(self) -> str:
        """The band."""

    @property
    def crs(self) -> str:
        """The CRS of ``x`` and ``y``, as the tables have it."""

    @property
    def x(self) -> Floats:
        """The centres of the pixels that the columns show, in units of the CRS."""

    @property
    def y(self) -> Floats:
        """The centres of the pixels that the rows show."""

    @property
    def values(self) -> Floats:
        """The values (rows, columns), NaN where nothing is valid."""


class Mean(Protocol):
    """The valid pixels of one image and band."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def mean(self) -> float:
        """Their mean."""


class BandNumbers(Protocol):
    """The valid pixels of one band in all stored blocks; None where the tables cannot tell."""

    @property
    def min(self) -> float | None:
        """The smallest."""

    @property
    def mean(self) -> float | None:
        """Their mean."""

    @property
    def max(self) -> float | None:
        """The largest."""


class Numbers(Protocol):
    """What a report shows: small rasters, the mean of each image (by id), and the table of bands (by name)."""

    @property
    def looks(self) -> Sequence[Look]:
        """The rasters."""

    @property
    def means(self) -> Mapping[str, Mean]:
        """The means, by image id."""

    @property
    def bands(self) -> Mapping[str, BandNumbers]:
        """The table, by band."""


def picture_wrong(fetched: Fetched, part: Part) -> list[str]:
    """``ee-spark report --out X.png``."""
    numbers = _of("picture_numbers")(part.open(fetched))
    truth = {key: rows for key, rows in fetched.truth.pixels(once=True).items() if key.band == BANDS[0]}
    if fetched.case.layout.points:
        image = min(key.image for key in truth)
        return _looks_wrong(numbers.looks, {key: rows for key, rows in truth.items() if key.image == image})
    return _looks_wrong(numbers.looks, truth) + _means_wrong(numbers.means, fetched.truth.pixels(), BANDS[0])


def page_wrong(fetched: Fetched, part: Part) -> list[str]:
    """``ee-spark report --out X.html``."""
    numbers = _of("page_numbers")(part.open(fetched))
    shown = {BANDS[0], *(look.band for look in numbers.looks)}
    truth = {key: rows for key, rows in fetched.truth.pixels(once=True).items() if key.band in shown}
    return _looks_wrong(numbers.looks, truth) + _bands_wrong(numbers.bands, fetched)


def _looks_wrong(looks: Sequence[Look], truth: Pixels) -> list[str]:
    """Compare the pixels that are shown with the source's, at their coordinates; each image must be shown."""
    rasters = [
        Raster(Key(image, look.band, look.crs), look.x, look.y, look.values, np.isfinite(look.values))
        for look in looks
        for image in look.images
    ]
    given = {key: np.unique(rows, axis=0) for key, rows in gathered(rasters).items()}
    found = [f"{key} is not shown" for key in truth if key not in given]
    shown: dict[Key, list[Floats]] = {}
    for raster in rasters:
        rows = truth.get(raster.key, np.zeros((0, 3)))
        there = np.isin(rows[:, 0], np.round(raster.x, 7)) & np.isin(rows[:, 1], np.round(raster.y, 7))
        shown.setdefault(raster.key, []).append(rows[there])
    right = {key: np.unique(np.concatenate(rows), axis=0) for key, rows in shown.items()}
    return found + differences(gathered(given.items()), gathered(right.items()))


def _means_wrong(means: Mapping[str, Mean], truth: Pixels, band: str) -> list[str]:
    found = []
    for image in sorted({key.image for key in truth}):
        values = np.concatenate([rows[:, 2] for key, rows in truth.items() if (key.image, key.band) == (image, band)])
        mine, right = means.get(image), (len(values), float(values.mean()))
        if mine is None or mine.count != right[0] or not math.isclose(mine.mean, right[1], rel_tol=EXACT):
            said = "nothing" if mine is None else f"{mine.count:,} valid pixels of mean {mine.mean:.12g}"
            found.append(f"the curve says {said} of {image}, the source has {right[0]:,} of mean {right[1]:.12g}")
    return found


def _bands_wrong(bands: Mapping[str, BandNumbers], fetched: Fetched) -> list[str]:
    if fetched.case.mask == "none":
        return [f"{band} has statistics, and validity is not known" for band in bands]
    own_masks, found = fetched.case.mask in ("bands", "fill"), []
    truth = fetched.truth.pixels(margins=True)
    for band in sorted({key.band for key in truth}):
        values = np.concatenate([rows[:, 2] for key, rows in truth.items() if key.band == band])
        for name, right in (("min", values.min()), ("mean", values.mean()), ("max", values.max())):
            mine = cast("float | None", getattr(bands.get(band), name, None))
            unknown = mine is None and name == "mean" and own_masks
            if not unknown and (mine is None or not math.isclose(mine, right, rel_tol=EXACT)):
                found.append(f"the table of bands has {name} {mine} of {band}, the source {right:.12g}")
    return found


def _of(name: str) -> Callable[[Any], Numbers]:
    return cast("Callable[[Any], Numbers]", getattr(import_module("ee_spark.show"), name))


def _absent(name: str) -> str | None:
    there = hasattr(import_module("ee_spark.show"), name)
    return None if there else f"ee_spark.show has no {name}(dataset) yet"


def picture_absent() -> str | None:
    """Say why the numbers behind the PNG cannot be compared; None where they can."""
    return _absent("picture_numbers")


def page_absent() -> str | None:
    """Say why the numbers behind the HTML page cannot be compared; None where they can."""
    return _absent("page_numbers")
