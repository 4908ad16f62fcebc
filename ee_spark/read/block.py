"""Blocks of pixels as numpy arrays, with where each lies and which of its pixels are valid."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ee_spark.errors import ReadError
from ee_spark.planner.validity import Validity

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """One tile of one image.

    ``keys`` are the row's columns that are not pixels. ``planes`` has each band as (height, width) in the band's own
    type; masked samples hold 0, or the job's fill value. ``rule`` says which samples are valid; None where whoever made
    the block does not know the job.
    """

    keys: Mapping[str, Any]
    planes: Mapping[str, Array]
    validity: Mapping[str, Array]
    rule: Validity | None

    def __getitem__(self, band: str) -> Array:
        return self.planes[band]

    @property
    def tile_id(self) -> str:
        """Where it lies, as a name."""
        return str(self.keys["tile_id"])

    @property
    def image_id(self) -> str:
        """Of which image it is; empty for one computed image."""
        return str(self.keys["image_id"])

    @property
    def time(self) -> dt.datetime | None:
        """The image's start time, in UTC."""
        return self.keys["image_time"]  # type: ignore[no-any-return]

    @property
    def crs(self) -> str:
        """The CRS as Earth Engine knows it."""
        return str(self.keys["crs"])

    @property
    def transform(self) -> tuple[float, ...]:
        """scaleX, shearX, translateX, shearY, scaleY, translateY of the block with its margin."""
        return tuple(self.keys["transform"])

    @property
    def margin(self) -> int:
        """Extra pixels on every side."""
        return int(self.keys["margin"])

    @property
    def fill(self) -> Mapping[str, float]:
        """The value of each band's masked samples, with ``mask: fill``; else empty."""
        return self.rule.fill if self.rule else {}

    def valid(self, band: str) -> Mask | None:
        """Return where a band is valid as (height, width), or None where the job fetched no masks (``mask: none``).

        Raises:
            ReadError: if it is not known how the job masks samples.
        """
        return _valid(self, band)

    def masked(self, band: str) -> Array:
        """Return a band as floats, NaN where it is not valid: float32 where that holds every value, else float64."""
        return _nan_masked(self.planes[band], self.valid(band))


@dataclass(frozen=True)
class Blocks:
    """n blocks of one shape: ``keys`` has n rows, each plane is (n, height, width)."""

    keys: pa.Table
    planes: Mapping[str, Array]
    validity: Mapping[str, Array]
    rule: Validity | None

    def __len__(self) -> int:
        return int(self.keys.num_rows)

    def __getitem__(self, band: str) -> Array:
        return self.planes[band]

    def __iter__(self) -> Iterator[Block]:
        return (self.block(index) for index in range(len(self)))

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands' names."""
        return tuple(self.planes)

    @property
    def fill(self) -> Mapping[str, float]:
        """The value of each band's masked samples, with ``mask: fill``; else empty."""
        return self.rule.fill if self.rule else {}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The keys as one mapping per block."""
        return self.keys.to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def transforms(self) -> npt.NDArray[np.float64]:
        """The blocks' affine transforms, (n, 6)."""
        flat = self.keys["transform"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, np.float64).reshape(-1, 6)

    def block(self, index: int) -> Block:
        """Return one of the blocks; its arrays are views."""
        return Block(
            self.rows[index],
            {name: plane[index] for name, plane in self.planes.items()},
            {name: plane[index] for name, plane in self.validity.items()},
            self.rule,
        )

    def valid(self, band: str) -> Mask | None:
        """Return where a band is valid as (n, height, width), or None where the job fetched no masks."""
        return _valid(self, band)

    def masked(self, band: str) -> Array:
        """Return a band as floats (n, height, width), NaN where it is not valid."""
        return _nan_masked(self.planes[band], self.valid(band))

    def stack(self, bands: Sequence[str] | None = None) -> Array:
        """Return bands as floats (n, band, height, width), NaN where they are not valid, in one type that holds all."""
        return np.stack([self.masked(band) for band in bands or self.bands], axis=1)

    def cores(self) -> Blocks:
        """Return the blocks without their margins, as views."""
        margin = self.keys["margin"][0].as_py() if len(self) else 0
        if not margin:
            return self
        inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
        return replace(
            self,
            planes={name: plane[inner] for name, plane in self.planes.items()},
            validity={name: plane[inner] for name, plane in self.validity.items()},
        )


def blocks_of(table: pa.Table, shape: tuple[int, int], rule: Validity) -> Blocks:
    """Return rows of ``pixels`` as blocks of ``shape`` (height, width), without copying a pixel where Arrow allows.

    The bands and validity columns are those of ``rule``.
    """

    def plane(name: str) -> Array:
        values: Array = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=True)
        return values.reshape(-1, *shape)

    pixels = {*rule.bands, *rule.columns}
    keys = table.select([name for name in table.column_names if name not in pixels])
    return Blocks(keys, {name: plane(name) for name in rule.bands}, {name: plane(name) for name in rule.columns}, rule)


def float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the smallest float type that holds every value of ``dtype``, and NaN."""
    small = dtype.itemsize <= 2 or dtype == np.float32
    return np.dtype(np.float32 if small else np.float64)


def _valid(of: Block | Blocks, band: str) -> Mask | None:
    if of.rule is None:
        raise ReadError(
            "valid: blocks without validity columns do not say what stands for masked pixels; pass fill=VALUE "
            "(mask: fill) or fill={} (mask: none) where they are made"
        )
    return of.rule.of(band, {**of.planes, **of.validity})


def _nan_masked(plane: Array, valid: Mask | None) -> Array:
    """Return a plane as floats, NaN where it is not valid."""
    values = plane.astype(float_type(plane.dtype))
    if valid is not None:
        values[~valid] = np.nan
    return values
