"""Every way of reading a dataset, each as one function that returns the valid pixels of each image and band.

A reader is used as the documentation shows it. ``margins`` says what it is compared with: readers that leave margins
out with the cores, readers that hand on blocks as they are stored with the whole blocks, in which the pixels of a
margin come again. A reader that cannot serve a case raises; agreement_refusals lists what it must say then.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import math
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import agreement_show as show
import numpy as np
import pyarrow.parquet as pq
import rasterio
from agreement_fetched import Fetched, Part
from agreement_jobs import BANDS, Case
from agreement_pixels import Array, Key, Pixels, Raster, centres, differences, gathered
from agreement_truth import Block
from rasterio.crs import CRS

import ee_spark
from ee_spark.cli import main
from ee_spark.errors import EESparkError

EXACT = 1e-12
"""Parts of a mean that the order of its additions may change."""


class UnknownError(Exception):
    """The reader says in its own way that it does not know: null in a table."""


Read = Callable[[Fetched, Part], Pixels]
Margins = Literal["left out", "kept", "left out, but kept in patches", "left out, but kept in the table of bands"]


@dataclass(frozen=True)
class Reader:
    """One way of reading. ``wrong`` returns what it says that is not so, a line each."""

    name: str
    margins: Margins
    wrong: Callable[[Fetched, Part], list[str]]
    absent: Callable[[], str | None] = lambda: None
    """Why it cannot be tried here; None where it can."""


# Blocks as arrays


def numpy_pixels(fetched: Fetched, part: Part) -> Pixels:
    """``Dataset.to_numpy()``."""
    blocks = part.open(fetched).to_numpy()
    keys = blocks.keys.select(["image_id", "crs", "transform"]).to_pylist()
    return gathered(
        _raster(keys[index], band, blocks[band][index], None if valid is None else valid[index])
        for band in blocks.bands
        for valid in [blocks.valid(band)]
        for index in range(len(blocks))
    )


def iterated_pixels(fetched: Fetched, part: Part) -> Pixels:
    """``for block in dataset``."""
    dataset = part.open(fetched)
    return gathered(
        _raster(block.keys, band, block[band], block.valid(band)) for block in dataset for band in dataset.bands
    )


def xarray_pixels(fetched: Fetched, part: Part) -> Pixels:
    """``Dataset.to_xarray()``, where NaN is what is not valid."""
    cube = part.open(fetched).to_xarray().load()
    cube = cube if "patch" in cube.dims else cube.expand_dims("patch")
    crs, found = _code(cube.coords["spatial_ref"].attrs["crs_wkt"]), []
    for patch, time, band in np.ndindex(*(cube.sizes[name] for name in ("patch", "time", "band"))):
        plane = cube.isel(patch=patch, time=time, band=band)
        key = Key(str(plane.coords["image_id"].item()), str(plane.coords["band"].item()), crs)
        x, y, values = plane.coords["x"].values, plane.coords["y"].values, plane.values
        found.append(Raster(key, x, y, values, np.isfinite(values)))
    return gathered(found)


def torch_pixels(fetched: Fetched, part: Part) -> Pixels:
    """``Dataset.to_torch()``, where ``valid`` has one plane for all bands or one for each."""
    dataset = part.open(fetched)
    found = []
    for sample in dataset.to_torch(columns=("image_id", "crs", "transform")):
        for number, band in enumerate(dataset.bands):
            valid = sample["valid"].numpy() if "valid" in sample else None
            mask = None if valid is None else valid[min(number, len(valid) - 1)]
            found.append(_raster(sample, band, sample["pixels"][number].numpy(), mask))
    return gathered(found)


# Tables in SQL


def spark_pixels(fetched: Fetched, part: Part) -> Pixels:
    """``ee_spark.pixels(spark.read.parquet(...), bands=[band])``: a row for each valid pixel of the band."""
    from pyspark.sql import functions as f

    session = fetched.spark.newSession()
    session.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")  # for toPandas, which is slow without
    blocks = session.read.parquet(str(fetched.path / "pixels"))
    columns = [
        ee_spark.pixels(blocks, bands=[band]).select(
            f.lit(band).alias("band"), "image_id", "crs", "x", "y", f.col(band).cast("double").alias("value")
        )
        for band in BANDS
    ]
    return _table_pixels(reduce(lambda one, other: one.union(other), columns).toPandas())


SQL = """
SELECT '{band}' AS band, image_id, crs, value,
  transform[3] + (pixel % width + 0.5) * transform[1] AS x,
  transform[6] + (pixel // width + 0.5) * transform[5] AS y
FROM (
  SELECT image_id, crs, transform, width, unnest(range(width * height)) AS pixel,
    unnest({band})::DOUBLE AS value{unnested}
  FROM read_parquet('{path}/pixels/*.parquet')
) {where}
"""


def duckdb_pixels(fetched: Fetched, part: Part) -> Pixels:
    """The README's SQL in DuckDB, which names the column of validity, or the fill value."""
    import duckdb

    queries = []
    for band in BANDS:
        valid = {"band": "valid", "bands": f"valid_{band}"}.get(fetched.case.mask)
        where = f"WHERE {valid} = 1" if valid else ""
        if band in fetched.case.fill:
            where = f"WHERE value <> {fetched.case.fill[band]}"
        unnested = f", unnest({valid}) AS {valid}" if valid else ""
        queries.append(SQL.format(band=band, unnested=unnested, where=where, path=fetched.path))
    with duckdb.connect() as connection:
        return _table_pixels(connection.sql(" UNION ALL ".join(queries)).df())


def statistics_wrong(fetched: Fetched, part: Part) -> list[str]:
    """Compare ``valid_count``, min, max and mean in ``tiles`` with those of each stored block, margins included.

    ``valid_count`` counts the pixels at which every band is valid, so that with ``mask: band`` the sum of a band is its
    mean times this number.
    """
    names = [
        "tile_id",
        "image_id",
        "valid_count",
        *(f"{band}_{what}" for band in BANDS for what in ("min", "max", "mean")),
    ]
    rows = pq.read_table(fetched.path / "tiles").select(names).to_pylist()
    if all(row[name] is None for row in rows for name in names[2:]):
        raise UnknownError("valid_count and statistics are null")
    given = {(row["tile_id"], row["image_id"]): row for row in rows}
    found = []
    for block in fetched.truth.blocks:
        row = given.get((block.tile.name, block.image), {})
        found += [
            f"{name} of {block.tile.name} of {block.image} is {row.get(name)}, by the source {right}"
            for name, right in _statistics(block).items()
            if not _close(row.get(name), right)
        ]
    return found


def _statistics(block: Block) -> dict[str, float | None]:
    right: dict[str, float | None] = {"valid_count": int(np.logical_and.reduce(list(block.valid.values())).sum())}
    for band in BANDS:
        values = block.values[band][block.valid[band]].astype(np.float64)
        some = bool(values.size)
        right[f"{band}_min"] = float(values.min()) if some else None
        right[f"{band}_max"] = float(values.max()) if some else None
        right[f"{band}_mean"] = float(values.sum() / values.size) if some else None
    return right


# Exports


def mosaic_pixels(to: str) -> Read:
    """``ee-spark export --to geotiff`` or ``cog``, opened with rasterio: a file per image and lattice, with masks."""

    def read(fetched: Fetched, part: Part) -> Pixels:
        found = []
        for written in _export(fetched, part, to):
            with rasterio.open(written["path"]) as raster:
                affine = raster.transform
                x, y = centres((affine.a, 0, affine.c, 0, affine.e, affine.f), raster.width, raster.height)
                for number, band in enumerate(raster.descriptions, 1):
                    key = Key(raster.tags()["image_id"], band, f"EPSG:{raster.crs.to_epsg()}")
                    found.append(Raster(key, x, y, raster.read(number), raster.read_masks(number) != 0))
        return gathered(found)

    return read


def zarr_pixels(fetched: Fetched, part: Part) -> Pixels:
    """``ee-spark export --to zarr``, opened with zarr: validity beside the bands, or their ``_FillValue``."""
    zarr: Any = importlib.import_module("zarr")
    [written] = _export(fetched, part, "zarr")
    group = zarr.open_group(written["path"], mode="r")
    crs, x, y = _code(group["spatial_ref"].attrs["crs_wkt"]), group["x"][:], group["y"][:]
    found = []
    for band in [part.bands] if part.bands else BANDS:
        values, attributes = group[band][:], dict(group[band].attrs)
        fill = attributes.get("_FillValue")
        flag = next(name for name in ("valid", f"valid_{band}", "fetched") if name in group)
        valid = group[flag][:] == 1
        valid = valid if fill is None else valid & (values != fill)
        for time, image in enumerate(group["image_id"][:].tolist()):
            found.append(Raster(Key(str(image), band, crs), x, y, values[time], valid[time]))
    return gathered(found)


def npz_pixels(fetched: Fetched, part: Part) -> Pixels:
    """``ee-spark export --to npz``: stacked blocks, validity beside them, or the job's fill value."""
    found = []
    for written in _export(fetched, part, "npz"):
        for path in sorted(Path(written["path"]).glob("*.npz")):
            with np.load(path) as file:
                arrays = dict(file)
            for index in range(len(arrays["transform"])):
                block = {name: values[index] for name, values in arrays.items()}
                keys = {name: block[name].tolist() for name in ("image_id", "crs", "transform")}
                found += [_raster(keys, band, block[band], _validity(fetched.case, band, block)) for band in BANDS]
    return gathered(found)


def tfrecord_pixels(fetched: Fetched, part: Part) -> Pixels:
    """``ee-spark export --to tfrecord``: examples of floats, validity beside them, or the job's fill value."""
    loader: Any = importlib.import_module("tfrecord.reader").tfrecord_loader
    width, height = (side + 2 * fetched.case.layout.margin for side in fetched.case.layout.tile)
    found = []
    for written in _export(fetched, part, "tfrecord"):
        for path in sorted(Path(written["path"]).glob("*.tfrecord")):
            for example in loader(str(path), None):
                texts = {name: bytes(example[name]).decode() for name in ("image_id", "crs", "transform")}
                keys = {**texts, "transform": [float(number) for number in texts["transform"].split(",")]}
                planes = {
                    name: np.asarray(values).reshape(height, width)
                    for name, values in example.items()
                    if name in BANDS or name.startswith("valid")
                }
                found += [_raster(keys, band, planes[band], _validity(fetched.case, band, planes)) for band in BANDS]
    return gathered(found)


# Checks


def refetch_wrong(fetched: Fetched, part: Part) -> list[str]:
    """``verify --refetch 999`` asks the service that is named for every tile again, finds the same, and exits 0."""
    before = _requests(fetched)
    service = f"earth_engine.endpoint={fetched.url}"
    code, lines, errors = _command("verify", "--dataset", fetched.path, "--refetch", 999, "--set", service)
    asked, stored = _requests(fetched) - before, {block.tile_id for block in ee_spark.open_dataset(fetched.path)}
    findings = json.loads(lines[-1])
    if (code, findings["problems"]) != (0, {}):
        return [f"exit {code}, {findings['problems']}: {'; '.join(errors[:3])}"]
    return [] if asked >= len(stored) else [f"{asked} requests cannot have asked for {len(stored)} tiles again"]


def _requests(fetched: Fetched) -> int:
    with urllib.request.urlopen(f"{fetched.url}/_emulator/stats") as reply:
        return int(json.load(reply)["requests"])


# What they share


def compared(read: Read, margins: Margins) -> Callable[[Fetched, Part], list[str]]:
    """Return what compares a reader's pixels with the truth."""

    def wrong(fetched: Fetched, part: Part) -> list[str]:
        patches = bool(fetched.case.layout.points)
        kept = margins == "kept" or (patches and margins == "left out, but kept in patches")
        truth = fetched.truth.pixels(margins=kept)
        return differences(read(fetched, part), {key: rows for key, rows in truth.items() if part.holds(key)})

    return wrong


def _raster(keys: Mapping[str, Any], band: str, values: Array, valid: Array | None) -> Raster:
    """Return one band of one block; where validity is not known, every pixel counts."""
    height, width = values.shape
    x, y = centres(keys["transform"], width, height)
    mask = np.ones(values.shape, np.bool_) if valid is None else valid != 0
    return Raster(Key(str(keys["image_id"]), band, str(keys["crs"])), x, y, values, mask)


def _validity(case: Case, band: str, planes: Mapping[str, Array]) -> Array | None:
    """Return the plane that says where a band is valid in a file that has no more than planes."""
    if band in case.fill:
        return np.asarray(planes[band] != case.fill[band])
    return next((planes[name] for name in ("valid", f"valid_{band}") if name in planes), None)


def _table_pixels(frame: Any) -> Pixels:
    """Return the rows of a data frame with columns band, image_id, crs, x, y, value."""
    groups: Iterable[tuple[Any, Any]] = frame.groupby(["image_id", "band", "crs"])
    return gathered((Key(*key), rows[["x", "y", "value"]].to_numpy(np.float64)) for key, rows in groups)


def _export(fetched: Fetched, part: Part, to: str) -> Iterator[dict[str, Any]]:
    """Yield what ``ee-spark export`` says it wrote, one mapping per file or group."""
    out = fetched.scratch / "-".join([to, *part.given.values()]).replace("/", "_").replace(":", "_")
    options = [word for name, value in part.given.items() for word in (f"--{name}", value)]
    code, lines, errors = _command("export", "--dataset", fetched.path, "--to", to, "--out", out, *options)
    if code == 2 and len(errors) == 1 and not lines:
        raise EESparkError(errors[0])
    assert code == 0, errors
    yield from map(json.loads, lines)


def _command(*words: object) -> tuple[object, list[str], list[str]]:
    """Run ``ee-spark`` in this process; return its exit code and its lines on stdout and stderr."""
    code: object = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main([str(word) for word in words], standalone_mode=False)
        except SystemExit as end:
            code = end.code
    return code, out.getvalue().splitlines(), err.getvalue().splitlines()


def _code(wkt: str) -> str:
    return f"EPSG:{CRS.from_wkt(wkt).to_epsg()}"


def _close(mine: float | None, right: float | None) -> bool:
    if mine is None or right is None:
        return mine is right
    return math.isclose(mine, right, rel_tol=EXACT)


def _without(module: str) -> Callable[[], str | None]:
    def absent() -> str | None:
        return None if importlib.util.find_spec(module) else f"{module} is not installed"

    return absent


def _pixels(name: str, margins: Margins, read: Read, needs: str = "numpy") -> Reader:
    return Reader(name, margins, compared(read, margins), _without(needs))


READERS = (
    _pixels("to_numpy", "kept", numpy_pixels),
    _pixels("iteration", "kept", iterated_pixels),
    _pixels("to_xarray", "left out, but kept in patches", xarray_pixels, "xarray"),
    _pixels("to_torch", "kept", torch_pixels, "torch"),
    _pixels("ee_spark.pixels", "left out", spark_pixels),
    _pixels("DuckDB", "kept", duckdb_pixels, "duckdb"),
    Reader("statistics in tiles", "kept", statistics_wrong),
    _pixels("export to geotiff", "left out", mosaic_pixels("geotiff")),
    _pixels("export to cog", "left out", mosaic_pixels("cog")),
    _pixels("export to zarr", "left out", zarr_pixels, "zarr"),
    _pixels("export to tfrecord", "kept", tfrecord_pixels, "tfrecord"),
    _pixels("export to npz", "kept", npz_pixels),
    Reader("report to PNG", "left out", show.picture_wrong),
    Reader("report to HTML", "left out", show.page_wrong),
    Reader("verify --refetch", "kept", refetch_wrong),
)
