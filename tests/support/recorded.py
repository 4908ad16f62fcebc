"""What the real service said of assets, in tests/data/recorded/assets.json, as its REST answers would hold it.

Most were recorded in the form of ``getInfo``. Those of properties only get no bands, and what was cut from a footprint
is left out.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from places import REPO

CUT = "first 5 footprint points"  # in the notes of a recording whose ring is not whole


@cache
def recordings() -> list[dict[str, Any]]:
    """Return every recording: source, form, asset, and what was cut."""
    found: list[dict[str, Any]] = json.loads((REPO / "tests/data/recorded/assets.json").read_text())
    return found


def rest(number: int) -> dict[str, Any]:
    """Return an asset as the listing has it (view FULL)."""
    recording = recordings()[number]
    asset = recording["asset"]
    found = {
        "type": "IMAGE",
        "name": f"projects/earthengine-public/assets/{asset.get('id', f'recorded/{number}')}",
        "startTime": "2020-01-01T00:00:00Z",
        "updateTime": "2024-01-01T00:00:00.123456Z",
        "properties": {},
        "bands": [_band(band) for band in asset.get("bands", [])],
    }
    footprint = asset.get("geometry") or asset.get("properties", {}).get("system:footprint")
    if footprint and CUT not in recording.get("cut", ""):
        found["geometry"] = footprint
    return found


def images() -> list[int]:
    """Return the recordings that have bands, by number."""
    return [number for number, one in enumerate(recordings()) if one["asset"].get("bands")]


def _band(band: dict[str, Any]) -> dict[str, Any]:
    """Return a band of ``getInfo`` as a REST answer has it: zeros left out, the origin folded into the transform."""
    if "grid" in band:
        return band
    a, b, x, c, d, y = band["crs_transform"]
    left, top = band.get("origin", (0, 0))
    affine = dict(
        zip(
            ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY"),
            (a, b, x + a * left + b * top, c, d, y + c * left + d * top),
            strict=True,
        )
    )
    grid: dict[str, Any] = {"crsCode": band["crs"], "affineTransform": {k: v for k, v in affine.items() if v}}
    if "dimensions" in band:
        grid["dimensions"] = dict(zip(("width", "height"), band["dimensions"], strict=True))
    kind = band["data_type"]
    stored: dict[str, Any] = {"precision": kind["precision"].upper()}
    if "min" in kind:
        stored["range"] = {key: kind[key] for key in ("min", "max") if kind[key]}
    return {"id": band["id"], "dataType": stored, "grid": grid, "pyramidingPolicy": "MEAN"}
