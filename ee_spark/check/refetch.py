"""Ask the service again for some tiles of a dataset, and compare the pixels with those that were stored.

Each is asked for as its own run did: by the graph that the run kept, the image's version, and what job.json froze. All
of that is data, checked before it is used; nothing that a dataset names is imported, opened or sent to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from ee_spark.check.verify import Problem
from ee_spark.client import Client, Service
from ee_spark.errors import EESparkError, JobError, StoreError, one_line
from ee_spark.fetch.fetcher import Fetcher
from ee_spark.fetch.quota import Quota
from ee_spark.hosts import is_google
from ee_spark.job import JobConfig, Pixels, Source
from ee_spark.objects import Store
from ee_spark.planner import source as ee_source
from ee_spark.planner.frozen import Frozen
from ee_spark.planner.plan import Plan, area_digest
from ee_spark.planner.request import Recipe, TileRequest, graph_of
from ee_spark.planner.window import Window
from ee_spark.status import TileStatus
from ee_spark.store import graphs, manifest, planned, runs
from ee_spark.store.bounds import damage, parquet_rows
from ee_spark.store.manifest import Manifest
from ee_spark.store.measure import checksums
from ee_spark.store.schema import RUNS, TILES, Layout

COLUMNS = ["tile_id", "image_id", "crs", "transform", "width", "height", "version", "crc32c", "run_id"]
LONGEST_CRS = 20_000
_ASSET = re.compile(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[A-Za-z0-9_.:/-]{1,1000}")
"""The ids that can stand in a request's path: no empty segment, none that leads upward."""
Row = dict[str, Any]


def refetch(
    store: Store, config: JobConfig, service: Service, count: int, plan: Plan | None = None, seed: int = 0
) -> list[Problem]:
    """Fetch ``count`` of the dataset's ok tiles again, drawn with ``seed``; return those whose pixels differ.

    ``config`` says how much of the quota of ``service`` is used. ``plan`` is that of the user's own job file, which may
    call functions: it says how tiles of runs that kept no graphs are asked for, and only its images' are drawn.

    Raises:
        JobError: if it is not known how a tile was asked for.
        StoreError: if the dataset cannot be read.
    """
    job = manifest.required(store)
    layout = Layout(job.fingerprint, job.frozen, job.points, fill=job.fill)
    rows = _drawn(store, layout, count, seed, plan)
    asked = _Graphs(store, job, service, plan)
    wanted = [_request(row, job.frozen, asked, store.root) for row in rows]
    threads = max(1, min(config.earth_engine.concurrent_requests, len(rows)))
    quota = Quota(threads, config.earth_engine.requests_per_minute / 60)
    client = Client(service, threads)
    fetcher: Fetcher[Row, Never] = Fetcher(client, _recipe(job, service), layout.planes, quota, config.retry)
    problems = []
    for answer in fetcher.answers(iter(wanted)):
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


class _Graphs:
    """The graphs by which runs asked, each run's read once."""

    def __init__(self, store: Store, job: Manifest, service: Service, plan: Plan | None) -> None:
        self._store, self._job, self._service, self._plan = store, job, service, plan
        self._runs: dict[str, dict[str, str]] = {}
        self._images = {name: index for index, name in enumerate(plan.images.ids)} if plan else {}

    def of(self, run_id: str, image_id: str) -> str | None:
        """Return the graph by which a run asked for an image; None where it asked for stored pixels."""
        if self._job.frozen.method == "getPixels":
            return None
        if run_id not in self._runs:
            self._runs[run_id] = self._read(run_id)
        found = self._runs[run_id]
        if image_id not in found:
            raise StoreError(f"{self._store.root}: run {run_id} planned no image {image_id!r}, of which it has tiles")
        return found[image_id]

    def _read(self, run_id: str) -> dict[str, str]:
        record = runs.read_runs(self._store, [run_id])[run_id] if run_id in self._known else None
        try:
            with damage("its record", "does not say it", f"look at {RUNS}/{run_id}.json"):
                if record is None:
                    raise ValueError("it is gone, or is damaged")
                if record["fingerprint"] != self._job.fingerprint:
                    raise ValueError("it is of another job")
                images = planned.unpack_images(self._store, record["images"])
                kept = record.get("graphs")
                found = (self._plain(record),) if kept is None else graphs.kept_graphs(self._store, kept)
                if len(found) not in (1, len(images)):
                    raise ValueError(f"it has {len(found)} graphs for {len(images)} images")
        except EESparkError as error:
            if self._plan is not None:
                return {name: self._plan.graph(index) or "" for name, index in self._images.items()}
            raise JobError(
                f"--refetch: how run {run_id} asked for its tiles is not known ({one_line(error)}); write --config "
                "JOB.yaml, your own job file, whose functions are then called"
            ) from None
        return {name: graph_of(found, index) or "" for index, name in enumerate(images)}

    def _plain(self, record: Mapping[str, Any]) -> str:
        """Return the graph of stored images with nothing of the user's in it, of a run that kept none."""
        job, identity = record["job"], self._job.identity
        named = [key for key in ("map", "image", "expression") if job["source"].get(key)]
        if named:
            raise ValueError(f"source.{named[0]} made them, and an older version kept no graphs")
        pixels = pixels_of(self._job)
        clip = runs.read_region(self._store, record["region"]) if identity.get("region.clip") else None
        if identity.get("region.clip") and (clip is None or area_digest(clip) != identity["region.clip"]):
            raise ValueError("its region is not the one that the job is clipped to")
        if not self._connected:
            raise ValueError("the service cannot be used")
        images = ee_source.stored_graph(Source(collection="stored"), pixels, self._service).images
        [graph] = ee_source.select(images, self._job.frozen.bands, pixels, clip)
        return graph

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(runs.run_ids(self._store))

    @cached_property
    def _connected(self) -> bool:
        ee_source.connect(self._service)
        return True


def pixels_of(job: Manifest) -> Pixels:
    """Return what of each pixel a dataset's job asks for, checked as a job file is.

    Raises:
        StoreError: if job.json holds something else.
    """
    keys = ("format", "mask", "fill", "resample", "dtype")
    try:
        found = Pixels.model_validate({key: job.identity[f"pixels.{key}"] for key in keys})
    except (ValidationError, KeyError) as error:
        raise StoreError(f"job.json: its pixels cannot be asked for ({one_line(error)})") from None
    if found.mask != job.frozen.mask:
        raise StoreError(f"job.json: mask is {found.mask} and {job.frozen.mask}")
    return found


def _recipe(job: Manifest, service: Service) -> Recipe:
    frozen = job.frozen
    names = [band.old if frozen.method == "getPixels" else band.name for band in frozen.bands]
    tag = "ee-spark-verify" if is_google(service.url) else None
    return Recipe(frozen.method, service.project, (*names, *frozen.validity), pixels_of(job).format, tag)


def _request(row: Row, frozen: Frozen, asked: _Graphs, root: str) -> TileRequest[Row]:
    """Return a row of ``tiles`` as the request that it was fetched by."""
    image, crs, place = row["image_id"], row["crs"], row["transform"]
    of_path = frozen.method != "getPixels" or _ASSET.fullmatch(image)
    numbers = len(place) == 6 and all(math.isfinite(number) for number in place) and place[0] > 0 > place[4]
    sound = of_path and numbers and len(crs) <= LONGEST_CRS and (row["width"], row["height"]) == frozen.shape.stored
    if not sound:
        raise StoreError(f"{root}/{TILES}: the row of {row['tile_id']}/{image} is not one that a run of this job wrote")
    version = -1 if row["version"] is None else int(row["version"])
    block = Window(crs, tuple(place), row["width"], row["height"])
    return TileRequest(row, image, version, asked.of(str(row["run_id"]), image), block, row["tile_id"])


def _drawn(store: Store, layout: Layout, count: int, seed: int, plan: Plan | None) -> list[Row]:
    """Return the rows of ``tiles`` to ask for again."""
    tables = []
    for entry in store.list(f"{TILES}/{layout.prefix}"):
        with damage(f"{store.root}/{entry.name}"), store.open(entry.name) as file:
            names = [*COLUMNS, "status"]
            schema = pa.schema([layout.tiles.field(name) for name in names])
            table = parquet_rows(file, names).replace_schema_metadata().cast(schema)
            tables.append(table.filter(pc.equal(table["status"], TileStatus.OK)).select(COLUMNS))
    if not tables:
        return []
    with damage(f"{store.root}/{TILES}"):  # texts of damaged files are looked at here first
        table = pa.concat_tables(tables)
        if plan is not None:
            table = table.filter(pc.is_in(table["image_id"], pa.array(plan.images.ids, pa.string())))
        table = table.set_column(table.column_names.index("version"), "version", table["version"].cast(pa.int64()))
        chosen = np.random.default_rng(seed).permutation(table.num_rows)[:count]
        return list(table.take(pa.array(np.sort(chosen))).to_pylist())
    raise AssertionError("damage raises")
