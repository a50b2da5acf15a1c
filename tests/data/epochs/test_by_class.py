import numpy as np
import pytest
from helpers.tables import table_of
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.epochs.by_class import ClassAware, PowerOfCount, images_by_class

LABELS = [[0], [0, 1], [], [0, 0], [1, 3], [0]]
"""Class 0 in images 0, 1, 3, 5; class 1 in 1, 4; class 2 in none; class 3 in 4."""


def _lists(labels=LABELS, num_classes=4):
    return images_by_class(table_of(labels), num_classes)


def _class_aware(labels=LABELS, num_classes=4, seed=0) -> ClassAware:
    return ClassAware(_lists(labels, num_classes), len(labels), seed=seed)


def _power(exponent=0.5, labels=LABELS, num_classes=4, seed=0) -> PowerOfCount:
    return PowerOfCount(_lists(labels, num_classes), len(labels), exponent=exponent, seed=seed)


def _stream(epochs, count: int) -> list[int]:
    """The first `count` epochs, one after the other."""
    return [int(index) for epoch in range(count) for index in epochs.indices(epoch)]


def test_every_class_lists_its_images_once():
    lists = _lists()
    assert [lists[label].tolist() for label in range(4)] == [[0, 1, 3, 5], [1, 4], [], [4]]


def test_every_cycle_gives_one_image_of_every_class():
    """Three classes have images, so draws 3k, 3k + 1, 3k + 2 are one of each; epochs are 6."""
    lists = _lists()
    stream = _stream(_class_aware(), 40)
    for first in range(0, len(stream), 3):
        left = stream[first : first + 3]
        left.remove(4)  # of class 3
        assert any(one in lists[0] and other in lists[1] for one, other in (left, reversed(left)))


def test_a_class_gives_its_images_in_turn_and_shuffles_them_anew():
    """One class alone: its images come like the shuffled decks of a card game, across epochs."""
    epochs = _class_aware([[0]] * 5 + [[]] * 2, num_classes=1)  # an epoch is 7 draws, a deck 5
    stream = _stream(epochs, 30)
    decks = [tuple(stream[first : first + 5]) for first in range(0, 200, 5)]
    assert all(sorted(deck) == list(range(5)) for deck in decks)
    assert len(set(decks)) > 20


@given(st.integers(0, 200), st.integers(0, 5))
def test_an_epoch_does_not_need_the_ones_before(epoch, seed):
    for make in (_class_aware, _power):
        assert (make(seed=seed).indices(epoch) == make(seed=seed).indices(epoch)).all()
        assert len(make().indices(epoch)) == make().length(epoch) == len(LABELS)


@pytest.mark.parametrize("make", [_class_aware, _power])
def test_another_seed_gives_another_order(make):
    assert _stream(make(seed=0), 4) != _stream(make(seed=1), 4)


def test_classes_come_equally_often_in_the_long_run():
    """100 epochs of 6 draws are 200 cycles: class 3's only image 200 times, and 100 for class 1."""
    counts = np.bincount(_stream(_class_aware(), 100), minlength=6)
    assert counts[4] == 300
    assert counts.sum() == 600
    assert counts[[0, 3, 5]].tolist() == [50, 50, 50]
    assert counts[1] == 150
    assert _class_aware().expected() == pytest.approx(counts / 100)


def test_square_roots_of_counts_share_the_epoch():
    """Counts 4, 2, 1: roots 2, 1.414, 1 of 4.414, times 6 draws: 2.719, 1.922, 1.359."""
    expected = [2.719 / 4, 2.719 / 4 + 1.922 / 2, 0, 2.719 / 4, 1.922 / 2 + 1.359, 2.719 / 4]
    assert _power().expected() == pytest.approx(expected, abs=1e-3)
    counts = np.bincount(_stream(_power(), 3000), minlength=6) / 3000
    assert counts == pytest.approx(expected, abs=0.05)  # deviation of a mean: below 0.013


def test_a_power_of_one_is_the_data_as_they_are_and_of_none_every_class_alike():
    """Seven pairs of image and class; with power 1 each has 6/7 of a draw, with 0 a class has 2."""
    assert _power(1).expected() == pytest.approx(np.array([1, 2, 0, 1, 2, 1]) * 6 / 7)
    assert _power(0).expected() == pytest.approx([0.5, 1.5, 0, 0.5, 3, 0.5])


@given(
    st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=1, max_size=20).filter(any),
    st.integers(0, 9),
    st.floats(0, 1),
)
def test_an_epoch_is_as_long_as_the_data_set_and_never_holds_images_without_objects(
    labels, epoch, exponent
):
    for epochs in (_class_aware(labels, 7), _power(exponent, labels, 7)):
        indices = epochs.indices(epoch)
        assert len(indices) == epochs.length(epoch) == len(labels)
        assert all(labels[index] for index in indices.tolist())
        assert epochs.expected().sum() == pytest.approx(len(labels))
        assert (epochs.expected() == 0).tolist() == [not one for one in labels]


@given(st.integers(0, 300))
def test_within_an_epoch_the_images_of_a_class_differ_by_one_draw_at_most(epoch):
    epochs = _power(labels=[[0]] * 3 + [[1]] * 8, num_classes=2)
    counts = np.bincount(epochs.indices(epoch), minlength=11)
    assert np.ptp(counts[:3]) <= 1
    assert np.ptp(counts[3:]) <= 1
