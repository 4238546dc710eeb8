"""Set up once for all tests: annotations are executed, one thread, an empty folder to work in."""

from jaxtyping import install_import_hook

install_import_hook("orchestrion", "beartype.beartype")

from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("orchestrion", deadline=None, derandomize=True)  # no clocks, the same examples every time
settings.load_profile("orchestrion")

# A busy machine is no reason for a law to fail.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def _empty_working_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test writes to a relative path lands in a folder of its own."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def repo_root() -> Path:
    return Path(__file__).resolve().parents[1]
