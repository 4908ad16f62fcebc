"""A plan for people and for programs: what would be asked for, and why it is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ee_spark.dataproc.batch import lane_megabytes, lanes, properties
from ee_spark.errors import JobError
from ee_spark.limits import MAX_BYTES
from ee_spark.planner.frozen import Note
from ee_spark.planner.images import NO_TIME, iso
from ee_spark.planner.naming import BandNamesError
from ee_spark.planner.plan import Plan
from ee_spark.planner.standing import Standing


def figures(plan: Plan) -> dict[str, Any]:
    """Return the plan as one JSON object; requests, bytes and hours are those of a run of it now."""
    engine, frozen = plan.config.earth_engine, plan.frozen
    times = plan.images.time[plan.images.time != NO_TIME]
    pack = min(plan.pack, max(1, len(plan.images)))
    now = plan.standing or Standing(0, 0, plan.pairs.count, plan.requests)
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
        "pairs_committed": now.committed,
        "pairs_failed_before": now.failed,
        "pairs_new": now.new,
        "pairs_asked": now.asked,
        "standing_exact": now.exact,
        "chunks": len(plan.pairs),
        "requests": now.requests,
        "requests_in_all": plan.requests,
        "raw_bytes": now.asked * frozen.tile_bytes,
        "images_per_request": pack,
        "request_bytes": plan.request_bytes * pack,
        "request_limit_bytes": MAX_BYTES,
        "hours_at_quota": now.requests / engine.requests_per_minute / 60,
        "hours_at_latency": _at_latency(now.requests, plan),
        "probe_seconds": plan.latency,
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
        **_cluster(plan),
        "notes": [{"what": what, "value": value, "why": why} for what, value, why in plan.notes],
        "path": plan.config.output.path,
    }


def naming(error: BandNamesError) -> dict[str, Any]:
    """Return, as one JSON object, the names that a plan needs for its bands; ``source`` is ready for the job file."""
    bands = [{"name": new, "source": old, "dtype": error.dtypes[new]} for new, old in error.mapping.items()]
    return {"error": str(error), "bands": bands, "source": {"bands": error.mapping}}


def table(plan: Plan) -> str:
    """Return the plan as lines that a person can read."""
    data, frozen = figures(plan), plan.frozen
    width, height = frozen.shape.stored
    span = f"{data['first_time'][:10]} to {data['last_time'][:10]}" if data["first_time"] else "without time"
    left_out = f", {data['images_without_time']} without a time left out" if data["images_without_time"] else ""
    rows = [
        ("job", f"{data['name']}, fingerprint {data['fingerprint'][:8]}", ""),
        ("images", f"{data['images']:,}", span + left_out),
        (
            "tiles",
            f"{data['tiles']:,}",
            f"{width} × {height} pixels" + (f", margin {data['margin']}" * bool(data["margin"])),
        ),
        ("pairs", f"{data['pairs']:,}", f"{data['pairs_not_touched']:,} more do not touch: not asked for"),
        *_standing(plan),
        ("requests", f"{'' if data['standing_exact'] else 'about '}{data['requests']:,}", _packs(data)),
        ("raw pixels", _size(data["raw_bytes"]), f"in {data['chunks']:,} chunks"),
        ("time", *_time(plan, data)),
        ("lanes", *_lanes(data)),
        *plan.notes,
        ("output", data["path"], ""),
    ]
    first, second = (max(len(row[index]) for row in rows) for index in (0, 1))
    second = min(second, 60)
    return "\n".join(f"{what:<{first}}  {value:<{second}}  {why}".rstrip() for what, value, why in rows)


def _standing(plan: Plan) -> list[Note]:
    """Return what the dataset has of the pairs, where there is one."""
    now = plan.standing
    if now is None:
        return []
    about = "" if now.exact else "about "
    failed = "not asked for again (--skip-failed)" if now.skips_failed else "asked for again; --skip-failed leaves them"
    rows = [("there already", f"{about}{now.committed:,}", "ok or empty: not asked for again")]
    rows += [("failed before", f"{about}{now.failed:,}", failed)] if now.failed else []
    return [*rows, ("new", f"{about}{now.new:,}", "" if now.exact else "reckoned from some of the dataset's ledgers")]


def _packs(data: Mapping[str, Any]) -> str:
    if not data["requests"]:
        return "a run now asks for nothing" if data["pairs"] else "no image touches the region"
    pack, share = data["images_per_request"], data["request_bytes"] / MAX_BYTES
    packs = f"up to {pack} images of a tile in each, " if pack > 1 else ""
    return f"{packs}{data['request_bytes']:,} bytes each, {share:.1%} of the limit of {MAX_BYTES:,}"


def _at_latency(requests: int, plan: Plan) -> float | None:
    """Return the hours that requests take at the probe's latency, with as many in flight as the job may have."""
    if plan.latency is None:
        return None
    engine = plan.config.earth_engine
    return requests * plan.latency / min(engine.concurrent_requests, max(1, requests)) / 3600


def _time(plan: Plan, data: Mapping[str, Any]) -> tuple[str, str]:
    """Return how long the run takes at least, and both bounds of which that is the later one."""
    quota, slow, engine = data["hours_at_quota"], data["hours_at_latency"], plan.config.earth_engine
    if not data["requests"]:
        return "none", "nothing is asked for"
    at_quota = f"{_hours(quota)} at {engine.requests_per_minute:,} requests per minute"
    if slow is None:
        return _hours(quota), f"{at_quota}; latency may make it longer"
    pixel = f"{data['probe_seconds'] * 1000:,.0f} ms"
    return (
        f"{_hours(max(quota, slow))} or more",
        f"{at_quota}; {_hours(slow)} at {engine.concurrent_requests} in flight and {pixel} per request, as the probe "
        "of one pixel took: tiles take longer",
    )


def _cluster(plan: Plan) -> dict[str, Any]:
    """Return how many lanes share the quota and what Spark a submission asks for, or why no executor can hold one."""
    try:
        asked: dict[str, str] | str = properties(plan.config)
    except JobError as error:
        asked = str(error)
    return {"lanes": lanes(plan.config), "lane_megabytes": lane_megabytes(plan.config), "spark": asked}


def _lanes(data: Mapping[str, Any]) -> tuple[str, str]:
    spark, count = data["spark"], f"{data['lanes']:,}"
    if isinstance(spark, str):
        return count, spark
    executors, cores = (int(spark[f"spark.executor.{name}"]) for name in ("instances", "cores"))
    memory = sum(int(spark[f"spark.executor.{name}"].rstrip("m")) for name in ("memory", "memoryOverhead"))
    return count, (
        f"share the quota, each of up to {data['lane_megabytes']:,} MiB: {executors:,} executors of {cores} cores and "
        f"{memory:,} MiB, as a submission asks for; more make nothing faster"
    )


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    raise AssertionError("the last unit returns")


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    if hours >= 1 / 60:
        return f"{hours * 60:.1f} minutes"
    seconds = hours * 3600
    if seconds < 0.1:
        return "less than 0.1 seconds"
    return f"{seconds:.1f} seconds" if seconds < 9.95 else f"{seconds:.0f} seconds"
