"""What the emulator's tests share: the official client pointed at an emulator, and catalogs written for a test."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ee
import numpy as np
import rasterio
import urllib3
from google.auth.credentials import AnonymousCredentials
from numpy.typing import NDArray
from rasterio.transform import Affine

PROJECT = "demo-project"


def connect(url: str) -> None:
    """Point the official client, whose state is global, at `url`."""
    ee.Reset()
    ee.Initialize(AnonymousCredentials(), project=PROJECT, url=url)


def grid(crs: str, transform: Sequence[float], width: int, height: int) -> dict[str, Any]:
    """A full PixelGrid from the six numbers of an affine transform."""
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    return {
        "dimensions": {"width": width, "height": height},
        "affineTransform": dict(zip(names, transform, strict=True)),
        "crsCode": crs,
    }


def compute(image: ee.Image, pixel_grid: dict[str, Any]) -> NDArray[Any]:
    """The structured array that `ee.data.computePixels` returns."""
    found: NDArray[Any] = ee.data.computePixels(
        {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": pixel_grid}
    )
    return found


def post(url: str, path: str, body: Any, **headers: str) -> urllib3.BaseHTTPResponse:
    """POST JSON without retries; a request for pixels that names no format asks for NPY."""
    if isinstance(body, dict) and path.endswith((":getPixels", ":computePixels")):
        body = {"fileFormat": "NPY", **body}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    http = urllib3.PoolManager()
    return http.request(
        "POST", url + path, body=data, headers={"content-type": "application/json", **headers}, retries=False
    )


def get(url: str, path: str, **fields: str) -> urllib3.BaseHTTPResponse:
    """GET without retries."""
    return urllib3.PoolManager().request("GET", url + path, fields=fields, retries=False)


def array(reply: urllib3.BaseHTTPResponse) -> NDArray[Any]:
    """An NPY reply as an array."""
    assert reply.status == 200, reply.data[:500]
    found: NDArray[Any] = np.load(io.BytesIO(reply.data), allow_pickle=False)
    return found


def write_raster(
    path: Path, values: NDArray[Any], transform: Sequence[float], crs: str, nodata: float | None = None
) -> None:
    """Write a (bands, height, width) or (height, width) array as GeoTIFF."""
    stack = values if values.ndim == 3 else values[None]
    profile = {"driver": "GTiff", "dtype": stack.dtype, "count": len(stack), "nodata": nodata}
    profile |= {"width": stack.shape[2], "height": stack.shape[1], "crs": crs, "transform": Affine(*transform)}
    with rasterio.open(path, "w", **profile) as target:
        target.write(stack)


def write_catalog(folder: Path, assets: list[dict[str, Any]]) -> Path:
    """Write catalog.json; the folder."""
    (folder / "catalog.json").write_text(json.dumps({"assets": assets}))
    return folder


def small_catalog(folder: Path, start: str | None = None) -> Path:
    """Write a catalog of one image, OWN/A: 64 × 64 pixels of 10 m at 15° E, 45.15° N, numbered from 1 row by row."""
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 1
    write_raster(folder / "a.tif", values, [10, 0, 500_000, 0, -10, 5_000_000], "EPSG:32633")
    return write_catalog(folder, [asset("OWN/A", {"v": "a.tif"}, start)])


def asset(asset_id: str, bands: dict[str, str], start: str | None = None, **more: Any) -> dict[str, Any]:
    """A catalog entry: band id to `file` or `file:index`."""
    entry: dict[str, Any] = {"id": asset_id, "updateTime": "2024-01-01T00:00:00Z", "bands": []}
    if start:
        entry["startTime"] = start
    for band, place in bands.items():
        file, _, index = place.partition(":")
        entry["bands"].append({"id": band, "file": file, "index": int(index or 1)})
    return {**entry, **more}
