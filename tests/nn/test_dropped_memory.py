"""Dropped memory stays with the process: the system hands out no pages when the same sizes are made again."""

import ctypes
import subprocess
import sys

import pytest

from orchestrion.nn.memory import keep_dropped_memory

WORK = """
import resource
import sys
import torch
from orchestrion.nn.memory import keep_dropped_memory

if sys.argv[1] == "keep":
    assert keep_dropped_memory()


def work() -> None:
    for size in (1 << 20, 2 << 20, 12 << 20):
        held = [torch.ones(size) for _ in range(3)]
        del held


for _ in range(8):  # by where the heap begins, it takes up to four until the pieces fit into one another
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", WORK, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_memory_comes_back_without_new_pages():
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("the C library is not glibc")
    assert faults("keep") < 1000 < 10_000 < faults("leave")


def test_other_c_libraries_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_dropped_memory.cache_clear()
    assert not keep_dropped_memory()
    keep_dropped_memory.cache_clear()
