"""Downloads, thumbnails and pictures, read back with rasterio, numpy and Pillow."""

from __future__ import annotations

import io
import json
import zipfile

import ee
import numpy as np
import pytest
import rasterio
import urllib3
from emulator_client import PROJECT, asset, connect, get, grid, post, write_catalog, write_raster
from PIL import Image as Picture
from rasterio.transform import Affine

import ee_emulator as emulator

UTM = "EPSG:32633"
SIZE, LEFT, TOP = 20.0, 400_000.0, 5_000_000.0
NATIVE = [SIZE, 0, LEFT, 0, -SIZE, TOP]
HEIGHT, WIDTH = 24, 30
GETPIXELS = "/v1/projects/earthengine-public/assets/V/A:getPixels"


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(6)
    found = {"a": rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)}
    found |= {name: rng.integers(1, 256, (HEIGHT, WIDTH), dtype=np.uint8) for name in ("b", "c")}
    found["s"] = rng.integers(-500, 3000, (HEIGHT, WIDTH)).astype(np.int16)
    found["s"][2:5, 3:9] = -9999
    found["f"] = rng.random((HEIGHT, WIDTH), dtype=np.float32)
    found["half"] = rng.integers(0, 100, (HEIGHT // 2, WIDTH // 2)).astype(np.int16)
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("thumbnails")
    for name, found in values.items():
        size = SIZE * (2 if name == "half" else 1)
        write_raster(folder / f"{name}.tif", found, [size, 0, LEFT, 0, -size, TOP], UTM, -9999 if name == "s" else None)
    with emulator.start(write_catalog(folder, [asset("V/A", {name: f"{name}.tif" for name in values})])) as running:
        connect(running.url)
        yield running


def fetch(url: str) -> urllib3.BaseHTTPResponse:
    reply = urllib3.PoolManager().request("GET", url, retries=False)
    assert reply.status == 200, reply.data
    return reply


def tif(data: bytes) -> tuple[np.ndarray, Affine, float | None, tuple[str, ...]]:
    with rasterio.MemoryFile(data) as memory, memory.open() as found:
        return found.read(), found.transform, found.nodata, found.descriptions


# Downloads


def test_download_of_an_exact_grid_marks_masked_pixels_by_nodata(service, values):
    options = {"crs": UTM, "crs_transform": [SIZE, 0, LEFT + 2 * SIZE, 0, -SIZE, TOP - SIZE], "dimensions": [12, 10]}
    reply = fetch(ee.Image("V/A").select("s").toInt16().getDownloadURL({**options, "format": "GEO_TIFF"}))
    found, transform, nodata, names = tif(reply.data)
    assert reply.headers["content-type"] == "image/tiff"
    assert (transform, nodata, names) == (Affine(*options["crs_transform"]), -32768, ("s",))
    window = values["s"][1:11, 2:14]
    np.testing.assert_array_equal(found[0], np.where(window == -9999, -32768, window))


def test_download_as_numpy_by_region_and_scale(service, values):
    region = ee.Geometry.Rectangle([LEFT + 100, TOP - 300, LEFT + 400, TOP - 100], UTM, False)
    url = ee.Image("V/A").select(["a", "f"]).getDownloadURL({"region": region, "scale": SIZE, "format": "NPY"})
    found = np.load(io.BytesIO(fetch(url).data), allow_pickle=False)
    np.testing.assert_array_equal(found["a"], values["a"][5:15, 5:20])
    np.testing.assert_array_equal(found["f"], values["f"][5:15, 5:20])


def test_zipped_downloads_hold_a_file_or_one_a_band_at_its_own_resolution(service, values):
    image = ee.Image("V/A").select(["s", "half"])
    archive = zipfile.ZipFile(io.BytesIO(fetch(image.getDownloadURL({"name": "mine"})).data))
    assert archive.namelist() == ["mine.s.tif", "mine.half.tif"]
    found, transform, nodata, _ = tif(archive.read("mine.s.tif"))
    assert (transform, nodata) == (Affine(*NATIVE), -32768)
    np.testing.assert_array_equal(found[0], np.where(values["s"] == -9999, -32768, values["s"]))
    found, transform, _, _ = tif(archive.read("mine.half.tif"))
    assert transform.a == 2 * SIZE
    np.testing.assert_array_equal(found[0], values["half"])
    single = zipfile.ZipFile(io.BytesIO(fetch(image.getDownloadURL({"filePerBand": False})).data))
    assert single.namelist() == ["A.tif"]
    found, _, _, names = tif(single.read("A.tif"))
    assert names == ("s", "half")
    np.testing.assert_array_equal(found[1], values["half"].repeat(2, axis=0).repeat(2, axis=1))
    computed = zipfile.ZipFile(io.BytesIO(fetch(ee.Image("V/A").select("a").add(1).getDownloadURL({})).data))
    assert computed.namelist() == ["download.a.tif"]


def test_a_clipped_download_is_cut_to_the_clip(service, values):
    region = ee.Geometry.Rectangle([LEFT + 100, TOP - 300, LEFT + 400, TOP - 100], UTM, False)
    url = ee.Image("V/A").select("b").getDownloadURL({"region": region, "format": "GEO_TIFF"})
    found, transform, _, _ = tif(fetch(url).data)
    assert (transform.c, transform.f) == (LEFT + 100, TOP - 100)
    np.testing.assert_array_equal(found[0], values["b"][5:15, 5:20])


# Pictures


def picture(reply: urllib3.BaseHTTPResponse, kind: str) -> np.ndarray:
    assert reply.headers["content-type"] == f"image/{kind}"
    found = Picture.open(io.BytesIO(reply.data))
    assert found.format == kind.upper()
    return np.asarray(found)


def test_a_thumbnail_stretches_and_its_mask_is_transparent(service, values):
    url = ee.Image("V/A").getThumbURL({"bands": "s", "min": 0, "max": 2000, "format": "png"})
    found = picture(fetch(url), "png")
    grey = np.floor(np.clip(values["s"] / 2000, 0, 1) * 255 + 0.5)
    masked = values["s"] == -9999
    assert found.shape == (HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(found[..., 3], np.where(masked, 0, 255))
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], np.where(masked, 0, grey))


def test_palettes_gamma_gain_and_opacity(service, values):
    options = {"bands": ["f"], "min": 0.2, "max": 0.8, "palette": ["blue", "#ffff00", "ff0000"]}
    found = picture(fetch(ee.Image("V/A").getThumbURL({**options, "format": "png"})), "png")
    at = np.clip((values["f"].astype(float) - 0.2) / 0.6, 0, 1) * 2
    for channel, levels in enumerate(((0, 255, 255), (0, 255, 0), (255, 0, 0))):
        expected = np.where(
            at < 1, levels[0] + (levels[1] - levels[0]) * at, levels[1] + (levels[2] - levels[1]) * (at - 1)
        )
        np.testing.assert_allclose(found[..., channel], expected, atol=0.51)
    url = ee.Image("V/A").getThumbURL({"bands": "a,b,c", "gamma": 2, "opacity": 0.4, "format": "png"})
    found = picture(fetch(url), "png")
    assert (found[..., 3] == 102).all()
    for channel, name in enumerate("abc"):
        np.testing.assert_allclose(found[..., channel], 255 * np.sqrt(values[name] / 255), atol=0.51)
    url = ee.Image("V/A").getThumbURL({"bands": "a", "gain": 2, "bias": 10, "format": "png"})
    np.testing.assert_allclose(
        picture(fetch(url), "png")[..., 0], np.minimum(values["a"].astype(float) * 2 + 10, 255), atol=0.51
    )


def test_dimensions_and_jpeg(service, values):
    url = ee.Image("V/A").select(["a", "b", "c"]).getThumbURL({"dimensions": 15, "format": "jpg"})
    found = picture(fetch(url), "jpeg")
    assert found.shape == (12, 15, 3)
    plain = (
        ee.Image.constant([200, 100, 50])
        .toUint8()
        .getThumbURL({"dimensions": "64x64", "region": [12, 50, 13, 51], "crs": "EPSG:4326", "format": "jpg"})
    )
    found = picture(fetch(plain), "jpeg")
    np.testing.assert_allclose(found.reshape(-1, 3).mean(axis=0), [200, 100, 50], atol=3)


def test_pictures_in_pixel_requests(service, values):
    rgb = {"bandIds": ["a", "b", "c"], "grid": grid(UTM, NATIVE, WIDTH, HEIGHT)}
    found = picture(post(service.url, GETPIXELS, {**rgb, "fileFormat": "PNG"}), "png")
    np.testing.assert_array_equal(found, np.stack([values[name] for name in "abc"], axis=-1))
    assert picture(post(service.url, GETPIXELS, {**rgb, "fileFormat": "AUTO_JPEG_PNG"}), "jpeg").shape == found.shape
    wide = {"bandIds": ["s"], "grid": grid(UTM, NATIVE, WIDTH, HEIGHT), "fileFormat": "AUTO_JPEG_PNG"}
    style = {"ranges": [{"min": -500, "max": 3000}], "gamma": {"value": 1}, "opacity": {"value": 0.5}}
    shown = picture(post(service.url, GETPIXELS, {**wide, "visualizationOptions": style}), "png")
    assert set(np.unique(shown[..., 3])) == {0, 128}
    body = {"expression": json.loads(ee.Image("V/A").select("f").serialize()), "grid": rgb["grid"], "fileFormat": "NPY"}
    body["visualizationOptions"] = {"ranges": [{"max": 1}], "paletteColors": ["000000", "ffffff"]}
    numbers = np.load(io.BytesIO(post(service.url, f"/v1/projects/{PROJECT}/image:computePixels", body).data))
    assert numbers.dtype.descr == [("vis-red", "|u1"), ("vis-green", "|u1"), ("vis-blue", "|u1")]
    np.testing.assert_allclose(numbers["vis-green"], values["f"] * 255, atol=0.51)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bandIds": ["s"]}, "8 bits, or visualizationOptions"),
        ({"bandIds": ["a", "b"]}, "one or three bands"),
        ({"fileFormat": "ZIPPED_GEO_TIFF"}, "use one of NPY"),
        ({"visualizationOptions": {"range": 1}}, 'Unknown name "range"'),
        ({"visualizationOptions": {"ranges": [{"min": "x"}]}}, "is not a number"),
        ({"visualizationOptions": {"ranges": [{}, {}]}}, "do not fit"),
        ({"visualizationOptions": {"paletteColors": ["red"]}}, "Cannot provide a palette"),
        ({"bandIds": ["a"], "visualizationOptions": {"paletteColors": ["nocolour"]}}, "is not a colour"),
        ({"visualizationOptions": {"gamma": 0}}, "must be positive"),
        ({"visualizationOptions": {"opacity": 2}}, "between 0 and 1"),
        ({"visualizationOptions": 3}, "expected an object"),
    ],
)
def test_pictures_that_cannot_be_drawn(service, change, said):
    body = {"bandIds": ["a", "b", "c"], "grid": grid(UTM, NATIVE, 4, 4), "fileFormat": "PNG", **change}
    reply = post(service.url, GETPIXELS, body)
    assert reply.status == 400
    assert said in json.loads(reply.data)["error"]["message"]


# The thumbnail resource


def test_what_is_wrong_is_told_when_a_thumbnail_is_made(service):
    with pytest.raises(ee.EEException, match="did not match any bands"):
        ee.Image("V/A").select("nothing").getThumbURL({})
    with pytest.raises(ee.EEException, match=r"unbounded|no bounds"):
        ee.Image.constant(1).getDownloadURL({"format": "NPY"})
    with pytest.raises(ee.EEException, match="Total request size"):
        ee.Image("V/A").getDownloadURL({"dimensions": [5000, 5000], "format": "NPY"})
    with pytest.raises(ee.EEException, match=r"Pixel grid dimensions \(40000x2\)"):
        ee.Image("V/A").getDownloadURL({"dimensions": [40000, 2], "format": "NPY"})
    missing = get(service.url, "/v1/projects/p/thumbnails/nothing:getPixels")
    assert missing.status == 404
    assert post(service.url, "/v1/projects/p/thumbnails", {"colour": 1}).status == 400
    created = post(
        service.url, "/v1alpha/projects/p/thumbnails", {"expression": json.loads(ee.Image("V/A").serialize())}
    )
    assert json.loads(created.data)["name"].startswith("projects/p/thumbnails/")
