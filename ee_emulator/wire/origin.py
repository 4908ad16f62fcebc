"""Who may ask: programs of this machine that mean it, and no page of a browser that came from elsewhere.

A page may send requests to any port of the machine that shows it, and after it changed what its own name resolves to
(DNS rebinding) it may read the answers too: they tell themselves by the headers Host, Origin and Sec-Fetch-Site
(https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Origin). Another port is another origin.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

_HOST = re.compile(r"(?P<name>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{0,5}))?")


def foreign(headers: Mapping[str, str], address: str) -> str | None:
    """Why a request is refused, in one line: its Host is not this machine's, or its page is another's.

    `address` is the one that the server listens on. Programs that send no Host (HTTP/1.0) or no Origin are no browsers.
    """
    host = headers.get("host")
    if host is not None and not _is_here(host, address):
        return f"Host {host[:100]!r} is not this machine: ask 127.0.0.1, localhost or [::1]."
    origin = headers.get("origin")
    if origin is not None and not _is_page_of_here(origin, host, address):
        return f"Origin {origin[:100]!r} is not this machine: pages from elsewhere get no answer."
    if headers.get("sec-fetch-site", "").strip().lower() == "cross-site":
        return "Sec-Fetch-Site 'cross-site' is not this machine: pages from elsewhere get no answer."
    return None


def _is_page_of_here(origin: str, host: str | None, address: str) -> bool:
    """Whether a page is of this server: of this machine, by whatever name, and of the port that is asked."""
    scheme, mark, page = origin.partition("://")
    known = scheme in ("http", "https") and bool(mark) and _is_here(page, address)
    return known and (host is None or _port(page) == _port(host))


def _port(host: str) -> str:
    found = _HOST.fullmatch(host.strip())
    return (found and found["port"]) or "80"


def _is_here(host: str, address: str) -> bool:
    found = _HOST.fullmatch(host.strip())
    if found is None:
        return False
    name = found["name"].strip("[]").lower()
    if name in ("localhost", address):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
