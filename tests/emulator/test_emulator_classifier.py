"""Random forests and trees, and confusion matrices: by their properties, brute force, and cases computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ee
import numpy as np
import pytest
from emulator_client import asset, compute, connect, grid, write_catalog, write_raster
from numpy.typing import NDArray

import ee_emulator as emulator
from ee_emulator import Emulator

UTM = "EPSG:32633"
TRANSFORM = [10, 0, 500000, 0, -10, 5000000]
WIDTH, HEIGHT = 40, 30
GRID = grid(UTM, TRANSFORM, WIDTH, HEIGHT)
RNG = np.random.default_rng(5)
CLASSES = np.array([2, 5, 6, 11])[RNG.integers(0, 4, (HEIGHT, WIDTH))]
CENTRES = {2: (20, 900), 5: (120, 900), 6: (20, 2400), 11: (120, 2400)}
A, B = (
    np.vectorize(lambda c, i=i: CENTRES[c][i])(CLASSES) + RNG.integers(-9, 10, CLASSES.shape).astype(np.int16)
    for i in (0, 1)
)
A[RNG.random(A.shape) < 0.05] = -1
NOISE = RNG.normal(0, 1, CLASSES.shape).astype(np.float32)
VALID = A != -1


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("classifier")
    files = {"a": A.astype(np.int16), "b": B.astype(np.int16), "noise": NOISE, "class": CLASSES.astype(np.uint8)}
    for name, values in files.items():
        write_raster(folder / f"{name}.tif", values, TRANSFORM, UTM, nodata=-1 if name == "a" else None)
    entry = asset("T/C/one", {name: f"{name}.tif" for name in files}, "2021-01-01")
    with emulator.start(write_catalog(folder, [entry])) as running:
        connect(running.url)
        yield running


@pytest.fixture
def image(service: Emulator) -> ee.Image:
    return ee.Image("T/C/one")


def samples(image: ee.Image, count: int = 200) -> ee.FeatureCollection:
    return image.sample(numPixels=count, seed=1, projection=ee.Projection(UTM, TRANSFORM))


def table(rows: dict[str, Any]) -> ee.FeatureCollection:
    columns = zip(*rows.values(), strict=True)
    return ee.FeatureCollection([ee.Feature(None, dict(zip(rows, row, strict=True))) for row in columns])


def predicted(features: ee.FeatureCollection) -> NDArray[Any]:
    return np.array(features.aggregate_array("classification").getInfo())


def test_separable_classes_are_found_exactly_and_masks_are_kept(image: ee.Image) -> None:
    training = samples(image.select(["a", "b", "class"]))
    forest = ee.Classifier.smileRandomForest(30).train(training, "class", ["a", "b"])
    # other bands, masked or not, and the order of the bands do not matter
    shuffled = image.select(["noise", "b", "class", "a"]).addBands(image.select("noise").updateMask(0).rename("none"))
    classified = shuffled.classify(forest)
    found = compute(classified.addBands(classified.mask().rename("mask")), GRID)
    assert found.dtype["classification"] == np.dtype("<i4")
    np.testing.assert_array_equal(found["mask"] > 0, VALID)
    np.testing.assert_array_equal(found["classification"], np.where(VALID, CLASSES, 0))
    assert image.classify(forest, "kind").bandNames().getInfo() == ["kind"]
    assert forest.schema().getInfo() == ["a", "b"]


def test_a_held_out_part_of_a_collection_and_its_error_matrix(image: ee.Image) -> None:
    rows = samples(image.select(["a", "b", "noise", "class"]), 300).randomColumn("part", 3)
    forest = ee.Classifier.smileRandomForest(30).train(rows.filter("part < 0.5"), "class", ["a", "b", "noise"])
    tested = rows.filter("part >= 0.5").classify(forest)
    matrix = tested.errorMatrix("class", "classification", [2, 5, 6, 11])
    truth = np.array(tested.aggregate_array("class").getInfo())
    counts = [int((truth == value).sum()) for value in (2, 5, 6, 11)]
    assert min(counts) > 10
    assert matrix.getInfo() == np.diag(counts).tolist()
    assert (matrix.accuracy().getInfo(), matrix.kappa().getInfo()) == (1, 1)
    about = forest.explain().getInfo()
    assert about["classes"] == [2, 5, 6, 11]
    assert about["outOfBagErrorEstimate"] == 0
    assert about["importance"]["noise"] < 0.5 * min(about["importance"]["a"], about["importance"]["b"])
    assert forest.confusionMatrix().accuracy().getInfo() == 1


def test_probabilities_are_shares_of_the_trees_and_seeds_repeat(image: ee.Image) -> None:
    """Leaves of fully grown trees hold one class, so each of n trees adds 0 or 1/n."""
    two = image.addBands(image.select("class").gt(5).rename("high"))
    training = samples(two.select(["noise", "a", "high"]), 150)

    def shares(trees: int, seed: int) -> NDArray[Any]:
        forest = ee.Classifier.smileRandomForest(trees, seed=seed).train(training, "high", ["noise", "a"])
        found: NDArray[Any] = compute(two.classify(forest.setOutputMode("PROBABILITY")), GRID)["classification"]
        return np.asarray(found[VALID])

    one, eight = shares(1, 0), shares(8, 0)
    assert set(np.unique(one)) == {0, 1}
    assert eight.dtype == np.float32
    np.testing.assert_allclose(eight * 8, np.round(eight * 8), atol=1e-5)
    assert len(np.unique(eight)) > 5
    np.testing.assert_array_equal(eight, shares(8, 0))
    assert (eight != shares(8, 1)).any()
    forest = ee.Classifier.smileRandomForest(8).train(training, "high", ["noise", "a"])
    chosen = compute(two.classify(forest), GRID)["classification"][VALID]
    np.testing.assert_array_equal(chosen[eight != 0.5], eight[eight != 0.5] > 0.5)


def stump(x: NDArray[Any], y: NDArray[Any], impurity: Callable[[NDArray[Any]], float]) -> NDArray[Any]:
    """Which rows lie above the best cut, by brute force over all midpoints."""
    values = np.unique(x)
    cuts = (values[1:] + values[:-1]) / 2
    loss = [sum(side.sum() * impurity(y[side]) for side in (x <= cut, x > cut)) for cut in cuts]
    return np.asarray(x > cuts[int(np.argmin(loss))])


def gini(y: NDArray[Any]) -> float:
    return 1 - sum(float((y == value).mean()) ** 2 for value in np.unique(y))


def test_a_tree_of_two_leaves_is_the_best_cut(service: Emulator) -> None:
    x = RNG.permutation(60) / 20 - 1.5
    labels = (x + RNG.normal(0, 0.7, 60) > 0.3).astype(int)
    above = stump(x, labels, gini)
    most = {side: np.bincount(labels[above == side]).argmax() for side in (True, False)}
    rows = table({"x": x.tolist(), "y": labels.tolist()})
    tree = ee.Classifier.smileCart(2).train(rows, "y")
    np.testing.assert_array_equal(predicted(rows.classify(tree)), [most[side] for side in above.tolist()])

    numbers = (2 * x + RNG.normal(0, 0.5, 60)).round(3)
    above = stump(x, numbers, np.var)
    rows = table({"x": x.tolist(), "y": numbers.tolist()})
    tree = ee.Classifier.smileCart(2).setOutputMode("REGRESSION").train(rows, "y", ["x"])
    means = np.where(above, numbers[above].mean(), numbers[~above].mean())
    np.testing.assert_allclose(predicted(rows.classify(tree)), means)
    whole = ee.Classifier.smileCart().setOutputMode("REGRESSION").train(rows, "y", ["x"])
    np.testing.assert_allclose(predicted(rows.classify(whole)), numbers)
    forest = ee.Classifier.smileRandomForest(40).setOutputMode("REGRESSION").train(rows, "y", ["x"])
    error = predicted(rows.classify(forest)) - numbers
    assert np.sqrt((error**2).mean()) < 0.5 * numbers.std()


def test_leaves_hold_at_least_the_wanted_population(service: Emulator) -> None:
    x = list(range(20))
    rows = table({"x": x, "y": x})
    tree = ee.Classifier.smileCart(minLeafPopulation=5).setOutputMode("REGRESSION").train(rows, "y", ["x"])
    _, counts = np.unique(predicted(rows.classify(tree)), return_counts=True)
    assert counts.tolist() == [5, 5, 5, 5]


def test_confusion_matrices_by_hand(service: Emulator) -> None:
    matrix = ee.ConfusionMatrix([[21, 2, 1], [4, 30, 0], [0, 3, 39]])
    assert matrix.accuracy().getInfo() == pytest.approx(90 / 100)
    chance = (24 * 25 + 34 * 35 + 42 * 40) / 100**2
    assert matrix.kappa().getInfo() == pytest.approx((0.9 - chance) / (1 - chance))
    assert matrix.producersAccuracy().getInfo() == [[pytest.approx(v)] for v in (21 / 24, 30 / 34, 39 / 42)]
    assert matrix.consumersAccuracy().getInfo() == [[pytest.approx(v) for v in (21 / 25, 30 / 35, 39 / 40)]]
    assert matrix.fscore().getInfo() == [pytest.approx(v) for v in (42 / 49, 60 / 69, 78 / 82)]
    assert matrix.order().getInfo() == [0, 1, 2]
    rows = table({"is": [0, 0, 1, 3], "said": [0, 1, 1, 1]})
    assert rows.errorMatrix("is", "said").getInfo() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert rows.errorMatrix("is", "said", [1, 0]).array().getInfo() == [[1, 0], [1, 1]]


ROWS = {"x": [1, 2, 3], "y": [0, 1, 1]}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (lambda f: ee.Image(1).classify(ee.Classifier.smileRandomForest(3)), "has not been trained"),
        (lambda f: f.train(table({"x": [1, 2], "y": [4, 4]}), "y").confusionMatrix(), "Only one class."),
        (lambda f: f.train(table({"x": [1, 2], "y": [0.5, 4]}), "y").confusionMatrix(), "integers, got 0.5"),
        (lambda f: f.train(table(ROWS).filter("x > 9"), "y").schema(), "No data was found in classifier training"),
        (lambda f: f.train(table(ROWS), "y", ["z"]).schema(), "Property 'z' of feature '0' is missing."),
        (lambda f: ee.Image(1).classify(f.train(table(ROWS), "y")), "needs a band 'x'. Available bands: [constant]"),
        (lambda f: f.setOutputMode("MULTIPROBABILITY").mode(), "not implemented"),
        (lambda f: f.setOutputMode("GUESS").mode(), "Unknown mode 'GUESS'"),
        (lambda f: ee.Classifier.smileRandomForest(0).mode(), "must be between 1 and 10000, got 0"),
        (lambda f: ee.Classifier.smileRandomForest(3, bagFraction=1.5).mode(), "(0, 1], got 1.5"),
        (lambda f: ee.ConfusionMatrix([[1, 2]]).accuracy(), "must be square"),
        (lambda f: table({"is": [1e8], "said": [0]}).errorMatrix("is", "said").accuracy(), "give 'order'"),
    ],
)
def test_what_is_wrong_is_said(service: Emulator, expression: Callable[..., Any], said: str) -> None:
    with pytest.raises(ee.EEException) as caught:
        expression(ee.Classifier.smileRandomForest(3)).getInfo()
    assert said in str(caught.value)
