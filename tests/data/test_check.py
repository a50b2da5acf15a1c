from helpers.annotation_files import coco_content, lvis_content, write_json, write_set

from dense_lt.data.check import check_annotations, check_images
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.lvis import read_annotations
from dense_lt.data.transforms import Transform


def test_segmentations_are_checked_as_well(tmp_path):
    content = coco_content()
    content["annotations"][0]["segmentation"] = "none"
    path = write_json(tmp_path / "a.json", content)
    (fault,) = check_annotations(path, drop_invalid_boxes=False)
    assert fault.field == "segmentation"


def test_what_the_setting_mends_is_listed_but_not_fatal(tmp_path):
    content = coco_content()
    content["annotations"][0]["bbox"] = [0, 0, 0, 5]
    path = write_json(tmp_path / "a.json", content)
    assert [f.fatal for f in check_annotations(path, drop_invalid_boxes=False)] == [True]
    assert [f.fatal for f in check_annotations(path, drop_invalid_boxes=True)] == [False]


def test_every_bad_image_is_told(tmp_path):
    table, categories = read_annotations(write_set(tmp_path, lvis_content()))
    (tmp_path / "a.png").write_bytes(b"?")
    (tmp_path / "empty.png").unlink()
    dataset = DetectionDataset(table, categories, [tmp_path], Transform(), seed=0)
    first, second = check_images(dataset)
    assert "a.png: cannot be decoded" in first
    assert "image 8 (empty.png) is missing" in second
