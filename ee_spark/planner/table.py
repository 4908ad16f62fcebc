"""An Earth Engine table as a region, read once: its polygons as an area, its points as points."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from ee_spark.client import Client, asset_name, understood
from ee_spark.errors import JobError, ServiceError
from ee_spark.json_answers import pages
from ee_spark.planner.listing import refused
from ee_spark.planner.point_file import points_of
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons, polygons_of
from ee_spark.planner.probe import patiently
from ee_spark.planner.typed import NOTHING_KNOWN, Known

PAGE = 1000
MAX_FEATURES = 200_000
"""Features of one table: more are an area or a list of points to write to a file first."""


def read_table(name: str, client: Client, known: Known = NOTHING_KNOWN) -> Polygons | Points:
    """Return a table's polygons, or its points with their properties as columns and ``system:index`` as id.

    https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/listFeatures

    Raises:
        JobError: if it is not there, is not a table, is empty or too large, or mixes points and polygons.
    """
    label = f"region.table: {name}"
    try:
        asset = patiently(lambda: client.get(asset_name(name)))
        if asset.get("type") != "TABLE":
            raise JobError(f"region.table: {name!r} is of type {asset.get('type', '?')}, not TABLE")
        with understood(f"what the service says of {name!r} cannot be read"):
            features = list(_listed(name, client))
            kinds = {str((feature.get("geometry") or {}).get("type")) for feature in features}
            ids = [_index(feature) for feature in features]
    except ServiceError as error:
        raise refused("region.table", name, error) from None
    if not features:
        raise JobError(f"{label}: contains no features")
    if kinds == {"Point"}:
        return points_of([{**feature, "id": key} for feature, key in zip(features, ids, strict=True)], label, known)
    if "Point" in kinds:
        raise JobError(f"{label}: holds points and {', '.join(sorted(kinds - {'Point'}))}; write a table of one kind")
    return polygons_of(json.dumps({"type": "FeatureCollection", "features": features}).encode(), label)


def _listed(name: str, client: Client) -> Iterator[dict[str, Any]]:
    where = f"{asset_name(name)}:listFeatures"
    count = 0
    for features in pages(
        lambda token: patiently(partial(client.get, where, pageSize=PAGE, pageToken=token)), "features"
    ):
        count += len(features)
        if count > MAX_FEATURES:
            raise JobError(
                f"region.table: {name} has more than {MAX_FEATURES:,} features; write its area or points to a file, "
                "and name that with region.geojson or region.points"
            )
        yield from features


def _index(feature: dict[str, Any]) -> str:
    return str(feature.get("id") or (feature.get("properties") or {}).get("system:index", ""))
