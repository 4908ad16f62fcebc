"""Which hosts requests go to, and where tokens may go: decided by the parser that connects, and by no other."""

from __future__ import annotations

import re

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
STANDARD = "https://earthengine.googleapis.com"
ENDPOINTS = {"high-volume": HIGH_VOLUME, "standard": STANDARD}
"""The service's URLs by the names of the job file's ``earth_engine.endpoint``
(https://developers.google.com/earth-engine/guides/processing_environments)."""

_GOOGLE = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+googleapis\.com")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def is_google(url: str) -> bool:
    """Return True if tokens may go to ``url``: https on its own port, and a plain host below googleapis.com."""
    parts = _plain(url)
    return bool(parts and parts.scheme == "https" and parts.port in (None, 443) and _GOOGLE.fullmatch(parts.host or ""))


def is_endpoint(url: str) -> bool:
    """Return True for ``http(s)://HOST[:PORT]``, with no user, path or query."""
    parts = _plain(url)
    return bool(
        parts
        and parts.scheme in ("http", "https")
        and _HOST.fullmatch(parts.host or "")
        and parts.path in (None, "/")
        and parts.query is None
        and parts.fragment is None
    )


def host_of(url: str) -> str:
    """Return the host that a request to ``url`` goes to, without brackets; empty where there is none."""
    parts = _parsed(url)
    return (parts.host or "").strip("[]") if parts else ""


def _parsed(url: str) -> Url | None:
    try:
        return parse_url(url)
    except LocationParseError:
        return None


def _plain(url: str) -> Url | None:
    """Return a URL's parts where its host is written as it is connected to: without user, escapes or other letters."""
    parts = _parsed(url)
    if parts is None or not parts.host:
        return None
    port = "" if parts.port is None else f":{parts.port}"
    written = f"{parts.scheme}://{parts.host}{port}"
    same = url[: len(written)].lower() == written and url[len(written) :][:1] in ("", "/", "?", "#")
    return parts if same else None
