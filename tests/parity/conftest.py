"""Numbers of the original code, from the folder that ORCHESTRION_PARITY_DIR names."""

import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "parity"


@pytest.fixture(scope="session")
def parity() -> Path:
    """The folder of fixtures; its README says what is in it."""
    folder = Path(os.environ.get("ORCHESTRION_PARITY_DIR", DEFAULT))
    if not (folder / "README.md").exists():
        pytest.skip(f"no parity fixtures at {folder}: set ORCHESTRION_PARITY_DIR")
    return folder
