"""A file of places as what it is, by its bytes: its name only decides where they do not tell."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ee_spark.boundary import reading, shortened
from ee_spark.errors import JobError
from ee_spark.objects import SIBLINGS, Inputs
from ee_spark.planner.delimited import separator_of

Kind = Literal["text", "geojson", "parquet", "vector"]
MOST_UNFOLDED = 1 << 30
"""Bytes of what is compressed, once it is not."""
_PIECE = 1 << 20
_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"PAR1", "parquet"),
    (b"PARE", "parquet"),
    (b"SQLite format 3\0", "vector"),
    (b"fgb\x03", "vector"),
)
_SHAPEFILE = b"\x00\x00\x27\x0a"
_NAMES: dict[str, Kind] = {".geojson": "geojson", ".json": "geojson", ".parquet": "parquet", ".geoparquet": "parquet"}
_NAMES |= dict.fromkeys((".gpkg", ".fgb", ".shp"), "vector")
_TOLD = {
    b"<": "XML (KML, GML or a web page)",
    b"ARROW1": "Arrow IPC (Feather)",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
}
_MEMBERS = (*_NAMES, ".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Opened:
    """The bytes of a file and what they are; those of a shapefile are a zip of it and what lies beside it."""

    kind: Kind
    data: bytes


def opened(path: str, inputs: Inputs, key: str, label: str) -> Opened:
    """Return a file, unfolded where it is a gzip or a zip of one, and what it is.

    Raises:
        JobError: if it cannot be read, unfolds to too much, or is of a kind that is not read.
    """
    data = inputs.read(path, key)
    name = PurePosixPath(path).name
    with reading(label, what="cannot be unfolded"):
        if data.startswith(b"\x1f\x8b"):
            data, name = _gunzipped(data), name.removesuffix(".gz").removesuffix(".GZ")
        if data.startswith(b"PK\x03\x04"):
            return _of_zip(data, label)
    if data.startswith(_SHAPEFILE):
        return Opened("vector", _with_siblings(data, path, inputs, key, label))
    return Opened(kind_of(data, name, label), data)


def kind_of(data: bytes, name: str, label: str) -> Kind:
    """Return what a file is.

    Raises:
        JobError: if it is of a kind that is not read.
    """
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    text = data[:_PIECE].removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"{", b"["):
        return "geojson"
    for beginning, what in _TOLD.items():
        if text.startswith(beginning):
            raise JobError(f"{label}: it is {what}, which is not read; write a GeoPackage, GeoParquet, GeoJSON or CSV")
    header = text.partition(b"\n")[0]
    if b"\0" not in text and separator_of(header).encode() in header:
        return "text"  # whatever its name
    return _NAMES.get(PurePosixPath(name).suffix.lower(), "text")


def _gunzipped(data: bytes) -> bytes:
    """Return what a gzip holds; it is unfolded once to count, so that what is too much never lies in memory."""
    for keep in (False, True):
        rest, parts, count = data, [], 0
        while rest:
            stream = zlib.decompressobj(wbits=31)
            while not stream.eof:
                part = stream.decompress(rest, _PIECE)
                rest = stream.unconsumed_tail
                if not part and not rest and not stream.eof:
                    raise ValueError("it ends too early")
                count += len(part)
                if count > MOST_UNFOLDED:
                    raise ValueError(f"it unfolds to more than {MOST_UNFOLDED:,} bytes; write several, or one unfolded")
                if keep:
                    parts.append(part)
            rest = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _of_zip(data: bytes, label: str) -> Opened:
    """Return the one file of places that a zip holds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [member for member in archive.infolist() if not member.filename.startswith("__MACOSX/")]
        if any(member.filename.startswith(("xl/", "content.xml")) for member in members):
            raise JobError(f"{label}: it is a spreadsheet, which is not read; save it as CSV in UTF-8")
        if sum(member.file_size for member in members) > MOST_UNFOLDED:
            raise ValueError(f"it unfolds to more than {MOST_UNFOLDED:,} bytes")
        found = [member for member in members if PurePosixPath(member.filename).suffix.lower() in _MEMBERS]
        if len(found) != 1:
            names = ", ".join(member.filename for member in found or members)
            raise JobError(f"{label}: the zip holds {shortened(names) or 'nothing'}; write one with one file of places")
        [member] = found
        inner = archive.read(member)
        if len(inner) != member.file_size:
            raise ValueError(f"{shortened(member.filename)} is not as long as it says")
        if not inner.startswith(_SHAPEFILE):
            return Opened(kind_of(inner, member.filename, label), inner)
        stem = str(PurePosixPath(member.filename).with_suffix(""))
        beside = {
            PurePosixPath(other.filename).suffix.lower(): archive.read(other)
            for other in members
            if str(PurePosixPath(other.filename).with_suffix("")) == stem
        }
        return Opened("vector", _zipped(inner, {suffix: beside.get(suffix) for suffix in SIBLINGS}, label))


def _with_siblings(data: bytes, path: str, inputs: Inputs, key: str, label: str) -> bytes:
    found = {suffix: inputs.read_beside(path, suffix, key) for suffix in SIBLINGS}
    return _zipped(data, found, label)


def _zipped(data: bytes, beside: dict[str, bytes | None], label: str) -> bytes:
    for suffix in (".shx", ".dbf"):
        if beside[suffix] is None:
            raise JobError(f"{label}: its {suffix} does not lie beside it; put it there, or write a GeoPackage")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("places.shp", data)
        for suffix, content in beside.items():
            if content is not None:
                archive.writestr(f"places{suffix}", content)
    return sink.getvalue()
