"""Confusion matrices: rows are what is, columns what was said. https://developers.google.com/earth-engine/guides/classification#accuracy-assessment"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError
from ..evaluation.registry import algorithm
from ..values.array import Array, array_of
from ..values.confusion import MOST_CLASSES, ConfusionMatrix, counted
from ..values.element import Collection, property_of


@algorithm("ConfusionMatrix")
def confusion_matrix(array: Any, order: list[int] | None) -> ConfusionMatrix:
    """A matrix of counts. https://developers.google.com/earth-engine/apidocs/ee-confusionmatrix"""
    counts = array_of(array, "ConfusionMatrix")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not 1 <= len(counts) <= MOST_CLASSES:
        raise ServiceError(f"ConfusionMatrix: the array must be square, its shape is {list(counts.shape)}.")
    if order is not None and len(order) != len(counts):
        raise ServiceError(f"ConfusionMatrix: 'order' has {len(order)} classes, the array {len(counts)} rows.")
    return ConfusionMatrix(counts, tuple(range(len(counts)) if order is None else order))


@algorithm("Collection.errorMatrix")
def error_matrix(collection: Collection, actual: str, predicted: str, order: list[int] | None) -> ConfusionMatrix:
    """Two properties of a collection counted against each other. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-errormatrix"""
    name = "Collection.errorMatrix"
    columns: list[list[float]] = []
    for wanted in (actual, predicted):
        columns.append([])
        for member in collection.elements:
            value = property_of(member, wanted)
            if not isinstance(value, (int, float)) or not abs(value) < 2**31:
                raise ServiceError(f"{name}: Property '{wanted}' is not a class: {value!s:.60}.")
            columns[-1].append(value)
    return counted(columns[0], columns[1], order, name)


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0))


@algorithm("ConfusionMatrix.array")
def array(confusion_matrix: ConfusionMatrix) -> Array:
    """The counts. https://developers.google.com/earth-engine/apidocs/ee-confusionmatrix-array"""
    return Array(confusion_matrix.counts)


@algorithm("ConfusionMatrix.order")
def order(confusion_matrix: ConfusionMatrix) -> list[int]:
    """The class of each row. https://developers.google.com/earth-engine/apidocs/ee-confusionmatrix-order"""
    return list(confusion_matrix.order)


@algorithm("ConfusionMatrix.accuracy")
def accuracy(confusion_matrix: ConfusionMatrix) -> float:
    """The share on the diagonal. https://developers.google.com/earth-engine/apidocs/ee-confusionmatrix-accuracy"""
    counts = confusion_matrix.counts
    return float(_share(np.trace(counts), counts.sum()))


@algorithm("ConfusionMatrix.kappa")
def kappa(confusion_matrix: ConfusionMatrix) -> float:
    """Cohen's kappa: agreement beyond that of chance. https://developers.google.com/earth-engine/apidocs/ee-confusionmatrix-kappa"""
    counts = confusion_matrix.counts.astype(np.float64)
    total = counts.sum()
    by_chance = _share((counts.sum(axis=0) * counts.sum(axis=1)).sum(), total * total)
    return float(_share(_share(np.trace(counts), total) - by_chance, 1 - by_chance))


@algorithm("ConfusionMatrix.producersAccuracy")
def producers_accuracy(confusion_matrix: ConfusionMatrix) -> Array:
    """What share of each class was found, as a column. https://developers.google.com/earth-engine/apidocs/ee-confusionmatrix-producersaccuracy"""
    counts = confusion_matrix.counts
    return Array(_share(np.diag(counts), counts.sum(axis=1))[:, None])


@algorithm("ConfusionMatrix.consumersAccuracy")
def consumers_accuracy(confusion_matrix: ConfusionMatrix) -> Array:
    """What share of each class as said is right, as a row. https://developers.google.com/earth-engine/apidocs/ee-confusionmatrix-consumersaccuracy"""
    counts = confusion_matrix.counts
    return Array(_share(np.diag(counts), counts.sum(axis=0))[None, :])


@algorithm("ConfusionMatrix.fscore")
def fscore(confusion_matrix: ConfusionMatrix, beta: float) -> Array:
    """The weighted harmonic mean of both accuracies of each class. https://developers.google.com/earth-engine/apidocs/ee-confusionmatrix-fscore"""
    counts = confusion_matrix.counts
    found, right = _share(np.diag(counts), counts.sum(axis=1)), _share(np.diag(counts), counts.sum(axis=0))
    return Array(_share((1 + beta**2) * found * right, beta**2 * right + found))
