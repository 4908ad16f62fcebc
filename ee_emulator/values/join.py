"""Joins as values: what each element of one collection makes of its matches in another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .element import Element

Matches = list[tuple[Element, float | None]]
"""The right elements that match one left element, with the measure of each pair."""


@dataclass(frozen=True, eq=False)
class Join:
    """`combine(left, matches)` gives the rows that one left element contributes."""

    combine: Callable[[Element, Matches], Sequence[Element]]
    measured: bool = False
