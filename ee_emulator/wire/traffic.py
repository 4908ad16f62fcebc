"""Quotas, latency and faults as a distant service has them: by a seed, and changeable while it runs.

https://developers.google.com/earth-engine/guides/usage
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..errors import ServiceError
from ..values.limit import expired, timed_out, too_large

_WINDOW = 60.0
CHANCES = ("500", "503", "reset", "truncate", "slow")
"""Faults that strike a request with a probability."""
_NUMBERS = (*CHANCES, "oom-above", "timeout-above", "deadline-above", "daily-after", "restricted")

_TOO_MANY = "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."
_PER_MINUTE = (
    "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per minute per user' "
    "of service 'earthengine.googleapis.com' for consumer 'project_number:0'."
)
_PER_DAY = (
    "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time', which is adjustable "
    "by your administrator in the Google Cloud console: https://console.cloud.google.com/quotas/?project=_."
)


@dataclass(frozen=True)
class Rules:
    """Limits and faults. 0 means no limit; `jitter` spreads the latency evenly over ±that fraction of it."""

    quota: int = 0
    requests_per_minute: int = 0
    latency_ms: float = 0.0
    jitter: float = 0.0
    faults: dict[str, float] = field(default_factory=dict)

    def changed(self, values: dict[str, Any]) -> Rules:
        """These rules with some replaced; `faults` as text or object replaces all faults. ValueError says why not."""
        unknown = sorted(set(values) - {f.name for f in fields(self)})
        if unknown:
            raise ValueError(f"unknown setting '{unknown[0]}'; known are {', '.join(f.name for f in fields(self))}")
        found: dict[str, Any] = {}
        for name, value in values.items():
            if name == "faults":
                found[name] = parse_faults(value)
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
            found[name] = value
        if found.get("jitter", 0) > 1:
            raise ValueError(f"jitter must be between 0 and 1, got {found['jitter']}")
        return replace(self, **found)


def parse_faults(value: Any) -> dict[str, float]:
    """`500:0.1,reset:0.02` or the same as an object; ValueError names what is not known."""
    if isinstance(value, str):
        pairs = [part.partition(":")[::2] for part in value.split(",")] if value.strip() else []
    elif isinstance(value, dict):
        pairs = [(str(name), str(number)) for name, number in value.items()]
    else:
        raise ValueError(f"faults must be text such as '500:0.1,reset:0.02', got {value!r}")
    found = {}
    for raw, text in pairs:
        name = raw.strip()
        if name not in _NUMBERS:
            raise ValueError(f"unknown fault {name!r}; known are {', '.join(_NUMBERS)}")
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"fault '{name}' needs a number, got '{text}'") from None
        if not 0 <= number < math.inf or (name in CHANCES and number > 1):
            raise ValueError(f"fault '{name}': {text} is out of range")
        found[name] = number
    return found


class Traffic:
    """Admits requests, decides which faults strike them, and counts. Used from the server's event loop only.

    A request is in flight from the moment it was read until its reply was handed to the connection. Discovery, the
    algorithm list and the emulator's own pages are neither limited nor struck by faults.
    """

    def __init__(self, rules: Rules, seed: int = 0) -> None:
        self.rules = rules
        self._random = random.Random(seed)
        self._recent: deque[float] = deque()
        self._in_flight = 0
        self._peak = 0
        self._requests = 0
        self._computed = 0
        self._bytes_out = 0
        self._by_status: Counter[str] = Counter()
        self._by_method: Counter[str] = Counter()

    def enter(self, now: float, method: str) -> None:
        """Count a request in. Raises the 429 it is refused with; `leave` follows in every case."""
        self._requests += 1
        self._by_method[method] += 1
        self._in_flight += 1
        rules = self.rules
        if rules.quota and self._in_flight > rules.quota:
            raise ServiceError(_TOO_MANY, 429)
        while self._recent and self._recent[0] <= now - _WINDOW:
            self._recent.popleft()
        if rules.requests_per_minute:
            if len(self._recent) >= rules.requests_per_minute:
                raise ServiceError(_PER_MINUTE, 429)
            self._recent.append(now)
        self._peak = max(self._peak, self._in_flight)
        daily = rules.faults.get("daily-after")
        if daily is not None and method in ("computePixels", "getPixels", "compute"):
            self._computed += 1
            if self._computed > daily:
                raise ServiceError(_PER_DAY, 429)

    def leave(self, status: str, size: int) -> None:
        """Count a request out with its status (`reset`, `truncated` for those faults) and the bytes sent."""
        self._in_flight -= 1
        self._by_status[status] += 1
        self._bytes_out += size

    def fault(self) -> str | None:
        """The fault that strikes this request, if one does."""
        for name in CHANCES:
            chance = self.rules.faults.get(name)
            if chance and self._random.random() < chance:
                return name
        return None

    def latency(self) -> float:
        """Seconds that this request takes at least."""
        rules = self.rules
        spread = rules.jitter * (2 * self._random.random() - 1) if rules.jitter else 0.0
        return rules.latency_ms / 1000 * (1 + spread)

    def admit(self, size: int) -> None:
        """Refuse a pixel request of `size` counted bytes as a server short of memory or time does."""
        faults = self.rules.faults
        if size > faults.get("oom-above", math.inf):
            raise too_large()
        if size > faults.get("timeout-above", math.inf):
            raise timed_out()
        if size > faults.get("deadline-above", math.inf):
            raise expired()

    @property
    def headers(self) -> dict[str, str]:
        """Headers that every reply carries."""
        if self.rules.faults.get("restricted"):
            return {"x-earth-engine-quota-status": "parallelism_restricted=true"}
        return {}

    def change(self, values: dict[str, Any]) -> dict[str, Any]:
        """Apply new rules (and `seed`, which restarts the random numbers); ValueError for what is not understood."""
        values = dict(values)
        seed = values.pop("seed", None)
        self.rules = self.rules.changed(values)
        if "faults" in values:
            self._computed = 0
        if seed is not None:
            self._random = random.Random(int(seed))
        return asdict(self.rules)

    def stats(self) -> dict[str, Any]:
        """Counts since the start."""
        return {
            "requests": self._requests,
            "by_status": dict(self._by_status),
            "by_method": dict(self._by_method),
            "in_flight": self._in_flight,
            "peak_in_flight": self._peak,
            "bytes_out": self._bytes_out,
        }
