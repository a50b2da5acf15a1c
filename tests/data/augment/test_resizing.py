import numpy as np
from helpers.shapes import GREY, assert_in_step, ellipse, painted, rectangle
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.augment.resizing import LargeScaleJitter, LongSide
from dense_lt.data.transforms import Moment


def _moment(seed: int, step: int = 0) -> Moment:
    return Moment(np.random.default_rng(seed), (0, step))


def test_the_longer_side_is_fitted_whichever_it_is():
    resizer = LongSide((200,))
    flat = resizer(painted((50, 100), [rectangle(20, 10, 40, 30)]), _moment(0))
    assert flat.image.shape == (100, 200, 3)
    assert flat.boxes.tolist() == [[40, 20, 80, 60]]
    assert resizer(painted((100, 30), []), _moment(0)).image.shape == (200, 60, 3)


def test_all_samples_of_a_step_get_one_size():
    resizer, sample = LongSide(tuple(range(480, 801, 32))), painted((30, 40), [])
    sizes = [
        {resizer(sample, _moment(seed, step)).image.shape[1] for seed in range(4)}
        for step in range(60)
    ]
    assert all(len(own) == 1 for own in sizes)
    assert set().union(*sizes) == set(range(480, 801, 32))


def test_images_draw_their_own_size_when_asked_to():
    resizer, sample = LongSide((64, 96, 128), per_step=False), painted((30, 40), [])
    sizes = {resizer(sample, _moment(seed)).image.shape[1] for seed in range(30)}
    assert sizes == {64, 96, 128}


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(30, 120),
    width=st.integers(30, 120),
    size=st.sampled_from([(64, 64), (48, 96)]),
)
def test_jitter_keeps_objects_in_step_and_the_size_fixed(seed, height, width, size):
    rings = [ellipse((0.3 * width, 0.4 * height), (0.25 * width, 0.3 * height), 0.3)]
    jitter = LargeScaleJitter(size, (0.4, 2.0), fill=GREY)
    changed = jitter(painted((height, width), rings), _moment(seed))
    assert changed.image.shape == (*size, 3)
    assert_in_step(changed, tolerance=1.5, purity=0.6)


def test_the_factor_of_jitter_is_uniform_between_its_bounds():
    jitter = LargeScaleJitter((200, 200), (0.1, 1.0))
    sample = painted((100, 100), [rectangle(0, 0, 100, 100)])
    sides = [jitter(sample, _moment(seed)).boxes[0, 2] for seed in range(500)]
    assert 20 <= min(sides) < 24
    assert 196 < max(sides) <= 200
    assert 103 < np.mean(sides) < 117  # 110 is the middle; the mean varies by 2.3


def test_a_small_image_is_padded_and_a_large_one_cropped_anywhere():
    sample = painted((100, 100), [rectangle(0, 0, 100, 100)])
    small = LargeScaleJitter((50, 80), (0.5, 0.5), fill=3)(sample, _moment(0))
    assert small.boxes.tolist() == [[0, 0, 25, 25]]
    assert (small.image[25:] == 3).all()
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[..., 0] = np.arange(100)
    large = LargeScaleJitter((50, 50), (2.0, 2.0))
    lefts = {
        int(large(sample._replace(image=image), _moment(seed)).image[0, 0, 0]) for seed in range(60)
    }
    assert min(lefts) < 6
    assert max(lefts) > 44
