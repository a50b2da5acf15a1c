import numpy as np
import torch
from helpers.oracle_detector import CATEGORIES, CappedDetector, OracleDetector, loader

from dense_lt.evaluation.masks import mask_tools
from dense_lt.evaluation.predict import original_boxes, predict, to_predictions
from dense_lt.structures import Detections, ImageInfo

CPU = torch.device("cpu")


def test_boxes_return_to_the_image_on_disk_axis_by_axis():
    """Height 101 -> 50 is a factor of 2.02, width 200 -> 100 a factor of 2; corners, then xywh."""
    info = ImageInfo(1, original_size=(101, 200), input_size=(50, 100))
    boxes = original_boxes(np.array([[10.0, 10, 20, 30], [-5, 0, 500, 500]]), info)
    np.testing.assert_allclose(boxes[0], [20, 20.2, 20, 40.4], atol=1 / 128)
    np.testing.assert_allclose(boxes[1], [0, 0, 200, 101])


def test_boxes_are_exact_in_float32_and_in_short_decimals():
    info = ImageInfo(1, original_size=(640, 480), input_size=(1066, 800))
    boxes = original_boxes(np.random.default_rng(0).random((100, 4)).cumsum(1) * 100, info)
    np.testing.assert_array_equal(boxes.astype(np.float32), boxes)
    assert max(len(repr(float(value))) for value in boxes.ravel()) <= len("123.0078125")


def test_labels_become_ids_of_the_data_set():
    detections = Detections(torch.zeros(2, 4), torch.ones(2), torch.tensor([1, 0]))
    info = ImageInfo(9, original_size=(10, 10), input_size=(10, 10))
    found = to_predictions([detections], [info], CATEGORIES)
    assert found.category_ids.tolist() == [70, 30]
    assert found.image_ids.tolist() == [9, 9]


def test_masks_return_to_the_image_on_disk_and_images_without_detections_have_none():
    """A left half in an input of half the height and a third of the width; corners are round."""
    half = torch.zeros(1, 4, 4)
    half[..., :2] = 1
    box = torch.tensor([[4.0, 2, 12, 10]])
    some = Detections(box, torch.ones(1), torch.tensor([0]), half)
    none = Detections(box[:0], torch.zeros(0), torch.zeros(0, dtype=torch.int64), half[:0])
    infos = [
        ImageInfo(9, original_size=(40, 60), input_size=(20, 20)),
        ImageInfo(10, original_size=(10, 10), input_size=(10, 10)),
    ]
    found = to_predictions([some, none], infos, CATEGORIES)
    assert found.masks is not None
    (mask,) = (mask_tools().decode(found.masks[index]) for index in range(len(found.masks)))
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    assert mask.shape == (40, 60)
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (4, 19, 12, 23)
    assert mask[6:18, 12:24].all()


def test_every_image_is_predicted_once_in_memory_and_on_disk(tmp_path):
    for folder in (None, tmp_path):
        run = predict(OracleDetector(), loader(), categories=CATEGORIES, device=CPU, folder=folder)
        assert run.predictions.image_ids.tolist() == [5, 5, 6, 6, 8, 8]
        assert run.predictions.boxes is not None
        assert run.predictions.boxes[0].tolist() == [5, 5, 10, 5]
        assert run.seconds_per_image > 0


def test_the_detectors_own_cap_of_an_image_can_be_lifted():
    """The cap is back afterwards; the score threshold stays."""
    detector = CappedDetector()
    counts = [
        len(
            predict(
                detector, loader(), categories=CATEGORIES, device=CPU, image_cap=cap
            ).predictions
        )
        for cap in (True, False, True)
    ]
    assert counts == [3, 6, 3]
