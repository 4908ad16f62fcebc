"""Where connections really go, with which secrets, and how much they take: real servers and proxies on loopback."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ee
import pytest
import urllib3
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account
from google_service import Google, error_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from object_servers import BUCKET, gcs_server, s3_server
from proxies import Proxy, proxy
from wire import Said, Told, Wire, wire

import ee_emulator as emulator
from ee_spark.client import SCOPES, Client, Service, load_credentials
from ee_spark.connections import Connections, OversizeError, is_near
from ee_spark.errors import JobError, ServiceError, StoppedError, StoreError, while_planning
from ee_spark.hosts import STANDARD, host_of, is_endpoint, is_google
from ee_spark.objects import Settings, open_store
from ee_spark.planner.source import connect
from ee_spark.tokens import Tokens, Transport

USER = "me:p@ss: wörd"
IN_URL = "me:p%40ss%3A%20w%C3%B6rd"


@pytest.fixture(autouse=True)
def _nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def through(monkeypatch: pytest.MonkeyPatch, server: Proxy, user: str = "") -> None:
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", f"http://{user}@{server.address}" if user else f"http://{server.address}")


# Where a connection goes is what a proxy is asked for: no resolver is in the way.

PIECES = st.sampled_from(
    [
        *("https", "http", ":", "/", "//", "\\", "@", "?", "#", "%2e", "%", ".", "..", "[", "]", "::1", "443", "80"),
        *(" ", "é", "\t", "\x00", "\n", "user", "evil.example", "googleapis.com", ".googleapis.com", "0", "+", "099"),
        *("\uff0e", "\u3002", "\u2044", "xn--", "A", "-", "earthengine.googleapis.com", ":443", "https://", "http://"),
    ]
)


@pytest.fixture(scope="module")
def asked() -> Iterator[Proxy]:
    with proxy() as server:
        yield server


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(url=st.lists(PIECES, max_size=8).map("".join).flatmap(lambda end: st.sampled_from([end, "https://" + end])))
@example(url="https://evil.example\\.googleapis.com")
@example(url="https://earthengine.googleapis.com")
@example(url="http://Evil.Example:8080")
@example(url="https://user@earthengine.googleapis.com")
def test_a_token_and_an_endpoint_go_where_they_say(url: str, asked: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    through(monkeypatch, asked)
    asked.asked.clear()
    connections = Connections(1)
    with pytest.raises((JobError, urllib3.exceptions.HTTPError, ValueError)) as ended:
        connections.request("GET", f"{url}/v1/x", headers={"Authorization": "Bearer secret"})
    assert isinstance(ended.value, JobError) != is_google(f"{url}/v1/x")
    assert [one.method for one in asked.asked] == ["CONNECT"] * is_google(f"{url}/v1/x")
    assert all(one.target.lower().endswith(".googleapis.com:443") for one in asked.asked)
    assert "secret" not in str(asked.asked)
    if is_endpoint(url) and not is_near(host_of(url)):
        asked.asked.clear()
        try:
            assert connections.request("GET", f"{url.rstrip('/')}/v1/x").status == 502
        except urllib3.exceptions.ProxyError:
            assert url.lower().startswith("https")
        (one,) = asked.asked
        parts = urllib3.util.parse_url(url)
        default = f":{parts.port or 443}" if one.method == "CONNECT" else "" if not parts.port else f":{parts.port}"
        assert one.target.lower() == f"{host_of(url)}{default}"


# Proxies with a password.


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Google, Wire, Proxy]]:
    far = Google(tmp_path)
    with wire(lambda said: far.script(said), far.tls) as service:
        names = ("earthengine", "oauth2", "storage", "sts", "iamcredentials")
        address = ("127.0.0.1", service.server_address[1])
        with proxy({f"{name}.googleapis.com:443": address for name in names}, USER) as server:
            monkeypatch.setenv("SSL_CERT_FILE", str(far.authority))
            through(monkeypatch, server, IN_URL)
            far.good = "token-1"
            yield far, service, server


def test_a_proxy_with_a_password_serves_tiles_and_tokens(google: tuple[Google, Wire, Proxy]) -> None:
    far, service, server = google
    client = Client(Service(STANDARD, "p", f"service-account:{far.account}"))
    assert client.call("POST", "/v1/x", b"{}").body == b"pixels"
    assert {one.target for one in server.asked} == {"earthengine.googleapis.com:443", "oauth2.googleapis.com:443"}
    assert all(one.headers["proxy-authorization"] == server.wanted for one in server.asked)
    assert not [said for said in service.said if "proxy-authorization" in said.headers]


@pytest.mark.parametrize("user", ["", "me:wrong%20secret"])
def test_a_proxy_that_refuses_is_one_line(
    user: str, google: tuple[Google, Wire, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    far, service, server = google
    through(monkeypatch, server, user)
    for url in (STANDARD, "http://ee.example.org"):
        client = Client(Service(url, "p", f"service-account:{far.account}"))
        with pytest.raises(ServiceError) as caught:
            client.call("POST", "/v1/x", b"{}")
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (caught.value.kind, caught.value.status) == ("access", 407)
    assert not service.said
    with pytest.raises(ServiceError, match=r"wants a user and password for https://.* \(407\)") as caught:
        Client(Service(STANDARD, "p", "anonymous")).call("POST", "/v1/x", b"{}")
    assert caught.value.kind == "access"


def test_plain_http_goes_through_the_same_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(lambda _: Told()) as service, proxy(user=USER) as server:
        server.routes["ee.example.org:8080"] = ("127.0.0.1", service.server_address[1])
        through(monkeypatch, server, IN_URL)
        assert Client(Service("http://ee.example.org:8080", "p")).get("x") == {}
    assert [one.headers["proxy-authorization"] for one in server.asked] == [server.wanted]


def test_gs_goes_through_the_same_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with gcs_server() as url:
        port = int(url.rpartition(":")[2])
        with proxy({"gcs.example.org:4443": ("127.0.0.1", port)}, USER) as server:
            through(monkeypatch, server, IN_URL)
            store = open_store(f"gs://{BUCKET}/proxied", Settings(gs_endpoint="http://gcs.example.org:4443"))
            assert store.create("a", b"data")
            assert [entry.name for entry in store.list("")] == ["a"]
            assert store.read("a")[0] == b"data"  # type: ignore[index]
            assert len(server.asked) == 3
    straight = open_store(f"gs://{BUCKET}/x", Settings(gs_endpoint=url), away=True)
    monkeypatch.setattr("ee_spark.objects.gs.SECONDS", 0.0)
    with pytest.raises(StoreError, match="no answer"):
        straight.read("a")  # the server is gone, and a proxy is not asked for this machine
    assert len(server.asked) == 3


def test_gs_gets_its_token_through_the_proxy(
    google: tuple[Google, Wire, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    far, _, server = google
    far.pixels = Told(200, b"data", {"x-goog-generation": "7"})
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(far.account))
    assert open_store("gs://bucket/x").read("a") == (b"data", "7")
    assert {one.target for one in server.asked} == {"storage.googleapis.com:443", "oauth2.googleapis.com:443"}
    far.good = "token-2"  # the first has run out: renewed once
    assert open_store("gs://bucket/x").read("a") == (b"data", "7")


def test_s3_goes_through_the_same_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as url:
        port = int(url.rpartition(":")[2])
        with proxy({"s3.example.org:9000": ("127.0.0.1", port)}, "me:p@ss: word") as server:
            through(monkeypatch, server, "me:p%40ss%3A%20word")  # botocore: ASCII only
            given = Settings(s3_endpoint="http://s3.example.org:9000", s3_region="us-east-1")
            store = open_store(f"s3://{BUCKET}/proxied", given)
            assert store.create("a", b"data")
            assert store.read("a")[0] == b"data"  # type: ignore[index]
            assert {one.headers["proxy-authorization"] for one in server.asked} == {server.wanted}
            asked = len(server.asked)
            near = open_store(f"s3://{BUCKET}/proxied", Settings(s3_endpoint=url, s3_region="us-east-1"))
            assert near.read("a")[0] == b"data"  # type: ignore[index]
            assert len(server.asked) == asked  # this machine is never reached through a proxy


def test_the_official_client_goes_the_same_way(
    google: tuple[Google, Wire, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discovery, the algorithms and a computation, through CONNECT with a password, TLS and a bearer token."""
    far, service, server = google
    with emulator.start() as real:
        pool = urllib3.PoolManager()

        def answer(said: Said) -> Told:
            kept = ("accept-encoding", "content-type", "x-goog-user-project")
            headers = {name: value for name, value in said.headers.items() if name in kept}
            found = pool.request(
                said.method, real.url + said.path, body=said.body, headers=headers, decode_content=False
            )
            more = {"content-type": found.headers["content-type"]}
            if "content-encoding" in found.headers:
                more["content-encoding"] = found.headers["content-encoding"]
            return Told(found.status, found.data, more)

        far.answer = answer
        connect(Service(STANDARD, "p", f"service-account:{far.account}"))
        assert ee.Number(3).add(4).getInfo() == 7
        far.good = "token-2"
        assert ee.Number(3).add(5).getInfo() == 8
    ours = {"earthengine.googleapis.com:443", "oauth2.googleapis.com:443"}
    assert {one.target for one in server.asked} - {"storage.googleapis.com:443"} == ours  # its list of old assets
    asked = [said for said in service.said if said.headers["host"].startswith("earthengine.")]
    assert {said.headers.get("authorization") for said in asked} == {"Bearer token-1", "Bearer token-2"}


def test_the_official_client_takes_no_token_elsewhere() -> None:
    """A discovery document, or a redirect, that names another host: nothing arrives there."""
    with wire(lambda _: Told()) as other:
        told = Told(302, b"", {"Location": f"{other.url}/v1/y"})
        with wire(lambda _: told) as service, pytest.raises(JobError, match=r"earth_engine\.endpoint"):
            connect(Service(service.url, "p"))
        assert not other.said
        credentials, transport = Client(Service(STANDARD, "p", "service-account:/no/key.json")).official()
        with pytest.raises(JobError, match="go to https"):
            credentials.before_request(None, "GET", f"{other.url}/v1/y", {})
        with pytest.raises(JobError, match="go to https"):
            transport.request(f"{other.url}/v1/y", headers={"authorization": "Bearer secret"})
        assert not other.said


# Credentials that name hosts of their own.


def external(url: str, subject: Path, **more: Any) -> dict[str, Any]:
    subject.write_text("subject-secret")
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": url,
        "credential_source": {"file": str(subject)},
        **more,
    }


@pytest.mark.parametrize("kind", ["service_account", "external_account", "impersonated", "universe"])
def test_credentials_that_name_another_host_send_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's own token endpoint answers: where it did not, that would be told, and prove nothing."""
    monkeypatch.delenv("NO_GCE_CHECK", raising=False)
    far = Google(tmp_path)
    account = json.loads(far.account.read_text())
    with wire(lambda _: Told()) as other, wire(far.script, far.tls) as service, wire(lambda _: Told(500)) as proxy:
        proxy.behind = service.server_address  # type: ignore[attr-defined]
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(far.authority))
        sts = "https://sts.googleapis.com/token"
        evil = f"{other.url}/v1/x:generateAccessToken"
        found = {
            "service_account": {**account, "token_uri": f"{other.url}/token"},
            "external_account": external(f"{other.url}/token", tmp_path / "s"),
            "impersonated": external(sts, tmp_path / "s", service_account_impersonation_url=evil),
            "universe": {**account, "universe_domain": "evil.example"},
        }[kind]
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(found))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        for which in (
            "default",
            "impersonate:a@b.c",
            *([f"service-account:{path}"] if "account" in found["type"] else []),
        ):
            with pytest.raises(JobError, match=r"earth_engine\.credentials") as caught:
                load_credentials(which)
            assert "\n" not in str(caught.value)
            with pytest.raises(JobError):
                Client(Service(STANDARD, "p", which)).call("GET", "/v1/x")
        with pytest.raises((JobError, StoreError)):
            open_store("gs://bucket/x").read("a")
        assert not other.said


def test_an_outage_of_who_gives_tokens_is_no_wrong_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(external("https://sts.googleapis.com/v1/token", tmp_path / "s")))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(ServiceError, match="could not get a token") as caught:
            load_credentials("default")
        assert (caught.value.kind, caught.value.exit_code) == ("unavailable", 1)
        with pytest.raises(ServiceError, match="could not get a token") as caught:
            Client(Service(STANDARD, "p", "default")).get("x")
        assert isinstance(while_planning("earth_engine", caught.value), StoppedError)


@pytest.mark.parametrize("kind", ["external_account", "external_account_authorized_user"])
def test_a_file_of_the_user_goes_to_no_bucket(
    kind: str, google: tuple[Google, Wire, Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's storage is a host of Google's: credentials that name somebody's bucket there are refused."""
    _, service, server = google
    inbox = "https://storage.googleapis.com/upload/storage/v1/b/inbox/o?uploadType=media&name=loot"
    found = external(inbox, tmp_path / "secret", type=kind)
    if kind != "external_account":
        found |= {"refresh_token": "secret", "client_id": "x", "client_secret": "y"}
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(found))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    with pytest.raises(JobError, match="which gives no tokens"):
        Client(Service(STANDARD, "p", "default")).call("GET", "/v1/x")
    with pytest.raises(JobError, match="which gives no tokens"):
        open_store("gs://bucket/x").read("a")
    assert not service.said
    assert not server.asked


def test_a_key_is_not_sent_even_where_no_file_was_checked(tmp_path: Path) -> None:
    """The check is where it connects: credentials that come by another way are held by it too."""
    with wire(lambda _: Told()) as other:
        account = {**json.loads(Google(tmp_path).account.read_text()), "token_uri": f"{other.url}/token"}
        raw = service_account.Credentials.from_service_account_info(account, scopes=SCOPES)
        with pytest.raises(JobError, match=r"about to go to host '127\.0\.0\.1'"):
            Tokens(lambda _: raw, Connections(1)).token()
        assert not other.said


def test_a_token_endpoint_that_redirects_is_not_followed(google: tuple[Google, Wire, Proxy]) -> None:
    far, _, _ = google
    with wire(lambda _: Told()) as other:
        far.answer = lambda said: Told(307, b"", {"Location": f"{other.url}/token"})
        far.token = far.answer
        with pytest.raises(ServiceError, match="could not get a token"):
            Client(Service(STANDARD, "p", f"service-account:{far.account}")).call("GET", "/v1/x")
        assert not other.said


# S3: another endpoint gets what was given for it.


@pytest.fixture
def no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without keys of a user; its folder, where boto3 looks for files."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def of_the_machine(folder: Path, url: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this machine credentials that are its own: boto3 would take them."""
    if kind == "instance":
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
    elif kind == "container":
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/role")
    elif kind == "web identity":
        (folder / "token").write_text("secret")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
    elif kind == "sso":
        text = "[default]\nsso_start_url = %s\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = x\n"
        (folder / "config").write_text(text % url)
    else:
        (folder / "config").write_text(f"[default]\ncredential_process = touch {folder}/ran\n")


@pytest.mark.parametrize("kind", ["instance", "container", "web identity", "sso", "process"])
def test_a_machines_own_credentials_stay_with_amazon(kind: str, no_keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(lambda _: Told(404)) as machine, wire(lambda _: Told()) as custom:
        of_the_machine(no_keys, machine.url, kind, monkeypatch)
        store = open_store("s3://bucket/x", Settings(s3_endpoint=custom.url, s3_region="us-east-1"))
        with pytest.raises(
            StoreError, match=r"no keys were given for .* go to amazonaws\.com only; set AWS_"
        ) as caught:
            store.read("a")
        assert "\n" not in str(caught.value)
        assert not machine.said
        assert not custom.said
        assert not (no_keys / "ran").exists()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", custom.url)  # named by the environment: the same
        with pytest.raises(StoreError):
            open_store("s3://bucket/x", Settings(s3_region="us-east-1")).read("a")
        assert not custom.said


@pytest.mark.parametrize("how", ["environment", "profile", "nobody"])
def test_keys_that_were_given_reach_another_endpoint(how: str, no_keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "given")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    elif how == "profile":
        (no_keys / "credentials").write_text("[mine]\naws_access_key_id = given\naws_secret_access_key = secret\n")
        monkeypatch.setenv("AWS_PROFILE", "mine")
    with wire(lambda _: Told(200, b"data", {"etag": '"1"'})) as custom:
        given = Settings(s3_endpoint=custom.url, s3_region="us-east-1", anonymous=how == "nobody")
        assert open_store("s3://bucket/x", given).read("a") == (b"data", '"1"')
    (said,) = custom.said
    assert ("Credential=given/" in said.headers.get("authorization", "")) == (how != "nobody")


def test_a_custom_s3_endpoint_sends_nobody_elsewhere() -> None:
    with wire(lambda _: Told()) as other:
        told = Told(307, b"", {"Location": f"{other.url}/bucket/x/a", "x-amz-bucket-region": "eu-west-1"})
        with wire(lambda _: told) as custom, pytest.raises(StoreError):
            open_store("s3://bucket/x", Settings(s3_endpoint=custom.url, s3_region="us-east-1")).read("a")
        assert not other.said


# How long an answer may take: every byte starts a socket's own timeout again.

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
TRICKLES = {
    "body": (BEGUN, b" "),
    "body without a length": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "error": (BEGUN.replace(b"200 OK", b"503 No"), b" "),
    "head": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: y\r\n"),
}
"""Heads, and what comes after them again and again."""


@contextmanager
def trickle(head: bytes, piece: bytes) -> Iterator[socket.socket]:
    """Answer every connection with ``head``, and then a ``piece`` ten times a second for as long as anybody listens."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(head)
                while not over.wait(0.1):
                    connection.sendall(piece)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def ended(ask: Callable[[], object]) -> BaseException | None:
    """Return what ``ask`` raises; it must come to an end, which takes a second where all is well."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            ask()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the request does not end"
    return caught[0] if caught else None


@pytest.mark.parametrize("kind", TRICKLES)
def test_a_request_ends_in_its_time(kind: str) -> None:
    with trickle(*TRICKLES[kind]) as listener:
        error = ended(lambda: Connections(1).request("GET", f"http://127.0.0.1:{port_of(listener)}/", timeout=1))
    assert isinstance(error, urllib3.exceptions.TimeoutError)
    assert str(error) == "no whole answer within 1 s"


def test_a_proxy_and_a_handshake_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with trickle(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n") as slow:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port_of(slow)}")
        error = ended(lambda: Connections(1).request("GET", "https://ee.example.org/", timeout=1))
        assert isinstance(error, urllib3.exceptions.TimeoutError)
    hello = b"\x16\x03\x03\x40\x00"  # a record of 16 kB, which never comes whole
    with trickle(hello, b"\x02") as slow, proxy({"ee.example.org:443": ("127.0.0.1", port_of(slow))}) as server:
        through(monkeypatch, server)
        error = ended(lambda: Connections(1).request("GET", "https://ee.example.org/", timeout=1))
        assert isinstance(error, urllib3.exceptions.TimeoutError)


def test_a_tls_answer_ends_in_time(google: tuple[Google, Wire, Proxy]) -> None:
    far, _, _ = google
    never = threading.Event()
    far.answer = lambda said: Told(200, b"x" * 1000, hold=never)
    error = ended(
        lambda: Client(Service(STANDARD, "p", f"service-account:{far.account}")).call("GET", "/v1/x", None, 1)
    )
    never.set()
    assert isinstance(error, ServiceError)
    assert error.kind == "transient"


def test_planning_tokens_and_stores_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ee_spark.client.ANSWER_SECONDS", 1)
    monkeypatch.setattr("ee_spark.objects.gs.ANSWER_SECONDS", 1)
    monkeypatch.setattr("ee_spark.objects.gs.SLOWEST", 1 << 40)
    monkeypatch.setattr("ee_spark.objects.gs.SECONDS", 0.0)
    with trickle(BEGUN, b" ") as listener:
        url = f"http://127.0.0.1:{port_of(listener)}"
        client = Client(Service(url, "p"))
        assert isinstance(ended(lambda: client.get("x")), ServiceError)
        _, official = client.official()
        monkeypatch.setattr(official, "_seconds", 1)
        assert isinstance(ended(lambda: official.request(f"{url}/v1/x")), TimeoutError)
        token = Transport(Connections(1))
        assert isinstance(ended(lambda: token(f"{url}/computeMetadata", timeout=1)), GoogleAuthError)
        store = open_store("gs://bucket/x", Settings(gs_endpoint=url))
        for ask in (partial(store.list, ""), partial(store.delete, "a"), partial(store.create, "a", b"data")):
            error = ended(ask)
            assert isinstance(error, StoreError)
            assert "no whole answer within 1" in str(error)


def test_what_watches_requests_ends_when_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ee_spark.connections.LOOK_SECONDS", 0.01)
    connections = Connections(1)
    with wire(lambda _: Told()) as server:
        for _ in range(2):
            assert connections.request("GET", server.url).status == 200
            reaper = connections._reaper
            assert reaper is not None
            reaper.join(20)
            assert not reaper.is_alive()
            assert connections._reaper is None


# How much of an answer is taken.


@contextmanager
def flood(head: bytes, piece: bytes) -> Iterator[tuple[str, list[int]]]:
    """Serve ``head`` and then ``piece`` again and again until the client hangs up; yields URL and bytes sent."""
    sent: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    sent.append(0)
                    try:
                        connection.recv(65536)
                        connection.sendall(head)
                        while sent[-1] < 1 << 30:
                            connection.sendall(piece)
                            sent[-1] += len(piece)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent
        listener.shutdown(socket.SHUT_RDWR)


MEGABYTE = b"x" * (1 << 20)
ENDLESS = [
    (b"HTTP/1.1 200 OK\r\n\r\n", MEGABYTE),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + MEGABYTE + b"\r\n"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"100000\r\n" + MEGABYTE + b"\r\n",
    ),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", MEGABYTE),
    (b"HTTP/1.1 206 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", MEGABYTE),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 999999999\r\n\r\n", MEGABYTE),
]


@pytest.mark.parametrize(("head", "piece"), ENDLESS, ids=range(len(ENDLESS)))
def test_an_answer_without_an_end_is_not_taken(head: bytes, piece: bytes) -> None:
    with flood(head, piece) as (url, sent):
        client = Client(Service(url, "p"))
        with pytest.raises(ServiceError) as caught:
            client.call("POST", "/v1/x", b"{}", most=3_000_000)
        assert (caught.value.kind, str(caught.value)) in [
            ("damaged", "the answer has more than 3000000 bytes, the most that was asked for"),
            ("transient", str(caught.value)),  # two lengths: no answer at all
        ]
        assert sum(sent) < 32 << 20  # and what the kernel holds between the two


@pytest.mark.parametrize("status", [400, 503])
def test_of_an_error_little_is_taken(status: int) -> None:
    with flood(f"HTTP/1.1 {status} No\r\n\r\n".encode(), MEGABYTE) as (url, sent):
        with pytest.raises(ServiceError, match=f"HTTP {status} without a message"):
            Client(Service(url, "p")).call("POST", "/v1/x", b"{}")
        assert sum(sent) < 32 << 20
    body = error_of(status, "x" * 3000)
    with wire(lambda _: Told(status, body)) as server, pytest.raises(ServiceError, match=r"^x{500}$"):
        Client(Service(server.url, "p")).get("x")


def test_a_bomb_of_gzip_counts_what_it_inflates_to(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b"[" + b" " * (64 << 20) + b"]")
    assert len(bomb) < 100_000
    told = Told(200, bomb, {"Content-Encoding": "gzip"})
    monkeypatch.setattr("ee_spark.client.MAX_JSON", 1 << 20)
    with wire(lambda _: told) as server:
        with pytest.raises(ServiceError, match="more than 1048576 bytes") as caught:
            Client(Service(server.url, "p")).get("x")
        assert caught.value.kind == "damaged"
        with pytest.raises(OversizeError):
            Connections(1).request("GET", server.url, most=1 << 20)
    twice = Told(200, gzip.compress(bomb), {"Content-Encoding": "gzip, gzip"})
    with wire(lambda _: twice) as server, pytest.raises(ServiceError, match="encoded more than once"):
        Client(Service(server.url, "p")).get("x")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"\xff\xfe{}", b"\xef\xbb\xbf[]", b"[]", b"3", b'"x"', b"null", b"{", b"{}{}", b'{"a": NaN}'),
        *(b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": -1.5E+400}', b'{"a": 1' + b"0" * 400 + b".5}", b"\x00{}"),
        *(b'{"a": ' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"a":' * 100_000, b'{"a": "\\ud800'),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_json_that_is_damaged_is_a_typed_error(body: bytes) -> None:
    with wire(lambda _: Told(200, body)) as server, pytest.raises(ServiceError) as caught:
        Client(Service(server.url, "p")).get("x")
    assert (caught.value.kind, caught.value.status) == ("damaged", 200)
    assert len(str(caught.value)) < 300


def test_numbers_that_only_look_large_are_taken() -> None:
    body = b'{"a": 1e300, "b": "1e999 ' + b"7" * 400 + b'", "c": 0.5}'
    with wire(lambda _: Told(200, body)) as server:
        assert Client(Service(server.url, "p")).get("x")["a"] == 1e300


@pytest.mark.parametrize("name", ["read", "open", "fetch", "list"])
def test_a_store_takes_no_more_than_was_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ee_spark.objects.gs.MAX_JSON", 2_000_000)
    head = b"HTTP/1.1 206 OK\r\nx-goog-generation: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    if name in ("read", "list"):
        head = head.replace(b"206", b"200")
    with flood(head, b"100000\r\n" + MEGABYTE + b"\r\n") as (url, sent):
        store = open_store("gs://bucket/x", Settings(gs_endpoint=url))
        ask = {
            "read": partial(store.read, most=2_000_000),
            "open": store.open,
            "list": store.list,
            "fetch": partial(ranged, store),
        }[name]
        with pytest.raises(StoreError, match=r"more than [0-9]+ bytes"):
            ask("a")
        assert sum(sent) < 32 << 20


def ranged(store: Any, name: str) -> Any:
    return store._call("GET", f"/{name}", good=(206,), most=100)


GS_ANSWERS = [
    Told(200, b"[]"),
    Told(200, b'{"items": 3}'),
    Told(200, b'{"items": [{"name": "x"}]}'),
    Told(200, b'{"items": [{"name": "x/a", "size": "many", "generation": "1"}]}'),
    Told(200, b"[" * 100_000),
    Told(200, b'{"nextPageToken": "same"}'),
]


@pytest.mark.parametrize("told", GS_ANSWERS, ids=range(len(GS_ANSWERS)))
def test_a_list_that_is_damaged_is_a_store_error(told: Told) -> None:
    with wire(lambda _: told) as server, pytest.raises(StoreError, match="list"):
        open_store("gs://bucket/x", Settings(gs_endpoint=server.url)).list("")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-goog-generation": "1", "content-range": "bytes 0-3/x"},
        {"x-goog-generation": "1", "content-range": "0-3/2"},
    ],
    ids=["no generation", "no size", "too small"],
)
def test_an_object_that_is_damaged_is_a_store_error(headers: dict[str, str]) -> None:
    with wire(lambda _: Told(206, b"data", headers)) as server, pytest.raises(StoreError):
        open_store("gs://bucket/x", Settings(gs_endpoint=server.url)).open("a")
    if not headers:
        with wire(lambda _: Told(200, b"data")) as server, pytest.raises(StoreError, match="which generation"):
            open_store("gs://bucket/x", Settings(gs_endpoint=server.url)).read("a")


def test_a_process_that_was_forked_begins_anew() -> None:
    """Two processes that read from one connection would read each other's answers."""
    connections = Connections(2)
    with wire(lambda _: Told(200, b"one")) as server:
        first = connections.request("GET", server.url)
        before = server.said[-1].headers["x-peer"]
        connections._process = -1
        assert connections.request("GET", server.url).data == first.data
        assert server.said[-1].headers["x-peer"] != before
