"""The Reducer value: stacks of values in, one or several results out, of arrays of pixels or of plain lists.

Inputs come as stacks of shape (n, …) with weights of the same shape: bool, or numbers of which 0 does not count. A
reducer that is not weighted takes every weight above 0 as 1. https://developers.google.com/earth-engine/guides/reducers_intro
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from .pixeltype import PixelType

Stack = NDArray[Any]
Results = list[tuple[Any, NDArray[Any]]]
"""For each output its value and its mask: arrays of the stack's inner shape, or an object where the stack is flat."""
Typing = Callable[[Sequence[PixelType]], PixelType]


@dataclass(frozen=True, eq=False)
class Output:
    """One result: `typing` gives its pixel type from the inputs' (None: a list or a dictionary, not a pixel).

    `always`: valid even where nothing counted; `empty`: what a region or a list without values gives.
    """

    name: str
    typing: Typing | None = None
    always: bool = False
    empty: Any = None


@dataclass(frozen=True, eq=False)
class Reducer:
    """`inputs` stacks to `outputs`. `numeric`: takes numbers only; the last `optional` inputs may be missing.

    `mixed` says of each output whether it is weighted, where not all are alike.
    """

    inputs: int
    outputs: tuple[Output, ...]
    compute: Callable[[Sequence[Stack], Sequence[Stack]], Results]
    weighted: bool = False
    numeric: bool = True
    optional: int = 0
    mixed: tuple[bool, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of the outputs."""
        return [output.name for output in self.outputs]

    @property
    def weighting(self) -> tuple[bool, ...]:
        """For each output whether it is weighted."""
        return self.mixed or (self.weighted,) * len(self.outputs)

    def apply(self, values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        """Values and masks of the outputs."""
        used = weights if self.weighted else [w if w.dtype == bool else w > 0 for w in weights]
        with np.errstate(all="ignore"):
            return self.compute(values, used)

    def scalars(self, values: Sequence[Stack], weights: Sequence[Stack]) -> dict[str, Any]:
        """The outputs by name of flat stacks; None where there is no result."""
        if self.numeric and any(stack.dtype == object for stack in values):
            raise ServiceError(f"Reducer '{self.names[0]}' takes numbers only.")
        if len(values[0]) == 0:
            return {output.name: 0 if output.always else output.empty for output in self.outputs}
        results = self.apply(values, weights)
        found: dict[str, Any] = {}
        for output, (value, mask) in zip(self.outputs, results, strict=True):
            found[output.name] = plain(value) if bool(np.all(mask)) else output.empty
        return found


def plain(value: Any) -> Any:
    """A number out of numpy; any other value as it is."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, bool) else value


def single(
    name: str,
    compute: Callable[[Stack, Stack], Any],
    typing: Typing | None,
    *,
    weighted: bool = False,
    numeric: bool = True,
    always: bool = False,
    empty: Any = None,
) -> Reducer:
    """A reducer of one input with one output, masked where nothing counted unless `always`."""

    def apply(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        result = compute(values[0], weights[0])
        counted = np.asarray((weights[0] > 0).any(axis=0))
        return [(result, np.ones_like(counted) if always else counted)]

    return Reducer(1, (Output(name, typing, always, empty),), apply, weighted, numeric)


def stack_of(values: Sequence[Any]) -> tuple[Stack, Stack]:
    """A list of plain values as a flat stack with its weights; null does not count, texts make it one of objects."""
    valid = np.array([value is not None for value in values], bool)
    numbers = all(isinstance(v, (int, float)) for v in values if v is not None)
    if not numbers:
        objects = np.empty(len(values), object)
        objects[:] = list(values)
        return objects, valid
    filled = [0 if value is None else int(value) if isinstance(value, bool) else value for value in values]
    if any(isinstance(value, float) for value in filled) or any(abs(value) >= 2**63 for value in filled):
        return np.array(filled, np.float64), valid
    return np.array(filled, np.int64), valid
