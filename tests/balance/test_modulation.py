"""The policies at the ratios that decide: nothing seen, no positives, balanced, beyond."""

import math

import pytest
import torch

from dense_lt.balance.modulation import (
    ConstantFocal,
    EqualizationV2,
    EqualizedFocal,
    with_unmodulated_column,
)

RATIO = torch.tensor([math.inf, 0.0, 0.5, 1.0, 3.0])


def test_focal_ignores_the_ratio():
    gamma, positive, negative = ConstantFocal(alpha=0.25, gamma=2.0)(RATIO)
    assert gamma.tolist() == [2.0] * 5
    assert positive.tolist() == [0.25] * 5
    assert negative.tolist() == [0.75] * 5


def test_negative_alpha_weighs_nothing():
    gamma, positive, negative = ConstantFocal(alpha=-1, gamma=0.0)(RATIO)
    assert gamma.tolist() == [0.0] * 5
    assert positive.tolist() == negative.tolist() == [1.0] * 5


def test_equalized_focal_spans_gamma_to_gamma_plus_scale():
    """gamma_j = 2 + 8 (1 - r), weight = gamma_j / 2: r = 0 gives 10 and 5, r = 1 focal loss."""
    gamma, positive, negative = EqualizedFocal(alpha=0.25, gamma=2.0, scale=8.0)(RATIO)
    assert gamma.tolist() == [2.0, 10.0, 6.0, 2.0, 2.0]
    assert positive.tolist() == [0.25, 1.25, 0.75, 0.25, 0.25]
    assert negative.tolist() == [0.75, 3.75, 2.25, 0.75, 0.75]


def test_equalized_quality_focal_has_no_alpha():
    gamma, positive, negative = EqualizedFocal(alpha=-1, gamma=2.0, scale=4.0)(RATIO)
    assert gamma.tolist() == [2.0, 6.0, 4.0, 2.0, 2.0]
    assert positive.tolist() == negative.tolist() == [1.0, 3.0, 2.0, 1.0, 1.0]


def test_eql_v2_map_has_the_published_values():
    """Ratio 0: 6.8e-5 and 5; 0.5: 0.027 and 4.89; 1: 0.917 and 1.33; from 2 on: 1 and 1."""
    gamma, positive, negative = EqualizationV2(steepness=12.0, mu=0.8, alpha=4.0)(RATIO)
    assert gamma.tolist() == [0.0] * 5
    assert negative.tolist() == pytest.approx([1, 6.8e-5, 0.0266, 0.9168, 1], rel=1e-2)
    assert positive.tolist() == pytest.approx([1, 5, 4.893, 1.333, 1], rel=1e-3)


def test_the_objectness_column_is_plain():
    shape = with_unmodulated_column(EqualizationV2()(RATIO))
    assert [values[-1].item() for values in shape] == [0.0, 1.0, 1.0]
    assert all(len(values) == 6 for values in shape)
