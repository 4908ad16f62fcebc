"""Which hosts requests go to, and where tokens may go: decided by the parser that connects, and by no other.

One home for every endpoint: of Earth Engine, of storage, and of those who give tokens for credentials. A URL is taken
only where its host is written as it is connected to (RFC 3986, without user, escapes, spaces or letters beyond ASCII).
"""

from __future__ import annotations

import re

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from ee_spark.errors import JobError, one_line

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
STANDARD = "https://earthengine.googleapis.com"
PORTS = {"http": 80, "https": 443}
ENDPOINTS = {"high-volume": HIGH_VOLUME, "standard": STANDARD}
"""The service's URLs by the names of the job file's ``earth_engine.endpoint``
(https://developers.google.com/earth-engine/guides/processing_environments)."""

LONGEST_HOST = 253
"""Characters of a host's name (RFC 1035, 2.3.4)."""
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_GOOGLE = re.compile(rf"(?:{_LABEL}\.)+googleapis\.com")
_AMAZON = (
    *("amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "api.aws", "api.amazonwebservices.com.cn"),
    *("api.amazonwebservices.eu", "c2s.ic.gov", "api.aws.ic.gov", "sc2s.sgov.gov", "api.aws.scloud"),
    *("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
)
"""The domains of Amazon's partitions, as botocore lists them."""
_AWS = re.compile(rf"(?:{_LABEL}\.)+(?:{'|'.join(map(re.escape, _AMAZON))})")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\]")
_REGION = "(?:us|eu|[a-z]+(?:-[a-z]+)+[0-9]{1,2})"  # no service: a bucket may be called sts.storage
_ISSUERS = tuple(
    (re.compile(rf"(?:{hosts})\.googleapis\.com"), re.compile(path))
    for hosts, path in (
        ("oauth2", "/token"),
        ("www", "/oauth2/v[34]/token"),  # in keys of some years ago
        (
            rf"(?:{_REGION}\.)?sts(?:\.mtls)?|sts\.{_REGION}(?:\.rep)?(?:\.mtls)?|{_REGION}-sts(?:\.mtls)?"
            rf"|sts-{_LABEL}\.p(?:\.mtls)?",
            "/v1/(?:token|oauthtoken)",
        ),
        (
            rf"(?:{_REGION}\.)?iamcredentials(?:\.mtls)?|iamcredentials\.{_REGION}(?:\.rep)?(?:\.mtls)?"
            rf"|{_REGION}-iamcredentials(?:\.mtls)?|iamcredentials-{_LABEL}\.p(?:\.mtls)?",
            "/v1/projects/[A-Za-z0-9:.-]+/serviceAccounts/[A-Za-z0-9@._%+-]+:generate(?:Access|Id)Token",
        ),
        ("reauth", "/v2/sessions(?::start|/[A-Za-z0-9_-]+:continue)"),
    )
)
"""Who gives tokens for keys and assertions, and where (https://google.aip.dev/auth/4117, whose hosts may be regional):
not all of Google, since much of it keeps what it is sent for whoever owns the bucket or topic that a path names."""
_CREDENTIALS = ("_token_uri", "_token_url", "_service_account_impersonation_url", "_iam_endpoint_override")
"""Where google-auth's credentials keep the URLs that they are sent to."""


def is_google(url: str) -> bool:
    """Return True if tokens may go to ``url``: https on its own port, and a plain host below googleapis.com."""
    return _is_below(_GOOGLE, url)


def is_aws(url: str) -> bool:
    """Return True for https on its own port, and a plain host of Amazon's."""
    return _is_below(_AWS, url)


def is_endpoint(url: str) -> bool:
    """Return True for ``http(s)://HOST[:PORT]``, with no user, path or query."""
    parts = _plain(url)
    return bool(
        parts
        and parts.scheme in ("http", "https")
        and parts.port != 0
        and _HOST.fullmatch(parts.host or "")
        and parts.path in (None, "/")
        and parts.query is None
        and parts.fragment is None
    )


def endpoint(url: object, key: str) -> str:
    """Return the URL of a service, as ``key`` gives it, without a slash at its end.

    Raises:
        JobError: if it is not ``http(s)://HOST[:PORT]``.
    """
    if not isinstance(url, str) or not is_endpoint(url):
        raise JobError(f"{key}: got {_shown(url)}: not a valid endpoint; write http(s)://HOST[:PORT]")
    return url.rstrip("/")


def check_token_goes_to(url: str) -> None:
    """Let a token or a key go to Google by TLS only.

    Raises:
        JobError: for any other URL; nothing has been sent to it.
    """
    if not is_google(url):
        raise JobError(
            f"a token or key was about to go to host {_shown(host_of(url) or url)}: they go to "
            "https://*.googleapis.com only; look at the endpoint and at the file of the credentials"
        )


def is_issuer(url: str) -> bool:
    """Return True if keys and assertions may go to ``url``: it is of Google's, and gives tokens for them."""
    parts = _plain(url) if is_google(url) else None
    return bool(
        parts
        and parts.query is None
        and parts.fragment is None
        and any(host.fullmatch(parts.host or "") and path.fullmatch(parts.path or "") for host, path in _ISSUERS)
    )


def check_key_goes_to(url: str) -> None:
    """Let a key, an assertion or a file's content go to who gives tokens for it, by TLS only.

    Raises:
        JobError: for any other URL; nothing has been sent to it.
    """
    check_token_goes_to(url)
    if not is_issuer(url):
        raise JobError(
            f"a token or key was about to go to {_shown(url)}, which gives no tokens; look at the file of the "
            "credentials"
        )


def check_credentials(credentials: object, key: str) -> None:
    """Refuse credentials whose own URLs, or whose universe, are not Google's, before any of them is used.

    Raises:
        JobError: with the host that they name.
    """
    while credentials is not None:
        for name in _CREDENTIALS:
            url = getattr(credentials, name, None)
            if url and is_google(str(url)) and not is_issuer(str(url)):
                raise JobError(
                    f"{key}: their {name.strip('_')} is {_shown(url)}, which gives no tokens, and keys go to nobody "
                    "else; make the key or credentials file anew"
                )
            if url and not is_google(str(url)):
                raise JobError(
                    f"{key}: their {name.strip('_')} is of host {_shown(host_of(str(url)) or url)}, and keys and "
                    "tokens go to https://*.googleapis.com only; make the key or credentials file anew"
                )
        universe = getattr(credentials, "_universe_domain", None) or "googleapis.com"
        if universe != "googleapis.com":
            raise JobError(
                f"{key}: they are of universe_domain {_shown(universe)}, and only googleapis.com is supported; take "
                "credentials of a Google Cloud project"
            )
        credentials = getattr(credentials, "_source_credentials", None)


def host_of(url: str) -> str:
    """Return the host that a request to ``url`` goes to, without brackets; empty where there is none."""
    parts = _parsed(url)
    return (parts.host or "").strip("[]") if parts else ""


def address_of(url: str) -> tuple[str, int]:
    """Return the host and the port that a request to ``url`` connects to."""
    parts = _parsed(url)
    return host_of(url), (parts.port if parts and parts.port else PORTS.get(url.partition(":")[0].lower(), 443))


def _is_below(domain: re.Pattern[str], url: str) -> bool:
    parts = _plain(url)
    return bool(parts and parts.scheme == "https" and parts.port in (None, 443) and domain.fullmatch(parts.host or ""))


def _parsed(url: str) -> Url | None:
    try:
        return parse_url(url)
    except (LocationParseError, ValueError):
        return None


def _plain(url: str) -> Url | None:
    """Return a URL's parts where its host is written as it is connected to: without user, escapes or other letters."""
    parts = _parsed(url)
    if parts is None or not parts.host or len(parts.host) > LONGEST_HOST:
        return None
    port = "" if parts.port is None else f":{parts.port}"
    written = f"{parts.scheme}://{parts.host}{port}"
    same = url[: len(written)].lower() == written and url[len(written) :][:1] in ("", "/", "?", "#")
    return parts if same else None


def _shown(value: object) -> str:
    return repr(one_line(value, 100))
