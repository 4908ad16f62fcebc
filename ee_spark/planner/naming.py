"""Names that bands can have as columns, where their own ones cannot be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ee_spark.boundary import shown
from ee_spark.errors import JobError
from ee_spark.job import NAME
from ee_spark.planner.columns import is_own

NAMED = 3
"""Bands that a refusal names."""
SHOWN = 40
"""Characters of each of them."""


class BandNamesError(JobError):
    """Bands whose names no column can have.

    ``mapping`` is what to write as ``source.bands``, ``{column: band}`` of every band in its order; ``dtypes`` are the
    columns' types.
    """

    def __init__(self, message: str, mapping: Mapping[str, str], dtypes: Mapping[str, str]) -> None:
        super().__init__(message)
        self.mapping, self.dtypes = dict(mapping), dict(dtypes)


def why_not(name: str, seen: Mapping[str, str]) -> str:
    """Return why a column cannot have this name, as a sentence about it; "" if it can.

    ``seen`` are names that other columns have, by their lower case.
    """
    if not re.fullmatch(NAME, name):
        return f"{shown(name)} is not a valid column name"
    if is_own(name):
        return f"a column {shown(name)} is one of the tables' own"
    if name.lower() in seen:
        return f"{seen[name.lower()]!r} and {name!r} are one column name"
    return ""


def column_names(bands: Sequence[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Return ``{column: band}`` of all bands, in their order; those that can be columns keep their names.

    In the others what no name can have becomes ``_``, and one of the tables' own begins with ``band_``. ``taken`` are
    other columns' names.
    """
    seen = {name.lower(): name for name in taken}
    found: dict[str, str] = {}
    for band in bands:
        if not why_not(band, seen):
            found[band] = seen[band.lower()] = band
    for band in bands:
        if band not in found:
            found[band] = name = _free(_plain(band), seen)
            seen[name.lower()] = name
    return {found[band]: band for band in bands}


def refusal(bands: Sequence[tuple[str, str]], taken: Iterable[str], *, chosen: bool) -> str:
    """Return why bands, as (column, band), cannot be columns, and what to do; "" if they can.

    ``chosen``: the job file names the bands, so that one can be renamed there; else all would have to be written.
    """
    seen = {name.lower(): name for name in taken}
    why: dict[str, str] = {}
    for name, _ in bands:
        said = why_not(name, seen)
        if said:
            why[name] = said
        else:
            seen[name.lower()] = name
    if not why:
        return ""
    if chosen and len(why) == 1:
        [(name, said)] = why.items()
        return f"source.bands: {said}; rename it with source.bands: {{a_name: {dict(bands)[name]}}}"
    names = ", ".join(repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…") for name in list(why)[:NAMED])
    more = ", …" if len(why) > NAMED else ""
    return (
        f"source.bands: {len(why):,} of {len(bands):,} bands have names that no column of the tables can have ({names}"
        f"{more}); write names for all: ee-spark plan --json prints them, ready for the job file (key bands)"
    )


def _plain(band: str) -> str:
    text = unicodedata.normalize("NFKD", band).encode("ascii", "ignore").decode()
    text = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "band"
    text = text if re.match(r"[A-Za-z_]", text) else f"b{text}"
    return f"band_{text}" if is_own(text) else text


def _free(name: str, seen: Mapping[str, str]) -> str:
    number, found = 1, name
    while found.lower() in seen or is_own(found):
        number += 1
        found = f"{name}_{number}"
    return found
