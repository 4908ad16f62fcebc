"""Packs: several images of one tile as the bands of one computed image, so that small patches cost few requests.

The graphs are rewritten as plain JSON, without the official client: the nodes of each get keys of their own, equal
nodes one key, and the images are joined by ``Image.addBands`` in a balanced tree, each band renamed after its image's
place (https://developers.google.com/earth-engine/reference/rest/v1/Expression).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ee_spark.planner.graph import Nodes
from ee_spark.planner.request import Recipe, TileRequest, filled


def packed(recipe: Recipe, wanted: Sequence[TileRequest[Any]]) -> tuple[Recipe, str]:
    """Return the recipe and graph of one HTTP request for all ``wanted`` tile requests, which are of one window.

    The answer's bands are those of the first, then of the second, and so on.
    """
    nodes = Nodes()
    images = []
    names = [_band_names(index, recipe.bands) for index in range(len(wanted))]
    for one, new in zip(wanted, names, strict=True):
        image = nodes.add(json.loads(filled(one.graph or "", one.image_id, one.version)))
        images.append(
            nodes.call("Image.select", input=image, bandSelectors=_constant(recipe.bands), newNames=_constant(new))
        )
    while len(images) > 1:
        pairs = zip(images[::2], images[1::2], strict=False)
        joined = [nodes.call("Image.addBands", dstImg=left, srcImg=right) for left, right in pairs]
        images = joined + images[2 * len(joined) :]
    return replace(recipe, bands=tuple(name for new in names for name in new)), nodes.text(images[0])


@lru_cache(maxsize=2048)
def _band_names(index: int, bands: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"p{index}_{band}" for band in bands)


def _constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}
