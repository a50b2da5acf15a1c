import pytest
import torch
from torch.nn import functional
from torchvision.ops import nms

from dense_lt.losses.regression import SmoothL1BoxLoss
from dense_lt.models.assigners.max_iou import MaxIoUAssigner
from dense_lt.models.priors import PriorGenerator
from dense_lt.models.two_stage.proposals import ProposalLimits, ProposalLoss, ProposalSelection
from dense_lt.ops.box_coding import DeltaBoxCoder
from dense_lt.ops.boxes import clip_boxes_to_image
from dense_lt.structures import DensePredictions

CODER = DeltaBoxCoder()


def draw(seed=0, images=2):
    """Predictions on maps of 6x8 and 3x4 cells, and their priors."""
    torch.manual_seed(seed)
    maps = [torch.zeros(images, 1, 6, 8), torch.zeros(images, 1, 3, 4)]
    priors = PriorGenerator((8, 16), scales=(3.0,), ratios=(0.5, 1.0))(maps)
    logits = tuple(torch.randn(images, count, 1, requires_grad=True) for count in priors.counts)
    codes = tuple(0.3 * torch.randn(images, count, 4) for count in priors.counts)
    return DensePredictions(logits, tuple(c.requires_grad_() for c in codes)), priors


def test_proposals_are_the_best_of_each_level_after_suppression_within_it():
    predictions, priors = draw()
    sizes = ((48, 64), (40, 50))
    limits = ProposalLimits(20, 12)
    found, found_scores = ProposalSelection(CODER, 0.5)(predictions, priors, sizes, limits)
    for image, size in enumerate(sizes):
        boxes, scores = [], []
        for level, anchors in enumerate(priors.split(priors.boxes)):
            logits = predictions.logits[level][image, :, 0].detach()
            best = logits.argsort(descending=True)[:20]
            own = CODER.decode(predictions.codes[level][image][best].detach(), anchors[best])
            own, logits = clip_boxes_to_image(own, size), logits[best]
            large = ((own[:, 2:] - own[:, :2]) > 1e-3).all(dim=1)
            own, logits = own[large], logits[large]
            kept = nms(own, logits, 0.5)
            boxes.append(own[kept])
            scores.append(logits[kept])
        best, order = torch.cat(scores).sort(descending=True)
        best, order = best[:12], order[:12]
        torch.testing.assert_close(found_scores[image], best.sigmoid())
        torch.testing.assert_close(found[image], torch.cat(boxes)[order])
        assert not found[image].requires_grad


def test_losses_are_means_over_all_sampled_anchors():
    predictions, priors = draw(1)
    assigner = MaxIoUAssigner(positive_iou=0.6, background_iou=0.3)
    loss = ProposalLoss(assigner, CODER, SmoothL1BoxLoss(CODER, beta=1 / 9), 10_000, 1.0)
    targets = [
        {"boxes": torch.tensor([[4.0, 6.0, 30.0, 28.0]]), "labels": torch.tensor([3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    found = loss(predictions, priors, targets)
    matches = torch.stack([assigner(priors, target["boxes"]) for target in targets])
    logits = torch.cat(predictions.logits, dim=1)[..., 0]
    learns = matches >= -1  # all that is not ignored
    cost = functional.binary_cross_entropy_with_logits(
        logits[learns], (matches[learns] >= 0).float(), reduction="mean"
    )
    assert found["objectness"].item() == pytest.approx(cost.item(), rel=1e-5)
    rows = (matches[0] >= 0).nonzero().squeeze(1)
    assert len(rows)
    wanted = CODER.encode(targets[0]["boxes"].expand(len(rows), 4), priors.boxes[rows])
    codes = torch.cat(predictions.codes, dim=1)[0, rows]
    cost = functional.smooth_l1_loss(codes, wanted, beta=1 / 9, reduction="sum") / learns.sum()
    assert found["proposal_box"].item() == pytest.approx(cost.item(), rel=1e-5)


def test_half_of_the_sampled_anchors_may_be_positive():
    predictions, priors = draw(2)
    assigner = MaxIoUAssigner(positive_iou=0.1, background_iou=0.1)
    loss = ProposalLoss(assigner, CODER, SmoothL1BoxLoss(CODER), 8, 0.5)
    target = {"boxes": torch.tensor([[0.0, 0.0, 64.0, 48.0]]), "labels": torch.tensor([0])}
    logits = torch.cat(predictions.logits, dim=1)
    (gradient,) = torch.autograd.grad(
        loss(predictions, priors, [target, target])["objectness"],
        predictions.logits[0],
        retain_graph=True,
    )
    assert logits.shape[1] > 8
    assert int((gradient != 0).sum()) <= 16
