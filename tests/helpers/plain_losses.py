"""The classification losses as their papers write them: dense targets, no shared code, autograd."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.ops.matching import BACKGROUND, IGNORE


@dataclass(frozen=True)
class Rows:
    """What a loss is told beside the logits."""

    labels: Tensor  # (N,)
    quality: Tensor  # (N,)
    ratio: Tensor  # (C,)
    counts: ClassCounts
    checked: Tensor | None = None  # (N, C): classes that can be negatives of a row
    chosen: Tensor | None = None  # (C,): classes that the federated loss has drawn

    @property
    def hot(self) -> Tensor:
        """(N, C) 1 at the class of a row."""
        hot = torch.zeros(len(self.labels), len(self.ratio), dtype=self.ratio.dtype)
        found = self.labels >= 0
        hot[found, self.labels[found]] = 1
        return hot


def plain_loss(section: ClassificationLossConfig, logits: Tensor, rows: Rows) -> Tensor:
    """Sum over all entries, times the weight of the section; the normaliser is 1."""
    num_classes = len(rows.ratio)
    costs = _costs(section, logits[:, :num_classes], rows)
    counts = rows.labels != IGNORE
    if rows.checked is not None:
        costs = costs * torch.maximum(rows.checked, rows.hot)
    total = (costs * counts[:, None]).sum()
    if logits.shape[1] > num_classes:
        total = total + (_objectness(section, logits[:, -1], rows) * counts).sum()
    return section.weight * total


def _costs(section: ClassificationLossConfig, z: Tensor, rows: Rows) -> Tensor:  # noqa: C901
    y, iou = rows.hot, rows.hot * rows.quality[:, None]
    images = torch.tensor(rows.counts.images, dtype=z.dtype)
    match section.kind:
        case "focal":
            return _focal(z, y, section.alpha, section.gamma)
        case "bce":
            return _bce(z, y)
        case "equalized_focal":
            gamma = section.gamma + section.scale * (1 - rows.ratio.clamp(max=1))
            return gamma / section.gamma * _focal(z, y, section.alpha, gamma)
        case "quality_focal":
            return (iou - z.sigmoid()).abs() ** section.gamma * _bce(z, iou)
        case "equalized_quality_focal":
            gamma = section.gamma + section.scale * (1 - rows.ratio.clamp(max=1))
            return gamma / section.gamma * (iou - z.sigmoid()).abs() ** gamma * _bce(z, iou)
        case "varifocal":
            negative = section.alpha * z.sigmoid() ** section.gamma * _bce(z, y)
            return torch.where(y > 0, iou * _bce(z, iou), negative)
        case "eql_v1":
            items = torch.tensor(getattr(rows.counts, section.count), dtype=z.dtype)
            found = (rows.labels >= 0).to(z.dtype)[:, None]
            dropped = found * (items < section.threshold) * (1 - y)
            return (1 - dropped) * _focal(z, y, section.alpha, section.gamma)
        case "eql_v2" | "eql_v2_focal":
            f = torch.sigmoid(section.steepness * (rows.ratio - section.mu))
            weight = y * (1 + section.alpha * (1 - f)) + (1 - y) * f
            if section.kind == "eql_v2":
                return weight * _bce(z, y)
            return weight * _focal(z, y, section.focal_alpha, section.focal_gamma)
        case "class_weighted_focal":
            assert (section.scheme, section.entries) == ("square_root", "positive")
            weight = images**-0.5 / (images**-0.5).mean()
            return torch.where(y > 0, weight, 1) * _focal(z, y, section.alpha, section.gamma)
        case "seesaw":
            return _seesaw(section, z, rows) * _focal(z, y, section.alpha, section.gamma)
        case "federated_loss":
            assert rows.chosen is not None
            return rows.chosen * _focal(z, y, section.alpha, section.gamma)
        case "ecm":
            others = (1 + section.background) * images.sum() - images
            weight = others / images * torch.log(1 + images / others)
            margin = torch.log(images / others) / 4
            return weight * _focal(2 * z + margin, y, section.alpha, section.gamma)


def _seesaw(section: ClassificationLossConfig, z: Tensor, rows: Rows) -> Tensor:
    """(N, C) by loops over the entries, as in the text of the paper."""
    n = getattr(rows.counts, section.count)
    weight = torch.ones_like(z)
    p = z.detach().sigmoid()
    for row, label in enumerate(rows.labels.tolist()):
        for other in range(z.shape[1] if label >= 0 else 0):
            if other == label:
                continue
            if n[other] < n[label]:
                weight[row, other] *= (n[other] / n[label]) ** section.mitigation
            odds = float(p[row, other] / max(float(p[row, label]), 0.01))
            if odds > 1:
                weight[row, other] *= odds**section.compensation
    return weight


def _objectness(section: ClassificationLossConfig, z: Tensor, rows: Rows) -> Tensor:
    """(N,) of the logit that says "no object"."""
    background = (rows.labels == BACKGROUND).to(z.dtype)
    if section.kind == "eql_v2":
        return _bce(z, background)
    return _focal(-z, 1 - background, section.focal_alpha, section.focal_gamma)


def _bce(z: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(z, target, reduction="none")


def _focal(z: Tensor, y: Tensor, alpha: float, gamma: Tensor | float) -> Tensor:
    p = z.sigmoid()
    weight = y * alpha + (1 - y) * (1 - alpha) if alpha >= 0 else 1.0
    return weight * (y * (1 - p) + (1 - y) * p) ** gamma * _bce(z, y)


def draw_ratio(num_classes: int, seed: int = 0) -> Tensor:
    """(C,) from 0 over 1 to beyond; the first class saw nothing."""
    ratio = 1.5 * torch.rand(
        num_classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    ratio[0], ratio[-1] = math.inf, 0
    return ratio
