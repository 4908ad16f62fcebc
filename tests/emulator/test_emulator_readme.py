"""Every block of the emulator's README is executed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import ee
import numpy as np
import pytest
from emulator_client import array, grid, post, write_raster

import ee_emulator

PAGE = (Path(ee_emulator.__file__).parent / "README.md").read_text(encoding="utf-8")
BLOCKS: dict[str, list[str]] = {
    language: re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for language in ("sh", "python", "json")
}
FOLDER = str(Path(ee_emulator.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [FOLDER, os.environ.get("PYTHONPATH")]))}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def run(code: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a block prints."""
    ee.Reset()
    exec(compile(code, "README.md", "exec"), {"ee_emulator": ee_emulator})
    return capsys.readouterr().out.strip()


def test_the_page_has_the_blocks_that_are_run_here() -> None:
    assert {language: len(found) for language, found in BLOCKS.items()} == {"sh": 1, "python": 4, "json": 1}
    assert PAGE.count("```") == 12


def test_the_command_and_the_two_lines_that_reach_it(capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port())
    words = BLOCKS["sh"][0].replace("8090", port).split()
    assert words[0] == "python"
    command = [sys.executable, *words[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"listening on http://127.0.0.1:{port}\n"
        assert run(BLOCKS["python"][0].replace("8090", port), capsys) == "105"
        process.terminate()


def test_the_block_starts_one_on_a_free_port(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", run(BLOCKS["python"][1], capsys))


def test_the_fixture_works_in_a_test_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(BLOCKS["python"][2])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_catalog_is_served(tmp_path: Path) -> None:
    values = np.arange(1, 5, dtype=np.uint8).reshape(2, 2)
    transform = [30.0, 0, 400_000, 0, -30, 5_000_000]
    for name in ("red.tif", "nir.tif"):
        write_raster(tmp_path / name, values, transform, "EPSG:32633")
    (tmp_path / "plots.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "catalog.json").write_text(json.dumps(json.loads(BLOCKS["json"][0])))
    body = {"fileFormat": "NPY", "grid": grid("EPSG:32633", transform, 2, 2)}
    with ee_emulator.start(tmp_path) as service:
        found = array(post(service.url, "/v1/projects/earthengine-public/assets/TEST/scene:getPixels", body))
        assert np.array_equal(found["B4"], values)


def test_rules_change_while_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(BLOCKS["python"][3], capsys) == "0"


def test_what_is_not_built_is_refused_by_its_name() -> None:
    body = {
        "expression": {"result": "0", "values": {"0": {"functionInvocationValue": {"functionName": "Image.rgbToHsv"}}}}
    }
    with ee_emulator.start() as service:
        reply = post(service.url, "/v1/projects/any/value:compute", body)
    assert reply.status == 400
    assert "Image.rgbToHsv" in json.loads(reply.data)["error"]["message"]
