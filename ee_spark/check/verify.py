"""Is a dataset whole: parts, ledgers, checksums, ``tiles``, and every planned tile accounted for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.errors import DamagedError, EESparkError, LedgerError, StoreError, one_line
from ee_spark.objects import TEMP, Entry, Store
from ee_spark.objects.lock import LOCKS
from ee_spark.status import IN_TILES, TileStatus
from ee_spark.store import ledger, manifest, pins, runs
from ee_spark.store.bounds import check_group, damage, json_of, parquet
from ee_spark.store.ledger import KEYS, Ledger
from ee_spark.store.life import prefix_of
from ee_spark.store.log import ChunkLog
from ee_spark.store.manifest import Manifest
from ee_spark.store.measure import checksums
from ee_spark.store.runs import Planned
from ee_spark.store.schema import GEO, IMAGES, JOB, PIXELS, RUNS, SUCCESS, TILES, Layout

THREADS = 4
MOST_NAMED = 1_000
"""Tiles of one chunk that are named: whoever can write a run's record may say that it planned millions."""
Key = tuple[str, str]
Place = tuple[Planned, int]
"""A run's plan, and which of its chunks."""
Places = dict[str, list[Place]]
REPAIRABLE = frozenset({"torn", "checksum", "schema", "rows", "doubled", "tiles", "leftover"})
"""Kinds of problems that :mod:`ee_spark.check.repair` knows a way out of."""
EFFECTS = frozenset({"missing", "unplanned"})
"""Kinds that others may have caused, which are told first: a torn part leaves thousands of tiles missing."""
ADDED, PROSE = frozenset({"fill", "mask"}), frozenset({"layout"})
"""What footers of older parts do not say, and what they may say in other words."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: its kind, the object or tile that it is about, and the fact.

    Kinds: ``torn`` (cannot be read), ``schema``, ``rows`` (pixels and ledger disagree), ``checksum``, ``doubled`` (a
    tile is committed twice), ``tiles`` (the file in ``tiles`` is not what its parts say), ``missing`` (planned, but
    neither committed nor failed), ``unplanned``, ``leftover`` (of a job that was overwritten), ``foreign`` (not ours),
    ``run``, ``images``, ``changed`` (asked for again, the pixels differ).
    """

    kind: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {one_line(self.name)}: {one_line(self.text)}"


@dataclass
class Findings:
    """What a dataset holds and what is wrong with it."""

    path: str
    runs: int = 0
    planned: int = 0
    parts: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*IN_TILES, TileStatus.MISSING), 0))
    problems: list[Problem] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 for a dataset without a problem, else 3."""
        return 3 if self.problems else 0

    def say(self, kind: str, name: str, text: object) -> None:
        """Add a problem."""
        self.problems.append(Problem(kind, name, " ".join(str(text).split())))

    def say_tiles(self, kind: str, keys: set[Key], chunk: str, text: str) -> None:
        """Add a problem for each of a chunk's tiles, and for those after the first thousand one."""
        for key in sorted(keys)[:MOST_NAMED]:
            self.say(kind, "/".join(key), text)
        if len(keys) > MOST_NAMED:
            self.say(kind, chunk, f"{len(keys) - MOST_NAMED:,} more tiles: {text}")

    def to_json(self) -> dict[str, Any]:
        """Return the findings as one JSON object: counts, and how many problems of each kind."""
        kinds: dict[str, int] = defaultdict(int)
        for problem in self.problems:
            kinds[problem.kind] += 1
        status = "damaged" if self.problems else "clean"
        counts = {"runs": self.runs, "parts": self.parts, "planned": self.planned, **self.counts}
        return {"path": self.path, "status": status, **counts, "problems": dict(kinds), "exit_code": self.exit_code}


def verify(store: Store) -> Findings:
    """Check every object of the dataset at ``store`` against what the others say of it.

    Raises:
        ReadError: if there is no dataset.
    """
    if manifest.read(store) is None and manifest.is_undecided(store):
        return Findings(store.root, runs=len(runs.run_ids(store)))  # none found an image: nothing is planned
    job = manifest.required(store)
    layout = manifest.layout_of_dataset(store, job)
    findings = Findings(store.root)
    chunks = _sorted_out(store, layout, job, findings)
    plans, forgotten, complete = _plans(store, layout, findings)
    images: set[str] = set()
    seen: list[int] = []
    with ThreadPoolExecutor(THREADS, "verify") as pool:
        work = pool.map(lambda chunk: _check_chunk(store, layout, chunk, chunks.get(chunk, {})), {*chunks, *plans})
        for chunk, problems, status, parts in work:
            findings.parts += parts
            findings.problems += problems
            wanted = _planned(plans.get(chunk, ()), layout)
            images |= {image for _, image in status}
            seen += [hash(key) for key, what in status.items() if what != TileStatus.FAILED]
            findings.planned += len(wanted)
            for key in wanted:
                findings.counts[status.get(key, TileStatus.MISSING)] += 1
            lacking = f"planned in {chunk}, neither committed nor failed; run the job again"
            findings.say_tiles("missing", wanted - status.keys(), chunk, lacking)
            if complete:
                more = status.keys() - wanted - _planned(forgotten.get(chunk, ()), layout)
                findings.say_tiles("unplanned", more, chunk, f"is in {chunk}, and no run planned it")
    if len(np.unique(np.array(seen, np.int64))) != len(seen):
        findings.say("doubled", PIXELS, "a tile is committed in two chunks")
    _check_images(store, images, findings)
    findings.problems.sort(key=lambda problem: (problem.kind in EFFECTS, problem.kind, problem.name))
    return findings


def _sorted_out(store: Store, layout: Layout, job: Manifest, findings: Findings) -> dict[str, dict[str, Entry]]:
    """Return the job's objects in ``pixels`` and ``tiles`` by chunk; say what else lies in the dataset."""
    chunks: dict[str, dict[str, Entry]] = defaultdict(dict)
    replaced = tuple(f"{table}/{prefix_of(old, '')}" for old in job.replaced for table in (PIXELS, TILES))
    wanted = {f"{PIXELS}/{layout.schema_part}": layout.pixels, f"{TILES}/{layout.schema_part}": layout.tiles}
    known = {IMAGES, JOB, SUCCESS}
    for entry in store.list(""):
        if entry.name in wanted:
            _check_schema_part(store, entry.name, wanted.pop(entry.name), findings)
        elif chunk := layout.chunk_of(entry.name):
            chunks[chunk][entry.name] = entry
        elif entry.name.startswith(replaced):
            findings.say("leftover", entry.name, "of a job that was overwritten")
        elif entry.name not in known and not entry.name.startswith((f"{RUNS}/", f"{TEMP}/", f"{LOCKS}/", "_ee_spark/")):
            findings.say("foreign", entry.name, "is not an object of this dataset; move it elsewhere")
    for name in wanted:
        findings.say("schema", name, "is missing: before the first tile readers find no schema")
    return chunks


def _planned(places: Iterable[Place], layout: Layout) -> set[Key]:
    """Return the (tile_id, image_id) that runs planned in one chunk; only these are in memory by name."""
    return {key for plan, index in places for key in plan.keys(index, layout.frozen.shape)}


def _plans(store: Store, layout: Layout, findings: Findings) -> tuple[Places, Places, bool]:
    """Return what all runs planned together, by chunk, what forgotten ones did, and whether all of it is known."""
    union: Places = defaultdict(list)
    forgotten: Places = defaultdict(list)
    complete = True
    for run_id, run in runs.read_runs(store).items():
        counts = run is None or runs.counts(run, layout)
        if run is not None and not counts and not runs.is_forgotten(run):
            continue
        findings.runs += counts
        try:
            if run is None:
                raise StoreError("it is not valid JSON")
            if counts or runs.is_of(run, layout):
                plan = runs.plan_of(store, run)
                for index in range(len(plan.pairs)):
                    (union if counts else forgotten)[plan.pairs.key(index)].append((plan, index))
        except EESparkError as error:
            complete = False
            if counts:
                findings.say("run", f"{RUNS}/{run_id}.json", f"its plan cannot be read ({error})")
    return union, forgotten, complete


def _check_chunk(
    store: Store, layout: Layout, chunk: str, objects: Mapping[str, Entry]
) -> tuple[str, list[Problem], dict[Key, str], int]:
    """Check one chunk's parts and its file in ``tiles``; return its problems and every key's status, and its parts."""
    found = Findings(store.root)
    log = ChunkLog(store, layout, chunk)
    owners: dict[Key, str] = {}
    names = [name for name in objects if name != log.tiles_name]
    for name in sorted(names, key=lambda part: int(part.removeprefix(log.prefix).removesuffix(".parquet"))):
        entry = _check_part(store, layout, name, found)
        if entry is None:
            continue
        log.ledgers[int(name.removeprefix(log.prefix).removesuffix(".parquet"))] = entry
        for key in entry.tiles:
            if key in owners:
                found.say("doubled", name, f"{'/'.join(key)} is committed in {owners[key]} too")
            owners[key] = name
    status = {
        (tile, image): what
        for entry in log.ledgers.values()
        for tile, image, what in zip(
            *(entry.committed[c].to_pylist() for c in ("tile_id", "image_id", "status")), strict=True
        )
    }
    if not any(problem.kind == "doubled" for problem in found.problems):
        _check_tiles(log, log.tiles_name in objects, found)
    for key in log.failed:
        status.setdefault(key, TileStatus.FAILED)
    return chunk, found.problems, status, len(names)


def _check_part(store: Store, layout: Layout, name: str, found: Findings) -> Ledger | None:
    """Check one part: its ledger, its schema, its rows' keys, lengths and checksums."""
    entry = None
    try:
        entry = ledger.read(store, name)
        with damage(name, "its pixels cannot be read"), store.open(name) as file:
            _check_ledger(entry, layout)
            ok = entry.committed.filter(pa.compute.equal(entry.committed["status"], TileStatus.OK))
            part = parquet(file, KEYS)
            if not _same_schema(part.schema_arrow, layout.pixels):
                found.say("schema", name, "its columns are not those of the other parts")
                return entry
            keys = part.read(columns=list(KEYS)).select(KEYS)
            if not keys.replace_schema_metadata().equals(ok.select(KEYS).cast(keys.schema.remove_metadata())):
                found.say("rows", name, f"has {keys.num_rows} rows, its ledger {ok.num_rows} other ones")
                return entry
            sums = ok["crc32c"].to_pylist()
            for key, crc in zip(ok.select(KEYS).to_pylist(), _part_checksums(part, layout), strict=True):
                if crc != sums.pop(0):
                    found.say(
                        "checksum", name, f"the pixels of {key['tile_id']}/{key['image_id']} are not those fetched"
                    )
    except (LedgerError, DamagedError) as error:
        found.say("torn", name, error)
    return entry


def _check_ledger(entry: Ledger, layout: Layout) -> None:
    """Refuse a ledger whose columns are not those of the layout, from which nobody can make rows of ``tiles``."""
    committed = pa.schema([*layout.keys[:2], *layout.telemetry])
    for table, schema in ((entry.committed, committed), (entry.empty, pa.schema(layout.keys))):
        table.replace_schema_metadata().cast(schema)


def _part_checksums(part: pq.ParquetFile, layout: Layout) -> Iterator[str]:
    """Yield the checksum of each row's pixels, reading a row group at a time."""
    width, height = layout.frozen.shape.stored
    for index in range(part.metadata.num_row_groups):
        check_group(part.metadata.row_group(index), layout.frozen)
        table = part.read_row_group(index, columns=list(layout.planes))
        planes = []
        for name, dtype in layout.planes.items():
            column = table[name].combine_chunks()
            values = column.flatten().to_numpy(zero_copy_only=False).astype(dtype, copy=False)
            if len(values) != table.num_rows * width * height:
                raise ValueError(f"{name} has {len(values)} pixels in {table.num_rows} blocks of {width} × {height}")
            planes.append(values.reshape(table.num_rows, width * height))
        yield from checksums(planes) if table.num_rows else ()


def _check_tiles(log: ChunkLog, there: bool, found: Findings) -> None:
    """Compare the chunk's file in ``tiles`` with what its parts say."""
    if not there:
        if log.ledgers:
            found.say("tiles", log.tiles_name, f"is missing, and the chunk has {len(log.ledgers)} parts")
        return
    try:
        behind = log.behind()
    except EESparkError as error:
        found.say("tiles", log.tiles_name, error)
        return
    if behind:
        found.say("tiles", log.tiles_name, behind)


def _check_schema_part(store: Store, name: str, schema: pa.Schema, findings: Findings) -> None:
    try:
        with damage(name), store.open(name) as file:
            part = pq.ParquetFile(file)
            if not _same_schema(part.schema_arrow, schema) or part.metadata.num_rows:
                findings.say("schema", name, "is not the empty table that readers should find")
    except StoreError as error:
        findings.say("schema", name, error)


def _check_images(store: Store, named: set[str], findings: Findings) -> None:
    """Say which images the tables name that ``images`` does not know."""
    try:
        known = pins.named(store)
    except DamagedError as error:
        findings.say("images", IMAGES, error)
        return
    for image in sorted(named - known):
        findings.say("images", IMAGES, f"does not name {image!r}, of which there are tiles")


def _same_schema(found: pa.Schema, wanted: pa.Schema) -> bool:
    """Return True if columns, types and what the footer says of them are the same; a ledger may stand beside."""
    if not found.remove_metadata().equals(wanted.remove_metadata()):
        return False
    theirs = found.metadata or {}
    with suppress(ValueError, KeyError, TypeError):
        told, mine = json_of(theirs[GEO.encode()]), json.loads(wanted.metadata[GEO.encode()])
        return _alike(json_of(theirs[b"ee_spark"]), json.loads(wanted.metadata[b"ee_spark"])) and _placed(told, mine)
    return False


def _placed(told: Any, wanted: Any) -> bool:
    """Return True if a footer says of geometries what it should; the box is each part's own, the kinds have grown."""
    theirs, mine = told["columns"].pop("geometry"), wanted["columns"].pop("geometry")
    kinds = theirs.pop("geometry_types"), mine.pop("geometry_types")
    theirs.pop("bbox", None)
    return bool(told == wanted and theirs == mine and kinds[0] in (["Polygon"], kinds[1]))


def _alike(told: Any, wanted: Any) -> bool:
    """Return True if a footer says what it should; parts of older versions leave out what was added since."""
    if not isinstance(told, dict) or not isinstance(wanted, dict):
        return bool(told == wanted)
    names = {*told, *wanted} - PROSE - (ADDED - told.keys())
    return all(told.get(name) == wanted.get(name) for name in names)
