"""Bytes by name under one root, on disk, gs:// or s3://: the only package that opens the outside's files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ee_spark.boundary import shown
from ee_spark.errors import AwayError, JobError, StoreError
from ee_spark.limits import MAX_OBJECT
from ee_spark.objects.contact import reach
from ee_spark.objects.file import FileStore, is_full, replace_file
from ee_spark.objects.input import MOST_BYTES, SIBLINGS, beside, read_file, siblings_of
from ee_spark.objects.names import is_bucket, temporary
from ee_spark.objects.place import check_file, check_folder, is_local, local_path, split_url
from ee_spark.objects.store import TEMP, Entry, Settings, Store

__all__ = [
    "FUNCTIONS",
    "FUNCTION_SECONDS",
    "INPUTS",
    "SIBLINGS",
    "TEMP",
    "Entry",
    "FileStore",
    "Functions",
    "Inputs",
    "Settings",
    "Store",
    "check_output",
    "is_full",
    "is_local",
    "local_path",
    "open_store",
    "probe",
    "read_input",
    "send_file",
    "siblings_of",
    "write_output",
]


FUNCTION_SECONDS = 300.0
"""How long a call of a job's function may take."""


@dataclass(frozen=True)
class Functions:
    """How the functions that a job names are called: whether from object storage too, and for how long at most."""

    remote: bool = False
    seconds: float = FUNCTION_SECONDS


FUNCTIONS = Functions()
"""None from object storage."""


@dataclass(frozen=True)
class Inputs:
    """How the files that a job names are read, by which storage settings, and how its functions are called."""

    storage: Settings = field(default_factory=Settings)
    functions: Functions = FUNCTIONS

    def read(self, path: str, key: str) -> bytes:
        """Return a file's bytes, as :func:`read_input` does."""
        return read_input(path, key, self.storage)

    def read_beside(self, path: str, suffix: str, key: str) -> bytes | None:
        """Return the bytes of the file of another suffix beside ``path``, as a shapefile has some; None without it.

        Raises:
            JobError: if it is there, and cannot be read.
        """
        sibling = beside(path, suffix)
        if is_local(sibling, key):
            return self.read(sibling, key) if local_path(sibling, key).exists() else None
        folder, _, name = sibling.rpartition("/")
        try:
            found = open_store(folder, self.storage).read(name, MAX_OBJECT)
        except StoreError as error:
            raise JobError(f"{key}: cannot read {sibling!r}: {error}") from None
        return found[0] if found else None


INPUTS = Inputs()
"""Inputs by the clouds' own endpoints and the environment's credentials, without code from elsewhere."""


def open_store(path: str, settings: Settings | None = None, key: str = "", *, away: bool = False) -> Store:
    """Return the store rooted at ``path``: a plain path, ``file://``, ``gs://BUCKET/PREFIX`` or ``s3://BUCKET/PREFIX``.

    ``key`` is where the path was written, for messages. ``away``: its host may be away for the moment, as in the middle
    of a run; else it has to answer within some seconds.

    Raises:
        JobError: for another scheme, a URL without a bucket, what cannot be a folder, or a library that is missing.
        AwayError: if its host does not answer.
    """
    parts = split_url(path, key)
    if parts.scheme in ("", "file"):
        folder = local_path(path, key)
        check_folder(folder, key)
        return FileStore(folder)
    if parts.scheme not in ("gs", "s3"):
        raise JobError(
            f"{path!r}: {parts.scheme}:// is not a known kind of store; write gs://, s3://, file:// or a plain path"
        )
    if not parts.netloc:
        raise JobError(f"{path!r}: does not name a bucket; write {parts.scheme}://BUCKET/PATH")
    if not is_bucket(parts.netloc):
        raise JobError(
            f"{path!r}: {parts.netloc!r} is not a valid name of a bucket; write {parts.scheme}://BUCKET/PATH"
        )
    prefix = path.partition("://")[2].partition("/")[2].strip("/")
    if parts.scheme == "gs":
        from ee_spark.objects.gs import GsStore

        store: GsStore | S3Store = GsStore(parts.netloc, prefix, settings or Settings())
    else:
        from ee_spark.objects.s3 import S3Store

        store = S3Store(parts.netloc, prefix, settings or Settings())
    if not away:
        reach(store.root, store.url, f"storage.{parts.scheme}_endpoint")
    return store


def send_file(path: Path, url: str, settings: Settings | None = None) -> None:
    """Publish a file of this machine as the object ``url`` in one atomic step and in little memory.

    What had the name is replaced.

    Raises:
        JobError, StoreError: as :func:`open_store`, and if it cannot be sent.
    """
    folder, _, name = url.rpartition("/")
    open_store(folder, settings).send(name, path)


def read_input(path: str, key: str, settings: Settings | None = None, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a file that the job file names under ``key``, at most ``most``.

    Raises:
        JobError: if it cannot be read, or is larger.
    """
    if is_local(path, key):
        try:
            return read_file(local_path(path, key), most)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            text = f"{key}: cannot read {shown(path)}: {why}; relative paths start at the job file"
            raise JobError(text) from None
    folder, _, name = path.rpartition("/")
    try:
        found = open_store(folder, settings).read(name, min(most, MAX_OBJECT))
    except AwayError as error:  # nothing that the user wrote is wrong
        raise AwayError(f"{key}: cannot read {path!r}: {error}") from None
    except (StoreError, JobError) as error:
        raise JobError(f"{key}: cannot read {path!r}: {error}") from None
    if found is None:
        raise JobError(f"{key}: {path!r} does not exist; relative paths start at the job file")
    return found[0]


def check_output(path: str, key: str, settings: Settings | None = None) -> None:
    """Make sure, as far as can be told without writing it, that :func:`write_output` can write a file.

    Raises:
        JobError: if its folder is not there, or it does not name a store.
    """
    if is_local(path, key):
        check_file(local_path(path, key), key)
    else:
        open_store(path.rpartition("/")[0], settings, key)


def write_output(path: str, data: bytes, settings: Settings | None = None) -> None:
    """Write a file by path or URL in one atomic step, in the place of what was there.

    Raises:
        StoreError: if it cannot be written.
    """
    if is_local(path):
        replace_file(local_path(path), data)
        return
    folder, _, name = path.rpartition("/")
    store = open_store(folder, settings)
    while not store.replace(name, data, found[1] if (found := store.read(name)) else None):
        pass  # somebody else replaced it meanwhile


def probe(store: Store) -> None:
    """Make sure that the store can be written, creates a name once only, and replaces only what was read.

    Raises:
        JobError: if not.
        StoreError: if the disk is full, or fails.
    """
    try:
        broken = _broken_promise(store) and _broken_promise(store)  # twice: another run may have cleared the probe
    except StoreError as error:
        if is_full(error):
            raise  # nothing that the user wrote is wrong
        raise JobError(f"output.path: cannot write to {store.root}: {error}") from None
    if broken:
        raise JobError(
            f"output.path: {store.root} {broken}: two writers would lose each other's tiles; write to another store"
        )


def _broken_promise(store: Store) -> str:
    name = f"{TEMP}/{temporary('probe-')}"
    try:
        store.create(name, b"1")
        if store.create(name, b"2"):
            return "creates an object that is there already"
        if store.replace(name, b"3", None):
            return "replaces an object that should not have been there"
        return ""
    finally:
        store.delete(name)
