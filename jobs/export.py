"""Export a dataset: ``spark-submit jobs/export.py --dataset PATH --to FORMAT --out PATH``, or plain ``python``.

Under spark-submit the mosaics of many images are written side by side, one per task; ``--out`` is then on object
storage, or a directory that all executors have mounted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from ee_spark.cli import export
from ee_spark.export import Task, run


def on_spark(tasks: Sequence[Task]) -> Iterable[dict[str, Any]]:
    """Run each task in a Spark task of its own and return what they wrote, in their order."""
    if len(tasks) < 2:
        return run(tasks)
    from pyspark.sql import SparkSession

    context = SparkSession.builder.appName("ee-spark export").getOrCreate().sparkContext
    slices = context.parallelize(tasks, len(tasks))
    return slices.map(lambda task: task.run(lambda blocks: None)).collect()  # type: ignore[no-any-return]


if __name__ == "__main__":
    export(prog_name="export.py", obj=on_spark if "PYSPARK_GATEWAY_PORT" in os.environ else None)
