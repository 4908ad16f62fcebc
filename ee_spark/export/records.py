"""Blocks as training records: TFRecord files as Earth Engine's notebooks write them, and NumPy archives.

Sources: https://www.tensorflow.org/tutorials/load_data/tfrecord for framing and ``tf.Example``,
https://developers.google.com/earth-engine/guides/tfrecord for the layout: a feature per band, its pixels row by row as
floats.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.errors import ReadError
from ee_spark.export.split import NAMES, Split
from ee_spark.export.task import Advance
from ee_spark.export.whole import appearing
from ee_spark.objects.names import segment
from ee_spark.read.block import Block, Blocks
from ee_spark.read.rows import LATTICE, Rows
from ee_spark.store.georeference import GEOREFERENCE, centres

SHARD_BYTES = 128 << 20
"""Raw bytes of one file."""
EXACT = 1 << 24
"""Whole numbers up to here are exact in float32."""
ALL = "all"
_ORDINARY = re.compile(r"\w[\w ()+,.%-]{0,200}")
"""Names of columns that name a file in an archive too; others are encoded."""
_LEFT_OUT = (LATTICE, "bbox", "transform", "width", "height", "margin", "image_time", "tile_row", "tile_col")


@dataclass(frozen=True)
class Shards:
    """All files of one export: ``<set>-00000.tfrecord`` or ``.npz`` and so on, in a directory that appears whole.

    Blocks are whole, margins included. Beside the bands and their validity a record holds ``tile_id``, ``image_id``,
    ``time`` (milliseconds since 1970, Earth Engine's ``system:time_start``), ``crs``, ``transform`` and the points'
    columns.
    """

    dataset: Rows
    path: Path
    kind: str
    split: Split | None
    blocks: int

    def run(self, advance: Advance) -> dict[str, Any]:
        """Write the files."""
        names = NAMES[: len(self.split.shares)] if self.split else (ALL,)
        make = _Records if self.kind == "tfrecord" else _Archives
        with appearing(self.path) as made:
            made.mkdir()
            writers = {name: make(made, name) for name in names}
            for blocks in self.dataset.batches():
                sets = self._sets(blocks.keys)
                for name in names:
                    writers[name].add(blocks, np.flatnonzero(sets == name))
                advance(len(blocks))
            for writer in writers.values():
                writer.close()
        counts = {name: writer.count for name, writer in writers.items()}
        files = sum(writer.files for writer in writers.values())
        return {"path": str(self.path), "blocks": sum(counts.values()), "sets": counts, "files": files}

    def _sets(self, keys: pa.Table) -> Any:
        return self.split.sets(*_places(keys)) if self.split else np.full(keys.num_rows, ALL)


def shards(dataset: Rows, out: Path, kind: str, split: Split | None, *, lossy: bool) -> Shards:
    """Return the files to write at ``out``.

    Raises:
        ReadError: if float32 cannot hold the pixels, a set would be empty, or nothing is selected.
    """
    if kind == "tfrecord" and not lossy:
        _refuse_rounding(dataset)
    names = [name for name in dataset.key_names if name in (*GEOREFERENCE, "point_lon", "point_lat")]
    keys = dataset.keys(names)
    if not keys.num_rows:
        raise ReadError(f"{dataset.path}: no pixels are selected; dataset.counts says what became of the tiles")
    if split:
        split.check(split.sets(*_places(keys)))
    return Shards(dataset, out, kind, split, keys.num_rows)


def _refuse_rounding(dataset: Rows) -> None:
    """Refuse bands whose values a list of float32 would round."""
    for band, kind in dataset.bands.items():
        if kind.itemsize <= 2 or kind == np.float32:
            continue
        if kind.kind in "iu":
            table = dataset.tiles([f"{band}_min", f"{band}_max"])
            low, high = pc.min(table[f"{band}_min"]).as_py(), pc.max(table[f"{band}_max"]).as_py()
            if low is not None and -EXACT <= low <= high <= EXACT:
                continue
        raise ReadError(
            f"--to tfrecord: {band} is {kind.name}, and tf.Example holds floats of 32 bit, which would round it; write "
            "--lossy to allow that, --to npz, or pixels.dtype in the job"
        )


def _places(keys: pa.Table) -> tuple[Any, Any]:
    if "point_lon" in keys.column_names:
        return keys["point_lon"].to_numpy(), keys["point_lat"].to_numpy()
    return centres(keys)


@dataclass
class _Records:
    """Files of tf.Example records of one set."""

    folder: Path
    name: str
    count: int = 0
    files: int = 0
    _size: int = 0
    _file: IO[bytes] | None = field(default=None, repr=False)

    def add(self, blocks: Blocks, rows: Iterable[int]) -> None:
        for row in rows:
            record = framed(example(features_of(blocks.block(int(row)))))
            if self._file is None or self._size + len(record) > SHARD_BYTES:
                self.close()
                self._file = (self.folder / f"{self.name}-{self.files:05d}.tfrecord").open("xb")
                self.files, self._size = self.files + 1, 0
            self._file.write(record)
            self._size += len(record)
            self.count += 1

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


@dataclass
class _Archives:
    """NumPy archives of one set: each band as (n, height, width), each key as (n,)."""

    folder: Path
    name: str
    count: int = 0
    files: int = 0
    _size: int = 0
    _parts: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def add(self, blocks: Blocks, rows: Any) -> None:
        if not len(rows):
            return
        part = {name: plane[rows] for name, plane in {**blocks.planes, **blocks.validity}.items()}
        size = sum(plane.nbytes for plane in part.values())
        if self._parts and self._size + size > SHARD_BYTES:
            self.close()
        keys = blocks.keys.take(pa.array(rows))
        for name in keys.column_names:
            if name not in _LEFT_OUT:
                values = keys[name].to_numpy(zero_copy_only=False)
                part[name] = values.astype(str) if values.dtype == object else values
        part["transform"] = blocks.transforms[rows]
        part["time"] = keys["image_time"].to_numpy(zero_copy_only=False).astype("datetime64[us]")
        self._parts.append(part)
        self._size += size
        self.count += len(rows)

    def close(self) -> None:
        if self._parts:
            first = self._parts[0]
            arrays: dict[str, Any] = {name: np.concatenate([part[name] for part in self._parts]) for name in first}
            _write_archive(self.folder / f"{self.name}-{self.files:05d}.npz", arrays)
            self.files, self._parts, self._size = self.files + 1, [], 0


def _write_archive(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write what ``numpy.savez_compressed`` would, also of columns that are called like its arguments or like paths."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            stem = name if _ORDINARY.fullmatch(name) else segment(name)
            with archive.open(f"{stem}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)


def features_of(block: Block) -> dict[str, Any]:
    """Return a block's features: bands and validity as float32, numbers as they are, texts as bytes."""
    found: dict[str, Any] = {name: plane.astype("<f4").ravel() for name, plane in block.planes.items()}
    found |= {name: plane.astype("<f4").ravel() for name, plane in block.validity.items()}
    found |= {name: value for name, value in block.keys.items() if name not in _LEFT_OUT and value is not None}
    found["transform"] = ",".join(repr(value) for value in block.transform)
    if block.time:
        found["time"] = round(block.time.timestamp() * 1000)
    return found


def example(features: Mapping[str, Any]) -> bytes:
    """Return a serialised ``tf.Example`` (https://protobuf.dev/programming-guides/encoding)."""
    entries = (
        _message(1, _message(1, name.encode()) + _message(2, _feature(value))) for name, value in features.items()
    )
    return _message(1, b"".join(entries))


def framed(data: bytes) -> bytes:
    """Return a record of a TFRecord file: length and data, each with its masked CRC-32C."""
    length = struct.pack("<Q", len(data))
    return b"".join([length, _masked_crc(length), data, _masked_crc(data)])


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _feature(value: Any) -> bytes:
    """Return a Feature: bytes_list (1), float_list (2) or int64_list (3)."""
    if isinstance(value, str | bytes):
        return _message(1, _message(1, value.encode() if isinstance(value, str) else value))
    if isinstance(value, bool | int | np.integer):
        return _message(3, _message(1, bytes(_varint(int(value) & 0xFFFFFFFFFFFFFFFF))))
    return _message(2, _message(1, np.atleast_1d(np.asarray(value, "<f4")).tobytes()))


def _message(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + bytes(_varint(len(data))) + data


def _varint(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
