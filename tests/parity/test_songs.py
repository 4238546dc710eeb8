"""Whole songs by imported models: windows, labels, batches, prompts, sound and the attention to lyrics."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from orchestrion.checkpoints.importing import import_published
from orchestrion.codes import Codes
from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox, Song
from orchestrion.jukebox.asked import tell
from orchestrion.text.normalize import DIALECTS

LYRIC_TOPS = ("prior_5b_lyrics", "prior_1b_lyrics")


class Run:
    """One run of the fixtures, and a jukebox with the model of its top prior."""

    def __init__(self, parity: Path, name: str, folder: Path) -> None:
        self.given: dict[str, Any] = json.loads((parity / "e2e" / "expected.json").read_text(encoding="utf-8"))[name]
        tensors = load_file(parity / "e2e" / "io.safetensors")
        self.io = {key.removeprefix(f"{name}."): each for key, each in tensors.items() if key.startswith(f"{name}.")}
        top = name.split(".")[0]
        self.dialect = DIALECTS["v3" if "1b" in top else "v2"]
        parts = ("vqvae", top, *(f"upsampler_level_{level}" for level in self.given["levels"] if level < 2))
        self._write_names(folder)
        import_published(
            [parity / part / "checkpoint.pth.tar" for part in parts], folder / "model", name=top, labels=folder
        )
        self.jukebox = Jukebox(folder / "model", device="cpu", most_songs=self.given["max_batch_size"])
        self.info = self.jukebox.info

    def _write_names(self, folder: Path) -> None:
        """Lists with the names and ids that the run tells of: the published ones are not here."""
        artists, genres = {"unknown": 0}, {"unknown": 0}
        for meta, row in zip(self.given["metas"], self.io["labels_y_l2"].tolist(), strict=True):
            if row[3]:
                artists[self.dialect.artist_key(meta["artist"])] = row[3]
            genres |= dict(zip(self.dialect.genre_keys(meta["genre"]), row[4:], strict=False))
        for dialect in DIALECTS:
            for kind, ids in (("artist", artists), ("genre", genres)):
                lines = [f"{name};{one}" for name, one in ids.items()]
                (folder / f"{dialect}_{kind}_ids.txt").write_text("\n".join(lines), encoding="utf-8")

    @property
    def requests(self) -> tuple[Request, ...]:
        rate = self.info.grid.sample_rate
        sings = any(prior and prior.lyrics for prior in self.info.priors)
        sampling = tuple(
            LevelSampling(temperature=self.given["temp"], top_k=self.given["top_k"], hop_fraction=fraction)
            for fraction in self.given["hop_fraction"]
        )
        return tuple(
            Request(
                seconds=self.given["sample_length"] / rate,
                total_seconds=meta["total_length"] / rate,
                offset_seconds=meta["offset"] / rate,
                artist=meta["artist"] if row[3] else None,
                genres=(meta["genre"],),
                lyrics=meta["lyrics"] if sings else "",
                sampling=sampling,
                finest_level=min(self.given["levels"]),
            )
            for meta, row in zip(self.given["metas"], self.io["labels_y_l2"].tolist(), strict=True)
        )

    def composed(self) -> tuple[Song, ...]:
        codes = None
        if "prompt_audio" in self.io:
            heard = [self.jukebox.encode(audio.T, self.info.grid.sample_rate) for audio in self.io["prompt_audio"]]
            levels = range(self.info.grid.num_levels)
            codes = Codes(self.info.grid, tuple(torch.cat([one[level] for one in heard]) for level in levels))
        return self.jukebox.compose_all(self.requests, codes=codes).finish()


@pytest.fixture(
    params=[f"{top}.{mode}" for top in LYRIC_TOPS for mode in ("ancestral", "primed")] + ["prior_5b.partial"],
)
def run(request: pytest.FixtureRequest, parity: Path, tmp_path: Path) -> Run:
    return Run(parity, request.param, tmp_path)


def test_songs_made_together_have_the_published_codes_and_sound(run: Run) -> None:
    songs = run.composed()
    for level in run.given["levels"]:
        codes = torch.cat([song.codes[level] for song in songs])
        assert torch.equal(codes, run.io[f"zs_l{level}"]), level
    audio = run.io.get("audio_from_l0")
    if audio is not None:
        for song, expected in zip(songs, audio, strict=True):
            assert_close(song.audio, expected.T.clamp(-1, 1), rtol=0, atol=1e-4)


def test_each_window_is_told_what_the_published_one_was(run: Run) -> None:
    top = run.info.grid.top
    told = tell(run.requests, run.info, top)
    hop = run.info.grid.hop_lengths[top]
    for start, expected in zip(run.given["windows"]["2"]["starts"], run.io["window_y_l2"], strict=True):
        assert torch.equal(vectors(told.window(start * hop)), expected[:, [0, 1, *range(3, expected.shape[1])]])


def vectors(conditions: Any) -> Tensor:
    """The published label vectors without the length of the window, which is a setting of the prior."""
    parts = [conditions.total_samples[:, None], conditions.start_samples[:, None], conditions.artist[:, None]]
    lyrics = [] if conditions.lyrics is None else [conditions.lyrics]
    return torch.cat([*parts, conditions.genres, *lyrics], 1)


@pytest.mark.parametrize("top", LYRIC_TOPS)
def test_attention_of_all_windows_becomes_one_map_per_song(top: str, parity: Path, tmp_path: Path) -> None:
    run = Run(parity, f"{top}.ancestral", tmp_path)
    about, codes, level = run.given["alignment"], run.io["zs_l2"], run.info.grid.top
    for row, request in enumerate(run.requests):
        for name, frames in (("alignment_item", codes.shape[1]), ("alignment_short_item", about["short_tokens"])):
            kept = Codes.empty(run.info.grid).replace(level, codes[row : row + 1, :frames])
            song = Song(request, kept, torch.zeros(1, 0), run.info.grid.sample_rate)
            aligned = run.jukebox.alignment(song)
            assert_close(aligned.weights, run.io[f"{name}{row}"], rtol=0, atol=1e-4)
            given = run.jukebox.alignment(song, layer=about["layer"], head=about["head"])
            assert torch.equal(given.weights, aligned.weights)
            assert aligned.text == run.given["label_info"]["2"][row]["lyrics"]
            assert aligned.weights.shape[1] == len(aligned.text)
