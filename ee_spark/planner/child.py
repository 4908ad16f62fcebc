"""A child process for the user's code: what it does to itself, it does not do to the driver.

Where forking is safe (Linux) the child is a fork of the driver, which has imported and initialised the official client:
that costs milliseconds. Elsewhere it is a fresh interpreter. Not multiprocessing: it would run the user's ``__main__``
again. The child holds nothing that the driver has open, is ended by the driver, with all that it started, and with the
driver; it answers through a pipe, in texts and never in objects.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from ee_spark.errors import EESparkError, JobError, StoppedError, one_line

MEMORY = 2 << 30
"""Bytes that a function may take beside what the driver had when it was called (Linux)."""
MOST_BYTES = 1 << 28
"""Bytes of one answer; a request holds 10 MiB."""
MOST_ANSWERS = 1 << 30
"""Bytes of all answers."""
FORKS = sys.platform == "linux"
_HEAD = struct.Struct(">cI")
_GRAPH, _WRONG, _RAISED, _STOPPED, _DONE = b"g", b"w", b"r", b"s", b"d"
_LOOK = 50  # milliseconds after which a child that says nothing is looked at
_SUBREAPER, _DEATH = 36, 1  # https://man7.org/linux/man-pages/man2/prctl.2.html

Work = Callable[[], Iterator[str]]
_held: list[object] = []  # what must not be freed in a child, since that would flush or close it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How long a child may take for each answer, and what it is called in messages (``key: name``)."""

    label: str
    seconds: float


def forked(work: Work, limits: Limits) -> list[str]:
    """Return what ``work`` yields in a fork of this process.

    Raises:
        JobError: whatever it raises, and if it ends without an answer, or gives none within the time.
        StoppedError: if it raises that.
    """
    libc = _libc()
    read, write = os.pipe()
    driver = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: the child uses nothing that they may hold
        pid = os.fork()
    if pid == 0:
        _live(work, write, driver, libc)
    os.close(write)
    try:
        return _received(read, pid, limits)
    finally:
        os.close(read)
        _end(pid)


def fresh(main: str, task: dict[str, Any], limits: Limits) -> list[str]:
    """Return what a fresh interpreter answers that runs the statement ``main`` with ``task`` as JSON on its stdin.

    It finds the descriptor to answer on as its last argument; see :func:`serve`. Raises as :func:`forked` does.
    """
    read, write = os.pipe()
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # as the driver has it, and no more
    command = [sys.executable, "-P", "-c", main, str(os.getpid()), str(write)]
    try:
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps(task).encode())
            file.seek(0)
            child = subprocess.Popen(
                command, stdin=file, stdout=2, pass_fds=(write,), env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )  # fmt: skip
    finally:
        os.close(write)
    try:
        return _received(read, child.pid, limits)
    finally:
        os.close(read)
        _end(child.pid)
        child.returncode = 0  # it was waited for


def serve(work: Work) -> NoReturn:
    """Answer as the child that :func:`fresh` started."""
    driver, write = (int(text) for text in sys.argv[-2:])
    _live(work, write, driver, _libc(), leads=True)


# In the driver


def _received(read: int, pid: int, limits: Limits) -> list[str]:
    """Return a child's answers, in order; the time begins anew with each."""
    answers: list[str] = []
    total = 0
    while True:
        until = time.monotonic() + limits.seconds
        head = _exactly(read, _HEAD.size, pid, until, limits)
        kind, size = _HEAD.unpack(head)
        total += size
        if size > MOST_BYTES or total > MOST_ANSWERS or kind not in (_GRAPH, _WRONG, _RAISED, _STOPPED, _DONE):
            raise JobError(f"{limits.label}: gave an answer that is damaged or of more than {MOST_BYTES:,} bytes")
        text = _exactly(read, size, pid, until, limits).decode(errors="replace")
        if kind == _WRONG:
            raise JobError(text)
        if kind == _RAISED:
            raise JobError(f"{limits.label}: {text}")
        if kind == _STOPPED:
            raise StoppedError(text)
        if kind == _DONE:
            return answers
        answers.append(text)


def _exactly(read: int, size: int, pid: int, until: float, limits: Limits) -> bytes:
    data = bytearray()
    waiting = select.poll()
    waiting.register(read, select.POLLIN)
    ended = False
    while len(data) < size:
        if waiting.poll(0 if ended else _LOOK):
            some = os.read(read, min(size - len(data), 1 << 20))
            if not some:
                raise JobError(f"{limits.label}: {_how_it_ended(pid)}")
            data += some
        elif ended:  # and what it started holds the pipe open
            raise JobError(f"{limits.label}: {_how_it_ended(pid)}")
        elif time.monotonic() > until:
            raise JobError(
                f"{limits.label}: no answer within {limits.seconds:g} s, so it was ended; make it faster, or write "
                "--function-timeout SECONDS"
            )
        else:
            ended = _ended(pid, os.WNOHANG) is not None
    return bytes(data)


def _ended(pid: int, options: int = 0) -> os.waitid_result | None:
    """Return how a child ended, leaving it as it is, so that its id stays its own; None while it has not."""
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options)
    return None


def _how_it_ended(pid: int) -> str:
    until = time.monotonic() + 1  # it closed the pipe: it may be about to end
    while (found := _ended(pid, os.WNOHANG)) is None and time.monotonic() < until:
        time.sleep(0.01)
    if found is None:
        how = "closed the driver's pipe"
    elif found.si_code == os.CLD_EXITED:
        how = f"ended its process (exit code {found.si_status})"
    else:
        how = f"crashed its process ({_signal(found.si_status)})"
    return f"{how} without an image; return an ee.Image"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(pid: int) -> None:
    """End a child with all that it started: its session, and whoever left that."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    for one in _below(pid):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _below(pid: int) -> list[int]:
    """Return the processes below one, where /proc tells."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{thread}/children") as file:
                    children = [int(child) for child in file.read().split()]
                found += children
                waiting += children
    return found


# In the child


def _live(work: Work, write: int, driver: int, libc: Any, *, leads: bool = False) -> NoReturn:
    """Answer with what ``work`` yields, and wait to be ended; nothing returns from here into the driver's code."""
    me = os.getpid()

    def say(kind: bytes, text: str) -> None:
        if os.getpid() != me:  # the function forked, and both come back
            os._exit(0)
        data = text.encode(errors="backslashreplace")
        data = _HEAD.pack(kind, len(data)) + data
        while data:
            data = data[os.write(write, data) :]

    try:
        if not leads:
            os.setsid()
            gc.freeze()
        _tie(driver, libc)
        _cut_off(write)
        _limit()
        try:
            for text in work():
                if len(text) > MOST_BYTES:
                    raise ValueError(f"its graph has {len(text):,} bytes, and a request holds 10,485,760")
                say(_GRAPH, text)
            say(_DONE, "")
        except StoppedError as error:
            say(_STOPPED, str(error))
        except EESparkError as error:
            say(_WRONG, str(error))
        except BaseException as error:
            _unlimit()
            log.debug("in the child", exc_info=True)
            say(_RAISED, f"{type(error).__name__}: {one_line(error)}")
        while os.getpid() == me:
            signal.pause()  # the driver ends this with all below it
    finally:
        os._exit(1)


def _libc() -> Any:
    """Return the C library, loaded before a fork; None where it has no prctl."""
    if not FORKS:
        return None
    with suppress(OSError):
        return ctypes.CDLL(None)
    return None


def _tie(driver: int, libc: Any) -> None:
    """End with the driver, whatever ends it, and be the parent of all orphans below."""
    if libc is not None and hasattr(libc, "prctl"):
        libc.prctl(_DEATH, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        if os.getppid() != driver:
            os._exit(1)


def _cut_off(write: int) -> None:
    """Take the driver's descriptors, streams and signal handlers away; what is printed goes to standard error.

    A descriptor is replaced, not closed: whoever holds its number, such as a pooled connection, finds it at its end and
    opens another, and no lock on a file outlives the driver's.
    """
    for handled in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(handled, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd" if FORKS else "/dev/fd"):
        number = int(name)
        if number > 2 and number not in (null, write):
            with suppress(OSError):  # that of the listing itself
                os.fstat(number)
                os.dup2(null, number, inheritable=False)
    os.dup2(null, 0)
    try:
        os.fstat(2)
    except OSError:
        os.dup2(null, 2)
    os.dup2(2, 1)
    _held.extend((sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__))
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdout__ = sys.__stderr__ = sys.stderr  # type: ignore[misc]
    faulthandler.disable()


def _limit() -> None:
    """Bound what this process may allocate from now on, and leave no core."""
    import resource  # not on every system

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if FORKS:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = _data_bytes() + MEMORY
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))


def _unlimit() -> None:
    import resource

    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _data_bytes() -> int:
    with suppress(OSError, ValueError, StopIteration), open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmData"))
        return int(line.split()[1]) * 1024
    return 0
