"""Which samples are valid: the one rule, for those who measure, read, draw, export and explode pixels into rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SHARED = "valid"
"""The column of ``mask: band``: 1 where every band is valid."""
_PREFIX = "valid_"


@dataclass(frozen=True)
class Validity:
    """How a job's tables say which samples are valid.

    ``mask`` is the job file's: ``band`` (one column for all bands), ``bands`` (a column for each), ``fill`` (a value of
    ``fill`` stands for masked samples) or ``none`` (nobody knows).
    """

    mask: str
    bands: tuple[str, ...]
    fill: Mapping[str, float] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the validity columns."""
        if self.mask == "band":
            return (SHARED,)
        return tuple(_PREFIX + band for band in self.bands) if self.mask == "bands" else ()

    @property
    def known(self) -> bool:
        """False with ``mask: none``: masked samples are zeros like any other."""
        return self.mask != "none"

    def select(self, bands: Sequence[str]) -> Validity:
        """Return the same rule for some of the bands."""
        return Validity(self.mask, tuple(bands), {name: self.fill[name] for name in bands if name in self.fill})

    def of(self, band: str, planes: Mapping[str, Plane]) -> Mask | None:
        """Return where a band is valid, in the shape of its plane; None where nobody knows.

        ``planes`` are bands and validity columns by name, all of one shape.
        """
        if self.mask == "fill":
            plane, value = planes[band], self.fill[band]
            return np.asarray(~np.isnan(plane) if math.isnan(value) else plane != value)
        if self.mask == "none":
            return None
        return np.asarray(planes[SHARED if self.mask == "band" else _PREFIX + band] != 0)

    def all(self, planes: Mapping[str, Plane]) -> Mask | None:
        """Return where every band is valid; None where nobody knows."""
        return self._joined(np.logical_and, planes)

    def any(self, planes: Mapping[str, Plane]) -> Mask | None:
        """Return where at least one band is valid; None where nobody knows."""
        return self._joined(np.logical_or, planes)

    def is_empty(self, planes: Mapping[str, Plane]) -> bool:
        """Return True if no band has a valid sample; never where nobody knows."""
        return self.known and not any(self.of(band, planes).any() for band in self._distinct)  # type: ignore[union-attr]

    @property
    def _distinct(self) -> tuple[str, ...]:
        """Bands whose validity has to be looked at: one speaks for all with ``mask: band``."""
        return self.bands[:1] if self.mask == "band" else self.bands

    def _joined(self, join: np.ufunc, planes: Mapping[str, Plane]) -> Mask | None:
        masks = [mask for band in self._distinct if (mask := self.of(band, planes)) is not None]
        return np.asarray(join.reduce(masks)) if masks else None


def is_validity(column: str) -> bool:
    """Return True for the names of validity columns, which no band can have."""
    return column.lower() == SHARED or column.lower().startswith(_PREFIX)


def validity_of_columns(columns: Iterable[str], fill: Mapping[str, float] | None = None) -> Validity:
    """Return the rule of a table with these pixel columns, where only its columns and ``fill`` tell it."""
    names = list(columns)
    bands = tuple(name for name in names if not is_validity(name))
    if fill:
        return Validity("fill", bands, {name: fill[name] for name in bands})
    if SHARED in names:
        return Validity("band", bands)
    return Validity("bands" if any(is_validity(name) for name in names) else "none", bands)
