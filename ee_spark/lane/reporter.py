"""How far a lane is, told to the driver now and then and without any promise: one small UDP datagram."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

REPORT_SECONDS = 0.25


class Reporter:
    """Sends what ``state`` returns to ``address``, as long as the context lasts; does nothing where there is none.

    At its end it says so: ``ended`` is 1.
    """

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
                    state = {**self._state(), **({"ended": 1} if ended else {})}
                    for _ in range(1 + ended):  # the last one is the one that must not be lost
                        sender.sendto(json.dumps(state).encode(), self._address or ("", 0))
        except OSError:
            return  # progress never fails a job
