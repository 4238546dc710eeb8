"""Work that goes on in a thread of its own while its results are waited for."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class _End:
    """No more results come; `error` is why, if something went wrong."""

    error: BaseException | None = None


@contextmanager
def ahead(steps: Iterator[T]) -> Iterator[Iterator[T]]:
    """The results of `steps`, made in a thread of one processor as fast as they come, whether asked for or not.

    What goes wrong in the thread is raised where its result would have been. Leaving the context stops it after the
    step that it is at. The thread that asks keeps one processor fewer meanwhile.
    """
    results: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        torch.get_num_threads()  # which settles the number: else the next to ask here is told another thread's
        torch.set_num_threads(1)
        error = None
        try:
            for result in steps:
                results.put(result)
                if stop.is_set():
                    break
        except BaseException as raised:
            error = raised
        results.put(_End(error))

    thread = threading.Thread(target=work, daemon=True)
    _processors.lend()
    thread.start()
    try:
        yield _taken(results)
    finally:
        stop.set()
        thread.join()
        _processors.take_back()


class _Processors(threading.local):
    """Those of the thread that asks: one is lent to each thread that works ahead for it, whoever ends first."""

    def __init__(self) -> None:
        self._lent = self._whole = 0

    def lend(self) -> None:
        if not self._lent:
            self._whole = torch.get_num_threads()
        self._lent += 1
        self._share()

    def take_back(self) -> None:
        self._lent -= 1
        self._share()

    def _share(self) -> None:
        torch.set_num_threads(max(self._whole - self._lent, 1))


_processors = _Processors()


def _taken(results: "queue.SimpleQueue[T | _End]") -> Iterator[T]:
    while not isinstance(result := results.get(), _End):
        yield result
    if result.error is not None:
        raise result.error
