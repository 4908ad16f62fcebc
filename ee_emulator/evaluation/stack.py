"""Reducing stacks of bands to bands: what ImageCollection.reduce, Image.reduce and the composites share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError, not_implemented
from ..values import mask as masks
from ..values.band import Band, Canvas, Extent
from ..values.grid import Pixels
from ..values.pixeltype import PixelType
from ..values.projection import WGS84
from ..values.reducer import Output, Reducer, Results


class Shared:
    """What several bands of one image are cut from, computed once on each canvas."""

    def __init__(self, compute: Callable[[Canvas], Results]) -> None:
        self._compute = compute
        self._kept: WeakKeyDictionary[Canvas, Results] = WeakKeyDictionary()

    def reader(
        self, position: int, finish: Callable[[Canvas, Any, NDArray[Any]], Pixels]
    ) -> Callable[[Canvas], Pixels]:
        """The pixels of one result, as `finish` makes them."""

        def read(canvas: Canvas) -> Pixels:
            if canvas not in self._kept:
                self._kept[canvas] = self._compute(canvas)
            return finish(canvas, *self._kept[canvas][position])

        return read


def pixel_type(output: Output, types: Sequence[PixelType], operation: str) -> PixelType:
    """The type of an output as a band; a 400 where it is not a number."""
    if output.typing is None:
        raise not_implemented(
            f"{operation}: the reducer's output '{output.name}' is not a number for each pixel; array images",
            "are",
        )
    return output.typing(types)


def common_type(bands: Sequence[Band]) -> PixelType:
    """The type that holds the values of all bands."""
    common = bands[0].type
    for band in bands:
        common = common.union(band.type)
    return common


def reduced(inputs: Sequence[Sequence[Band]], reducer: Reducer, names: Sequence[str], operation: str) -> list[Band]:
    """One band for each output from one stack of bands for each input; they have the projection of a composite."""
    if not all(names):
        raise ServiceError(f"{operation}: a band needs a name; the reducer's outputs are {list(reducer.names)}.")
    types = [common_type(bands) for bands in inputs]
    extent = masks.join(*(band.extent for bands in inputs for band in bands))

    def compute(canvas: Canvas) -> Results:
        layers = [[canvas.pixels(band) for band in bands] for bands in inputs]
        # What is masked everywhere here counts for nothing: most images of a collection do not touch most requests.
        used = [i for i in range(len(inputs[0])) if any(stack[i][1].any() for stack in layers)] or [0]
        values, weights = [], []
        for stack, bands, kind in zip(layers, inputs, types, strict=True):
            values.append(np.stack([kind.cast(stack[i][0], bands[i].type) for i in used]))
            weights.append(np.stack([stack[i][1] for i in used]))
        return reducer.apply(values, weights)

    shared = Shared(compute)
    return [
        Band(
            name,
            pixel_type(output, types, operation),
            shared.reader(i, _finish(output, pixel_type(output, types, operation), extent)),
            WGS84,
            extent,
        )
        for i, (name, output) in enumerate(zip(names, reducer.outputs, strict=True))
    ]


def _finish(output: Output, wanted: PixelType, extent: Extent | None) -> Callable[[Canvas, Any, NDArray[Any]], Pixels]:
    def finish(canvas: Canvas, values: Any, mask: NDArray[Any]) -> Pixels:
        inside = extent(canvas) if output.always and extent is not None else mask
        return np.where(mask, values, 0).astype(wanted.dtype, copy=False), inside

    return finish
