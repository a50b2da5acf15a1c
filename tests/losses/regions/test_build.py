"""Every loss on regions equals its formula by autograd, in value, gradient and what it notes."""

import itertools
import math

import pytest
import torch
from pydantic import TypeAdapter
from torch.nn import functional

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.region_losses import RegionLossConfig
from dense_lt.losses.regions.build import build_region_loss
from dense_lt.losses.regions.sigmoid import images_of_regions
from dense_lt.ops.matching import BACKGROUND

C, N = 6, 40
COUNTS = ClassCounts(images=(2, 5, 20, 90, 300, 800), instances=(3, 9, 40, 200, 900, 5000))
NORMALIZER = torch.tensor(32.0, dtype=torch.float64)


def build(kind, **settings):
    section = TypeAdapter(RegionLossConfig).validate_python({"kind": kind, **settings})
    return build_region_loss(section, C, COUNTS)


def draw(num_logits, seed=0, rows=N):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, num_logits, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, C, (rows,), generator=generator)
    labels[: rows // 3] = BACKGROUND
    return logits.requires_grad_(), labels


def one_hot(labels, columns):
    """Targets (N, columns); background is the last column, or no column at all."""
    index = torch.where(labels == BACKGROUND, C, labels)
    return functional.one_hot(index, max(columns, C + 1)).double()[:, :columns]


def bce(logits, targets):
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def softmax_loss(logits, labels, *, weight=None, offset=None):
    targets = torch.where(labels == BACKGROUND, C, labels)
    if offset is not None:
        logits = logits + torch.cat([offset, torch.zeros(1)]).double()
    return functional.cross_entropy(logits, targets, weight=weight, reduction="sum")


def eql_v1_weights(labels):
    tail = torch.tensor(COUNTS.images) < 110
    weights = torch.ones(N, C)
    for row, column in itertools.product(range(N), range(C)):
        if labels[row] >= 0 and tail[column] and labels[row] != column:
            weights[row, column] = 0
    return weights


def ecm_loss(logits, labels):
    images = torch.tensor(COUNTS.images).double()
    n = torch.cat([images, 6.3313 * images.sum()[None]])
    others = n.sum() - n
    margins = (n / others).log() / 4
    a = others / n
    weights = a * (1 + 1 / a).log()
    return (weights * bce(2 * logits + margins, one_hot(labels, C + 1))).sum()


def seesaw_loss(logits, labels, n, p=0.8, q=2.0):
    total = functional.cross_entropy(logits[:, C:], (labels < 0).long(), reduction="sum")
    for row in range(N):
        y = int(labels[row])
        if y < 0:
            continue
        z = logits[row, :C]
        s = z.detach().softmax(0)
        factors = []
        for j in range(C):
            mitigation = (n[j] / n[y]) ** p if n[j] < n[y] else 1.0
            ratio = float(s[j] / max(float(s[y]), 0.01))
            factors.append(1.0 if j == y else mitigation * (ratio**q if ratio > 1 else 1.0))
        total = total - (z + torch.tensor(factors).double().log()).log_softmax(0)[y]
    return total


def regions_per_class(labels):
    return [max(int((labels == label).sum()), 1) for label in range(C)]


EQUAL_TO = {
    "softmax": ({}, C + 1, softmax_loss),
    "class_balanced_softmax": (
        {"scheme": "inverse"},
        C + 1,
        lambda z, y: softmax_loss(
            z,
            y,
            weight=torch.tensor(
                [*(1 / n / (sum(1 / m for m in COUNTS.images) / C) for n in COUNTS.images), 1.0]
            ).double(),
        ),
    ),
    "logit_adjusted_softmax": (
        {"tau": 0.7, "count": "instances"},
        C + 1,
        lambda z, y: softmax_loss(
            z,
            y,
            offset=0.7
            * torch.tensor([math.log(n / (sum(COUNTS.instances) / C)) for n in COUNTS.instances]),
        ),
    ),
    "softmax_eql": ({}, C + 1, softmax_loss),  # nothing was received yet
    "sigmoid": ({}, C, lambda z, y: bce(z, one_hot(y, C)).sum()),
    "eql_v1": ({}, C, lambda z, y: (eql_v1_weights(y) * bce(z, one_hot(y, C))).sum()),
    "eql_v2": ({}, C + 1, lambda z, y: bce(z, one_hot(y, C + 1)).sum()),  # starts as cross-entropy
    "focal": (
        {"alpha": 0.25, "gamma": 2},
        C,
        lambda z, y: (
            (0.25 * one_hot(y, C) + 0.75 * (1 - one_hot(y, C)))
            * (one_hot(y, C) - z.sigmoid()).abs() ** 2
            * bce(z, one_hot(y, C))
        ).sum(),
    ),
    "ecm": ({}, C + 1, ecm_loss),
    "seesaw": ({}, C + 2, lambda z, y: seesaw_loss(z, y, regions_per_class(y))),
    "federated_loss": ({"num_classes": 50}, C, lambda z, y: bce(z, one_hot(y, C)).sum()),
}


@pytest.mark.parametrize("kind", EQUAL_TO)
def test_value_and_gradient_are_those_of_the_formula(kind):
    settings, num_logits, formula = EQUAL_TO[kind]
    loss = build(kind, weight=1.5, **settings)
    assert loss.num_logits == num_logits
    logits, labels = draw(num_logits)
    value = loss(logits, labels, NORMALIZER)
    (gradient,) = torch.autograd.grad(value, logits)
    expected = 1.5 * formula(logits, labels) / NORMALIZER
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", [*EQUAL_TO, "bags", "equalized_focal"])
def test_no_regions_cost_nothing_and_note_nothing(kind):
    loss = build(kind)
    logits, labels = draw(loss.num_logits, rows=0)
    value = loss(logits, labels, torch.ones((), dtype=torch.float64))
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.shape == (0, loss.num_logits)
    assert not loss.statistics.pending().any()


@pytest.mark.parametrize("kind", ["softmax", "softmax_eql", "sigmoid", "eql_v2", "ecm"])
def test_what_is_noted_is_the_gradient_by_autograd(kind):
    settings, num_logits, formula = EQUAL_TO[kind]
    loss = build(kind, **settings)
    logits, labels = draw(num_logits, seed=1)
    loss(logits, labels, NORMALIZER)
    (gradient,) = torch.autograd.grad(formula(logits, labels), logits)
    gradient, hits = gradient.abs()[:, :C], one_hot(labels, C)
    scale = 1 / NORMALIZER if kind == "softmax_eql" else 1.0
    expected = torch.stack([(gradient * hits).sum(0), (gradient * (1 - hits)).sum(0)]) * scale
    torch.testing.assert_close(loss.statistics.pending(), expected, rtol=1e-5, atol=1e-7)


def test_eql_v2_weighs_by_the_ratio_and_notes_the_weighted_gradient():
    loss = build("eql_v2")
    ratio = torch.tensor([0.05, 0.3, 0.6, 0.8, 1.0, 1.5]).double()
    loss.statistics.positive.copy_(ratio)
    loss.statistics.negative.fill_(1.0)
    logits, labels = draw(C + 1, seed=2)
    value = loss(logits, labels, NORMALIZER)
    f = 1 / (1 + (-12 * (ratio - 0.8)).exp())
    negative, positive = torch.ones(C + 1).double(), torch.ones(C + 1).double()
    negative[:C], positive[:C] = f, 1 + 4 * (1 - f)
    hits = one_hot(labels, C + 1)
    weights = positive * hits + negative * (1 - hits)
    expected = (weights * bce(logits, hits)).sum() / NORMALIZER
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    gradient = (weights * (logits.sigmoid() - hits).abs()).detach()[:, :C]
    hits = hits[:, :C]
    noted = torch.stack([(gradient * hits).sum(0), (gradient * (1 - hits)).sum(0)])
    torch.testing.assert_close(loss.statistics.pending(), noted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("negatives", "positives"), [(True, False), (False, True), (False, False)])
def test_the_parts_of_eql_v2_can_be_switched_off(negatives, positives):
    loss = build("eql_v2", reweight_negatives=negatives, reweight_positives=positives)
    whole = build("eql_v2")
    for own in (loss, whole):
        own.statistics.positive.fill_(0.2)
        own.statistics.negative.fill_(1.0)
    expected, found = whole.modulation(), loss.modulation()
    ones = torch.ones(C + 1)
    for own, wanted, on in zip(found[1:], expected[1:], (positives, negatives), strict=True):
        torch.testing.assert_close(own, wanted if on else ones)


def test_two_logits_per_class_and_their_softmax_are_a_sigmoid():
    loss = build("eql_v2", classifier="2c_softmax")
    logits, labels = draw(2 * (C + 1), seed=3)
    pairs = logits.unflatten(1, (2, C + 1)).transpose(1, 2)  # (N, C + 1, 2)
    targets = one_hot(labels, C + 1).long()
    expected = functional.cross_entropy(pairs.flatten(0, 1), targets.flatten(), reduction="sum")
    value = loss(logits, labels, NORMALIZER)
    assert value.item() == pytest.approx(expected.item() / 32, rel=1e-6)
    probability = pairs.softmax(-1)[..., 1].float()
    torch.testing.assert_close(loss.scores(logits), probability[:, :C] * (1 - probability[:, C:]))
    bias = loss.initial_bias(0.01, None)
    assert bias[C + 1 :][0].sigmoid().item() == pytest.approx(0.01)
    assert not bias[: C + 1].any()


def test_softmax_eql_moves_logits_by_the_gradient_that_classes_received():
    loss = build("softmax_eql", tau=0.5)
    received = torch.tensor([0.0, 0.01, 0.1, 1.0, 5.0, 9.0]).double()
    loss.statistics.positive.copy_(received)
    logits, labels = draw(C + 1, seed=4)
    received = received.clamp(min=1e-4)
    total = torch.zeros(()).double()
    for row in range(N):
        y = int(labels[row])
        if y < 0:  # background: every class is moved by its own share of the mean
            offset = 0.5 * (received / received.mean()).log()
            shifted = torch.cat([logits[row, :C] + offset, logits[row, C:]])
            total = total - shifted.log_softmax(0)[C]
        else:  # the paper's form: relative to the class of the region
            offset = 0.5 * (received / received[y]).log()
            own = 0.5 * (received.mean() / received[y]).log()
            shifted = torch.cat([logits[row, :C] + offset, logits[row, C:] + own])
            total = total - shifted.log_softmax(0)[y]
    value = loss(logits, labels, NORMALIZER)
    assert value.item() == pytest.approx(total.item() / 32, rel=1e-6)


def test_seesaw_counts_regions_before_it_uses_them_and_keeps_counting():
    loss = build("seesaw")
    logits, labels = draw(C + 2, seed=5)
    loss(logits, labels, NORMALIZER)
    value = loss(logits, labels, NORMALIZER)
    counts = [2 * int((labels == label).sum()) for label in range(C)]
    assert loss.counts.tolist() == counts
    assert "counts" in loss.state_dict()
    expected = seesaw_loss(logits, labels, [max(n, 1) for n in counts])
    assert value.item() == pytest.approx(expected.item() / 32, rel=1e-6)
    with torch.no_grad():
        loss(logits.detach(), labels, NORMALIZER)
    assert loss.counts.tolist() == counts


def test_seesaw_can_take_the_counts_of_the_training_data():
    loss = build("seesaw", count="instances")
    logits, labels = draw(C + 2, seed=6)
    expected = seesaw_loss(logits, labels, COUNTS.instances)
    assert loss(logits, labels, NORMALIZER).item() == pytest.approx(expected.item() / 32, rel=1e-6)


def test_federated_loss_punishes_few_classes_and_always_those_of_the_batch():
    torch.manual_seed(0)
    loss = build("federated_loss", num_classes=3)
    logits, labels = draw(C, rows=6)
    labels = torch.tensor([0, 0, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND])
    (gradient,) = torch.autograd.grad(loss(logits, labels, NORMALIZER), logits)
    learns = gradient.abs().sum(0) > 0
    assert learns[0]
    assert int(learns.sum()) == 2  # class 0, one that was drawn; background is the third


def test_a_class_that_nobody_looked_for_has_no_negatives_in_that_image():
    loss = build("eql_v2", federated=True)
    logits, labels = draw(C + 1, seed=7, rows=4)
    labels = torch.tensor([2, BACKGROUND, BACKGROUND, 1])
    checked = torch.ones(2, C, dtype=torch.bool)
    checked[0, 4] = checked[1, 1] = False
    groups = images_of_regions(checked, torch.tensor([0, 0, 0, 1]))
    (gradient,) = torch.autograd.grad(loss(logits, labels, NORMALIZER, checked=groups), logits)
    zeros = gradient == 0
    assert zeros[:3, 4].all()
    assert int(zeros.sum()) == 3  # class 1 of the second image is a positive


@pytest.mark.parametrize("kind", ["eql_v1", "ecm", "bags", "federated_loss"])
def test_a_loss_that_looks_at_counts_says_that_it_needs_them(kind):
    section = TypeAdapter(RegionLossConfig).validate_python({"kind": kind})
    with pytest.raises(ValueError, match="pass `counts`"):
        build_region_loss(section, C)


def test_priors_go_where_there_are_sigmoids_and_are_refused_elsewhere():
    bias = build("sigmoid", objectness=True).initial_bias(0.01, 0.9)
    torch.testing.assert_close(bias.sigmoid(), torch.tensor([0.01] * C + [0.9]))
    with pytest.raises(ValueError, match="objectness_probability"):
        build("sigmoid").initial_bias(None, 0.5)
    for kind in ("softmax", "seesaw", "bags"):
        with pytest.raises(ValueError, match="prior_probability"):
            build(kind).initial_bias(0.01, None)


@pytest.mark.parametrize("kind", [*EQUAL_TO, "bags", "equalized_focal"])
def test_scores_are_probabilities_of_the_classes(kind):
    loss = build(kind)
    logits, _ = draw(loss.num_logits)
    scores = loss.scores(logits)
    assert scores.shape == (N, C)
    assert scores.dtype == torch.float32
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert set(loss.summary({"all": list(range(C)), "none": []})) >= {"ratio/all"}


def test_scores_multiply_class_and_objectness():
    z = torch.tensor([[1.0, -1.0, 0.5, 2.0, -2.0, 0.0, 0.3]])
    expected = z[:, :C].sigmoid() * (1 - z[:, C:].sigmoid())
    for loss in (build("eql_v2"), build("ecm"), build("sigmoid", objectness=True)):
        torch.testing.assert_close(loss.scores(z), expected)
    seesaw = torch.cat([z, torch.tensor([[1.1]])], dim=1)
    expected = seesaw[:, :C].softmax(1) * seesaw[:, C:].softmax(1)[:, :1]
    torch.testing.assert_close(build("seesaw").scores(seesaw), expected)
