from pathlib import Path

import matplotlib.image
import pytest
import torch

from orchestrion.library import picture

RATE = 8000


def tone(hertz: float, seconds: float) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * RATE)) / RATE)[None]


def test_a_tone_is_a_line_at_its_own_height():
    shown = picture._loudness(tone(1000.0, 2.0)[0].numpy(), RATE)
    heights = torch.logspace(torch.log10(torch.tensor(40.0)), torch.log10(torch.tensor(4000.0)), 320)
    loudest = torch.from_numpy(shown).argmax(0)
    assert (heights[loudest] - 1000).abs().max() < 25


@pytest.mark.parametrize("seconds", [0.001, 0.3, 20.0])
def test_any_length_is_drawn(seconds):
    picture.draw(Path("p.png"), tone(300.0, seconds), RATE, title="Ada & Co $5_000", caption="folk · seed 7")
    assert matplotlib.image.imread("p.png").shape == (594, 1320, 4)


def test_silence_is_drawn_too():
    picture.draw(Path("p.png"), torch.zeros(2, 4000), RATE, title="silence")
    assert Path("p.png").stat().st_size > 1000


def test_the_same_audio_gives_the_same_bytes():
    for name in ("a.png", "b.png"):
        picture.draw(Path(name), tone(300.0, 0.5), RATE, title="t")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
