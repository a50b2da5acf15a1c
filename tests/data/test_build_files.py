from pathlib import Path

import pytest
from helpers.drawn_sets import small_drawn

from dense_lt.config.data import JsonDatasetConfig
from dense_lt.data.build_files import SplitFiles, check_paths, find_files
from dense_lt.utils.errors import DataError


def test_paths_are_relative_to_the_root_unless_they_are_absolute():
    split = {"annotations": "a.json", "images": ["one", "/two"]}
    config = JsonDatasetConfig.model_validate(
        {"kind": "lvis", "root": "data", "train": split, "val": {**split, "annotations": "/b.json"}}
    )
    files = find_files(config)
    assert files["train"] == SplitFiles(Path("data/a.json"), (Path("data/one"), Path("/two")))
    assert files["val"].annotations == Path("/b.json")


def test_the_drawn_set_is_drawn_when_it_is_missing(tmp_path):
    files = find_files(small_drawn(tmp_path / "set"))
    assert list(files) == ["train", "val"]
    for split in files.values():
        check_paths(split, images=True)


def test_a_missing_annotation_file_is_named(tmp_path):
    files = SplitFiles(tmp_path / "none.json", (tmp_path,))
    with pytest.raises(DataError, match=r"none\.json: there is no such annotation file"):
        check_paths(files, images=False)


def test_a_missing_folder_of_images_is_named_where_images_are_needed(tmp_path):
    (tmp_path / "a.json").touch()
    files = SplitFiles(tmp_path / "a.json", (tmp_path, tmp_path / "none"))
    check_paths(files, images=False)
    with pytest.raises(DataError, match=r"none: there is no such folder.*a\.json"):
        check_paths(files, images=True)
