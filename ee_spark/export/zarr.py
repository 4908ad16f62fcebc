"""A selection on one lattice as a Zarr v3 group that xarray, GDAL and rioxarray open.

Source: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html; coordinates as in :mod:`ee_spark.read.array`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ee_spark.errors import ReadError, missing_extra
from ee_spark.export.task import Advance
from ee_spark.export.whole import appearing
from ee_spark.job import NAME
from ee_spark.objects.names import segment
from ee_spark.planner.validity import is_validity
from ee_spark.read.block import Blocks
from ee_spark.read.canvas import PLACE, Canvas, one_canvas
from ee_spark.read.coordinates import Coordinate, raster_coordinates
from ee_spark.read.rows import Rows, images_by_time

CHUNK_BYTES = 512 * 1024
NO_TIME = -(2**63)
FETCHED = "fetched"
"""The array that says where tiles were fetched, where no other says more."""
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Cube:
    """One group to write: (time, y, x) of all images over the ground of all planned tiles.

    Each band is an array of its own type; what is not valid or was not fetched holds 0 or the fill value, and ``valid``
    arrays say which pixels are valid.
    """

    dataset: Rows
    canvas: Canvas
    images: pa.Table
    path: Path
    blocks: int

    def run(self, advance: Advance) -> dict[str, Any]:
        """Write the group, which takes its name when it is whole."""
        with appearing(self.path) as made:
            self._fill(self._create(made), advance)
        return {"path": str(self.path), "blocks": self.blocks, "shape": list(self._shape)}

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.images.num_rows, self.canvas.height, self.canvas.width

    @property
    def _tiles(self) -> int:
        """How many tiles a chunk's side has."""
        widest = max(kind.itemsize for kind in self.dataset.bands.values())
        blocks = CHUNK_BYTES / (math.prod(self.canvas.tile) * widest)
        return int(2 ** max(0, round(math.log2(max(1.0, blocks)) / 2)))

    def _create(self, path: Path) -> dict[str, Any]:
        import zarr

        group = zarr.create_group(str(path), zarr_format=3)
        high, wide = (side * self._tiles for side in self.canvas.tile)
        fill, arrays = self.dataset.fill, {}
        known = dict.fromkeys(self._valid_names, np.dtype(np.uint8))
        for name, kind in {**self.dataset.bands, **known}.items():
            arrays[name] = group.create_array(
                name if re.fullmatch(NAME, name) else segment(name),  # a folder is named so
                shape=self._shape,
                chunks=(1, min(high, self.canvas.height), min(wide, self.canvas.width)),
                dtype=kind,
                fill_value=kind.type(fill.get(name, 0)),
                dimension_names=("time", "y", "x"),
                attributes={
                    "grid_mapping": "spatial_ref",
                    "coordinates": "image_id spatial_ref",
                    **_attributes(name, kind, fill),
                },
            )
        for name, (dims, values, attributes) in self._coordinates().items():
            values = np.asarray(values)
            array = group.create_array(
                name,
                shape=values.shape,
                dtype=str if values.dtype == object else values.dtype,
                dimension_names=(dims,) if isinstance(dims, str) else dims,
                attributes=attributes,
            )
            array[...] = values
        group.attrs.update({"Conventions": "CF-1.11", "title": self.dataset.manifest.name})
        return arrays

    @property
    def _valid_names(self) -> tuple[str, ...]:
        """The arrays of validity; with ``mask: none``, and with a fill, nothing more is known than where tiles are."""
        return self.dataset.validity or (FETCHED,)

    def _coordinates(self) -> dict[str, Coordinate]:
        times = self.images["image_time"].cast(pa.int64()).fill_null(NO_TIME).to_numpy()
        units = {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}
        if (times == NO_TIME).any():
            units["_FillValue"] = NO_TIME  # type: ignore[assignment]
        return {
            "time": ("time", times, units),
            "image_id": ("time", self.images["image_id"].to_numpy(zero_copy_only=False).astype(object), {}),
            **raster_coordinates(self.canvas),
        }

    def _fill(self, arrays: dict[str, Any], advance: Advance) -> None:
        """Write each chunk once, when its last tile has come."""
        position = {name: index for index, name in enumerate(self.images["image_id"].to_pylist())}
        awaited = self._awaited(position)
        pending: dict[Place, dict[str, npt.NDArray[Any]]] = {}
        for blocks in self.dataset.batches():
            for index, place in enumerate(self._places(blocks.keys, position)):
                chunk = pending.setdefault(place, self._empty(arrays, place))
                self._paste(chunk, place, blocks.cores(), index)
                awaited[place] -= 1
                if not awaited[place]:
                    self._write(arrays, place, pending.pop(place))
            advance(len(blocks))
        for place, chunk in pending.items():  # tiles came twice or not at all: never seen, and nothing is lost
            self._write(arrays, place, chunk)

    def _awaited(self, position: dict[str, int]) -> dict[Place, int]:
        found: dict[Place, int] = {}
        for place in self._places(self.dataset.keys(("image_id", *PLACE)), position):
            found[place] = found.get(place, 0) + 1
        return found

    def _places(self, keys: pa.Table, position: dict[str, int]) -> list[Place]:
        """Return the chunk of each block: its image, and its row and column of chunks."""
        rows, columns = self.canvas.places(keys)
        high, wide = (side * self._tiles for side in self.canvas.tile)
        times = [position[name] for name in keys["image_id"].to_pylist()]
        return list(zip(times, (rows // high).tolist(), (columns // wide).tolist(), strict=True))

    def _box(self, place: Place) -> tuple[slice, slice]:
        high, wide = (side * self._tiles for side in self.canvas.tile)
        top, left = place[1] * high, place[2] * wide
        return slice(top, min(top + high, self.canvas.height)), slice(left, min(left + wide, self.canvas.width))

    def _empty(self, arrays: dict[str, Any], place: Place) -> dict[str, npt.NDArray[Any]]:
        rows, columns = self._box(place)
        shape = rows.stop - rows.start, columns.stop - columns.start
        return {name: np.full(shape, array.fill_value, array.dtype) for name, array in arrays.items()}

    def _paste(self, chunk: dict[str, npt.NDArray[Any]], place: Place, blocks: Blocks, index: int) -> None:
        rows, columns = self.canvas.places(blocks.keys.slice(index, 1))
        box, (high, wide) = self._box(place), self.canvas.tile
        top, left = int(rows[0]) - box[0].start, int(columns[0]) - box[1].start
        part = (slice(top, top + high), slice(left, left + wide))
        for name, plane in {**blocks.planes, **blocks.validity}.items():
            chunk[name][part] = plane[index]
        if FETCHED in chunk:
            chunk[FETCHED][part] = 1

    def _write(self, arrays: dict[str, Any], place: Place, chunk: dict[str, npt.NDArray[Any]]) -> None:
        for name, values in chunk.items():
            arrays[name][(place[0], *self._box(place))] = values


def cube(dataset: Rows, out: Path) -> Cube:
    """Return the group to write at ``out``.

    Raises:
        ReadError: for patches, tiles on several lattices, or an old zarr.
        MissingExtraError: without zarr.
    """
    try:
        import zarr
    except ImportError:
        raise missing_extra("--to zarr", "zarr", "zarr") from None
    if int(zarr.__version__.partition(".")[0]) < 3:
        raise ReadError(f"--to zarr: zarr {zarr.__version__} writes no Zarr v3; pip install 'zarr>=3'")
    rows = dataset.planned(["image_id", "image_time", *PLACE])
    canvas = one_canvas(dataset, "--to zarr", rows)
    return Cube(dataset, canvas, images_by_time(rows), out, dataset.keys(["image_id"]).num_rows)


def _attributes(name: str, kind: np.dtype[Any], fill: dict[str, float]) -> dict[str, Any]:
    if name in fill:
        return {"_FillValue": kind.type(fill[name]).item()}
    if name == FETCHED or is_validity(name):
        return {"flag_values": [0, 1], "flag_meanings": "masked valid"}
    return {}
