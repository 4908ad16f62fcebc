"""Bearer tokens of one Google account: got through our own connections, renewed once for all threads.

Tokens go to https://*.googleapis.com only, keys and assertions to those of them who give tokens, whatever URLs the
credentials' file has (https://google.aip.dev/auth/4110 lists the kinds): each request is checked where it is sent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from google.auth import credentials as google_credentials
from google.auth import default as google_default
from google.auth import exceptions as google_exceptions
from google.auth import transport as google_transport

from ee_spark.connections import Answer, Connections, HTTPError, OversizeError
from ee_spark.errors import JobError
from ee_spark.hosts import check_credentials, check_key_goes_to, check_token_goes_to
from ee_spark.limits import MAX_ERROR

TOKEN_SECONDS = 30
MAX_TOKEN = MAX_ERROR
"""Bytes taken of an answer to a request for a token."""

AuthError = google_exceptions.GoogleAuthError
Load = Callable[["Transport"], google_credentials.Credentials]


def passing(error: google_exceptions.GoogleAuthError) -> bool:
    """Return True if there is no token only for now: whoever gives them did not answer."""
    return isinstance(error, google_exceptions.TransportError) or bool(error.retryable)


class Transport(google_transport.Request):  # type: ignore[misc]
    """How google-auth sends its requests: what holds a key or an assertion goes to who gives tokens only.

    A request with neither body nor token asks a metadata server, or whoever a file of the credentials names, for what
    is then sent to Google: it may go there.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Answer:
        """Send one request.

        Raises:
            google.auth.exceptions.TransportError: without a whole answer.
            JobError: if it would take a key or token to another host.
        """
        if body or method not in ("GET", "PUT"):
            check_key_goes_to(url)
        try:
            return self._connections.request(method, url, body, headers, timeout or TOKEN_SECONDS, MAX_TOKEN)
        except (HTTPError, OversizeError, OSError, ValueError) as error:
            raise google_exceptions.TransportError(error) from None


class Tokens:
    """The tokens of the account that ``load`` gives, which is asked for when the first is needed."""

    def __init__(self, load: Load, connections: Connections) -> None:
        self._load, self._transport = load, Transport(connections)
        self._lock = threading.Lock()
        self._credentials: google_credentials.Credentials | None = None
        self._refused: str | None = None

    def token(self) -> str:
        """Return a token that is valid; one refresh serves all threads.

        Raises:
            google.auth.exceptions.GoogleAuthError: if there is none to be had.
            JobError: as ``load`` does, and if credentials would go to another host.
        """
        with self._lock:
            if self._credentials is None:
                self._credentials = self._load(self._transport)
            if not self._credentials.valid:
                self._credentials.refresh(self._transport)
            return str(self._credentials.token)

    def renewed(self, token: str) -> bool:
        """Return True if ``token``, which was just refused, has a successor: it is renewed once for all threads."""
        with self._lock:
            credentials = self._credentials
            if credentials is None:
                return True
            if credentials.token == token and self._refused is None:
                self._refused = token
                credentials.refresh(self._transport)
            return bool(credentials.token != token)


class Official(google_credentials.Credentials):  # type: ignore[misc]
    """The same tokens for Google's own clients, which can then neither send nor renew them anywhere else."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    def refresh(self, request: object) -> None:
        """Renew the token that was refused; ``request``, the client's own transport, is not used."""
        if self.token:
            self._tokens.renewed(self.token)

    def before_request(self, request: object, method: str, url: str, headers: MutableMapping[str, str]) -> None:
        """Put a token on a request to Google.

        Raises:
            JobError: for a request to anybody else.
        """
        check_token_goes_to(url)
        self.token = self._tokens.token()
        headers["authorization"] = f"Bearer {self.token}"


def default_credentials(transport: Transport, scopes: tuple[str, ...], key: str) -> google_credentials.Credentials:
    """Return the environment's credentials, as :func:`default_account` does."""
    return default_account(transport, scopes, key)[0]


def default_account(
    transport: Transport, scopes: tuple[str, ...], key: str
) -> tuple[google_credentials.Credentials, str | None]:
    """Return the environment's credentials and its project, if it has one.

    Source: https://cloud.google.com/docs/authentication/application-default-credentials.

    Raises:
        google.auth.exceptions.GoogleAuthError: if there are none, or (:func:`passing`) who has them is away.
        JobError: if they would be sent to somebody else than Google.
    """
    logging.getLogger("google.auth._default").setLevel(logging.ERROR)  # what it warns of, we raise
    try:
        credentials, project = google_default(scopes=list(scopes), request=transport)
    except JobError as error:  # which may already use them, to ask for the project
        raise JobError(f"{key}: {error}") from None
    check_credentials(credentials, key)
    return credentials, project
