"""Assigners that ask what the network predicts, and what they are told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dense_lt.structures import Priors

SCORES_AT_ONCE = 2**22
"""Scores of a row and a class that are worked on together."""


class ClassScores:
    """Probabilities (R, C) of the classes, of which only those that are asked for are made.

    Args:
        levels: (R_l, K) logits of each pyramid level.
        to_scores: (n, m + K - C) logits of some classes, and those that are of no class, to (n, m).
        num_classes: C.
    """

    def __init__(
        self,
        levels: Sequence[Tensor],
        to_scores: Callable[[Tensor], Tensor],
        num_classes: int,
    ) -> None:
        self._levels = levels
        self._to_scores = to_scores
        self.num_classes = num_classes

    def __call__(self, rows: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """(n, m) float32 scores of `rows` (n,) for the classes `labels` (m,); None: all."""
        columns = None
        if labels is not None:
            width = self._levels[0].shape[1]
            beyond = torch.arange(self.num_classes, width, device=labels.device)
            columns = torch.cat([labels, beyond])
        if rows is None:
            chosen = (own if columns is None else own[:, columns] for own in self._levels)
            return torch.cat([self._to_scores(own) for own in chosen])
        return self._to_scores(self._pick(rows, columns))

    def _pick(self, rows: Tensor, columns: Tensor | None) -> Tensor:
        """Logits of `rows`, whichever levels they are on."""
        width = self._levels[0].shape[1] if columns is None else len(columns)
        picked = self._levels[0].new_empty(len(rows), width)
        start = 0
        for own in self._levels:
            here = ((rows >= start) & (rows < start + len(own))).nonzero().squeeze(1)
            index = rows[here] - start
            picked[here] = own[index] if columns is None else own[index[:, None], columns]
            start += len(own)
        return picked


class Forecast(NamedTuple):
    """What is predicted for the priors of one image, in float32, without gradient."""

    boxes: Tensor  # (R, 4)
    scores: ClassScores  # (R, C)
    quality: Tensor  # (R,) in [0, 1]; 1 without a quality branch


class Claims(NamedTuple):
    """Which ground truth each prior learns, and how well it suits it."""

    matches: Tensor  # (R,) int64, see `Assigner`
    quality: Tensor | None = None  # (R,) target of quality losses in [0, 1]; None: the IoU


class PredictionAssigner(ABC):
    """Which ground truth each prior learns, given what is predicted for it.

    Geometry alone does not say how many positives there are: a batch cannot be cut into
    micro-batches, and the logits must exist before the loss.
    """

    @abstractmethod
    def __call__(self, priors: Priors, boxes: Tensor, labels: Tensor, forecast: Forecast) -> Claims:
        """Match `priors` (R) to the objects of one image.

        Args:
            priors: R of them.
            boxes: (M, 4); M may be 0.
            labels: (M,) int64 in [0, C).
            forecast: for the same priors.
        """


def row_pieces(rows: Tensor, num_classes: int) -> Iterator[Tensor]:
    """Cut `rows` (n,) so that a piece times `num_classes` is at most SCORES_AT_ONCE, at least 1."""
    yield from rows.split(max(1, SCORES_AT_ONCE // num_classes))


def rank_in_group(values: Tensor, groups: Tensor) -> Tensor:
    """(n,) position of every value among those of its group, smallest first, equal ones in order.

    Args:
        values: (n,) finite.
        groups: (n,) int64, any numbers.
    """
    order = values.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]
    _, counts = torch.unique_consecutive(groups[order], return_counts=True)
    starts = counts.cumsum(0) - counts
    positions = torch.arange(len(order), device=order.device) - starts.repeat_interleave(counts)
    return torch.empty_like(order).scatter_(0, order, positions)
