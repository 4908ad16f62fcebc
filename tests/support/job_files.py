"""Job files and catalogs for the planner's tests: the least that is valid, and what a test changes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from emulator_client import asset, write_catalog, write_raster

from ee_spark import config
from ee_spark.client import Service
from ee_spark.job import JobConfig
from ee_spark.planner.frozen import Frozen
from ee_spark.planner.plan import Plan, make

LEAST: dict[str, Any] = {
    "name": "a-test",
    "earth_engine": {"endpoint": "http://127.0.0.1:1"},
    "source": {"collection": "SERIES"},
    "region": {"bbox": [-106.93, 40.277, -106.90, 40.299]},
    "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
    "output": {"path": "/tmp/nowhere"},
}


def changed(changes: Mapping[str, Any], start: Mapping[str, Any] = LEAST) -> dict[str, Any]:
    """Return a job with ``{"a.b": value}`` put in place; the value ``None`` removes the key, a section's is whole."""
    data: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in start.items()}
    for path, value in changes.items():
        *sections, last = path.split(".")
        place = data
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return data


def job(changes: Mapping[str, Any] | None = None, base: Path | None = None) -> JobConfig:
    """Return the least job with changes, validated."""
    return config.parse(changed(changes or {}), base=str(base or "/tmp"))


def planned(url: str, changes: Mapping[str, Any], base: Path | None = None, frozen: Frozen | None = None) -> Plan:
    """Plan the least job with changes against the service at ``url``."""
    return make(job(changes, base), Service(url, "demo", "anonymous"), frozen)


def scene(
    folder: Path,
    asset_id: str,
    transform: list[float],
    crs: str,
    *,
    size: tuple[int, int] = (20, 20),
    dtypes: Mapping[str, str] | None = None,
    start: str | None = "2020-01-01T00:00:00Z",
    nodata: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Write rasters whose values tell their row and column (row × 100 + column) and return the catalog's entry."""
    width, height = size
    values = np.arange(height)[:, None] * 100 + np.arange(width)
    bands = {}
    for band, dtype in (dtypes or {"B1": "int16"}).items():
        name = f"{asset_id.replace('/', '_')}_{band}_{more.get('updateTime', '')[:10]}.tif"
        write_raster(folder / name, values.astype(dtype), transform, crs, nodata)
        bands[band] = name
    return asset(asset_id, bands, start, **more)


def catalog(folder: Path, assets: list[dict[str, Any]]) -> Path:
    """Write ``catalog.json``; the folder."""
    return write_catalog(folder, assets)
