"""Mosaics as GeoTIFF and COG, one for each image and lattice, of any size in little memory.

Tiles go into an uncompressed scratch raster in the order of the table, each row group read once; GDAL then compresses
it block by block into the file, which takes its name when it is whole.
Sources: https://gdal.org/drivers/raster/cog.html, https://gdal.org/drivers/raster/gtiff.html.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling
from rasterio.io import DatasetWriter
from rasterio.transform import Affine
from rasterio.windows import Window

from ee_spark.errors import ReadError
from ee_spark.export.task import TIFF, Advance
from ee_spark.export.whole import appearing
from ee_spark.gdal import local_gdal
from ee_spark.objects.names import file_stem, segments
from ee_spark.read.block import Blocks
from ee_spark.read.canvas import PLACE, Canvas, canvases
from ee_spark.read.rows import LATTICE, Rows
from ee_spark.status import TileStatus

BLOCK = 512
MOST_EMPTY = 10_000
"""Pixels of a mosaic for each that is planned."""
CACHE_MB = 128
"""GDAL's block cache: all that a mosaic holds in memory beside two row groups."""
_GDAL_TYPES = {
    **{"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32"},
    **{"uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64"},
}


@dataclass(frozen=True)
class Mosaic:
    """One file to write: an image's tiles on one canvas.

    ``nodata`` marks what is not valid where one value can; else the file has a mask, unless every pixel is ``whole``.
    """

    dataset: Rows
    canvas: Canvas
    image_id: str
    time: dt.datetime | None
    path: Path
    blocks: int
    failed: int
    nodata: float | None
    whole: bool
    cloud_optimised: bool

    def run(self, advance: Advance) -> dict[str, Any]:
        """Write the file under its name in one step."""
        with (
            appearing(self.path) as made,
            local_gdal(GDAL_CACHEMAX=CACHE_MB, GDAL_NUM_THREADS="ALL_CPUS", GDAL_TIFF_INTERNAL_MASK=True),
        ):
            scratch = made.with_name("scratch")
            scratch.mkdir()
            self._assemble(scratch, advance)
            (scratch / "mosaic.vrt").write_text(self._vrt())
            self._compress(scratch / "mosaic.vrt", made)
        size = self.path.stat().st_size
        return {"path": str(self.path), "blocks": self.blocks, "failed": self.failed, "bytes": size}

    @property
    def _rows(self) -> Rows:
        """The rows of this image on this canvas."""
        found = self.dataset.on_lattice(self.canvas.key)
        return replace(found, selection=replace(found.selection, images=(self.image_id,)))

    @property
    def _masked(self) -> bool:
        return self.nodata is None and not self.whole

    def _assemble(self, scratch: Path, advance: Advance) -> None:
        """Put the cores of all tiles into uncompressed rasters: whole blocks, where a tile's side allows."""
        canvas, kind = self.canvas, next(iter(self.dataset.bands.values()))
        options: dict[str, Any] = {
            "driver": "GTiff",
            "width": canvas.width,
            "height": canvas.height,
            "tiled": True,
            "blockxsize": _block_side(canvas.tile[1], canvas.width),
            "blockysize": _block_side(canvas.tile[0], canvas.height),
            "transform": Affine.from_gdal(*canvas.gdal),
            "bigtiff": "YES",
            "sparse_ok": True,
        }
        bands = len(self.dataset.bands)
        pixels = rasterio.open(
            scratch / "pixels.tif", "w", count=bands, dtype=kind.name, nodata=self.nodata, interleave="band", **options
        )
        with pixels:
            mask = rasterio.open(scratch / "mask.tif", "w", count=1, dtype="uint8", **options) if self._masked else None
            try:
                for blocks in self._rows.batches():
                    self._paste(blocks.cores(), pixels, mask)
                    pa.default_memory_pool().release_unused()  # what decoding took, the next row groups may need
                    advance(len(blocks))
            finally:
                if mask:
                    mask.close()

    def _paste(self, blocks: Blocks, pixels: DatasetWriter, mask: DatasetWriter | None) -> None:
        rows, columns = self.canvas.places(blocks.keys)
        high, wide = self.canvas.tile
        for index in range(len(blocks)):
            window = Window(int(columns[index]), int(rows[index]), wide, high)
            stack = np.stack([plane[index] for plane in blocks.planes.values()])
            valid = [blocks.block(index).valid(band) for band in blocks.bands]
            if self.nodata is not None and not blocks.fill:
                for plane, good in zip(stack, valid, strict=True):
                    if good is not None:
                        plane[~good] = self.nodata
            pixels.write(stack, window=window)
            if mask:
                good = valid[0] if valid[0] is not None else np.ones((high, wide), np.bool_)
                mask.write(np.where(good, np.uint8(255), np.uint8(0)), 1, window=window)

    def _vrt(self) -> str:
        """Return the scratch rasters as one dataset, with names, times and mask."""
        canvas, kind = self.canvas, next(iter(self.dataset.bands.values())).name
        tags = {"image_id": self.image_id, "software": "ee_spark"}
        if self.time:
            tags["image_time"] = self.time.isoformat()
            tags["TIFFTAG_DATETIME"] = f"{self.time:%Y:%m:%d %H:%M:%S}"
        no_value = "" if self.nodata is None else f"<NoDataValue>{self.nodata!r}</NoDataValue>"
        bands = [
            f"<VRTRasterBand dataType='{_GDAL_TYPES[kind]}' band='{number}'><Description>{escape(name)}</Description>"
            f"{no_value}{_source('pixels.tif', number)}</VRTRasterBand>"
            for number, name in enumerate(self.dataset.bands, 1)
        ]
        mask = f"<MaskBand><VRTRasterBand dataType='Byte'>{_source('mask.tif', 1)}</VRTRasterBand></MaskBand>"
        return "".join(
            [
                f"<VRTDataset rasterXSize='{canvas.width}' rasterYSize='{canvas.height}'>",
                f"<SRS dataAxisToSRSAxisMapping='1,2'>{escape(canvas.wkt)}</SRS>",
                f"<GeoTransform>{', '.join(repr(value) for value in canvas.gdal)}</GeoTransform>",
                "<Metadata>",
                *(f"<MDI key={quoteattr(key)}>{escape(value)}</MDI>" for key, value in tags.items()),
                "</Metadata>",
                *bands,
                mask if self._masked else "",
                "</VRTDataset>",
            ]
        )

    def _compress(self, source: Path, target: Path) -> None:
        """Copy the mosaic into its format with overviews; these hold pixels of the image, none that is a mean."""
        whole = next(iter(self.dataset.bands.values())).kind != "f"
        options = {"compress": "DEFLATE", "bigtiff": "IF_SAFER", "num_threads": "ALL_CPUS"}
        if self.cloud_optimised:
            # The driver knows predictors by name and makes the overviews.
            options |= {"blocksize": str(BLOCK), "predictor": "YES", "overview_resampling": "NEAREST"}
            rasterio.shutil.copy(source, target, driver="COG", **options)
            return
        options |= {"tiled": "YES", "blockxsize": str(BLOCK), "blockysize": str(BLOCK)}
        rasterio.shutil.copy(source, target, driver="GTiff", predictor="2" if whole else "3", **options)
        levels = _levels(self.canvas)
        if levels:
            with (
                local_gdal(COMPRESS_OVERVIEW="DEFLATE", PREDICTOR_OVERVIEW="2" if whole else "3"),
                rasterio.open(target, "r+") as raster,
            ):
                raster.build_overviews(levels, Resampling.nearest)


def mosaics(dataset: Rows, out: Path, *, cloud_optimised: bool) -> Iterator[Mosaic]:
    """Yield a mosaic for each image of the selection, and for each lattice that its tiles lie on.

    ``out`` is a directory, or for a single mosaic a name that ends in .tif.

    Raises:
        ReadError: for patches, bands of several types, or validity that one file cannot hold.
    """
    if dataset.points:
        raise ReadError("--to: patches around points overlap and make no mosaic; write --to npz or --to tfrecord")
    kinds = {kind.name for kind in dataset.bands.values()}
    if len(kinds) > 1:
        held = ", ".join(f"{name} {kind.name}" for name, kind in dataset.bands.items())
        raise ReadError(f"--to: a GeoTIFF has one type and these bands have several ({held}); choose with --bands")
    nodata = _nodata(dataset)
    rows = dataset.planned(["image_id", "image_time", *PLACE])
    if not rows.num_rows:
        raise ReadError(f"{dataset.path}: no tiles are selected")
    found = [(image, canvas) for image, places in _by_image(rows) for canvas in canvases(dataset, places)]
    tiles = dataset.tiles(["image_id", LATTICE, "status"])
    fetched, failed = (
        _counts(dataset.keys(["image_id", LATTICE])),
        _counts(tiles.filter(pc.equal(tiles["status"], TileStatus.FAILED.value))),
    )
    single = out.suffix.lower() in TIFF
    if single and len(found) > 1:
        raise ReadError(f"--out: {out.name} is one file and there are {len(found)} mosaics; write a directory")
    for _, canvas in found:
        _refuse_thin(canvas, rows.num_rows)
    of_image, of_crs = Counter(image for image, _ in found), Counter((image, canvas.crs) for image, canvas in found)
    named = {
        _full_name(name, canvas, of_image[name, time], of_crs[(name, time), canvas.crs]): (name, time, canvas)
        for (name, time), canvas in found
    }
    stems = segments(named, lambda full: _file_stem(full, dataset.manifest.name))
    for full, (name, time, canvas) in named.items():
        blocks = fetched.get((name, canvas.key), 0)
        yield Mosaic(
            dataset,
            canvas,
            name,
            time,
            out if single else out / f"{stems[full]}.tif",
            blocks,
            failed.get((name, canvas.key), 0),
            nodata,
            not dataset.rule.known and blocks * math.prod(canvas.tile) == canvas.width * canvas.height,
            cloud_optimised,
        )


def _full_name(image: str, canvas: Canvas, of_image: int, of_crs: int) -> str:
    """Return what tells a mosaic from all others: its image, and where that has several, its CRS and lattice."""
    return "\n".join([image, *([canvas.crs] if of_image > 1 else []), *([canvas.key] if of_crs > 1 else [])])


def _file_stem(full: str, job: str) -> str:
    image, *crs = full.split("\n")
    return "_".join([file_stem(image or job), *(re.sub(r"[^A-Za-z0-9]+", "-", part) for part in crs)])


def _refuse_thin(canvas: Canvas, tiles: int) -> None:
    """Refuse a raster of which tiles fill almost nothing: to write its empty pixels would take hours and terabytes."""
    if canvas.width * canvas.height > MOST_EMPTY * math.prod(canvas.tile) * tiles:
        raise ReadError(
            f"--to: {tiles:,} tiles lie in a raster of {canvas.width:,} × {canvas.height:,} pixels, almost all of them "
            "empty; choose some with --bbox, or write --to zarr"
        )


def _by_image(rows: pa.Table) -> Iterator[tuple[tuple[str, dt.datetime | None], pa.Table]]:
    """Yield the id and time of each image, in the order of the ids, and its rows."""
    ordered, first = rows.sort_by("image_id"), 0
    for entry in pc.value_counts(ordered["image_id"]).to_pylist():
        mine = ordered.slice(first, entry["counts"])
        first += len(mine)
        yield (entry["values"], mine["image_time"][0].as_py()), mine


def _counts(rows: pa.Table) -> dict[tuple[str, str], int]:
    """Return how many rows each image has on each lattice."""
    found = rows.group_by(["image_id", LATTICE]).aggregate([([], "count_all")])
    return {(row["image_id"], row[LATTICE]): row["count_all"] for row in found.to_pylist()}


def _nodata(dataset: Rows) -> float | None:
    """Return the value that marks what is not valid, or None where a mask does.

    Raises:
        ReadError: if neither can hold what the dataset knows.
    """
    kind = next(iter(dataset.bands.values()))
    if dataset.fill:
        values = set(dataset.fill.values())
        if len(values) > 1:
            held = ", ".join(f"{name} {value:g}" for name, value in dataset.fill.items())
            raise ReadError(f"--to: a GeoTIFF has one nodata value and the fills differ ({held}); choose with --bands")
        return float(values.pop())
    if dataset.rule.mask != "bands" or len(dataset.bands) < 2:
        return None
    if kind.kind == "f":
        return math.nan
    limits, taken = np.iinfo(kind), _ranges(dataset)
    for value in (limits.min, limits.max):
        if all(not low <= value <= high for low, high in taken):
            return int(value)
    raise ReadError(
        f"--to: the bands have masks of their own, a GeoTIFF has one for all, and {kind.name} {limits.min} and "
        f"{limits.max} are both values of valid pixels; write one band at a time with --bands"
    )


def _ranges(dataset: Rows) -> Sequence[tuple[float, float]]:
    """Return each band's smallest and largest valid value, as ``tiles`` has them."""
    names = [(f"{band}_min", f"{band}_max") for band in dataset.bands]
    table = dataset.tiles([name for pair in names for name in pair])
    found = [(pc.min(table[low]).as_py(), pc.max(table[high]).as_py()) for low, high in names]
    return [(low, high) for low, high in found if low is not None]


def _source(file: str, band: int) -> str:
    name = f"<SourceFilename relativeToVRT='1'>{file}</SourceFilename>"
    return f"<SimpleSource>{name}<SourceBand>{band}</SourceBand></SimpleSource>"


def _block_side(tile: int, canvas: int) -> int:
    """Return a block's side, a multiple of 16 as TIFF asks: the tile's own if it is one, so that tiles are blocks."""
    for side in (tile, tile // 2, tile // 4):
        if side % 16 == 0 and 64 <= side <= 2048:
            return side
    return min(BLOCK, 16 * math.ceil(canvas / 16))


def _levels(canvas: Canvas) -> list[int]:
    """Return overview factors down to a side of one block."""
    side = max(canvas.width, canvas.height)
    return [2**level for level in range(1, 16) if side / 2 ** (level - 1) > BLOCK]
