"""What the log says of training."""

import logging
import re

import pytest
import torch

from dense_lt.balance.modulation import EqualizedFocal
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.engine.metrics import Recorder, ratio_by_group, training_line, warn_if_inactive
from dense_lt.engine.step import StepResult
from dense_lt.losses.classification import SigmoidLoss


class _Kept:
    """A writer that keeps what it is given."""

    def __init__(self):
        self.records = []
        self.closed = False

    def write(self, kind, step, values):
        self.records.append((kind, step, dict(values)))

    def close(self):
        self.closed = True


def _result(classification, box, norm, *, lr=0.1, images=4):
    losses = {"classification": torch.tensor(classification), "box": torch.tensor(box)}
    return StepResult(losses, torch.tensor(norm), lr, images)


@pytest.fixture
def recorder(tiny_detector, categories):
    kept = _Kept()
    recorder = Recorder(tiny_detector(), categories, writers=[kept], total_steps=100)
    recorder.kept = kept
    return recorder


def _take(recorder, *results):
    for result in results:
        with recorder.waiting_for_data():
            pass
        recorder.note(result)


def test_a_line_holds_means_since_the_line_before(recorder):
    _take(recorder, _result(1.0, 0.5, 8.0), _result(3.0, 1.5, 4.0, lr=0.2))
    recorder.log(2)
    _take(recorder, _result(7.0, 1.0, 1.0))
    recorder.log(3)
    (kind, step, first), (_, _, second) = recorder.kept.records
    assert (kind, step) == ("train", 2)
    assert (first["loss/classification"], first["loss/box"], first["loss"]) == (2.0, 1.0, 3.0)
    assert (first["gradient_norm"], first["lr"]) == (6.0, 0.2)
    assert (second["loss"], second["gradient_norm"]) == (8.0, 1.0)
    wanted = {"time", "images_per_second", "data_wait", "memory_mb", "eta", "total_steps"}
    assert wanted <= first.keys()
    assert first["memory_mb"] > 10


def test_losses_stay_where_they_are_until_a_line_is_due(recorder):
    """A tensor on the meta device cannot be read: noting it must not try to."""
    meta = torch.empty((), device="meta")
    _take(
        recorder, StepResult({"box": meta}, meta, 0.1, 4), StepResult({"box": meta}, meta, 0.1, 4)
    )


def test_the_line_shows_everything_and_the_time_left(recorder, caplog):
    caplog.set_level(logging.INFO)
    _take(recorder, _result(1.0, 0.5, 8.0))
    recorder.log(5)
    pattern = (
        r"step   5/100  loss 1\.5000  classification 1\.0000  box 0\.5000  lr 1\.00e-01  "
        r"gradient 8  \S+ images/s  data \d\.\d{3} s  \d+ MB  left \d+:\d\d:\d\d"
    )
    assert re.search(pattern, caplog.text)


def test_lines_of_all_steps_have_the_same_columns():
    values = dict.fromkeys(
        ("loss", "lr", "gradient_norm", "images_per_second", "data_wait", "memory_mb", "eta"), 1.0
    )
    first, last = (training_line(step, {**values, "total_steps": 1200}) for step in (1, 1200))
    assert first.index("loss") == last.index("loss")


def test_ratio_by_group_is_the_mean_of_clamped_ratios(categories):
    """Labels: frequent, common, rare. Unseen (inf) and above 1 count as 1."""
    ratio = torch.tensor([3.0, 0.25, torch.inf])
    assert ratio_by_group(ratio, categories) == {"rare": 1.0, "common": 0.25, "frequent": 1.0}


def test_a_group_without_classes_has_no_ratio(categories):
    fields = {field: tuple(values[:2]) for field, values in categories.to_json().items()}
    assert ratio_by_group(torch.tensor([0.5, 0.5]), type(categories)(**fields))["rare"] is None


def test_an_evaluation_is_recorded_with_the_gradient_ratio_of_each_group(recorder, caplog):
    caplog.set_level(logging.INFO)
    recorder._detector.statistics.positive.fill_(1.0)
    recorder._detector.statistics.negative.copy_(torch.tensor([1.0, 2.0, 4.0]))
    recorder.evaluated(50, {"AP": 0.125, "APr": None})
    ((kind, step, values),) = recorder.kept.records
    assert (kind, step) == ("evaluation", 50)
    assert values.pop("time") > 0
    assert values == {
        "AP": 0.125,
        "APr": None,
        "gradient_ratio/frequent": 1.0,
        "gradient_ratio/common": 0.5,
        "gradient_ratio/rare": 0.25,
    }
    assert "evaluation at step 50: AP 0.1250, APr n/a, gradient_ratio/rare 0.2500" in caplog.text


@pytest.mark.parametrize("ratio", [None, 0.2, 0.95])
def test_no_warning_while_equalized_focal_loss_has_something_to_do(ratio, caplog):
    warn_if_inactive("EFL", {"rare": ratio, "common": None, "frequent": None}, "pray")
    warn_if_inactive("EFL", {"rare": 0.2, "common": 0.99, "frequent": 1.0}, "pray")
    assert not caplog.text


def test_inactive_equalized_focal_loss_is_told_with_what_to_change(caplog):
    warn_if_inactive("EFL", {"rare": 0.97, "common": 0.5, "frequent": 1.0}, "pray")
    assert "EFL is inactive with this prior and learning rate" in caplog.text
    assert "mean gradient ratio of rare classes above 0.95 (it is 0.970)" in caplog.text
    assert "raise model.head.prior_probability (0.1 on small data), or pray, or" in caplog.text


def test_without_rare_classes_common_ones_count(caplog):
    warn_if_inactive("EQL v2", {"rare": None, "common": 0.98, "frequent": 1.0}, "pray")
    assert "EQL v2 is inactive" in caplog.text
    assert "of common classes above 0.95" in caplog.text


@pytest.mark.parametrize(
    ("loss", "step", "warned"), [("EFL", 11, True), ("EFL", 10, False), (None, 11, False)]
)
def test_the_warning_comes_after_a_tenth_of_the_run_and_only_for_equalized_losses(
    tiny_detector, categories, caplog, loss, step, warned
):
    detector = tiny_detector()
    recorder = Recorder(detector, categories, writers=[], total_steps=100, equalizing=loss)
    recorder.evaluated(step, {})  # nothing seen yet, so nothing to tell
    assert not caplog.text
    detector.statistics.positive.fill_(1.0)
    detector.statistics.negative.fill_(1.0)
    recorder.evaluated(step, {})
    assert ("EFL is inactive" in caplog.text) == warned


def test_the_warning_comes_with_a_line_of_training_and_once(tiny_detector, categories, caplog):
    detector = tiny_detector()
    for sums in (detector.statistics.positive, detector.statistics.negative):
        sums.fill_(1.0)
    recorder = Recorder(detector, categories, writers=[_Kept()], total_steps=100, equalizing="EFL")
    for step in (10, 11, 12):
        _take(recorder, _result(1.0, 0.5, 8.0))
        recorder.log(step)
        assert caplog.text.count("EFL is inactive") == int(step > 10)
    recorder.evaluated(13, {})
    assert caplog.text.count("EFL is inactive") == 1


def test_a_line_holds_what_the_loss_makes_of_each_group(recorder, categories, caplog):
    """Labels: frequent, common, rare. A ratio of 0.25 gives the exponent 2 + 8 * 0.75 = 8."""
    caplog.set_level(logging.INFO)
    detector = recorder._detector
    detector.loss = SigmoidLoss(EqualizedFocal(), detector.statistics)
    detector.statistics.positive.fill_(1.0)
    detector.statistics.negative.copy_(torch.tensor([1.0, 2.0, 4.0]))
    _take(recorder, _result(1.0, 0.5, 8.0))
    recorder.log(5)
    ((_, _, values),) = recorder.kept.records
    assert values["gradient_ratio/rare"] == pytest.approx(0.25)
    assert values["gamma/rare"] == pytest.approx(8)
    assert values["negative_weight/common"] == pytest.approx(0.75 * 6 / 2)
    assert values["positive_weight/frequent"] == pytest.approx(0.25)
    assert caplog.text.rstrip().endswith("ratio 0.25 0.50 1.00")


def test_closing_closes_every_writer(recorder):
    recorder.close()
    assert recorder.kept.closed


def test_a_line_holds_the_scores_of_some_of_its_steps(recorder):
    """Steps 1 and 11 of the line are looked at; labels: frequent, common, rare."""
    loss = SigmoidLoss(EqualizedFocal(), recorder._detector.statistics)
    recorder._detector.loss = loss
    watched = Recorder(
        recorder._detector, recorder._categories, writers=[recorder.kept], total_steps=100
    )
    for step in range(1, 13):
        with watched.waiting_for_data():
            pass
        logits = torch.zeros(2, 3)
        logits[:, 2] = {1: 0.0, 11: -40.0}.get(step, 40.0)
        loss(logits, torch.tensor([0, -1]), torch.tensor(1.0))
        watched.note(_result(1.0, 0.5, 8.0))
    watched.log(12)
    ((_, _, values),) = recorder.kept.records
    assert values["score/positive/frequent"] == 0.5
    assert values["score/positive/rare"] is None
    assert values["score/hardest_negative/rare"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("count_prior", "common_negative", "advice"),
    [
        (0, 0, "set model.loss.statistics.common_negative=0.1,"),
        (0, 0.2, "raise model.loss.statistics.common_negative (it is 0.2),"),
        (100, 0.2, "lower model.loss.statistics.count_prior (it is 100, beside"),
    ],
)
def test_the_advice_knows_the_statistics_of_the_run(
    tiny_detector, categories, caplog, count_prior, common_negative, advice
):
    detector = tiny_detector()
    detector.statistics = GradientStatistics(
        len(categories), count_prior=count_prior, common_negative=common_negative
    )
    for sums in (detector.statistics.positive, detector.statistics.negative):
        sums.add_(1.0)
    recorder = Recorder(detector, categories, writers=[], total_steps=10, equalizing="EFL")
    recorder.evaluated(5, {})
    assert advice in caplog.text


def test_a_cascade_is_told_by_the_mean_of_its_stages(tiny_detector, categories, caplog):
    detector = tiny_detector()
    detector.stages = torch.nn.ModuleList(GradientStatistics(len(categories)) for _ in range(2))
    trackers = [detector.statistics, *detector.stages]
    for own in trackers:
        own.positive.fill_(1.0)
        own.negative.fill_(1.0)
    recorder = Recorder(detector, categories, writers=[], total_steps=10, equalizing="EFL")
    trackers[0].negative.fill_(10.0)
    recorder.evaluated(5, {})
    assert not caplog.text
    trackers[0].negative.fill_(1.0)
    recorder.evaluated(6, {})
    assert "EFL is inactive" in caplog.text


def test_rare_classes_that_nobody_looked_for_yet_say_nothing(tiny_detector, categories, caplog):
    detector = tiny_detector()
    detector.statistics.positive.copy_(torch.tensor([1.0, 1.0, 0.0]))
    detector.statistics.negative.copy_(torch.tensor([1.0, 4.0, 0.0]))
    recorder = Recorder(detector, categories, writers=[], total_steps=10, equalizing="EFL")
    recorder.evaluated(5, {})
    assert not caplog.text
