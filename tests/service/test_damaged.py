"""Answers that are damaged, and say so in no way of their own: typed errors at every place that reads one."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from rasterio.io import MemoryFile
from wire import Told, wire

from ee_spark.answers import npy, tiff
from ee_spark.client import Client, Service
from ee_spark.errors import JobError, ServiceError
from ee_spark.job import Source
from ee_spark.planner.images import Images
from ee_spark.planner.listing import stored
from ee_spark.planner.probe import probe
from ee_spark.planner.table import read_table

AREA = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
GRID = {"crsCode": "EPSG:4326", "affineTransform": {"scaleX": 1.0, "scaleY": -1.0}}
BAND = {"id": "b", "dataType": {"precision": "FLOAT"}, "grid": GRID}
IMAGE = {"type": "IMAGE", "name": "projects/p/assets/x", "bands": [BAND], "startTime": "2020-01-01T00:00:00Z"}
ASSETS: list[Any] = [
    {**IMAGE, "bands": 3},
    {**IMAGE, "bands": [3]},
    {**IMAGE, "bands": [{"id": "b"}]},
    {**IMAGE, "bands": [{**BAND, "grid": {"affineTransform": {"scaleX": "wide"}}}]},
    {**IMAGE, "bands": [{**BAND, "dataType": 7}]},
    {**IMAGE, "bands": [{**BAND, "dataType": {"precision": "INT", "range": []}}]},
    {**IMAGE, "startTime": "yesterday"},
    {**IMAGE, "startTime": 5},
    {**IMAGE, "updateTime": "0000-01-01"},
    {key: value for key, value in IMAGE.items() if key != "name"},
]
UNBOUNDED: list[Any] = [
    {**IMAGE, "geometry": {"type": "Polygon", "coordinates": "everywhere"}},
    {**IMAGE, "geometry": {"type": "Polygon", "coordinates": [[[None, 1], [2], []]]}},
    {**IMAGE, "geometry": [3]},
]


def said_of(kind: str, asset: Any) -> Images:
    """What is read of a service that says this of the one asset there is."""

    def script(said: Any) -> Told:
        if ":listAssets" in said.path:
            return Told(200, json.dumps({"assets": [asset]}).encode())
        return Told(200, json.dumps({"type": "IMAGE_COLLECTION"} if kind == "collection" else asset).encode())

    with wire(script) as server:
        return stored(Client(Service(server.url, "p")), Source(**{kind: "projects/p/assets/x"}), AREA)


@pytest.mark.parametrize("asset", ASSETS, ids=range(len(ASSETS)))
@pytest.mark.parametrize("kind", ["asset", "collection"])
def test_assets_that_are_damaged_are_one_line(kind: str, asset: Any) -> None:
    with pytest.raises(JobError, match=r"^source(\.asset|\.collection)?: ") as caught:
        said_of(kind, asset)
    assert "projects/p/assets/x" in str(caught.value) or "name" not in asset
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("asset", UNBOUNDED, ids=range(len(UNBOUNDED)))
@pytest.mark.parametrize("kind", ["asset", "collection"])
def test_a_damaged_footprint_is_none_and_named(kind: str, asset: Any) -> None:
    images = said_of(kind, asset)
    assert len(images) == 1
    [(why, count, first)] = images.footprints.why_none()
    assert (count, first) == (1, 0)
    assert why
    assert "\n" not in why


@pytest.mark.parametrize("page", [{"assets": 3}, {"assets": [3]}, {"assets": {"a": 1}}, {"assets": None}])
def test_pages_that_are_damaged_are_one_line(page: Any) -> None:
    answers = {True: page, False: {"type": "IMAGE_COLLECTION"}}
    with wire(lambda said: Told(200, json.dumps(answers[":list" in said.path]).encode())) as server:
        with pytest.raises(JobError, match=r"source\.collection: .* cannot be read"):
            stored(Client(Service(server.url, "p")), Source(collection="projects/p/assets/x"), AREA)
        answers[False] = {"type": "TABLE"}
        answers[True] = {"features": page["assets"]}
        with pytest.raises(JobError, match=r"region\.table: .* cannot be read"):
            read_table("projects/p/assets/x", Client(Service(server.url, "p")))


def head(text: str, body: bytes = b"", version: int = 1) -> bytes:
    data = text.encode("latin1")
    length = len(data).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + data + body


GOOD = "{'descr': [('b', '<f4')], 'fortran_order': False, 'shape': (%s, %s)}"
NPYS = [
    b"",
    b"\x93NUMPY",
    b"PK\x03\x04" + b"x" * 100,
    b"\x80\x04\x95" + b"x" * 100,
    head(GOOD % (100_000, 100_000), b"x" * 64),
    head(GOOD % ("9" * 4000, 1)),
    head(GOOD % (10**18, 10**18), b"x"),
    head(GOOD % (-1, -1), b"xxxx"),
    head(GOOD % (0, 1)),
    head(GOOD % (True, 1), b"xxxx"),
    head(GOOD % ("1.0", 1), b"xxxx"),
    head("(" * 50_000),
    head("-" * 60_000 + "1"),
    head("[" * 90 + "]" * 90),
    head("{'descr': " + "[" * 200_000 + "]" * 200_000 + "}", version=2),
    head("[" + "()," * 80_000 + "]", version=2),
    head("1" + "0" * 60_000),
    head("'" + "\\N{SNOWMAN}" * 5000 + "'"),
    head("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}", b"x" * 8),
    head("{'descr': [('b', '|O')], 'fortran_order': False, 'shape': (1, 1)}", b"x" * 8),
    head("{'descr': [('b', '<f4', (1000000, 1000000))], 'fortran_order': False, 'shape': (1, 1)}"),
    head("{'descr': [('b', 'V2147483647')], 'fortran_order': False, 'shape': (1, 1)}"),
    head("{'descr': [('b', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (1, 1)}", b"x" * 8),
    head("__import__('os').system('true')"),
    b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"x" * 100,
    b"\x93NUMPY\x09\x00" + b"x" * 100,
]


@pytest.mark.parametrize("body", NPYS, ids=range(len(NPYS)))
def test_an_npy_that_lies_is_damaged(body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        npy(body)
    assert caught.value.kind == "damaged"
    assert len(str(caught.value)) < 400
    with (
        wire(lambda _: Told(200, body)) as server,
        pytest.raises(ServiceError, match=r"answer|header"),
    ):
        probe(Client(Service(server.url, "p")), "/v1/x", b"{}", "NPY")


def test_a_probe_of_many_bands_is_read() -> None:
    """More than numpy's own reader takes: its header is longer than 10,000 characters."""
    block = np.zeros((1, 1), [(f"a_band_with_a_long_name_{index}", "<u2") for index in range(1024)])
    sink = io.BytesIO()
    np.save(sink, block)
    with wire(lambda _: Told(200, sink.getvalue())) as server:
        fields = probe(Client(Service(server.url, "p")), "/v1/x", b"{}", "NPY")
    assert [field.dtype for field in fields] == ["uint16"] * 1024


def geotiff(width: int, height: int, count: int = 1, **options: Any) -> bytes:
    with MemoryFile() as file:
        profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": "float64"}
        with file.open(**profile, sparse_ok=True, **options):
            pass
        return bytes(file.read())


VRT = b"""<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


def test_a_geotiff_that_lies_is_damaged() -> None:
    bomb = geotiff(100_000, 100_000, tiled=True, blockxsize=16384, blockysize=16384)
    assert len(bomb) < 1_000_000
    for body in (b"", b"II*\0", b"II*\0" + b"\xff" * 200, VRT, b"\x89HDF\r\n\x1a\n" + b"x" * 100, bomb):
        with pytest.raises(ServiceError) as caught, tiff(body):
            pass
        assert caught.value.kind == "damaged"
        with wire(lambda _, body=body: Told(200, body)) as server, pytest.raises(ServiceError) as caught:
            probe(Client(Service(server.url, "p")), "/v1/x", b"{}", "GEO_TIFF")
        assert caught.value.kind == "damaged"


@pytest.mark.parametrize("options", [{}, {"tiled": True, "interleave": "pixel"}, {"compress": "deflate"}])
def test_a_geotiff_that_is_whole_is_read(options: dict[str, Any]) -> None:
    with tiff(geotiff(300, 200, 20, **options)) as raster:
        assert raster.shape == (200, 300)
        assert raster.count == 20
