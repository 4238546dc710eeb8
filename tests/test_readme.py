"""The README is executed: its commands on small music and short songs, its Python as it stands."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import torch

from orchestrion.audio import io
from orchestrion.cli.main import main
from orchestrion.data.manifest import content_hash

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
SUNG_SECONDS = "12"  # words need time
SHORTER = {"--seconds": "1", "--prime-seconds": "0.5", "--from": "0.3", "--to": "0.6"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The orchestrion commands of a block, with songs of a second and trainings of a step."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] != "orchestrion" or words[1] == "studio":  # which runs on and on: tests/web starts it
            continue
        shorter = SHORTER | ({"--seconds": SUNG_SECONDS} if "--lyrics" in words else {})
        for place, word in enumerate(words[:-1]):
            words[place + 1] = shorter.get(word, words[place + 1])
        words = [str(Path(word).expanduser()) if word.startswith("~") else word for word in words]
        found.append(words[1:] + (["--steps", "1"] if words[1] == "train" else []))
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a little music, one piece of it held out, and what is said to be a song and its words."""
    music = tmp_path / "music"
    held_out = number = 0
    while number < 4 or not held_out:
        path = music / f"tone-{number}.flac"
        time = torch.arange(14 * 22_050) / 22_050
        io.write(path, 0.3 * torch.sin(2 * torch.pi * (110 + 20 * number) * time)[None], 22_050)
        is_held_out = int(content_hash(path), 16) % 12 == 0
        held_out += is_held_out
        if number >= 4 and not is_held_out:
            path.unlink()
        number += 1
    noise = torch.randn(1, 3 * 22_050, generator=torch.Generator().manual_seed(0))
    io.write(tmp_path / "song.flac", 0.1 * noise, 22_050)
    (tmp_path / "words.txt").write_text("la li lu", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(README.parent / "examples", "examples")  # where commands are run
    return tmp_path


def test_every_file_that_is_linked_exists():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (README.parent / target).exists(), target


def test_the_scripts_that_are_named_exist_and_run_in_ci():
    ci = (README.parent / ".ci" / "run").read_text()
    for script in re.findall(r"^(scripts/\w+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert (README.parent / script).exists()
        assert script in ci


@pytest.mark.parametrize("block", [block for block in blocks("sh") if commands(block)])
def test_the_commands_of_a_block_work_one_after_another(block, home):
    for words in commands(block):
        assert main(words) == 0, words


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_works(block):
    short = re.sub(r"seconds=[\d.]+", "seconds=1.0", block)
    assert short != block
    exec(compile(short, str(README), "exec"), {})
    assert Path("song.wav").exists()


@pytest.mark.skipif(not (README.parent / ".git").exists(), reason="only a checkout tells what belongs to it")
def test_what_is_given_away_as_source_holds_what_its_scripts_and_tests_use():
    names = subprocess.run(["git", "ls-files"], cwd=README.parent, capture_output=True, text=True, check=True).stdout
    here = {name.split("/")[0] for name in names.split()} - {".gitignore", "pyproject.toml"}  # which always go along
    built = tomllib.loads((README.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]
    assert here == set(built["include"])
