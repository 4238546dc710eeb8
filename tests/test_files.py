"""Files appear whole or not at all, and trouble is told in a sentence."""

import errno
import os

import pytest

from orchestrion.errors import UserError
from orchestrion.files import (
    check_space,
    check_writable,
    explained,
    file_sha256,
    read_json,
    refuse_overwrite,
    replacing,
    write_json,
)


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"müsic": [1, 2]})
    assert read_json(tmp_path / "a" / "b.json", "thing") == {"müsic": [1, 2]}


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "song.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "no space"), (errno.EACCES, "permission"), (errno.EROFS, "read-only")]
)
def test_trouble_of_the_system_is_explained(tmp_path, number, words):
    with pytest.raises(UserError, match=words), explained(tmp_path, "write"):
        raise OSError(number, os.strerror(number))


def test_a_file_that_is_gone_is_no_matter_of_room(tmp_path):
    with pytest.raises(UserError, match="there is no such file: check the path"):
        file_sha256(tmp_path / "gone" / "song.flac")


def test_a_file_may_have_as_long_a_name_as_the_system_takes(tmp_path):
    for name in (255 * "a", f"{83 * '歌'}.flac"):
        write_json(tmp_path / name, 1)
        assert read_json(tmp_path / name, "number") == 1


def test_a_folder_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file, not a folder|cannot write into"):
        check_writable(tmp_path / "file" / "below")
    check_writable(tmp_path / "not" / "yet")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("content", ["", "{", "\x00\x01", "[" * 100_000, "1" * 5000])
def test_damaged_json_is_explained(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UserError, match="damaged"):
        read_json(path, "thing")
    with pytest.raises(UserError, match="there is no thing"):
        read_json(tmp_path / "absent.json", "thing")


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "song.flac"
    refuse_overwrite(path, force=False)
    path.write_text("")
    refuse_overwrite(path, force=True)
    with pytest.raises(UserError, match="--force"):
        refuse_overwrite(path, force=False)
    for force in (False, True):
        with pytest.raises(UserError, match="is a folder"):
            refuse_overwrite(tmp_path, force)


def test_more_than_the_disk_has_is_refused_before_it_is_written(tmp_path):
    check_space(tmp_path / "not" / "there", 1)
    with pytest.raises(UserError, match="make room"):
        check_space(tmp_path / "not" / "there", 10**18)


def test_a_file_may_be_read_by_whom_any_new_file_may(tmp_path):
    plain_file = tmp_path / "plain"
    plain_file.touch()
    with replacing(tmp_path / "written") as part:
        part.unlink()
        part.touch(mode=0o600)  # as safetensors does
    assert (tmp_path / "written").stat().st_mode == plain_file.stat().st_mode
