"""The report page: its numbers against the tables, and how it looks in a headless browser, wide and on a phone."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pictures
from read_data import SCENE, Image, holes, landsat, texture, write_dataset

import ee_spark
from ee_spark.cli import main
from ee_spark.show import page as report
from ee_spark.show import quicklook

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PHONE = {"width": 390, "height": 844, "pixelRatio": 2.0}


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with empty and failed tiles, two bands with masks of their own, and an image without a time."""
    root = tmp_path_factory.mktemp("failing")
    shape = (128, 192)
    images = []
    for number, moment in enumerate(
        (dt.datetime(2021, 5, 3, tzinfo=dt.UTC), dt.datetime(2021, 6, 9, tzinfo=dt.UTC), None)
    ):
        good = {f"valid_{band}": holes(shape, number) for band in ("red", "nir")}
        planes = {band: texture(shape, "uint16", number) * good[f"valid_{band}"] for band in ("red", "nir")}
        images.append(Image(f"S/{number} <b>", moment, planes, good, failed=[(1, 1), (3, number)]))
    write_dataset(root, images, tile=(32, 32), mask="bands")
    return root


@contextmanager
def browser(**capabilities: Any) -> Iterator[Any]:
    """Yield a function (method, path, body) that speaks WebDriver to a fresh headless Chromium."""
    programs = shutil.which("chromedriver"), shutil.which("chromium")
    if not all(programs):
        pytest.skip("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    driver = subprocess.Popen(
        [str(programs[0]), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"

    def ask(method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(base + path, data, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=360) as answer:
            return json.load(answer)["value"]

    try:
        until = time.monotonic() + 60
        while True:
            try:
                if ask("GET", "/status")["ready"]:
                    break
            except OSError:
                assert time.monotonic() < until, "chromedriver does not answer"
                time.sleep(0.05)
        options = {"goog:chromeOptions": {"args": list(FLAGS), **capabilities}, "goog:loggingPrefs": {"browser": "ALL"}}
        session = ask("POST", "/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        yield lambda method, path, body=None: ask(method, f"/session/{session}{path}", body)
        ask("DELETE", f"/session/{session}")
    finally:
        driver.terminate()
        driver.wait(20)


def look(page: Path, script: str, picture: Path, **capabilities: Any) -> Any:
    """Open a page, check that it renders without a word on the console, and return a script's value."""
    with browser(**capabilities) as ask:
        ask("POST", "/url", {"url": page.as_uri()})
        loaded = "return Array.from(document.images).map(image => image.complete && image.naturalWidth > 0)"
        images = ask("POST", "/execute/sync", {"script": loaded, "args": []})
        assert images
        assert all(images), "every picture is drawn"
        asked = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        names = ask("POST", "/execute/sync", {"script": asked, "args": []})
        assert all(name.startswith("data:") for name in names), "nothing is asked for from outside"
        assert ask("POST", "/se/log", {"type": "browser"}) == []
        picture.write_bytes(base64.b64decode(ask("GET", "/screenshot")))
        return ask("POST", "/execute/sync", {"script": script, "args": []})


def numbers(page: str) -> dict[str, str]:
    return {name: value for value, name in re.findall(r"<div[^>]*><b>([^<]*)</b>([^<]*)</div>", page)}


def test_its_numbers_are_the_tables(series: Path, failing: Path) -> None:
    for path in (series, failing):
        tiles = pq.read_table(path / "tiles")
        page = report.page(ee_spark.open_dataset(path))
        found = numbers(page)
        statuses = tiles["status"].to_pylist()
        assert found["planned"] == f"{len(statuses):,}"
        for status in ("ok", "empty", "failed"):
            assert found[status] == f"{statuses.count(status):,}"
        assert found["images"] == str(len(set(tiles["image_id"].to_pylist())))
        assert found["tiles"] == str(len(set(tiles["tile_id"].to_pylist())))
    assert "<td>6</td><td>permanent</td><td>400</td><td>no</td>" in page, "failures with their reason"
    assert "<b>" not in page.partition("<main>")[2].replace("<b>", "", 9), "ids are text, never markup"
    assert "http" not in re.sub(r"base64,[^\"]*", "", page).replace("HTTP", "").replace("http_", "")


def test_it_renders_wide(series: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    ee_spark_report(series, page)
    titles = look(page, "return Array.from(document.querySelectorAll('h2')).map(e => e.textContent)", picture)
    wanted = ["Tiles over", "clearest images", "images over time", "Values", "Rate", "Latency", "Bands", "Runs", "job"]
    for title in wanted:
        assert any(title in one for one in titles), titles
    with Pictures.open(io.BytesIO(picture.read_bytes())) as shot:
        colours = shot.convert("RGB").getcolors(maxcolors=2**24)
    assert colours is not None
    assert len(colours) > 500
    assert any(abs(r - 0x5C) < 12 and abs(g - 0x9F) < 12 and abs(b - 0x69) < 12 for _, (r, g, b) in colours), (
        "ok is green"
    )


def test_it_fits_a_phone(failing: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    ee_spark_report(failing, page)
    script = "return [innerWidth, document.documentElement.scrollWidth, getComputedStyle(document.body).fontSize]"
    width, needed, size = look(page, script, picture, mobileEmulation={"deviceMetrics": PHONE})
    assert width == 390
    assert needed <= width, "nothing has to be pushed sideways"
    assert size == "16px"


def ee_spark_report(dataset: Path, out: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "--dataset", str(dataset), "--out", str(out)])
    assert ended.value.code == 0
    assert [entry.name for entry in out.parent.glob(".*")] == []


def test_a_patch_dataset_has_a_contact_sheet(patches: Path) -> None:
    page = report.page(ee_spark.open_dataset(patches))
    assert "36 patches: B04, B03, B02" in page
    assert len(re.findall("<img", page)) == 6


def test_a_page_of_nothing_yet(tmp_path: Path) -> None:
    shape = (32, 32)
    empty = Image("i", None, {"a": np.zeros(shape, np.int16)}, {"valid": np.zeros(shape, np.uint8)})
    write_dataset(tmp_path / "data", [empty], tile=(16, 16))
    page = report.page(ee_spark.open_dataset(tmp_path / "data"))
    assert numbers(page)["empty"] == "4"
    assert "–" in page, "bands without a value"


def test_quick_looks_are_the_image(series: Path) -> None:
    dataset = ee_spark.open_dataset(series)
    [clearest] = quicklook.best_images(dataset.tiles(), 1)
    year = {name: valid for name, (_, valid) in landsat().items() if name[-8:-4] == "2010"}
    assert year[clearest].sum() == max(valid.sum() for valid in year.values())
    ndvi, valid = landsat()[clearest]
    whole = quicklook.mosaic(dataset, clearest, side=10_000)[..., 0]
    row, column = round((4462575 - SCENE[1]) / 30), round((SCENE[0] - 336015) / 30)
    part = whole[row : row + 61, column : column + 61]
    np.testing.assert_array_equal(np.isfinite(part), valid)
    np.testing.assert_array_equal(part[valid], ndvi[valid])
    for side in (40, 27, 16):
        thin = -(-80 // side)
        np.testing.assert_array_equal(quicklook.mosaic(dataset, clearest, side)[..., 0], whole[::thin, ::thin])
