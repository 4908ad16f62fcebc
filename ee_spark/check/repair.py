"""Put right what can be: nothing is invented, what was lost becomes missing and the next run fetches it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ee_spark.check.verify import REPAIRABLE, Problem
from ee_spark.errors import EESparkError, StoreError, one_line
from ee_spark.objects import Store
from ee_spark.store import account, manifest, pins
from ee_spark.store.log import ChunkLog
from ee_spark.store.part import build, failed_table
from ee_spark.store.schema import IMAGES, PIXELS, TILES, Layout


def repair(store: Store, problems: Sequence[Problem]) -> list[str]:
    """Repair what :func:`~ee_spark.check.verify.verify` found; return a line for each thing that was done.

    A part that cannot be trusted is replaced, on the generation read, by one without rows and with an empty ledger: its
    number stays taken. A file in ``tiles`` is folded anew from its parts. What an overwritten job left is removed.
    Images that the table of them does not name, or all where it cannot be read, are named as their tiles do.
    """
    job = manifest.required(store)
    layout = manifest.layout_of_dataset(store, job)
    done: list[str] = []
    parts = {problem.name for problem in problems if problem.kind in ("torn", "checksum", "schema", "rows", "doubled")}
    schema = {f"{table}/{layout.schema_part}" for table in (PIXELS, TILES)}
    if any(problem.kind in REPAIRABLE or problem.kind == "missing" for problem in problems):
        account.reopen(store)
    if parts & schema:
        done.append(_tried("the parts that show the schema", lambda: _schema_parts(store, layout, parts & schema)))
    chunks: set[str] = set()
    for name in sorted(parts - schema):
        if (chunk := layout.chunk_of(name)) and name.startswith(f"{PIXELS}/"):
            chunks.add(chunk)
            done.append(_tried(name, partial(_empty_part, store, layout, name)))
    if chunks:
        account.reopen(store)  # a run that ended meanwhile may have counted what was in them
    for problem in problems:
        if problem.kind == "leftover":
            done.append(_tried(problem.name, partial(_remove, store, problem.name)))
        elif problem.kind == "tiles" and (chunk := layout.chunk_of(problem.name)):
            chunks.add(chunk)
    done += [_tried(f"{TILES} of {chunk}", partial(_fold, store, layout, chunk)) for chunk in sorted(chunks)]
    if any(problem.kind == "images" for problem in problems):  # last: they are named as the tiles do
        done.append(_tried(IMAGES, lambda: _images(store, layout)))
    return [one_line(line) for line in done]


def _tried(what: str, mend: Callable[[], str]) -> str:
    """Mend one thing and return what was done; what cannot be mended is told, and leaves the rest to be."""
    try:
        return mend()
    except StoreError as error:
        return f"cannot mend {what}: {error}"


def _schema_parts(store: Store, layout: Layout, names: Iterable[str]) -> str:
    for name in names:
        store.delete(name)
    manifest.open_tables(store, layout)
    return "wrote the parts that show the schema"


def _remove(store: Store, name: str) -> str:
    store.delete(name)
    return f"removed {name}, of a job that was overwritten"


def _images(store: Store, layout: Layout) -> str:
    return f"wrote {IMAGES}: it names {pins.mend(store, layout):,} images anew, as their tiles do"


def _empty_part(store: Store, layout: Layout, name: str) -> str:
    while True:
        found = next((entry.generation for entry in store.list(name) if entry.name == name), None)
        if found is None:
            return f"{name} is gone by itself"
        if store.replace(name, build([], layout, "repair").data, found):
            return f"replaced {name} by a part without rows; the next run asks for its tiles again"


def _fold(store: Store, layout: Layout, chunk: str) -> str:
    """Fold a chunk anew; where its file cannot even be read, its failed rows are lost with it."""
    log = ChunkLog(store, layout, chunk)
    try:
        log.refold()
    except EESparkError:
        store.delete(log.tiles_name)
        log.fold(failed_table([], layout, "repair"))
    return f"folded {log.tiles_name} anew"
