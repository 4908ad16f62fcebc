"""Each command, job file and query in docs/ is run or parsed by what it is for, or is listed as never run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from places import REPO

from ee_spark import config
from ee_spark.cli import main as ee_spark
from ee_spark.dataproc.submit import main as submit

PAGES = sorted(page for page in (REPO / "docs").glob("*.md") if page.name != "emulator.md")
NEVER_RUN = {
    "docker build --tag us-central1-docker.pkg.dev/my-project/images/ee-spark:1 .",
    "docker push us-central1-docker.pkg.dev/my-project/images/ee-spark:1",
}
"""They need a container engine and Google's registry; cluster/test_container.py runs the image's steps without."""


def blocks(kind: str) -> list[tuple[str, str]]:
    found = [
        (page.name, text)
        for page in PAGES
        for text in re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(), re.M | re.S)
    ]
    assert found
    return found


def commands() -> list[tuple[str, str]]:
    return [(page, line) for page, text in blocks("sh") for line in text.strip().splitlines()]


def parsed(command: click.Command, words: list[str]) -> dict[str, Any]:
    """Return what click makes of a command line: an unknown or missing option is an error."""
    return command.make_context("docs", words).params


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: value[:40])
def test_commands(page: str, line: str) -> None:
    if line in NEVER_RUN:
        return
    words = shlex.split(line)
    if words[0] == "ee-spark":
        name, rest = words[1], words[2:]
        options = parsed(ee_spark.commands[name], rest)
    elif words[0] == "./submit_dataproc.sh":
        options = parsed(submit, [*words[1:], "--package", "gs://b/p.zip", "--main", "gs://b/m.py"])
    elif words[0] == "./package.sh":
        assert all(name in (REPO / "tests" / "cluster" / "test_package.py").read_text() for name in words[1:]), (
            "run there"
        )
        return
    elif words[0] == "spark-submit":
        assert (REPO / words[words.index("--properties-file") + 1]).exists()
        at = words.index("jobs/extract.py")
        options = parsed(ee_spark.commands["extract"], words[at + 1 :])
    else:
        assert words[:3] == ["airflow", "pools", "set"], f"{page}: nothing runs or parses {line!r}"
        assert line in (REPO / "tests" / "cluster" / "test_airflow.py").read_text(), "run there"
        return
    if options.get("path"):
        config.load(str(REPO / options["path"]), options["settings"])


@pytest.mark.parametrize(("page", "text"), blocks("yaml"), ids=lambda value: value[:30])
def test_job_files(page: str, text: str) -> None:
    """A whole job, with nothing unknown in it; functions of this repository are there."""
    job = config.parse(yaml.safe_load(text), base=str(REPO / "conf"))
    for name in (job.source.image, job.source.map):
        file, _, function = (name or "").rpartition(":")
        if Path(file).is_file():
            assert f"def {function}(" in Path(file).read_text()
    ours = [
        name for name in re.findall(r"images/(\w+)\.py", text) if (REPO / "conf" / "images" / f"{name}.py").exists()
    ]
    yours = set(re.findall(r"images/(\w+)\.py", text)) - set(ours)
    assert yours <= {"monthly", "country"}, "the reader's own, and said to be"


def test_queries(tmp_path: Path) -> None:
    """On tables of the schema that they are for."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "tiles").mkdir()
    rows = {
        "status": ["failed", "failed", "ok"],
        "error_class": ["dtype", "dtype", None],
        "error_message": ["a", "a", None],
    }
    pq.write_table(pa.table(rows), tmp_path / "tiles" / "part-1.parquet")
    sql = (REPO / "tests" / "cluster" / "test_sql.py").read_text()
    for _, text in blocks("sql"):
        if "out/filled" in text:
            assert 'replace("out/filled"' in sql, "run there"
            continue
        assert duckdb.sql(text.replace("out/quickstart", str(tmp_path))).fetchall() == [("dtype", "a", 2)]


def test_what_was_never_met_is_said() -> None:
    for name in ("dataproc.md", "airflow.md", "recipes.md"):
        text = " ".join((REPO / "docs" / name).read_text().split())
        assert re.search(
            r"[Nn]ever met the real service|None has met the real service|never met the real service", text
        )


def test_error_classes_are_the_programs() -> None:
    text = "".join(path.read_text() for path in (REPO / "ee_spark").rglob("*.py"))
    page = (REPO / "docs" / "errors.md").read_text()
    for name in re.findall(r"^\| `([a-z_]+)` \|", page, re.M):
        assert f'"{name}"' in text, f"no tile has error_class {name}"


def test_numbers_of_the_settings_are_the_builders() -> None:
    """conf/spark/dataproc.conf says what the builder computes for 40 requests in flight."""
    from ee_spark.dataproc import batch

    job = config.load(str(REPO / "conf" / "modis_ndvi_patches.yaml"), ["source.bands=null", "output.path=gs://b/o"])
    found = batch.properties(job, cluster=True)
    text = (REPO / "conf" / "spark" / "dataproc.conf").read_text()
    written = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert {key: value for key, value in written.items() if key in found} == {
        key: found[key] for key in written if key in found
    }
    assert len(written) > 8


def test_lists_are_not_stale() -> None:
    assert {line for _, line in commands()} >= NEVER_RUN
    assert sys.version_info >= (3, 11)
