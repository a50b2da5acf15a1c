"""What a dense detector asks of its classification loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from dense_lt.ops.sigmoid_loss.arguments import Matrices


class ClassificationLoss(Protocol):
    """Knows how many logits an entry needs, what they cost, and what they mean."""

    num_classes: int
    num_logits: int
    """K: C, or C + 1 with a logit for "no object"."""

    needs_quality: bool
    """Whether positives want the IoU of their box as target."""

    federated: bool
    """Whether it wants to know which classes were checked in an image."""

    @property
    def can_fuse(self) -> bool:
        """Whether `fused` exists: it does not for a loss that must see the logits first."""
        ...

    def __call__(
        self,
        logits: Matrices,
        labels: Matrices,
        normalizer: Tensor,
        *,
        quality: Matrices | None = None,
        checked: Tensor | None = None,
    ) -> Tensor:
        """Weighted scalar loss, divided by `normalizer` ().

        Args:
            logits: (N, K), or one matrix per pyramid level.
            labels: (N,) int64 in [0, C), or BACKGROUND, or IGNORE, for each matrix.
            normalizer: number of positives over all processes / number of processes, at least 1.
            quality: (N,) IoU of each row's box with its object, for each matrix.
            checked: (B, C) bool, the classes that can be negatives in an image: nobody looked for
                the others there, or not every object is marked. Rows lie image after image.
        """
        ...

    def fused(
        self,
        features: Sequence[Tensor],
        classifiers: Sequence[nn.Conv2d],
        labels: Sequence[Tensor],
        normalizer: Tensor,
        *,
        quality: Sequence[Tensor] | None = None,
        checked: Tensor | None = None,
    ) -> Tensor:
        """The same loss of the logits that `classifiers` would make, which never exist.

        Args:
            features: L maps (B, channels, H_l, W_l).
            classifiers: one for all maps or one for each, with A*K output channels, ordered
                (prior, logit).
            labels: L x (B*H_l*W_l*A,), ordered (image, y, x, prior).
            normalizer: ().
            quality: L x (B*H_l*W_l*A,).
            checked: (B, C) bool.
        """
        ...

    def scores(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (..., C) probabilities, float32."""
        ...

    def best_scores(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (...) the highest of `scores`, without making them all."""
        ...

    def initial_bias(self, prior_probability: float) -> Tensor:
        """(K,) bias of a classifier that scores every class with `prior_probability`."""
        ...
