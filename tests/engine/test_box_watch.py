"""Boxes that collapse, and with them their loss, are told; boxes that begin badly are not."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dense_lt.engine.box_watch import BoxWatch
from dense_lt.losses.regression import GIoUBoxLoss, SmoothL1BoxLoss, SumOfBoxLosses
from dense_lt.models.dense_loss import DenseLoss
from dense_lt.ops.box_coding import DeltaBoxCoder

FADING = GIoUBoxLoss()


def watch(box=FADING):
    loss = DenseLoss(assigner=None, coder=None, classification=nn.Identity(), box=box)
    return BoxWatch(nn.ModuleDict({"inside": loss})), loss


def lines(watched, loss, *ious, positives=100, steps=1):
    """One line of the log for each of `ious`, of which every step has `positives`."""
    found = []
    for iou in ious:
        for _ in range(steps):
            rows = torch.full((positives,), iou)
            loss._note_ious(SimpleNamespace(iou=rows, weights=torch.ones(positives)))
        means = {name: total.item() / steps for name, total in watched.take().items()}
        found.append(watched.judge(means, steps=steps, processes=1).get("box_iou"))
        assert means == {}
    return found


def test_boxes_that_collapse_are_told_once_with_the_way_out(caplog):
    watched, loss = watch()
    found = lines(watched, loss, 0.25, 0.125, 0.0078125, 0.0, 0.0)
    assert found == [0.25, 0.125, 0.0078125, 0.0, 0.0]
    (message,) = caplog.messages
    assert "mean IoU of 0.0078 (it was 0.25)" in message
    assert "lower optimizer.lr or a longer schedule.warmup" in message
    assert "model.box_loss.weighting=none" in message


@pytest.mark.parametrize(
    "ious",
    [
        (0.009, 0.009, 0.004, 0.3),  # small objects under large priors: low from the start
        (0.25, 0.2, 0.07, 0.4),  # worse for a while
    ],
)
def test_boxes_that_only_begin_badly_are_nothing_to_tell(ious, caplog):
    lines(*watch(), *ious)
    assert caplog.messages == []


def test_boxes_whose_loss_has_a_gradient_left_are_nothing_to_tell(caplog):
    """1000 positives of IoU 0.002: their weights add up to 2, so they are divided by just that."""
    lines(*watch(), 0.25, 0.002, positives=1000)
    smooth = SmoothL1BoxLoss(DeltaBoxCoder())
    for box in (GIoUBoxLoss(weighting="none"), smooth, SumOfBoxLosses((FADING, smooth))):
        lines(*watch(box), 0.25, 0.0)
    assert caplog.messages == []


def test_few_positives_are_judged_together(caplog):
    watched, loss = watch()
    lines(watched, loss, 0.25)
    lines(watched, loss, 0.0, 0.0, 0.0, positives=10, steps=3)
    assert caplog.messages == []
    lines(watched, loss, 0.0, positives=10, steps=3)
    assert "boxes have collapsed" in caplog.text


def test_lines_without_positives_and_detectors_without_a_dense_loss_have_no_iou():
    watched, loss = watch()
    assert lines(watched, loss, 0.5, positives=0) == [None]
    assert watched.take() == {}
    assert BoxWatch(nn.Linear(1, 1)).take() == {}
