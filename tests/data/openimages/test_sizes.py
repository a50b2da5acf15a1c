import numpy as np
import pytest
from helpers.open_images_files import SIZES, write_csv, write_photographs

from dense_lt.data.openimages import sizes as module
from dense_lt.data.openimages.sizes import find_sizes
from dense_lt.utils.errors import DataError

NAMES = np.array(sorted(SIZES), "S2")
EXPECTED = [list(SIZES[name.decode()]) for name in NAMES.tolist()]


@pytest.mark.parametrize("header", ["ImageID,width,height", "ImageID,Width,Height"])
def test_a_file_of_sizes_may_list_other_images_in_any_order(tmp_path, header):
    rows = [("zz", 1, 1), *((name, w, h) for name, (h, w) in reversed(SIZES.items()))]
    path = write_csv(tmp_path / "sizes.csv", header, rows)
    assert find_sizes(NAMES, path, ()).tolist() == EXPECTED


def test_headers_fill_in_what_the_file_leaves_out(tmp_path):
    path = write_csv(tmp_path / "sizes.csv", "ImageID,width,height", [("aa", 7, 9)])
    folders = (tmp_path / "none", write_photographs(tmp_path / "images"))
    (folders[1] / "aa.jpg").unlink()
    assert find_sizes(NAMES, path, folders).tolist() == [[9, 7], *EXPECTED[1:]]


def test_sizes_of_other_copies_of_the_images_are_refused(tmp_path):
    """Many work with smaller copies; the boxes, which are fractions, fit both."""
    path = write_csv(tmp_path / "s.csv", "ImageID,width,height", [("bb", 100, 400)])
    folder = write_photographs(tmp_path / "images")
    told = r"s\.csv: says that bb is 100 x 400 .*bb\.jpg is 50 x 200; leave `sizes` out"
    with pytest.raises(DataError, match=told):
        find_sizes(NAMES, path, (folder,))


def test_images_that_are_missing_or_broken_have_no_size(tmp_path):
    folder = write_photographs(tmp_path)
    (folder / "aa.jpg").unlink()
    (folder / "bb.jpg").write_bytes(b"no picture")
    assert find_sizes(NAMES, None, (folder,)).tolist() == [[0, 0], [0, 0], EXPECTED[2]]


def test_sizes_are_kept_and_only_missing_ones_are_read_again(tmp_path, monkeypatch):
    """An interrupted search goes on: what it had kept is not read a second time."""
    folder, cache = write_photographs(tmp_path / "images"), tmp_path / "cache"
    monkeypatch.setattr(module, "CHUNK", 1)
    first = find_sizes(NAMES[:2], None, (folder,), cache_folder=cache)
    assert first.tolist() == EXPECTED[:2]
    for name in ("aa", "bb"):
        (folder / f"{name}.jpg").unlink()
    assert find_sizes(NAMES, None, (folder,), cache_folder=cache).tolist() == EXPECTED
    other = write_photographs(tmp_path / "other")
    (other / "aa.jpg").unlink()
    again = find_sizes(NAMES, None, (other,), cache_folder=cache)
    assert again[0].tolist() == [0, 0]  # another folder has its own


def test_a_cut_file_of_kept_sizes_is_not_left_behind(tmp_path, monkeypatch):
    """A file is renamed when it is whole; one that is not is never read."""
    folder, cache = write_photographs(tmp_path / "images"), tmp_path / "cache"
    find_sizes(NAMES, None, (folder,), cache_folder=cache)
    (part,) = cache.rglob("*.csv")
    part.rename(part.with_suffix(".unfinished"))
    (folder / "aa.jpg").unlink()
    assert find_sizes(NAMES, None, (folder,), cache_folder=cache)[0].tolist() == [0, 0]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    (tmp_path / "cache").write_text("a file")
    folder = write_photographs(tmp_path / "images")
    found = find_sizes(NAMES, None, (folder,), cache_folder=tmp_path / "cache")
    assert found.tolist() == EXPECTED


def test_a_size_that_is_none_is_named(tmp_path):
    path = write_csv(tmp_path / "s.csv", "ImageID,width,height", [("aa", 7, 9), ("bb", 0, 9)])
    with pytest.raises(DataError, match=r"s\.csv: line 3: height and width are \[9, 0\]"):
        find_sizes(NAMES, path, ())
