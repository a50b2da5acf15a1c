"""The policies at the ratios that decide: nothing seen, no positives, balanced, beyond."""

import math

import pytest
import torch

from dense_lt.balance.modulation import (
    ClassWeightedFocal,
    Column,
    ConstantFocal,
    EqualizationV2,
    EqualizedFocal,
    with_column,
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


def test_eql_v2_focal_multiplies_both():
    """At ratio 0.8 negatives weigh 1/2 and positives 1 + 4/2 = 3, times 3/4 and 1/4 of focal."""
    policy = EqualizationV2(steepness=12.0, mu=0.8, alpha=4.0, focal_alpha=0.25, focal_gamma=2.0)
    gamma, positive, negative = policy(torch.tensor([0.8, math.inf]))
    assert gamma.tolist() == [2.0, 2.0]
    assert positive.tolist() == pytest.approx([0.25 * 3, 0.25])
    assert negative.tolist() == pytest.approx([0.75 / 2, 0.75])


@pytest.mark.parametrize("positives_only", [True, False])
def test_class_weights_multiply_focal(positives_only):
    policy = ClassWeightedFocal(
        torch.tensor([2.0, 0.5]), ConstantFocal(), positives_only=positives_only
    )
    gamma, positive, negative = policy(torch.tensor([0.0, math.inf]))
    assert gamma.tolist() == [2.0, 2.0]
    assert positive.tolist() == [0.5, 0.125]
    assert negative.tolist() == ([0.75, 0.75] if positives_only else [1.5, 0.375])
    assert not policy.state_dict()


def test_a_column_is_appended():
    assert Column() == (0.0, 1.0, 1.0)
    shape = with_column(EqualizationV2()(RATIO), Column(2.0, 0.75, 0.25))
    assert [values[-1].item() for values in shape] == [2.0, 0.75, 0.25]
    assert all(len(values) == 6 for values in shape)
