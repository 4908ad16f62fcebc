"""Samples: points that were drawn once, kept beside the dataset so that every later run has the same ones."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa

from ee_spark.job import Sample
from ee_spark.objects import Store
from ee_spark.planner.points import Points
from ee_spark.planner.polygon import Polygons

SAMPLES = "_ee_spark/samples"


def held(store: Store, sample: Sample | None) -> Points | None:
    """Return the points that were drawn for a sample, if they were."""
    found = store.read(_name(sample)) if sample else None
    return _points(json.loads(found[0])) if found else None


def hold(store: Store, sample: Sample | None, drawn: Polygons | Points) -> Points | None:
    """Keep a sample's points, unless it was drawn before; return those that are kept, if they are others."""
    if sample is None or not isinstance(drawn, Points):
        return None
    columns = {
        name: {"type": str(column.type), "values": column.to_pylist()}
        for name, column in zip(drawn.columns.column_names, drawn.columns.columns, strict=True)
    }
    body = {
        "sample": sample.model_dump(mode="json"),
        "id": drawn.ids,
        "lon": drawn.lon.tolist(),
        "lat": drawn.lat.tolist(),
        "columns": columns,
    }
    if store.create(_name(sample), json.dumps(body).encode()):
        return None
    kept = held(store, sample)
    return None if kept is None or kept.ids == drawn.ids else kept


def _name(sample: Sample) -> str:
    return f"{SAMPLES}/{hashlib.sha256(sample.model_dump_json().encode()).hexdigest()[:16]}.json"


def _points(data: dict[str, Any]) -> Points:
    columns = {
        name: pa.array(column["values"], pa.type_for_alias(column["type"])) for name, column in data["columns"].items()
    }
    return Points(tuple(data["id"]), np.array(data["lon"]), np.array(data["lat"]), pa.table(columns))
