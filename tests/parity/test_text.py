"""Lyrics, labels and windows of the original code.

The published lists of artists and genres belong to the original repository and are not here. The lists of the tests
hold what the cases themselves tell: the name of each case beside the id that it was given, in the published spelling.
"""

import json
import struct
from pathlib import Path

import pytest

from orchestrion.generate.windows import windows
from orchestrion.text.normalize import DIALECTS
from orchestrion.text.published import PublishedNames, make_labels
from orchestrion.text.window import lyric_window, padded


@pytest.fixture(scope="module")
def cases(parity):
    return json.loads((parity / "text" / "labels.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def laid(parity):
    return json.loads((parity / "text" / "windows.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def names(cases):
    """The part of the published lists that the cases tell."""
    lists = {dialect: {"artists": {}, "genres": {}} for dialect in DIALECTS}
    for case in cases:
        if "y" not in case:
            continue
        spelling = DIALECTS["v3" if case["v3"] else "v2"]
        artist, *genres = case["y"][3 : 4 + spelling.genre_slots]
        pairs = zip(spelling.genre_keys(case["args"]["genre"]), genres, strict=False)
        for table, key, one in [
            ("artists", spelling.artist_key(case["args"]["artist"]), artist),
            *(("genres", key, one) for key, one in pairs),
        ]:
            if one:  # 0 says that the published list lacks the name
                assert lists[spelling.name][table].setdefault(key, one) == one, case
    return {dialect: PublishedNames(dialect=dialect, **tables) for dialect, tables in lists.items()}


def labels_of(case, names):
    asked = case["args"]
    return make_labels(
        names["v3" if case["v3"] else "v2"],
        artist=asked["artist"],
        genres=[asked["genre"]],
        lyrics=asked["lyrics"],
        timing=(asked["total_length"], asked["offset"], case["sample_length"]),
        num_characters=case["n_tokens"],
        strict=False,
    )


def test_characters_have_the_published_ids(parity):
    published = json.loads((parity / "text" / "vocab.json").read_text(encoding="utf-8"))
    for name, ids in published.items():
        spelling = DIALECTS[name]
        assert {"<unk>": 0, **{one: spelling.character_ids(one)[0] for one in spelling.alphabet}} == ids
        assert spelling.alphabet_size == len(ids)


def test_labels_are_the_published_ones(cases, names):
    assert any("y" in case for case in cases)
    for case in cases:
        if "y" in case:
            assert list(labels_of(case, names).vector) == case["y"], case


def test_lyrics_are_cleaned_as_published(cases, names):
    for case in cases:
        if "cleaned_lyrics" in case:
            spelling = DIALECTS["v3" if case["v3"] else "v2"]
            assert spelling.clean(case["args"]["lyrics"]) == case["cleaned_lyrics"]
            if case["n_tokens"]:
                assert len(labels_of(case, names).lyrics) == case["n_full_tokens"]


def test_labels_describe_what_they_were_made_from(cases, names):
    for case in cases:
        told = case.get("describe_label")
        if told and case["n_tokens"]:
            labels, known = labels_of(case, names), names["v3" if case["v3"] else "v2"]
            assert known.spelling.text(labels.characters) == told["lyrics"]
            assert labels.artist == 0 or known.artist_name(labels.artist) == told["artist"]
            assert "_".join(known.genre_names(labels.genres)) == told["genre"]


def test_where_the_published_code_fails_on_odd_lengths_a_whole_window_is_given(cases, names):
    for case in cases:
        if "error" in case:
            assert case["n_tokens"] % 2 == 1
            assert 0 not in labels_of(case, names).characters


@pytest.mark.parametrize("single, suffix", [(False, ""), (True, "_float32")])
def test_lyric_windows_are_the_published_ones(laid, single, suffix):
    for case in laid["lyric_windows"]:
        if "error" in case:
            continue
        window = lyric_window(
            case["n_full"],
            case["n_tokens"],
            total_samples=case["total_length"],
            start_samples=case["offset"],
            window_samples=case["duration"],
            single=single,
        )
        places = padded(window, case["n_tokens"])
        assert (places[0], places[-1]) == (case["first" + suffix], case["last" + suffix]), case


def test_window_starts_are_the_published_ones(laid):
    for case in laid["get_starts"]:
        total, context = case["total_length"], case["n_ctx"]
        starts = [window.start for window in windows(total, context=context, stride=case["hop_length"])]
        # What is shorter than the context is one shorter window here, and a case of its own in the published code.
        assert starts == (case["starts"] if total >= context else [0])


def test_labels_move_through_a_song_as_published(parity):
    """Over the windows of whole songs the lyrics move in single precision."""
    tensors = Integers(parity / "e2e" / "io.safetensors")
    expected = json.loads((parity / "e2e" / "expected.json").read_text(encoding="utf-8"))
    checked = 0
    for key in tensors.names:
        if not key.endswith(".window_lyric_indices_l2"):
            continue
        run = key.removesuffix(".window_lyric_indices_l2")
        dialect = DIALECTS["v3" if "1b" in run else "v2"]
        nobody = PublishedNames(dialect=dialect.name, artists={}, genres={})
        rows, places = tensors.rows(f"{run}.window_y_l2"), tensors.rows(key)
        songs = expected[run]["metas"]
        for index, (row, seen) in enumerate(zip(rows, places, strict=True)):
            told = songs[index % len(songs)]
            total, start, length = row[:3]
            labels = make_labels(
                nobody,
                artist=None,
                genres=(),
                lyrics=told["lyrics"],
                timing=(total, 0, length),
                num_characters=len(seen),
            ).at(start)
            assert labels.places == seen
            assert (labels.start_samples, labels.characters) == (start, row[4 + dialect.genre_slots :])
            checked += 1
    assert checked


class Integers:
    """The int64 tensors of a safetensors file, read without torch."""

    def __init__(self, path: Path):
        data = path.read_bytes()
        (size,) = struct.unpack_from("<Q", data)
        self.header = json.loads(data[8 : 8 + size])
        self.body = memoryview(data)[8 + size :]
        self.names = [name for name in self.header if name != "__metadata__"]

    def rows(self, name):
        about = self.header[name]
        assert about["dtype"] == "I64"
        start, stop = about["data_offsets"]
        flat, width = struct.unpack(f"<{(stop - start) // 8}q", self.body[start:stop]), about["shape"][-1]
        return [flat[one : one + width] for one in range(0, len(flat), width)]
