"""Names of models, and the folders they stand for: those in the package, and those a person installed (no torch)."""

import difflib
import os
from pathlib import Path

from orchestrion.errors import UserError

DESCRIPTION, ADAPTER = "model.json", "adapter.json"
"""What a model's folder and an adapter's are known by."""

MODELS_VARIABLE = "ORCHESTRION_MODELS"
_PACKAGED = Path(__file__).resolve().parents[1] / "models"


def installed_folder() -> Path:
    """Where models that do not come with the package are kept; the environment can name another place."""
    chosen = os.environ.get(MODELS_VARIABLE)
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(chosen).expanduser() if chosen else Path(data).expanduser() / "orchestrion" / "models"


def names() -> dict[str, Path]:
    """Every model that can be called by its name, and its folder."""
    return {
        path.name: path
        for place in (
            installed_folder(),
            _PACKAGED,
        )  # a packaged model goes before an installed one of its name
        if place.is_dir()
        for path in sorted(place.iterdir())
        if (path / DESCRIPTION).is_file()
    }


def locate(name: str | Path) -> Path:
    """The folder of a model given by its name or its path; UserError that lists what there is."""
    known = names()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if (path / DESCRIPTION).is_file():
        return path
    if path.is_dir():
        raise UserError(f"there is no model in {path}", f"a model folder has a {DESCRIPTION}")
    close = difflib.get_close_matches(str(name), known, n=3)
    listed = ", ".join(sorted(known)) or "none"
    hint = f"did you mean {', '.join(close)}?" if close else f"known: {listed}; or give the path of a model folder"
    raise UserError(f"no model called {str(name)!r}", hint)


def called(name: str | Path) -> str:
    """What a model is called wherever one works: its name, or the whole path of its folder."""
    return str(name) if str(name) in names() else str(Path(name).absolute())


def locate_adapter(path: Path) -> Path:
    """The folder of an adapter; UserError where there is none."""
    if not (path / ADAPTER).is_file():
        raise UserError(f"there is no adapter in {path}", f"an adapter is a folder with {ADAPTER}")
    return path
