"""Weights from counts, worked by hand."""

import pytest
import torch

from dense_lt.balance.counts import class_weights


def test_square_roots_have_mean_one():
    """1, 1/2, 1/3 have the mean 11/18."""
    weights = class_weights([1, 4, 9], "square_root")
    assert weights.tolist() == pytest.approx([18 / 11, 9 / 11, 6 / 11])


def test_inverse_counts_treat_an_unseen_class_as_seen_once():
    assert class_weights([0, 1, 2], "inverse").tolist() == pytest.approx([1.2, 1.2, 0.6])


def test_effective_numbers_follow_their_formula():
    counts, beta = [1, 10, 1000], 0.99
    raw = torch.tensor([(1 - beta) / (1 - beta**n) for n in counts])
    expected = raw / raw.mean()
    torch.testing.assert_close(class_weights(counts, "effective_number", beta=beta), expected)


def test_effective_numbers_reach_from_equal_weights_to_inverse_ones():
    counts = [1, 7, 50]
    nearly_equal = class_weights(counts, "effective_number", beta=1e-6)
    torch.testing.assert_close(nearly_equal, torch.ones(3), rtol=0, atol=1e-5)
    nearly_inverse = class_weights(counts, "effective_number", beta=1 - 1e-9)
    torch.testing.assert_close(nearly_inverse, class_weights(counts, "inverse"))
