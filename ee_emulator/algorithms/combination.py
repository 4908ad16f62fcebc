"""Reducers made of reducers: combined, repeated, grouped, renamed, unweighted.

https://developers.google.com/earth-engine/guides/reducers_intro
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.image import Image
from ..values.pixeltype import PixelType
from ..values.reducer import Output, Reducer, Results, Stack, plain

_MOST_INPUTS = 2048


def _shifted(output: Output, start: int, stop: int, name: str) -> Output:
    """The output of a reducer that sees the inputs from `start` to before `stop`."""
    inner = output.typing
    if inner is None:
        return replace(output, name=name)

    def typing(types: Sequence[PixelType]) -> PixelType:
        return inner(types[start:stop])

    return replace(output, name=name, typing=typing)


@algorithm("Reducer.combine")
def combine(reducer1: Reducer, reducer2: Reducer, output_prefix: str, shared_inputs: bool) -> Reducer:
    """Both at once; the second's outputs get the prefix, and a number where the name is taken.

    https://developers.google.com/earth-engine/apidocs/ee-reducer-combine
    """
    if shared_inputs and reducer1.inputs != reducer2.inputs:
        raise ServiceError(
            f"Reducer.combine: Reducers with shared inputs must have the same number of inputs; "
            f"got {reducer1.inputs} and {reducer2.inputs}."
        )
    start = 0 if shared_inputs else reducer1.inputs
    stop = start + reducer2.inputs
    if stop > _MOST_INPUTS:
        raise ServiceError(f"Reducer.combine: {stop} inputs; at most {_MOST_INPUTS} are possible.")
    outputs = list(reducer1.outputs)
    for output in reducer2.outputs:
        wanted = name = output_prefix + output.name
        number = 1
        while any(name == taken.name for taken in outputs):
            name, number = f"{wanted}_{number}", number + 1
        outputs.append(_shifted(output, start, stop, name))

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        found = reducer1.apply(values[: reducer1.inputs], weights[: reducer1.inputs])
        return found + reducer2.apply(values[start:stop], weights[start:stop])

    weighted, numeric = reducer1.weighted or reducer2.weighted, reducer1.numeric or reducer2.numeric
    mixed = reducer1.weighting + reducer2.weighting
    return Reducer(max(reducer1.inputs, stop), tuple(outputs), compute, weighted, numeric, mixed=mixed)


def _copies(reducer: Reducer, count: int, operation: str) -> list[tuple[int, int]]:
    if not 1 <= count * reducer.inputs <= _MOST_INPUTS:
        raise ServiceError(f"{operation}: {count} copies of a reducer of {reducer.inputs} inputs are not possible.")
    return [(i * reducer.inputs, (i + 1) * reducer.inputs) for i in range(count)]


@algorithm("Reducer.repeat")
def repeat(reducer: Reducer, count: int) -> Reducer:
    """Copies side by side; each output is the list of theirs. https://developers.google.com/earth-engine/apidocs/ee-reducer-repeat"""
    places = _copies(reducer, count, "Reducer.repeat")

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        results = [reducer.apply(values[a:b], weights[a:b]) for a, b in places]
        lists: Results = []
        for i, output in enumerate(reducer.outputs):
            column = [plain(result[i][0]) if bool(np.all(result[i][1])) else output.empty for result in results]
            lists.append((column, np.array(True)))
        return lists

    outputs = tuple(Output(output.name) for output in reducer.outputs)
    return Reducer(count * reducer.inputs, outputs, compute, reducer.weighted, reducer.numeric, mixed=reducer.mixed)


def _for_each(inner: Reducer, names: Sequence[str], operation: str) -> Reducer:
    places = _copies(inner, len(names), operation)
    outputs = []
    for name, (start, stop) in zip(names, places, strict=True):
        for output in inner.outputs:
            outputs.append(_shifted(output, start, stop, name if len(inner.outputs) == 1 else f"{name}_{output.name}"))

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        return [result for a, b in places for result in inner.apply(values[a:b], weights[a:b])]

    mixed = inner.weighting * len(names)
    return Reducer(len(names) * inner.inputs, tuple(outputs), compute, inner.weighted, inner.numeric, mixed=mixed)


@algorithm("Reducer.forEach")
def for_each(reducer: Reducer, output_names: list[str]) -> Reducer:
    """A copy for each name. https://developers.google.com/earth-engine/apidocs/ee-reducer-foreach"""
    return _for_each(reducer, output_names, "Reducer.forEach")


@algorithm("Reducer.forEachBand")
def for_each_band(reducer: Reducer, image: Image) -> Reducer:
    """A copy for each band of an image. https://developers.google.com/earth-engine/apidocs/ee-reducer-foreachband"""
    return _for_each(reducer, image.names, "Reducer.forEachBand")


@algorithm("Reducer.setOutputs")
def set_outputs(reducer: Reducer, outputs: list[Any]) -> Reducer:
    """Other names for the outputs; a null name drops one. https://developers.google.com/earth-engine/apidocs/ee-reducer-setoutputs"""
    if len(outputs) != len(reducer.outputs):
        raise ServiceError(
            f"Reducer.setOutputs: The number of names ({len(outputs)}) must match the number of outputs "
            f"({len(reducer.outputs)}): {reducer.names}."
        )
    kept = [i for i, name in enumerate(outputs) if name]
    renamed = tuple(replace(reducer.outputs[i], name=str(outputs[i])) for i in kept)

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        found = reducer.apply(values, weights)
        return [found[i] for i in kept]

    return replace(reducer, outputs=renamed, compute=compute, mixed=tuple(reducer.weighting[i] for i in kept))


@algorithm("Reducer.getOutputs")
def get_outputs(reducer: Reducer) -> list[str]:
    """The names of the outputs. https://developers.google.com/earth-engine/apidocs/ee-reducer-getoutputs"""
    return reducer.names


@algorithm("Reducer.unweighted")
def unweighted(reducer: Reducer) -> Reducer:
    """Every input that counts counts alike. https://developers.google.com/earth-engine/apidocs/ee-reducer-unweighted"""

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        return reducer.apply(values, weights)

    return replace(reducer, weighted=False, compute=compute, mixed=())


@algorithm("Reducer.group")
def group(reducer: Reducer, group_field: int, group_name: str) -> Reducer:
    """One reduction for each value of one input: `groups`, a list of dictionaries in the order of those values.

    https://developers.google.com/earth-engine/guides/reducers_grouping
    """
    inputs = reducer.inputs + 1
    if not 0 <= group_field < inputs:
        raise ServiceError(f"Reducer.group: groupField {group_field} is not one of the {inputs} inputs.")

    def compute(values: Sequence[Stack], weights: Sequence[Stack]) -> Results:
        keys, counted = values[group_field], weights[group_field] > 0
        others = [i for i in range(inputs) if i != group_field]
        which = _positions(keys, counted)
        groups = []
        for key, places in which:
            found = reducer.scalars([values[i][places] for i in others], [weights[i][places] for i in others])
            groups.append({group_name: key, **found})
        return [(groups, np.array(True))]

    return Reducer(inputs, (Output("groups", empty=[]),), compute, reducer.weighted, numeric=False)


def _positions(keys: Stack, counted: Stack) -> list[tuple[Any, Stack]]:
    """Each key that counts, in order, with the places where it is."""
    places = np.flatnonzero(counted)
    if places.size == 0:
        return []
    kept = keys[places]
    if kept.dtype == object:
        kept = np.array([str(value) for value in kept])
    found, which = np.unique(kept, return_inverse=True)
    order = np.argsort(which, kind="stable")
    parts = np.split(places[order], np.cumsum(np.bincount(which))[:-1])
    return list(zip(found.tolist(), parts, strict=True))
