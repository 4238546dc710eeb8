"""Checkpoints that are written while the training goes on, and blocks that are compiled."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file

import orchestrion
from orchestrion.errors import UserError
from orchestrion.train import checkpoint


def test_what_is_written_behind_is_as_it_was(tmp_path):
    weight = torch.zeros(3)
    saver = checkpoint.Saver(tmp_path, behind=True)
    saver.save(1, {"model": {"weight": weight}})
    weight += 1
    saver.save(2, {"model": {"weight": weight}})
    weight += 1
    saver.close()
    step, state, problems = checkpoint.restore(tmp_path, {"model": {}})
    assert step == 2 and problems == [] and state["model"]["weight"].tolist() == [1, 1, 1]
    assert load_file(tmp_path / "checkpoint.old" / "model.safetensors")["weight"].tolist() == [0, 0, 0]


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    written, go_on = checkpoint.save_file, threading.Event()

    def slow(*arguments: object) -> None:
        assert go_on.wait(60)
        written(*arguments)

    monkeypatch.setattr(checkpoint, "save_file", slow)
    saver = checkpoint.Saver(tmp_path, behind=True)
    saver.save(1, {"model": {"weight": torch.zeros(3)}})
    saver.look()
    assert not (tmp_path / "checkpoint").exists()
    go_on.set()
    saver.wait()
    assert (tmp_path / "checkpoint").exists()
    saver.close()


def test_a_checkpoint_that_could_not_be_written_is_told_and_the_one_before_stands(tmp_path, monkeypatch):
    saver = checkpoint.Saver(tmp_path, behind=True)
    saver.save(1, {"model": {"weight": torch.zeros(3)}})
    saver.wait()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save_file", full)
    saver.save(2, {"model": {"weight": torch.ones(3)}})
    with pytest.raises(UserError, match="no space is left"):
        saver.close()
    assert checkpoint.restore(tmp_path, {"model": {}})[0] == 1


def test_a_good_checkpoint_stands_until_another_is_whole_though_the_last_was_damaged(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"model": {"weight": torch.full((3,), float(step))}})
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"damaged")
    step, _, problems = checkpoint.restore(tmp_path, {"model": {}})
    assert step == 1 and "is not what was written" in problems[0]
    assert (tmp_path / "checkpoint.damaged").is_dir()
    renamed = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == "checkpoint.new":
            raise KeyboardInterrupt
        return renamed(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, 2, {"model": {"weight": torch.zeros(3)}})
    step, state, problems = checkpoint.restore(tmp_path, {"model": {}})
    assert (step, problems, state["model"]["weight"].tolist()) == (1, [], [1, 1, 1])


def test_a_run_saved_behind_ends_like_one_that_waits(tmp_path):
    store = small.music(tmp_path / "music", tracks=3)
    small.run_codec(store, tmp_path / "waits", small.codec_config(4))
    small.run_codec(store, tmp_path / "behind", small.codec_config(4, save_behind=True))
    for name in ("checkpoint", "checkpoint.old"):
        one, other = (load_file(tmp_path / run / name / "model.safetensors") for run in ("waits", "behind"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


COMPILE = """
import sys
from pathlib import Path
import tiny_training as small
import torch

torch.set_num_threads(1)
small.without_pictures()
folder = Path(sys.argv[1])
store = small.music(folder / "music", tracks=3)
small.run_codec(store, folder / "codec", small.codec_config(2))
codes = small.encoded(store, folder / "codec" / "model", folder / "codes")
for kind in ("top", "masked"):
    for name, settings in {"plain": {}, "compiled": {"compile_blocks": True}}.items():
        small.run_kind(kind, store, codes, folder / "codec" / "model", folder / f"{kind}-{name}", 3, **settings)
found = torch._dynamo.utils.counters
assert found["stats"]["unique_graphs"] > 0 and not found["graph_break"], found
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="compiling needs the C++ compiler g++")
def test_compiled_blocks_train_as_plain_ones_do(tmp_path):
    # In a process of its own: the compiler cannot read the checks that annotations are here.
    here = Path(small.__file__)
    paths = (here.parents[1], here.parent, Path(orchestrion.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-c", COMPILE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr, ended.stderr
    for kind in ("top", "masked"):
        plain, compiled = (
            load_file(tmp_path / f"{kind}-{name}" / "prior.safetensors") for name in ("plain", "compiled")
        )
        assert plain.keys() == compiled.keys()
        for key, tensor in plain.items():
            torch.testing.assert_close(compiled[key], tensor, rtol=1e-3, atol=1e-4)
