"""Processes that share a work: fresh interpreters, which never outlive the one that began them; and locks among all."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from orchestrion.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")

_SECONDS_TO_LEAVE = 2.0  # to give back what is borrowed; a long computation hears of nothing before it is done


@contextmanager
def worker_processes(num: int, begin: Callable[..., None] | None = None, *told: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of `num` processes, each of which begins with `begin(*told)`.

    Work at hand is finished where the block ends, even by an error; it is given up where the block is stopped, by
    Ctrl-C or because nobody asks for more, and where this process ends in whatever way. UserError, by `submit`, where
    the system begins no more processes.
    """
    # A fresh interpreter each: a process forked while others compute with torch can hang.
    context = get_context("spawn")
    watched, held = context.Pipe(duplex=False)  # no other process has `held`: `watched` ends when this one does
    with watched, held, _Pool(num, context, _begin, (watched, begin, told)) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, GeneratorExit):
            held.close()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Pool(ProcessPoolExecutor):
    def submit(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        try:
            return super().submit(work, *args, **kwargs)  # begins a process where none is idle
        except OSError as error:
            raise UserError(
                "the system begins no more processes", "end some others, and give the same command again"
            ) from error


def _begin(watched: Connection, begin: Callable[..., None] | None, told: tuple[Any, ...]) -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is for what a shell runs in the background
        signal.signal(signal.SIGINT, _leave)
    threading.Thread(target=_leave_with, args=(watched,), daemon=True).start()
    if begin is not None:
        begin(*told)


def _leave(number: int, frame: FrameType | None) -> None:
    """Without the traceback of a Ctrl-C, of which there would be one for each process."""
    sys.exit(1)


def _leave_with(watched: Connection) -> None:
    """Leave when the process that began this one does, or gives up."""
    with suppress(EOFError, OSError):
        watched.recv_bytes()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_SECONDS_TO_LEAVE)
    os._exit(1)


def locked(path: Path, problem: str, hint: str) -> FileLock:
    """A lock on the file `path`, held until it is released or the process ends; UserError where another holds it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(problem, hint) from error
    return lock
