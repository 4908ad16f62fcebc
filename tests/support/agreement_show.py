"""The numbers behind ``ee-spark report``: what is drawn, before it becomes colours and text."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from agreement_fetched import Fetched, Part
from agreement_jobs import BANDS
from agreement_pixels import Floats, Key, Pixels, Raster, centres, differences, gathered

from ee_spark.read.dataset import Dataset
from ee_spark.show.quicklook import patches
from ee_spark.show.series import by_band, by_image, by_month, mosaics

EXACT = 1e-12
EVERY_PATCH = 10_000


def picture_wrong(fetched: Fetched, part: Part) -> list[str]:
    """``ee-spark report --out X.png``: maps of each month and the curve, or a contact sheet of patches."""
    dataset: Dataset = part.open(fetched)
    if fetched.case.layout.points:
        return _patches_wrong(dataset, fetched)
    return _months_wrong(dataset, fetched) + _images_wrong(dataset, fetched)


def page_wrong(fetched: Fetched, part: Part) -> list[str]:
    """``ee-spark report --out X.html``: quick looks of images or patches, and the table of bands."""
    dataset: Dataset = part.open(fetched)
    looks = _patches_wrong(dataset, fetched) if fetched.case.layout.points else _mosaics_wrong(dataset, fetched)
    return looks + _bands_wrong(dataset, fetched)


def _months_wrong(dataset: Dataset, fetched: Fetched) -> list[str]:
    """Compare each month's sums with those of the source's pixels, place by place, in the first band."""
    times = by_image(dataset).select(["image_id", "image_time"]).to_pylist()
    month_of = {row["image_id"]: (row["image_time"].year, row["image_time"].month) for row in times}
    truth: dict[Key, list[Floats]] = {}
    for key, rows in fetched.truth.pixels(once=True).items():
        if key.band == BANDS[0]:
            truth.setdefault(key._replace(image=str(month_of[key.image])), []).append(rows)
    right = {key: _added(np.concatenate(rows)) for key, rows in truth.items()}
    maps: dict[Key, list[Floats]] = {}
    for lattice in by_month(dataset, BANDS[0], side=None):
        for month, total, count in zip(lattice.months, lattice.total, lattice.count, strict=True):
            raster = Raster(
                Key(str(month), BANDS[0], lattice.window.crs), lattice.window.xs, lattice.window.ys, total, count > 0
            )
            maps.setdefault(raster.key, []).append(raster.rows())
    given = {key: _added(np.concatenate(rows)) for key, rows in maps.items()}
    return differences(gathered(given.items()), gathered(right.items()))


def _added(rows: Floats) -> Floats:
    """Return one row per place, with the sum of its values."""
    places, index = np.unique(np.round(rows[:, :2], 7), axis=0, return_inverse=True)
    return np.column_stack([places, np.bincount(index.ravel(), rows[:, 2])])


def _images_wrong(dataset: Dataset, fetched: Fetched) -> list[str]:
    """Compare the number and mean of each image's valid pixels, from which the curve is made."""
    found, truth = [], fetched.truth.pixels()
    for row in by_image(dataset).to_pylist():
        for band in BANDS:
            values = [rows[:, 2] for key, rows in truth.items() if (key.image, key.band) == (row["image_id"], band)]
            count, total = sum(map(len, values)), sum(float(part.sum()) for part in values)
            mine = row[f"{band}_count"], row[f"{band}_sum"]
            if mine[0] != count or not math.isclose(mine[1], total, rel_tol=EXACT):
                found.append(f"{band} of {row['image_id']} has {mine[0]} of sum {mine[1]}, not {count} of {total}")
    return found


def _mosaics_wrong(dataset: Dataset, fetched: Fetched) -> list[str]:
    def rasters() -> Iterator[Raster]:
        for image in sorted({key.image for key in fetched.truth.pixels()}):
            for mosaic in mosaics(dataset, image, BANDS):
                for index, band in enumerate(mosaic.bands):
                    values = mosaic.values[..., index]
                    key = Key(image, band, mosaic.window.crs)
                    yield Raster(key, mosaic.window.xs, mosaic.window.ys, values, np.isfinite(values))

    given = {key: np.unique(rows, axis=0) for key, rows in gathered(rasters()).items()}
    return differences(gathered(given.items()), gathered(fetched.truth.pixels(once=True).items()))


def _patches_wrong(dataset: Dataset, fetched: Fetched) -> list[str]:
    """Compare the patches of the image that is shown; their places come from the table."""
    shown = patches(dataset, EVERY_PATCH)
    if shown is None:
        return ["no patch is shown"]
    keys = dataset.select(images=shown.image).keys(["point_id", "transform", "crs", "margin"]).to_pylist()
    rows = {row["point_id"]: row for row in keys}
    rasters = []
    for name, values in zip(shown.ids, shown.values, strict=True):
        scale_x, shear_x, x, shear_y, scale_y, y = rows[name]["transform"]
        margin = rows[name]["margin"]
        corner = (scale_x, shear_x, x + margin * scale_x, shear_y, scale_y, y + margin * scale_y)
        height, width = values.shape[:2]
        for index, band in enumerate(shown.bands):
            plane = values[..., index]
            key = Key(shown.image, band, rows[name]["crs"])
            rasters.append(Raster(key, *centres(corner, width, height), plane, np.isfinite(plane)))
    truth: Pixels = {
        key: rows
        for key, rows in fetched.truth.pixels().items()
        if key.image == shown.image and key.band in shown.bands
    }
    return differences(gathered(rasters), truth)


def _bands_wrong(dataset: Dataset, fetched: Fetched) -> list[str]:
    found, truth = [], fetched.truth.pixels()
    for band, spread in by_band(dataset).items():
        values = np.concatenate([rows[:, 2] for key, rows in truth.items() if key.band == band])
        right = len(values), values.min(), values.mean(), values.max()
        mine = spread.count, spread.low, spread.mean, spread.high
        if not np.allclose(mine, right, rtol=EXACT, atol=0):
            found.append(f"the table of bands says {mine} of {band}, the source {right}")
    return found
