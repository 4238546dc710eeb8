import sys
import types

import numpy as np
import pytest
import torch

from orchestrion.audio.play import Player
from orchestrion.errors import UserError


class PortAudioError(Exception):
    pass


class Loudspeaker:
    """Stands in for sounddevice's stream: remembers what it was given."""

    heard, log = [], []

    def __init__(self, *, samplerate, channels, dtype, latency):
        if samplerate == 13:
            raise PortAudioError("Error querying device -1")
        self.settings = (samplerate, channels, dtype)

    def start(self):
        Loudspeaker.heard, Loudspeaker.log = [], ["start"]

    def write(self, samples):
        assert samples.dtype == np.float32 and samples.flags["C_CONTIGUOUS"]
        self.heard.append(samples)

    def __getattr__(self, name):
        return lambda: self.log.append(name)


@pytest.fixture(autouse=True)
def _loudspeaker(monkeypatch):
    module = types.SimpleNamespace(OutputStream=Loudspeaker, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)


def test_pieces_are_played_one_after_another_to_their_end():
    player = Player(22_050, 2)
    pieces = [torch.full((2, 5), float(number)) for number in range(4)]
    for piece in pieces:
        player.put(piece)
    player.finish()
    assert np.array_equal(np.concatenate(Loudspeaker.heard), torch.cat(pieces, 1).T.numpy())
    assert Loudspeaker.log == ["start", "stop", "close"]


def test_a_player_that_is_closed_is_silent_at_once():
    player = Player(22_050, 1)
    player.close()
    assert Loudspeaker.log == ["start", "abort", "close"] and not Loudspeaker.heard


def test_where_nothing_can_be_played_a_sentence_says_why(monkeypatch):
    with pytest.raises(UserError, match="no sound can be played here"):
        Player(13, 1)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UserError, match="playing needs sounddevice") as caught:
        Player(22_050, 1)
    assert "orchestrion[play]" in caught.value.hint
