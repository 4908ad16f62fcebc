"""Where tokens may go: for every confusing URL, only where the parser that connects goes to Google by TLS."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from job_files import changed, job
from urllib3 import PoolManager
from urllib3.exceptions import LocationParseError, LocationValueError

from ee_spark import config
from ee_spark.client import Service, proxy_of
from ee_spark.errors import JobError
from ee_spark.hosts import HIGH_VOLUME, STANDARD, host_of, is_endpoint, is_google
from ee_spark.objects import Settings
from ee_spark.objects.gs import GsStore

GOOGLE = [
    HIGH_VOLUME,
    STANDARD,
    "https://storage.googleapis.com",
    "https://storage.googleapis.com/",
    "https://storage.googleapis.com:443",
    "HTTPS://Storage.GoogleAPIs.com",
    "https://restricted.earthengine.eu.googleapis.com",
]
NOT_GOOGLE = [
    "http://earthengine.googleapis.com",
    "http://earthengine.googleapis.com:443",
    "ftp://earthengine.googleapis.com",
    "earthengine.googleapis.com",
    "//earthengine.googleapis.com",
    "https:earthengine.googleapis.com",
    "https:///earthengine.googleapis.com",
    "https://googleapis.com",
    "https://.googleapis.com",
    "https://-.googleapis.com",
    "https://googleapis.com.example.org",
    "https://evilgoogleapis.com",
    "https://evil.example/.googleapis.com",
    "https://evil.example?.googleapis.com",
    "https://evil.example#.googleapis.com",
    "https://evil.example\\.googleapis.com",
    "https://evil.example\\@earthengine.googleapis.com",
    "https://evil.example:80\\.googleapis.com",
    "https://earthengine.googleapis.com@evil.example",
    "https://evil.example@earthengine.googleapis.com",
    "https://user:word@earthengine.googleapis.com",
    "https://@earthengine.googleapis.com",
    "https://earthengine.googleapis.com:443@evil.example",
    "https://earthengine.googleapis.com.",
    "https://earthengine.googleapis.com:8443",
    "https://earthengine.googleapis.com:0",
    "https://earthengine.googleapis.com:x",
    "https://earthengine.googleapis.com:",
    "https://evil%2egoogleapis.com",
    "https://evil.example%2f.googleapis.com",
    "https://evil.example%00.googleapis.com",
    "https://evil.example\x00.googleapis.com",
    "https://evil.example\n.googleapis.com",
    "https://evil.example\t.googleapis.com",
    "https://evil.example .googleapis.com",
    " https://earthengine.googleapis.com",
    "https://[::1]",
    "https://[::1].googleapis.com",
    "https://[::1%25.googleapis.com]",
    "https://127.0.0.1",
    "https://earthengine.googleapis。com",
    "https://earthengine.ɡoogleapis.com",
    "https://earthengine.googleapis.com\u200b",
    "",
    "https://",
]


def connects_to(url: str) -> tuple[str, str, int | None]:
    """Return (scheme, host, port) that urllib3 opens a connection to, by its own pools; nothing is sent."""
    pool = PoolManager().connection_from_url(url + "/v1/projects")
    return str(pool.scheme), pool.host, pool.port


@pytest.mark.parametrize("url", GOOGLE)
def test_google_over_tls(url: str) -> None:
    assert is_google(url)
    assert is_endpoint(url)
    assert not Service(url, "p").anonymous
    assert Service(url, "p", "anonymous").anonymous
    assert not GsStore("b", "", Settings(gs_endpoint=url))._anonymous
    scheme, host, port = connects_to(url)
    assert (scheme, port) == ("https", 443)
    assert host.endswith(".googleapis.com")


@pytest.mark.parametrize("url", NOT_GOOGLE, ids=repr)
def test_whatever_only_looks_like_google(url: str) -> None:
    assert is_google(url) is False
    assert Service(url, "p").anonymous
    assert GsStore("b", "", Settings(gs_endpoint=url or "http://x"))._anonymous


PIECES = st.sampled_from(
    [
        *("https", "http", ":", "/", "//", "\\", "@", "?", "#", "%2e", "%", ".", "..", "[", "]", "::1", "443", "80"),
        *(" ", "é", "\t", "\x00", "user", "evil.example", "googleapis.com", ".googleapis.com"),
        "earthengine.googleapis.com",
    ]
)


@given(st.lists(PIECES, max_size=8).map("".join).flatmap(lambda end: st.sampled_from([end, "https://" + end])))
@example("https://evil.example\\.googleapis.com")
def test_tokens_only_go_where_the_connection_goes(url: str) -> None:
    if not is_google(url):
        return
    try:
        scheme, host, port = connects_to(url)
    except (LocationParseError, LocationValueError):
        return
    assert (scheme, port) == ("https", 443)
    assert host.endswith(".googleapis.com")
    assert "@" not in host


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080", "http://127.0.0.1:8080/", "https://ee.example.org", "http://[::1]:80", "http://a_b:1"],
)
def test_an_endpoint_of_ones_own(url: str) -> None:
    assert config.parse(changed({"earth_engine.endpoint": url})).earth_engine.endpoint == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://",
            "http://h/x",
            "http://h?x",
            "http://h#x",
            "http://u@h",
            "http://u:w@h",
            "http://h\\.googleapis.com",
        ),
        *("http://h:x", "http:// h", "http://h\n", "ftp://h", "h:80", "http://h%41", " http://h"),
    ],
)
def test_a_url_that_is_not_a_valid_endpoint(url: str) -> None:
    with pytest.raises(JobError, match="not a valid endpoint; write high-volume, standard, emulator or http"):
        config.parse(changed({"earth_engine.endpoint": url}))


def test_proxies_are_chosen_by_the_same_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    assert host_of("http://[::1]:80/x") == "::1"
    assert proxy_of("http://[::1]:80/x") is None
    assert proxy_of("http://127.0.0.1\\.example.org") is None
    assert proxy_of("http://127.0.0.1.example.org") == "http://proxy.example.org:3128"


def test_a_service_is_the_one_that_the_job_names() -> None:
    mine = job({"earth_engine": {"project": "p", "credentials": "service-account:key.json"}})
    assert Service.of(mine) == Service(HIGH_VOLUME, "p", "service-account:/tmp/key.json", "a-test")
    assert Service.of(job({"earth_engine": {"project": "p", "endpoint": "standard"}})).url == STANDARD
    assert Service.of(job()) == Service("http://127.0.0.1:1", "local", "default", "a-test")
    embedded = job({"earth_engine": {"endpoint": "emulator", "project": "p"}})
    assert Service.of(embedded, emulator="http://h:1") == Service("http://h:1", "p", "anonymous", "a-test")
