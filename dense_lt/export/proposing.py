"""The region proposal network of a batch at once: as many regions in every image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dense_lt.export.batched import clipped, least, rows_of
from dense_lt.export.suppression import Suppression
from dense_lt.models.two_stage.proposals import SMALLEST_SIDE, ProposalNetwork

NO_OBJECT = -1e30
"""Logit of what is no candidate; that of an anchor lies far above."""


class Proposer(nn.Module):
    """Selects as `ProposalSelection` does; where an image has fewer proposals, boxes are 0."""

    def __init__(self, network: ProposalNetwork, suppress: Suppression) -> None:
        """Share the weights of `network`; `suppress` is one of `suppression.py`."""
        super().__init__()
        self.head = network.head
        self._priors = network.priors
        self._levels = network.levels
        self._coder, self._nms_iou = network.selection
        self._limits = network.test_limits
        self._suppress = suppress

    def forward(self, maps: list[Tensor], sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Propose.

        Args:
            maps: of all levels of the pyramid (B, channels, H_l, W_l).
            sizes: (B, 2) height and width of each image before padding.

        Returns:
            boxes (B, P, 4) best first and scores (B, P), 0 where there is no proposal.
        """
        levels = maps[self._levels]
        predictions = self.head(levels)
        cells = [(x.shape[-2], x.shape[-1]) for x in levels]
        priors = self._priors.boxes_of_levels(cells, sizes.device)
        logits, boxes, numbers = [], [], []
        columns = zip(predictions.logits, predictions.codes, priors, strict=True)
        for number, (logit, code, prior) in enumerate(columns):
            own, rows = logit.squeeze(-1).topk(least(self._limits.pre_nms_top_k, logit.shape[1]))
            logits.append(own)
            boxes.append(self._coder.decode(rows_of(code, rows), prior[rows]))
            numbers.append(torch.full_like(rows[0], number))
        placed = clipped(torch.cat(boxes, 1), sizes)
        large = (placed[..., 2:] - placed[..., :2] >= SMALLEST_SIDE).all(-1)
        known = torch.cat(logits, 1).where(large, NO_OBJECT)  # (B, n)
        return self._best(placed, known, torch.cat(numbers))

    def _best(self, boxes: Tensor, logits: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Of boxes (B, n, 4) with logits (B, n), on `levels` (n,) that suppress within each."""
        numbers = torch.arange(len(self._priors.strides), device=levels.device)
        by_level = logits[:, None].where(levels == numbers[:, None], NO_OBJECT)  # (B, L, n)
        most = self._limits.proposals
        kept = self._suppress(boxes, by_level, self._nms_iou, NO_OBJECT, most)
        images, _, rows = kept.unbind(1)
        left = torch.full_like(logits, NO_OBJECT).index_put((images, rows), logits[images, rows])
        left, rows = left.topk(least(most, left.shape[1]))
        return rows_of(boxes, rows) * (left > NO_OBJECT)[..., None], left.sigmoid()
