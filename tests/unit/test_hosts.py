"""Where tokens may go: for every confusing URL, only where the parser that connects goes to Google by TLS.

Where connections really go is shown by service/test_connections.py, which asks a proxy.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from job_files import changed, job
from urllib3 import PoolManager
from urllib3.exceptions import LocationParseError, LocationValueError

from ee_spark import config
from ee_spark.client import Service
from ee_spark.connections import Connections, Proxy, proxy_of
from ee_spark.errors import JobError
from ee_spark.hosts import (
    HIGH_VOLUME,
    STANDARD,
    check_credentials,
    check_key_goes_to,
    check_token_goes_to,
    host_of,
    is_aws,
    is_endpoint,
    is_google,
)
from ee_spark.objects import Settings, open_store
from ee_spark.objects.gs import GsStore
from ee_spark.tokens import Transport

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
    "https://earthengine\uff0egoogleapis.com",
    "https://\uff45vil.googleapis.com",
    "https://evil.example\u2044.googleapis.com",
    "https://evil.example\uff03.googleapis.com",
    "https://evil.example\u2100.googleapis.com",
    "https://xn--evil.example\u3002googleapis.com",
    "https://earthengine..googleapis.com",
    "https://earthengine_.googleapis.com",
    "https://earthengine-.googleapis.com",
    "https://earthengine.googleapis.com..",
    "https://earthengine.googleapis.com:0443",
    "https://earthengine.googleapis.com:+443",
    "https://earthengine.googleapis.com:443x",
    "https://earthengine.googleapis.com:99999",
    "https://earthengine.googleapis.com:-443",
    "https://earthengine.googleapis.com: 443",
    "https://earthengine.googleapis.com:\uff14\uff14\uff13",
    "https://evil.example;.googleapis.com",
    "https://evil.example,.googleapis.com",
    "https://evil.example&.googleapis.com",
    "https://evil.example\r\n.googleapis.com",
    "https://evil.example\r\nHost: x.googleapis.com",
    "https:\\\\evil.example/.googleapis.com",
    "https:/\\evil.example.googleapis.com",
    "https://[::ffff:1.2.3.4].googleapis.com",
    "https://[fe80::1%25eth0]",
    "https://[fe80::1%eth0.googleapis.com]",
    "https://2130706433",
    "https://0x7f000001.googleapis.com:80",
    "https://" + "a" * 64 + ".googleapis.com",
    "https://" + "a." * 130 + "googleapis.com",
    "https://" + "a" * 100_000 + ".googleapis.com",
    "HTTPS://EVIL.EXAMPLE\\.GOOGLEAPIS.COM",
    "https://evil.example/\\..googleapis.com",
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


def named(url: str) -> str:
    return repr(url) if len(url) < 80 else f"{len(url)} characters"


@pytest.mark.parametrize("url", NOT_GOOGLE, ids=named)
def test_whatever_only_looks_like_google(url: str) -> None:
    assert is_google(url) is False
    assert Service(url, "p").anonymous
    if is_endpoint(url):
        assert GsStore("b", "", Settings(gs_endpoint=url))._anonymous
    else:
        with pytest.raises(JobError, match="not a valid endpoint"):
            GsStore("b", "", Settings(gs_endpoint=url))
    with pytest.raises(JobError, match=r"they go to https://\*\.googleapis\.com only"):
        check_token_goes_to(url)


@pytest.mark.parametrize("url", NOT_GOOGLE, ids=named)
def test_no_confusing_url_is_connected_to_with_a_token(url: str) -> None:
    """The last check is where it connects: nothing is resolved, and no socket made."""
    connections = Connections(1)
    with pytest.raises(JobError, match="a token or key was about to go to host") as caught:
        connections.request("GET", url, headers={"Authorization": "Bearer secret"})
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    with pytest.raises(JobError):
        Transport(connections)(url, "POST", b"assertion=secret")


def test_the_url_of_the_issue_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ee_spark.cli import main

    for key in ("earth_engine.endpoint", "storage.gs_endpoint", "storage.s3_endpoint"):
        data = changed({key: "https://evil.example\\.googleapis.com"})
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(data))
        with pytest.raises(SystemExit) as ended:
            main(["plan", "--config", str(tmp_path / "job.yaml")])
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2
        assert key in line
        assert "not a valid endpoint" in line


DISAGREE = [  # what the standard library reads as a host of Google's, and another is connected to, or none
    "https://evil.example\\.googleapis.com",
    "https://evil.example\\@earthengine.googleapis.com",
    "https://evil.example\t.googleapis.com",
    "https://\tearthengine.googleapis.com",
    "https://earthengine.googleapis.com\n",
    "https://evil%2egoogleapis.com",
    "https://user@earthengine.googleapis.com",
    "https://evil.example,.googleapis.com",
]


@pytest.mark.parametrize("url", DISAGREE, ids=repr)
def test_the_standard_librarys_reading_decides_nothing(url: str) -> None:
    assert (urlsplit(url).hostname or "").endswith("googleapis.com")  # what a check by urlsplit would let pass
    assert not is_google(url)
    assert not is_endpoint(url)


@pytest.mark.parametrize(
    "url", ["http://h/x", "http://h:0", "http://u:w@h", "h:80", "http://h\\.googleapis.com", " http://h"]
)
@pytest.mark.parametrize("key", ["gs_endpoint", "s3_endpoint"])
def test_storage_endpoints_are_checked_like_the_services(key: str, url: str) -> None:
    with pytest.raises(JobError, match=rf"storage\.{key}: got .*not a valid endpoint; write http"):
        config.parse(changed({f"storage.{key}": url}))
    with pytest.raises(JobError, match=rf"storage\.{key}: got .*not a valid endpoint; write http"):
        open_store(f"{key[:2]}://bucket/x", config.storage_in([f"storage.{key}={json.dumps(url)}"]))
    stored = config.parse(changed({f"storage.{key}": "http://127.0.0.1:4443/"})).storage
    assert getattr(stored, key) == "http://127.0.0.1:4443"


def test_the_environments_endpoint_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "evil.example\\.googleapis.com")
    with pytest.raises(JobError, match=r"STORAGE_EMULATOR_HOST: got .*not a valid endpoint"):
        GsStore("b", "", Settings())
    for text in ("127.0.0.1:4443", "http://127.0.0.1:4443/"):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", text)
        assert GsStore("b", "", Settings()).url == "http://127.0.0.1:4443"


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
        *("http://h:0", "http://h:099", "http://h:", "http://h:99999", "http://a..b", "http://.h", "http://h/%2e"),
        *("http://h\uff0ea", "http://h\r\nx", "http://[fe80::1%25eth0]", "http://[::1", "http://" + "a" * 300),
        *("http://h:x", "http:// h", "http://h\n", "ftp://h", "h:80", "http://h%41", " http://h"),
    ],
)
def test_a_url_that_is_not_a_valid_endpoint(url: str) -> None:
    with pytest.raises(JobError, match="not a valid endpoint; write high-volume, standard, emulator or http"):
        config.parse(changed({"earth_engine.endpoint": url}))


@pytest.mark.parametrize(
    ("url", "aws"),
    [
        ("https://s3.eu-central-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://s3.dualstack.eu-west-1.amazonaws.com", True),
        ("http://s3.amazonaws.com", False),
        ("https://s3.amazonaws.com.evil.example", False),
        ("https://evil.example\\.amazonaws.com", False),
        ("https://amazonaws.com", False),
        ("http://127.0.0.1:9000", False),
    ],
)
def test_amazons_hosts_are_known(url: str, aws: bool) -> None:
    assert is_aws(url) is aws


ISSUERS = [
    "https://oauth2.googleapis.com/token",
    "https://OAuth2.GoogleAPIs.com:443/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://sts.googleapis.com/v1/token",
    "https://sts.googleapis.com/v1/oauthtoken",
    "https://sts.mtls.googleapis.com/v1/token",
    "https://us-east1.sts.googleapis.com/v1/token",
    "https://sts.us-east1.googleapis.com/v1/token",
    "https://sts.us-east1.rep.googleapis.com/v1/token",
    "https://us-east1-sts.googleapis.com/v1/token",
    "https://sts-xyz.p.googleapis.com/v1/token",
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateAccessToken",
    "https://iamcredentials.us-east1.rep.googleapis.com/v1/projects/-/serviceAccounts/a%40p.x:generateIdToken",
    "https://reauth.googleapis.com/v2/sessions:start",
    "https://reauth.googleapis.com/v2/sessions/a_b-1:continue",
]
NO_ISSUERS = [
    "https://storage.googleapis.com/upload/storage/v1/b/inbox/o?uploadType=media&name=loot",
    "https://storage.googleapis.com/inbox/v1/token",
    "https://inbox.storage.googleapis.com/v1/token",
    "https://sts.storage.googleapis.com/v1/token",
    "https://pubsub.googleapis.com/v1/projects/p/topics/t:publish",
    "https://logging.googleapis.com/v2/entries:write",
    "https://www.googleapis.com/upload/storage/v1/b/inbox/o",
    "https://sts.googleapis.com/v1/token?x=y",
    "https://sts.googleapis.com/v1/token#x",
    "https://sts.googleapis.com/v1/token/",
    "https://sts.googleapis.com/v1/../upload",
    "https://sts.googleapis.com",
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a/b:generateAccessToken",
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.c:signBlob",
    "http://sts.googleapis.com/v1/token",
    "https://sts.googleapis.com.example.org/v1/token",
    "https://evil.example/v1/token",
]


@pytest.mark.parametrize("url", ISSUERS)
def test_keys_go_to_who_gives_tokens(url: str) -> None:
    check_key_goes_to(url)
    check_credentials(Named(token_url=url), "earth_engine.credentials")


@pytest.mark.parametrize("url", [*NO_ISSUERS, *NOT_GOOGLE], ids=named)
def test_keys_go_nowhere_else_at_google(url: str) -> None:
    """A bucket, a topic or a log of anybody's is of Google too, and keeps what it is sent."""
    with pytest.raises(JobError) as caught:
        Transport(Connections(1))(url, "POST", b"subject_token=secret")
    assert "\n" not in str(caught.value)
    with pytest.raises(JobError, match=r"earth_engine\.credentials: their token_url is "):
        check_credentials(Named(token_url=url or " "), "earth_engine.credentials")


class Named:
    """Credentials with URLs of their own, as google-auth keeps them."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update({f"_{name}": value for name, value in values.items()})


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        (Named(token_uri="https://evil.example/token"), "token_uri is of host 'evil.example'"),
        (Named(token_uri="http://oauth2.googleapis.com/token"), "token_uri is of host 'oauth2.googleapis.com'"),
        (Named(token_url="https://evil.example\\.googleapis.com"), "token_url is of host 'evil.example'"),
        (Named(service_account_impersonation_url="https://evil.example/"), "impersonation_url is of host"),
        (Named(source_credentials=Named(token_uri="https://evil.example")), "token_uri is of host 'evil.example'"),
        (Named(universe_domain="evil.example"), "universe_domain 'evil.example'"),
        (Named(token_uri="https://oauth2.googleapis.com/token", universe_domain="googleapis.com"), None),
        (Named(token_url="https://sts.googleapis.com/v1/token"), None),
        (Named(token_url="https://storage.googleapis.com/upload/storage/v1/b/x/o?name=a"), "which gives no tokens"),
        (Named(source_credentials=Named(token_uri="https://sts.googleapis.com/")), "which gives no tokens"),
    ],
)
def test_credentials_that_name_other_hosts_are_refused(credentials: Named, told: str | None) -> None:
    if told is None:
        check_credentials(credentials, "earth_engine.credentials")
        return
    with pytest.raises(JobError) as caught:
        check_credentials(credentials, "earth_engine.credentials")
    assert str(caught.value).startswith("earth_engine.credentials: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "url", "user"),
    [
        ("http://me:p%40ss%3Aword@proxy.example:3128", "http://proxy.example:3128", "me:p@ss:word"),
        ("https://me:w%C3%B6rt@proxy.example", "https://proxy.example", "me:wört"),
        ("me:word@proxy.example:3128", "http://proxy.example:3128", "me:word"),
        ("http://me@proxy.example", "http://proxy.example", "me:"),
        ("http://proxy.example:3128/", "http://proxy.example:3128/", None),
    ],
)
def test_a_proxys_user_becomes_its_header(
    text: str, url: str, user: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", text)
    monkeypatch.setenv("no_proxy", "")
    proxy = proxy_of("https://earthengine.googleapis.com")
    assert proxy is not None
    assert proxy.url == url
    sent = proxy.headers.get("proxy-authorization", "Basic ").removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == (user or "")
    assert not user or user.partition(":")[2] == "" or user.partition(":")[2] not in repr(proxy)


@pytest.mark.parametrize(
    "text", ["http://me:se#cret@h", "http://me:se/cret@h", "socks5://me:secret@h", "http://me:secret@h:x", "secret\nx"]
)
def test_a_proxy_that_cannot_be_read_shows_no_password(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", text)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(JobError, match="HTTPS_PROXY: not a valid proxy; write") as caught:
        proxy_of("https://earthengine.googleapis.com")
    assert "cret" not in str(caught.value)


def test_proxies_are_chosen_by_the_same_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    assert host_of("http://[::1]:80/x") == "::1"
    assert proxy_of("http://[::1]:80/x") is None
    assert proxy_of("http://127.0.0.1\\.example.org") is None
    assert proxy_of("http://127.0.0.1.example.org") == Proxy("http://proxy.example.org:3128")


def test_a_service_is_the_one_that_the_job_names() -> None:
    mine = job({"earth_engine": {"project": "p", "credentials": "service-account:key.json"}})
    assert Service.of(mine) == Service(HIGH_VOLUME, "p", "service-account:/tmp/key.json", "a-test")
    assert Service.of(job({"earth_engine": {"project": "p", "endpoint": "standard"}})).url == STANDARD
    assert Service.of(job()) == Service("http://127.0.0.1:1", "local", "default", "a-test")
    embedded = job({"earth_engine": {"endpoint": "emulator", "project": "p"}})
    assert Service.of(embedded, emulator="http://h:1") == Service("http://h:1", "p", "anonymous", "a-test")
