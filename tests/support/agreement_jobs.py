"""Small jobs whose pixels are known: source rasters, a catalog of them, and one job file per combination.

A combination (:class:`Case`) is a mask mode, a layout of the tiles and a format of the answers. Each layout has two
source images of different dates, each with two bands that have holes in different places. ``NPY`` jobs have bands of
two types; a ``GEO_TIFF`` answer has one type, so those jobs read rasters of one type.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from emulator_client import asset, write_catalog, write_raster

MASKS = ("band", "bands", "fill", "none")
FORMATS = ("NPY", "GEO_TIFF")
BANDS = ("red", "nir")
TYPES = {
    "NPY": {"red": "uint16", "nir": "float32"},
    "GEO_TIFF": {"red": "int16", "nir": "int16"},
}
FILLS: Mapping[str, Mapping[str, float]] = {
    "NPY": {"red": 65535, "nir": -9999.0},
    "GEO_TIFF": {"red": -9999, "nir": -9999},
}
NODATA = {"uint16": 60001, "int16": -32000, "float32": -1e6}
TILE = 32
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Grid:
    """A pixel lattice: column edges at ``x0 + k * resolution``, row edges at ``y0 - k * resolution``."""

    crs: str
    resolution: float
    x0: float = 0.0
    y0: float = 0.0


@dataclass(frozen=True)
class Source:
    """A source image: ``left``, ``top``, ``width``, ``height`` of its rasters, in pixels of its own lattice.

    ``holes`` are masked rectangles (band, left, top, width, height) in the same pixels, beside the scattered ones.
    """

    name: str
    start: str
    grid: Grid
    left: int
    top: int
    width: int
    height: int
    holes: tuple[tuple[str, int, int, int, int], ...] = ()

    def image_id(self, case: Case) -> str:
        """Return the id of the image in the catalog."""
        return f"{case.collection}/{self.name}"

    def file(self, case: Case, band: str) -> str:
        """Return the name of the raster of one band in the catalog's folder."""
        return f"{self.image_id(case).replace('/', '_')}_{band}.tif"


@dataclass(frozen=True)
class Layer:
    """What is planned on one lattice: these sources, for the part of the region between two longitudes."""

    grid: Grid
    sources: tuple[Source, ...]
    west: float = -180.0
    east: float = 180.0


@dataclass(frozen=True)
class Layout:
    """Where the tiles of a job lie. Exactly one of ``bbox`` (as in the job file) and ``points`` says where."""

    name: str
    layers: tuple[Layer, ...]
    grid: Mapping[str, Any] = field(hash=False)
    bbox: Box | None = None
    points: tuple[tuple[str, float, float], ...] = ()
    tile: tuple[int, int] = (TILE, TILE)
    margin: int = 0
    rasters: str = ""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The source images, by date."""
        return tuple(sorted({source for layer in self.layers for source in layer.sources}, key=lambda one: one.start))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The region as boxes that do not cross the antimeridian."""
        if self.bbox is None:
            return ()
        west, south, east, north = self.bbox
        return (self.bbox,) if west < east else ((west, south, 180.0, north), (-180.0, south, east, north))


@dataclass(frozen=True)
class Case:
    """One combination."""

    mask: str
    layout: Layout
    format: str

    def __str__(self) -> str:
        return f"{self.mask}-{self.layout.name}-{self.format}"

    @property
    def collection(self) -> str:
        """The id of the image collection."""
        name = self.layout.rasters or self.layout.name
        return f"AGREE/{name.upper().replace('-', '_')}_{self.format}"

    @property
    def types(self) -> dict[str, str]:
        """The bands' types."""
        return TYPES[self.format]

    @property
    def fill(self) -> Mapping[str, float]:
        """The value of each band's masked samples with ``mask: fill``; else empty."""
        return FILLS[self.format] if self.mask == "fill" else {}


# One lattice: 30 m in UTM zone 33, edges 15 m off the multiples of 30, as Landsat's. (16640, -184640) is the corner of
# a tile. January has a tile that is masked in both bands and one that is masked in red alone; the region leaves out the
# southernmost row of tiles.
METRES = Grid("EPSG:32633", 30.0, 15.0, 15.0)
JANUARY = Source(
    "JANUARY", "2020-01-15T10:00:00Z", METRES, 16650, -184628, 70, 66,
    holes=(("red", 16672, -184608, 32, 32), ("nir", 16672, -184608, 32, 32), ("red", 16640, -184640, 32, 32)),
)  # fmt: skip
JULY = Source("JULY", "2020-07-20T10:00:00Z", METRES, 16684, -184620, 42, 54)
ONE = Layer(METRES, (JANUARY, JULY))
ONE_BOX = (14.9991, 49.9918, 15.02, 50.0025)

# Two lattices in degrees that the first three decimals do not tell apart.
FINE = Source("FINE", "2020-01-15T10:00:00Z", Grid("EPSG:4326", 0.00025), 40000, -200000, 256, 256)
COARSE = Source("COARSE", "2020-07-20T10:00:00Z", Grid("EPSG:4326", 0.0005), 20000, -100000, 128, 128)

# Two lattices in metres: 30 m, and 20 m with edges on multiples of 20.
SHARP_GRID = Grid("EPSG:32633", 20.0)
SHARP = Source("SHARP", "2020-07-20T10:00:00Z", SHARP_GRID, 25004, -276945, 70, 70)

# Two zones: images of both sides of 12 degrees east, each stored in its own zone and asked for in both.
WEST_GRID, EAST_GRID = Grid("EPSG:32632", 30.0, 15.0, 15.0), Grid("EPSG:32633", 30.0, 15.0, 15.0)
WEST_SIDE = Source("WEST", "2020-01-15T10:00:00Z", WEST_GRID, 23790, -184730, 70, 50)
EAST_SIDE = Source("EAST", "2020-07-20T10:00:00Z", EAST_GRID, 9480, -184728, 45, 48)

# 180 degrees is in the middle of a tile: 562.5 tiles of 0.32 degrees from 0. One image ends there; one lies on both
# sides, in UTM, so that a request beyond 180 degrees finds pixels of the other side.
HUNDREDTHS = Grid("EPSG:4326", 0.01)
FAR_EAST = Source("FAREAST", "2020-01-15T10:00:00Z", HUNDREDTHS, 17962, 1672, 38, 46)
ACROSS = Source("ACROSS", "2020-07-20T10:00:00Z", Grid("EPSG:32701", 1200.0), 130, -6786, 38, 26)

LAYOUTS = (
    Layout("one-lattice", (ONE,), {"crs": "EPSG:32633", "scale": 30, "tile": TILE}, ONE_BOX),
    Layout(
        "one-lattice-margin-8", (ONE,), {"crs": "EPSG:32633", "scale": 30, "tile": TILE, "margin": 8}, ONE_BOX,
        margin=8, rasters="one-lattice",
    ),
    Layout(
        "two-lattices-in-degrees", (Layer(FINE.grid, (FINE,)), Layer(COARSE.grid, (COARSE,))),
        {"crs": "native", "tile": TILE}, (10.005, 49.94, 10.06, 49.995),
    ),
    Layout(
        "two-lattices-in-metres", (Layer(METRES, (JANUARY,)), Layer(SHARP_GRID, (SHARP,))),
        {"crs": "native", "tile": TILE}, ONE_BOX,
    ),
    Layout(
        "utm-over-two-zones",
        (Layer(WEST_GRID, (WEST_SIDE, EAST_SIDE), east=12.0), Layer(EAST_GRID, (WEST_SIDE, EAST_SIDE), west=12.0)),
        {"crs": "utm", "scale": 30, "tile": TILE}, (11.98, 49.98, 12.015, 49.99),
    ),
    Layout(
        "across-180-degrees", (Layer(HUNDREDTHS, (FAR_EAST, ACROSS)),),
        {"crs": "EPSG:4326", "resolution": 0.01, "tile": TILE}, (179.6, -17.1, -179.7, -16.7),
    ),
    Layout(
        "patches-around-points", (ONE,), {"crs": "EPSG:32633", "scale": 30, "tile": [9, 8], "margin": 2},
        points=(
            ("inside", 15.0101436, 49.9981322), ("beside-it", 15.0117336, 49.9975112),
            ("in-a-hole", 15.0099736, 49.9917632), ("at-the-edge", 14.9943634, 49.9954064),
        ),
        tile=(9, 8), margin=2, rasters="one-lattice",
    ),
)  # fmt: skip
CASES = tuple(Case(mask, layout, form) for layout in LAYOUTS for form in FORMATS for mask in MASKS)


def write_sources(folder: Path) -> Path:
    """Write the rasters and the catalog of all cases into ``folder`` and return it."""
    entries = []
    for case in {case.collection: case for case in CASES}.values():
        for source in case.layout.sources:
            files = {band: source.file(case, band) for band in BANDS}
            for band, name in files.items():
                _write(folder / name, source, band, case.types[band])
            entries.append(asset(source.image_id(case), files, source.start))
    return write_catalog(folder, entries)


def _write(path: Path, source: Source, band: str, dtype: str) -> None:
    """Write one raster: neighbours differ, zero is an ordinary value, and a sum of float64 is exact."""
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    row, column = np.ogrid[: source.height, : source.width]
    values = (row * 131 + column * 7 + int(rng.integers(1000))) % 9973 - 1000
    stored = (values / 64 if dtype == "float32" else np.abs(values) if dtype == "uint16" else values).astype(dtype)
    hole = rng.random(stored.shape) < 0.15
    for name, left, top, width, height in source.holes:
        if name == band:
            hole |= _inside(row, top - source.top, height) & _inside(column, left - source.left, width)
    stored[hole] = NODATA[dtype]
    grid, step = source.grid, source.grid.resolution
    corner = grid.x0 + source.left * step, grid.y0 - source.top * step
    write_raster(path, stored, [step, 0, corner[0], 0, -step, corner[1]], grid.crs, NODATA[dtype])


def _inside(index: Any, start: int, size: int) -> Any:
    return (index >= start) & (index < start + size)


def job(case: Case, url: str, out: Path, folder: Path) -> dict[str, Any]:
    """Return the job file of a case that writes ``out``; ``folder`` takes the file with its points."""
    layout = case.layout
    region: dict[str, Any] = {"bbox": list(layout.bbox)} if layout.bbox else {"points": str(folder / "points.csv")}
    if layout.points:
        rows = "".join(f"{name},{lon!r},{lat!r}\n" for name, lon, lat in layout.points)
        (folder / "points.csv").write_text("id,lon,lat\n" + rows)
    return {
        "name": "agreement",
        "earth_engine": {"endpoint": url},
        "source": {"collection": case.collection},
        "region": region,
        "grid": dict(layout.grid),
        "pixels": {"mask": case.mask, "format": case.format, **_fill(case)},
        "output": {"path": str(out)},
    }


def _fill(case: Case) -> dict[str, Any]:
    """Return the key ``fill`` in both of its forms: one number, or one per band."""
    values = set(case.fill.values())
    return {} if not values else {"fill": values.pop() if len(values) == 1 else dict(case.fill)}


def mixed_types_as_geotiff(url: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the jobs that must be refused: a GEO_TIFF of bands of two types, in each mask mode."""
    for case in CASES:
        if case.format == "NPY" and case.layout.name == "one-lattice":
            wrong = job(case, url, folder / case.mask, folder)
            wrong["pixels"]["format"] = "GEO_TIFF"
            yield wrong
