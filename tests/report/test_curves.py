import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dense_lt.report import curves
from dense_lt.report.runs import Snapshot


def test_a_smoothed_point_is_the_weighted_mean_done_by_hand():
    # Weights at 0 of points at 0 and 2 with bandwidth 2: 1 and exp(-1/2) = 0.6065.
    value = curves.smooth(np.array([0.0, 2.0]), np.array([1.0, 3.0]), np.array([0.0]), 2.0)
    assert value[0] == pytest.approx((1 + 3 * 0.60653) / 1.60653, abs=1e-5)


@given(arrays.arrays(float, st.integers(1, 30), elements=st.floats(0, 1)), st.floats(0.01, 100))
def test_smoothing_stays_between_the_lowest_and_the_highest(values, bandwidth):
    x = np.arange(len(values), dtype=float)
    smoothed = curves.smooth(x, values, np.array([-1e6, *x, 1e6]), bandwidth)
    assert smoothed.min() >= values.min() - 1e-9
    assert smoothed.max() <= values.max() + 1e-9


def test_classes_are_ranked_from_most_to_fewest_training_images(make_run):
    run = make_run("a")
    images = [run.classes[label].train_images for label in curves.by_rank(run)]
    assert images == sorted(images, reverse=True)


def test_final_ratios_are_the_mean_over_runs_by_rank(make_run):
    runs = [make_run("a", seed=0), make_run("b", seed=1)]
    (ratios,) = curves.last_ratios(runs).values()
    label = curves.by_rank(runs[0])[3]
    expected = np.mean([run.snapshots[-1].ratio[label] for run in runs])
    assert ratios[3] == pytest.approx(expected)


def test_group_ratio_is_the_mean_over_the_classes_of_the_group(make_run):
    run = make_run("a")
    steps, ratios = curves.group_ratios(run, "head.loss.statistics")["rare"]
    labels = [i for i, c in enumerate(run.classes) if c.group == "rare"]
    assert steps.tolist() == [187, 374, 561, 748, 935]
    assert ratios[2] == pytest.approx(np.mean([run.snapshots[2].ratio[i] for i in labels]))


def test_snapshots_are_put_in_the_order_of_their_steps(make_run):
    run = make_run("a")
    object.__setattr__(run, "snapshots", (*run.snapshots[1:], Snapshot(1, "m", (0.0,) * 45)))
    assert curves.group_ratios(run, "m")["rare"][0].tolist() == [1]


def test_long_curves_are_averaged_in_pieces(make_run):
    run = make_run("a")
    lines = tuple({"step": step, "loss": float(step)} for step in range(1, 3001))
    object.__setattr__(run, "train_lines", lines)
    steps, values = curves.training_curve(run, "loss")
    assert len(steps) == curves.MOST_POINTS
    assert steps[0] == values[0] == 5.5  # steps 1 to 10


def test_undefined_values_leave_gaps_and_the_later_of_two_lines_counts(make_run):
    run = make_run("a")
    lines = ({"step": 2, "AP": 0.1}, {"step": 1, "AP": None}, {"step": 2, "AP": 0.3})
    object.__setattr__(run, "evaluation_lines", lines)
    steps, values = curves.evaluation_curve(run, "AP")
    assert steps.tolist() == [2]
    assert values.tolist() == [0.3]


def test_losses_are_listed_with_the_total_first(make_run):
    assert curves.loss_names([make_run("a")]) == ["loss", "loss/box", "loss/classification"]


def test_norms_of_groups_are_shares_of_the_mean_of_all_classes(make_run):
    """Norms 1 + log10(images) * step / 935: at the end a class of 900 images has nearly 4."""
    run = make_run("a", explained=True)
    images = np.log10([entry.train_images for entry in run.classes])
    rare = np.array([entry.group == "rare" for entry in run.classes])
    steps, values = curves.group_norms(run)["rare"]
    assert steps.tolist() == [187, 374, 561, 748, 935]
    expected = [(1 + images[rare] * s / 935).mean() / (1 + images * s / 935).mean() for s in steps]
    np.testing.assert_allclose(values, expected)
    assert curves.group_norms(make_run("old", prior=0.2)) == {}


def test_every_loss_of_a_cascade_has_curves_of_its_balance(make_run):
    run = make_run("a")
    lines = (
        {"step": 1, "stages.0/gamma/rare": 2.0, "stages.1/gamma/rare": 3.0, "gamma/common": 9},
    )
    object.__setattr__(run, "train_lines", lines)
    assert [values.tolist() for _, values in curves.balance_curves(run, "gamma", "rare")] == [
        *([2.0], [3.0])
    ]
    assert [values.tolist() for _, values in curves.balance_curves(run, "gamma", "common")] == [[9]]
