"""Credentials for programs that insist on them: a made-up service account whose tokens come from the emulator.

    curl -s http://127.0.0.1:PORT/_emulator/credentials > key.json
    export GOOGLE_APPLICATION_CREDENTIALS=key.json

Nothing is checked: the emulator answers with and without a token. https://google.aip.dev/auth/4112
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

TOKEN_PATH = "/_emulator/token"
"""Where the key file sends its holder for tokens."""
_BITS = 2048


def key_file(host: str) -> dict[str, Any]:
    """The JSON key file of the made-up account, for an emulator at `host` (address and port)."""
    account = "anyone@emulator.invalid"
    return {
        "type": "service_account",
        "project_id": "emulator",
        "private_key_id": "emulator",
        "private_key": _private_key(),
        "client_email": account,
        "client_id": "0",
        "token_uri": f"http://{host}{TOKEN_PATH}",
    }


def token() -> dict[str, Any]:
    """The answer to a request for a token."""
    return {"access_token": "emulator", "expires_in": 3600, "token_type": "Bearer"}


@lru_cache(maxsize=1)
def _private_key() -> str:
    """A key made for this process; google-auth, which reads it, brings the library that makes it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()
