"""Processes that share a work never outlive the one that began them."""

import signal
import subprocess
import sys
import time

import pytest

from orchestrion.errors import UserError
from orchestrion.processes import worker_processes

WORK = """
import signal
import time
from orchestrion.processes import worker_processes
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that a shell runs in the background ignore it
try:
    with worker_processes(2) as pool:
        busy, idle = pool.submit(time.sleep, 120), pool.submit(time.sleep, 0)
        idle.result()
        print("begun", flush=True)
        busy.result()
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_a_process_ends_its_workers_leave(number):
    # They have its standard output too: that ends when the last of them has left.
    process = subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    said, complaints = process.communicate(timeout=30)
    assert (said, process.returncode) == (("stopped\n", 0) if number == signal.SIGINT else ("", -number))
    assert "Traceback" not in complaints


def test_work_at_hand_is_given_up_where_nobody_asks_for_more():
    def done():
        with worker_processes(1) as pool:
            yield pool.submit(time.sleep, 120)

    running = done()
    work = next(running)
    while not work.running():
        time.sleep(0.01)
    running.close()
    assert work.exception(timeout=0) is not None, "it was waited for"


def test_work_at_hand_is_finished_where_something_fails():
    with pytest.raises(ZeroDivisionError), worker_processes(1) as pool:
        work = pool.submit(divmod, 7, 2)
        while not (work.running() or work.done()):
            time.sleep(0.01)
        raise ZeroDivisionError
    assert work.result() == (3, 1)


def test_a_system_that_begins_no_more_processes_is_a_sentence(monkeypatch):
    def refused(process):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess._Popen", staticmethod(refused))
    with pytest.raises(UserError, match="no more processes"), worker_processes(2) as pool:
        pool.submit(divmod, 7, 2)
