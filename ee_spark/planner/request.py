"""What one request asks for: a window of pixels of one image, as the path and body of an HTTP call.

Sources: https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/getPixels and
https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy.typing as npt

from ee_spark.client import asset_name
from ee_spark.errors import ServiceError
from ee_spark.limits import MAX_BANDS as MAX_BANDS
from ee_spark.limits import MAX_BYTES
from ee_spark.planner.images import ID, VERSION
from ee_spark.planner.window import Window, widened
from ee_spark.refusals import absent, unquoted

R = TypeVar("R")

AUTO_BYTES = 1_000_000
"""What ``images_per_request: auto`` fills, in raw bytes: beyond it a request's own cost no longer counts."""
MAX_GRAPH_BYTES = 4_000_000
"""Of the 10 MiB that a request's body may have."""


_NULL = re.compile(r"^Image\.select: Parameter 'input' is required")  # the first thing that a job's graph does with it
_NO_BANDS = re.compile(  # what is said of the image that a reducer makes of no images
    r"to an Image with no bands|Image has no bands|Available band names: \[\]|the number of bands \(0\)"
)


_VERSION = re.compile(r"\bversion\b", re.I)
_VERSIONED = re.compile(
    rf',\s*"version":\s*{{"constantValue":\s*{VERSION}}}|"version":\s*{{"constantValue":\s*{VERSION}}},?\s*'
)


@dataclass(frozen=True)
class TileRequest(Generic[R]):
    """One pair of image and tile to fetch: of its stored ``block``, the ``window`` that can be asked for.

    Lanes, the plan's probe and ``verify --refetch`` all ask for tiles by this. ``ref`` is the caller's own, ``tile``
    what log lines call it. The window is the part of the block within ±180°, without its first ``left`` columns.
    """

    ref: R
    image_id: str
    version: int
    graph: str | None
    block: Window
    tile: str = ""
    window: Window = field(init=False, repr=False)
    left: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        window, left = self.block.within_world()
        object.__setattr__(self, "window", window)
        object.__setattr__(self, "left", left)

    def widened(self, planes: dict[str, npt.NDArray[Any]], fill: Mapping[str, float]) -> dict[str, npt.NDArray[Any]]:
        """Return the window's planes as those of the block: what was not asked for is masked (``fill``, else 0)."""
        if self.window.width == self.block.width:
            return planes
        return widened(planes, self.block.width, self.left, fill)


def graph_of(graphs: Sequence[str], image: int) -> str | None:
    """Return the graph of one image: its own, the template of all images, or none."""
    return graphs[image if len(graphs) > 1 else 0] if graphs else None


@dataclass(frozen=True)
class Recipe:
    """How the pixels of any image of a job are asked for.

    ``bands`` are the names in the answer, in order. ``project`` pays for computed pixels; for stored ones the client's
    header says who does.
    """

    method: str
    project: str
    bands: tuple[str, ...]
    format: str = "NPY"
    tag: str | None = None

    def call(self, image_id: str, version: int, graph: str | None, window: Window) -> tuple[str, bytes]:
        """Return path and body. ``graph`` is the image's graph, or the template of a stored image's."""
        body: dict[str, object] = {"fileFormat": self.format, "bandIds": self.bands, "grid": window.grid()}
        if self.tag:
            body["workloadTag"] = self.tag
        text = json.dumps(body)
        if self.method == "getPixels":
            return f"/v1/{asset_name(image_id)}:getPixels", text.encode()
        expression = filled(graph or "", image_id, version)
        return f"/v1/projects/{self.project}/image:computePixels", f'{text[:-1]}, "expression": {expression}}}'.encode()


def is_nothing(error: ServiceError, image_id: str, graph: str | None) -> bool:
    """Return True if a request failed because there is no image: ``map`` gave null, or a period is without any.

    That is so at every place: such a pair of image and tile is empty, not failed. Of a stored image an image without
    bands is no such thing: it is there, and what ``map`` joined to it is not.
    """
    if graph is None or not image_id:
        return False
    of_stored = json.dumps(ID) in graph
    return bool(_NULL.search(error.message) or (not of_stored and _NO_BANDS.search(unquoted(error.message))))


def is_gone(error: ServiceError, image_id: str, version: int) -> bool:
    """Return True if a request failed because this version of a stored image is not there, or is no version for it.

    By structure: the image's id, or its resource's name, in the place where the service names what it misses. Other
    assets that ``map`` loads are not meant, and no words in the job's own names.
    """
    if absent(error.message) == image_id:
        return True
    return str(version) in error.message and bool(_VERSION.search(unquoted(error.message)))


def filled(template: str, image_id: str, version: int) -> str:
    """Return a stored image's graph with its id and version in the places of the placeholders; -1: without one."""
    if version < 0 and str(VERSION) in template:
        template = _VERSIONED.sub("", template)
    return template.replace(json.dumps(ID), json.dumps(image_id)).replace(str(VERSION), str(version))


def pack_size(
    images: int | Literal["auto"], method: str, bands: int, tile_bytes: int, counted_bytes: int, graph_bytes: int
) -> int:
    """Return how many images of one tile go into one request: 1 where nothing is packed.

    ``bands`` counts validity bands too, ``counted_bytes`` a tile's mask bytes too, ``graph_bytes`` one image's graph.
    """
    if method != "computePixels" or images == 1:
        return 1
    wanted = max(1, AUTO_BYTES // max(1, tile_bytes)) if images == "auto" else images
    fits = MAX_BYTES // max(1, counted_bytes), MAX_BANDS // max(1, bands), MAX_GRAPH_BYTES // max(1, graph_bytes)
    return max(1, min(wanted, *fits))
