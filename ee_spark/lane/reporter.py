"""How far a lane is, told to the driver now and then and without any promise: one small UDP datagram."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

REPORT_SECONDS = 0.25


class Reporter:
    """Sends what ``state`` returns to ``address``, as long as the context lasts; does nothing where there is none."""

    def __init__(self, address: tuple[str, int] | None, state: Callable[[], dict[str, int | str]]) -> None:
        self._address, self._state = address, state
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True, name="report")

    def __enter__(self) -> None:
        if self._address:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._address:
            self._thread.join()

    def _loop(self) -> None:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                ended = False
                while not ended:
                    ended = self._end.wait(REPORT_SECONDS)
                    sender.sendto(json.dumps(self._state()).encode(), self._address or ("", 0))
        except OSError:
            return  # progress never fails a job
