"""The losses as plain functions, for those who classify images or pixels.

They are calls of the losses that the detectors have. What all of them take:

    logits: (N, K), or (B, K, H, W), or any (B, K, ...).
    targets: int64 (N,), or (B, H, W), ...: classes in [0, C). C itself means "none of them": every
        class is a negative, and the logits for that, if there are any, learn it.
    ignore_index: the target of rows that cost nothing and count nowhere.
    normalizer: what the sum over rows is divided by; None is the number of rows that count.

K is C, or more where a function says that there can be logits for "none". Every function returns a
scalar, and raises ValueError for shapes or targets that do not fit.

`statistics`, a `GradientStatistics` of the C classes, is what the adaptive losses remember. It
belongs into a checkpoint, and changes when it is told that an optimizer step is over, with
`statistics.commit()`, whatever the number of losses in the step. Other losses take `counts`, of the
training items of each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dense_lt.balance.counts import Scheme, class_weights, effective_margin
from dense_lt.balance.modulation import (
    ClassWeightedFocal,
    Column,
    ConstantFocal,
    EqualizationV2,
    EqualizedFocal,
    Modulator,
)
from dense_lt.balance.row_weights import SampledClasses, TailDropping
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.losses.classification import SigmoidLoss
from dense_lt.losses.logits import LogitMap
from dense_lt.losses.regions.seesaw import SeesawLoss
from dense_lt.losses.regions.softmax import CountAdjustment, GradientAdjustment, SoftmaxLoss
from dense_lt.ops.matching import BACKGROUND

IGNORE_INDEX = -100
"""Targets that are left out unless `ignore_index` says otherwise, as in torch."""

CROSS_ENTROPY = ConstantFocal(alpha=-1, gamma=0)


def equalization_loss_v2(
    logits: Tensor,
    targets: Tensor,
    statistics: GradientStatistics,
    *,
    steepness: float = 12.0,
    mu: float = 0.8,
    alpha: float = 4.0,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """Sigmoids; negatives weigh f(ratio), positives 1 + alpha (1 - f); see `EqualizationV2`.

    With K = C + 1 the last logit says "none", unweighted: the published form for detectors.
    """
    loss = _sigmoids(EqualizationV2(steepness, mu, alpha), statistics, logits, note_scaled=False)
    return _mean(loss, logits, targets, ignore_index, normalizer)


def equalized_focal_loss(
    logits: Tensor,
    targets: Tensor,
    statistics: GradientStatistics,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    scale: float = 8.0,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """Focal loss with an exponent that rises for classes of low ratio; see `EqualizedFocal`.

    Detectors divide by the rows with a class, `((targets >= 0) & (targets < C)).sum().clamp(1)`.
    """
    loss = SigmoidLoss(EqualizedFocal(alpha, gamma, scale), statistics)
    return _mean(loss, logits, targets, ignore_index, normalizer)


def softmax_equalization_loss(
    logits: Tensor,
    targets: Tensor,
    statistics: GradientStatistics,
    *,
    tau: float = 1.0,
    gradient: Literal["positive", "negative"] = "positive",
    smallest: float = 1e-4,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """Softmax-EQL: logits adjusted by the gradient that classes received; `GradientAdjustment`.

    With K = C + 1 the last logit is that of "none" and is not adjusted.
    """
    adjustment = GradientAdjustment(tau, gradient=gradient, smallest=smallest)
    background = logits.shape[1] > statistics.num_classes
    loss = SoftmaxLoss(statistics, adjustment=adjustment, note_scaled=True, background=background)
    return _mean(loss, logits, targets, ignore_index, normalizer)


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    statistics: GradientStatistics | None = None,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """Focal loss (Lin et al. 2017); `alpha` -1 and `gamma` 0 are binary cross-entropy.

    `statistics` watch it, so that a baseline can be compared with the losses that look at them.
    """
    statistics = statistics or GradientStatistics(logits.shape[1])
    loss = SigmoidLoss(ConstantFocal(alpha, gamma), statistics)
    return _mean(loss, logits, targets, ignore_index, normalizer)


def equalization_loss(
    logits: Tensor,
    targets: Tensor,
    counts: Sequence[int],
    *,
    threshold: float,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """EQL v1: rows with a class do not punish classes with fewer than `threshold` items.

    See `TailDropping`. K = C.
    """
    policy = TailDropping(torch.tensor(counts) < threshold)
    loss = SigmoidLoss(CROSS_ENTROPY, GradientStatistics(len(counts)), row_policy=policy)
    return _mean(loss, logits, targets, ignore_index, normalizer)


def federated_loss(
    logits: Tensor,
    targets: Tensor,
    counts: Sequence[int],
    *,
    num_classes: int = 50,
    exponent: float = 0.5,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """Sigmoids with negatives of the classes in the batch and a few drawn by torch's generator.

    See `SampledClasses`. K = C.
    """
    chance = torch.tensor(counts).clamp(min=1).float() ** exponent
    policy = SampledClasses(chance, num_classes)
    loss = SigmoidLoss(CROSS_ENTROPY, GradientStatistics(len(counts)), row_policy=policy)
    return _mean(loss, logits, targets, ignore_index, normalizer)


def effective_class_margin_loss(
    logits: Tensor,
    targets: Tensor,
    counts: Sequence[int],
    *,
    background: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """ECM: weighted sigmoids of 2 z + margin, while scores are those of z; `effective_margin`.

    K = C. `background` is the number of rows of "none" for one row of a class.
    """
    weights, margin = effective_margin(counts, background)
    loss = SigmoidLoss(
        ClassWeightedFocal(weights, CROSS_ENTROPY, positives_only=False),
        GradientStatistics(len(counts)),
        logit_map=LogitMap(2.0, margin),
    )
    return _mean(loss, logits, targets, ignore_index, normalizer)


def seesaw_loss(
    logits: Tensor,
    targets: Tensor,
    counts: Sequence[int],
    *,
    mitigation: float = 0.8,
    compensation: float = 2.0,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """Softmax that punishes rarer classes less and those that outscore the right one more.

    See `SeesawLoss`, which can also count by itself. With K = C + 2 the last two logits are those
    of "one of them" and "none", and a score is the class's times that of the first.
    """
    loss = SeesawLoss(
        GradientStatistics(len(counts)),
        mitigation=mitigation,
        compensation=compensation,
        counts=torch.tensor(counts),
        objectness=logits.shape[1] > len(counts),
    )
    return _mean(loss, logits, targets, ignore_index, normalizer)


def logit_adjusted_loss(
    logits: Tensor,
    targets: Tensor,
    counts: Sequence[int],
    *,
    tau: float = 1.0,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """Cross-entropy of z + tau ln(n / mean n); see `CountAdjustment`.

    With K = C + 1 the last logit is that of "none" and is not adjusted.
    """
    loss = SoftmaxLoss(
        GradientStatistics(len(counts)),
        adjustment=CountAdjustment(counts, tau),
        background=logits.shape[1] > len(counts),
    )
    return _mean(loss, logits, targets, ignore_index, normalizer)


def class_balanced_loss(
    logits: Tensor,
    targets: Tensor,
    counts: Sequence[int],
    *,
    scheme: Scheme = "effective_number",
    beta: float = 0.999,
    ignore_index: int = IGNORE_INDEX,
    normalizer: Tensor | float | None = None,
) -> Tensor:
    """Cross-entropy with a weight per class, of mean 1 over the classes; see `class_weights`.

    With K = C + 1 the last logit is that of "none", whose rows weigh 1.
    """
    loss = SoftmaxLoss(
        GradientStatistics(len(counts)),
        class_weight=class_weights(counts, scheme, beta=beta),
        background=logits.shape[1] > len(counts),
    )
    return _mean(loss, logits, targets, ignore_index, normalizer)


def _sigmoids(
    policy: Modulator, statistics: GradientStatistics, logits: Tensor, *, note_scaled: bool
) -> SigmoidLoss:
    objectness = Column() if logits.shape[1] > statistics.num_classes else None
    return SigmoidLoss(policy, statistics, objectness=objectness, note_scaled=note_scaled)


def _mean(
    loss: SigmoidLoss | SoftmaxLoss | SeesawLoss,
    logits: Tensor,
    targets: Tensor,
    ignore_index: int,
    normalizer: Tensor | float | None,
) -> Tensor:
    """`loss` of the rows that count, divided by `normalizer`."""
    if logits.ndim < 2 or targets.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"targets {tuple(targets.shape)} do not fit logits {tuple(logits.shape)}; logits are "
            "(N, K) with targets (N,), or (B, K, H, W) with targets (B, H, W)"
        )
    if isinstance(normalizer, int | float) and not normalizer > 0:
        raise ValueError(f"normalizer {normalizer}: a loss is divided by a number above 0")
    num_classes, num_logits = loss.num_classes, loss.num_logits
    if logits.shape[1] != num_logits:
        raise ValueError(
            f"logits have {logits.shape[1]} columns, but {num_classes} classes take {num_logits}"
        )
    kept = targets != ignore_index
    rows, labels = logits.movedim(1, -1)[kept], targets[kept]  # (N, K), (N,)
    last = num_classes if _knows_none(loss) else num_classes - 1
    if len(labels) and not 0 <= labels.min() <= labels.max() <= last:
        raise ValueError(
            f"targets lie in [{int(labels.min())}, {int(labels.max())}] but must lie in "
            f"[0, {last}], or be ignore_index={ignore_index}"
        )
    labels = torch.where(labels == num_classes, BACKGROUND, labels)
    if normalizer is None:
        normalizer = max(len(labels), 1)
    return loss.to(logits.device)(rows, labels, torch.as_tensor(normalizer, device=logits.device))


def _knows_none(loss: SigmoidLoss | SoftmaxLoss | SeesawLoss) -> bool:
    """Whether a row can have none of the classes: a sigmoid can say no, a softmax needs a logit."""
    return isinstance(loss, SigmoidLoss) or loss.num_logits > loss.num_classes
