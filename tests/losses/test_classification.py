"""The losses as training meets them: built from settings, weighted, normalised, watched."""

import math

import pytest
import torch
from helpers.dense_loss import Replayed, by_autograd, draw_problem
from pydantic import TypeAdapter
from torch.nn import functional

from dense_lt.balance.counts import ClassCounts
from dense_lt.balance.modulation import EqualizationV2
from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.losses.build import build_classification_loss
from dense_lt.ops.matching import BACKGROUND, IGNORE

KINDS = [
    "focal",
    "equalized_focal",
    "quality_focal",
    "equalized_quality_focal",
    "eql_v2",
    "eql_v2_focal",
    "class_weighted_focal",
    "bce",
]


def build(kind, num_classes=7, **settings):
    section = TypeAdapter(ClassificationLossConfig).validate_python({"kind": kind, **settings})
    images = tuple(range(1, num_classes + 1))
    counts = ClassCounts(images, instances=tuple(100 // n for n in images))
    return build_classification_loss(section, num_classes, counts)


def draw(loss, seed=0, rows=60):
    problem = draw_problem(rows, loss.num_logits, seed=seed)
    labels = problem.labels.where(problem.labels < loss.num_classes, BACKGROUND)
    return problem._replace(labels=labels)


def call(loss, problem, normalizer=1.0):
    logits = problem.logits.clone().requires_grad_()
    value = loss(logits, problem.labels, torch.tensor(normalizer), quality=problem.quality)
    value.backward()
    return value.detach(), logits.grad


def targets_of(loss, problem):
    """Labels as the formula sees them: background is the class of the objectness logit."""
    if loss.num_logits == loss.num_classes:
        return problem
    labels = problem.labels
    return problem._replace(labels=torch.where(labels == BACKGROUND, loss.num_classes, labels))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_equals_its_formula_and_notes_its_gradient(kind):
    loss = build(kind, weight=2.0)
    for step in range(3):
        problem = draw(loss, seed=step)
        shaped = problem._replace(modulation=loss.modulation().to(torch.float64))
        expected = by_autograd(
            targets_of(loss, shaped), with_quality=loss.needs_quality, scale=2.0 / 4.0
        )
        value, gradient = call(loss, problem, normalizer=4.0)
        torch.testing.assert_close(value, expected.loss, rtol=1e-9, atol=0)
        torch.testing.assert_close(gradient, expected.gradient, rtol=1e-8, atol=1e-12)
        weight = 1.0 if kind in {"eql_v2", "eql_v2_focal"} else 2.0 / 4.0
        noted = loss.statistics.pending() / weight
        torch.testing.assert_close(noted[0], expected.positive[:7], rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(noted[1], expected.negative[:7], rtol=1e-6, atol=1e-12)
        loss.statistics.commit()


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    loss = build(kind, 4)
    loss.statistics.note(torch.tensor([0.0, 1.0, 4.0, 9.0]), torch.tensor([1.0, 4.0, 5.0, 9.0]))
    loss.statistics.commit()
    problem = draw(loss, rows=12)

    def loss_and_gradient(logits):
        return call(loss, problem._replace(logits=logits.detach()), normalizer=2.0)

    logits = problem.logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(Replayed.apply, (logits, loss_and_gradient))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_is_the_plain_loss(kind):
    """Nothing was seen yet: EFL is focal loss, EQFL quality focal loss, EQL v2 cross-entropy."""
    plain = {
        "equalized_focal": build("focal"),
        "equalized_quality_focal": build("quality_focal"),
        "eql_v2": build("bce", 8),
        "eql_v2_focal": build("focal"),
    }.get(kind, build(kind))
    loss = build(kind)
    problem = draw(loss)
    value, _ = call(loss, problem)
    expected, _ = call(plain, targets_of(loss, problem))
    torch.testing.assert_close(value, expected)


def test_the_initial_ratio_lasts_one_step():
    loss = build("equalized_focal", 3)
    assert loss.modulation().gamma.tolist() == [2, 2, 2]
    logits = torch.zeros(4, 3, requires_grad=True)
    loss(logits, torch.tensor([0, BACKGROUND, BACKGROUND, BACKGROUND]), torch.tensor(1.0))
    assert loss.modulation().gamma.tolist() == [2, 2, 2]
    loss.statistics.commit()
    gamma = loss.modulation().gamma
    assert gamma[0] < 10
    assert gamma[1:].tolist() == [10, 10]


def test_nothing_is_noted_without_gradient():
    loss = build("equalized_focal")
    problem = draw(loss)
    with torch.no_grad():
        loss(problem.logits.requires_grad_(), problem.labels, torch.tensor(1.0))
    loss(problem.logits.detach(), problem.labels, torch.tensor(1.0))
    assert loss.statistics.pending().abs().sum() == 0


def test_the_head_may_be_checkpointed_and_notes_once():
    loss = build("equalized_focal")
    problem = draw(loss)
    call(loss, problem)
    once = loss.statistics.pending()
    loss.statistics.discard()
    leaf = problem.logits.clone().requires_grad_()
    logits = torch.utils.checkpoint.checkpoint(lambda x: x * 1, leaf, use_reentrant=False)
    loss(logits, problem.labels, torch.tensor(1.0)).backward()
    torch.testing.assert_close(loss.statistics.pending(), once)


def test_a_masked_class_is_no_negative_in_that_image():
    loss = build("equalized_focal", 4)
    problem = draw(loss, rows=12)
    mask = torch.tensor([[True, False, True, True], [False, True, True, False]])
    logits = problem.logits.clone().requires_grad_()
    loss(logits, problem.labels, torch.tensor(1.0), checked=mask).backward()
    image = torch.arange(12) // 6
    hot = functional.one_hot(problem.labels.clamp(min=0), 4).bool() & (problem.labels >= 0)[:, None]
    silent = ~mask[image] & ~hot
    assert (logits.grad[silent] == 0).all()
    counted = mask[image] & (problem.labels != IGNORE)[:, None]
    assert (logits.grad[counted] != 0).all()


def test_masks_leave_objectness_alone():
    loss = build("eql_v2", 4)
    problem = draw(loss, rows=12)
    logits = problem.logits.clone().requires_grad_()
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    loss(logits, problem.labels, torch.tensor(1.0), checked=nothing).backward()
    assert (logits.grad[problem.labels != IGNORE][:, 4] != 0).all()
    assert (logits.grad[problem.labels == BACKGROUND][:, :4] == 0).all()


def test_scores_are_probabilities_in_float32():
    logits = torch.randn(2, 5, 8).bfloat16()
    plain = build("focal", 8).scores(logits)
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain, logits.float().sigmoid())
    with_objectness = build("eql_v2", 7).scores(logits)
    p = logits.float().sigmoid()
    torch.testing.assert_close(with_objectness, p[..., :7] * (1 - p[..., 7:]))


def test_the_initial_bias_scores_every_class_with_the_prior():
    plain = build("focal", 3).initial_bias(0.01)
    torch.testing.assert_close(plain.sigmoid(), torch.full((3,), 0.01))
    with_objectness = build("eql_v2", 3).initial_bias(0.01)
    torch.testing.assert_close(with_objectness.sigmoid(), torch.tensor([0.01, 0.01, 0.01, 0.99]))


def test_quality_losses_ask_for_quality():
    loss = build("quality_focal", 3)
    with pytest.raises(ValueError, match="needs `quality`"):
        loss(torch.zeros(2, 3), torch.tensor([0, BACKGROUND]), torch.tensor(1.0))


def test_settings_reach_the_loss():
    loss = build("eql_v2", 5, steepness=10, mu=0.9, alpha=2, objectness=False)
    assert loss.modulator == EqualizationV2(10, 0.9, 2)
    assert loss.num_logits == 5
    tracker = build("focal", 5, statistics={"decay": 0.9, "count_prior": 3}).statistics
    assert (tracker.decay, tracker.positive[0].item()) == (0.9, 3)


def test_objectness_on_a_dense_head_is_focal_loss_of_objects():
    """One more logit z says "background": focal loss of -z against "this is an object"."""
    loss = build("eql_v2_focal", 4, objectness=True)
    problem = draw(loss)
    _, gradient = call(loss, problem)
    objects = build("focal", 1)
    logits = -problem.logits[:, 4:].clone()
    found = torch.where(problem.labels >= 0, 0, problem.labels)
    _, expected = call(objects, problem._replace(logits=logits, labels=found))
    torch.testing.assert_close(gradient[:, 4:], -expected)


def test_counts_decide_the_weights():
    """Images 1, 2, 3, 4; weights 1/n have the mean 25/48."""
    inverse = build("class_weighted_focal", 4, scheme="inverse").modulation()
    expected = torch.tensor([0.25 * 48 / 25 / n for n in (1, 2, 3, 4)])
    torch.testing.assert_close(inverse.positive_weight, expected)
    instances = build("class_weighted_focal", 4, scheme="inverse", count="instances").modulation()
    assert instances.positive_weight[0] < instances.positive_weight[3]


def test_a_loss_that_needs_counts_says_so():
    section = TypeAdapter(ClassificationLossConfig).validate_python(
        {"kind": "class_weighted_focal"}
    )
    with pytest.raises(ValueError, match="class_weighted_focal` looks at how often"):
        build_classification_loss(section, 3)


def test_the_summary_averages_over_groups():
    loss = build("equalized_focal", 3)
    loss.statistics.note(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 0.5]))
    loss.statistics.commit()
    summary = loss.summary({"rare": [0, 1], "common": [], "frequent": [2]})
    assert summary["ratio/rare"] == pytest.approx(0.5)
    assert summary["gamma/rare"] == pytest.approx(6)
    assert summary["gamma/frequent"] == pytest.approx(2)
    assert summary["negative_weight/frequent"] == pytest.approx(0.75)
    assert not any(name.endswith("common") for name in summary)


def test_statistics_are_saved_with_the_loss():
    loss, other = build("equalized_focal"), build("equalized_focal")
    call(loss, draw(loss))
    loss.statistics.commit()
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.modulation().gamma, loss.modulation().gamma)
    assert not math.isinf(other.statistics.ratio()[0])
