"""Image.expression and Number.expression: the grammar against Python's own arithmetic, bands, names and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ee
import numpy as np
import pytest
from emulator_client import asset, compute, connect, grid, write_catalog, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ee_emulator as emulator
from ee_emulator import Emulator

UTM = "EPSG:32633"
TRANSFORM = [10, 0, 500000, 0, -10, 5000000]
GRID = grid(UTM, TRANSFORM, 4, 3)
RNG = np.random.default_rng(3)
BLUE, RED, NIR = RNG.integers(1, 9000, (3, 3, 4), dtype=np.uint16)
QA = RNG.integers(0, 64, (3, 4), dtype=np.uint16)
NIR[0, 0] = 0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("expression")
    for name, values in {"blue": BLUE, "red": RED, "nir": NIR, "qa": QA}.items():
        write_raster(folder / f"{name}.tif", values, TRANSFORM, UTM, nodata=0 if name == "nir" else None)
    bands = {"B2": "blue.tif", "B4": "red.tif", "B8": "nir.tif", "QA": "qa.tif"}
    with emulator.start(write_catalog(folder, [asset("T/X/one", bands, "2020-01-01")])) as running:
        connect(running.url)
        yield running


@pytest.fixture
def image(service: Emulator) -> ee.Image:
    return ee.Image("T/X/one")


def evaluated(image: ee.Image) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values and mask of an image's one band."""
    image = image.rename("v")
    found = compute(image.addBands(image.mask().rename("m")), GRID)
    return found["v"], found["m"] > 0


def test_evi_as_the_guide_writes_it(image: ee.Image) -> None:
    found, valid = evaluated(
        image.expression(
            "2.5 * ((NIR - RED) / (NIR + 6 * RED - 7.5 * BLUE + 1))",
            {
                "NIR": image.select("B8").divide(10000),
                "RED": image.select("B4").divide(10000),
                "BLUE": image.select("B2").divide(10000),
            },
        )
    )
    nir, red, blue = (band.astype(np.float32) / np.float32(10000) for band in (NIR, RED, BLUE))
    below = nir + 6 * red - 7.5 * blue.astype(float) + 1
    expected = 2.5 * ((nir - red) / np.where(below == 0, np.inf, below))
    np.testing.assert_array_equal(valid, NIR != 0)
    np.testing.assert_allclose(found[valid], expected[valid], rtol=1e-5)


BANDS: list[tuple[str, Callable[[], Any], str]] = [
    ("b('B4') + b('B2')", lambda: RED.astype(int) + BLUE, "B4"),
    ("b(1) - b(0)", lambda: RED.astype(int) - BLUE, "B4"),
    ("i.B4 * 2", lambda: RED.astype(int) * 2, "B4"),
    ("i['B4'] + i[0]", lambda: RED.astype(int) + BLUE, "B4"),
    ("sum = i.B4 + i.B2", lambda: RED.astype(int) + BLUE, "sum"),
    ("1000 - i.B2", lambda: 1000 - BLUE.astype(int), "constant"),
    ("(b('QA') & (1 << 3)) == 0", lambda: (QA & 8) == 0, "QA"),
    ("b('QA') >> 2 | 1 ^ 5", lambda: QA.astype(int) >> 2 | 1 ^ 5, "QA"),
    ("i.B4 > i.B2 ? i.B4 : i.B2", lambda: np.maximum(RED, BLUE), "B4"),
    ("i.B4 > 5000 ? 2 : i.B4 > 3000 ? 1 : 0", lambda: np.where(RED > 5000, 2, np.where(RED > 3000, 1, 0)), "constant"),
    ("!(i.B4 >= i.B2) || b('QA') % 2 == 1 && i.B2 != 7", lambda: ~(RED >= BLUE) | ((QA % 2 == 1) & (BLUE != 7)), "B4"),
    ("max(i.B4, i.B2) - min(i.B4, i.B2)", lambda: np.abs(RED.astype(int) - BLUE), "B4"),
    ("sqrt(i.B4) ** 2", lambda: RED, "B4"),
    ("uint8(i.B4)", lambda: np.minimum(RED, 255), "B4"),
    ("-i.B4 + +i.B2", lambda: BLUE.astype(int) - RED, "B4"),
    ("cos(i.B4 * Math.PI)", lambda: np.cos(RED * np.pi), "B4"),
]


@pytest.mark.parametrize("number", range(len(BANDS)))
def test_bands_operators_and_names(image: ee.Image, number: int) -> None:
    text, expected, name = BANDS[number]
    found = image.expression(text, {"i": image})
    assert found.bandNames().getInfo() == [name]
    values, valid = evaluated(found)
    assert valid.all()
    np.testing.assert_allclose(values, np.asarray(expected(), np.float64), rtol=1e-6, atol=1e-6)


def test_all_bands_and_several_bands(image: ee.Image) -> None:
    three = image.select(["B2", "B4", "B8"])
    assert three.expression("b() * 2").bandNames().getInfo() == ["B2", "B4", "B8"]
    assert image.expression("b('B4', 'B2') + 1").bandNames().getInfo() == ["B4", "B2"]
    found = compute(three.expression("b() - x", {"x": image.select("B2")}), grid(UTM, TRANSFORM, 4, 3))
    np.testing.assert_array_equal(found["B4"], RED.astype(int) - BLUE)


def test_what_is_chosen_by_a_masked_test_is_masked(image: ee.Image) -> None:
    found, valid = evaluated(image.expression("n > 100 ? r : 7", {"n": image.select("B8"), "r": image.select("B4")}))
    np.testing.assert_array_equal(valid, NIR != 0)
    np.testing.assert_array_equal(found[valid], np.where(NIR > 100, RED, 7)[valid])
    _, valid = evaluated(image.expression("r > 4000 ? n : 7", {"n": image.select("B8"), "r": image.select("B4")}))
    np.testing.assert_array_equal(valid, (RED <= 4000) | (NIR != 0))


def test_an_expression_is_mapped_over_a_collection(service: Emulator) -> None:
    series = ee.ImageCollection([ee.Image(2).rename("a"), ee.Image(5).rename("a")])
    total = series.map(lambda i: i.expression("b('a') * b('a') + k", {"k": ee.Image(1)})).sum()
    assert compute(total, GRID)["a"][0, 0] == 5 + 26


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("b('B4'", "Unable to parse the expression at character 6"),
        ("b('B4') +", "Unable to parse the expression at character 9, near 'its end'"),
        ("1 ? 2", "Unable to parse"),
        ("x + 1", "variable 'x' is not given"),
        ("b('none')", "Band pattern 'none' did not match any bands"),
        ("nonsense(b(0))", "there is no function 'nonsense'"),
        ("max(b(0))", "there is no function 'max' of 1 arguments"),
        ("x = b('B4', 'B2')", "needs a result of one band"),
        ("a # b", "at character 2"),
        ("(" * 30_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_says_where(image: ee.Image, text: str, said: str) -> None:
    with pytest.raises(ee.EEException) as caught:
        image.expression(text).getInfo()
    assert said in str(caught.value)


NUMBERS = st.integers(1, 40).map(str)
OPERATORS = st.sampled_from(["+", "-", "*", "<", "<=", ">", ">=", "==", "!=", "&", "|", "^", "<<", "%"])


@st.composite
def formulas(draw: st.DrawFn, depth: int = 3) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(NUMBERS)
    left, right = draw(formulas(depth=depth - 1)), draw(formulas(depth=depth - 1))
    operator = draw(OPERATORS)
    if operator in ("%", "<<"):
        right = draw(st.sampled_from(["1", "2", "3"]))
    return f"({left} {operator} {right})" if draw(st.booleans()) else f"{left} {operator} {right}"


JAVA = ["|", "^", "&", "== !=", "< <= > >=", "<<", "+ -", "* %"]


def truth(text: str) -> int:
    """The value by splitting at the loosest operator from the right: another way than the parser's."""
    tokens = text.replace("(", " ( ").replace(")", " ) ").split()
    return value_of(tokens)


def value_of(tokens: list[str]) -> int:
    for level in JAVA:
        depth = 0
        for at in range(len(tokens) - 1, -1, -1):
            depth += (tokens[at] == ")") - (tokens[at] == "(")
            if depth == 0 and tokens[at] in level.split():
                return combined(tokens[at], value_of(tokens[:at]), value_of(tokens[at + 1 :]))
    if tokens[0] == "(":
        return value_of(tokens[1:-1])
    return int(tokens[0])


def combined(operator: str, a: int, b: int) -> int:
    if operator == "%":
        return int(np.fmod(a, b))
    table = {
        "+": a + b, "-": a - b, "*": a * b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b,
        "!=": a != b, "&": a & b, "|": a | b, "^": a ^ b, "<<": (a << b) if operator == "<<" else 0,
    }  # fmt: skip
    return int(table[operator])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(text=formulas())
def test_numbers_by_the_precedence_of_java(service: Emulator, text: Any) -> None:
    expected = truth(text)
    if abs(expected) < 2**31:
        assert ee.Number.expression(text).getInfo() == expected
