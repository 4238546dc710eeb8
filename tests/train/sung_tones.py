"""Music that is sung in tones: rows of them, one for each speech sound, with times, and rests between words."""

from pathlib import Path

import torch

from orchestrion.audio import io
from orchestrion.data.manifest import Track, content_hash, split
from orchestrion.data.tracks import TrackStore, prepare
from orchestrion.text.lyric_files import write_timed_lyrics
from orchestrion.text.timed import TimedLine, TimedLyrics, TimedPhoneme, TimedSyllable, TimedWord

RATE = 8000
PITCHES = {"a": 400.0, "iː": 1600.0, "s": 3000.0}
EACH = 0.3


def sung_tones(folder: Path) -> TrackStore:
    """Some songs, on both sides of the split, prepared."""
    tracks: list[Track] = []
    rng = torch.Generator().manual_seed(0)
    while len(tracks) < 8 or {split(track) for track in tracks} != {"train", "validation"}:
        number = len(tracks)
        words, audio, time = [], [], 0.0
        for _ in range(8):
            names = [list(PITCHES)[int(one)] for one in torch.randint(3, (2,), generator=rng)]
            phonemes = []
            for name in names:
                at = torch.arange(round(EACH * RATE)) / RATE
                audio.append(0.3 * torch.sin(2 * torch.pi * PITCHES[name] * at))
                phonemes.append(TimedPhoneme(text=name, start=round(time, 4), end=round(time + EACH, 4)))
                time += EACH
            text = "".join(names)
            syllable = TimedSyllable(text=text, phonemes=tuple(phonemes))
            words.append(TimedWord(text=text, syllables=(syllable,)))
            audio.append(torch.zeros(round(0.1 * RATE)))
            time += 0.1
        path = folder / f"row-{number}.flac"
        io.write(path, torch.cat(audio)[None], RATE)
        lyrics = folder / f"row-{number}.lyrics.json"
        write_timed_lyrics(lyrics, TimedLyrics(lines=(TimedLine(words=tuple(words)),)))
        tracks.append(
            Track(path=path, seconds=time, sample_rate=RATE, channels=1, content_hash=content_hash(path), lyrics=lyrics)
        )
    for _ in prepare(tracks, folder / "audio", RATE, 1):
        pass
    return TrackStore(folder / "audio")
