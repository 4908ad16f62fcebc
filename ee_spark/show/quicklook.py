"""Small pictures of a dataset: its clearest images as mosaics, and patches of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ee_spark.read.dataset import Dataset
from ee_spark.show.colour import shown_bands
from ee_spark.show.series import Mosaic, mosaics
from ee_spark.status import TileStatus

Floats = npt.NDArray[np.float64]
SIDE = 420
"""Pixels of a mosaic's longer side at most; larger ones are thinned."""
RANKED = ("image_id", "image_time", "valid_count", "status")
"""The columns of ``tiles`` that :func:`best_images` needs."""


@dataclass(frozen=True)
class Patches:
    """Patches of one image, by point id.

    ``values`` is (n, height, width, bands), without margins, NaN where a band is not valid.
    """

    image: str
    bands: tuple[str, ...]
    ids: tuple[str, ...]
    values: Floats


def mosaic(dataset: Dataset, image: str, side: int = SIDE) -> Mosaic:
    """Return an image in the bands to show; of several lattices the largest."""
    return mosaics(dataset, image, side=side)[0]


def patches(dataset: Dataset, count: int) -> Patches | None:
    """Return the first ``count`` patches of the clearest image; None where no pixel is stored."""
    clearest = best_images(dataset.tiles(RANKED), 1)
    if not clearest:
        return None
    bands = shown_bands(list(dataset.bands))
    image = dataset.select(images=clearest, bands=bands)
    ids = sorted(set(image.keys(["point_id"])["point_id"].to_pylist()))[:count]
    found: dict[str, Floats] = {}
    for blocks in image.select(points=ids).batches():
        stack = np.moveaxis(blocks.cores().stack(bands), 1, -1)
        found.update(zip(blocks.keys["point_id"].to_pylist(), stack, strict=True))
    return Patches(clearest[0], bands, tuple(ids), np.stack([found[name] for name in ids])) if ids else None


def best_images(tiles: pa.Table, count: int) -> list[str]:
    """Return the images with the most valid pixels, in order of time, as the statistics in ``tiles`` say.

    Where masks were not fetched, those with the most tiles that are ok.
    """
    ok = tiles["status"].to_numpy(zero_copy_only=False) == TileStatus.OK
    rows = tiles.select(["image_id", "image_time", "valid_count"]).append_column("ok", pa.array(ok.astype(np.int64)))
    sums = rows.group_by(["image_id", "image_time"]).aggregate([("valid_count", "sum"), ("ok", "sum")])
    ranked = sums.sort_by([("valid_count_sum", "descending"), ("ok_sum", "descending"), ("image_id", "ascending")])
    first = ranked.slice(0, count).sort_by([("image_time", "ascending"), ("image_id", "ascending")])
    return [row["image_id"] for row in first.to_pylist() if row["ok_sum"]]
