"""Versions of stored images: whether loads say which one they mean, by the job and by what the service takes.

An image's version is sent as its ``updateTime`` in microseconds, as a Google sample and the JavaScript client have it.
Some collections have another: there the service says that such an image is not there, and loads go without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from ee_spark.errors import JobError, ServiceError
from ee_spark.planner.frozen import Note
from ee_spark.planner.request import is_gone, is_nothing

T = TypeVar("T")
_GUARD = "images are loaded as they are, and updateTime is read again when a run ends"


class Versions:
    """Whether a plan's loads carry versions: decided by the first plan's probes, kept in job.json from then on.

    ``pin`` is the job's, ``known`` what was found before (None: nobody looked), ``applies`` False where there is
    nothing to send: getPixels takes no version, and computed sources load what they like.
    """

    def __init__(self, pin: bool | Literal["auto"], known: bool | None, *, applies: bool) -> None:
        self._pin, self._fresh, self._applies = pin, known is None, applies
        self.known = known
        if applies and pin is True and known is False:
            raise JobError(
                "source.pin: true, and this dataset's first plan found that the service does not take the versions of "
                "these images; write pin: auto, which loads them without"
            )

    @property
    def sent(self) -> bool:
        """True where loads carry versions, as far as is known."""
        return self._applies and self._pin is not False and self.known is not False

    def probe(self, ask: Callable[[int], T], image_id: str, version: int, graph: str | None) -> T:
        """Return what ``ask`` returns for the version to send, -1 for none.

        Where nobody knows yet: with the version, and where the service does not take that, without.

        Raises:
            ServiceError: as ``ask`` does.
            JobError: where the job wants versions, and the service does not take them.
        """
        if not self.sent or version < 0:
            return ask(-1)
        try:
            found = ask(version)
        except ServiceError as error:
            if not self._fresh or not is_gone(error, image_id, version):
                raise
            return self._without(ask, image_id, graph, error)
        self.known = True
        return found

    def _without(self, ask: Callable[[int], T], image_id: str, graph: str | None, error: ServiceError) -> T:
        nothing: ServiceError | None = None
        try:
            found = ask(-1)
        except ServiceError as other:
            if not is_nothing(other, image_id, graph):
                raise
            nothing = other
        if self._pin is True:
            raise JobError(
                f"source.pin: true, and the service does not take the version of {image_id!r} ({error.message}); write "
                "pin: auto, which loads it without"
            )
        self.known = False
        if nothing is not None:
            raise nothing
        return found

    def notes(self) -> list[Note]:
        """Return what the plan says of it; nothing where nothing is to be sent, or nobody looked."""
        if not self._applies:
            return []
        if self._pin is False:
            return [("versions", "not sent", f"source.pin: false; {_GUARD}")]
        by = "the plan's probe shows" if self._fresh else "the dataset's first plan found"
        if self.known is None:
            return []
        if self.known:
            return [("versions", "sent", f"{by} that the service takes them")]
        return [("versions", "not sent", f"{by} that the service does not take them: {_GUARD}")]
