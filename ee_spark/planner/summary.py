"""A plan for people and for programs: what would be asked for, and why it is as it is."""

from __future__ import annotations

from typing import Any

from ee_spark.limits import MAX_BYTES
from ee_spark.planner.images import NO_TIME, iso
from ee_spark.planner.plan import Plan


def figures(plan: Plan) -> dict[str, Any]:
    """Return the plan as one JSON object."""
    engine, frozen = plan.config.earth_engine, plan.frozen
    times = plan.images.time[plan.images.time != NO_TIME]
    requests, pack = plan.requests, min(plan.pack, max(1, len(plan.images)))
    return {
        "name": plan.config.name,
        "fingerprint": plan.fingerprint,
        "images": len(plan.images),
        "images_without_time": plan.images.without_time,
        "first_time": iso(int(times.min())) if len(times) else None,
        "last_time": iso(int(times.max())) if len(times) else None,
        "tiles": plan.tiles,
        "pairs": plan.pairs.count,
        "pairs_not_touched": plan.untouched,
        "chunks": len(plan.pairs),
        "requests": requests,
        "raw_bytes": plan.pairs.count * frozen.tile_bytes,
        "images_per_request": pack,
        "request_bytes": plan.request_bytes * pack,
        "request_limit_bytes": MAX_BYTES,
        "hours_at_quota": requests / engine.requests_per_minute / 60,
        "method": frozen.method,
        "bands": [{"name": band.name, "source": band.old, "dtype": band.dtype} for band in frozen.bands],
        "mask": frozen.mask,
        "tile": list(frozen.shape.stored),
        "margin": frozen.shape.margin,
        "lattices": [
            {"crs": one.crs, "resolution": [one.res_x, one.res_y], "offset": [one.x0, one.y0]}
            for one in plan.pairs.lattices
        ],
        "align": frozen.align,
        "time_bucket_days": frozen.days,
        "block_tiles": frozen.side,
        "notes": [{"what": what, "value": value, "why": why} for what, value, why in plan.notes],
        "path": plan.config.output.path,
    }


def table(plan: Plan) -> str:
    """Return the plan as lines that a person can read."""
    data, frozen = figures(plan), plan.frozen
    width, height = frozen.shape.stored
    span = f"{data['first_time'][:10]} to {data['last_time'][:10]}" if data["first_time"] else "without time"
    left_out = f", {data['images_without_time']} without a time left out" if data["images_without_time"] else ""
    share, pack = data["request_bytes"] / MAX_BYTES, data["images_per_request"]
    packs = f"up to {pack} images of a tile in each, " if pack > 1 else ""
    pace = plan.config.earth_engine.requests_per_minute
    rows = [
        ("job", f"{data['name']}, fingerprint {data['fingerprint'][:8]}", ""),
        ("images", f"{data['images']:,}", span + left_out),
        (
            "tiles",
            f"{data['tiles']:,}",
            f"{width} × {height} pixels" + (f", margin {data['margin']}" * bool(data["margin"])),
        ),
        ("pairs", f"{data['pairs']:,}", f"{data['pairs_not_touched']:,} more do not touch: not asked for"),
        (
            "requests",
            f"{data['requests']:,}",
            f"{packs}{data['request_bytes']:,} bytes each, {share:.1%} of the limit of {MAX_BYTES:,}",
        ),
        ("raw pixels", _size(data["raw_bytes"]), f"in {data['chunks']:,} chunks"),
        ("time", _hours(data["hours_at_quota"]), f"at {pace:,} requests per minute; latency may make it longer"),
        *plan.notes,
        ("output", data["path"], ""),
    ]
    first, second = (max(len(row[index]) for row in rows) for index in (0, 1))
    second = min(second, 60)
    return "\n".join(f"{what:<{first}}  {value:<{second}}  {why}".rstrip() for what, value, why in rows)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    raise AssertionError("the last unit returns")


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} hours"
    return f"{hours * 60:.1f} minutes" if hours >= 1 / 60 else f"{hours * 3600:.0f} seconds"
