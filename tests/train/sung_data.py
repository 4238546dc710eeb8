"""Songs whose codes are a function of their words: a code for each letter, held for some frames, and one for rests."""

import random
from pathlib import Path

import torch

import tiny
from orchestrion.codes import Codes
from orchestrion.config.prior import TimingConfig, TransformerConfig
from orchestrion.config.training import LyricsTrainingConfig, OptimizerConfig, PriorTrainingConfig, TrainingConfig
from orchestrion.data.encoded import ShardWriter
from orchestrion.data.manifest import Track
from orchestrion.grid import Grid
from orchestrion.text.lyric_files import write_timed_lyrics
from orchestrion.text.timed import TimedLine, TimedLyrics, TimedWord

LETTERS = "abcdefgh"
REST = len(LETTERS)
GRID = Grid(tiny.SAMPLE_RATE, (8, 32))
RATE = tiny.SAMPLE_RATE / 32  # frames a second at the top
FRAMES = 160  # of a song
SEEN_FRAMES = 96


def song(number: int, frames: int = FRAMES) -> tuple[list[int], TimedLyrics]:
    """Codes of the top level and the words sung; the first begins late, and there are rests between them."""
    chance = random.Random(number)
    codes = [REST] * chance.randrange(1, frames // 3)
    words: list[TimedWord] = []
    while True:
        text = "".join(chance.sample(LETTERS, 3))
        held = [code for letter in text for code in [LETTERS.index(letter)] * chance.randrange(2, 6)]
        if len(codes) + len(held) > frames:
            break
        words.append(TimedWord(text=text, start=len(codes) / RATE, end=(len(codes) + len(held)) / RATE))
        codes += held + [REST] * chance.choice((0, 1, 4, 20))
    codes = (codes + [REST] * frames)[:frames]
    return codes, TimedLyrics(lines=(TimedLine(words=tuple(words)),))


def track(
    number: int, folder: Path, lyrics: TimedLyrics, *, validation: bool, artists: tuple[str, ...] = ("Ada", "Bix")
) -> Track:
    path = folder / f"{number}.lyrics.json"
    write_timed_lyrics(path, lyrics)
    return Track(
        path=folder / f"{number}.flac",
        seconds=FRAMES / RATE,
        sample_rate=tiny.SAMPLE_RATE,
        channels=1,
        content_hash=f"{number * 12 + (0 if validation else 5):016x}",
        artist=artists[number % len(artists)],
        lyrics=path,
    )


def write_songs(folder: Path, num: int, codec_hash: str, frames: int = FRAMES, **naming: tuple[str, ...]) -> None:
    """A data set of encoded songs, one in eight of them held out."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(folder, GRID, tiny.CODEBOOK_SIZE, codec_hash)
    for number in range(num):
        top, lyrics = song(number, frames)
        one = track(number, folder, lyrics, validation=number % 8 == 0, **naming)
        writer.keep_lyrics(one)
        coarse = torch.tensor([top])
        writer.add(one, Codes(GRID, (coarse.repeat_interleave(4, 1), coarse)), frames * 32)
    writer.finish()


def config(steps: int, **lyrics: object) -> PriorTrainingConfig:
    """A top prior that sees more than half of a song and of its words, with an encoder."""
    given: dict[str, object] = {
        "num_characters": 28,
        "encoder": TransformerConfig(width=32, num_heads=1, patterns=("full",), positions="learned"),
        "attention_weight": 1.0,
        "dropout": 0.1,
    }
    optimizer = OptimizerConfig(kind="muon", learning_rate=1e-2, matrix_learning_rate=1e-2, warmup_steps=10)
    return PriorTrainingConfig(
        context_frames=SEEN_FRAMES,
        transformer=TransformerConfig(width=48, num_heads=1, patterns=("full", "full", "lyrics", "full")),
        training=TrainingConfig(
            steps=steps,
            batch_size=8,
            precision="float32",
            optimizer=optimizer,
            average_decay=0.95,
            log_every=10,
            validate_every=10_000,
            save_every=10_000,
        ),
        timing=TimingConfig(num_bins=32, min_total_seconds=0.5, max_total_seconds=8.0),
        lyrics=LyricsTrainingConfig(**(given | lyrics)),
        validation_windows=16,
    )
