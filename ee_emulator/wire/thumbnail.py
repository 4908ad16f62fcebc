"""Thumbnails: requests kept under a name until somebody fetches their pixels.

https://developers.google.com/earth-engine/reference/rest/v1/projects.thumbnails
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

_MOST_BYTES = 64 << 20


class Thumbnails:
    """Request bodies by the name made of their content, at most 64 MB, the oldest dropped first. For any thread."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def keep(self, project: str, body: bytes) -> str:
        """The resource name `projects/P/thumbnails/ID` under which the body can be found."""
        name = f"projects/{project}/thumbnails/{hashlib.sha256(body).hexdigest()[:32]}"
        with self._lock:
            if name not in self._bodies:
                self._bodies[name] = body
                self._size += len(body)
            self._bodies.move_to_end(name)
            while self._size > _MOST_BYTES and len(self._bodies) > 1:
                self._size -= len(self._bodies.popitem(last=False)[1])
        return name

    def find(self, name: str) -> bytes | None:
        """The body kept under a name; None when there is none, or it was dropped."""
        with self._lock:
            return self._bodies.get(name)
