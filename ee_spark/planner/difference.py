"""What differs between two jobs, for people."""

from __future__ import annotations

from typing import Any

from ee_spark.boundary import shown

NAMED, SHOWN = 3, 30
"""Keys that a difference names, and characters of each value."""


def difference(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Return what differs between two identities, for people: ``grid.scale: 10 here, 30 there; ...``.

    Three keys are named, their values shortened, and how many more there are.
    """
    mine, theirs = _by_column(mine), _by_column(theirs)
    keys = [key for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
    named = [f"{key}: {_short(mine.get(key))} here, {_short(theirs.get(key))} there" for key in keys[:NAMED]]
    return "; ".join([*named, *([f"and {len(keys) - NAMED} more"] if len(keys) > NAMED else [])])


def _by_column(identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity in which each of the points' own columns is a key."""
    columns = identity.get("region.columns")
    if not isinstance(columns, dict):
        return identity
    rest = {key: value for key, value in identity.items() if key != "region.columns"}
    return {**rest, **{f"region.columns.{name}": kind for name, kind in columns.items()}}


def _short(value: object) -> str:
    text = shown(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
