"""Masks, bool or float32 in [0, 1], and the footprints outside which a mask is itself masked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .band import Extent


def meet(*extents: Extent | None) -> Extent | None:
    """Where all of the footprints are."""
    bounded = [extent for extent in extents if extent is not None]
    if len(bounded) < 2:
        return bounded[0] if bounded else None
    return lambda canvas: np.asarray(np.logical_and.reduce([extent(canvas) for extent in bounded]))


def join(*extents: Extent | None) -> Extent | None:
    """Where any of the footprints is; unbounded if one of them is."""
    bounded = [extent for extent in extents if extent is not None]
    if len(bounded) < len(extents):
        return None
    return lambda canvas: np.asarray(np.logical_or.reduce([extent(canvas) for extent in bounded]))


def both(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """The mask of a value computed from two: masked where either is, else the smaller of the two."""
    if first.dtype == bool and second.dtype == bool:
        return np.asarray(first & second)
    return np.asarray(np.minimum(fraction(first), fraction(second)))


def all_of(found: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """The mask of a value computed from several."""
    return reduce(both, found)


def fraction(mask: NDArray[Any]) -> NDArray[Any]:
    """A mask as float32 in [0, 1]."""
    return mask.astype(np.float32, copy=False)


def as_mask(values: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """A mask image's pixels as a mask: its values limited to [0, 1], masked where the mask image is."""
    if values.dtype.kind in "iub":
        valid = values > 0
        return np.asarray(valid & mask if mask.dtype == bool else np.where(valid, mask, np.float32(0)))
    limited = np.clip(np.nan_to_num(values), 0, 1).astype(np.float32)
    return np.asarray(np.where(mask > 0, limited, np.float32(0)))
