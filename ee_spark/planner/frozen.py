"""What the first plan of a dataset decides once and for all, as it stands in job.json."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from ee_spark.job import Pixels
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.tile import Shape
from ee_spark.planner.validity import Validity

Note = tuple[str, str, str]
"""A decision for people: what, its value, why."""


def fill_values(bands: list[str], pixels: Pixels) -> dict[str, float]:
    """Return what stands for masked samples in each band; nothing unless ``mask: fill``."""
    if pixels.mask != "fill" or pixels.fill is None:
        return {}
    return dict(pixels.fill) if isinstance(pixels.fill, dict) else dict.fromkeys(bands, pixels.fill)


@dataclass(frozen=True)
class Band:
    """One band of the tables: its column, its name in the source, and its numpy type."""

    name: str
    old: str
    dtype: str


@dataclass(frozen=True)
class Frozen:
    """Bands, types, method, lattice and chunks of a dataset.

    ``lattice`` is None where every image keeps its own (``native``). ``side`` is the blocks' side in tiles, ``days``
    the length of a time bucket.
    """

    method: str
    bands: tuple[Band, ...]
    mask: str
    shape: Shape
    lattice: Lattice | None
    align: str
    side: int
    days: int

    @property
    def validity(self) -> tuple[str, ...]:
        """The names of the validity columns."""
        return Validity(self.mask, tuple(band.name for band in self.bands)).columns

    @property
    def pixel_bytes(self) -> int:
        """Raw bytes of one pixel: its bands and its validity."""
        return sum(np.dtype(band.dtype).itemsize for band in self.bands) + len(self.validity)

    @property
    def counted_bytes(self) -> int:
        """Bytes of one pixel as the service counts them: one more for each sample."""
        return self.pixel_bytes + len(self.bands) + len(self.validity)

    @property
    def tile_bytes(self) -> int:
        """Raw bytes of one stored block."""
        width, height = self.shape.stored
        return width * height * self.pixel_bytes

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Frozen:
        """Return the value that ``data`` was made from."""
        return cls(
            **{
                **data,
                "bands": tuple(Band(**band) for band in data["bands"]),
                "shape": Shape(**data["shape"]),
                "lattice": Lattice(**data["lattice"]) if data["lattice"] else None,
            }
        )
