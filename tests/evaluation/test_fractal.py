import numpy as np
import pytest

from dense_lt.evaluation.fractal import fractal_dimensions

RNG = np.random.default_rng(0)


def _dimension(centers):
    return fractal_dimensions(np.zeros(len(centers), np.int64), centers, 1)[0]


def test_objects_in_every_cell_have_dimension_two():
    """A centre in each cell of the 64 x 64 grid fills n^2 cells of every n x n grid: slope 2."""
    ticks = (np.arange(64) + 0.5) / 64
    everywhere = np.stack(np.meshgrid(ticks, ticks), axis=2).reshape(-1, 2)
    assert _dimension(everywhere) == pytest.approx(2)


def test_objects_along_a_line_have_dimension_one():
    """4096 centres at one height fill n cells of an n x n grid: slope 1."""
    line = np.stack([(np.arange(4096) + 0.5) / 4096, np.full(4096, 0.3)], axis=1)
    assert _dimension(line) == pytest.approx(1)


def test_four_objects_are_looked_at_on_two_grids():
    """Grids of at most four cells: 1 cell, then 3 of 4, so the slope is log 3 / log 2."""
    centers = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.8, 0.8]])
    assert _dimension(centers) == pytest.approx(np.log(3) / np.log(2))


def test_few_objects_and_objects_in_one_place_have_dimension_one():
    labels = np.repeat([0, 1, 3], [3, 500, 200])
    centers = RNG.random((703, 2))
    centers[3:503] = 0.5
    dimensions = fractal_dimensions(labels, centers, 5)
    assert dimensions[:3].tolist() == [1, 1, 1]  # three objects; one place; none at all
    assert 1.7 < dimensions[3] < 2


def test_objects_at_the_border_belong_to_the_last_cell():
    assert _dimension(np.ones((10, 2))) == 1
