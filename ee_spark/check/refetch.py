"""Ask the service again for some tiles of a dataset, and compare the pixels with those that were stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ee_spark.check.verify import Problem
from ee_spark.client import Client
from ee_spark.errors import JobError
from ee_spark.fetch.fetcher import Fetcher
from ee_spark.fetch.quota import Quota
from ee_spark.job import JobConfig
from ee_spark.objects import Store
from ee_spark.planner.plan import Plan
from ee_spark.planner.request import TileRequest
from ee_spark.planner.window import Window
from ee_spark.status import TileStatus
from ee_spark.store import manifest, runs
from ee_spark.store.measure import checksums
from ee_spark.store.schema import TILES

COLUMNS = ["tile_id", "image_id", "crs", "transform", "width", "height", "version", "crc32c"]


def last_job(store: Store) -> JobConfig:
    """Return the job of the dataset's newest run.

    Raises:
        JobError: if no run's record can be read.
    """
    job = manifest.read(store)
    mine = job.fingerprint if job else None
    found = [run for run in runs.read_runs(store).values() if run and run["fingerprint"] == mine]
    if not found:
        raise JobError(f"{store.root}: no record of a run can be read, so it is unknown what to ask for")
    return JobConfig.model_validate(max(found, key=lambda run: str(run["started_at"]))["job"])


def refetch(store: Store, plan: Plan, count: int, seed: int = 0) -> list[Problem]:
    """Fetch ``count`` of the plan's ok tiles again, drawn with ``seed``; return those whose pixels differ.

    Each is asked for by the version that it was fetched from, where the method takes one.
    """
    rows = _drawn(store, plan, count, seed)
    index = {name: number for number, name in enumerate(plan.images.ids)}
    engine = plan.config.earth_engine
    threads = max(1, min(engine.concurrent_requests, len(rows)))
    quota = Quota(threads, engine.requests_per_minute / 60)
    layout = manifest.layout_of(plan)
    fetcher: Fetcher[dict[str, Any], Never] = Fetcher(
        Client(plan.service, threads), plan.recipe, layout.planes, quota, plan.config.retry
    )

    def wanted() -> Iterator[TileRequest[dict[str, Any]]]:
        for row in rows:
            block = Window(row["crs"], tuple(row["transform"]), row["width"], row["height"])
            version = -1 if row["version"] is None else int(row["version"])
            graph = plan.graph(index[row["image_id"]])
            yield TileRequest(row, row["image_id"], version, graph, block, row["tile_id"])

    problems = []
    for answer in fetcher.answers(wanted()):
        row = answer.wanted.ref
        name = f"{row['tile_id']}/{row['image_id']}"
        if answer.planes is None:
            problems.append(Problem("changed", name, f"cannot be fetched again ({answer.error})"))
            continue
        block = answer.block(layout.fill)
        planes = [block[band].reshape(1, -1).astype(dtype) for band, dtype in layout.planes.items()]
        if checksums(planes) != [row["crc32c"]]:
            problems.append(Problem("changed", name, "the service now answers other pixels than those stored"))
    return problems


def _drawn(store: Store, plan: Plan, count: int, seed: int) -> list[dict[str, Any]]:
    """Return the rows of ``tiles`` to ask for again."""
    tables = []
    for entry in store.list(f"{TILES}/{manifest.layout_of(plan).prefix}"):
        with store.open(entry.name) as file:
            table = pq.read_table(file, columns=[*COLUMNS, "status"])
        tables.append(table.filter(pc.equal(table["status"], TileStatus.OK)).select(COLUMNS))
    table = pa.concat_tables(tables)
    table = table.filter(pc.is_in(table["image_id"], pa.array(plan.images.ids, pa.string())))
    table = table.set_column(table.column_names.index("version"), "version", table["version"].cast(pa.int64()))
    chosen = np.random.default_rng(seed).permutation(table.num_rows)[:count]
    return list(table.take(pa.array(np.sort(chosen))).to_pylist())
