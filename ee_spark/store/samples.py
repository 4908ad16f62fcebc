"""Samples: points that were drawn once, so that every later run has the same ones.

``_ee_spark/samples/<hash of the sample's keys>.json`` names the points (:mod:`ee_spark.store.points`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa

from ee_spark.errors import StoreError
from ee_spark.limits import MAX_RECORD
from ee_spark.objects import Store
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons
from ee_spark.store import points
from ee_spark.store.bounds import damage, json_of
from ee_spark.where import Sample

SAMPLES = "_ee_spark/samples"


def held(store: Store, sample: Sample | None) -> Points | None:
    """Return the points that were drawn for a sample, if they were.

    Raises:
        StoreError: if they were, and are gone or damaged.
    """
    found = store.read(_name(sample), MAX_RECORD) if sample else None
    if sample is None or found is None:
        return None
    with damage(f"{store.root}/{_name(sample)}", "is not a sample", "remove it, and it is drawn again", StoreError):
        data = json_of(found[0])
        return points.kept(store, data["points"]) if "points" in data else _inline(data)
    raise AssertionError("damage raises")


def hold(store: Store, sample: Sample | None, drawn: Polygons | Points) -> Points | None:
    """Keep a sample's points, unless it was drawn before; return those that are kept, if they are others."""
    if sample is None or not isinstance(drawn, Points):
        return None
    before = held(store, sample)
    if before is None:
        body = {"sample": sample.model_dump(mode="json"), "points": points.keep(store, drawn)}
        if store.create(_name(sample), json.dumps(body).encode()):
            return None
        before = held(store, sample)
    return None if before is None or before.ids == drawn.ids else before


def _name(sample: Sample) -> str:
    return f"{SAMPLES}/{hashlib.sha256(sample.model_dump_json().encode()).hexdigest()[:16]}.json"


def _inline(data: dict[str, Any]) -> Points:
    """Return the points of a sample that an older version kept, with their table."""
    columns = {
        name: pa.array(column["values"], pa.type_for_alias(column["type"])) for name, column in data["columns"].items()
    }
    return Points(tuple(data["id"]), np.array(data["lon"]), np.array(data["lat"]), pa.table(columns))
