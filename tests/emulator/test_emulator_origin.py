"""Who may ask the emulator: programs of this machine, and no browser's page from elsewhere."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import ee
import pytest
import urllib3
from google.auth.credentials import AnonymousCredentials
from hypothesis import given
from hypothesis import strategies as st

import ee_emulator
from ee_emulator.wire.origin import foreign

STATS = "/_emulator/stats"
DISCOVERY = "/$discovery/rest?version=v1"


@pytest.fixture(scope="module")
def service() -> Iterator[ee_emulator.Emulator]:
    with ee_emulator.start() as started:
        yield started


def port_of(service: ee_emulator.Emulator) -> int:
    return int(service.url.rpartition(":")[2])


def asked(service: ee_emulator.Emulator, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request line with headers as they are, and return status and body."""
    with socket.create_connection(("127.0.0.1", port_of(service)), timeout=30) as connection:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        connection.sendall(f"{head}\r\n{length}Connection: close\r\n\r\n".encode("latin-1") + body)
        data = b""
        while part := connection.recv(65536):
            data += part
    head_, _, rest = data.partition(b"\r\n\r\n")
    return int(head_.split()[1]), rest


HERE = ["127.0.0.1", "127.0.0.1:{port}", "localhost", "localhost:{port}", "LOCALHOST:9000", "[::1]:{port}", "[::1]"]
HERE += ["127.0.0.2:80", "localhost:", "[0:0:0:0:0:0:0:1]:{port}"]
ELSEWHERE = ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "localhost.evil.example", "h", ""]
ELSEWHERE += [
    "10.0.0.1:{port}",
    "169.254.169.254",
    "0.0.0.0:{port}",
    "[::]:{port}",
    "[fe80::1]",
    "127.0.0.1@evil.example",
]
ELSEWHERE += [
    "evil.example, 127.0.0.1",
    "127.0.0.1 evil.example",
    "127.0.0.1/evil.example",
    "127.0.0.1:x",
    "2130706433",
]
ELSEWHERE += ["127.1", "localhost\u00e9", "[::1", "::1"]


@pytest.mark.parametrize("host", HERE)
def test_names_of_this_machine_are_answered(host: str, service: ee_emulator.Emulator) -> None:
    host = host.format(port=port_of(service))
    assert asked(service, f"GET {STATS} HTTP/1.1\r\nHost: {host}")[0] == 200
    for scheme in ("http", "https"):
        page = f"GET {STATS} HTTP/1.1\r\nHost: {host}\r\nOrigin: {scheme}://{host}"
        assert asked(service, page)[0] == 200


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize("path", [STATS, DISCOVERY, "/v1/projects/p/algorithms", "/_emulator/credentials", "/nothing"])
def test_a_foreign_host_is_refused(host: str, path: str, service: ee_emulator.Emulator) -> None:
    host = host.format(port=port_of(service))
    status, body = asked(service, f"GET {path} HTTP/1.1\r\nHost: {host}")
    assert status == 403
    message = json.loads(body)["error"]["message"]
    assert message.endswith("is not this machine: ask 127.0.0.1, localhost or [::1].")
    assert "\n" not in message


@pytest.mark.parametrize(
    "origin", ["null", "", "file://", "127.0.0.1", "chrome-extension://abc", "http:// 127.0.0.1/x"]
)
def test_a_foreign_origin_is_refused(origin: str, service: ee_emulator.Emulator) -> None:
    head = f"POST /_emulator/traffic HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: {origin}"
    status, body = asked(service, head, b'{"latency_ms": 9}')
    assert status == 403
    assert json.loads(body)["error"]["message"].endswith("is not this machine: pages from elsewhere get no answer.")


def test_a_page_of_this_server_has_its_port(service: ee_emulator.Emulator) -> None:
    """Any program of this machine may show pages at another port: a browser knows them for other origins."""
    port = port_of(service)
    for host, origin, status in (
        (f"127.0.0.1:{port}", f"http://localhost:{port}", 200),
        ("localhost", "http://localhost:80", 200),
        (f"127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}", 403),
        (f"localhost:{port}", "http://localhost", 403),
        ("localhost", f"http://localhost:{port}", 403),
    ):
        head = f"POST /_emulator/traffic HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}"
        assert asked(service, head, b"{}")[0] == status


def test_a_request_across_sites_is_refused(service: ee_emulator.Emulator) -> None:
    """What a browser says of a form or an image of another site, where it sends no Origin."""
    for site, status in (("cross-site", 403), ("Cross-Site", 403), ("same-origin", 200), ("none", 200)):
        head = f"POST /_emulator/traffic HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: {site}"
        assert asked(service, head, b"{}")[0] == status


@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_page_from_elsewhere_changes_nothing(host: str, service: ee_emulator.Emulator) -> None:
    """What a browser sends without asking first: a POST of text, which a page of any origin may make."""
    host = host.format(port=port_of(service))
    before = ask(service, STATS)["requests"]
    for path in ("/_emulator/traffic", "/v1/projects/p/value:compute"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nOrigin: http://{host}"
        assert asked(service, head, b'{"latency_ms": 60000}')[0] == 403
    assert asked(service, f"OPTIONS {STATS} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://{host}")[0] == 403
    assert ask(service, STATS)["requests"] == before


def ask(service: ee_emulator.Emulator, path: str) -> dict[str, Any]:
    found: dict[str, Any] = urllib3.PoolManager().request("GET", service.url + path).json()
    return found


def test_two_hosts_are_none(service: ee_emulator.Emulator) -> None:
    for first, second in (("evil.example", "127.0.0.1"), ("127.0.0.1", "evil.example")):
        assert asked(service, f"GET {STATS} HTTP/1.1\r\nHost: {first}\r\nHost: {second}")[0] in (400, 403)


def test_a_program_of_http_1_0_needs_no_host(service: ee_emulator.Emulator) -> None:
    assert asked(service, f"GET {STATS} HTTP/1.0")[0] == 200


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_clients_work_as_they_are(name: str, service: ee_emulator.Emulator) -> None:
    url = f"http://{name}:{port_of(service)}"
    ee.Initialize(AnonymousCredentials(), project="p", url=url)
    assert ee.Number(3).add(4).getInfo() == 7
    assert urllib3.PoolManager().request("GET", url + STATS).status == 200
    if curl := shutil.which("curl"):
        done = subprocess.run([curl, "-sf", "--noproxy", "*", url + STATS], capture_output=True, check=True, timeout=30)
        assert b"requests" in done.stdout


@given(st.text(max_size=40))
def test_any_text_is_here_or_refused(text: str) -> None:
    assert foreign({}, "127.0.0.1") is None
    told = foreign({"host": text}, "127.0.0.1")
    assert told is None or "\n" not in told
