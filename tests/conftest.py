"""Set up once for all tests: annotations are executed, one thread, an empty folder to work in."""

from jaxtyping import install_import_hook

install_import_hook("orchestrion", "beartype.beartype")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

torch.set_num_threads(1)
# No clocks, the same examples every time.
settings.register_profile("orchestrion", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("orchestrion")


@pytest.fixture(autouse=True)
def _empty_working_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test writes to a relative path lands in a folder of its own."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(autouse=True)
def _the_same_chance() -> None:
    """What draws from torch's own generator draws the same whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def repo_root() -> Path:
    return Path(__file__).resolve().parents[1]
