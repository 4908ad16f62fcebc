"""Rows for a reader of this process: in order, a few batches at a time, and ended when nobody reads on."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from ee_spark.errors import StoppedError
from ee_spark.lane.lane import Brief
from ee_spark.lane.sink import NOBODY, QueueSink


def batch(number: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": [number]})


def sink(most: int = 2) -> QueueSink:
    return QueueSink(cast(Brief, SimpleNamespace(layout=None)), most)


def feed(queue: QueueSink, count: int, done: list[Any]) -> threading.Thread:
    def run() -> None:
        try:
            for number in range(count):
                queue.put(batch(number))
                done.append(number)
        except StoppedError as error:
            done.append(str(error))
        finally:
            queue.end()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_batches_come_in_the_order_of_publishing() -> None:
    queue, done = sink(), list[Any]()
    thread = feed(queue, 100, done)
    assert [int(one["n"][0].as_py()) for one in queue.batches()] == list(range(100))
    thread.join(10)
    assert done == list(range(100))


def test_no_more_batches_wait_than_allowed() -> None:
    queue, done = sink(3), list[Any]()
    thread = feed(queue, 100, done)
    thread.join(0.3)
    assert done == [0, 1, 2]
    next(queue.batches())
    thread.join(0.3)
    assert done == [0, 1, 2, 3]
    queue.leave()
    thread.join(10)
    assert not thread.is_alive()


def test_a_reader_that_leaves_stops_the_lane() -> None:
    queue, done, reasons = sink(), list[Any](), list[str]()
    with queue.watch(reasons.append):
        thread = feed(queue, 100, done)
        next(queue.batches())
        queue.leave()
        thread.join(10)
    assert done[-1] == NOBODY
    assert reasons == [NOBODY]
    assert list(queue.batches()) == []
    with queue.watch(reasons.append):
        assert reasons == [NOBODY] * 2, "a lane that begins after that stops at once"
    with pytest.raises(StoppedError):
        queue.put(batch(1))
