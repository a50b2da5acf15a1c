import pytest

from dense_lt.data.files import SplitFiles, check_paths
from dense_lt.utils.errors import DataError


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
