"""What has to be installed to make sung music."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from orchestrion.errors import UserError
from orchestrion.recipes.espeak import INSTALL, check_espeak

SOUNDFONTS = (
    Path("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3"),
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/sounds/sf3/default-GM.sf3"),
    Path("/usr/share/sounds/sf2/default-GM.sf2"),
)
"""Where Debian puts them, the preferred first."""

_PACKAGES = ("pyworld", "pkg_resources", "mido", "py3langid")


def find_soundfont(given: Path | None = None) -> Path:
    """The soundfont to play with, once all that is needed is known to be there.

    Raises UserError with the line that installs what is missing.
    """
    if any(find_spec(package) is None for package in _PACKAGES):
        raise UserError("singing needs packages that are not installed", 'pip install "orchestrion[sing]"')
    check_espeak()
    if shutil.which("fluidsynth") is None:
        raise UserError("fluidsynth, which plays the piano, is not installed", INSTALL)
    if given is not None:
        if not given.is_file():
            raise UserError(f"there is no soundfont {given}", f"check the path, or leave it out after {INSTALL}")
        return given
    found = next((path for path in SOUNDFONTS if path.is_file()), None)
    if found is None:
        raise UserError("there is no soundfont to play the piano with", f"{INSTALL}, or give one with --soundfont")
    return found
