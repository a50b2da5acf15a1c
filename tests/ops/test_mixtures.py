import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.ops.mixtures import LEAST_VARIANCE, fit_two_components


def density(value, mean, variance):
    return math.exp(-((value - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def brute_force(values):
    """Expectation maximisation value by value: (weights, means, variances) of two components."""
    weights, means, variances = [0.5, 0.5], [min(values), max(values)], [1.0, 1.0]
    before = -math.inf
    for _ in range(100):
        shares, bound = [], 0.0
        for value in values:
            parts = [
                w * density(value, m, v) for w, m, v in zip(weights, means, variances, strict=True)
            ]
            shares.append([part / sum(parts) for part in parts])
            bound += math.log(sum(parts)) / len(values)
        for part in (0, 1):
            size = sum(share[part] for share in shares) + 10 * 2.220446049250313e-16
            mean = sum(s[part] * x for s, x in zip(shares, values, strict=True)) / size
            spread = sum(s[part] * (x - mean) ** 2 for s, x in zip(shares, values, strict=True))
            weights[part], means[part] = size / len(values), mean
            variances[part] = spread / size + LEAST_VARIANCE
        if abs(bound - before) < 1e-3:
            break
        before = bound
    return weights, means, variances


@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_many_fits_at_once_equal_one_by_one(seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(len(sizes), max(sizes), generator=generator, dtype=torch.float64) * 4
    mixture = fit_two_components(values, torch.tensor(sizes))
    for row, size in enumerate(sizes):
        expected = brute_force(values[row, :size].tolist())
        for found, wanted in zip(mixture, expected, strict=True):
            assert found[row].tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_two_clear_groups_are_found():
    """0.1 and 0.2 around a mean of 0.15, 3.0 and 3.2 around 3.1, half each."""
    values = torch.tensor([[0.1, 3.0, 0.2, 3.2]])
    mixture = fit_two_components(values, torch.tensor([4]))
    assert mixture.means[0].tolist() == pytest.approx([0.15, 3.1], abs=1e-3)
    assert mixture.weights[0].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    logs = mixture.log_densities(values.double())[0]
    assert (logs[:, 0] > logs[:, 1]).tolist() == [True, False, True, False]


def test_equal_values_stay_finite():
    mixture = fit_two_components(torch.ones(1, 5), torch.tensor([5]))
    assert all(parameter.isfinite().all() for parameter in mixture)
