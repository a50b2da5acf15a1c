"""The two-stage detector: pyramid, proposals, box head, then loss or inference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dense_lt.models.detector import Detector
from dense_lt.models.pyramid import PixelNormalizer, Pyramid
from dense_lt.models.two_stage.box_head import BoxHead
from dense_lt.models.two_stage.dense_proposals import DenseProposals
from dense_lt.models.two_stage.mask_head import MaskBranch, MaskHead, predict_masks
from dense_lt.models.two_stage.proposals import ProposalNetwork
from dense_lt.models.two_stage.region_inference import RegionInference
from dense_lt.models.two_stage.region_loss import RegionLoss
from dense_lt.models.two_stage.regions import Regions, RegionSampler
from dense_lt.structures import Detections, ImageBatch, Losses, Target


class TwoStageDetector(Detector):
    """Faster R-CNN (Ren et al. 2015) on a feature pyramid; with a mask branch Mask R-CNN."""

    def __init__(
        self,
        *,
        normalizer: PixelNormalizer,
        pyramid: Pyramid,
        proposals: ProposalNetwork | DenseProposals,
        sampler: RegionSampler,
        head: BoxHead,
        loss: RegionLoss,
        inference: RegionInference,
        mask: MaskBranch | None = None,
    ) -> None:
        """Put the parts together; see `models.two_stage.build`."""
        super().__init__()
        self.normalizer = normalizer
        self.pyramid = pyramid
        self.proposals = proposals
        self.sampler = sampler
        self.head = head
        self.loss = loss
        self.inference = inference
        self.mask = mask

    def forward(  # type: ignore[override]
        self,
        images: ImageBatch,
        targets: Sequence[Target] | None = None,
        *,
        normalizer: Tensor | None = None,
    ) -> Losses | list[Detections]:
        """See `Detector`; `normalizer` counts images, see `count_positives`."""
        levels = self.pyramid(self.normalizer(images))
        share = 1.0 if normalizer is None or targets is None else len(targets) / normalizer
        proposals = self.proposals(levels, images.sizes, targets, share=share)
        if targets is None:
            if self.on_candidates is not None:
                self.on_candidates(lambda: proposals.boxes)
            regions = Regions.join(proposals.boxes, proposals.scores)
            found = self.inference(self.head(levels, regions), regions, images.sizes)
            return predict_masks(self.mask_heads, levels, found) if self.mask_heads else found
        sampled = self.sampler(proposals.boxes, targets)
        predictions = self.head(levels, sampled.regions)
        losses = {**self.loss(predictions, sampled, targets, share=share), **proposals.losses}
        if self.mask is not None:
            losses |= self.mask(levels, sampled, targets, share=share)
        return losses

    @property
    def mask_heads(self) -> list[tuple[MaskHead, list[MaskHead]]]:
        """That of the mask branch, into which no other's features flow; none without masks."""
        return [] if self.mask is None else [(self.mask.head, [])]

    def count_positives(self, images: ImageBatch, targets: Sequence[Target]) -> Tensor:
        """See `Detector`: the number of images.

        The losses are means over sampled anchors and regions, of which every image has about the
        same number whatever its objects; a micro-batch counts by its share of the images.
        """
        return torch.tensor(float(len(targets)), device=images.pixels.device)

    def summary(self) -> dict[str, object]:
        """See `Detector`."""
        return {
            **facts_of(self, self.pyramid, self.proposals, self.head, self.loss),
            "masks": self.mask is not None,
        }


def facts_of(
    detector: Detector,
    pyramid: Pyramid,
    proposals: ProposalNetwork | DenseProposals,
    head: BoxHead,
    loss: RegionLoss,
) -> dict[str, object]:
    """What the summaries of detectors with these parts have in common."""
    parameters = list(detector.parameters())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trainable parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "backbone": pyramid.backbone.name,
        "backbone channels": list(pyramid.backbone.channels),
        "backbone strides": list(pyramid.backbone.strides),
        "frozen stages": pyramid.backbone.frozen_stages,
        "pyramid strides": list(pyramid.strides),
        "proposal strides": list(proposals.priors.strides),
        "anchors per location": proposals.priors.priors_per_location,
        "pooled strides": list(head.pooling.strides),
        "classes": loss.classification.num_classes,
        "logits per region": head.classifier.out_features,
    }
