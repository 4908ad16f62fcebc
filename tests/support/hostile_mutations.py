"""What somebody who can write to a dataset may do to it: in its records, its tables, its files."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "../../../canary/x",
    "/etc/passwd", "a\0b", "\x1b[31m", "$\\frac{", "$$", "_hidden", "x" * 100_000, "", "'; DROP x", "%s%n", "{0}",
    "‮txt", "\U0001f4a9" * 50, "http://127.0.0.1:9/x", "</style><script>", "--><script>", "~", "NaN", "a/b", "..", ".",
)  # fmt: skip
SYSTEMS = (
    "/etc/passwd", "/vsicurl/http://127.0.0.1:9/x", "http://127.0.0.1:9/x", "ESRI::/etc/passwd", "+init=/etc/x:1",
    "+proj=longlat +nadgrids=/dev/zero", "EPSG:4978", "EPSG:99999999999999", "GEOGCS[" * 20_000, "", "utm", "native",
)  # fmt: skip
NUMBERS = (0, -1, 2**31 - 1, 2**31, 2**63 - 1, 10**400, 1e308, float("nan"), float("inf"), -0.0, 5e-324, True)
OTHERS: tuple[Any, ...] = (None, [], {}, [[]], {"a": 1}, "text", 7, *NUMBERS)
LONG = 1 << 27


def _json(path: Path, change: Callable[[Any], None]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _nodes(record: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a JSON value."""
    found = []
    items = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in list(items):
        found += [(record, key), *_nodes(value)]
    return found


def _records(out: Path) -> list[Path]:
    return [out / "_ee_spark" / "job.json", *sorted((out / "_ee_spark" / "runs").glob("*.json"))]


def _parts(out: Path) -> list[Path]:
    return sorted(path for name in ("pixels", "tiles", "images") for path in (out / name).glob("*.parquet"))


def _swapped(random: Random, out: Path) -> str:
    path = random.choice(_records(out))
    value = random.choice((*OTHERS, *TEXTS, *SYSTEMS))

    def change(record: Any) -> None:
        container, key = random.choice(_nodes(record))
        container[key] = value

    _json(path, change)
    return f"a value of {path.name} is another"


def _dropped(random: Random, out: Path) -> str:
    def change(record: Any) -> None:
        container, key = random.choice(_nodes(record))
        del container[key]

    path = random.choice(_records(out))
    _json(path, change)
    return f"a value of {path.name} is gone"


def _flipped(random: Random, out: Path) -> str:
    path = random.choice([*_records(out), *_parts(out)])
    data = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 3, 20, 200))):
        data[random.randrange(len(data))] = random.randrange(256)
    path.write_bytes(bytes(data))
    return f"bytes of {path.name} are others"


def _cut(random: Random, out: Path) -> str:
    path = random.choice([*_records(out), *_parts(out)])
    data = path.read_bytes()
    path.write_bytes(data[: random.randrange(len(data))] + random.choice((b"", b"\0" * 1000, data)))
    return f"{path.name} ends early, or late"


def _sized(random: Random, out: Path) -> str:
    sizes = (0, -1, 1, 17, 32_769, 2**31 - 1, 2**31, 2**40, 1.5, "16", None, True)

    def change(record: Any) -> None:
        record["frozen"]["shape"][random.choice(("width", "height", "margin"))] = random.choice(sizes)

    _json(out / "_ee_spark" / "job.json", change)
    return "tiles have another size"


def _typed(random: Random, out: Path) -> str:
    kinds = ("object", "O", "U9", "V8", "datetime64[s]", "complex128", "float16", "bool", "i4,i4", "../x", "", 7, None)

    def change(record: Any) -> None:
        record["frozen"]["bands"][0][random.choice(("dtype", "name", "old"))] = random.choice((*kinds, *TEXTS))

    _json(out / "_ee_spark" / "job.json", change)
    return "a band has another type or name"


def _placed(random: Random, out: Path) -> str:
    def change(record: Any) -> None:
        lattice = record["frozen"]["lattice"] or {"crs": "x", "res_x": 1, "res_y": 1, "x0": 0, "y0": 0}
        key = random.choice(list(lattice))
        lattice[key] = random.choice(SYSTEMS if key == "crs" else NUMBERS)
        record["frozen"]["lattice"] = lattice

    _json(out / "_ee_spark" / "job.json", change)
    return "the lattice is another"


def _table(random: Random, out: Path) -> tuple[Path, pa.Table]:
    tables = [path for path in _parts(out) if pq.ParquetFile(path).metadata.num_rows]
    path = random.choice(tables)
    return path, pq.ParquetFile(path).read()


def _told(random: Random, out: Path) -> str:
    path, table = _table(random, out)
    names = [item.name for item in table.schema if pa.types.is_string(item.type)]
    name = random.choice(names)
    texts = random.choices(SYSTEMS if name == "crs" else TEXTS, k=table.num_rows)
    index = table.column_names.index(name)
    pq.write_table(table.set_column(index, table.schema.field(name), pa.array(texts, pa.string())), path)
    return f"{name} of {path.parent.name} has other texts"


def _numbered(random: Random, out: Path) -> str:
    path, table = _table(random, out)
    names = [item.name for item in table.schema if pa.types.is_integer(item.type) or pa.types.is_floating(item.type)]
    names += ["transform"] * 3 if "transform" in table.column_names else []
    names += [item.name for item in table.schema if pa.types.is_timestamp(item.type)]
    name = random.choice(names)
    kind = table.schema.field(name).type
    if name == "transform":
        wrong = [random.choice((float("nan"), float("inf"), 1e300, 0.0, -1.0, 5e-324)) for _ in range(6)]
        values: Any = [random.choice((wrong, wrong[:3], [])) for _ in range(table.num_rows)]
    elif pa.types.is_floating(kind):
        values = random.choices((float("nan"), float("inf"), -1e308, 0.0), k=table.num_rows)
    else:
        most = 2**31 - 1 if kind == pa.int32() else 2**63 - 1
        values = random.choices(
            (0, -1, most, -most, None if table.schema.field(name).nullable else 1), k=table.num_rows
        )
    index = table.column_names.index(name)
    pq.write_table(table.set_column(index, table.schema.field(name), pa.array(values, kind)), path)
    return f"{name} of {path.parent.name} has other numbers"


def _columns(random: Random, out: Path) -> str:
    path, table = _table(random, out)
    name = random.choice(table.column_names)
    index = table.column_names.index(name)
    how = random.randrange(5)
    if how == 0:
        table = table.drop_columns([name])
    elif how == 1:
        table = table.rename_columns([random.choice(TEXTS[:20]) if one == name else one for one in table.column_names])
    elif how == 2:
        table = table.set_column(index, name, pa.array([random.choice(TEXTS)] * table.num_rows))
    elif how == 3:
        table = table.set_column(index, name, pa.nulls(table.num_rows))
    else:
        table = table.append_column(random.choice(("../x", "file", "valid", name, "a'b\"")), table.column(name))
    pq.write_table(table, path)
    return f"a column of {path.parent.name} is gone, or another"


def _lengths(random: Random, out: Path) -> str:
    tables = [path for path in sorted((out / "pixels").glob("*.parquet")) if pq.ParquetFile(path).metadata.num_rows]
    path = random.choice(tables)
    table = pq.ParquetFile(path).read()
    names = [item.name for item in table.schema if pa.types.is_list(item.type) and item.name != "transform"]
    name = random.choice(names)
    kind = table.schema.field(name).type
    rows = table.column(name).to_pylist()
    at = random.randrange(len(rows))
    rows[at] = random.choice((rows[at][:-1], [], rows[at] * 2))
    values: Any = pa.array(rows, kind)
    if random.random() < 0.3:  # one list of many zeros: some kilobytes in the file
        flat = pa.array(np.zeros(LONG, kind.value_type.to_pandas_dtype()))
        ends = np.append(np.zeros(len(rows), np.int32), np.int32(LONG))
        values = pa.ListArray.from_arrays(pa.array(ends), flat, kind)
    table = table.set_column(table.column_names.index(name), table.schema.field(name), values)
    pq.write_table(table, path, compression="zstd")
    return f"lists of {name} have other lengths"


def _footer(random: Random, out: Path) -> str:
    path, table = _table(random, out)
    metadata = dict(table.schema.metadata or {})
    key = random.choice([*metadata, b"ee_spark", b"ee_spark.ledger", b"geo"])
    metadata[key] = random.choice(
        (b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"spec": 1}', metadata.get(key, b"")[:-9])
    )
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return f"{key.decode()} in a footer is another"


def _files(random: Random, out: Path) -> str:
    paths = [path for path in sorted(out.rglob("*")) if path.is_file() and "locks" not in path.parts]
    path = random.choice(paths)
    path.unlink()
    how = random.randrange(5)
    if how == 1:
        path.mkdir()
    elif how == 2:
        os.mkfifo(path)
    elif how == 3:
        path.symlink_to(random.choice(("/dev/zero", "/etc/passwd", path.name, "../../../canary/kept.txt")))
    elif how == 4:
        path.write_bytes(b"")
    return f"{path.name} is gone, or no file"


def _added(random: Random, out: Path) -> str:
    names = ("<script>", "a\nb", "x" * 200, "$\\frac", "‮", "a b", "'", '"')
    name = random.choice(names)
    place = random.choice(("_ee_spark/runs/{}.json", "pixels/{}.parquet", "tiles/{}.parquet", "images/{}", "{}"))
    path = out / place.format(name)
    source = _records(out)[-1].read_bytes() if ".json" in place else b"PAR1"
    path.write_bytes(random.choice((source, b"{}", b"", b"[]")))
    return "there is a file with a strange name"


def _planned(random: Random, out: Path) -> str:
    """Say in a run's record that it planned without end: arrays that unfold, runs of tiles that never stop."""
    sink = io.BytesIO()
    if random.random() < 0.5:
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("row.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<i8", "fortran_order": False, "shape": (1 << 29,)})
            for _ in range(1 << 8):
                member.write(bytes(1 << 20))
    else:
        one = np.ones(1, np.int64)
        names = ("lattice", "block_row", "block_column", "bucket", "image", "row", "start")
        far = {"stop": one * random.choice((2**40, 2**62, -5)), "edges": np.array([0, random.choice((1, 2**40))])}
        np.savez(sink, allow_pickle=random.random() < 0.5, **dict.fromkeys(names, one * 0), **far)

    def change(record: Any) -> None:
        if "arrays" in record["pairs"]:
            record["pairs"]["arrays"] = base64.b64encode(sink.getvalue()).decode()
        else:
            what = random.choice(("runs", "places"))
            record["pairs"][what] = {"data": base64.b64encode(_stream(random)).decode()}

    _json(_records(out)[-1], change)
    return "a run planned without end"


def _stream(random: Random) -> bytes:
    """Return an Arrow stream that is no plan, no points, no graphs, or says that it is longer than all memory."""
    how = random.randrange(6)
    rows = 1001 if how else 1 << random.choice((4, 18, 24))
    numbers = dict.fromkeys(
        ("image", "row", "start", "lattice", "bucket", "block_row", "block_column"), np.zeros(rows, "i8")
    )
    table = pa.table({**numbers, "stop": np.eye(1, rows, dtype="i8")[0] * random.choice((0, 1, 64, 2**40))})
    if how == 1:
        table = pa.table({name: pa.nulls(rows) for name in ("id", "lon", "lat", "graph", *table.column_names)})
    elif how in (2, 3):
        texts = pa.array([random.choice(TEXTS)] * rows, pa.large_string())
        places = dict.fromkeys(("lon", "lat"), np.full(rows, random.choice((np.nan, 1e308, 0.0))))
        table = pa.table({"id": texts, "graph": texts, **places, **(numbers if how == 2 else {})})
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd" if how != 3 else None)
    for part in (table, table.slice(0, 0)):
        with pa.ipc.new_stream(sink, part.schema, options=options) as writer:
            writer.write_table(part)
    data = sink.getvalue()
    if how == 4:
        data = data.replace(struct.pack("<q", 8 * rows), struct.pack("<q", random.choice((2**62, 2**34, -2, 0))))
    if how == 3:  # texts whose ends lie before their beginnings, or beyond all bytes
        first, wrong = struct.pack("<q", len(texts[0].as_py().encode())), random.choice((-9, 2**33, 2**62))
        data = data.replace(first, struct.pack("<q", wrong), 2)
    return data[: random.randrange(len(data))] if how == 5 else data


def _kept(random: Random, out: Path) -> str:
    """Put other bytes into what is named by its content, and that name into the records."""
    files = sorted(
        path for name in ("points", "graphs", "plans") for path in (out / "_ee_spark" / name).glob("*.arrow")
    )
    if not files:
        return _planned(random, out)
    path, data = random.choice(files), _stream(random)
    new = path.with_name(f"{hashlib.sha256(data).hexdigest()[:16]}.arrow")
    new.write_bytes(data)
    for record in _records(out):
        record.write_text(record.read_text().replace(path.name, new.name))
    return f"{path.parent.name} of a run are others"


def _ledger(random: Random, out: Path) -> str:
    """Put another ledger into a part's footer: other rows, other columns, or one that says that it is without end."""
    parts = [path for path in sorted((out / "pixels").glob("*.parquet")) if pq.ParquetFile(path).metadata.num_rows]
    path = random.choice(parts)
    file = pq.ParquetFile(path)
    table, ledger = file.read(), json.loads(file.metadata.metadata[b"ee_spark.ledger"])
    name = random.choice(("final", "empty"))
    old = pa.ipc.open_stream(base64.b64decode(ledger[name])).read_all()
    column = random.choice(old.column_names)
    at = old.column_names.index(column)
    new = random.choice(
        (
            old.slice(1),
            pa.concat_tables([old] * 3),
            old.drop_columns([column]),
            old.set_column(at, column, pa.nulls(old.num_rows)),
            old.set_column(at, column, pa.array([random.choice(TEXTS)] * old.num_rows)),
            old.set_column(at, column, pa.array(np.zeros(old.num_rows))),
            old.append_column(column, old.column(column)),
        )
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, new.schema) as writer:
        writer.write_table(new)
    data = random.choice((sink.getvalue(), sink.getvalue(), _stream(random)))
    ledger[name] = base64.b64encode(data).decode()
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"ee_spark.ledger": json.dumps(ledger)})
    return f"the ledger of {path.name} is another"


def _replaced(random: Random, out: Path) -> str:
    """Replace a record, the table of images or a whole table by what is none, and may be large."""
    paths = [*_records(out), *sorted((out / "images").glob("*")), random.choice(_parts(out))]
    path = random.choice(paths)
    large = (b" " * 10**8, b"[" * 10**8, b'{"a":[' + b"[]," * (3 * 10**7) + b"0]}", bytes(10**8))
    path.write_bytes(random.choice((b"", b"{}", b"[]", b"null", b"0", b'"x"', b"\xff" * 99, b"PAR1PAR1", *large)))
    return f"{path.name} is something else"


MUTATIONS: dict[str, Callable[[Random, Path], str]] = {
    "json-swapped": _swapped, "json-dropped": _dropped, "bytes-flipped": _flipped, "cut": _cut, "sizes": _sized,
    "types": _typed, "lattice": _placed, "texts": _told, "numbers": _numbered, "columns": _columns, "lengths": _lengths,
    "footer": _footer, "files": _files, "strange-names": _added, "planned": _planned, "kept": _kept, "ledger": _ledger,
    "replaced": _replaced,
}  # fmt: skip
