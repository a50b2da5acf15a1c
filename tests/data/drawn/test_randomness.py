import numpy as np

from dense_lt.data.drawn.randomness import RandomStream


def test_the_first_numbers_are_the_recorded_ones():
    stream = RandomStream(0, 1, 2)
    assert stream.uniform(count=3).tolist() == [
        0.8817035384837327,
        0.28917661385918403,
        0.8710360723907997,
    ]
    assert [stream.integer(1000) for _ in range(3)] == [125, 176, 317]
    assert stream.normal(1.0, 2).tolist() == [-1.0152699550286624, -0.4007164664361468]
    assert stream.permutation(6) == [0, 5, 1, 3, 4, 2]


def test_another_key_gives_another_stream():
    assert RandomStream(0, 1).integer(10**9) != RandomStream(1, 0).integer(10**9)


def test_uniform_numbers_fill_their_range():
    """20,000 numbers in [2, 5): mean 3.5 with standard error 0.866 / 141 = 0.006."""
    numbers = RandomStream(5).uniform(2, 5, 20_000)
    assert numbers.min() >= 2
    assert numbers.max() < 5
    assert abs(numbers.mean() - 3.5) < 0.03


def test_normal_numbers_have_the_mean_and_the_spread_asked_for():
    """20,000 numbers: standard error of the mean 0.021, of the spread about 0.015."""
    numbers = RandomStream(5).normal(3.0, 20_000)
    assert abs(numbers.mean()) < 0.1
    assert abs(numbers.std() - 3.0) < 0.07
    assert np.abs(numbers).max() <= 3.0 * 12**0.5


def test_a_permutation_holds_every_number_once():
    assert sorted(RandomStream(1).permutation(50)) == list(range(50))
    assert RandomStream(1).permutation(0) == []
