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
from ee_spark.show import curve, quicklook
from ee_spark.show import page as report
from ee_spark.show.series import by_image
from ee_spark.store.schema import RUNS

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WIDE = "--window-size=1280,2000"
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


@pytest.mark.parametrize(("phone", "across"), [(False, 9), (True, 3)])
def test_rows_are_full_and_words_whole(failing: Path, tmp_path: Path, phone: bool, across: int) -> None:
    """Cards and charts fill their rows; what is a word, number or type in a table stands on one line."""
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    ee_spark_report(failing, page)
    script = """
      const boxes = of => Array.from(document.querySelectorAll(of)).map(e => e.getBoundingClientRect());
      const cells = Array.from(document.querySelectorAll('td')).filter(e => /^[\\w.,–-]{1,12}$/.test(e.textContent));
      const lines = cells.map(e => { const r = document.createRange(); r.selectNodeContents(e);
        return new Set(Array.from(r.getClientRects()).map(one => Math.round(one.top))).size });
      return [boxes('.cards div').map(b => Math.round(b.top)),
        boxes('.charts section').map(b => [b.top, b.left, b.right]), boxes('.charts')[0].right,
        boxes('.charts')[0].left, lines]"""
    shape: dict[str, Any] = {"mobileEmulation": {"deviceMetrics": PHONE}} if phone else {"args": [*FLAGS, WIDE]}
    tops, charts, right, left, lines = look(page, script, picture, **shape)
    assert [tops.count(top) for top in sorted(set(tops))] == [across] * (9 // across)
    for top in {top for top, *_ in charts}:
        row = [chart for chart in charts if chart[0] == top]
        assert min(start for _, start, _ in row) == pytest.approx(left, abs=1)
        assert max(end for *_, end in row) == pytest.approx(right, abs=1)
    assert len(lines) > 20
    assert set(lines) == {1}


def test_curves_are_the_means_of_the_rasters(series: Path) -> None:
    dataset = ee_spark.open_dataset(series)
    images = by_image(dataset)
    times, found = curve.of_images(images, ["NDVI"])["NDVI"][""]
    scenes = {name: (ndvi, valid) for name, (ndvi, valid) in landsat().items() if name[-8:-4] == "2010"}
    most = max(valid.sum() for _, valid in scenes.values())
    assert times.tolist() == images["image_time"].to_numpy().tolist()
    assert len(found) == len(scenes)
    drawn = 0
    for name, mean in zip(images["image_id"].to_pylist(), found, strict=True):
        ndvi, valid = scenes[name]
        if valid.sum() > most / 2:
            assert mean == pytest.approx(ndvi[valid].mean(dtype=np.float64), rel=1e-9)
            drawn += 1
        else:
            assert np.isnan(mean)
    assert 0 < drawn < len(scenes)


def ee_spark_report(dataset: Path, out: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "--dataset", str(dataset), "--out", str(out)])
    assert ended.value.code == 0
    assert [entry.name for entry in out.parent.glob(".*")] == []


def test_a_patch_dataset_has_a_contact_sheet(patches: Path) -> None:
    page = report.page(ee_spark.open_dataset(patches))
    assert "36 patches: B04, B03, B02" in page
    assert len(re.findall("<img", page)) == 6
    assert "1 image over time" in page


def test_a_page_of_nothing_yet(tmp_path: Path) -> None:
    shape = (32, 32)
    empty = Image("i", None, {"a": np.zeros(shape, np.int16)}, {"valid": np.zeros(shape, np.uint8)})
    write_dataset(tmp_path / "data", [empty], tile=(16, 16))
    page = report.page(ee_spark.open_dataset(tmp_path / "data"))
    assert numbers(page)["empty"] == "4"
    assert "–" in page, "bands without a value"


def rows_of(page: str, title: str) -> list[list[str]]:
    """The rows of one of the page's tables."""
    section = next(text for text in page.split("<section class=table>") if text.startswith(f"<h2>{title}"))
    body = section.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<td>(.*?)</td>", row) for row in body.split("</tr>") if row]


def test_bands_with_masks_of_their_own_are_numpys(failing: Path) -> None:
    shape = (128, 192)
    known = np.ones((3, *shape), np.bool_)
    for number in range(3):
        for row, column in ((1, 1), (3, number)):  # the tiles that failed
            known[number, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = False
    good = np.stack([holes(shape, number) for number in range(3)]).astype(np.bool_) & known
    values = np.stack([texture(shape, "uint16", number) for number in range(3)])[good]
    page = report.page(ee_spark.open_dataset(failing))
    ends = [f"{value:.6g}" for value in (values.min(), values.mean(dtype=np.float64), values.max())]
    assert rows_of(page, "Bands") == [[band, "uint16", f"{good.sum():,}", *ends] for band in ("red", "nir")]


def test_bands_with_different_masks_are_weighed_each(tmp_path: Path) -> None:
    shape = (64, 64)
    good = {"valid_a": holes(shape, 1, 0.1), "valid_b": holes(shape, 2, 0.8)}
    planes = {band: texture(shape, "int16", seed) * good[f"valid_{band}"] for seed, band in enumerate("ab")}
    write_dataset(tmp_path / "data", [Image("i", None, planes, good)], tile=(16, 16), mask="bands")
    page = report.page(ee_spark.open_dataset(tmp_path / "data"))
    for row, band in zip(rows_of(page, "Bands"), "ab", strict=True):
        values = planes[band][good[f"valid_{band}"] == 1]
        assert row[2:] == [f"{len(values):,}", *(f"{one:.6g}" for one in (values.min(), values.mean(), values.max()))]


def test_a_page_says_that_masks_were_not_fetched(patches: Path, series: Path) -> None:
    assert "Masks were not fetched" in report.page(ee_spark.open_dataset(patches))
    assert "Masks were not fetched" not in report.page(ee_spark.open_dataset(series))


@pytest.mark.parametrize("torn", [b'{"run_id": "20', b"[]", b"\xff\xfe", b""])
def test_a_torn_run_record_is_named(failing: Path, tmp_path: Path, torn: bytes) -> None:
    shutil.copytree(failing, tmp_path / "data")
    runs = tmp_path / "data" / RUNS
    runs.mkdir(parents=True, exist_ok=True)
    (runs / "good.json").write_text(json.dumps({"run_id": "good", "started_at": "2021-01-01T00:00:00Z"}))
    (runs / "torn.json").write_bytes(torn)
    (runs / "no<b>run.json").write_bytes(torn)  # no run has such an id: it is not ours
    page = report.page(ee_spark.open_dataset(tmp_path / "data"))
    assert "1 run record cannot be read: torn<" in page
    assert "no<b>run" not in page
    assert [row[:2] for row in rows_of(page, "Runs")] == [["good", "not ended"]]


def test_a_large_dataset_is_read_in_part_and_says_so(series: Path) -> None:
    dataset = ee_spark.open_dataset(series)
    whole, part = report.numbers_of(dataset), report.numbers_of(dataset, most=1)
    assert whole.reading.whole
    assert whole.of_what == ""
    assert part.of_what == f", from 1 of {whole.reading.row_groups} row groups"
    assert part.bands["NDVI"].count < whole.bands["NDVI"].count
    exact = report.valid_shares(whole.images, whole.reading)[1]
    times, shares = report.valid_shares(part.images, part.reading)
    assert times.shape == shares.shape == exact.shape
    assert (shares <= 1).all()


def test_quick_looks_are_the_image(series: Path) -> None:
    dataset = ee_spark.open_dataset(series)
    [clearest] = quicklook.best_images(dataset.tiles(), 1)
    year = {name: valid for name, (_, valid) in landsat().items() if name[-8:-4] == "2010"}
    assert year[clearest].sum() == max(valid.sum() for valid in year.values())
    ndvi, valid = landsat()[clearest]
    whole = quicklook.mosaic(dataset, clearest, side=10_000).values[..., 0]
    row, column = round((4462575 - SCENE[1]) / 30), round((SCENE[0] - 336015) / 30)
    part = whole[row : row + 61, column : column + 61]
    np.testing.assert_array_equal(np.isfinite(part), valid)
    np.testing.assert_array_equal(part[valid], ndvi[valid])
    for side in (40, 27, 16):
        thin = -(-80 // side)
        np.testing.assert_array_equal(quicklook.mosaic(dataset, clearest, side).values[..., 0], whole[::thin, ::thin])
