"""The command: `python -m ee_spark.emulator` and `ee-spark emulator`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click

_PARENT_CHECK_SECONDS = 1.0


@click.command(name="emulator")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; 0 takes a free one.")
@click.option(
    "--catalog",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder with a catalog.json; default: the real scenes that come with the package.",
)
@click.option("--quota", type=click.IntRange(0), default=0, help="Requests in flight before 429; 0: no limit.")
@click.option("--requests-per-minute", type=click.IntRange(0), default=0, help="Before 429; 0: no limit.")
@click.option("--latency-ms", type=click.FloatRange(0), default=0.0, help="What every request takes at least.")
@click.option("--jitter", type=click.FloatRange(0, 1), default=0.0, help="Spread of the latency, ± that fraction.")
@click.option(
    "--faults",
    default="",
    help="500:P,503:P,reset:P,truncate:P,slow:P,oom-above:BYTES,timeout-above:BYTES,daily-after:N,restricted:1",
)
@click.option("--cache-mb", type=click.IntRange(1), default=256, help="Memory for decoded raster blocks.")
@click.option("--seed", type=int, default=0, help="Seed of latency and faults.")
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input or the parent process does.")
def main(
    port: int,
    catalog: Path | None,
    quota: int,
    requests_per_minute: int,
    latency_ms: float,
    jitter: float,
    faults: str,
    cache_mb: int,
    seed: int,
    with_parent: bool,
) -> None:
    """Serve an Earth Engine on loopback, for the unmodified official client and everybody else's programs."""
    # Imported here: `--help` and `emulator.start` must not pay for the raster stack.
    from .catalog import PACKAGED, Catalog
    from .errors import CatalogError
    from .raster import BlockCache
    from .server import Server
    from .service import Service
    from .traffic import Rules, Traffic

    try:
        values: dict[str, Any] = {"quota": quota, "requests_per_minute": requests_per_minute}
        values |= {"latency_ms": latency_ms, "jitter": jitter, "faults": faults}
        traffic = Traffic(Rules().changed(values), seed)
        service = Service(Catalog(catalog or PACKAGED), BlockCache(cache_mb << 20), traffic.judge)
    except (CatalogError, ValueError) as error:
        _refuse(str(error))
    try:
        asyncio.run(_serve(Server(service, traffic), port, with_parent))
    except OSError as error:
        _refuse(f"cannot listen on 127.0.0.1:{port}: {error.strerror or error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass


def _refuse(why: str) -> None:
    print(f"ee-spark emulator: {why}", file=sys.stderr, flush=True)
    raise SystemExit(2)


async def _serve(server: Any, port: int, with_parent: bool) -> None:
    import signal

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    if with_parent:
        _follow(loop, task, os.getppid())
    await server.listen(port, lambda at: print(f"listening on http://127.0.0.1:{at}", flush=True))


def _follow(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any], parent: int) -> None:
    """Cancel `task` when standard input ends or the parent changes (a fork may still hold the pipe's other end)."""

    def readable() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            task.cancel()

    def check() -> None:
        if os.getppid() != parent:
            task.cancel()
        else:
            loop.call_later(_PARENT_CHECK_SECONDS, check)

    loop.add_reader(0, readable)
    check()
