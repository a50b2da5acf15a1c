import pytest

from dense_lt.utils.errors import ConfigError
from dense_lt.utils.writing import require_writable, whole


def _half_write(path):
    with whole(path) as draft:
        draft.write_text("ne")
        raise OSError(28, "the disk is full")


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="the disk is full") as caught:
        _half_write(path)
    assert caught.value.filename == str(path)
    assert [own.name for own in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    with whole(path) as draft:
        draft.write_text("new")
    assert path.read_text() == "new"


def test_a_folder_that_is_still_to_be_made_can_be_written_and_a_file_cannot(tmp_path):
    require_writable(tmp_path / "a" / "b", tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "a"):
        with pytest.raises(ConfigError, match=rf"--out {folder}: .*file is a file, not a folder"):
            require_writable(folder, folder)


def test_a_folder_that_takes_no_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as on a read-only disk
    with pytest.raises(ConfigError, match="cannot be written; choose another"):
        require_writable(tmp_path / "a", tmp_path / "a")
