"""A dataset shown in one file: an HTML page, or a PNG picture."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ee_spark.boundary import shortened
from ee_spark.errors import JobError, ReadError, StoreError, missing_extra, one_line
from ee_spark.objects import check_output, write_output
from ee_spark.objects.place import split_url
from ee_spark.read.dataset import Dataset, open_dataset
from ee_spark.show.colour import plain_texts
from ee_spark.store.bounds import damage

PAGE, PICTURE = (".html", ".htm"), (".png",)


def write(path: str, out: str, storage: Mapping[str, Any] | None = None) -> str:
    """Write the page or picture of the dataset at ``path`` to ``out``, as its ending says, and say what it shows.

    ``out`` may lie on gs:// or s3:// too; ``storage`` is as in a job file, for both paths.

    Raises:
        JobError: if ``out`` cannot be written.
        ReadError: if there is no dataset, it cannot be read, or there is nothing to draw.
        MissingExtraError: if there is no matplotlib to draw with.
    """
    ending = Path(split_url(out, "--out").path).suffix.lower()
    if ending not in (*PAGE, *PICTURE) or out.endswith("/"):
        raise JobError(
            f"--out: {shortened(out)!r} is not a name of a page or a picture; write one that ends in .html or .png"
        )
    if find_spec("matplotlib") is None:
        raise missing_extra("report", "matplotlib", "local")
    dataset = open_dataset(path, storage)
    dataset.check_decided()
    check_output(out, "--out", dataset.settings)  # now, not after all pixels are read
    data, what = _shown(dataset, ending in PICTURE)
    try:
        write_output(out, data, dataset.settings)
    except (StoreError, OSError) as error:
        raise JobError(f"--out: cannot write {out!r}: {one_line(error)}") from None
    return f"{'picture' if ending in PICTURE else 'page'}: {out}: {what}"


def _shown(dataset: Dataset, as_picture: bool) -> tuple[bytes, str]:
    from ee_spark.show import page, picture  # they need matplotlib

    try:
        with damage(dataset.path), plain_texts():
            if as_picture:
                return picture.draw(dataset)
            text = page.page(dataset).encode("utf-8", "replace")
            counts = ", ".join(f"{count:,} {name}" for name, count in dataset.counts.items())
    except StoreError as error:
        raise ReadError(one_line(error)) from None
    return text, f"{counts}; {len(text) / 1e6:.1f} MB"
