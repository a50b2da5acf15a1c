from helpers.annotation_files import coco_content, lvis_content, write_json, write_set

from dense_lt.data.check import check_annotations, check_images, missing_images
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
    (broken,) = check_images(dataset)
    assert "a.png: cannot be decoded" in broken
    (missing,) = missing_images(dataset)
    assert missing.endswith("train.json: empty.png is missing")


def test_what_may_be_meant_is_listed_but_not_fatal(tmp_path):
    content = coco_content()
    content["categories"][1]["name"] = content["categories"][0]["name"]
    content["images"][2]["file_name"] = "a.png"
    content["annotations"][0]["segmentation"].append([41, 2, 50, 2, 50, 9])
    content["annotations"][1]["segmentation"] = [[-9, -9, 30, -9, 30, 0]]
    content["annotations"][2]["segmentation"] = [[-9, -9, 41, -9, 41, 31]]
    faults = check_annotations(write_json(tmp_path / "a.json", content), drop_invalid_boxes=False)
    assert not any(fault.fatal for fault in faults)
    category, image, beside, above = map(str, faults)
    assert "category -3: `name` is 'class 40': category 40 has it as well" in category
    assert "image 8: `file_name` is 'a.png': image 11 has it as well" in image
    assert "annotation 1 of image 11: `segmentation` is [41, 2, 50, 2, 50, 9]: lies out" in beside
    assert "annotation 0 of image 5: `segmentation` is [-9, -9, 30, -9, 30, 0]: lies" in above


def test_masks_that_are_skipped_need_no_mending(tmp_path):
    content = coco_content()
    content["annotations"][0]["segmentation"] = {"size": [30, 40], "counts": "55"}
    path = write_json(tmp_path / "a.json", content)
    told = [check_annotations(path, drop_invalid_boxes=False, skip=skip) for skip in (False, True)]
    assert [[fault.fatal for fault in faults] for faults in told] == [[True], [False]]
