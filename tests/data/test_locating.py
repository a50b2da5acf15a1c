import unicodedata

import pytest
from helpers.annotation_files import coco_content, lvis_content, write_json

from dense_lt.data.locating import (
    describe_missing,
    describe_shared,
    locate_images,
    shared_files,
)
from dense_lt.data.lvis import read_annotations


def _table(tmp_path, content):
    return read_annotations(write_json(tmp_path / "a.json", content))[0]


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_images_are_looked_for_in_every_folder_first_to_last(tmp_path):
    table = _table(tmp_path, coco_content())
    first, second = tmp_path / "one", tmp_path / "two"
    paths = [_touch(first / "a.png"), _touch(second / "b.png"), _touch(first / "empty.png")]
    _touch(second / "a.png")
    assert locate_images(table, [first, second]) == paths
    assert describe_missing(table, [first, second], paths) is None


def test_lvis_v1_images_are_found_by_their_url_below_one_folder_or_in_their_own(tmp_path):
    content = lvis_content()
    for image, split in zip(content["images"], ("train2017", "val2017", "val2017"), strict=True):
        image["coco_url"] = f"http://images.cocodataset.org/{split}/{image.pop('file_name')}"
    table = _table(tmp_path, content)
    paths = [
        _touch(tmp_path / "coco" / name)
        for name in ("train2017/a.png", "val2017/b.png", "val2017/empty.png")
    ]
    assert locate_images(table, [tmp_path / "coco"]) == paths
    folders = [tmp_path / "coco" / split for split in ("val2017", "train2017")]
    assert locate_images(table, folders) == paths


@pytest.mark.parametrize("exists", ["val2017/a.png", "a.png", "COCO_val2014_a.png"])
def test_lvis_v05_images_are_found_with_and_without_their_prefix(tmp_path, exists):
    content = lvis_content()
    content["images"] = content["images"][:1]
    content["annotations"] = []
    image = content["images"][0]
    image["coco_url"] = "http://images.cocodataset.org/val2017/a.png"
    image["file_name"] = "COCO_val2014_a.png"
    path = _touch(tmp_path / "images" / exists)
    assert locate_images(_table(tmp_path, content), [tmp_path / "images"]) == [path]


def test_missing_images_are_one_message_with_the_paths_tried(tmp_path):
    table = _table(tmp_path, coco_content())
    paths = locate_images(table, [tmp_path / "no", tmp_path / "where"])
    message = describe_missing(table, [tmp_path / "no", tmp_path / "where"], paths)
    assert message is not None
    assert "a.json: 3 of 3 images are missing (a.png, b.png, empty.png)" in message
    for folder in ("no", "where"):
        assert str(tmp_path / folder / "a.png") in message
    assert message.endswith("Set the folders of this split's `images`")


def _named(tmp_path, *names, **fields):
    """A table of images with these file names."""
    images = [
        {"id": own, "file_name": name, "width": 9, "height": 9} for own, name in enumerate(names)
    ]
    for field, values in fields.items():
        for image, value in zip(images, values, strict=True):
            image[field] = value
    content = {**coco_content(), "images": images, "annotations": []}
    return _table(tmp_path, content)


@pytest.mark.parametrize("folders", [("camA", "."), ("camA", "camB", ".")])
def test_a_full_name_in_any_folder_comes_before_a_bare_name_in_any(tmp_path, folders):
    table = _named(tmp_path, "camA/0001.png", "camB/0001.png")
    paths = [_touch(tmp_path / name) for name in ("camA/0001.png", "camB/0001.png")]
    found = locate_images(table, [tmp_path / name for name in folders])
    assert found == paths
    assert shared_files(table, found) == []


def test_images_of_different_names_with_one_file_are_told(tmp_path):
    table = _named(tmp_path, "camA/1.png", "camB/1.png", "2.png", "camC/1.png", "./2.png", "2.png")
    path = _touch(tmp_path / "1.png")
    _touch(tmp_path / "2.png")
    paths = locate_images(table, [tmp_path])
    shared = shared_files(table, paths)
    assert [(own.name, own.other) for own in shared] == [
        ("camB/1.png", "camA/1.png"),
        ("camC/1.png", "camA/1.png"),
    ]
    message = describe_shared(table.source, shared)
    assert "a.json: for 2 images a file was found that another image has as well" in message
    assert f"camB/1.png and camA/1.png are both taken from {path}" in message


def test_images_with_one_file_name_are_told_apart_by_their_urls(tmp_path):
    urls = ["http://host/camA/1.png", "http://host/camB/1.png"]
    table = _named(tmp_path, "1.png", "1.png", coco_url=urls)
    folders = [tmp_path / "camA", tmp_path / "camB"]
    for folder in folders:
        _touch(folder / "1.png")
    (shared,) = shared_files(table, locate_images(table, folders))
    assert (shared.name, shared.other) == ("camB/1.png", "camA/1.png")


@pytest.mark.parametrize("exists", ["sub/gris.png", "gris.png"])
def test_names_of_windows_are_found(tmp_path, exists):
    path = _touch(tmp_path / exists)
    assert locate_images(_named(tmp_path, "sub\\gris.png"), [tmp_path]) == [path]


@pytest.mark.parametrize(("given", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("name", ["café/é.png", "other/é.png"])
def test_names_in_the_other_normal_form_are_found(tmp_path, given, stored, name):
    table = _named(tmp_path, unicodedata.normalize(given, name))
    on_disk = unicodedata.normalize(stored, name.removeprefix("other/"))
    path = _touch(tmp_path / on_disk)
    assert locate_images(table, [tmp_path]) == [path]
