import numpy as np

from dense_lt.data.albumentation import Pipeline

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
BOXES = np.array([[0, 0, 10, 10], [5, 5, 35, 25]], dtype=np.float32)


def test_the_numbers_of_the_boxes_that_are_left_come_back():
    pipeline = Pipeline([("Crop", {"x_min": 12, "y_min": 0, "x_max": 40, "y_max": 30, "p": 1.0})])
    image, boxes, kept, masks = pipeline(IMAGE, BOXES, None, seed=0)
    assert image.shape == (30, 28, 3)
    assert kept.tolist() == [1]
    assert np.abs(boxes - [[0, 5, 23, 25]]).max() < 1e-4
    assert masks is None


def test_a_seed_gives_the_same_again_whatever_came_between():
    pipeline = Pipeline([("ColorJitter", {"p": 1.0}), ("GaussNoise", {"p": 1.0})])
    first = pipeline(IMAGE, BOXES, None, seed=3)[0]
    other = pipeline(IMAGE, BOXES, None, seed=4)[0]
    assert (first != other).any()
    assert (pipeline(IMAGE, BOXES, None, seed=3)[0] == first).all()


def test_the_given_image_is_not_changed():
    before = IMAGE.copy()
    Pipeline([("CoarseDropout", {"p": 1.0}), ("InvertImg", {"p": 1.0})])(IMAGE, BOXES, None, seed=0)
    assert (before == IMAGE).all()
