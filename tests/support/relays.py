"""A scripted server in front of a real one: it sees every request, and answers those that a test has answers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import urllib3
from wire import Said, Told, Wire, wire

OVERRIDE = "x-http-method-override"


@contextmanager
def relay(url: str, script: Callable[[Said], Told | None] = lambda said: None) -> Iterator[Wire]:
    """A server in front of another, which it asks where ``script`` has no answer."""
    http = urllib3.PoolManager(retries=False)

    def answer(said: Said) -> Told:
        told = script(said)
        if told is not None:
            return told
        passed = {name: value for name, value in said.headers.items() if name.lower() in ("content-type", OVERRIDE)}
        found = http.request(said.method, url + said.path, body=said.body or None, headers=passed)
        return Told(found.status, found.data, {"Content-Type": found.headers.get("Content-Type", "")})

    with wire(answer) as server:
        yield server
