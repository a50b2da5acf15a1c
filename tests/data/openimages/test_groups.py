import numpy as np

from dense_lt.data.openimages.groups import frequency_groups, rank_groups


def test_groups_are_fifths_by_rising_training_count():
    counts = np.array([50, 10, 40, 20, 30, 60, 70, 80, 90, 100])
    assert rank_groups(counts).tolist() == [2, 0, 1, 0, 1, 2, 3, 3, 4, 4]


def test_classes_without_instances_are_rare_and_fill_no_other_group():
    counts = (0, 50, 0, 10, 40, 0, 20, 30, 0, 0, 0, 0)
    groups = frequency_groups(counts)
    assert [groups[label] for label in (3, 6, 7, 4, 1)] == ["rare", *["common"] * 3, "frequent"]
    assert {group for group, count in zip(groups, counts, strict=True) if not count} == {"rare"}
    assert frequency_groups((0, 0)) == ("rare", "rare")


def test_of_few_classes_the_most_frequent_is_frequent():
    assert frequency_groups((0, 7, 0, 0, 0, 0)) == ("rare", "frequent", *["rare"] * 4)
    assert frequency_groups((0, 7, 9)) == ("rare", "rare", "frequent")
    assert frequency_groups((3, 1, 2)) == ("frequent", "rare", "common")
    assert frequency_groups((3, 1, 2, 4)) == ("common", "rare", "common", "frequent")


def test_the_outer_fifths_are_rare_and_frequent():
    assert frequency_groups((5, 1, 4, 2, 3)) == ("frequent", "rare", "common", "common", "common")
