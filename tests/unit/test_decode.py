"""Answers: what numpy and rasterio wrote comes back exactly; whatever else comes is one typed error."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from ee_spark.errors import ServiceError
from ee_spark.fetch.decode import decode

Block = npt.NDArray[Any]


def block(descr: Any, width: int = 5, height: int = 4, seed: int = 0) -> Block:
    dtype = np.dtype(descr)
    data = np.random.default_rng(seed).integers(0, 120, (height, width, len(dtype.names or ())))
    found = np.empty((height, width), dtype)
    for index, name in enumerate(dtype.names or ()):
        found[name] = data[..., index]
    return found


def npy(values: Block, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, version, allow_pickle=False)
    return buffer.getvalue()


def tiff(planes: Block, names: list[str] | None = None, **options: Any) -> bytes:
    with MemoryFile() as file:
        size: dict[str, Any] = {
            "transform": Affine(1, 0, 5, 0, -1, 5),
            "count": len(planes),
            "height": planes.shape[1],
            "width": planes.shape[2],
        }
        with file.open(driver="GTiff", dtype=planes.dtype, **size, **options) as raster:
            raster.write(planes)
            for index, name in enumerate(names or (), 1):
                raster.set_band_description(index, name)
        return bytes(file.read())


def types(values: Block) -> dict[str, np.dtype[Any]]:
    return {name: values.dtype[name].newbyteorder("=") for name in values.dtype.names or ()}


def refused(body: bytes, form: str, values: Block) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        decode(body, form, values.dtype.names or (), types(values), values.shape[1], values.shape[0])
    assert "\n" not in str(caught.value)
    return caught.value


MIXED = [("B4", "u1"), ("QA", "<u2"), ("ndvi", "<f4"), ("elevation", "<i2"), ("x", "<f8")]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("descr", [MIXED, [("b", "<u2")], [("b", ">u2"), ("c", ">f4")], [("a", "i1"), ("b", "?")]])
def test_what_numpy_wrote_comes_back(descr: Any, version: tuple[int, int]) -> None:
    values = block(descr)
    (planes,) = decode(npy(values, version), "NPY", values.dtype.names or (), types(values), 5, 4)
    assert list(planes) == list(values.dtype.names or ())
    for name, plane in planes.items():
        np.testing.assert_array_equal(plane, values[name])


def test_npy_is_read_in_place() -> None:
    values = block(MIXED, 64, 64)
    body = npy(values)
    (planes,) = decode(body, "NPY", values.dtype.names or (), types(values), 64, 64)
    whole = np.frombuffer(body, np.uint8)
    assert all(np.shares_memory(plane, whole) for plane in planes.values())


def test_several_images_in_one_answer() -> None:
    values = block([(f"p{index}_{band}", kind) for index in range(3) for band, kind in (("a", "<u2"), ("v", "u1"))])
    columns = {"a": np.dtype("<u2"), "v": np.dtype("u1")}
    images = decode(npy(values), "NPY", values.dtype.names or (), columns, 5, 4)
    assert len(images) == 3
    for index, planes in enumerate(images):
        for band in ("a", "v"):
            np.testing.assert_array_equal(planes[band], values[f"p{index}_{band}"])


@pytest.mark.parametrize("options", [{}, {"compress": "deflate"}, {"compress": "lzw", "predictor": 2, "tiled": False}])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32", "float64"])
def test_what_rasterio_wrote_comes_back(kind: str, options: dict[str, Any]) -> None:
    planes = np.random.default_rng(1).integers(0, 100, (3, 7, 9)).astype(kind)
    columns = {name: np.dtype(kind) for name in ("a", "b", "c")}
    for names in (None, ["a", "b", "c"]):
        (found,) = decode(tiff(planes, names, **options), "GEO_TIFF", ["a", "b", "c"], columns, 9, 7)
        np.testing.assert_array_equal(np.stack(list(found.values())), planes)


def test_a_narrower_answer_is_taken_and_a_wider_one_refused() -> None:
    values = block([("a", "u1"), ("b", "<u2")])
    wide = {"a": np.dtype("<i4"), "b": np.dtype("<f4")}
    (planes,) = decode(npy(values), "NPY", ("a", "b"), wide, 5, 4)
    np.testing.assert_array_equal(planes["b"].astype("f4"), values["b"])
    for narrow in ("u1", "i2", "f2"):
        with pytest.raises(ServiceError) as caught:
            decode(npy(values), "NPY", ("a", "b"), {"a": np.dtype("u1"), "b": np.dtype(narrow)}, 5, 4)
        assert (caught.value.kind, caught.value.label) == ("permanent", "dtype")
        assert "uint16" in str(caught.value)


@pytest.mark.parametrize("form", ["NPY", "GEO_TIFF"])
def test_every_truncation_is_damaged_or_harmless(form: str) -> None:
    values = block([("a", "<u2"), ("b", "<u2")], 33, 17)
    planes = np.stack([values["a"], values["b"]])
    body = npy(values) if form == "NPY" else tiff(planes, ["a", "b"], compress="deflate")
    kinds = set()
    for length in range(0, len(body), 1 if form == "NPY" else 7):
        try:
            (found,) = decode(body[:length], form, ("a", "b"), types(values), 33, 17)
        except ServiceError as error:
            kinds.add(error.kind)
        else:
            assert form == "GEO_TIFF"  # a TIFF's tail may be nothing that counts
            np.testing.assert_array_equal(np.stack(list(found.values())), planes)
    assert kinds == {"damaged"}


def test_what_was_not_asked_for_is_damaged() -> None:
    values = block([("a", "<u2"), ("b", "<u2")])
    others = {
        "another order": block([("b", "<u2"), ("a", "<u2")]),
        "another name": block([("a", "<u2"), ("c", "<u2")]),
        "one band": block([("a", "<u2")]),
        "three bands": block([("a", "<u2"), ("b", "<u2"), ("c", "<u2")]),
        "wider": block([("a", "<u2"), ("b", "<u2")], 6, 4),
        "turned": block([("a", "<u2"), ("b", "<u2")], 4, 5),
        "plain": np.zeros((4, 5), np.uint16),
        "text": np.zeros((4, 5), [("a", "S2"), ("b", "<u2")]),
        "nested": np.zeros((4, 5), [("a", "<u2", (2,)), ("b", "<u2")]),
        "three dimensions": np.zeros((4, 5, 1), values.dtype),
        "fortran": np.asfortranarray(values),
    }
    for what, other in others.items():
        assert refused(npy(other), "NPY", values).kind == "damaged", what
    assert refused(npy(values) + b"x", "NPY", values).kind == "damaged"
    planes = np.zeros((2, 4, 5), np.uint16)
    for body in (tiff(planes, ["b", "a"]), tiff(planes[:1]), tiff(planes[:, :, :4]), npy(values), b""):
        assert refused(body, "GEO_TIFF", values).kind == "damaged"
    assert refused(tiff(planes), "NPY", values).kind == "damaged"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': [('a', '<u2'), ('b', '<u2')], 'fortran_order': False, 'shape': (-4, -5), }",
        "{'descr': [('a', '<u2'), ('b', '<u2')], 'fortran_order': False, 'shape': (True, 20), }",
        "{'descr': [('a', '|O'), ('b', '<u2')], 'fortran_order': False, 'shape': (4, 5), }",
        "{'descr': [('a', '<u2'), ('a', '<u2')], 'fortran_order': False, 'shape': (4, 5), }",
        "{'descr': [('a', '<u2'), ('b', '<u2')], 'shape': (4, 5), }",
        "{'descr': 5, 'fortran_order': False, 'shape': (4, 5), }",
        "(" * 5000,
        "[" * 20000,
        "__import__('os').abort()",
        "",
    ],
)
def test_a_header_that_is_none_is_damaged(header: str) -> None:
    values = block([("a", "<u2"), ("b", "<u2")])
    text = header.encode()
    body = b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + values.tobytes()
    assert refused(body, "NPY", values).kind == "damaged"


@cache
def whole(form: str) -> bytes:
    """A sound answer of two bands."""
    values = block([("a", "<u2"), ("b", "u1")])
    return npy(values) if form == "NPY" else tiff(np.stack([values["a"], values["b"].astype("u2")]), ["a", "b"])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_raise_anything_else(data: st.DataObject) -> None:
    values = block([("a", "<u2"), ("b", "u1")])
    form = data.draw(st.sampled_from(["NPY", "GEO_TIFF"]))
    body = bytearray(data.draw(st.one_of(st.binary(max_size=200), st.just(whole(form)))))
    for _ in range(data.draw(st.integers(0, 6))):
        if body:
            body[data.draw(st.integers(0, min(len(body), 300) - 1))] = data.draw(st.integers(0, 255))
    try:
        (planes,) = decode(bytes(body), form, ("a", "b"), types(values) | {"b": np.dtype("u2")}, 5, 4)
    except ServiceError:
        return
    assert [plane.shape for plane in planes.values()] == [(4, 5)] * 2


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["u1", "<u2", "<i4", "<f4", ">f8"]).map(lambda kind: np.dtype([("v", kind)])),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.just((7,)),
    )
)
def test_any_shape_and_type_comes_back(values: Block) -> None:
    height, width = values.shape
    (planes,) = decode(npy(values), "NPY", ("v",), types(values), width, height)
    np.testing.assert_array_equal(planes["v"], values["v"])
