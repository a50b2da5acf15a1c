"""What do wrong class scores cost, and how does that cost watch and rebalance itself?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.balance.modulation import Column, Modulator, with_column
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.ops.matching import BACKGROUND
from dense_lt.ops.sigmoid_loss.arguments import Matrices, Modulation, as_tuple
from dense_lt.ops.sigmoid_loss.backends import BackendName
from dense_lt.ops.sigmoid_loss.function import LossSums, modulated_sigmoid_loss
from dense_lt.ops.sigmoid_loss.fused_head import fused_head_loss


class ClassificationLoss(Protocol):
    """Knows how many logits an entry needs, what they cost, and what they mean."""

    num_classes: int
    num_logits: int
    """K: C, or C + 1 with a logit for "no object"."""

    needs_quality: bool
    """Whether positives want the IoU of their box as target."""

    def __call__(
        self,
        logits: Matrices,
        labels: Matrices,
        normalizer: Tensor,
        *,
        quality: Matrices | None = None,
    ) -> Tensor:
        """Weighted scalar loss, divided by `normalizer` ().

        Args:
            logits: (N, K), or one matrix per pyramid level.
            labels: (N,) int64 in [0, C), or BACKGROUND, or IGNORE, for each matrix.
            normalizer: number of positives over all processes / number of processes, at least 1.
            quality: (N,) IoU of each row's box with its object, for each matrix.
        """
        ...

    def fused(
        self,
        features: Sequence[Tensor],
        classifier: nn.Conv2d,
        labels: Sequence[Tensor],
        normalizer: Tensor,
        *,
        quality: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """The same loss of the logits that `classifier` would make, which never exist.

        Args:
            features: L maps (B, channels, H_l, W_l).
            classifier: with A*K output channels, ordered (prior, logit).
            labels: L x (B*H_l*W_l*A,), ordered (image, y, x, prior).
            normalizer: ().
            quality: L x (B*H_l*W_l*A,).
        """
        ...

    def scores(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (..., C) probabilities, float32."""
        ...

    def initial_bias(self, prior_probability: float) -> Tensor:
        """(K,) bias of a classifier that scores every class with `prior_probability`."""
        ...


class SigmoidLoss(nn.Module):
    """A loss of the sigmoid family; which one, its `modulator` says.

    Every call in which a gradient is wanted notes the gradient of each class in `statistics`; the
    modulation of a call depends on what was committed before it. Keep the loss outside activation
    checkpointing, which would note twice.

    Args:
        modulator: the policy.
        statistics: tracker of the C classes.
        weight: factor of the loss.
        needs_quality: positives have their box's IoU as target instead of 1.
        objectness: how one logit more is shaped, whose target is 1 for background; None for no
            such logit. It has no statistics, and its complement multiplies the scores (Tan et al.
            2021, where it has plain cross-entropy).
        note_scaled: note gradients after the factor weight / normaliser, as EFL does, or before
            it, as EQL v2 does.
        backend: see `modulated_sigmoid_loss`.
    """

    def __init__(
        self,
        modulator: Modulator,
        statistics: GradientStatistics,
        *,
        weight: float = 1.0,
        needs_quality: bool = False,
        objectness: Column | None = None,
        note_scaled: bool = True,
        backend: BackendName = "auto",
    ) -> None:
        super().__init__()
        self.modulator = modulator
        self.statistics = statistics
        self.weight = weight
        self.needs_quality = needs_quality
        self.objectness = objectness
        self.note_scaled = note_scaled
        self.backend: BackendName = backend
        self.num_classes = statistics.num_classes
        self.num_logits = self.num_classes + int(objectness is not None)

    def forward(
        self,
        logits: Matrices,
        labels: Matrices,
        normalizer: Tensor,
        *,
        quality: Matrices | None = None,
        class_mask: Tensor | None = None,
        overwrite_logits: bool = False,
    ) -> Tensor:
        """See `ClassificationLoss.__call__`.

        Args:
            logits: (N, K), or one matrix per pyramid level; their rows lie image after image.
            labels: (N,) for each matrix.
            normalizer: ().
            quality: (N,) for each matrix; needed if `needs_quality`.
            class_mask: (B, C) bool, whether a class can be a negative in an image, for data in
                which not every class was looked for everywhere (federated annotation).
            overwrite_logits: the gradient may take the logits' memory; see
                `modulated_sigmoid_loss`.
        """
        call = self._call(labels, normalizer, quality, class_mask)
        sums = modulated_sigmoid_loss(logits, overwrite_logits=overwrite_logits, **call)
        self._note(sums, call["scale"])
        return sums.loss

    def fused(
        self,
        features: Sequence[Tensor],
        classifier: nn.Conv2d,
        labels: Sequence[Tensor],
        normalizer: Tensor,
        *,
        quality: Sequence[Tensor] | None = None,
        class_mask: Tensor | None = None,
    ) -> Tensor:
        """See `ClassificationLoss.fused`; under autocast the convolution takes its dtype.

        Raises:
            ValueError: a classifier that is not a plain 1x1 or 3x3 convolution.
        """
        _require_plain(classifier)
        call = self._call(labels, normalizer, quality, class_mask)
        sums = fused_head_loss(features, classifier.weight, classifier.bias, **call)
        self._note(sums, call["scale"])
        return sums.loss

    def modulation(self) -> Modulation:
        """Exponent and weights of the K logits in the current optimizer step."""
        modulation = self.modulator(self.statistics.ratio())
        return with_column(modulation, self.objectness) if self.objectness else modulation

    def scores(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (..., C) probabilities, float32."""
        scores = logits.float().sigmoid()
        return scores[..., :-1] * (1 - scores[..., -1:]) if self.objectness else scores

    def summary(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """Means over groups of classes, for the log: `ratio/GROUP`, `gamma/GROUP`, ...

        Ratios count up to 1, which is also what a class gets of which nothing was seen. Groups
        without classes are left out. Waits for the device.
        """
        columns = {"ratio": self.statistics.ratio().clamp(max=1), **self.modulation()._asdict()}
        return {
            f"{name}/{group}": float(values[list(labels)].mean())
            for name, values in columns.items()
            for group, labels in groups.items()
            if len(labels)
        }

    def initial_bias(self, prior_probability: float) -> Tensor:
        """(K,) bias of a classifier that scores every class with `prior_probability`.

        The objectness logit says "no object" with 1 - prior: among the rows of a dense detector
        nearly all are background, and the published start, where it is as unlikely as a class,
        would cost several units at each of them.
        """
        bias = torch.full((self.num_logits,), math.log(prior_probability / (1 - prior_probability)))
        bias[self.num_classes :] *= -1
        return bias

    def _call(
        self,
        labels: Matrices,
        normalizer: Tensor,
        quality: Matrices | None,
        class_mask: Tensor | None,
    ) -> dict[str, Any]:
        """The arguments that both ways to the loss have in common."""
        if self.needs_quality and quality is None:
            raise ValueError("this loss needs `quality`, the IoU of each positive's box")
        modulation, groups, targets = self.modulation(), None, as_tuple(labels)
        if class_mask is not None:
            groups = [_image_of_row(own, len(class_mask)) for own in targets]
            allowed = functional.pad(
                class_mask, (0, self.num_logits - self.num_classes), value=True
            )
            weight = modulation.negative_weight * allowed
            modulation = modulation._replace(negative_weight=weight)
        if self.objectness:  # background is the class of the objectness logit
            targets = [torch.where(t == BACKGROUND, self.num_classes, t) for t in targets]
        return {
            **modulation._asdict(),
            "labels": targets,
            "scale": self.weight / normalizer,
            "quality": quality if self.needs_quality else None,
            "groups": groups,
            "backend": self.backend,
        }

    def _note(self, sums: LossSums, scale: Tensor) -> None:
        if not sums.loss.requires_grad:  # evaluation, or a frozen classifier
            return
        classes = slice(self.num_classes)
        weight = scale if self.note_scaled else 1.0
        self.statistics.note(sums.positive[classes], sums.negative[classes], weight=weight)


def _image_of_row(labels: Tensor, num_images: int) -> Tensor:
    """(N,) index of the image of each row of a level."""
    images = torch.arange(num_images, device=labels.device)
    return images.repeat_interleave(len(labels) // num_images)


def _require_plain(classifier: nn.Conv2d) -> None:
    size = classifier.kernel_size
    plain = (
        size in {(1, 1), (3, 3)}
        and classifier.stride == (1, 1)
        and classifier.padding == (size[0] // 2, size[1] // 2)
        and classifier.padding_mode == "zeros"
        and classifier.dilation == (1, 1)
        and classifier.groups == 1
    )
    if not plain:
        raise ValueError(
            f"the loss cannot be fused with {classifier}; it takes a 1x1 or 3x3 convolution of "
            "stride 1 that keeps the size. Set model.head.fused_loss: false"
        )
