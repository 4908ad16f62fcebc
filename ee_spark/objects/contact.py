"""Does the host of a store answer at all? Asked before anything else, for a few seconds, and not for minutes."""

from __future__ import annotations

import socket
import threading
import time

from ee_spark.connections import proxy_of
from ee_spark.errors import AwayError, one_line
from ee_spark.hosts import address_of

SECONDS = 4.0
"""For how long a connection is tried, all tries together."""
PAUSE = 1.0


def reach(root: str, url: str, key: str) -> None:
    """Open a connection to the host of ``url``, or to the proxy for it, and close it again: nothing is sent.

    What answers later, in the middle of a run, is waited for much longer: a store may well be away for two minutes.

    Raises:
        AwayError: if it refuses, does not resolve, or says nothing for :data:`SECONDS`; ``key`` is what names it.
    """
    proxy = proxy_of(url)
    host, port = address_of(proxy.url if proxy else url)
    said: list[str] = []
    done = threading.Event()

    def knock() -> None:  # in a thread: nothing else ends a name server that does not answer
        until = time.monotonic() + SECONDS
        while not done.is_set():
            try:
                socket.create_connection((host, port), SECONDS / 2).close()
                said.append("")
                break
            except (OSError, UnicodeError) as error:
                said.append(getattr(error, "strerror", None) or one_line(error) or type(error).__name__)
                if time.monotonic() + PAUSE > until:
                    break
                done.wait(PAUSE)
        done.set()

    threading.Thread(target=knock, daemon=True).start()
    done.wait(SECONDS)
    done.set()
    if not said or said[-1]:
        why, tries = (said[-1], len(said)) if said else ("no answer", 1)
        way = "look at the proxy of the environment" if proxy else f"start it, or look at {key}"
        raise AwayError(
            f"{root}: {'the proxy' if proxy else 'its host'} {host}:{port} cannot be reached: {why} ({tries} tries in "
            f"{SECONDS:g} s); {way}"
        )
