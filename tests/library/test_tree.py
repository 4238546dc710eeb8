import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.config import plain
from orchestrion.errors import UserError
from orchestrion.files import write_json
from orchestrion.library.tree import LibrarySong, Take, check_id, levels_of, new_id, read_song, write_song


def take(name: str, batch: str = "one", parent: str | None = None) -> Take:
    return Take(
        id=name, parent=parent, number=1, act="compose", batch=batch, start=0.0, stop=4.0, model="mini", created="now"
    )


def song() -> LibrarySong:
    return LibrarySong(id="tune-1", title="Tune", created="now").with_takes([take("a"), take("b")])


def chosen(of: LibrarySong) -> list[str]:
    return [each.id for each in of.takes if each.chosen]


def test_one_take_of_a_batch_is_chosen():
    first = song().with_chosen("a")
    assert chosen(first) == ["a"] and chosen(first.with_chosen("b")) == ["b"]
    assert first.with_chosen("a") == first
    grown = first.with_takes([take("c", "two", "a")]).with_chosen("c")
    assert chosen(grown) == ["a", "c"] and grown.heard(lambda each: True).id == "c"
    with pytest.raises(UserError, match="no take 'x'"):
        first.with_chosen("x")


def test_a_new_step_gives_up_what_was_undone():
    grown = song().with_takes([take("c", "two")]).undone().with_takes([take("d", "three")])
    assert [each.id for each in grown.shown] == ["a", "b", "d"] and not grown.can_redo


STEPS = st.lists(st.sampled_from(["take", "choose a", "choose b", "undo", "redo"]), max_size=14)


@given(STEPS)
def test_undoing_all_and_redoing_all_leads_back(steps):
    now = song()
    for number, step in enumerate(steps):
        if step == "take":
            now = now.with_takes([take(f"t{number}", f"batch{number}")])
        elif step.startswith("choose"):
            now = now.with_chosen(step[-1])
        elif step == "undo" and now.can_undo:
            now = now.undone()
        elif step == "redo" and now.can_redo:
            now = now.redone()
    while now.can_redo:
        now = now.redone()
    back = now
    while back.can_undo:
        back = back.undone()
    assert [each.id for each in back.shown] == ["a", "b"] and chosen(back) == []
    with pytest.raises(UserError, match="nothing to undo"):
        back.undone()
    while back.can_redo:
        back = back.redone()
    assert back == now


def test_songs_are_written_and_read(tmp_path):
    kept = song().with_chosen("a")
    write_song(tmp_path / "tune-1", kept)
    assert read_song(tmp_path / "tune-1") == kept
    (tmp_path / "tune-1" / "song.json").write_text('{"format": "orchestrion.library_song", "version": 2}')
    with pytest.raises(UserError, match="format 2"):
        read_song(tmp_path / "tune-1")
    (tmp_path / "tune-1" / "song.json").write_text("[]")
    with pytest.raises(UserError, match="not a song of the library"):
        read_song(tmp_path / "tune-1")


@given(st.text(max_size=200))
def test_every_title_gives_an_id(title):
    assert check_id(new_id(title))


@pytest.mark.parametrize("given_id", ["", "..", "a/b", "A", "-a", "a\n", "a" * 81, "."])
def test_paths_are_no_ids(given_id):
    with pytest.raises(UserError, match="not the id"):
        check_id(given_id)


def test_levels_are_those_that_can_be_heard(tmp_path):
    assert levels_of(tmp_path) == []
    (tmp_path / "audio").mkdir()
    for name in ("level_1.flac", "level_0.flac", ".level_2.flac", "level_1.peaks.json"):
        (tmp_path / "audio" / name).touch()
    assert levels_of(tmp_path) == [0, 1]


def test_what_stands_for_a_song_can_be_heard():
    grown = song().with_chosen("a").with_takes([take("c", "two", "a")])

    def heard(*audible: str) -> str:
        return grown.heard(lambda each: each.id in audible).id

    assert heard("a", "b", "c") == "a" and heard("b") == "b" and heard("b", "c") == "c"
    assert heard() == "a" and grown.with_chosen("c").heard(lambda each: each.id != "c").id == "a"
    assert LibrarySong(id="tune-2", title="None", created="now").heard(lambda each: True) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"tags": ["night", "night"]},
        {"takes": [plain(take("a")), plain(take("a"))]},
        {"done": 99},
        {"done": -1},
        {"takes": [{**plain(take("a")), "stop": float("inf")}]},
        {"takes": [{**plain(take("a")), "span": {"start": 0.0, "stop": float("inf")}}]},
    ],
)
def test_a_song_that_contradicts_itself_is_refused(wrong, tmp_path):
    write_json(tmp_path / "song.json", {**plain(song()), **wrong})
    with pytest.raises(UserError):
        read_song(tmp_path)
