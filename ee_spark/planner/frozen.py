"""What the first plan of a dataset decides once and for all, as it stands in job.json."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np

from ee_spark.job import NAME, Pixels
from ee_spark.limits import MAX_BYTES, MAX_SIDE
from ee_spark.planner.crs import LONGEST_WKT
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.tile import Shape
from ee_spark.planner.validity import Validity

METHODS = ("getPixels", "computePixels")
MASKS = ("band", "bands", "fill", "none")
DTYPES = frozenset(f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)) - {"float8"}
LONGEST = 1024
"""Characters of a name."""
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
    the length of a time bucket. ``life`` is the nonce of the dataset's life; "" in what older versions wrote.
    ``nans`` is whether ``tiles`` counts the valid samples that are not a number: no dataset of older versions does.
    ``exact`` is whether the points' own columns hold what their files said: no dataset of older versions promises it.
    ``versions`` is whether the service takes images' versions, None where nobody looked, and ``columns`` are the types
    of the points' own columns, as Arrow prints them: job.json has both beside this.
    """

    method: str
    bands: tuple[Band, ...]
    mask: str
    shape: Shape
    lattice: Lattice | None
    align: str
    side: int
    days: int
    life: str = ""
    nans: bool = False
    exact: bool = False
    versions: bool | None = True
    columns: Mapping[str, str] = field(default_factory=dict)

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
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in ("versions", "columns")}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Frozen:
        """Return the value that ``data`` was made from.

        Raises:
            ValueError, TypeError, KeyError: if it is not one: whoever can write job.json decides no more than it says.
        """
        for item in dataclasses.fields(cls):
            needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if needed and item.name not in data:
                raise KeyError(item.name)
        found = cls(
            **{
                **data,
                "bands": tuple(Band(**band) for band in data["bands"]),
                "shape": Shape(**data["shape"]),
                "lattice": Lattice(**data["lattice"]) if data["lattice"] else None,
            }
        )
        _check(found)
        return found


def _check(found: Frozen) -> None:
    """Refuse values of wrong types or out of range."""
    shape, lattice = found.shape, found.lattice
    texts = [
        found.method,
        found.mask,
        found.align,
        found.life,
        *(text for band in found.bands for text in astuple(band)),
    ]
    wholes = [shape.width, shape.height, shape.margin, found.side, found.days]
    if not all(isinstance(text, str) and len(text) <= LONGEST for text in texts):
        raise ValueError("a name is not a text, or too long")
    "".join(texts).encode()  # a text that cannot be written raises
    for name, value, known in (("method", found.method, METHODS), ("mask", found.mask, MASKS)):
        if value not in known:
            raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}")
    for band in found.bands:
        if not re.fullmatch(NAME, band.name) or band.dtype not in DTYPES:
            raise ValueError(f"the band {band.name!r} of type {band.dtype!r} is not one that a table can have")
    if len({band.name.lower() for band in found.bands}) != len(found.bands):
        raise ValueError("two bands have one name")
    if not all(type(number) is int and 0 <= number <= MAX_SIDE for number in wholes):
        raise ValueError("a side, margin or number of days is out of range")
    if min(shape.width, shape.height, found.side, found.days) < 1:
        raise ValueError("a side or a number of days is 0")
    width, height = shape.stored
    if not found.bands or max(width, height) > MAX_SIDE or found.tile_bytes > MAX_BYTES:
        raise ValueError(
            f"tiles of {width:,} × {height:,} pixels of {len(found.bands)} bands, which no request can hold"
        )
    if lattice:
        check_lattice(lattice)
    _check_life(found)


def _check_life(found: Frozen) -> None:
    if not re.fullmatch(r"(?:[0-9a-f]{16,64})?", found.life):
        raise ValueError(f"its life {found.life!r} is not a nonce")
    for name in ("nans", "exact"):
        if type(getattr(found, name)) is not bool:
            raise ValueError(f"{name} is {getattr(found, name)!r}, not true or false")


def check_lattice(lattice: Lattice) -> None:
    """Refuse a lattice of a dataset's records that has values of wrong types or out of range.

    Raises:
        ValueError: so.
    """
    numbers = (lattice.res_x, lattice.res_y, lattice.x0, lattice.y0)
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError("its lattice holds what is not a number")
    if not (isinstance(lattice.crs, str) and len(lattice.crs) <= LONGEST_WKT and lattice.crs.encode()):
        raise ValueError("its lattice has no CRS")
    if not (lattice.res_x > 0 and lattice.res_y > 0):
        raise ValueError("its lattice has a pixel without a size")
    if not all(math.isfinite(origin / size) for origin, size in zip(numbers[2:], numbers[:2], strict=True)):
        raise ValueError("its lattice begins beyond any coordinate")
