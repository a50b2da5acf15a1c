"""What do positives score while training, and what each class's hardest negative? Now and then."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dense_lt.data.categories import GROUPS, CategoryTable
from dense_lt.ops.matching import IGNORE
from dense_lt.ops.sigmoid_loss.arguments import as_tuple

SCORES_AT_ONCE = 2**22
"""Scores that are made at once, 16 MiB of them, whatever the number of classes."""


class ScoreWatch:
    """Looks at the logits of a single call of each classification loss when it is asked to.

    A loss that is fused with its classifier has no logits, and so no scores here. Of several
    micro-batches the first is looked at, of several processes this one.
    """

    def __init__(self, detector: nn.Module, categories: CategoryTable) -> None:
        """Find the losses of `detector` that score all classes."""
        self._groups = {group: categories.labels_in_group(group) for group in GROUPS}
        self._losses = _losses_over_classes(detector, len(categories))
        self._waiting: dict[str, RemovableHandle] = {}
        self._sums: dict[str, Tensor] = {}

    def look_once(self) -> None:
        """Look at the next call of each loss."""
        for name, loss in self._losses.items():
            if name not in self._waiting:
                hook = partial(self._look, name)
                self._waiting[name] = loss.register_forward_pre_hook(hook)

    def _look(self, name: str, loss: Any, arguments: tuple[Any, ...]) -> None:
        self._waiting.pop(name).remove()
        seen = sums_of_scores(loss, as_tuple(arguments[0]), as_tuple(arguments[1]))
        self._sums[name] = self._sums[name] + seen if name in self._sums else seen

    def means(self) -> dict[str, float | None]:
        """Means since the last call, which waits for the device once for each loss.

        Returns:
            `score/positive/GROUP`, over positives, and `score/hardest_negative/GROUP`, over classes
            and batches; the loss's name between if there are several; None where there was nothing.
        """
        found: dict[str, float | None] = {}
        for name, sums in self._sums.items():
            prefix = f"{name}/" if len(self._sums) > 1 else ""
            held = sums.cpu()
            for group, labels in self._groups.items():
                score, count, hardest, batches = held[:, labels].sum(dim=1).tolist()
                found[f"{prefix}score/positive/{group}"] = score / count if count else None
                mean = hardest / batches if batches else None
                found[f"{prefix}score/hardest_negative/{group}"] = mean
        self._sums = {}
        return found


@torch.no_grad()
def sums_of_scores(loss: Any, logits: tuple[Tensor, ...], labels: tuple[Tensor, ...]) -> Tensor:
    """Sums over one batch.

    Args:
        loss: a classification loss, dense or of regions; only `scores` is asked.
        logits: (N, K) for each level.
        labels: (N,) int64 in [0, C), BACKGROUND or IGNORE for each level.

    Returns:
        (4, C) float64: scores of the positives of each class, their number, the highest score of
        its negatives (0 without any), and 1.
    """
    sums = torch.zeros(4, loss.num_classes, dtype=torch.float64, device=logits[0].device)
    sums[3] = 1
    rows = max(1, SCORES_AT_ONCE // logits[0].shape[1])
    for matrix, targets in zip(logits, labels, strict=True):
        for piece, own in zip(matrix.detach().split(rows), targets.split(rows), strict=True):
            scores = loss.scores(piece)
            positive, column = own >= 0, own.clamp(min=0)
            picked = scores.gather(1, column[:, None]).squeeze(1)
            sums[0].index_add_(0, column, (picked * positive).double())
            sums[1].index_add_(0, column, positive.double())
            negative = scores.scatter(1, column[:, None], (picked * ~positive)[:, None])
            negative *= (own != IGNORE)[:, None]
            if len(negative):
                sums[2] = torch.maximum(sums[2], negative.amax(dim=0).double())
    return sums


def _losses_over_classes(detector: nn.Module, num_classes: int) -> dict[str, nn.Module]:
    """By name; a loss inside another one, which sees other logits, is left out."""
    found: dict[str, nn.Module] = {}
    for name, module in detector.named_modules():
        is_loss = hasattr(module, "scores") and hasattr(module, "num_logits")
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if is_loss and not inside and getattr(module, "num_classes", None) == num_classes:
            found[name] = module
    return found
