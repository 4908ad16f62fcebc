"""Dataproc and Cloud Storage on loopback for tests, and an environment with Google's own client for its messages."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from environments import environment

CLIENT = "google-cloud-dataproc==5.32.0"


@cache
def dataproc_python() -> Path:
    """Return a Python that has Google's Dataproc client."""
    return environment("dataproc", CLIENT)


class Dataproc:
    """What the service was asked, and what it holds: batches by id with their states, objects of buckets by URI."""

    def __init__(self) -> None:
        self.batches: dict[str, dict[str, Any]] = {}
        self.created: list[tuple[str, str, dict[str, Any]]] = []
        self.jobs: list[dict[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.ends = "SUCCEEDED"

    def answer(self, method: str, target: str, body: bytes, kind: str) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if "/storage/v1/" in parts.path:
            return self.storage(method, parts.path, query, body, kind)
        if match := re.fullmatch(r"/v1/projects/p/locations/r/batches(?:/([^/]+))?", parts.path):
            return self.create(query, json.loads(body)) if method == "POST" else self.found(match[1])
        if parts.path.endswith("/jobs:submit"):
            self.jobs.append(json.loads(body)["job"])
            return 200, {**self.jobs[-1], "reference": {"projectId": "p", "jobId": "j"}, "status": {"state": "PENDING"}}
        if "/operations/" in parts.path:
            return 200, self.operation(parts.path.rpartition("/")[2])
        if "/clusters/" in parts.path:
            return 200, {"clusterName": parts.path.rpartition("/")[2]}
        return 404, _error(404, f"{method} {target} is not served here")

    def create(self, query: dict[str, str], batch: dict[str, Any]) -> tuple[int, Any]:
        name = query["batchId"]
        same = [done for done in self.created if done[1] == query.get("requestId")]
        if same:
            return 200, self.operation(same[0][0])
        if name in self.batches:
            return 409, _error(409, f"Already exists: {name}", "ALREADY_EXISTS")
        self.created.append((name, query.get("requestId", ""), batch))
        self.hold(name, self.ends, batch)
        return 200, self.operation(name)

    def hold(self, name: str, state: str, batch: dict[str, Any] | None = None) -> None:
        """Have a batch in a state."""
        place = {"name": f"projects/p/locations/r/batches/{name}", "runtimeInfo": {"outputUri": "gs://bucket/driver"}}
        runtime = {"version": "2.3", **(batch or {}).get("runtimeConfig", {})}  # the service fills in its default
        self.batches[name] = {**(batch or {}), **place, "runtimeConfig": runtime, "state": state}

    def operation(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        kind = "type.googleapis.com/google.cloud.dataproc.v1."
        operation = {
            "name": f"projects/p/regions/r/operations/{name}",
            "metadata": {"@type": f"{kind}BatchOperationMetadata", "batch": batch["name"], "operationType": "BATCH"},
            "done": batch["state"] not in ("PENDING", "RUNNING"),
        }
        if batch["state"] == "SUCCEEDED":
            operation["response"] = {"@type": f"{kind}Batch", **batch}
        elif operation["done"]:
            operation["error"] = {"code": 10, "message": "the driver ended with exit code 1"}
        return operation

    def found(self, name: str) -> tuple[int, Any]:
        if name not in self.batches:
            return 404, _error(404, f"Not found: batch {name}", "NOT_FOUND")
        return 200, self.batches[name]

    def storage(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> tuple[int, Any]:
        if match := re.fullmatch(r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o", path):
            name, data = _uploaded(body, kind, query)
            uri = f"gs://{match[1]}/{name}"
            if query.get("ifGenerationMatch") == "0" and uri in self.objects:
                return 412, _error(412, "At least one of the pre-conditions you specified did not hold.")
            self.objects[uri] = data
            return 200, _object(match[1], name, data)
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)/o/(.+)", path):
            uri = f"gs://{match[1]}/{unquote(match[2])}"
            if uri not in self.objects:
                return 404, _error(404, f"No such object: {uri}")
            return 200, _object(match[1], unquote(match[2]), self.objects[uri])
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)/o", path):
            begin = f"gs://{match[1]}/{query.get('prefix', '')}"
            names = [uri for uri in sorted(self.objects) if uri.startswith(begin)]
            return 200, {"items": [_object(match[1], u.split("/", 3)[3], self.objects[u]) for u in names]}
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)", path):
            return 200, {"name": match[1], "id": match[1], "kind": "storage#bucket", "location": "US"}
        return 404, _error(404, f"{method} {path} is not served here")


@contextmanager
def serving(service: Dataproc) -> Iterator[str]:
    """Yield the URL at which ``service`` answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def body(self) -> bytes:
            if self.headers.get("transfer-encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def reply(self) -> None:
            body = self.body()
            status, answer = service.answer(self.command, self.path, body, self.headers.get("content-type") or "")
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = reply  # noqa: N815 (names that http.server looks for)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def gcloud_environment(url: str, folder: Path) -> dict[str, str]:
    """Return the environment in which the real ``gcloud`` speaks to ``url`` and keeps its settings in ``folder``."""
    token = folder / "token"
    token.write_text("no-secret")
    return {
        **os.environ,
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_STORAGE_MAX_RETRIES": "0",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAPROC": f"{url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{url}/storage/v1/",
    }


def _uploaded(body: bytes, kind: str, query: dict[str, str]) -> tuple[str, bytes]:
    """Return name and bytes of a multipart upload (https://cloud.google.com/storage/docs/uploading-objects)."""
    boundary = re.search(r"""boundary=["']?([^"';]+)""", kind)
    if boundary is None:
        return query["name"], body
    _, head, data, _ = body.split(b"--" + boundary[1].encode())
    name = json.loads(head.partition(b"\r\n\r\n")[2] or head.partition(b"\n\n")[2])["name"]
    mark = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
    return name, data.partition(mark)[2].removesuffix(b"\n").removesuffix(b"\r")


def _object(bucket: str, name: str, data: bytes) -> dict[str, str]:
    digest = base64.b64encode(hashlib.md5(data).digest()).decode()  # gcloud compares it with what it sent
    return {
        **{"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(data)), "md5Hash": digest},
        **{"generation": "1", "metageneration": "1"},
    }


def _error(code: int, message: str, status: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status}}
