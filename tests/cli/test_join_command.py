"""`orchestrion data join`: several manifests as one."""

from pathlib import Path

from orchestrion.cli.main import USER_ERROR, main
from orchestrion.data.manifest import Track, read_manifest, write_manifest


def track(path: Path, number: int, title: str) -> Track:
    return Track(
        path=path,
        seconds=60.0,
        sample_rate=44_100,
        channels=2,
        content_hash=f"{number:016x}",
        title=title,
        artist="Ada",
    )


def test_tracks_of_several_manifests_are_listed_once_and_stay_where_they_are(tmp_path, capsys):
    one, other = tmp_path / "one" / "manifest.jsonl", tmp_path / "other" / "manifest.jsonl"
    for folder in (one.parent, other.parent):
        folder.mkdir()
    write_manifest(one, [track(one.parent / "a.flac", 1, "A"), track(one.parent / "b.flac", 2, "B")])
    write_manifest(other, [track(other.parent / "again.flac", 1, "again"), track(other.parent / "c.flac", 3, "C")])
    joined = tmp_path / "all.jsonl"
    assert main(["data", "join", str(one), str(other), "-o", str(joined)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(joined) and "3 tracks, 0.05 hours, 1 artists; 1 left out" in said.err
    assert [(found.title, found.path.parent.name) for found in read_manifest(joined)] == [
        ("A", "one"), ("B", "one"), ("C", "other"),
    ]  # fmt: skip
    assert main(["data", "join", str(one), "-o", str(joined)]) == USER_ERROR
    assert "exists" in capsys.readouterr().err and len(read_manifest(joined)) == 3
    assert main(["data", "join", str(one), str(tmp_path / "absent"), "-o", str(joined), "--force"]) == USER_ERROR
    assert "no manifest" in capsys.readouterr().err
