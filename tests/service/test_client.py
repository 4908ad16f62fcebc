"""The client: what each answer means, where tokens go, and that every failure is one typed line."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Iterator
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from google_service import Google, error_of
from hypothesis import given
from hypothesis import strategies as st
from wire import Told, Wire, silence, wire

import ee_emulator as emulator
from ee_spark.client import Client, Service, asset_name, load_credentials
from ee_spark.connections import Proxy, proxy_of
from ee_spark.errors import JobError, ServiceError, refusal, seconds_of
from ee_spark.hosts import STANDARD
from ee_spark.refusals import classify

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client_of(url: str, **more: str) -> Client:
    return Client(Service(url, "my-project", **more))


# What an answer means: the public catalogue of messages, each with its status.

QUOTA = (
    "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per minute per user' "
    "of service 'earthengine.googleapis.com' for consumer 'project_number:1'."
)
DAILY = (
    "Quota exceeded for quota metric 'EECU time' and limit 'EECU time per day' of service "
    "'earthengine.googleapis.com' for consumer 'project_number:1'."
)
NOT_ENABLED = (
    "Google Earth Engine API has not been used in project p before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/earthengine.googleapis.com/overview?project=p then retry."
)
NO_ROLE = "Caller does not have required permission to use project p. Grant the caller the roles/serviceusage role."
CATALOGUE = [
    (400, "Total request size (56623104 bytes) must be less than or equal to 50331648 bytes.", "too_big"),
    (400, "Pixel grid dimensions (40000x256) must be less than or equal to 32768.", "too_big"),
    (400, "User memory limit exceeded.", "too_big"),
    (400, "Computation timed out.", "too_big"),
    (400, "Too many concurrent aggregations.", "overload"),
    (429, "Too many concurrent aggregations.", "overload"),
    (500, "Too many concurrent aggregations.", "overload"),
    (
        429,
        "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded.",
        "overload",
    ),
    (429, QUOTA, "overload"),
    (403, QUOTA, "overload"),
    (403, "User Rate Limit Exceeded", "overload"),
    (429, DAILY, "daily"),
    (429, "Quota exceeded: earthengine.googleapis.com/daily_eecu_usage_time", "daily"),
    (503, "Earth Engine capacity exceeded.", "overload"),
    (400, "Earth Engine memory capacity exceeded", "overload"),
    (500, "An internal error has occurred", "transient"),
    (500, "An internal server error has occurred", "transient"),
    (408, "Request timeout", "transient"),
    (503, "The service is currently unavailable.", "unavailable"),
    (502, "Bad Gateway", "unavailable"),
    (504, "Gateway Timeout", "unavailable"),
    (504, "Deadline expired before operation could complete.", "deadline"),
    (504, "upstream request deadline exceeded", "deadline"),
    (400, "Request payload size exceeds the limit: 10485760 bytes.", "permanent"),
    (
        400,
        "Image.load: Image asset 'X' not found (does not exist or caller does not have access).",
        "permanent",
    ),
    (404, "Asset 'X' does not exist or doesn't allow this operation.", "permanent"),
    (400, "Image.select: Band pattern 'B12' was applied to an Image with no bands.", "permanent"),
    (400, "Date: Bad date/time '2019-02-29'.", "permanent"),
    (400, "Parameter 'object' is required.", "permanent"),
    (401, "Request had invalid authentication credentials.", "access"),
    (403, NO_ROLE, "access"),
    (403, NOT_ENABLED, "access"),
    (403, "Permission denied: Consumer 'projects/p' has been suspended.", "access"),
]


@pytest.mark.parametrize(("status", "message", "kind"), CATALOGUE)
def test_each_answer_means_one_thing(status: int, message: str, kind: str) -> None:
    assert classify(status, message) == kind


def test_refusals_keep_status_message_and_kind_over_http() -> None:
    script = {f"/v1/{index}": (status, message, kind) for index, (status, message, kind) in enumerate(CATALOGUE)}
    with wire(lambda said: Told(script[said.path][0], error_of(*script[said.path][:2]))) as server:
        client = client_of(server.url)
        for path, (status, message, kind) in script.items():
            with pytest.raises(ServiceError) as caught:
                client.call("POST", path, b"{}")
            assert (caught.value.status, caught.value.kind) == (status, kind)
            assert str(caught.value) == " ".join(message.split())
        assert len(server.said) == len(CATALOGUE)  # nothing is sent twice


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"error": 3}', b'{"error": {}}', b"\xff\xfe", b'{"error": {"message": ""}}']
)
def test_a_refusal_without_a_message_says_so(body: bytes) -> None:
    error = refusal(500, body)
    assert error.kind == "transient"
    assert str(error)
    assert "\n" not in str(error)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert seconds_of(None) is None
    assert seconds_of("") is None
    assert seconds_of("soon") is None
    assert seconds_of("7") == 7.0
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90)
    assert seconds_of(format_datetime(later, usegmt=True)) == pytest.approx(90, abs=2)
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    told = Told(429, error_of(429, "Too Many Requests"), {"Retry-After": "3"})
    with wire(lambda _: told) as server, pytest.raises(ServiceError) as caught:
        client_of(server.url).call("GET", "/v1/x")
    assert caught.value.wait == 3.0


@given(st.text(max_size=60))
def test_retry_after_takes_any_text(text: str) -> None:
    found = seconds_of(text)
    assert found is None or found >= 0


# Where tokens go: which hosts are Google's stands in unit/test_hosts.py.


def test_other_endpoints_are_anonymous_whatever_the_credentials() -> None:
    with wire(lambda _: Told()) as server:
        client_of(server.url, credentials="service-account:/no/such/key.json").get("projects/p/assets/x", pageSize=3)
    (said,) = server.said
    assert "authorization" not in said.headers
    assert said.headers["x-goog-user-project"] == "my-project"
    assert said.headers["user-agent"].startswith("ee_spark/")
    assert said.path == "/v1/projects/p/assets/x?pageSize=3"


def test_pixels_come_uncompressed_and_json_compressed() -> None:
    with wire(lambda _: Told()) as server:
        client = client_of(server.url)
        client.call("POST", "/v1/x", b"{}")
        client.get("x")
    pixels, listing = server.said
    assert "gzip" not in pixels.headers["accept-encoding"] + pixels.headers["user-agent"]
    assert "gzip" in listing.headers["accept-encoding"]
    assert "gzip" in listing.headers["user-agent"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8", "http://localhost", "http://[::1]:9", "http://169.254.169.254"])
def test_this_machine_is_never_reached_through_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.example.org:3128")
    assert proxy_of(url) is None
    assert proxy_of("https://earthengine.googleapis.com") == Proxy("http://proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", "googleapis.com")
    assert proxy_of("https://earthengine.googleapis.com") is None


def test_credentials_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "key.json"
    bad.write_text("{}")
    for which in ("service-account:/no/such/key.json", f"service-account:{bad}"):
        with pytest.raises(JobError, match=r"earth_engine\.credentials") as caught:
            load_credentials(which)
        assert "\n" not in str(caught.value)


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Google, Wire, Wire]]:
    far = Google(tmp_path)
    with wire(far.script, far.tls) as service, wire(lambda _: Told(500)) as proxy:
        proxy.behind = service.server_address  # type: ignore[attr-defined]
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(far.authority))
        yield far, service, proxy


def test_a_token_that_is_refused_is_renewed_once_for_all_threads(google: tuple[Google, Wire, Wire]) -> None:
    far, service, proxy = google
    client = Client(Service(STANDARD, "my-project", f"service-account:{far.account}"), connections=12)
    bodies: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: bodies.append(client.call("POST", "/v1/x", b"{}").body)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert bodies == [b"pixels"] * 12
    assert far.tokens == 2  # the first, and its successor
    assert {said.path for said in proxy.said} == {"earthengine.googleapis.com:443", "oauth2.googleapis.com:443"}
    asked = [said for said in service.said if said.path == "/v1/x"]
    assert all(said.headers["x-goog-user-project"] == "my-project" for said in asked)


def test_a_second_refusal_ends_it(google: tuple[Google, Wire, Wire]) -> None:
    far, _, _ = google
    far.good = "none"
    client = Client(Service(STANDARD, "my-project", f"service-account:{far.account}"))
    for _ in range(3):
        with pytest.raises(ServiceError) as caught:
            client.call("POST", "/v1/x", b"{}")
        assert (caught.value.kind, caught.value.status) == ("access", 401)
        assert "token-" not in str(caught.value)
    assert far.tokens == 2


def test_a_token_that_is_late_does_not_end_the_run(
    google: tuple[Google, Wire, Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    far, _, _ = google
    with silence() as listener:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
    client = Client(Service(STANDARD, "my-project", f"service-account:{far.account}"))
    with pytest.raises(ServiceError, match="could not get a token") as caught:
        client.call("POST", "/v1/x", b"{}")
    assert (caught.value.kind, caught.value.status) == ("unavailable", 0)


def test_an_unknown_certificate_never_gets_a_token(
    google: tuple[Google, Wire, Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    far, service, _ = google
    monkeypatch.delenv("SSL_CERT_FILE")
    client = Client(Service(STANDARD, "my-project", f"service-account:{far.account}"))
    with pytest.raises(ServiceError):
        client.call("POST", "/v1/x", b"{}")
    assert not service.said


# Answers that do not come.


def test_nobody_there_is_unavailable_and_not_an_attempt() -> None:
    with silence() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ServiceError) as caught:
        client_of(url).call("GET", "/v1/x")
    assert (caught.value.kind, caught.value.status) == ("unavailable", 0)
    assert "\n" not in str(caught.value)


def test_silence_ends_in_time() -> None:
    with silence() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            client_of(url).call("GET", "/v1/x", seconds=0.2)
    assert caught.value.kind == "transient"
    assert time.monotonic() - started < 5


def test_a_torn_body_is_transient() -> None:
    with wire(lambda _: Told(200, b"x" * 500, length=1000)) as server, pytest.raises(ServiceError) as caught:
        client_of(server.url).call("POST", "/v1/x", b"{}")
    assert (caught.value.kind, caught.value.status) == ("transient", 0)


@pytest.mark.parametrize("everything", [False, True])
def test_what_is_in_flight_can_be_ended_from_another_thread(everything: bool) -> None:
    never = threading.Event()
    with wire(lambda _: Told(200, b"x" * 1000, hold=never)) as server:
        client = client_of(server.url)
        caught: list[ServiceError] = []

        def ask() -> None:
            try:
                client.call("POST", "/v1/x", b"{}", 60 if everything else 0.3)
            except ServiceError as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < until:
            client.expire(everything=everything)
            thread.join(0.05)
        never.set()
        assert not thread.is_alive()
    assert [error.kind for error in caught] == ["transient"]


def test_redirects_are_not_followed() -> None:
    with wire(lambda _: Told()) as other:
        told = Told(302, b"", {"Location": f"{other.url}/v1/y"})
        with wire(lambda _: told) as server, pytest.raises(ServiceError) as caught:
            client_of(server.url).call("GET", "/v1/x")
        assert caught.value.status == 302
        assert not other.said


def test_an_answer_that_is_no_json_is_damaged() -> None:
    with wire(lambda _: Told(200, b"<html>")) as server, pytest.raises(ServiceError) as caught:
        client_of(server.url).get("x")
    assert caught.value.kind == "damaged"


def test_restricted_mode_is_noticed() -> None:
    with emulator.start(faults="restricted:1") as service:
        body = {"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}
        reply = client_of(service.url).call("POST", "/v1/projects/p/value:compute", json.dumps(body).encode())
    assert reply.restricted


@pytest.mark.parametrize(
    ("asset", "name"),
    [
        ("MODIS/061/MOD13Q1/2010_01_01", "projects/earthengine-public/assets/MODIS/061/MOD13Q1/2010_01_01"),
        ("users/me/x", "projects/earthengine-legacy/assets/users/me/x"),
        ("projects/my-project/assets/x", "projects/my-project/assets/x"),
        ("projects/old/x", "projects/earthengine-legacy/assets/projects/old/x"),
    ],
)
def test_asset_names_are_the_official_clients(asset: str, name: str) -> None:
    from ee import _cloud_api_utils

    assert asset_name(asset) == name == _cloud_api_utils.convert_asset_id_to_asset_name(asset)


@pytest.mark.parametrize("asset", ["A/B?x", "A/B#x", "A/B:listAssets", "A/B%2Fx", "A/B x"])
def test_signs_of_urls_are_part_of_an_assets_name(asset: str) -> None:
    path = asset_name(asset)
    assert urlsplit(f"http://h/{path}")[3:] == ("", "")
    assert unquote(path) == f"projects/earthengine-public/assets/{asset}"
    assert ":" not in path
