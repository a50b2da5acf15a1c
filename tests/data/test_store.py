import os

import numpy as np
import pytest
from helpers.annotation_files import coco_content, lvis_content, write_json

from dense_lt.data import store
from dense_lt.data.lvis import read_annotations
from dense_lt.data.store import cache_folder, read_once
from dense_lt.utils.errors import DataError


@pytest.fixture
def file(tmp_path):
    return write_json(tmp_path / "train.json", lvis_content())


def _never_read(monkeypatch) -> None:
    monkeypatch.setattr(store, "read_annotations", lambda *_, **__: pytest.fail("read again"))


@pytest.mark.parametrize("content", [coco_content(), lvis_content()], ids=["coco", "lvis"])
@pytest.mark.parametrize("masks", [True, False])
def test_what_was_kept_is_what_was_read(tmp_path, monkeypatch, content, masks):
    path = write_json(tmp_path / "train.json", content)
    expected, categories = read_annotations(path, masks=masks)
    read_once(path, tmp_path / "cache", min_bytes=0, masks=masks)
    _never_read(monkeypatch)
    table, same = read_once(path, tmp_path / "cache", min_bytes=0, masks=masks)
    assert same == categories
    for name in ("image_ids", "boxes", "labels", "offsets", "areas", "crowd"):
        kept, own = getattr(table, name), getattr(expected, name)
        assert kept.dtype == own.dtype
        assert np.array_equal(kept, own)
    for index in range(len(expected)):
        assert table.file_names[index] == expected.file_names[index]
        assert table.negatives_of(index, 3) == expected.negatives_of(index, 3)
    for instance in range(expected.num_instances):
        assert table.segmentation(instance) == expected.segmentation(instance)


def test_a_table_without_a_single_object_is_kept_as_well(tmp_path, monkeypatch):
    path = write_json(tmp_path / "train.json", {**coco_content(), "annotations": []})
    read_once(path, tmp_path / "cache", min_bytes=0)
    _never_read(monkeypatch)
    table, _ = read_once(path, tmp_path / "cache", min_bytes=0)
    assert table.boxes.shape == (0, 4)


def test_a_changed_file_is_read_again(file, tmp_path):
    read_once(file, tmp_path / "cache", min_bytes=0)
    write_json(file, {**lvis_content(), "annotations": []})
    os.utime(file, ns=(1, 1))
    table, _ = read_once(file, tmp_path / "cache", min_bytes=0)
    assert table.num_instances == 0


def test_other_options_are_read_again(file, tmp_path):
    _, first = read_once(file, tmp_path / "cache", min_bytes=0)
    table, _ = read_once(file, tmp_path / "cache", min_bytes=0, masks=False)
    assert table.segmentations is None
    _, same = read_once(file, tmp_path / "cache", min_bytes=0, categories=first)
    assert same is first
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize("part", ["boxes.npy", "categories.json", "file_names.offsets.npy"])
def test_a_damaged_entry_is_made_again(file, tmp_path, part):
    read_once(file, tmp_path / "cache", min_bytes=0)
    (entry,) = (tmp_path / "cache").iterdir()
    for damage in (lambda path: path.write_bytes(b"?"), lambda path: path.unlink()):
        damage(entry / part)
        table, _ = read_once(file, tmp_path / "cache", min_bytes=0)
        assert table.num_instances == 4
        assert (entry / part).stat().st_size > 1


def test_a_folder_that_cannot_be_written_to_stops_nothing(file, tmp_path):
    (tmp_path / "cache").write_text("a file")
    table, _ = read_once(file, tmp_path / "cache", min_bytes=0)
    assert table.num_instances == 4


def test_small_files_are_not_kept(file, tmp_path):
    read_once(file, tmp_path / "cache")
    read_once(file, None, min_bytes=0)
    assert not (tmp_path / "cache").exists()


def test_faults_are_told_and_nothing_is_kept(tmp_path):
    path = write_json(tmp_path / "train.json", {"images": []})
    with pytest.raises(DataError, match=r"train\.json: 3 faults"):
        read_once(path, tmp_path / "cache", min_bytes=0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_folder_follows_the_users_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dense_lt" / "annotations"
