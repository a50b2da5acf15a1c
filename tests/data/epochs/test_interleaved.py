from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.epochs.interleaved import Interleaved
from dense_lt.data.epochs.repeated import RepeatedImages
from dense_lt.data.sampling import EpochOrder


def _interleaved(weights=(3, 1), sizes=(6, 10), seed=0) -> Interleaved:
    parts = [RepeatedImages(np.ones(size), seed=number) for number, size in enumerate(sizes)]
    return Interleaved(parts, sizes, weights, seed=seed)


def _stream(epochs: Interleaved, count: int) -> np.ndarray:
    return np.concatenate([epochs.indices(epoch) for epoch in range(count)])


def test_every_data_set_has_its_share():
    """16 draws an epoch, 3 : 1, so 12 of the first six images and 4 of the other ten."""
    for epoch in range(5):
        indices = _interleaved().indices(epoch)
        assert (indices < 6).sum() == 12
        assert (indices >= 6).sum() == 4


def test_each_goes_through_its_own_epochs_as_if_alone():
    """Of 10 epochs the first has 120 draws, 20 times each image; the second 40, 4 times each."""
    stream = _stream(_interleaved(), 10)
    assert np.bincount(stream).tolist() == [20] * 6 + [4] * 10
    alone = RepeatedImages(np.ones(10), seed=1)
    own = stream[stream >= 6] - 6
    assert own.tolist() == np.concatenate([alone.indices(epoch) for epoch in range(4)]).tolist()


def test_shares_that_are_no_whole_numbers_even_out():
    """5 draws an epoch, shares 1/3 and 2/3: after 300 epochs 500 and 1000."""
    stream = _stream(_interleaved(weights=(1, 2), sizes=(2, 3)), 300)
    assert abs((stream < 2).sum() - 500) <= 1
    assert abs((stream >= 2).sum() - 1000) <= 1


def test_data_sets_alternate_at_random():
    first = _interleaved().indices(0) < 6
    assert first.tolist() != sorted(first.tolist())
    assert first.tolist() != (_interleaved(seed=1).indices(0) < 6).tolist()


def test_what_is_expected_is_what_comes():
    epochs = _interleaved(weights=(1, 1), sizes=(2, 6))
    assert epochs.expected() == pytest.approx([2, 2] + [2 / 3] * 6)
    assert np.bincount(_stream(epochs, 30)) / 30 == pytest.approx(epochs.expected(), abs=0.05)


@given(st.integers(0, 200), st.lists(st.floats(0.1, 9), min_size=2, max_size=4))
def test_the_stream_goes_on_from_any_position(start, weights):
    order = EpochOrder(_interleaved(weights, sizes=range(1, len(weights) + 1)), seed=0)
    assert list(islice(order.draws(start), 20)) == list(islice(order.draws(), start, start + 20))
