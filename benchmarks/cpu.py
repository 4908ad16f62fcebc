"""Client CPU from socket to published Parquet, over a floor in the same run on the same tiles.

The floor: pooled urllib3, np.frombuffer, and one pyarrow write a part with the same schema and encodings; no
statistics, checks, ledger or retries. Aim: 1.15 times the floor, at most 1.25.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bench
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import urllib3
from measure import used

from ee_spark.lane import work
from ee_spark.lane.deal import Share
from ee_spark.planner.window import Window
from ee_spark.store.part import Row

CASES = ((256, 20, 20), (1024, 5, 5))
ROUNDS = 2
MOST = 1.25


def requests(share: Share) -> Iterator[tuple[str, bytes, Row]]:
    brief, frozen = share.brief, share.brief.layout.frozen
    for chunk in share.chunks:
        tiles, tile, image = chunk.pairs(frozen.shape, None, snap=True)
        for order, (t, i) in enumerate(zip(tile.tolist(), image.tolist(), strict=True)):
            window = Window(tiles.lattice.crs, tiles.transform(t), *frozen.shape.stored)
            path, body = brief.recipe.call(share.whole.image_ids[i], -1, None, window)
            yield path, body, Row(order, tiles, t, share.whole.image_ids[i], share.whole.image_times[i], -1, "ok")


def floor(share: Share, out: Path) -> int:
    """Fetch and write with nothing but what it takes."""
    layout, url = share.brief.layout, share.brief.service.url
    http = urllib3.PoolManager(maxsize=share.threads, retries=False)
    header = {"content-type": "application/json"}

    def fetch(request: tuple[str, bytes, Row]) -> tuple[Row, Any]:
        path, body, row = request
        data = http.request("POST", url + path, body=body, headers=header).data
        start = 10 + int.from_bytes(data[8:10], "little")
        dtype = np.dtype(eval(data[10:start])["descr"])
        return row, np.frombuffer(data, dtype, offset=start)

    total = number = 0
    per_part = max(1, share.brief.part_size // layout.frozen.tile_bytes)
    with ThreadPoolExecutor(share.threads) as pool:
        arriving = in_order(pool, fetch, requests(share), 2 * share.threads)
        while part := list(itertools.islice(arriving, per_part)):
            write(part, layout, out / f"{number}.parquet")
            number, total = number + 1, total + sum(block.nbytes for _, block in part)
    return total


def in_order(pool: ThreadPoolExecutor, task: Any, items: Iterator[Any], ahead: int) -> Iterator[Any]:
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(pool.submit(task, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def write(part: list[tuple[Row, Any]], layout: Any, path: Path) -> None:
    from ee_spark.store.part import _key_columns, _lists

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, layout.pixels, **layout.writer_options(layout.pixels)) as writer:
        step = layout.group_rows()
        for first in range(0, len(part), step):
            group = part[first : first + step]
            columns = _key_columns([row for row, _ in group], layout)
            for name, dtype in layout.planes.items():
                plane = np.empty((len(group), group[0][1].size), dtype)
                for index, (_, block) in enumerate(group):
                    plane[index] = block[name]
                columns.append(_lists(plane))
            writer.write_table(pa.Table.from_arrays(columns, schema=layout.pixels), row_group_size=len(group))
    path.write_bytes(sink.getvalue())


def child(which: str, url: str, tile: int, columns: int, rows: int, out: Path) -> dict[str, Any]:
    engine = {"requests_per_minute": 600_000, "concurrent_requests": 16}
    data = bench.job(url, out, columns * tile, rows * tile, tile, earth_engine=engine)
    (share,) = bench.shares_of(data)
    before, _ = used()
    if which == "floor":
        size = floor(share, out)
    else:
        record = work(share.lane(None))
        assert record.ok == columns * rows, record
        size = columns * rows * share.brief.layout.frozen.tile_bytes
    return {"cpu": used()[0] - before, "bytes": size}


def main() -> int:
    good = True
    for tile, columns, rows in CASES:
        with bench.scratch() as folder:
            catalog = bench.noise(folder, columns * tile, rows * tile, 4, min(tile, 512))
            seconds: dict[str, list[float]] = {"floor": [], "lane": []}
            size = 0
            with bench.served(catalog, cache_mb=1024) as url:
                for number in range(ROUNDS):
                    for which, found in seconds.items():
                        out = folder / f"{which}{number}"
                        out.mkdir()
                        result = bench.measured(__file__, which, url, tile, columns, rows, out)
                        found.append(result["cpu"])
                        size = result["bytes"]
        least = {which: min(found) / size * 1e9 for which, found in seconds.items()}
        ratio = least["lane"] / least["floor"]
        good &= ratio <= MOST
        print(
            f"{tile} × {tile} × 4 uint16, {size / 1e6:.0f} MB: {ratio:.2f} × the floor (at most {MOST}): "
            f"{least['lane']:.2f} against {least['floor']:.2f} CPU s/GB, the best of {ROUNDS}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        which, url, tile, columns, rows, out = sys.argv[1:]
        print(json.dumps(child(which, url, int(tile), int(columns), int(rows), Path(out))))
        sys.exit(0)
    sys.exit(main())
