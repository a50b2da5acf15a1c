import colorsys

import numpy as np

from dense_lt.data.colors import jitter_hsv

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def _hsv(pixel) -> tuple[float, float, float]:
    return colorsys.rgb_to_hsv(*(np.asarray(pixel) / 255))


def _changed(color, gains, count=300) -> np.ndarray:
    """(count, 3) hue, saturation and value of a colour, each time with other factors."""
    image = np.full((1, 1, 3), color, dtype=np.uint8)
    rng = np.random.default_rng(0)
    return np.array([_hsv(jitter_hsv(image, gains, rng)[0, 0]) for _ in range(count)])


def test_without_gains_an_image_stays_as_it_is_but_for_rounding():
    same = jitter_hsv(NOISE, (0, 0, 0), np.random.default_rng(0))
    assert np.abs(same.astype(int) - NOISE).max() <= 6  # a byte of hue is two degrees


def test_each_gain_bounds_its_own_channel_and_leaves_the_others():
    """A colour of hue 0.5, saturation 0.5 and value 0.6."""
    color = np.round(255 * np.array(colorsys.hsv_to_rgb(0.5, 0.5, 0.6)))
    for channel, gains, low, high in [
        (0, (0.1, 0, 0), 0.45, 0.55),
        (1, (0, 0.4, 0), 0.3, 0.7),
        (2, (0, 0, 0.4), 0.36, 0.84),
    ]:
        seen = _changed(color, gains)
        margin = 0.04 * (high - low) + 0.006
        assert abs(seen[:, channel].min() - low) < margin
        assert abs(seen[:, channel].max() - high) < margin
        others = np.delete(seen, channel, axis=1)
        assert np.ptp(others, axis=0).max() < 0.02


def test_values_end_at_white_and_hues_go_round():
    assert _changed((250, 250, 250), (0, 0, 0.4))[:, 2].max() == 1
    purple = np.round(255 * np.array(colorsys.hsv_to_rgb(0.97, 1, 1)))
    hues = _changed(purple, (0.1, 0, 0))[:, 0]
    assert hues.min() < 0.06  # 1.06 is 0.06


def test_the_given_image_is_not_changed_and_a_generator_gives_the_same_again():
    before = NOISE.copy()
    one, two = (jitter_hsv(NOISE, (0.1, 0.7, 0.4), np.random.default_rng(3)) for _ in range(2))
    assert (before == NOISE).all()
    assert (one == two).all()
    assert (one != NOISE).any()
