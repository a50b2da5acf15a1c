import numpy as np

from dense_lt.data.openimages.groups import frequency_groups, rank_groups


def test_groups_are_fifths_by_rising_training_count():
    counts = np.array([50, 10, 40, 20, 30, 60, 70, 80, 90, 100])
    assert rank_groups(counts).tolist() == [2, 0, 1, 0, 1, 2, 3, 3, 4, 4]


def test_the_outer_fifths_are_rare_and_frequent():
    assert frequency_groups((5, 1, 4, 2, 3)) == ("frequent", "rare", "common", "common", "common")
