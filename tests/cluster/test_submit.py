"""``submit_dataproc.sh`` with the real gcloud against a Dataproc on loopback: it posts what the builder builds."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dataproc_service import Dataproc, dataproc_python, gcloud_environment, serving
from places import REPO

from ee_spark.config import load
from ee_spark.dataproc import batch, gcloud
from ee_spark.objects import read_input

# As `gcloud dataproc ... --help` of SDK 528.0.0 lists them.
BATCH_FLAGS = {
    *("archives", "async", "batch", "container-image", "deps-bucket", "files", "history-server-cluster", "jars"),
    *("kms-key", "labels", "metastore-service", "properties", "py-files", "region", "request-id", "service-account"),
    *("staging-bucket", "tags", "ttl", "user-workload-authentication-type", "version", "network", "subnet", "project"),
}
JOB_FLAGS = {
    *("cluster", "cluster-labels", "archives", "async", "bucket", "driver-log-levels", "driver-required-memory-mb"),
    *("driver-required-vcores", "files", "jars", "labels", "max-failures-per-hour", "max-failures-total", "properties"),
    *("properties-file", "py-files", "region", "project"),
}
JOB = {
    "name": "submitted",
    "earth_engine": {"project": "p", "concurrent_requests": 64},
    "source": {"collection": "A/B", "map": "images/my map.py:ndvi"},
    "region": {"points": "plots.csv"},
    "grid": {"crs": "EPSG:32613", "scale": 30, "tile": 16},
    "output": {"path": "gs://bucket/out"},
}
needs_gcloud = pytest.mark.skipif(shutil.which("gcloud") is None, reason="no gcloud on PATH")


class Submitter:
    """Runs the script on a job file in a folder with a space, as a user would."""

    def __init__(self, folder: Path, service: Dataproc, url: str) -> None:
        self.service, self.folder = service, folder / "my jobs"
        (self.folder / "images").mkdir(parents=True)
        (self.folder / "images" / "my map.py").write_text("def ndvi(image):\n    return image\n")
        (self.folder / "plots.csv").write_text("lon,lat\n1,2\n")
        self.job_file = self.folder / "a job.yaml"
        self.job_file.write_text(yaml.safe_dump(JOB))
        self.package = folder / "ee_spark.zip"
        self.package.write_bytes(b"a package")
        self.environment = {**gcloud_environment(url, folder), "PYTHON": sys.executable, "PYTHONPATH": str(REPO)}
        self.where = ["--project", "p", "--region", "r", "--staging", "gs://bucket/stage", "--image", "r/i:1"]

    def __call__(self, *more: str) -> subprocess.CompletedProcess[str]:
        command = [str(REPO / "submit_dataproc.sh"), "--config", str(self.job_file), *self.where]
        command += [*([] if "--package" in more else ["--package", str(self.package)]), *more]
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=360
        )

    def built(self, *, date: str = "") -> dict[str, Any]:
        """Return what the builder makes of the same job."""
        options = batch.Options(project="p", region="r", staging="gs://bucket/stage", image="r/i:1")
        shipment = batch.ship(load(str(self.job_file)), self.job_file.read_bytes(), read_input, date=date)
        uris = [uri for uri in self.service.objects if "/code/" in uri]
        code = batch.Code(*(next(uri for uri in uris if uri.endswith(end)) for end in ("/dataproc.py", ".zip")))
        return batch.message(load(str(self.job_file)), shipment, code, options)


@pytest.fixture
def submit(tmp_path: Path) -> Iterator[Submitter]:
    service = Dataproc()
    with serving(service) as url:
        yield Submitter(tmp_path, service, url)


def alike(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Return messages as Google's client has them, parsed strictly."""
    program = (
        "import json, sys; from google.cloud.dataproc_v1 import Batch; a, b = json.load(sys.stdin);"
        "a = Batch.from_json(json.dumps(a), ignore_unknown_fields=False); b = Batch(b, ignore_unknown_fields=False);"
        "print(json.dumps([Batch.to_dict(a), Batch.to_dict(b)]))"
    )
    done = subprocess.run(
        [str(dataproc_python()), "-c", program], input=json.dumps(messages), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@needs_gcloud
def test_what_gcloud_posts_is_what_the_builder_builds(submit: Submitter) -> None:
    dry = submit("--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not submit.service.created, "a dry run submits nothing"
    assert not submit.service.objects, "and uploads nothing"
    done = submit()
    assert done.returncode == 0, done.stderr
    [(name, request, posted)] = submit.service.created
    assert re.fullmatch(r"submitted-[0-9a-f]{8}-1", name)
    assert request == batch.request_id(name)
    recorded, built = alike(posted, submit.built())
    assert recorded == built
    assert shlex.join(shlex.split(dry.stdout)) == dry.stdout.strip()
    assert dry.stdout.strip() in done.stderr, "what the dry run prints is what runs"

    args = posted["pysparkBatch"]["args"]
    staged = {uri: body for uri, body in submit.service.objects.items() if uri.startswith(args[0] + "/")}
    names = {uri.rpartition("/")[2]: body for uri, body in staged.items()}
    assert names["job.yaml"] == submit.job_file.read_bytes()
    assert names["plots.csv"] == b"lon,lat\n1,2\n"
    assert names["my_map.py"] == (submit.folder / "images" / "my map.py").read_bytes()
    assert args[args.index("--config") + 1] == "job.yaml"
    assert {"source.map=my_map.py:ndvi", "region.points=plots.csv"} < set(args)
    main = posted["pysparkBatch"]["mainPythonFileUri"]
    assert submit.service.objects[main] == (REPO / "jobs" / "dataproc.py").read_bytes()


@needs_gcloud
def test_a_failed_batch_is_followed_and_a_living_one_attached_to(submit: Submitter) -> None:
    elsewhere = ("--package", "gs://bucket/p.zip", "--main", "gs://bucket/m.py")
    stem = batch.ship(load(str(submit.job_file)), submit.job_file.read_bytes(), read_input).stem
    submit.service.hold(f"{stem}-1", "FAILED")
    submit.service.ends = "RUNNING"
    key = "projects/p/locations/r/keyRings/k/cryptoKeys/c"
    done = submit(*elsewhere, "--", "--async", f"--kms-key={key}")
    assert done.returncode == 0, done.stderr
    [(name, _, posted)] = submit.service.created
    assert name == f"{stem}-2"
    assert posted["environmentConfig"]["executionConfig"]["kmsKey"] == key, "gcloud's own flags are handed on"
    dry = submit(*elsewhere, "--dry-run")
    assert shlex.split(dry.stdout)[:5] == ["gcloud", "dataproc", "batches", "wait", name]
    submit.service.hold(name, "SUCCEEDED")
    attached = submit(*elsewhere)
    assert attached.returncode == 0, attached.stderr
    assert "attaching" in attached.stderr
    dry = submit(*elsewhere, "--new", "--dry-run")
    assert f"--batch={stem}-3" in shlex.split(dry.stdout), "--new passes over what is there"
    assert len(submit.service.created) == 1


@needs_gcloud
def test_without_an_image_an_archive_goes_along(submit: Submitter, tmp_path: Path) -> None:
    """One that is there already; else one is packed, by package.sh, which tests/cluster/test_package.py tests."""
    elsewhere = ("--package", "gs://bucket/p.zip", "--main", "gs://bucket/m.py")
    submit.where = submit.where[:-2]
    archive = tmp_path / "packed.tar.gz"
    archive.write_bytes(b"packages")
    done = submit(*elsewhere, "--archive", str(archive))
    assert done.returncode == 0, done.stderr
    [(_, _, posted)] = submit.service.created
    [uri] = posted["pysparkBatch"]["archiveUris"]
    assert uri.endswith("/packed.tar.gz#dependencies")
    assert submit.service.objects[uri.partition("#")[0]] == b"packages"
    assert posted["runtimeConfig"]["properties"]["spark.executorEnv.PYTHONPATH"] == "dependencies"
    submit.environment["RUNTIME_PYTHON"] = "{}.{}".format(*sys.version_info)  # what that test has packed already
    dry = submit(*elsewhere, "--new", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    [built] = re.findall(
        r"^# (gs://bucket/stage/code/[0-9a-f]{12}/dependencies\.tar\.gz): ([\d,]+) bytes$", dry.stderr, re.M
    )
    assert f"--archives={built[0]}#dependencies" in shlex.split(dry.stdout)
    assert int(built[1].replace(",", "")) > 50_000_000


@needs_gcloud
def test_a_cluster_gets_a_job(submit: Submitter) -> None:
    elsewhere = ("--package", "gs://bucket/p.zip", "--main", "gs://bucket/m.py")
    done = submit("--cluster", "mine", "--property", "spark.x=1,2", *elsewhere, "--", "--async")
    assert done.returncode == 0, done.stderr
    [job] = submit.service.jobs
    assert job["placement"]["clusterName"] == "mine"
    assert job["pysparkJob"]["properties"]["spark.x"] == "1,2"
    assert job["pysparkJob"]["properties"]["spark.executor.instances"] == "2", "eight lanes on four cores each"
    assert job["labels"] == {"app": "ee-spark", "job": "submitted"}


@pytest.mark.parametrize(
    ("without", "says"),
    [
        ("--config", "--config JOB.yaml is missing"),
        ("--staging", "--staging gs://BUCKET/PATH"),
        ("gcloud", "no gcloud on PATH"),
        ("python", "no Python at"),
    ],
)
def test_it_says_what_it_needs(without: str, says: str, tmp_path: Path) -> None:
    words = ["--config", "j.yaml", "--project", "p", "--region", "r", "--staging", "gs://b"]
    if without in words:
        at = words.index(without)
        del words[at : at + 2]
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("bash", "dirname", "env", "mktemp", "rm", *(["gcloud"] if without != "gcloud" else [])):
        (folder / tool).symlink_to(shutil.which(tool) or "/bin/true")
    environment = {"PATH": str(folder), "HOME": str(tmp_path), "PYTHON": sys.executable}
    if without == "python":
        environment["PYTHON"] = "/nowhere/python"
    done = subprocess.run(
        [str(REPO / "submit_dataproc.sh"), *words], env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert says in done.stderr


def test_a_job_for_this_machine_only_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPO)}
    words = ["--project", "p", "--region", "r", "--staging", "gs://b", "--image", "i", "--package", "gs://b/p.zip"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ee_spark.dataproc.submit",
            "--config",
            "conf/quickstart.yaml",
            *words,
            "--main",
            "gs://b/m.py",
        ],
        **{"env": environment, "cwd": REPO, "capture_output": True, "text": True, "timeout": 180},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("output.path: ")


def test_every_flag_is_one_that_gcloud_has(tmp_path: Path) -> None:
    """Where gcloud is missing, this is what holds the builder to its flags."""
    config = load(str(REPO / "conf" / "modis_ndvi_patches.yaml"), ["output.path=gs://bucket/out"])
    options = batch.Options(
        **{"project": "p", "region": "r", "staging": "gs://b", "version": "2.3", "archive": "gs://b/a.tar.gz"},
        **{"service_account": "a@b", "subnet": "s", "tags": ("t",), "history_server": "h", "labels": {"k": "v"}},
    )
    shipment = batch.ship(config, b"", read_input)
    code = batch.Code("gs://b/m.py", "gs://b/p.zip")
    for command, known in (
        (gcloud.batch_command(batch.message(config, shipment, code, options), "a-batch", options), BATCH_FLAGS),
        (gcloud.job_command(batch.cluster_job(config, shipment, code, options, "c"), options), JOB_FLAGS),
    ):
        flags = [word[2:].partition("=")[0] for word in command[: command.index("--")] if word.startswith("--")]
        assert len(flags) > 5
        assert set(flags) <= known


@needs_gcloud
@pytest.mark.parametrize(("kind", "known"), [("batches", BATCH_FLAGS), ("jobs", JOB_FLAGS)])
def test_the_recorded_flags_are_gclouds(kind: str, known: set[str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["gcloud", "dataproc", kind, "submit", "pyspark", "--help"],
        **{
            "capture_output": True,
            "text": True,
            "timeout": 360,
            "env": {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path)},
        },
    )
    text = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    assert known <= set(re.findall(r"--([a-z-]+)", text)) | {"project"}


def test_the_script_is_clean() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert shellcheck, "shellcheck comes with the test extra"
    done = subprocess.run([shellcheck, str(REPO / "submit_dataproc.sh")], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout
