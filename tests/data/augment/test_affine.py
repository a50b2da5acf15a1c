import numpy as np
from helpers.shapes import GREY, assert_in_step, ellipse, painted

from dense_lt.data.augment.affine import STILL, RandomAffine


def test_what_stands_still_is_the_middle():
    sample = painted((80, 100), [ellipse((50, 40), (15, 10), 0.0)])
    cut = STILL(sample, (40, 50), np.random.default_rng(0), fill=0)
    assert (cut.image == sample.image[20:60, 25:75]).all()
    assert np.abs(cut.boxes - (sample.boxes - [25, 20, 25, 20])).max() < 1e-3


def test_every_amount_stays_within_its_bounds_and_reaches_them():
    affine = RandomAffine(degrees=10, translate=0.1, scale=(0.1, 2.0), shear=0.0)
    rng = np.random.default_rng(0)
    matrices = np.stack([affine.matrix((200, 300), (100, 150), rng) for _ in range(3000)])
    scale = np.sqrt(np.linalg.det(matrices[:, :, :2]))
    angle = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    centre = matrices @ np.array([150, 100, 1.0])
    for values, low, high in [
        (scale, 0.1, 2.0),
        (angle, -10, 10),
        (centre[:, 0], 60, 90),  # 75 -+ a tenth of 150
        (centre[:, 1], 40, 60),
    ]:
        assert low <= values.min() <= low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) <= values.max() <= high


def test_shear_leans_each_axis_by_its_own_angle():
    affine = RandomAffine(degrees=0, translate=0, scale=(1, 1), shear=2.0)
    rng = np.random.default_rng(0)
    matrices = np.stack([affine.matrix((10, 10), (10, 10), rng) for _ in range(2000)])
    leaning = np.degrees(np.arctan(matrices[:, [0, 1], [1, 0]]))
    assert (np.abs(leaning) <= 2).all()
    assert np.abs(leaning).max(axis=0).min() > 1.9
    assert np.abs(np.corrcoef(leaning.T)[0, 1]) < 0.1


def test_objects_follow_their_pixels():
    rings = [ellipse((60, 50), (25, 14), 0.5), ellipse((140, 110), (18, 30), -0.3)]
    sample = painted((160, 200), rings)
    for seed in range(30):
        affine = RandomAffine(degrees=30, scale=(0.5, 1.5))
        moved = affine(sample, (120, 150), np.random.default_rng(seed), fill=GREY)
        assert_in_step(moved, tolerance=1.5)
