"""The listening server: what reads requests from connections, computes their replies, and shows its own pages."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..algorithms import implemented
from ..errors import ServiceError
from ..values.limit import too_large
from . import credentials
from .connection import (
    Connection,
)
from .message import JSON, Reply, Request, refused
from .service import Service
from .traffic import Traffic

_WORKERS = 4
_STACK = 64 << 20
_RECURSION = 20_000

_R = TypeVar("_R")


class Server:
    """The listening emulator: a service behind its traffic."""

    def __init__(self, service: Service, traffic: Traffic) -> None:
        self.service = service
        self.traffic = traffic
        # Deep graphs recurse: the threads that evaluate them get the stack for it, the limit turns the rest into a 400.
        sys.setrecursionlimit(_RECURSION)
        sys.setswitchinterval(0.001)
        threading.stack_size(_STACK)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="evaluate")

    async def listen(self, port: int, ready: Callable[[int], None]) -> None:
        """Serve on 127.0.0.1 until cancelled; `ready` gets the port. OSError when the port is taken."""
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self.answer, self.own, self.traffic), "127.0.0.1", port, backlog=1024
        )
        ready(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    async def answer(self, request: Request) -> Reply:
        """The reply to a request that the traffic admitted."""
        # Stored pixels that are in memory take less time than handing them to a thread would.
        reply = _guarded(self.service.at_once, request)
        if reply is None:
            loop = asyncio.get_running_loop()
            reply = await loop.run_in_executor(self._pool, _guarded, self.service.answer, request)
        return reply

    def own(self, request: Request) -> Reply:
        """The emulator's own pages: statistics, traffic, and credentials for programs that insist on them."""
        if request.path == "/_emulator/stats" and request.method == "GET":
            return _page(self.traffic.stats())
        if request.path == "/_emulator/algorithms" and request.method == "GET":
            return _page({"algorithms": implemented()})
        if request.path == "/_emulator/credentials" and request.method == "GET":
            return _page(credentials.key_file(request.headers.get("host", "127.0.0.1")))
        if request.path == credentials.TOKEN_PATH and request.method == "POST":
            return _page(credentials.token())
        if request.path == "/_emulator/traffic" and request.method == "POST":
            try:
                values = json.loads(request.body or b"{}")
                if not isinstance(values, dict):
                    raise ValueError("expected an object")
                return _page(self.traffic.change(values))
            except (TypeError, ValueError) as error:
                return refused(ServiceError(f"traffic: {error}"))
        return refused(ServiceError(f"no such page: {request.method} {request.path:.200}", 404))


def _page(content: object) -> Reply:
    """One of the emulator's own pages, spaced for people."""
    return Reply(200, JSON, json.dumps(content).encode())


def _guarded(answer: Callable[[Request], _R], request: Request) -> _R | Reply:
    """What `answer` gives, or its error as a reply."""
    try:
        return answer(request)
    except ServiceError as error:
        return refused(error)
    except RecursionError:
        return refused(ServiceError("Invalid expression: it is nested too deeply."))
    except MemoryError:
        return refused(too_large())
    except Exception:
        traceback.print_exc()
        return refused(ServiceError("An internal error has occurred", 500))
