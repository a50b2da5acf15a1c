import math
from collections import Counter

import numpy as np
import pytest
from helpers.annotation_files import coco_content, write_json
from helpers.tables import table_of
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.epochs.repeated import RepeatedImages, image_labels, repeat_factors
from dense_lt.data.lvis import read_annotations

LABELS = st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=12)


def _by_hand(labels, *, threshold: float, exponent: float, instance_aware: bool) -> list[float]:
    """The formulas of the papers, image by image, with dictionaries."""
    images = Counter(label for one in labels for label in set(one))
    instances = Counter(label for one in labels for label in one)
    factor = {}
    for label, count in images.items():
        frequency = count / len(labels)
        if instance_aware:
            frequency = math.sqrt(frequency * instances[label] / sum(instances.values()))
        factor[label] = max(1.0, (threshold / frequency) ** exponent)
    return [max((factor[label] for label in one), default=1.0) for one in labels]


def test_repeat_factors_are_those_of_the_formula(tmp_path):
    """Image fractions: class 7 is in 2 of 3, class 40 in 1 of 3, class -3 in none.

    Threshold 0.9, exponent 1/2: r(7) = sqrt(0.9 * 3 / 2) = 1.162, r(40) = sqrt(2.7) = 1.643.
    The first image has both, the second only class 7, the third is empty.
    """
    table, categories = read_annotations(write_json(tmp_path / "a.json", coco_content()))
    factors = repeat_factors(table, len(categories), threshold=0.9)
    assert factors == pytest.approx([2.7**0.5, 1.35**0.5, 1.0])


def test_instance_aware_factors_are_those_of_the_formula():
    """Both classes are in 1 of 4 images; of 5 instances one has 4, the other 1.

    f = sqrt(1/4 * 4/5) = 0.447 and sqrt(1/4 * 1/5) = 0.224; threshold 0.9 and exponent 1/2 give
    sqrt(0.9 / 0.447) = 1.419 and sqrt(0.9 / 0.224) = 2.006. Counting images: sqrt(3.6) for both.
    """
    table = table_of([[0, 0, 0, 0], [1], [], []])
    aware = repeat_factors(table, 2, threshold=0.9, instance_aware=True)
    assert aware == pytest.approx([1.419, 2.006, 1, 1], abs=1e-3)
    assert repeat_factors(table, 2, threshold=0.9) == pytest.approx([3.6**0.5, 3.6**0.5, 1, 1])


@given(LABELS, st.floats(1e-3, 1), st.floats(0.1, 1), st.booleans())
def test_repeat_factors_agree_with_dictionaries_for_any_images(
    labels, threshold, exponent, instance_aware
):
    options = {"threshold": threshold, "exponent": exponent, "instance_aware": instance_aware}
    factors = repeat_factors(table_of(labels), 6, **options)
    assert len(factors) == len(labels)
    assert factors == pytest.approx(_by_hand(labels, **options))


def test_a_threshold_below_every_fraction_repeats_nothing():
    assert repeat_factors(table_of([[0], [1], []]), 2, threshold=1e-3).tolist() == [1, 1, 1]


def test_crowds_do_not_count(tmp_path):
    content = coco_content()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    table, categories = read_annotations(write_json(tmp_path / "a.json", content))
    for aware in (False, True):
        factors = repeat_factors(table, len(categories), threshold=1.0, instance_aware=aware)
        assert factors.tolist() == [1, 1, 1]


def test_of_the_lvis_kind_rare_and_common_classes_are_repeated_and_frequent_ones_not():
    """Threshold 0.001 of 100,170 images is 100.17 images: 100 are repeated, 101 are not."""
    labels = [[] for _ in range(100_170)]
    for label, count in enumerate((1, 10, 100, 101, 5000)):
        for image in range(count):
            labels[image].append(label)
    factors = repeat_factors(table_of(labels), 5, threshold=1e-3)
    assert factors[[0, 9, 99]] == pytest.approx([100.17**0.5, 10.017**0.5, 1.0017**0.5])
    assert (factors[100:] == 1).all()


def test_pairs_of_image_and_class_are_listed_once():
    owners, labels = image_labels(table_of([[2, 0, 2], [], [1, 1]]))
    assert list(zip(owners.tolist(), labels.tolist(), strict=True)) == [(0, 0), (0, 2), (2, 1)]


@pytest.mark.parametrize(
    ("rounding", "counts"), [("ceil", [1, 3, 2]), ("floor", [1, 2, 1]), ("round", [1, 2, 1])]
)
def test_rounded_factors_give_the_same_counts_every_epoch(rounding, counts):
    images = RepeatedImages(np.array([1, 2.4, 1.2]), rounding=rounding, seed=3)
    assert images.expected().tolist() == counts
    for epoch in range(2):
        assert images.length(epoch) == sum(counts)
        assert np.bincount(images.indices(epoch), minlength=3).tolist() == counts


def test_stochastic_counts_are_right_on_average_and_differ_by_less_than_one():
    """Over 2000 epochs the mean count has a standard deviation of 0.5 / sqrt(2000) = 0.011."""
    factors = np.array([1.0, 2.5, 1.1, 3.0])
    images = RepeatedImages(factors, seed=3)
    counts = np.array([np.bincount(images.indices(e), minlength=4) for e in range(2000)])
    assert np.abs(counts.mean(axis=0) - factors).max() < 0.05
    assert (counts >= np.floor(factors)).all()
    assert (counts <= np.ceil(factors)).all()
    assert counts.sum(axis=1).tolist() == [images.length(epoch) for epoch in range(2000)]
    assert images.expected().tolist() == factors.tolist()


def test_without_images_an_epoch_is_empty():
    images = RepeatedImages(repeat_factors(table_of([]), 3, threshold=1.0), seed=0)
    assert images.length(0) == len(images.indices(0)) == 0
