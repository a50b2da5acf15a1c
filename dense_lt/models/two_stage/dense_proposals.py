"""A strong proposal network: any dense detector of ours, with one class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dense_lt.models.dense_inference import DenseInference
from dense_lt.models.dense_loss import DenseLoss
from dense_lt.models.heads.dense import DenseHead, PerLevelHead
from dense_lt.models.priors import PriorGenerator
from dense_lt.models.two_stage.proposals import Proposals
from dense_lt.structures import Size, Target
from dense_lt.utils.distributed import normalizer_over_processes


class DenseProposals(nn.Module):
    """Proposals are the detections of a dense head to which all classes are one.

    Source: Zhou et al. 2021, Probabilistic two-stage detection (CenterNet2). That its scores count
    in those of the second stage, `RegionInference` sees to.
    """

    def __init__(
        self,
        *,
        priors: PriorGenerator,
        head: DenseHead | PerLevelHead,
        loss: DenseLoss,
        inference: DenseInference,
        levels: slice,
    ) -> None:
        """Put the parts, made for one class, together; `levels` of the pyramid are seen."""
        super().__init__()
        self.priors = priors
        self.head = head
        self.loss = loss
        self.inference = inference
        self.levels = levels

    def forward(
        self,
        levels: Sequence[Tensor],
        sizes: Sequence[Size],
        targets: Sequence[Target] | None,
        *,
        share: Tensor | float = 1.0,
    ) -> Proposals:
        """As `ProposalNetwork`; a micro-batch (`share`) counts by its share of the images."""
        levels = levels[self.levels]
        priors = self.priors(levels)
        predictions = self.head(levels)
        found = self.inference(predictions, priors, sizes)
        proposals = Proposals([own.boxes for own in found], [own.scores for own in found], {})
        if targets is None:
            return proposals
        objects = [_as_one_class(target) for target in targets]
        positives = self.loss.assign(priors, objects, predictions).weights.sum()
        normalizer = normalizer_over_processes(positives) / share
        losses = self.loss(predictions, priors, objects, normalizer=normalizer)
        return proposals._replace(losses={f"proposal_{k}": loss for k, loss in losses.items()})


def _as_one_class(target: Target) -> Target:
    """Boxes and crowds of an image, all of class 0."""
    objects: Target = {"boxes": target["boxes"], "labels": torch.zeros_like(target["labels"])}
    if "ignored" in target:
        objects["ignored"] = target["ignored"]
    return objects
