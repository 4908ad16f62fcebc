"""The fetch engine on a real service: every pixel exact, every failure dealt with once, every thread ended."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from emulator_client import asset, get, post, write_catalog, write_raster
from wire import Said, Told, wire

import ee_emulator as emulator
from ee_spark.client import Client, Service
from ee_spark.fetch.fetcher import Fetcher
from ee_spark.fetch.quota import Quota
from ee_spark.fetch.request import Answer, HttpRequest, Mark, Pack, Task, TileRequest, first_requests
from ee_spark.job import Retry
from ee_spark.planner.images import ID, VERSION
from ee_spark.planner.request import Recipe
from ee_spark.planner.window import Window

CRS = "EPSG:32633"
TRANSFORM = (10.0, 0.0, 330_000.0, 0.0, -10.0, 5_822_040.0)
SIZE = (330, 270)
IMAGES = 12
TYPES: dict[str, np.dtype[Any]] = {"a": np.dtype("uint8"), "b": np.dtype("uint16"), "c": np.dtype("float32")}
TEMPLATE = json.dumps(
    {
        "result": "0",
        "values": {
            "0": {
                "functionInvocationValue": {
                    "functionName": "Image.load",
                    "arguments": {"id": {"constantValue": ID}, "version": {"constantValue": VERSION}},
                }
            }
        },
    }
)


def truth(image: int) -> dict[str, npt.NDArray[Any]]:
    random = np.random.default_rng(image)
    width, height = SIZE
    return {name: random.integers(1, 250, (height, width)).astype(dtype) for name, dtype in TYPES.items()}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog")
    assets = []
    for image in range(IMAGES):
        for name, plane in truth(image).items():
            write_raster(folder / f"{image}{name}.tif", plane, list(TRANSFORM), CRS)
        start = f"2020-01-{image + 1:02}T00:00:00Z"
        assets.append(asset(f"T/C/{image}", {name: f"{image}{name}.tif" for name in TYPES}, start=start))
    return write_catalog(folder, assets)


@dataclass
class Far:
    """An emulator whose traffic a test sets, and what it counted since."""

    url: str
    before: dict[str, Any] = field(default_factory=dict)

    def set(self, **rules: Any) -> None:
        quiet = {"quota": 0, "requests_per_minute": 0, "latency_ms": 0, "jitter": 0, "faults": ""}
        assert post(self.url, "/_emulator/traffic", {**quiet, "seed": 5, **rules}).status == 200
        self.before = self._stats()

    def requests(self) -> int:
        return int(self._stats()["requests"] - self.before["requests"])

    def statuses(self) -> Counter[str]:
        return Counter(self._stats()["by_status"]) - Counter(self.before["by_status"])

    def _stats(self) -> dict[str, Any]:
        return dict(json.loads(get(self.url, "/_emulator/stats").data))


@pytest.fixture(scope="module")
def emulated(catalog: Path) -> Iterator[str]:
    with emulator.start(catalog) as running:
        yield running.url


@pytest.fixture
def far(emulated: str) -> Far:
    service = Far(emulated)
    service.set()
    return service


Ref = tuple[int, tuple[int, int, int, int]]
Wanted = TileRequest[Ref]
Engine = Fetcher[Ref, str]
NOWHERE = (0, 0, 8, 8)


def window(column: int, row: int, width: int, height: int) -> Window:
    return Window(CRS, TRANSFORM, *SIZE).part(column, row, width, height)


def wanted(image: int, place: tuple[int, int, int, int], graph: str | None = None, version: int = -1) -> Wanted:
    return TileRequest((image, place), f"T/C/{image}", version, graph, window(*place))


def grid(side: int = 30, image: int = 0) -> list[Wanted]:
    return [wanted(image, (x, y, side, side)) for y in range(0, SIZE[1], side) for x in range(0, SIZE[0], side)]


def fetcher(url: str, limit: int = 8, method: str = "getPixels", **retry: Any) -> Engine:
    client = Client(Service(url, "demo-project", "anonymous"), limit)
    return Fetcher(client, Recipe(method, "demo-project", tuple(TYPES)), TYPES, Quota(limit, 1e5), Retry(**retry))


def check(answer: Answer[Ref]) -> None:
    image, (x, y, width, height) = answer.wanted.ref
    assert answer.planes is not None, answer.error
    for name, plane in truth(image).items():
        np.testing.assert_array_equal(answer.planes[name], plane[y : y + height, x : x + width])


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fetch-")]


def all_of(engine: Engine, source: Sequence[Wanted | Pack[Ref]]) -> list[Answer[Ref]]:
    answers = list(engine.answers(iter(source)))
    assert threads() == []
    asked = Counter(id(one) for item in source for one in (item.wanted if isinstance(item, Pack) else (item,)))
    assert Counter(id(answer.wanted) for answer in answers) == asked  # every request is answered exactly once
    return answers


def test_every_pixel_comes_once_and_other_things_in_their_place(far: Far) -> None:
    tiles = grid()
    source: list[Wanted | Mark[str]] = []
    for number, one in enumerate(tiles):
        source += [Mark(f"before {number}"), one]
    engine = fetcher(far.url)
    seen = list(engine.stream(iter(source)))
    marks = [item.value for item in seen if isinstance(item, Mark)]
    assert marks == [f"before {number}" for number in range(len(tiles))]
    for number, one in enumerate(tiles):
        ((at, answer),) = [
            (at, item) for at, item in enumerate(seen) if isinstance(item, Answer) and item.wanted is one
        ]
        assert seen.index(Mark(f"before {number}")) < at
        check(answer)
        assert (answer.attempts, answer.requests) == (1, 1)
        assert answer.bytes_in > 30 * 30 * 7
    assert far.requests() == len(tiles) == engine.telemetry.statuses[200]
    assert threads() == []
    assert engine.quota.peak <= 8


def test_faults_by_chance_cost_requests_and_nothing_else(far: Far) -> None:
    far.set(faults="503:0.1,reset:0.05,truncate:0.05,slow:0.02")
    tiles = [*grid(), *grid(image=1), *grid(image=2)]
    answers = all_of(fetcher(far.url, 30), tiles)
    for answer in answers:
        check(answer)
    assert len(tiles) == 297
    assert far.requests() <= 1.3 * len(tiles), far.requests() / len(tiles)
    assert sum(answer.requests for answer in answers) == far.requests()


@pytest.mark.parametrize(("side", "limit_bytes"), [((120, 120), 40_000), ((77, 53), 11_000), ((330, 270), 300_000)])
def test_what_is_too_big_comes_in_quadrants(far: Far, side: tuple[int, int], limit_bytes: int) -> None:
    far.set(faults=f"oom-above:{limit_bytes}")
    tiles = [wanted(image, (3, 5, *side) if side != SIZE else (0, 0, *side)) for image in range(IMAGES)]
    engine = fetcher(far.url, 2, min_tile=16)
    answers = all_of(engine, tiles)
    for answer in answers:
        check(answer)
    levels = next(k for k in range(9) if -(-side[0] // 2**k) * -(-side[1] // 2**k) * 10 <= limit_bytes)
    above = sum(4**k for k in range(levels))
    # The first two go down level by level, the others begin at the size that worked.
    assert far.statuses()["200"] == IMAGES * 4**levels
    assert far.requests() <= IMAGES * 4**levels + 4 * above


def test_only_heavy_tiles_are_cut(far: Far) -> None:
    far.set(faults="oom-above:40000")
    tiles = []
    for image in range(IMAGES):
        tiles += [wanted(image, (0, 0, 100, 100)), *[wanted(image, (x, 100, 30, 30)) for x in range(0, 300, 30)]]
    for answer in all_of(fetcher(far.url, 1, min_tile=16), tiles):
        check(answer)
    assert far.requests() <= IMAGES * (5 + 10) + 4 * 3


def test_one_size_after_the_other_in_vain_ends_at_21_requests(far: Far) -> None:
    far.set(faults="timeout-above:1")
    answers = all_of(fetcher(far.url, 8, min_tile=4), grid(90))
    for answer in answers:
        assert answer.error is not None
        assert answer.error.label == "too_big"
        assert "Computation timed out." in answer.error.message
        assert "independent of tile size" in answer.error.message
        assert answer.requests <= 21
    assert far.requests() <= 21 * len(answers)


@pytest.mark.parametrize(
    "text",
    [
        "Output of image computation is too large (3 bands for 4096 pixels = 1.0 MiB > 0.1 MiB).\n    If this is a "
        "reduction, try specifying a larger 'tileScale' parameter.",
        "Tile error: Object too large (129662248 bytes).",
        "Reprojection output too large (300x300 pixels).",
    ],
)
def test_other_words_for_too_big_come_in_quadrants_too(far: Far, text: str) -> None:
    def script(said: Said) -> Told:
        size = json.loads(said.body)["grid"]["dimensions"]
        if size["width"] * size["height"] > 40 * 40:
            return Told(400, json.dumps({"error": {"code": 400, "message": text, "status": "X"}}).encode())
        reply = post(far.url, said.path, said.body)
        return Told(reply.status, reply.data)

    tiles = [wanted(0, (x, y, 64, 64)) for y in range(0, 192, 64) for x in range(0, 256, 64)]
    with wire(script) as server:
        answers = all_of(fetcher(server.url, 4, min_tile=16), tiles)
    for answer in answers:
        check(answer)


def test_a_deadline_is_tried_again_and_then_cut(far: Far) -> None:
    far.set(faults="deadline-above:11000")
    (answer,) = all_of(fetcher(far.url, 4, min_tile=16), [wanted(0, (0, 0, 64, 64))])
    check(answer)
    assert (far.statuses()["504"], far.statuses()["200"]) == (2, 4), "twice whole, then in quadrants"
    assert answer.attempts == 2
    far.set(faults="deadline-above:1")
    (answer,) = all_of(fetcher(far.url, 4, min_tile=32), [wanted(0, (0, 0, 64, 64))])
    assert answer.error is not None
    assert (answer.error.label, answer.requests <= 2 * 5) == ("too_big", True)
    assert "Deadline expired" in answer.error.message


def test_a_deadline_that_passes_costs_one_request(far: Far) -> None:
    late = json.dumps({"error": {"code": 504, "message": "Deadline expired before operation could complete."}})
    turns = iter([Told(504, late.encode())])

    def script(said: Said) -> Told:
        reply = post(far.url, said.path, said.body)
        return next(turns, Told(200, reply.data))

    with wire(script) as server:
        (answer,) = all_of(fetcher(server.url, 1), [wanted(0, (0, 0, 64, 64))])
    check(answer)
    assert (answer.requests, answer.attempts) == (2, 2)


def test_names_that_read_like_refusals_stop_nothing(far: Far) -> None:
    names = ["daily_quota", "User memory limit exceeded.", "Quota exceeded per month", "An internal error has occurred"]

    def script(said: Said) -> Told:
        at = json.loads(said.body)["grid"]["affineTransform"]["translateX"]
        column = round((at - TRANSFORM[2]) / 10) // 8
        if column >= len(names):
            reply = post(far.url, said.path, said.body)
            return Told(reply.status, reply.data)
        text = f"Image.select: Band pattern '{names[column]}' did not match any bands. Available bands: [a]"
        return Told(400, json.dumps({"error": {"code": 400, "message": text}}).encode())

    with wire(script) as server:
        engine = fetcher(server.url, 2)
        answers = all_of(engine, [wanted(0, (8 * column, 0, 8, 8)) for column in range(12)])
    assert engine.stopped is None
    failed = [answer for answer in answers if answer.error is not None]
    assert [(answer.error.label, answer.requests) for answer in failed if answer.error] == [("permanent", 1)] * 4


def test_min_tile_is_the_floor_and_split_false_the_end(far: Far) -> None:
    far.set(faults="oom-above:1")
    (answer,) = all_of(fetcher(far.url, 4, min_tile=32), [wanted(0, (0, 0, 64, 64))])
    assert answer.error is not None
    assert answer.requests <= 5
    assert "32 × 32" in answer.error.message
    far.set(faults="oom-above:1")
    (answer,) = all_of(fetcher(far.url, 4, split=False), [wanted(0, (0, 0, 64, 64))])
    assert answer.requests == 1


def test_overload_is_waited_out_and_uses_no_attempt(far: Far) -> None:
    far.set(quota=4, latency_ms=20)
    answers = all_of(fetcher(far.url, 8, attempts=1), [*grid(), *grid(image=1)])
    for answer in answers:
        check(answer)
        assert answer.attempts == 1
    assert far.statuses()["429"] == far.requests() - len(answers) > 0


def test_after_an_outage_a_later_run_gets_what_is_missing(far: Far) -> None:
    far.set(faults="503:1")
    engine = fetcher(far.url, 8, deadline=2.0)
    started = time.monotonic()
    answers = all_of(engine, grid())
    assert time.monotonic() - started < 15
    assert all(answer.missing for answer in answers)
    assert engine.stopped is not None
    assert "currently unavailable" in str(engine.stopped)
    far.set()
    for answer in all_of(fetcher(far.url), grid()):
        check(answer)


def test_a_service_that_goes_away_fails_no_tile(catalog: Path) -> None:
    running = emulator.start(catalog, latency_ms=20)
    engine = fetcher(running.url, 8, deadline=2.0)
    good = missing = 0
    for item in engine.answers(grid() + grid(image=1)):
        assert item.error is None
        good, missing = good + (item.planes is not None), missing + item.missing
        if good == 20:
            running.stop()
    assert good >= 20
    assert good + missing == 198
    assert missing > 100
    assert "no complete answer" in str(engine.stopped)


def test_a_tile_that_met_overload_alone_is_missing() -> None:
    busy = json.dumps({"error": {"code": 429, "message": "Too Many Requests", "status": "X"}}).encode()
    with wire(lambda _: Told(429, busy)) as server:
        answers = all_of(fetcher(server.url, 2, deadline=0.5), [wanted(0, (0, 0, 8, 8))])
    assert [answer.missing for answer in answers] == [True]


def test_the_daily_quota_and_access_stop_the_run_at_once(far: Far) -> None:
    far.set(faults="daily-after:30")
    engine = fetcher(far.url, 4)
    answers = all_of(engine, grid())
    good = [answer for answer in answers if not answer.missing]
    assert len(good) <= 30
    for answer in good:
        check(answer)
    assert engine.stopped is not None
    assert (engine.stopped.kind, far.requests() <= 30 + 4) == ("daily", True)
    denied = json.dumps({"error": {"code": 403, "message": "Caller does not have permission", "status": "X"}}).encode()
    with wire(lambda _: Told(403, denied)) as server:
        engine = fetcher(server.url, 4)
        answers = all_of(engine, grid())
        assert len(server.said) <= 4
    assert all(answer.missing for answer in answers)
    assert "earth_engine.credentials" in str(engine.stopped)


def test_twenty_equal_refusals_at_the_start_stop_the_lane(far: Far) -> None:
    engine = fetcher(far.url, 4)
    tiles = [TileRequest((0, NOWHERE), f"T/C/none{index}", -1, None, window(0, 0, 8, 8)) for index in range(200)]
    answers = all_of(engine, tiles)
    assert far.requests() <= 24
    assert sum(not answer.missing for answer in answers) <= 20
    assert "the first 20 answers" in str(engine.stopped)
    far.set()
    engine = fetcher(far.url, 1)
    answers = all_of(engine, [wanted(0, (0, 0, 8, 8)), *tiles[:60]])
    assert engine.stopped is None
    assert sum(answer.error is not None for answer in answers) == far.requests() - 1 == 60


def test_a_pinned_version_that_is_gone_stops_the_run(far: Far) -> None:
    gone = TileRequest((0, NOWHERE), "T/C/0", 5, TEMPLATE, window(0, 0, 8, 8))
    engine = fetcher(far.url, 1, "computePixels")
    assert [answer.missing for answer in all_of(engine, [gone])] == [True]
    assert "--repin" in str(engine.stopped)


def test_a_wider_type_fails_for_good(far: Far) -> None:
    engine = fetcher(far.url)
    engine.types = TYPES | {"b": np.dtype("uint8")}
    (answer,) = all_of(engine, [wanted(0, (0, 0, 8, 8))])
    assert answer.error is not None
    assert (answer.error.label, answer.requests) == ("dtype", 1)


def test_damage_that_lasts_fails_one_tile_and_says_what(far: Far) -> None:
    def script(said: Said) -> Told:
        spoiled = json.loads(said.body)["grid"]["affineTransform"]["translateX"] == window(30, 0, 1, 1).transform[2]
        reply = post(far.url, said.path, said.body)
        return Told(200, reply.data[:-9] if spoiled else reply.data)

    with wire(script) as server:
        answers = all_of(fetcher(server.url, 4, attempts=2), grid(30)[:4])
    spoiled = [answer for answer in answers if answer.error]
    assert [answer.wanted.ref[1][0] for answer in spoiled] == [30]
    assert spoiled[0].error is not None
    assert (spoiled[0].error.label, spoiled[0].attempts, spoiled[0].requests) == ("damaged", 2, 2)


def test_retry_after_is_honoured(far: Far) -> None:
    busy = json.dumps({"error": {"code": 429, "message": "Too Many Requests", "status": "X"}}).encode()
    refused: list[float] = []

    def script(said: Said) -> Told:
        if not refused:
            refused.append(time.monotonic())
            return Told(429, busy, {"Retry-After": "1"})
        assert time.monotonic() - refused[0] >= 0.99
        return Told(200, post(far.url, said.path, said.body).data)

    with wire(script) as server:
        for answer in all_of(fetcher(server.url, 1), grid(90)[:3]):
            check(answer)
    assert refused


def test_a_stop_hands_back_what_was_not_reached(far: Far) -> None:
    far.set(latency_ms=30)
    engine = fetcher(far.url, 4)
    asked: list[Wanted] = []

    def endless() -> Iterator[Wanted]:
        while not engine.stopping:
            asked.append(wanted(0, (0, 0, 8, 8)))
            yield asked[-1]

    answers = []
    for answer in engine.answers(endless()):
        answers.append(answer)
        if len(answers) == 10:
            engine.stop()
    assert Counter(id(answer.wanted) for answer in answers) == Counter(map(id, asked))
    assert 0 < sum(answer.missing for answer in answers) < len(answers)
    assert threads() == []


def test_a_stop_ends_requests_that_never_would(far: Far) -> None:
    never = threading.Event()
    with wire(lambda _: Told(200, b"x" * 1000, hold=never)) as server:
        engine = fetcher(server.url, 4)
        threading.Timer(0.3, engine.stop).start()
        started = time.monotonic()
        answers = all_of(engine, grid())
        assert time.monotonic() - started < 14
        never.set()
    assert all(answer.missing for answer in answers)


def test_a_body_that_trickles_ends_with_the_tiles_deadline() -> None:
    never = threading.Event()
    with wire(lambda _: Told(200, b"x" * 1000, hold=never)) as server:
        started = time.monotonic()
        (answer,) = all_of(fetcher(server.url, 1, deadline=1.0), [wanted(0, (0, 0, 8, 8))])
        assert time.monotonic() - started < 6
        never.set()
    assert answer.planes is None


def test_what_the_source_raises_is_raised(far: Far) -> None:
    def broken() -> Iterator[Wanted]:
        yield from grid()[:5]
        raise ZeroDivisionError("from the source")

    with pytest.raises(ZeroDivisionError, match="from the source"):
        list(fetcher(far.url).stream(broken()))
    assert threads() == []


def test_a_consumer_that_leaves_ends_all(far: Far) -> None:
    engine = fetcher(far.url)
    stream = engine.stream(grid())
    next(stream)
    stream.close()
    assert threads() == []


def pack(images: list[int], place: tuple[int, int, int, int] = (11, 13, 23, 11)) -> Pack[Ref]:
    return Pack(tuple(wanted(image, place, TEMPLATE) for image in images))


def test_packs_bring_each_image_its_own_pixels(far: Far) -> None:
    packs = [pack(list(range(IMAGES)), (x, 13, 23, 11)) for x in range(0, 230, 23)]
    for answer in all_of(fetcher(far.url, 4, "computePixels"), packs):
        check(answer)
    assert far.requests() == len(packs)


def test_one_bad_image_of_a_pack_fails_alone(far: Far) -> None:
    six = pack(list(range(6)))
    none = TileRequest((99, NOWHERE), "T/C/none", -1, TEMPLATE, window(11, 13, 23, 11))
    packs = [pack([0]), Pack((*six.wanted, none))]
    answers = all_of(fetcher(far.url, 1, "computePixels"), packs)
    assert [answer.wanted.image_id for answer in answers if answer.error] == ["T/C/none"]
    for answer in answers:
        if not answer.error:
            check(answer)
    assert far.requests() <= 1 + 7


def test_a_pack_that_is_too_big_is_halved_for_good(far: Far) -> None:
    far.set(faults="oom-above:20000")
    packs = [pack(list(range(8)), (x, 0, 30, 20)) for x in range(0, 330, 30)]  # 6,000 counted bytes an image
    for answer in all_of(fetcher(far.url, 1, "computePixels"), packs):
        check(answer)
    assert far.statuses()["200"] == 4 * len(packs)
    assert far.requests() <= 4 * len(packs) + 2 * 3  # two had been begun before the first was refused


def test_restricted_mode_is_noted_and_not_counted_as_refusal(far: Far) -> None:
    far.set(faults="restricted:1", latency_ms=10)
    engine = fetcher(far.url, 8)
    for answer in all_of(engine, grid()):
        check(answer)
    assert (engine.restricted, engine.quota.window, engine.quota.refusals) == (True, 4, 0)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 37), (64, 1), (77, 53), (256, 256), (33, 31)])
@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_quadrants_tile_a_window_exactly(width: int, height: int, depth: int) -> None:
    task = Task(Answer(TileRequest(None, "", -1, None, window(0, 0, width, height))))
    seen = np.zeros((height, width), int)
    requests = first_requests([task], depth, 1)
    for request in requests:
        seen[request.row : request.row + request.height, request.column : request.column + request.width] += 1
        assert request.window().width == request.width
    assert (seen == 1).all()
    assert task.parts == len(requests)
    assert all(isinstance(request, HttpRequest) for request in requests)
