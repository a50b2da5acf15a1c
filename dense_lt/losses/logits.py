"""What lies between a classifier and its loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LogitMap(nn.Module):
    """The loss sees factor * logit + offset: a margin that the scores do not have.

    Args:
        factor: above 0.
        offset: (K,).
    """

    offset: Tensor

    def __init__(self, factor: float, offset: Tensor) -> None:
        super().__init__()
        self.factor = factor
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """Matrices (N, K) -> new ones, in float32 at least; nothing else reads them."""
        return [torch.add(self.offset, matrix, alpha=self.factor) for matrix in logits]

    def convolution(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution that makes mapped logits at once."""
        offset = self.offset.repeat(len(weight) // len(self.offset))
        return self.factor * weight, offset if bias is None else offset + self.factor * bias


def weight_of(classifier: nn.Module) -> Tensor:
    """What a classifier multiplies features with: its weight, or what it makes of it."""
    effective = getattr(classifier, "effective_weight", None)
    return classifier.get_parameter("weight") if effective is None else effective()


def require_plain(classifier: nn.Conv2d) -> None:
    """Raises ValueError where a convolution cannot be fused with its loss."""
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
