"""The dataset of a case: fetched once from the emulator, with its truth beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agreement_jobs import Case, job
from agreement_pixels import Key
from agreement_truth import Truth, truth_of

import ee_spark
from ee_spark.extract import Options

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Fetched:
    """A dataset at ``path``, the service that it came from, its truth, a folder for what is exported, and Spark."""

    case: Case
    path: Path
    url: str
    truth: Truth
    scratch: Path
    spark: SparkSession


@dataclass(frozen=True)
class Part:
    """What of a dataset is read: all of it, or one image, one band or the tiles in one CRS."""

    images: str | None = None
    bands: str | None = None
    crs: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The options of ``ee-spark export``, which are arguments of ``Dataset.select`` too."""
        return {name: value for name, value in vars(self).items() if value}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.given.items())

    def holds(self, key: Key) -> bool:
        """Return whether the pixels of an image and band are asked for."""
        wanted = (self.images, key.image), (self.bands, key.band), (self.crs, key.crs)
        return all(mine in (None, theirs) for mine, theirs in wanted)

    def open(self, fetched: Fetched) -> Any:
        """Return this part of the dataset."""
        return ee_spark.open_dataset(fetched.path).select(images=self.images, bands=self.bands, crs=self.crs)


WHOLE = Part()


def parts(fetched: Fetched, by: str) -> Iterator[Part]:
    """Yield the parts of a dataset by images, bands or crs."""
    names = {"images": "image", "bands": "band", "crs": "crs"}
    for value in sorted({getattr(key, names[by]) for key in fetched.truth.pixels()}):
        yield Part(**{by: value})


def fetch(case: Case, url: str, sources: Path, folder: Path, spark: SparkSession) -> Fetched:
    """Run the job of a case to its end; ``sources`` has the rasters that the service at ``url`` serves."""
    out = folder / "dataset"
    truth = truth_of(case, sources)
    report = ee_spark.run(job(case, url, out, folder), spark, Options(progress="none"))
    assert (report["status"], report["planned"]) == ("complete", len(truth.blocks)), report
    return Fetched(case, out, url, truth, folder / "exported", spark)
