import numpy as np
import pytest
from helpers.shapes import GREY, ellipse, painted, rectangle

from dense_lt.data.augment.mixup import Mixup

RED = rectangle(10, 10, 30, 30)


def test_both_images_are_seen_at_half_strength_and_both_objects_learnt():
    one, two = painted((60, 80), [RED]), painted((60, 80), [RED], first_label=1)
    mixed = Mixup(scale=(1.0, 1.0))(one, two, np.random.default_rng(0), fill=0)
    assert mixed.labels.tolist() == [0, 1]
    assert mixed.boxes.tolist() == [[10, 10, 30, 30]] * 2
    assert mixed.image[20, 20].tolist() == [130, 130, 10]  # red 250, 10, 10 and green 10, 250, 10
    assert mixed.image[40, 40].tolist() == [GREY] * 3
    assert len(mixed.masks) == 2


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_the_other_image_is_fitted_scaled_and_flipped(flip):
    """80 x 40 fits into 40 x 80 as 40 x 20; padded and doubled, its object is 4 to 36 of 160 wide.

    Flipped it is 124 to 156, of which at most 80 lie left of the part that is taken.
    """
    one, other = painted((40, 80), []), painted((80, 40), [rectangle(4, 16, 36, 48)])
    mixup = Mixup(scale=(2.0, 2.0), flip=flip)
    boxes = [
        box
        for seed in range(40)
        for box in mixup(one, other, np.random.default_rng(seed), fill=0).boxes.tolist()
    ]
    assert max(x2 - x1 for x1, _, x2, _ in boxes) == 32
    assert max(y2 - y1 for _, y1, _, y2 in boxes) == 32
    assert all(x1 >= 44 if flip else x2 <= 36 for x1, _, x2, _ in boxes)


def test_boxes_lie_where_the_other_image_shines_through():
    one = painted((60, 60), [])
    other = painted((90, 70), [ellipse((30, 40), (18, 25), 0.2)])
    seen = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mixed = Mixup(scale=(0.6, 1.8), flip=0.5)(one, other, rng, fill=GREY)
        for box in mixed.boxes:
            seen += 1
            x1, y1, x2, y2 = np.round(box).astype(int).tolist()
            changed = (mixed.image[..., 0] > GREY + 40)[:, :]
            rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
            found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert np.abs(np.subtract(found, [x1, y1, x2, y2])).max() <= 1
    assert seen > 20


def test_a_ghost_without_objects_is_not_mixed_in():
    one, two = painted((60, 80), [RED]), painted((60, 80), [])
    two = two._replace(image=np.zeros_like(two.image))
    assert Mixup()(one, two, np.random.default_rng(0), fill=0) is one


@pytest.mark.parametrize("side", [3, 30])
def test_objects_of_the_ghost_under_five_pixels_are_left_out(side):
    one = painted((60, 80), [])
    two = painted((60, 80), [rectangle(10, 10, 10 + side, 30)])
    mixed = Mixup(scale=(1.0, 1.0))(one, two, np.random.default_rng(0), fill=0)
    assert len(mixed.boxes) == (side > 5)
