"""The graphs by which a run asked for its images, kept by their content: ``_ee_spark/graphs/<16 hex digits>.arrow``.

They are what the service was sent, so that a tile can be asked for again without the function that made them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ee_spark.objects import Store
from ee_spark.store.bounds import damage, read_table, write_table
from ee_spark.store.content import keep, kept

GRAPHS = "_ee_spark/graphs"
LEVEL = 9
"""Of zstd: a composite's graphs of many periods are almost the same text."""
_SCHEMA = pa.schema([("graph", pa.large_string())])


def keep_graphs(store: Store, graphs: Sequence[str]) -> dict[str, Any]:
    """Keep a run's graphs, unless they are there; return what its record says of them.

    There are none (stored pixels), one for all stored images, or one for each computed image.
    """
    if not graphs:
        return {"count": 0}
    sink = io.BytesIO()
    write_table(sink, pa.table([pa.array(graphs, pa.large_string())], schema=_SCHEMA), LEVEL)
    return {"file": keep(store, GRAPHS, sink.getvalue()), "count": len(graphs)}


def kept_graphs(store: Store, said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the graphs that a record tells of, each one JSON object as text.

    Raises:
        StoreError: if they are gone or damaged, or are something else.
    """
    if said.get("count") == 0:
        return ()
    name = f"{store.root}/{GRAPHS}/{said.get('file')}"
    with damage(name, "holds no graphs"):
        graphs = read_table(pa.BufferReader(kept(store, GRAPHS, said.get("file"))))["graph"].to_pylist()
        read = [json.loads(graph) for graph in graphs]
        if len(graphs) != said.get("count") or not all(isinstance(graph, dict) for graph in read):
            raise ValueError("not one JSON object for each image")
    return tuple(json.dumps(graph) for graph in read)
