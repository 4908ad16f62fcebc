"""How fast the emulator is: requests per second, bytes per second, and a median of 20 images.

    python benchmarks/emulator.py [--seconds 3] [--connections 8]

The floor is a bare asyncio server that sends the same bytes to the same client, in the same run: what is printed are
rates and their ratios to it. Client and server are processes of their own, so two cores are used.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ee
import numpy as np
import rasterio
import urllib3
from google.auth.credentials import AnonymousCredentials
from rasterio.transform import Affine

import ee_emulator as emulator

UTM, LEFT, TOP, SIZE = "EPSG:32633", 400_000, 5_000_000, 10
SIDE = 2048
IMAGES = 20
GETPIXELS = "/v1/projects/earthengine-public/assets/BENCH/{}:getPixels"


def catalog(folder: Path) -> Path:
    """A scene of four uint16 bands, one of a uint8 band, and a series of two bands in 20 images."""
    rng = np.random.default_rng(1)
    files = {"wide": (4, SIDE, "uint16"), "byte": (1, SIDE, "uint8")}
    files |= {f"series/i{i:02}": (2, 512, "uint16") for i in range(IMAGES)}
    assets = []
    for name, (bands, side, dtype) in files.items():
        path = folder / f"{name.replace('/', '_')}.tif"
        profile = {"driver": "GTiff", "width": side, "height": side, "count": bands, "dtype": dtype, "crs": UTM}
        with rasterio.open(path, "w", **profile, transform=Affine(SIZE, 0, LEFT, 0, -SIZE, TOP)) as target:
            target.write(rng.integers(1, 250, (bands, side, side)).astype(dtype))
        listed = [{"id": f"b{i}", "file": path.name, "index": i} for i in range(1, bands + 1)]
        assets.append({"id": f"BENCH/{name}", "startTime": "2020-01-01T00:00:00Z", "bands": listed})
    (folder / "catalog.json").write_text(json.dumps({"assets": assets}))
    return folder


def request(asset: str, bands: list[str], side: int, column: int, row: int) -> bytes:
    """A whole HTTP request for one tile."""
    affine = {"scaleX": SIZE, "translateX": LEFT + column * SIZE, "scaleY": -SIZE, "translateY": TOP - row * SIZE}
    grid = {"dimensions": {"width": side, "height": side}, "affineTransform": affine, "crsCode": UTM}
    body = json.dumps({"fileFormat": "NPY", "bandIds": bands, "grid": grid}).encode()
    head = f"POST {GETPIXELS.format(asset)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def tiles(asset: str, bands: list[str], side: int) -> list[bytes]:
    steps = range(0, SIDE - side + 1, side)
    return [request(asset, bands, side, column, row) for row in steps for column in steps]


class _Client(asyncio.BufferedProtocol):
    """One connection that sends its next request as soon as it has the whole reply; replies are not kept."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = bytearray(1 << 20)
        self._filled = 0
        self._missing = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._transport.write(self._load.message())

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, count: int) -> None:
        self._load.size += count
        if self._missing == 0:
            self._filled += count
            head, found, rest = self._buffer[: self._filled].partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 200"), head
            self._missing = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            count, self._filled = len(rest), 0
        self._missing -= count
        if self._missing == 0:
            self._load.done += 1
            if time.monotonic() < self._load.until:
                self._transport.write(self._load.message())
            else:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.open -= 1
        if self._load.open == 0:
            self._load.ended.set()


class _Load:
    """What the connections share: the requests in turn, and the counts."""

    def __init__(self, messages: list[bytes], connections: int, seconds: float) -> None:
        self._turn = itertools.cycle(messages)
        self.open = connections
        self.until = time.monotonic() + seconds
        self.ended = asyncio.Event()
        self.done = self.size = 0

    def message(self) -> bytes:
        return next(self._turn)


async def _load(port: int, messages: list[bytes], connections: int, seconds: float) -> tuple[int, int]:
    """Requests answered and bytes read by that many connections in that time."""
    load = _Load(messages, connections, seconds)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(load), "127.0.0.1", port)
    await load.ended.wait()
    return load.done, load.size


def rate(port: int, messages: list[bytes], connections: int, seconds: float) -> tuple[float, float]:
    """Requests and megabytes per second, after one warm round."""
    asyncio.run(_load(port, messages, connections, min(1.0, seconds)))
    started = time.monotonic()
    done, size = asyncio.run(_load(port, messages, connections, seconds))
    spent = time.monotonic() - started
    return done / spent, size / spent / 1e6


class _Bare(asyncio.Protocol):
    """Answers whatever comes with the same bytes: what asyncio and the kernel cost."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)


def _floor(answer: bytes, pipe: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Bare(answer), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def floor(answer: bytes, messages: list[bytes], connections: int, seconds: float) -> tuple[float, float]:
    """As `rate`, of the bare server."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_floor, args=(answer, theirs), daemon=True)
    process.start()
    try:
        return rate(ours.recv(), messages, connections, seconds)
    finally:
        process.terminate()
        process.join()


def one_answer(url: str, message: bytes) -> bytes:
    """The emulator's own answer to a request, head and body."""
    path, body = message.split(b" ")[1].decode(), message.partition(b"\r\n\r\n")[2]
    data = urllib3.PoolManager().request("POST", url + path, body=body).data
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Connection: keep-alive\r\n\r\n".encode() + data


def median_ndvi(url: str) -> float:
    """Median milliseconds of the NDVI of the median of 20 images at 256 × 256."""
    ee.Initialize(AnonymousCredentials(), project="benchmark", url=url)
    composite = ee.ImageCollection("BENCH/series").median()
    expression = composite.normalizedDifference(["b2", "b1"])
    grid = {"dimensions": {"width": 256, "height": 256}, "crsCode": UTM}
    spent = []
    for i in range(12):
        affine = {"scaleX": SIZE, "translateX": LEFT + i * SIZE, "scaleY": -SIZE, "translateY": TOP}
        started = time.perf_counter()
        found = ee.data.computePixels(
            {"expression": expression, "fileFormat": "NUMPY_NDARRAY", "grid": {**grid, "affineTransform": affine}}
        )
        spent.append((time.perf_counter() - started) * 1000)
        assert found.shape == (256, 256)
    return statistics.median(spent[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=8)
    given = parser.parse_args()
    cases = {
        "64 x 64 x 1 uint8, requests/s": (tiles("byte", ["b1"], 64), 0, 1500),
        "512 x 512 x 4 uint16, MB/s": (tiles("wide", ["b1", "b2", "b3", "b4"], 512), 1, 400),
    }
    with tempfile.TemporaryDirectory() as folder, emulator.start(catalog(Path(folder))) as service:
        port = int(service.url.rpartition(":")[2])
        for name, (messages, unit, aim) in cases.items():
            ours = rate(port, messages, given.connections, given.seconds)[unit]
            bare = floor(one_answer(service.url, messages[0]), messages, given.connections, given.seconds)[unit]
            print(f"{name:32} {ours:8.0f}   floor {bare:8.0f}   ratio {ours / bare:.2f}   aim {aim}")
        print(f"{'NDVI of a median of 20, ms':32} {median_ndvi(service.url):8.0f}   {'':29} aim 150")


if __name__ == "__main__":
    main()
