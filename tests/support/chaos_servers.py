"""Servers of the chaos rounds, each in a process of its own: rounds fork, and what forks should have no threads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psutil
from chaos_driver import signalled
from object_servers import Flaky, gcs_server, s3_server


@contextmanager
def _in_a_process(serving: Callable[[], AbstractContextManager[str]]) -> Iterator[tuple[int, str]]:
    """Yield the id of a process in which a server's context lives, and the URL that the context gives."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            quiet = os.open(os.devnull, os.O_RDWR)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            with serving() as url:
                os.write(write, url.encode() + b"\n")
                while True:
                    signal.pause()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        url = pipe.readline().strip()
    try:
        yield pid, url
    finally:
        with suppress(psutil.Error):
            for child in psutil.Process(pid).children(recursive=True):
                child.kill()
        signalled(pid, signal.SIGKILL)


@contextmanager
def flaky_proxy(target: str, faults: dict[str, float], seed: int) -> Iterator[tuple[int, str]]:
    """Yield a proxy before a store, in a process of its own: it refuses all from SIGUSR1 to SIGUSR2."""
    flaky = Flaky(target, dict(faults), seed)

    def serving() -> AbstractContextManager[str]:
        signal.signal(signal.SIGUSR1, lambda *_: flaky.faults.update(refuse=1.0))
        signal.signal(signal.SIGUSR2, lambda *_: flaky.faults.update({"refuse": 0.0, **faults}))
        return flaky.serving()

    with _in_a_process(serving) as found:
        yield found


@contextmanager
def stores() -> Iterator[dict[str, str]]:
    """Yield the URLs of a gs and an s3 server, each in a process of its own."""
    with _in_a_process(gcs_server) as (_, gs), _in_a_process(s3_server) as (_, s3):
        yield {"gs": gs, "s3": s3}
