"""Manifests: what is written is read, and the split never moves."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrion.data.manifest import Track, content_hash, read_manifest, split, write_manifest
from orchestrion.errors import UserError

text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20)


@st.composite
def settings_of_tracks(draw: st.DrawFn) -> dict[str, object]:
    """Not tracks: in tests the types of what makes one are checked by chance, which drawing forbids."""
    maybe = st.none() | text
    return {
        "path": Path("/music") / ("x" + draw(text)),
        "seconds": draw(st.floats(0.01, 1e5)),
        "sample_rate": draw(st.integers(1, 192_000)),
        "channels": draw(st.integers(1, 8)),
        "content_hash": f"{draw(st.integers(0, 2**64 - 1)):016x}",
        "artist": draw(maybe),
        "genres": tuple(draw(st.lists(text, max_size=5))),
        "title": draw(maybe),
        "licence": draw(maybe),
        "lyrics": draw(st.none() | st.just(Path("/music/song.lrc"))),
        "source": draw(maybe),
        "credit": draw(maybe),
    }


@given(drawn=st.lists(settings_of_tracks(), min_size=1, max_size=5))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_is_written_is_read(tmp_path, drawn):
    listed = [Track(**settings) for settings in drawn]
    write_manifest(tmp_path / "manifest.jsonl", listed)
    assert read_manifest(tmp_path / "manifest.jsonl") == listed


def test_paths_follow_the_manifest_when_the_folder_moves(tmp_path):
    inside = track_at(tmp_path / "old" / "a" / "song.wav", lyrics=tmp_path / "old" / "a" / "song.txt")
    outside = track_at(Path("/elsewhere/song.wav"))
    write_manifest(tmp_path / "old" / "manifest.jsonl", [inside, outside])
    (tmp_path / "old").rename(tmp_path / "new")
    moved = read_manifest(tmp_path / "new" / "manifest.jsonl")
    assert moved[0].path == tmp_path / "new" / "a" / "song.wav"
    assert moved[0].lyrics == tmp_path / "new" / "a" / "song.txt"
    assert moved[1].path == Path("/elsewhere/song.wav")


def test_blank_names_are_none(tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, [track_at(tmp_path / "song.wav")])
    header, line = path.read_text().splitlines()
    path.write_text("\n".join((header, json.dumps(json.loads(line) | {"artist": " ", "genres": ["", "folk", "\t"]}))))
    (track,) = read_manifest(path)
    assert (track.artist, track.genres) == (None, ("folk",))


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, [track_at(tmp_path / "song.wav")])
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert read_manifest(path) == [track_at(tmp_path / "song.wav")]


def test_a_name_with_a_separator_of_lines_stays_one_line(tmp_path):
    track = track_at(tmp_path / "one\u2028two\x85.flac")
    write_manifest(tmp_path / "manifest.jsonl", [track])
    assert read_manifest(tmp_path / "manifest.jsonl") == [track]


def test_the_split_looks_at_nothing_but_the_content():
    one = track_at(Path("/a.wav"), artist="Ada")
    other = track_at(Path("/b/c.flac"), genres=("jazz",), seconds=7.0)
    assert split(one) == split(other)


def test_about_one_track_in_twelve_is_for_validation():
    hashes = [hashlib.blake2b(str(number).encode(), digest_size=8).hexdigest() for number in range(1200)]
    sides = Counter(split(track_at(Path("/a.wav"), content_hash=each)) for each in hashes)
    assert 1 / 15 < sides["validation"] / 1200 < 1 / 10


def test_the_content_hash_is_the_documented_one(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    # b2sum -l 64
    assert content_hash(tmp_path / "file") == "d8bb14d833d59559"


def track_at(path: Path, **more: object) -> Track:
    given = {"seconds": 1.0, "sample_rate": 8000, "channels": 1, "content_hash": "00000000000000ff", **more}
    return Track(path=path, **given)


HEADER = json.dumps({"format": "orchestrion.manifest", "version": 1})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no header"),
        ("not json\n", "no header"),
        ('{"format": "other"}\n', "no header"),
        ('{"format": "orchestrion.manifest", "version": 9}\n', "version 9"),
        (HEADER + "\n", "lists no tracks"),
        (HEADER + "\n{broken\n", "line 2"),
        (HEADER + "\n[1]\n", "line 2"),
        (HEADER + '\n{"path": "a.wav"}\n', "seconds"),
        (HEADER + '\n{"path": "a.wav", "sekonds": 1}\n', "sekonds"),
        (HEADER + '\n{"path": "a.wav", "seconds": Infinity}\n', "seconds: input should be a finite number"),
    ],
)
def test_broken_manifests_are_explained(tmp_path, content, said):
    path = tmp_path / "manifest.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_manifest(path)


def test_missing_and_binary_manifests_are_explained(tmp_path):
    with pytest.raises(UserError, match="there is no manifest"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "song.wav").write_bytes(b"RIFF\xff\xfe\x00")
    with pytest.raises(UserError, match="not a manifest"):
        read_manifest(tmp_path / "song.wav")
    with pytest.raises(UserError, match="cannot read"):
        read_manifest(tmp_path)
