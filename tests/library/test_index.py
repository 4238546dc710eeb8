import os
import shutil

import pytest

from orchestrion.library import index as module
from orchestrion.library.index import Index, Wanted
from orchestrion.library.tree import LibrarySong, Take, write_song


def song(name: str, **more: object) -> LibrarySong:
    take = Take(
        id="take-1", parent=None, number=1, act="compose", batch="a", start=0.0, stop=4.0, model="mini", created="now"
    )
    return LibrarySong(id=name, title=name.replace("-", " "), created=name, **more).with_takes([take])


@pytest.fixture
def index(tmp_path):
    made = Index(tmp_path, tmp_path / "index.sqlite")
    yield made
    made.close()


def found(index: Index, words: str = "") -> list[str]:
    return [card["id"] for card in index.search(Wanted(words=words, sort="title")).cards]


def test_a_rebuilt_index_has_what_the_folder_has_and_nothing_else(index, tmp_path):
    for name in ("moon-river", "night-train", "gone"):
        write_song(tmp_path / name, song(name))
        index.put(song(name))
    shutil.rmtree(tmp_path / "gone")
    write_song(tmp_path / "new-song", song("new-song", lyrics="harbour"))
    write_song(tmp_path / "night-train", song("night-train", notes="renamed"))
    assert index.rebuild() == []
    assert found(index) == ["moon-river", "new-song", "night-train"]
    assert found(index, "harb") == ["new-song"] and found(index, "renamed") == ["night-train"]


def test_others_have_a_turn_while_it_is_rebuilt(index, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    names = [f"song-{number}" for number in range(5)]
    for name in names:
        write_song(tmp_path / name, song(name))
    real, held = module.read_song, []

    def read(folder):
        held.append(len(found_elsewhere()))
        return real(folder)

    def found_elsewhere() -> list[str]:
        other = Index(tmp_path, tmp_path / "index.sqlite")
        try:
            return found(other)
        finally:
            other.close()

    monkeypatch.setattr(module, "read_song", read)
    index.rebuild()
    assert held == [0, 0, 2, 2, 4] and found(index) == names


@pytest.mark.parametrize("damage", [b"this is no database", b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_index_is_made_again(tmp_path, damage):
    (tmp_path / "index.sqlite").write_bytes(damage)
    write_song(tmp_path / "moon-river", song("moon-river"))
    index = Index(tmp_path, tmp_path / "index.sqlite")
    assert index.rebuild() == [] and found(index, "moon") == ["moon-river"]
    index.close()


def test_a_song_that_cannot_be_read_is_told_and_left_out(index, tmp_path):
    write_song(tmp_path / "whole", song("whole"))
    write_song(tmp_path / "broken", song("broken"))
    index.put(song("broken"))
    (tmp_path / "broken" / "song.json").write_text("{")
    (problem,) = index.rebuild()
    assert "broken" in problem and found(index) == ["whole"]


def test_letters_are_found_however_they_are_composed(index, tmp_path):
    for name, notes in (("one", "cafe\u0301 nai\u0308f"), ("two", "caf\u00e9"), ("three", "x\u0302y")):
        index.put(song(name, notes=notes))
    for words in ("cafe\u0301", "caf\u00e9", "cafe"):
        assert found(index, words) == ["one", "two"]
    assert found(index, "na\u00eff") == ["one"] and found(index, "x\u0302y") == ["three"]


@pytest.mark.parametrize("words", ["_", "?!", "\u0301", '"'])
def test_words_without_a_letter_find_nothing_and_no_words_everything(index, tmp_path, words):
    index.put(song("one", notes="la_la ?!"))
    assert found(index, words) == []
    assert found(index, " ") == ["one"] == found(index, f"la {words}")


def test_a_folder_whose_name_is_no_id_keeps_no_song_out(index, tmp_path):
    name = b"na\xefve" if os.name == "posix" else b"Two Words"
    for folder in (os.fsdecode(name), "whole"):
        write_song(tmp_path / folder, song("whole"))
    assert len(index.rebuild()) == 1 and found(index) == ["whole"]


def test_a_folder_under_another_name_than_its_song_is_told_and_hides_nothing(index, tmp_path):
    for folder, title in (("tune", "mine"), ("tune-backup", "old"), ("renamed", "other")):
        kept = song("gone" if folder == "renamed" else "tune")
        write_song(tmp_path / folder, kept.model_copy(update={"title": title}))
    index.put(song("renamed"))
    problems = index.rebuild()
    assert len(problems) == 2 and "renamed holds the song gone" in problems[0]
    assert "tune-backup holds the song tune" in problems[1] and "rename it to tune" in problems[1]
    assert found(index, "mine") == found(index) == ["tune"]


def test_a_song_whose_takes_cannot_be_looked_at_is_told_and_left_out(index, tmp_path, monkeypatch):
    for name in ("locked", "whole"):
        write_song(tmp_path / name, song(name))

    def levels_of(folder):
        if "locked" in str(folder):
            raise PermissionError(13, "Permission denied")
        return []

    monkeypatch.setattr(module, "levels_of", levels_of)
    (problem,) = index.rebuild()
    assert "locked" in problem and found(index) == ["whole"]
