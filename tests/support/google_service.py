"""Google as a worker sees it: a TLS server that is the token endpoint and a service, reached through a proxy."""

from __future__ import annotations

import datetime as dt
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from wire import Said, Told


def error_of(status: int, message: str) -> bytes:
    return json.dumps({"error": {"code": status, "message": message, "status": "X"}}).encode()


class Google:
    """Google as a worker sees it: a proxy, and behind it a TLS server that is the token endpoint and Earth Engine.

    Everything but its certificate authority is as in production: CONNECT, TLS verification, JWT grant, bearer tokens.
    """

    def __init__(self, folder: Path) -> None:
        self.good = "token-2"
        self.tokens = 0
        self.answer: Callable[[Said], Told] = lambda said: self.pixels
        self.token: Callable[[Said], Told] | None = None
        self.pixels = Told(200, b"pixels")
        self.lock = threading.Lock()
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.authority = folder / "ca.pem"
        self.account = folder / "account.json"
        secret = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, self.key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("*.googleapis.com")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.authority.write_bytes(pem)
        both = folder / "both.pem"
        both.write_bytes(secret + pem)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(both)
        self.account.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "client_email": "worker@p.iam.gserviceaccount.com",
                    "private_key_id": "1",
                    "private_key": secret.decode(),
                    "token_uri": "https://oauth2.googleapis.com/token",
                }
            )
        )

    def script(self, said: Said) -> Told:
        if said.path == "/token":
            if self.token:
                return self.token(said)
            with self.lock:
                self.tokens += 1
                answer = {"access_token": f"token-{self.tokens}", "expires_in": 3600, "token_type": "Bearer"}
            return Told(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        if said.headers.get("authorization") == f"Bearer {self.good}":
            return self.answer(said)
        return Told(401, error_of(401, "Request had invalid authentication credentials."))
