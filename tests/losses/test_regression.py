import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from dense_lt.config.box_losses import BoxLossConfig, GIoULossConfig
from dense_lt.losses.regression import (
    GIoUBoxLoss,
    PlacedBoxes,
    SmoothL1BoxLoss,
    SumOfBoxLosses,
    fades_with_iou,
)
from dense_lt.ops.box_coding import DeltaBoxCoder
from dense_lt.ops.boxes import paired_iou

POSITIVES = torch.tensor(2.0)
PRIORS = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 2.0, 4.0]]
TRUTH = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]]


def placed(boxes, truth=TRUTH, priors=PRIORS, weights=(1.0, 1.0)):
    """Boxes with their codes, as the network would give them."""
    priors, truth, weights = torch.tensor(priors), torch.tensor(truth), torch.tensor(weights)
    codes = DeltaBoxCoder().encode(torch.tensor(boxes), priors).requires_grad_()
    decoded = DeltaBoxCoder().decode(codes, priors)
    iou = paired_iou(decoded.detach(), truth) * weights
    return PlacedBoxes(codes, decoded, priors, truth, iou, weights)


HALF = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0]]
"""IoU 1 and 1/2, so costs 0 and 1/2; centerness of their priors 1 and (1/3)^(1/2)."""


@pytest.mark.parametrize(
    ("weighting", "divide_by", "expected"),
    [
        ("none", "weights", 0.5 / 2),
        ("none", "positives", 0.5 / 2),
        ("iou", "weights", 0.5 * 0.5 / 1.5),
        ("iou", "positives", 0.5 * 0.5 / 2),
        ("centerness", "weights", 0.5 * 3**-0.5 / (1 + 3**-0.5)),
        ("centerness", "positives", 0.5 * 3**-0.5 / 2),
    ],
)
def test_the_mean_over_positives_by_hand(weighting, divide_by, expected):
    loss = GIoUBoxLoss(weight=2.0, weighting=weighting, divide_by=divide_by)
    assert loss(placed(HALF), POSITIVES).item() == pytest.approx(2 * expected)


def test_smooth_l1_by_hand():
    """Prior 4x4, box moved by 1 and 0.04 pixels: differences 0.25 and 0.01 of the prior's size.

    With beta 0.11: 0.25 - 0.055, and 0.01^2 / 0.22. With beta 0: their sum.
    """
    boxes = placed([[1.0, 0.04, 5.0, 4.04]], TRUTH[:1], PRIORS[:1], (1.0,))
    one = torch.tensor(1.0)
    smooth = SmoothL1BoxLoss(DeltaBoxCoder(), beta=0.11)(boxes, one)
    plain = SmoothL1BoxLoss(DeltaBoxCoder(), beta=0.0, weight=3.0)(boxes, one)
    assert smooth.item() == pytest.approx(0.195 + 0.01**2 / 0.22, rel=1e-4)
    assert plain.item() == pytest.approx(3 * 0.26, rel=1e-4)
    total = SumOfBoxLosses((GIoUBoxLoss(), SmoothL1BoxLoss(DeltaBoxCoder())))(boxes, one)
    assert total.item() == pytest.approx((GIoUBoxLoss()(boxes, one) + smooth).item())


@pytest.mark.parametrize("weighting", ["none", "iou", "centerness"])
@pytest.mark.parametrize("kind", ["giou", "smooth_l1"])
def test_rows_that_only_fill_up_change_nothing(kind, weighting):
    """Their truth is their prior, so that every cost of them is finite."""

    def loss(boxes):
        if kind == "giou":
            return GIoUBoxLoss(weighting=weighting)(boxes, POSITIVES)
        return SmoothL1BoxLoss(DeltaBoxCoder(), weighting=weighting)(boxes, POSITIVES)

    alone = placed(HALF)
    more = placed(
        [*HALF, [3.0, 3.0, 9.0, 9.0]],
        [*TRUTH, [0.0, 0.0, 4.0, 4.0]],
        [*PRIORS, [0.0, 0.0, 4.0, 4.0]],
        (1.0, 1.0, 0.0),
    )
    torch.testing.assert_close(loss(more), loss(alone))
    loss(more).backward()
    assert more.codes.grad is not None
    assert (more.codes.grad[2] == 0).all()


@pytest.mark.parametrize("weighting", ["none", "iou", "centerness"])
def test_no_positive_costs_nothing_and_has_a_gradient(weighting):
    codes, none = torch.zeros(0, 4, requires_grad=True), torch.zeros(0)
    boxes = torch.zeros(0, 4)
    empty = PlacedBoxes(codes, codes * 1.0, boxes, boxes, none, none)
    cost = GIoUBoxLoss(weighting=weighting)(empty, torch.tensor(1.0))
    cost.backward()
    assert cost == 0
    assert codes.grad is not None


def test_stored_runs_of_the_first_version_still_load():
    read = TypeAdapter(BoxLossConfig).validate_python
    assert read({"kind": "giou", "iou_weighted": False}).weighting == "none"
    assert read({"kind": "giou", "iou_weighted": True}) == GIoULossConfig()
    with pytest.raises(ValidationError, match="iou_weighted"):
        read({"kind": "giou", "iou_weighted": False, "weighting": "iou"})


def test_only_a_loss_weighted_by_iou_throughout_fades_with_it():
    fading, steady = GIoUBoxLoss(weighting="iou"), GIoUBoxLoss(weighting="centerness")
    assert fades_with_iou(fading)
    assert fades_with_iou(SumOfBoxLosses((fading, fading)))
    assert not fades_with_iou(steady)
    assert not fades_with_iou(SumOfBoxLosses((fading, SmoothL1BoxLoss(DeltaBoxCoder()))))
