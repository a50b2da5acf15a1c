"""Every loss against its paper's formula and autograd, with and without federated annotation."""

from typing import get_args

import pytest
import torch
from helpers.dense_loss import draw_problem
from helpers.plain_losses import Rows, draw_ratio, plain_loss
from pydantic import TypeAdapter

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.losses.build import build_classification_loss
from dense_lt.ops.matching import BACKGROUND

SECTIONS = get_args(get_args(ClassificationLossConfig)[0])
CLASSES, IMAGES, ROWS = 6, 3, (30, 12)
"""Classes, images, and rows of the two levels, image after image."""

COUNTS = ClassCounts(images=(1, 3, 200, 40, 900, 0), instances=(1, 9, 500, 41, 3000, 0))
KINDS = {
    **{section.model_fields["kind"].annotation.__args__[0]: {} for section in SECTIONS},
    "eql_v1 published": {"kind": "eql_v1", "alpha": -1, "gamma": 0, "threshold": 4},
    "eql_v2_focal with objectness": {"kind": "eql_v2_focal", "objectness": True},
    "mitigation": {"kind": "seesaw", "compensation": 0, "count": "images"},
    "compensation": {"kind": "seesaw", "mitigation": 0, "alpha": -1, "gamma": 0},
    "federated_loss": {"num_classes": 3},
    "ecm published": {"kind": "ecm", "alpha": -1, "gamma": 0},
}
POSITIVE_COUNTS = ClassCounts(*(tuple(max(n, 1) for n in column) for column in COUNTS))


def section_of(name):
    settings = {"kind": name, "weight": 2.0, **KINDS[name]}
    return TypeAdapter(ClassificationLossConfig).validate_python(settings)


def image_of_row():
    return torch.cat([torch.arange(IMAGES).repeat_interleave(rows // IMAGES) for rows in ROWS])


def draw(loss, seed=0, dtype=torch.float64):
    problem = draw_problem(sum(ROWS), loss.num_logits, seed=seed, dtype=dtype)
    labels = problem.labels.where(problem.labels < CLASSES, BACKGROUND)
    checked = torch.rand(IMAGES, CLASSES, generator=torch.Generator().manual_seed(seed)) > 0.4
    return problem.logits, labels, problem.quality, checked


def with_ratio(loss, ratio):
    """`loss` with sums that give `ratio`."""
    seen = torch.isfinite(ratio)
    loss.statistics.note(torch.where(seen, ratio, 0.0), seen.double())
    loss.statistics.commit()
    return loss


def chosen_classes(loss, labels):
    """Classes that the federated loss will draw next, from a copy of the random numbers."""
    if loss.row_policy is None or not hasattr(loss.row_policy, "chance"):
        return None
    with torch.random.fork_rng():
        return loss.row_policy([labels]).factor[0].double()


@pytest.mark.parametrize("federated", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_loss_gradient_and_sums_are_those_of_the_formula(name, federated):
    section, ratio = section_of(name), draw_ratio(CLASSES)
    loss = with_ratio(build_classification_loss(section, CLASSES, COUNTS), ratio)
    logits, labels, quality, checked = draw(loss)
    rows = Rows(
        labels,
        quality,
        ratio,
        POSITIVE_COUNTS,
        checked=checked[image_of_row()].double() if federated else None,
        chosen=chosen_classes(loss, labels),
    )
    theirs = logits.clone().requires_grad_()
    expected = plain_loss(section, theirs, rows)
    expected.backward()

    ours = logits.clone().requires_grad_()
    value = loss(
        ours.split(ROWS),
        labels.split(ROWS),
        torch.tensor(4.0),
        quality=quality.split(ROWS),
        checked=checked if federated else None,
    )
    value.backward()
    torch.testing.assert_close(value, expected.detach() / 4, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.grad, theirs.grad / 4, rtol=1e-5, atol=1e-9)
    # the sums are those of the weighted, normalised loss, but for EQL v2, which has neither in them
    slope = theirs.grad[:, :CLASSES].abs() / (4.0 if loss.note_scaled else section.weight)
    noted = loss.statistics.pending()
    torch.testing.assert_close(noted[0], (slope * rows.hot).sum(0), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(noted[1], (slope * (1 - rows.hot)).sum(0), rtol=1e-5, atol=1e-9)


def test_varifocal_takes_a_box_that_misses_its_object_for_background():
    """The paper's second case: a target of 0."""
    loss = build_classification_loss(section_of("varifocal"), CLASSES, COUNTS)
    logits, labels, quality, _ = draw(loss)
    missed = (labels >= 0) & (torch.arange(len(labels)) % 2 == 0)
    results = []
    for own in (labels, torch.where(missed, BACKGROUND, labels)):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, own, torch.tensor(1.0), quality=quality.where(~missed, 0.0))
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(*results)
    assert missed.any()
    assert (results[0][1][missed] > 0).all()


@pytest.mark.parametrize("name", ["varifocal", "eql_v1", "seesaw", "ecm", "eql_v2_focal"])
def test_in_float32_the_fast_path_does_the_same(name):
    """The chunked backend, with the classes that were checked in each image."""
    section, ratio = section_of(name), draw_ratio(CLASSES)
    results = []
    for dtype in (torch.float64, torch.float32):
        loss = with_ratio(build_classification_loss(section, CLASSES, COUNTS), ratio)
        logits, labels, quality, checked = draw(loss, dtype=torch.float32)
        leaf = logits.to(dtype).requires_grad_()
        quality = quality.to(dtype)
        loss(leaf, labels, torch.tensor(4.0), quality=quality, checked=checked[:2]).backward()
        results.append((leaf.grad.double(), *loss.statistics.pending()))
    for exact, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, exact, rtol=2e-5, atol=1e-6)


def test_seesaw_is_not_fused_unless_it_only_mitigates():
    assert not build_classification_loss(section_of("seesaw"), CLASSES, COUNTS).can_fuse
    assert build_classification_loss(section_of("mitigation"), CLASSES, COUNTS).can_fuse
    assert build_classification_loss(section_of("ecm"), CLASSES, COUNTS).can_fuse


def test_a_loss_that_cannot_be_fused_says_so():
    loss = build_classification_loss(section_of("seesaw"), CLASSES, COUNTS)
    classifier = torch.nn.Conv2d(3, CLASSES, 1)
    with pytest.raises(ValueError, match="fused_loss: false"):
        loss.fused(
            [torch.zeros(1, 3, 2, 2)], [classifier], [torch.zeros(4).long()], torch.tensor(1.0)
        )


def test_the_margin_of_ecm_is_not_in_the_scores():
    loss = build_classification_loss(section_of("ecm"), CLASSES, COUNTS)
    logits = torch.randn(4, CLASSES)
    torch.testing.assert_close(loss.scores(logits), logits.sigmoid())
    torch.testing.assert_close(
        (2 * loss.initial_bias(0.01)).sigmoid(), torch.full((CLASSES,), 0.01)
    )
    assert not {name for name in loss.state_dict() if not name.startswith("statistics")}
