"""Lanes on a Spark Connect session, where there are no RDDs: one row of a DataFrame is one lane."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from ee_spark.lane.lane import Lane
from ee_spark.lane.notes import LANES
from ee_spark.lane.work import work
from ee_spark.objects import open_store


def is_connect(spark: Any) -> bool:
    """Return True if ``spark`` is a Spark Connect session."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def run_on_connect(spark: Any, lanes: list[Lane], attempt: Callable[[], int]) -> None:
    """Run every lane in a partition of its own; ``attempt`` gives, in a task, which try of it this is.

    Lanes are read from beside the dataset, among their run's notes: a session's messages have no room for a plan.
    """
    brief = lanes[0].brief
    store = open_store(brief.path, brief.storage)
    names = [f"{LANES}/{brief.run_id}/r{lane.round}-l{lane.index}.lane" for lane in lanes]
    for name, lane in zip(names, lanes, strict=True):
        store.create(name, pickle.dumps(lane))
    path, storage = brief.path, brief.storage

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        mine = open_store(path, storage)
        for batch in batches:
            for index in batch.column(0).to_pylist():
                found = mine.read(names[index])
                if found is not None:  # gone only after the run has ended
                    for _record in work(pickle.loads(found[0]), attempt()):
                        pass
                yield pa.RecordBatch.from_pydict({"id": [index]})

    spark.range(0, len(lanes), 1, len(lanes)).mapInArrow(task, "id long").collect()
