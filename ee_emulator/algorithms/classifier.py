"""Supervised classification by random forests and single trees. https://developers.google.com/earth-engine/guides/classification

Earth Engine's trees are those of another program (SMILE), drawn with other random numbers: its forests agree with these
in what they learn, not pixel by pixel. The same seed gives the same forest again, here as there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ServiceError, not_implemented
from ..evaluation.chance import generator
from ..evaluation.classifier import MOST_CELLS, Classifier, Training
from ..evaluation.forest import Parameters
from ..evaluation.registry import algorithm
from ..values import mask as masks
from ..values.band import Band, Canvas
from ..values.confusion import ConfusionMatrix, counted
from ..values.element import Collection, property_of
from ..values.grid import Pixels
from ..values.image import Image
from ..values.limit import too_large

_MODES = ("CLASSIFICATION", "REGRESSION", "PROBABILITY")
_ARRAYS = ("MULTIPROBABILITY", "RAW", "RAW_REGRESSION")
_MOST_TREES = 10_000


@algorithm("Classifier.smileRandomForest")
def smile_random_forest(
    number_of_trees: int,
    variables_per_split: int | None,
    min_leaf_population: int,
    bag_fraction: float,
    max_nodes: int | None,
    seed: int,
) -> Classifier:
    """A random forest; its trees' shares of the classes in the leaf are averaged.

    Our reading: a bag is drawn class by class without repetition, a whole one with repetition; the square root of the
    variables is rounded down. https://developers.google.com/earth-engine/apidocs/ee-classifier-smilerandomforest
    """
    name = "Classifier.smileRandomForest"
    if not 1 <= number_of_trees <= _MOST_TREES:
        raise ServiceError(f"{name}: 'numberOfTrees' must be between 1 and {_MOST_TREES}, got {number_of_trees}.")
    if not 0 < bag_fraction <= 1:
        raise ServiceError(f"{name}: 'bagFraction' must lie in (0, 1], got {bag_fraction}.")
    if variables_per_split is not None and variables_per_split < 0:
        raise ServiceError(f"{name}: 'variablesPerSplit' must not be negative, got {variables_per_split}.")
    _checked_leaves(name, min_leaf_population, max_nodes)
    return Classifier(
        name, Parameters(number_of_trees, variables_per_split, min_leaf_population, bag_fraction, max_nodes, seed)
    )


@algorithm("Classifier.smileCart")
def smile_cart(max_nodes: int | None, min_leaf_population: int) -> Classifier:
    """A single tree of all rows and variables. https://developers.google.com/earth-engine/apidocs/ee-classifier-smilecart"""
    name = "Classifier.smileCart"
    _checked_leaves(name, min_leaf_population, max_nodes)
    return Classifier(name, Parameters(1, 1 << 20, min_leaf_population, None, max_nodes))


def _checked_leaves(name: str, population: int, most: int | None) -> None:
    if population < 1 or (most is not None and most < 2):
        raise ServiceError(
            f"{name}: 'minLeafPopulation' must be at least 1 and 'maxNodes' at least 2, got {population} and {most}."
        )


@algorithm("Classifier.setOutputMode")
def set_output_mode(classifier: Classifier, mode: str) -> Classifier:
    """What it gives: a class, a number, or a probability.

    PROBABILITY is that of the larger one of two classes, as of presence (1) against absence (0); of more classes that
    of the one which is chosen (our reading). https://developers.google.com/earth-engine/apidocs/ee-classifier-setoutputmode
    """
    if mode in _ARRAYS:
        raise not_implemented(f"Classifier.setOutputMode: mode '{mode}', which gives arrays,")
    if mode not in _MODES:
        raise ServiceError(f"Classifier.setOutputMode: Unknown mode '{mode:.60}'; use one of {', '.join(_MODES)}.")
    return replace(classifier, mode=mode)


@algorithm("Classifier.train")
def train(
    classifier: Classifier,
    features: Collection,
    class_property: str,
    input_properties: list[str] | None,
    subsampling: float,
    subsampling_seed: int,
) -> Classifier:
    """The classifier with a collection's properties to learn from; those that are numbers, where none are named.

    https://developers.google.com/earth-engine/apidocs/ee-classifier-train
    """
    if not 0 < subsampling <= 1:
        raise ServiceError(f"Classifier.train: 'subsampling' must lie in (0, 1], got {subsampling}.")
    rows = list(features.elements)
    if subsampling < 1:
        drawn = generator(subsampling_seed).random(len(rows)) < subsampling
        rows = [row for row, wanted in zip(rows, drawn.tolist(), strict=True) if wanted]
    if not rows:
        raise ServiceError("Classifier.train: No data was found in classifier training input.")
    names = input_properties
    if names is None:
        numbers = (name for name, value in rows[0].properties.items() if isinstance(value, (int, float)))
        names = [name for name in numbers if name != class_property and not name.startswith("system:")]
    if not names:
        raise ServiceError("Classifier.train: there are no input properties.")
    if len(rows) * max(len(names), classifier.parameters.trees) > MOST_CELLS:
        raise too_large()
    table = _table(rows, [*names, class_property], "Classifier.train")
    return replace(classifier, training=Training(tuple(names), table[:, :-1], table[:, -1]))


def _table(rows: list[Any], names: list[str], operation: str) -> NDArray[Any]:
    """Properties as numbers, (rows, names); a 400 naming the first that is not a number."""
    found = [[property_of(row, name) for name in names] for row in rows]
    for row, values in zip(rows, found, strict=True):
        for name, value in zip(names, values, strict=True):
            index = row.properties.get("system:index", "?")
            if value is None:
                raise ServiceError(f"{operation}: Property '{name}' of feature '{index!s:.60}' is missing.")
            if not isinstance(value, (int, float)) or not abs(value) < 1e300:
                raise ServiceError(
                    f"{operation}: Property '{name}' of feature '{index!s:.60}' is not a number: {value!s:.60}."
                )
    return np.array(found, np.float64).reshape(len(rows), len(names))


@algorithm("Image.classify")
def classify_image(image: Image, classifier: Classifier, output_name: str) -> Image:
    """One band: the class, number or probability of each pixel; masked where any band that it needs is.

    https://developers.google.com/earth-engine/apidocs/ee-image-classify
    """
    by_name = {band.name: band for band in image.bands}
    for name in classifier.known.inputs:
        if name not in by_name:
            raise ServiceError(
                f"Image.classify: the classifier needs a band '{name}'. Available bands: [{', '.join(image.names)}]."
            )
    inputs = [by_name[name] for name in classifier.known.inputs]

    def read(canvas: Canvas) -> Pixels:
        layers = [canvas.pixels(band) for band in inputs]
        mask = masks.all_of(mask for _, mask in layers)
        valid = mask > 0
        values = np.zeros(canvas.grid.shape, classifier.type.dtype)
        rows = np.column_stack([layer[valid] for layer, _ in layers]).astype(np.float64)
        values[valid] = classifier.answers(classifier.forest(rows))
        return values, mask

    first = inputs[0]
    extent = masks.meet(*(band.extent for band in inputs))
    return image.with_bands([Band(output_name, classifier.type, read, first.projection, extent, first.dimensions)])


@algorithm("FeatureCollection.classify")
def classify_features(features: Collection, classifier: Classifier, output_name: str) -> Collection:
    """The features with the class, number or probability as a property. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-classify"""
    names = list(classifier.known.inputs)

    def elements() -> list[Any]:
        rows = list(features.elements)
        answers = classifier.answers(classifier.forest(_table(rows, names, "FeatureCollection.classify")))
        given = answers.astype(np.int64) if classifier.mode == "CLASSIFICATION" else answers
        return [
            row.with_properties({**row.properties, output_name: value})
            for row, value in zip(rows, given.tolist(), strict=True)
        ]

    return features.derived(elements)


@algorithm("Classifier.confusionMatrix")
def confusion_matrix(classifier: Classifier) -> ConfusionMatrix:
    """The classes of the training rows against what the trees make of them. https://developers.google.com/earth-engine/apidocs/ee-classifier-confusionmatrix"""
    found = replace(classifier, mode="CLASSIFICATION")
    predicted = found.answers(found.forest(found.known.x))
    return counted(found.known.y.tolist(), predicted.tolist(), None, "Classifier.confusionMatrix")


@algorithm("Classifier.explain")
def explain(classifier: Classifier) -> dict[str, Any]:
    """Classes, variable importance, number of trees and the error out of bag; no text of the trees.

    https://developers.google.com/earth-engine/apidocs/ee-classifier-explain
    """
    if classifier.training is None:
        return {}
    trees = classifier.forest
    weights = trees.importance(len(classifier.training.inputs)).tolist()
    result: dict[str, Any] = {"importance": dict(zip(classifier.training.inputs, weights, strict=True))}
    if classifier.mode != "REGRESSION":
        result["classes"] = [int(value) for value in classifier.classes]
    if classifier.parameters.bag is not None:
        outputs, count = trees.unseen(classifier.training.x)
        truth, seen = classifier.training.y, count > 0
        if seen.any() and classifier.mode == "REGRESSION":
            result["outOfBagErrorEstimate"] = float(np.sqrt(((outputs[:, 0] - truth)[seen] ** 2).mean()))
        elif seen.any():
            wrong = replace(classifier, mode="CLASSIFICATION").answers(outputs) != truth
            result["outOfBagErrorEstimate"] = float(wrong[seen].mean())
        result["numberOfTrees"] = classifier.parameters.trees
    return result


@algorithm("Classifier.mode")
def mode(classifier: Classifier) -> str:
    """What it gives. https://developers.google.com/earth-engine/apidocs/ee-classifier-mode"""
    return classifier.mode


@algorithm("Classifier.schema")
def schema(classifier: Classifier) -> list[str] | None:
    """The names of its inputs, null before it is trained. https://developers.google.com/earth-engine/apidocs/ee-classifier-schema"""
    return None if classifier.training is None else list(classifier.training.inputs)
