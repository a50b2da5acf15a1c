"""Sums of gradient per class: what is counted, when, and over whom."""

import copy
import math

import pytest
import torch
from torch import nn

from dense_lt.balance.statistics import (
    GradientStatistics,
    commit_all,
    discard_all,
    named_statistics,
    tie_to_classes,
)
from dense_lt.utils.errors import DataError


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_ratio_is_infinite_where_nothing_was_seen():
    statistics = GradientStatistics(2)
    assert statistics.ratio().tolist() == [math.inf, math.inf]
    statistics.note(vector(0, 0), vector(1, 0))
    statistics.commit()
    assert statistics.ratio().tolist() == [0, math.inf]


def test_ratio_is_positive_over_negative():
    statistics = GradientStatistics(3)
    statistics.note(vector(1, 4, 0), vector(2, 1, 5))
    statistics.commit()
    torch.testing.assert_close(statistics.ratio(), torch.tensor([0.5, 4.0, 0.0]))


def test_common_negative_bounds_the_negative_sum_from_below():
    statistics = GradientStatistics(5, common_negative=0.5)
    assert statistics.ratio().tolist() == [math.inf] * 5
    statistics.note(vector(8, 1.5, 0.5, 0, 5), vector(1, 0.5, 0.5, 0, 6))
    statistics.commit()  # mean positive 3, so negatives count for 1.5 at least
    expected = torch.tensor([8 / 1.5, 1.5 / 1.5, 0.5 / 1.5, math.inf, 5 / 6])
    torch.testing.assert_close(statistics.ratio(), expected)


def test_common_negative_leaves_the_clamped_ratio_of_well_pulled_classes_alone():
    """Above b mean(P) the published ratio is either untouched or was above 1 and stays there."""
    generator = torch.Generator().manual_seed(0)
    positive = torch.rand(200, generator=generator, dtype=torch.float64) ** 8
    negative = positive * torch.empty_like(positive).uniform_(0.2, 2, generator=generator)
    published, bounded = GradientStatistics(200), GradientStatistics(200, common_negative=0.1)
    for statistics in (published, bounded):
        statistics.note(positive, negative)
        statistics.commit()
    well_pulled = positive >= 0.1 * positive.mean()
    assert 20 < well_pulled.sum() < 180
    before, after = published.ratio().clamp(max=1), bounded.ratio().clamp(max=1)
    assert torch.equal(after[well_pulled], before[well_pulled])
    assert (after[~well_pulled] < 1).all()
    assert (after <= before).all()


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_common_negative_does_not_depend_on_the_scale_of_the_loss(factor):
    ratios = []
    for scale in (1.0, factor):
        statistics = GradientStatistics(3, common_negative=0.05)
        statistics.note(vector(8, 1, 0.01) * scale, vector(1, 1, 0.0) * scale)
        statistics.commit()
        ratios.append(statistics.ratio())
    torch.testing.assert_close(ratios[0], ratios[1])


def test_ratio_stands_still_until_commit():
    statistics = GradientStatistics(1)
    statistics.note(vector(1), vector(2))
    assert statistics.ratio().item() == math.inf
    statistics.commit()
    assert statistics.ratio().item() == pytest.approx(0.5)


def test_notes_of_a_step_add_up_with_their_weights():
    statistics = GradientStatistics(1)
    statistics.note(vector(1), vector(2), weight=0.5)
    statistics.note(vector(3), vector(4), weight=torch.tensor(2.0))
    statistics.commit(weight=0.5)
    assert statistics.positive.item() == (0.5 + 6) / 2
    assert statistics.negative.item() == (1 + 8) / 2
    assert statistics.steps.item() == 1


def test_discarding_forgets_the_step_and_counts_it():
    statistics = GradientStatistics(1)
    statistics.note(vector(1), vector(2))
    statistics.discard()
    statistics.commit()
    assert statistics.positive.item() == 0
    assert (statistics.steps.item(), statistics.dropped.item()) == (1, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_dropped_and_counted(bad):
    statistics = GradientStatistics(2)
    statistics.note(vector(1, 1), vector(2, 2))
    statistics.commit()
    statistics.note(vector(1, bad), vector(2, 2))
    statistics.commit()
    assert statistics.positive.tolist() == [1, 1]
    assert statistics.negative.tolist() == [2, 2]
    assert (statistics.steps.item(), statistics.dropped.item()) == (1, 1)


def test_decay_forgets_and_a_prior_starts_at_one():
    statistics = GradientStatistics(1, decay=0.5, count_prior=4.0)
    assert statistics.ratio().item() == pytest.approx(1)
    statistics.note(vector(0), vector(2))
    statistics.commit()
    assert (statistics.positive.item(), statistics.negative.item()) == (2, 4)


def test_small_steps_are_not_lost_beside_a_large_sum():
    statistics = GradientStatistics(1)
    statistics.note(vector(1e8), vector(1e8))
    statistics.commit()
    for _ in range(1000):
        statistics.note(vector(1e-3), vector(1e-3))
        statistics.commit()
    expected = math.fsum([1e8, *[1e-3] * 1000])
    assert statistics.positive.item() == pytest.approx(expected, rel=1e-12)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = GradientStatistics(2)
        self.inner = nn.ModuleDict({"second": GradientStatistics(1)})


def test_trackers_are_found_by_name_and_committed_together():
    model = Model()
    assert list(named_statistics(model)) == ["first", "inner.second"]
    model.first.note(vector(1, 2), vector(3, 4))
    model.inner["second"].note(vector(math.nan), vector(6))
    commit_all(model, weight=2.0)
    assert model.first.positive.tolist() == [2, 4]
    assert model.first.negative.tolist() == [6, 8]
    assert model.inner["second"].dropped.item() == 1
    discard_all(model)
    assert model.first.dropped.item() == 1


def test_a_model_without_trackers_may_commit():
    commit_all(nn.Linear(1, 1))


def test_pending_sums_are_not_saved_and_sums_are():
    statistics = GradientStatistics(1)
    statistics.note(vector(1), vector(2))
    statistics.commit()
    statistics.note(vector(10), vector(10))
    stored = copy.deepcopy(statistics.state_dict())
    restored = GradientStatistics(1)
    restored.note(vector(5), vector(5))
    restored.load_state_dict(stored)
    restored.commit()
    assert (restored.positive.item(), restored.negative.item()) == (1, 2)
    assert restored.positive.dtype == torch.float64


def test_statistics_of_another_number_of_classes_are_refused():
    with pytest.raises(DataError, match="3 classes but this model has 2"):
        Model().load_state_dict(
            {"first.positive": torch.zeros(3), "first.negative": torch.zeros(3)}, strict=False
        )


def test_statistics_of_other_classes_are_refused():
    ours, theirs, silent = Model(), Model(), Model()
    tie_to_classes(ours, ["cat", "dog"])
    tie_to_classes(theirs, ["dog", "cat"])
    with pytest.raises(DataError, match="other classes, or another order"):
        ours.load_state_dict(theirs.state_dict())
    silent.load_state_dict(theirs.state_dict())
    tie_to_classes(silent, ["dog", "cat"])
    silent.load_state_dict(theirs.state_dict())


def test_the_dtype_survives_a_move():
    statistics = GradientStatistics(2).to("cpu")
    statistics.note(torch.ones(2), torch.ones(2))
    statistics.commit()
    assert statistics.negative.dtype == torch.float64


def test_the_ratio_of_a_class_that_is_not_noted_any_more_outlives_decay():
    statistics = GradientStatistics(2, decay=0.9)
    statistics.note(vector(1, 1), vector(2, 2))
    statistics.commit()
    for _ in range(2000):
        statistics.note(vector(0, 1), vector(0, 2))
        statistics.commit()
    torch.testing.assert_close(statistics.ratio(), torch.tensor([0.5, 0.5]))
