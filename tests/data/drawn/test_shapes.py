import numpy as np
import pytest

from dense_lt.data.drawn.render import diameter_table
from dense_lt.data.drawn.shapes import (
    NUM_DIRECTIONS,
    REACH,
    SAMPLES,
    SHAPES,
    TEXTURES,
    direction,
    shape_coverage,
    texture_shade,
)


def _rounded_alike(exact: np.ndarray) -> bool:
    """Whether no number is so near to a half that another machine's last digit would matter."""
    return bool((np.abs(exact - np.floor(exact) - 0.5) > 1e-6).all())


def test_no_machine_rounds_a_direction_otherwise():
    angles = 2 * np.pi * np.arange(NUM_DIRECTIONS) / NUM_DIRECTIONS
    assert _rounded_alike(65536 * np.cos(angles))
    assert _rounded_alike(65536 * np.sin(angles))


def test_no_machine_rounds_a_diameter_otherwise():
    exact = 16 * (36 / 16) ** (np.arange(256) / 255)
    assert _rounded_alike(64 * exact[1:-1])
    assert diameter_table(16, 36)[0] == 16
    assert diameter_table(16, 36)[-1] == 36


def test_directions_are_unit_vectors_all_around():
    vectors = np.array([direction(number) for number in range(NUM_DIRECTIONS)])
    assert np.abs(np.hypot(*vectors.T) - 1).max() < 1e-4
    assert direction(0) == (1, 0)
    assert direction(NUM_DIRECTIONS // 4) == (0, 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_its_own_mirror_image(shape):
    """So a flip or a transposition gives the same class, only turned."""
    x, y = np.meshgrid(*[np.linspace(-1.2, 1.2, 241, dtype=np.float32)] * 2)
    inside = SHAPES[shape](x, y)
    flipped = [inside[:, ::-1], inside[::-1]]
    assert any((inside != other).mean() < 0.005 for other in flipped)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_lies_within_its_reach_and_fills_a_good_part_of_it(shape):
    x, y = np.meshgrid(*[np.linspace(-1.5, 1.5, 301, dtype=np.float32)] * 2)
    inside = SHAPES[shape](x, y)
    assert (np.hypot(x, y)[inside] <= REACH).all()
    assert inside.mean() * 9 > 0.9  # of the square of 3 x 3 radii


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [0, 77, 360, 500])
def test_coverage_is_cut_to_what_is_covered(shape, number):
    coverage = shape_coverage(shape, 20.0, direction(number))
    covered = coverage > 0.5
    assert covered.any(axis=0)[[0, -1]].all()
    assert covered.any(axis=1)[[0, -1]].all()
    assert (coverage * SAMPLES**2 == np.round(coverage * SAMPLES**2)).all()
    assert max(coverage.shape) <= REACH * 20 + 2


def test_a_disc_covers_its_area():
    covered = shape_coverage("circle", 30.0, (1.0, 0.0)) > 0.5
    assert covered.sum() == pytest.approx(np.pi * 15**2, rel=0.01)


@pytest.mark.parametrize(("texture", "share"), [("solid", 0), ("stripes", 0.5), ("dots", 0.6)])
def test_a_texture_darkens_its_share(texture, share):
    shade = texture_shade(texture, (140, 140), direction(40), 0.2)
    assert shade.shape == (140, 140)
    assert shade.mean() == pytest.approx(share, abs=0.05)
    assert shade.min() >= 0
    assert shade.max() <= 1


def test_textures_differ_from_each_other():
    shades = [texture_shade(texture, (20, 20), (1.0, 0.0), 0.0) for texture in TEXTURES]
    assert all((shades[i] != shades[j]).mean() > 0.2 for i in range(3) for j in range(i))
