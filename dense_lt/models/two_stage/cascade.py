"""Cascade R-CNN and HTC: box heads in a row, each on the boxes of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from dense_lt.models.detector import Detector
from dense_lt.models.pyramid import PixelNormalizer, Pyramid
from dense_lt.models.two_stage.box_head import BoxHead, RegionPredictions
from dense_lt.models.two_stage.dense_proposals import DenseProposals
from dense_lt.models.two_stage.detector import facts_of
from dense_lt.models.two_stage.mask_head import MaskBranch, MaskHead, predict_masks
from dense_lt.models.two_stage.proposals import ProposalNetwork, Proposals
from dense_lt.models.two_stage.region_inference import RegionInference
from dense_lt.models.two_stage.region_loss import RegionLoss
from dense_lt.models.two_stage.regions import Regions, RegionSampler, SampledRegions
from dense_lt.models.two_stage.semantic import SemanticBranch
from dense_lt.ops.boxes import clip_boxes_to_image
from dense_lt.structures import Detections, ImageBatch, Losses, Size, Target


class Stage(nn.Module):
    """One box head with the IoU from which its regions are positive, and perhaps a mask branch."""

    def __init__(
        self,
        *,
        sampler: RegionSampler,
        head: BoxHead,
        loss: RegionLoss,
        weight: float,
        mask: MaskBranch | None = None,
    ) -> None:
        """`weight`: factor on the losses of the stage."""
        super().__init__()
        self.sampler = sampler
        self.head = head
        self.loss = loss
        self.weight = weight
        self.mask = mask

    @torch.no_grad()
    def refine(
        self, predictions: RegionPredictions, regions: Regions, sizes: Sequence[Size]
    ) -> list[Tensor]:
        """Boxes (n, 4) of each image, as this stage places those of the class that scores best."""
        with torch.autocast(regions.boxes.device.type, enabled=False):
            labels = self.loss.classification.scores(predictions.logits).argmax(dim=1)
            rows = torch.arange(len(labels), device=labels.device)
            boxes = self.loss.coder.decode(predictions.codes_of(rows, labels), regions.boxes)
            parts = boxes.split(regions.counts(len(sizes)))
            return [clip_boxes_to_image(own, size) for own, size in zip(parts, sizes, strict=True)]


class CascadeDetector(Detector):
    """Stages of rising IoU; scores are means over the stages, boxes those of the last.

    Every stage samples anew from the refined boxes, those of the ground truth left out, and owns
    its classification loss, hence its gradient statistics. With `interleaved` a mask branch learns
    from the boxes that its own stage has refined; with mask flow its features add to those of the
    stage after it; masks are means over the stages. The features of a semantic branch add to those
    of every region.

    Source: Cai and Vasconcelos 2018 (Cascade R-CNN); Chen et al. 2019 (HTC).
    """

    def __init__(
        self,
        *,
        normalizer: PixelNormalizer,
        pyramid: Pyramid,
        proposals: ProposalNetwork | DenseProposals,
        stages: Sequence[Stage],
        inference: RegionInference,
        interleaved: bool = False,
        mask_flow: bool = False,
        semantic: SemanticBranch | None = None,
    ) -> None:
        """Put the parts together; `inference` has the coder of the last stage."""
        super().__init__()
        self.normalizer = normalizer
        self.pyramid = pyramid
        self.proposals = proposals
        self.stages = nn.ModuleList(stages)
        self.inference = inference
        self.interleaved = interleaved
        self.mask_flow = mask_flow
        self.semantic = semantic

    def forward(  # type: ignore[override]
        self,
        images: ImageBatch,
        targets: Sequence[Target] | None = None,
        *,
        normalizer: Tensor | None = None,
    ) -> Losses | list[Detections]:
        """See `Detector`; `normalizer` counts images, see `TwoStageDetector.count_positives`."""
        levels = self.pyramid(self.normalizer(images))
        share = 1.0 if normalizer is None or targets is None else len(targets) / normalizer
        proposals = self.proposals(levels, images.sizes, targets, share=share)
        boxes, losses = proposals.boxes, proposals.losses
        if self.semantic is not None:
            levels, own = self.semantic(levels, images.sizes, targets, share=share)
            losses |= own
        if targets is None:
            return self._detect(levels, proposals, images.sizes)
        for number, stage in enumerate(self._stages):
            sampled = stage.sampler(boxes, targets)
            predictions = stage.head(levels, sampled.regions)
            weight = share * stage.weight
            own = stage.loss(predictions, sampled, targets, share=weight)
            boxes = _without_truth(
                stage.refine(predictions, sampled.regions, images.sizes), sampled
            )
            if stage.mask is not None:
                if self.interleaved:
                    sampled = stage.sampler(boxes, targets)
                earlier = self._earlier(number)
                own |= stage.mask(levels, sampled, targets, share=weight, earlier=earlier)
            losses |= {f"{name}_{number + 1}": loss for name, loss in own.items()}
        return losses

    @torch.no_grad()
    def _detect(
        self, levels: Sequence[Tensor], proposals: Proposals, sizes: Sequence[Size]
    ) -> list[Detections]:
        boxes = proposals.boxes
        if self.on_candidates is not None:
            self.on_candidates(lambda: proposals.boxes)
        *earlier, last = self._stages
        scores = []
        for stage in earlier:
            regions = Regions.join(boxes)
            predictions = stage.head(levels, regions)
            scores.append(stage.loss.classification.scores(predictions.logits))
            boxes = stage.refine(predictions, regions, sizes)
        regions = Regions.join(boxes, proposals.scores)
        predictions = last.head(levels, regions)
        scores.append(last.loss.classification.scores(predictions.logits))
        mean = torch.stack(scores).mean(dim=0)
        found = self.inference.select(mean, predictions.codes, regions, sizes)
        return predict_masks(self.mask_heads, levels, found) if self.mask_heads else found

    @property
    def mask_heads(self) -> list[tuple[MaskHead, list[MaskHead]]]:
        """That of every stage, with those whose features flow into it; none without masks."""
        heads = [stage.mask.head for stage in self._stages if stage.mask is not None]
        return [(head, self._earlier(number)) for number, head in enumerate(heads)]

    @property
    def _stages(self) -> Sequence[Stage]:
        return cast(Sequence[Stage], self.stages)

    def _earlier(self, number: int) -> list[MaskHead]:
        """Mask heads whose features flow into that of stage `number`."""
        stages = self._stages[:number] if self.mask_flow else []
        return [stage.mask.head for stage in stages if stage.mask is not None]

    def count_positives(self, images: ImageBatch, targets: Sequence[Target]) -> Tensor:
        """See `TwoStageDetector.count_positives`: the number of images."""
        return torch.tensor(float(len(targets)), device=images.pixels.device)

    def summary(self) -> dict[str, object]:
        """See `Detector`."""
        last = self._stages[-1]
        return {
            **facts_of(self, self.pyramid, self.proposals, last.head, last.loss),
            "stages": len(self.stages),
            "masks": last.mask is not None,
        }


def _without_truth(boxes: Sequence[Tensor], sampled: SampledRegions) -> list[Tensor]:
    """Boxes of regions that were proposed; the objects themselves join again where they sample."""
    proposed = (~sampled.given).split([len(own) for own in boxes])
    return [own[keep] for own, keep in zip(boxes, proposed, strict=True)]
