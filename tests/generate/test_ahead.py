"""Work ahead of those who ask for it, and the processors that it borrows."""

import threading
from contextlib import ExitStack

import pytest
import torch

from orchestrion.generate.ahead import ahead


@pytest.fixture
def _four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_four_threads")
@pytest.mark.parametrize("first_to_end", [0, 1])
def test_whoever_ends_first_all_processors_come_back(first_to_end):
    stacks = [ExitStack(), ExitStack()]
    results = [stack.enter_context(ahead(iter(range(3)))) for stack in stacks]
    assert torch.get_num_threads() == 2
    assert [list(result) for result in results] == [[0, 1, 2]] * 2
    stacks[first_to_end].close()
    assert torch.get_num_threads() == 3
    stacks[1 - first_to_end].close()
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("_four_threads")
def test_what_goes_wrong_ahead_is_raised_where_its_result_would_be():
    def steps():
        yield 1
        raise ValueError("no more")

    with ahead(steps()) as results:
        assert next(results) == 1
        with pytest.raises(ValueError, match="no more"):
            next(results)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("_four_threads")
def test_each_thread_that_asks_gets_its_own_processors_back():
    def other():
        torch.get_num_threads()
        torch.set_num_threads(2)
        with ahead(iter(range(3))):
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    seen: list[int] = []
    with ahead(iter(range(3))):
        asking = threading.Thread(target=other)
        asking.start()
        asking.join()
        assert torch.get_num_threads() == 3
    assert seen == [1, 2] and torch.get_num_threads() == 4


@pytest.mark.usefixtures("_four_threads")
def test_what_works_ahead_has_one_processor_whatever_others_set():
    begun, changed = threading.Event(), threading.Event()

    def steps():
        begun.set()
        changed.wait()
        yield torch.get_num_threads()

    with ahead(steps()) as results:
        begun.wait()
        torch.set_num_threads(3)
        changed.set()
        assert list(results) == [1]
