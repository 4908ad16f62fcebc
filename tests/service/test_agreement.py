"""Every reader agrees: one truth from the source rasters, and each way of reading a dataset against it.

For every mask mode, layout of tiles and format of answers: number, sum and values at coordinates of the valid pixels of
each image and band. A reader that cannot serve a case must refuse it with the words of the table in agreement_refusals,
and must serve it image by image, band by band or CRS by CRS where that table says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from agreement_fetched import WHOLE, Fetched, Part, fetch, parts
from agreement_jobs import CASES, Case, mixed_types_as_geotiff, write_sources
from agreement_readers import READERS, Reader, UnknownError
from agreement_refusals import JOB_REFUSAL, REFUSALS, markdown, refusal
from places import REPO

import ee_emulator
import ee_spark
from ee_spark.errors import EESparkError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def url(sources: Path) -> Iterator[str]:
    with ee_emulator.start(sources) as service:
        yield service.url


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_reader_agrees_with_the_sources(
    case: Case, url: str, sources: Path, tmp_path: Path, spark: SparkSession
) -> None:
    fetched = fetch(case, url, sources, tmp_path, spark)
    wrong = [line for reader in READERS if not reader.absent() for line in complaints(reader, fetched)]
    if wrong:
        pytest.fail("\n".join([f"{case}:", *wrong]), pytrace=False)


def complaints(reader: Reader, fetched: Fetched) -> list[str]:
    """Return what is wrong with a reader: what it says that is not so, or that it does not refuse as it must."""
    expected, answer = refusal(reader.name, fetched.case), said(reader, fetched, WHOLE)
    if expected is None:
        return answer
    found = [] if refused(answer, expected.says) else [f"{reader.name}: must refuse with {expected.says!r}", *answer]
    for part in parts(fetched, expected.one_by_one) if expected.one_by_one else ():
        found += said(reader, fetched, part)
    return found


def said(reader: Reader, fetched: Fetched, part: Part) -> list[str]:
    """Return a line for each thing that a reader says of a part of the dataset and is not so, or its refusal."""
    name = f"{reader.name}, {part}" if part.given else reader.name
    try:
        return [f"{name}: {line}" for line in reader.wrong(fetched, part)]
    except (EESparkError, UnknownError) as error:
        return [f"{name}: refuses: {error}"]
    except Exception as error:  # whatever else a reader raises is its failure, and the others still have their turn
        return [f"{name}: fails: {type(error).__name__}: {error}"]


def refused(answer: list[str], words: str) -> bool:
    return len(answer) == 1 and ": refuses: " in answer[0] and words in answer[0] and "\n" not in answer[0]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_every_reader_takes_part(reader: Reader) -> None:
    """Only torch may be missing: everything else comes with the project's own files."""
    reason = reader.absent()
    assert reason is None or reader.name == "to_torch"
    if reason:
        pytest.skip(reason)


def test_a_geotiff_of_two_types_is_refused_by_the_plan(url: str, tmp_path: Path) -> None:
    jobs = list(mixed_types_as_geotiff(url, tmp_path))
    assert len(jobs) == 4
    for wrong in jobs:
        with pytest.raises(EESparkError) as refusal:
            ee_spark.plan(wrong)
        assert JOB_REFUSAL in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_every_refusal_of_the_table_is_met_by_a_case() -> None:
    assert {one.reader for one in REFUSALS} <= {reader.name for reader in READERS}
    assert [one for one in REFUSALS if not any(one.holds(case) for case in CASES)] == []


def test_the_documentation_has_the_table_of_refusals() -> None:
    page = REPO / "docs" / "readers.md"
    if not page.exists():
        pytest.skip("docs/readers.md is not written yet: python tests/support/agreement_refusals.py prints its tables")
    assert markdown([(reader.name, reader.margins) for reader in READERS]) in page.read_text()
