"""The examples in docstrings say what the code does."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import orchestrion

WITH_EXAMPLES = [
    found.name
    for found in pkgutil.walk_packages(orchestrion.__path__, "orchestrion.")
    if not found.ispkg and ">>> " in Path(found.module_finder.path, f"{found.name.split('.')[-1]}.py").read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0 and results.attempted > 0


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) > 15
