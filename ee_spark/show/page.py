"""A dataset as one self-contained HTML page: what it holds, what became of its tiles, and what the runs cost."""

from __future__ import annotations

import base64
import html
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ee_spark.errors import JobError
from ee_spark.read.dataset import Dataset, open_dataset
from ee_spark.show import quicklook
from ee_spark.store.schema import RUNS
from ee_spark.version import __version__

LOOKS = 6
PATCHES = 36
FAILURES = 20
_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:16px/1.45 system-ui,sans-serif;color:#27303d;background:#f4f5f7;margin:0;padding:16px}
main{max-width:1100px;margin:0 auto}h1{font-size:1.5em;margin:.2em 0;overflow-wrap:anywhere}
h2{font-size:1.05em;margin:0 0 .5em}p{margin:.3em 0;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(120px,1fr));gap:10px}
.cards div,section{background:#fff;border-radius:8px;padding:12px 14px;box-shadow:0 1px 2px #0001}
.cards b{display:block;font-size:1.35em}.ok b{color:#3f8f4f}.failed b{color:#c8102e}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:12px}
.charts{margin:12px 0;align-items:start}
img{display:block;width:100%;height:auto}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9em}
th,td{text-align:left;padding:4px 10px 4px 0;vertical-align:top}th{font-weight:600;border-bottom:1px solid #c9ced6}
td{border-bottom:1px solid #e3e6ea;overflow-wrap:anywhere}td:first-child{white-space:nowrap}.table{margin:12px 0}
footer{color:#667;font-size:.85em;margin:16px 0}
"""


def write(path: str, out: str, storage: Mapping[str, Any] | None = None) -> str:
    """Write the page of the dataset at ``path`` to the file ``out`` and say what it shows.

    Raises:
        JobError: if there is no dataset, the page cannot be written, or there is no matplotlib to draw with.
    """
    try:
        from ee_spark.show import charts  # noqa: F401 (needs matplotlib)
    except ImportError:
        raise JobError("report: matplotlib is not installed; pip install 'ee-spark[local]'") from None
    dataset = open_dataset(path, storage)
    text = page(dataset)
    try:
        target = Path(out)
        scratch = target.with_name(f".{target.name}.{os.getpid()}")
        scratch.write_text(text)
        scratch.replace(target)
    except OSError as error:
        raise JobError(f"--out: cannot write {out!r}: {error.strerror}") from None
    counts = ", ".join(f"{count:,} {name}" for name, count in dataset.counts.items())
    return f"page: {out}: {counts}; {len(text) / 1e6:.1f} MB"


def page(dataset: Dataset) -> str:
    """Return the page as HTML that asks for nothing from outside."""
    tiles, runs = dataset.tiles(), run_records(dataset)
    name = html.escape(str(dataset.job["name"]))
    charts = "".join(
        f"<section><h2>{html.escape(title)}</h2>{_image(svg, title)}</section>"
        for title, svg in _charts(dataset, tiles, runs)
    )
    return (
        f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>{name}</title>"
        f'<meta name=viewport content="width=device-width,initial-scale=1"><link rel=icon href="data:,">'
        f"<style>{_STYLE}</style></head><body><main><h1>{name}</h1><p>{html.escape(dataset.path)}</p>"
        f"<div class=cards>{_cards(dataset, tiles)}</div><div class=charts>{charts}</div>"
        f"{_failures(tiles)}{_bands(dataset, tiles)}{_runs(runs)}{_facts(dataset)}"
        f"<footer>ee_spark {__version__}</footer></main></body></html>\n"
    )


def run_records(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the records of the dataset's runs, oldest first."""
    names = [entry.name for entry in dataset.store.list(f"{RUNS}/") if entry.name.endswith(".json")]
    found = [json.loads(item[0]) for name in names if (item := dataset.store.read(name))]
    return sorted(found, key=lambda record: str(record.get("started_at", "")))


def _charts(dataset: Dataset, tiles: pa.Table, runs: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    from ee_spark.show import charts

    if tiles.num_rows:
        boxes, statuses = places(tiles)
        yield "Tiles over their region", charts.tile_map(boxes, statuses, outline(runs))
    if dataset.counts["ok"]:
        yield _look(dataset, tiles)
        times, shares, what = by_image(dataset, tiles)
        if len(times):
            yield f"{len(times):,} images over time", charts.time_axis(times, shares, what)
        values = quicklook.samples(dataset)
        if any(found.size for found in values.values()):
            yield "Values of each band", charts.histograms(values)
        fetched = tiles.filter(pc.equal(tiles["status"], "ok"))
        moments = {
            run: fetched.filter(pc.equal(fetched["run_id"], run))["created_at"].to_numpy()
            for run in pc.unique(fetched["run_id"]).to_pylist()
        }
        yield "Rate", charts.rate(moments)
        yield "Latency", charts.latency(fetched["fetch_ms"].drop_null().to_numpy().astype(np.float64))


def _look(dataset: Dataset, tiles: pa.Table) -> tuple[str, str]:
    from ee_spark.show import charts

    bands = ", ".join(quicklook.colours(list(dataset.bands)))
    if dataset.points:
        stacks = list(quicklook.patches(dataset, PATCHES))
        return f"{len(stacks)} patches: {bands}", charts.pictures(stacks, [""] * len(stacks))
    images = quicklook.best_images(tiles, LOOKS)
    times = dict(zip(tiles["image_id"].to_pylist(), tiles["image_time"].to_pylist(), strict=True))
    titles = [f"{times[image]:%Y-%m-%d}" if times[image] else image for image in images]
    stacks = [quicklook.mosaic(dataset, image) for image in images]
    return f"The clearest images: {bands}", charts.pictures(stacks, titles)


def places(tiles: pa.Table) -> tuple[Any, list[str]]:
    """Return the box of each distinct tile as (n, 4), and its worst status over all images: failed, ok, empty."""
    rank = {"empty": 0, "ok": 1, "failed": 2}
    order = pa.array([rank[status] for status in tiles["status"].to_pylist()])
    edges = {name: pc.struct_field(tiles["bbox"], name) for name in ("xmin", "ymin", "xmax", "ymax")}
    table = pa.table({"tile_id": tiles["tile_id"], "rank": order, **edges})
    found = table.group_by("tile_id", use_threads=False).aggregate(
        [("rank", "max"), *((name, "first") for name in edges)]
    )
    boxes = np.column_stack([found[f"{name}_first"].to_numpy() for name in edges])
    names = {value: name for name, value in rank.items()}
    return boxes, [names[value] for value in found["rank_max"].to_pylist()]


def outline(runs: list[dict[str, Any]]) -> list[Any]:
    """Return the rings of the last run's region, in lon and lat; none for points."""
    region = runs[-1].get("region", {}).get("geojson") if runs else None
    if not region:
        return []
    polygons = [region["coordinates"]] if region["type"] == "Polygon" else region["coordinates"]
    return [ring for polygon in polygons for ring in polygon]


def by_image(dataset: Dataset, tiles: pa.Table) -> tuple[Any, Any, str]:
    """Return the images' times, and the share of each image's pixels that are valid (tiles ok, where masks are not)."""
    pixels = dataset.shape[0] * dataset.shape[1]
    masked = dataset.frozen.mask != "none"
    ok = pc.equal(tiles["status"], "ok").cast(pa.float64())
    good = pc.divide(tiles["valid_count"].cast(pa.float64()).fill_null(0), float(pixels)) if masked else ok
    table = pa.table({"image_id": tiles["image_id"], "time": tiles["image_time"], "good": good})
    found = table.group_by(["image_id", "time"]).aggregate([("good", "mean")])
    found = found.filter(pc.is_valid(found["time"])).sort_by("time")
    return found["time"].to_numpy(), found["good_mean"].to_numpy(), "valid" if masked else "ok"


def _cards(dataset: Dataset, tiles: pa.Table) -> str:
    counts = dataset.counts
    images = pc.count_distinct(tiles["image_id"]).as_py()
    numbers = {
        "planned": f"{counts['planned']:,}",
        "ok": f"{counts['ok']:,}",
        "empty": f"{counts['empty']:,}",
        "failed": f"{counts['failed']:,}",
        "images": f"{images:,}",
        "tiles": f"{pc.count_distinct(tiles['tile_id']).as_py():,}",
        "pixels": _short(counts["ok"] * dataset.shape[0] * dataset.shape[1]),
        "bytes received": _short(pc.sum(tiles["bytes_in"]).as_py() or 0),
        "requests": _short(pc.sum(tiles["requests"]).as_py() or 0),
    }
    mark = {"ok": " class=ok", "failed": " class=failed" if counts["failed"] else ""}
    return "".join(f"<div{mark.get(name, '')}><b>{value}</b>{name}</div>" for name, value in numbers.items())


def _failures(tiles: pa.Table) -> str:
    failed = tiles.filter(pc.equal(tiles["status"], "failed"))
    if not failed.num_rows:
        return ""
    names = ("error_class", "http_status", "error_message")
    counted = Counter(zip(*(failed[name].to_pylist() for name in names), strict=True))
    rows = [
        (f"{count:,}", *("" if part is None else part for part in key)) for key, count in counted.most_common(FAILURES)
    ]
    return _table("Failures", ("tiles", "class", "HTTP", "reason"), rows)


def _bands(dataset: Dataset, tiles: pa.Table) -> str:
    rows = []
    for band, kind in dataset.bands.items():
        low, high = pc.min(tiles[f"{band}_min"]).as_py(), pc.max(tiles[f"{band}_max"]).as_py()
        weights = tiles["valid_count"].cast(pa.float64())
        total = pc.sum(pc.multiply(tiles[f"{band}_mean"], weights)).as_py()
        count = pc.sum(pc.if_else(pc.is_valid(tiles[f"{band}_mean"]), weights, None)).as_py()
        mean = total / count if count else None
        rows.append((band, kind.name, *("–" if value is None else f"{value:.6g}" for value in (low, mean, high))))
    return _table("Bands", ("band", "type", "min", "mean", "max"), rows)


def _runs(runs: list[dict[str, Any]]) -> str:
    rows = []
    for record in runs:
        report = record.get("report") or {}
        names = ("ok", "empty", "failed", "skipped", "missing", "requests", "retries")
        rows.append(
            (
                record.get("run_id", ""),
                report.get("status", "not ended"),
                *(f"{report[name]:,}" if name in report else "" for name in names),
                f"{report['seconds']:,.1f}" if "seconds" in report else "",
            )
        )
    heads = ("run", "status", "ok", "empty", "failed", "skipped", "missing", "requests", "retries", "seconds")
    return _table("Runs", heads, rows)


def _facts(dataset: Dataset) -> str:
    frozen, identity = dataset.frozen, dataset.job["identity"]
    lattice = frozen.lattice
    where = f"{lattice.crs} at {lattice.res_x:g} × {lattice.res_y:g}" if lattice else "the images' own"
    source = next((str(value) for key, value in identity.items() if key.startswith("source.") and value), "")
    rows = [
        ("source", source),
        ("method", frozen.method),
        ("lattice", f"{where}, {frozen.align}"),
        ("tile", f"{frozen.shape.width} × {frozen.shape.height} pixels, margin {frozen.shape.margin}"),
        ("mask", frozen.mask),
        ("fingerprint", str(dataset.job["fingerprint"])),
    ]
    return _table("The job", ("", ""), rows)


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads) if any(heads) else ""
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<section class=table><h2>{html.escape(title)}</h2><div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _image(svg: str, title: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/svg+xml;base64,{data}">'


def _short(number: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if abs(number) < 1000:
            return f"{number:.3g}{' ' if unit else ''}{unit}"
        number /= 1000
    return f"{number:.3g} P"
