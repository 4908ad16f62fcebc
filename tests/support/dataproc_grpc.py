"""Dataproc's batches on loopback as Google's own clients ask for them, by gRPC over TLS; each batch is really run.

``dataproc_grpc.py FOLDER HELD DRIVER...``, in an environment with google-cloud-dataproc, prints a proxy's URL: clients
find it by ``grpc_proxy`` and trust the certificate in FOLDER. It runs ``DRIVER... MAIN ARGS`` for each batch, and
writes each that was created to ``FOLDER/created.jsonl``. HELD is JSON: batches that are there already, by a pattern of
their names, with their states. It ends with its standard input.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.cloud.dataproc_v1 import Batch, BatchOperationMetadata, CreateBatchRequest, GetBatchRequest
from google.longrunning import operations_pb2
from google.protobuf import any_pb2

HOST = "r-dataproc.googleapis.com"
JOBS = Path(__file__).resolve().parents[2] / "jobs"


class Batches(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The two methods that submitting and watching a batch needs."""

    def __init__(self, folder: Path, held: dict[str, str], driver: list[str]) -> None:
        self.folder, self.held, self.driver = folder, held, driver
        self.batches: dict[str, Batch] = {}
        self.drivers: list[subprocess.Popen[bytes]] = []

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if not dict(call.invocation_metadata).get("authorization", "").startswith("Bearer "):
            return None
        if call.method == "/google.cloud.dataproc.v1.BatchController/CreateBatch":
            operation = operations_pb2.Operation.SerializeToString
            return grpc.unary_unary_rpc_method_handler(self.create, CreateBatchRequest.deserialize, operation)
        if call.method == "/google.cloud.dataproc.v1.BatchController/GetBatch":
            return grpc.unary_unary_rpc_method_handler(self.get, GetBatchRequest.deserialize, Batch.serialize)
        return None

    def find(self, name: str) -> Batch | None:
        for pattern, state in self.held.items():
            if re.fullmatch(pattern, name):
                return Batch(name=name, state=Batch.State[state])
        return self.batches.get(name)

    def get(self, request: GetBatchRequest, context: grpc.ServicerContext) -> Batch:
        name = request.name.rpartition("/")[2]
        found = self.find(name)
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Not found: batch {name}")
        return found

    def create(self, request: CreateBatchRequest, context: grpc.ServicerContext) -> operations_pb2.Operation:
        name = request.batch_id
        if self.find(name):
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Already exists: {name}")
        batch = request.batch
        batch.name, batch.state = f"{request.parent}/batches/{name}", Batch.State.RUNNING
        self.batches[name] = batch
        line = {"id": name, "request": request.request_id, "parent": request.parent, "batch": Batch.to_dict(batch)}
        with (self.folder / "created.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        threading.Thread(target=self.run, args=(name, batch), daemon=True).start()
        packed = any_pb2.Any()
        packed.Pack(BatchOperationMetadata.pb(BatchOperationMetadata(batch=batch.name)))
        return operations_pb2.Operation(name=f"{request.parent}/operations/{name}", metadata=packed)

    def run(self, name: str, batch: Batch) -> None:
        """Run a batch's driver, in a folder of its own."""
        work = self.folder / name
        work.mkdir()
        main = str(JOBS / batch.pyspark_batch.main_python_file_uri.rpartition("/")[2])
        with (work / "output").open("wb") as output:
            command = [*self.driver, main, *batch.pyspark_batch.args]
            driver = subprocess.Popen(command, cwd=work, stdout=output, stderr=output)
            self.drivers.append(driver)
            batch.state = Batch.State.FAILED if driver.wait() else Batch.State.SUCCEEDED


def certificate(folder: Path) -> tuple[bytes, bytes]:
    """Return key and certificate of the service's host, signed by itself, and leave the latter in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = made.public_bytes(serialization.Encoding.PEM)
    (folder / "certificate.pem").write_bytes(text)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()), text


def proxy(listener: socket.socket, port: int) -> None:
    """Lead every CONNECT to the service's host to ``port``, and refuse all others."""
    while True:
        client, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head and (more := client.recv(4096)):
            head += more
        if not head.startswith(f"CONNECT {HOST}:443 ".encode()):
            client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            client.close()
            continue
        server = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def main(folder: str, held: str, *driver: str) -> None:
    service = Batches(Path(folder), json.loads(held), list(driver))
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((service,))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate(Path(folder))]))
    server.start()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=proxy, args=(listener, port), daemon=True).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    sys.stdin.read()
    for process in service.drivers:
        if process.poll() is None:
            process.kill()
    server.stop(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
