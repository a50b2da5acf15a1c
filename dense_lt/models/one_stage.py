"""The one-stage detector: pyramid, dense head, then loss or inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from dense_lt.models.dense_inference import DenseInference
from dense_lt.models.dense_loss import DenseLoss
from dense_lt.models.detector import Detector
from dense_lt.models.heads.dense import DenseHead, PerLevelHead
from dense_lt.models.pafpn import PathAggregation
from dense_lt.models.priors import PriorGenerator
from dense_lt.models.pyramid import PixelNormalizer, Pyramid
from dense_lt.structures import Detections, ImageBatch, Losses, Target

FUSED_FROM_LOGITS = 256
"""Logits per location from which `fused_loss: auto` fuses; below, the logits are small anyway."""


class OneStageDetector(Detector):
    """Backbone, pyramid and one dense head."""

    def __init__(
        self,
        *,
        normalizer: PixelNormalizer,
        pyramid: Pyramid | PathAggregation,
        priors: PriorGenerator,
        head: DenseHead | PerLevelHead,
        loss: DenseLoss,
        inference: DenseInference,
        fused_loss: Literal["auto"] | bool = "auto",
    ) -> None:
        """Put the parts together; see `models.build`."""
        super().__init__()
        self.normalizer = normalizer
        self.pyramid = pyramid
        self.priors = priors
        self.head = head
        self.loss = loss
        self.inference = inference
        if fused_loss == "auto":
            many = head.classifiers[0].out_channels >= FUSED_FROM_LOGITS
            fused_loss = many and loss.classification.can_fuse and not loss.needs_predictions
        self.fused_loss = fused_loss

    def forward(  # type: ignore[override]
        self,
        images: ImageBatch,
        targets: Sequence[Target] | None = None,
        *,
        normalizer: Tensor | None = None,
    ) -> Losses | list[Detections]:
        """See `Detector`."""
        levels = self.pyramid(self.normalizer(images))
        priors = self.priors(levels)
        fused = targets is not None and self.fused_loss
        predictions = self.head(levels, with_logits=not fused)
        if targets is None:
            if self.on_candidates is not None:
                self.on_candidates(
                    lambda: self.inference.candidates(predictions, priors, images.sizes)
                )
            return self.inference(predictions, priors, images.sizes)
        return self.loss(
            predictions,
            priors,
            targets,
            normalizer=normalizer,
            classifiers=self.head.classifiers if fused else (),
        )

    def count_positives(self, images: ImageBatch, targets: Sequence[Target]) -> Tensor:
        """See `Detector`.

        Raises:
            ValueError: the assigner needs predictions.
        """
        height, width = images.pixels.shape[-2:]
        priors = self.priors.for_image_size((height, width), images.pixels.device)
        return self.loss.assign(priors, targets).weights.sum()

    def summary(self) -> dict[str, object]:
        """See `Detector`."""
        backbone = self.pyramid.backbone
        return {
            "parameters": sum(p.numel() for p in self.parameters()),
            "trainable parameters": sum(p.numel() for p in self.parameters() if p.requires_grad),
            "backbone": backbone.name,
            "backbone channels": list(backbone.channels),
            "backbone strides": list(backbone.strides),
            "frozen stages": backbone.frozen_stages,
            "pyramid strides": list(self.pyramid.strides),
            "priors per location": self.priors.priors_per_location,
            "classes": self.loss.classification.num_classes,
            "logits per prior": self.head.num_logits,
            "quality branch": self.head.predicts_quality,
            "fused loss": bool(self.fused_loss),
        }
