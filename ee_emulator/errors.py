"""The one error that crosses the emulator: what the service would have answered instead of a result."""

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class ServiceError(Exception):
    """An answer with an HTTP error code and the service's JSON error body.

    `message` is the text that people's programs match on; keep the service's own wording where it is known.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def body(self) -> dict[str, object]:
        """The error as the service writes it: `{"error": {"code", "message", "status"}}`."""
        status = _STATUS.get(self.code, "UNKNOWN")
        return {"error": {"code": self.code, "message": self.message, "status": status}}


def not_implemented(what: str, verb: str = "is") -> ServiceError:
    """A 400 for a part of Earth Engine that is not built here: never a guess."""
    return ServiceError(f"{what} {verb} not implemented by this emulator.")


class CatalogError(Exception):
    """A catalog folder that cannot be served; the text names the file, the fact and the way out."""
