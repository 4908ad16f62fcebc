"""Which samples of a DataFrame are valid, where its columns do not tell: as the files say from which it was read."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from ee_spark.errors import EESparkError, ReadError
from ee_spark.objects import Settings, Store, open_store
from ee_spark.planner.validity import Validity
from ee_spark.store import manifest as manifests
from ee_spark.store.schema import parse_part, validity_of_footer

_SAME = {"s3a": "s3", "s3n": "s3"}
"""Hadoop's names of schemes that have others here."""


def validity_of_files(files: Iterable[str], settings: Settings) -> Validity | None:
    """Return what parts of ``pixels`` say of their samples; None if there are no such files, or none of them says it.

    One footer per job is read, and its job.json where that does not say. Files of two jobs must say the same.

    Raises:
        ReadError: if two jobs' rules differ, or the files cannot be reached.
    """
    first: dict[tuple[str, str], str] = {}
    for file in files:
        if part := parse_part(file):
            first.setdefault((file.rpartition("/")[0], part.job), file)
    rules = [_validity_of_file(folder, job, file, settings) for (folder, job), file in first.items()]
    known = [rule for rule in rules if rule]
    if not known or len(known) < len(rules):
        return None
    if any((rule.mask, rule.fill) != (known[0].mask, known[0].fill) for rule in known):
        raise ReadError("pixels: the DataFrame has parts of several jobs that mask differently; take each on its own")
    return known[0]


def _validity_of_file(folder: str, job: str, file: str, settings: Settings) -> Validity | None:
    """Return the rule by a part's footer, else by the job.json two folders up; None if neither says it."""
    above, _, name = _place(folder).rpartition("/")
    try:
        store = open_store(above, settings)
        return _of_footer(store, f"{name}/{unquote(file.rpartition('/')[2])}") or _of_job(store, job)
    except EESparkError as error:
        raise ReadError(
            f"pixels: cannot read in {file} what stands for masked pixels ({error}); pass fill=VALUE, or storage="
        ) from None


def _of_footer(store: Store, name: str) -> Validity | None:
    try:
        with store.open(name) as opened:
            return validity_of_footer(pq.read_metadata(opened).metadata)
    except (pa.ArrowException, OSError):
        return None


def _of_job(store: Store, job: str) -> Validity | None:
    found = manifests.read(store)
    if found is None or found.prefix != f"part-{job}-":
        return None
    return Validity(found.frozen.mask, tuple(band.name for band in found.frozen.bands), found.fill)


def _place(url: str) -> str:
    """Return a folder as Hadoop has it (``file:/a%20b``, ``s3a://…``) as a place that :func:`open_store` knows."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return unquote(parts.path)
    return f"{_SAME.get(parts.scheme, parts.scheme)}://{parts.netloc}{unquote(parts.path)}"
