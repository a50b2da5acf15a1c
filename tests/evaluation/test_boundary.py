import numpy as np
import pytest
from helpers.evaluation_oracle import columns

from dense_lt.evaluation.boundary import boundary
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.utils.errors import DataError


def _square(size, low, high):
    mask = np.zeros((size, size), np.uint8)
    mask[low:high, low:high] = 1
    return mask


def test_the_band_is_two_per_cent_of_the_diagonal_wide():
    """100 x 100: diagonal 141.4, band round(2.83) = 3. A square of 20 keeps a core of 14."""
    band = boundary(_square(100, 40, 60))
    assert band.sum() == 20 * 20 - 14 * 14
    assert band[40, 40] == band[42, 50] == 1
    assert band[43, 50] == 0


def test_the_border_of_the_image_is_an_outline():
    band = boundary(np.ones((100, 100), np.uint8))
    assert band.sum() == 100 * 100 - 94 * 94


def test_a_thin_mask_is_all_band():
    mask = np.zeros((100, 100), np.uint8)
    mask[10:14, 10:90] = 1
    np.testing.assert_array_equal(boundary(mask), mask)


def _document(found_box):
    def polygon(x, y, width, height):
        return [[x, y, x, y + height, x + width, y + height, x + width, y]]

    document = {
        "images": [{"id": 1, "height": 100, "width": 100, "neg_category_ids": []}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [20, 20, 60, 60],
                "area": 3600,
                "segmentation": polygon(20, 20, 60, 60),
            }
        ],
        "categories": [{"id": 1, "name": "cup", "frequency": "r"}],
    }
    record = {"image_id": 1, "category_id": 1, "score": 1.0, "segmentation": polygon(*found_box)}
    return document, [record]


def test_a_large_object_with_a_wrong_outline_matches_as_a_mask_only():
    """Found 6 pixels to the right: masks share 54 x 60 of 66 x 60, IoU 0.82: seven thresholds.

    Bands are 3 wide: 60^2 - 54^2 = 684 pixels each. They share the rows of the upper and lower
    bands, 2 x 3 x 54 = 324; the upright bands are apart. IoU 324 / (2 x 684 - 324) = 0.31: none.
    """
    truth, found = columns(*_document((26, 20, 60, 60)), "segm")
    masks = score(truth, found, ScoreSettings(iou_type="segm"))
    outlines = score(truth, found, ScoreSettings(iou_type="boundary"))
    assert masks.metrics["AP"] == pytest.approx(0.7)
    assert outlines.metrics["AP"] == 0
    assert "bands along outlines" in outlines.rules["iou"]


def test_the_same_mask_has_the_same_outline():
    truth, found = columns(*_document((20, 20, 60, 60)), "segm")
    assert score(truth, found, ScoreSettings(iou_type="boundary")).metrics["AP"] == pytest.approx(1)


def test_the_official_packages_do_not_know_outlines():
    from dense_lt.evaluation.official import official_curves

    document, records = _document((20, 20, 60, 60))
    with pytest.raises(DataError, match="does not know --iou-type boundary"):
        official_curves(document, records, ScoreSettings(iou_type="boundary"), "lvis")
