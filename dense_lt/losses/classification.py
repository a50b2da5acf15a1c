"""What do wrong class scores cost, and how does that cost watch and rebalance itself?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dense_lt.balance.modulation import Column, Modulator, with_column
from dense_lt.balance.row_weights import Groups, RowPolicy, images_of_rows
from dense_lt.balance.statistics import GradientStatistics, of_plain_sums
from dense_lt.losses.logits import LogitMap, require_plain, weight_of
from dense_lt.ops.matching import BACKGROUND
from dense_lt.ops.sigmoid_loss.arguments import Matrices, Modulation, as_tuple
from dense_lt.ops.sigmoid_loss.backends import BackendName
from dense_lt.ops.sigmoid_loss.function import LossSums, modulated_sigmoid_loss
from dense_lt.ops.sigmoid_loss.fused_head import fused_head_loss

_BY_MAP = ("labels", "quality", "groups")
"""Arguments of the loss that are one for each pyramid level, or None."""


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
        varifocal: that IoU is their weight too, and they are not focused.
        objectness: how one logit more is shaped, whose target is 1 for background; None for no
            such logit. It has no statistics, and its complement multiplies the scores (Tan et al.
            2021, where it has plain cross-entropy).
        row_policy: what else makes the negatives of a row count less.
        logit_map: what the loss sees of a logit; scores do not know it.
        federated: whether `checked` is wanted; see `__call__`.
        note_scaled: note gradients after the factor weight / normaliser, as EFL does, or before
            it, as EQL v2 does.
        backend: see `modulated_sigmoid_loss`.
    """

    def __init__(  # noqa: PLR0913 - what losses of this family are made of
        self,
        modulator: Modulator,
        statistics: GradientStatistics,
        *,
        weight: float = 1.0,
        needs_quality: bool = False,
        varifocal: bool = False,
        objectness: Column | None = None,
        row_policy: RowPolicy | None = None,
        logit_map: LogitMap | None = None,
        federated: bool = False,
        note_scaled: bool = True,
        backend: BackendName = "auto",
    ) -> None:
        super().__init__()
        self.modulator = modulator
        self.statistics = statistics
        self.weight = weight
        self.needs_quality = needs_quality
        self.varifocal = varifocal
        self.objectness = objectness
        self.row_policy = row_policy
        self.logit_map = logit_map
        self.federated = federated
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
        checked: Tensor | None = None,
        overwrite_logits: bool = False,
    ) -> Tensor:
        """See `ClassificationLoss.__call__`.

        Args:
            logits: (N, K), or one matrix per pyramid level.
            labels: (N,) for each matrix.
            normalizer: ().
            quality: (N,) for each matrix; needed if `needs_quality`.
            checked: (B, C).
            overwrite_logits: the gradient may take the logits' memory; see
                `modulated_sigmoid_loss`.
        """
        matrices = as_tuple(logits)
        call = self._call(labels, normalizer, quality, checked, logits=matrices)
        if self.logit_map is not None:
            matrices, overwrite_logits = self.logit_map(matrices), True
        sums = modulated_sigmoid_loss(matrices, overwrite_logits=overwrite_logits, **call)
        self._note(sums, call["scale"])
        return sums.loss

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
        """See `ClassificationLoss.fused`; under autocast the convolution takes its dtype.

        Raises:
            ValueError: a classifier that is not a plain 1x1 or 3x3 convolution.
        """
        call = self._call(labels, normalizer, quality, checked)
        costs = []
        for index, classifier in enumerate(classifiers):
            require_plain(classifier)
            weight, bias = weight_of(classifier), classifier.bias
            if self.logit_map is not None:
                weight, bias = self.logit_map.convolution(weight, bias)
            own = slice(None) if len(classifiers) == 1 else slice(index, index + 1)
            rows = {name: call[name] and call[name][own] for name in _BY_MAP}
            sums = fused_head_loss(features[own], weight, bias, **{**call, **rows})
            self._note(sums, call["scale"])
            costs.append(sums.loss)
        return costs[0] if len(costs) == 1 else torch.stack(costs).sum()

    @property
    def can_fuse(self) -> bool:
        """Whether `fused` exists."""
        return self.row_policy is None or not self.row_policy.needs_logits

    def modulation(self) -> Modulation:
        """Exponent and weights of the K logits in the current optimizer step."""
        modulation = self.modulator(self.statistics.ratio())
        return with_column(modulation, self.objectness) if self.objectness else modulation

    def scores(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (..., C) probabilities, float32."""
        scores = logits.float().sigmoid()
        return scores[..., :-1] * (1 - scores[..., -1:]) if self.objectness else scores

    def best_scores(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (...) the highest of `scores`, without making them all."""
        best = logits[..., : self.num_classes].amax(dim=-1, keepdim=True)
        return self.scores(torch.cat([best, logits[..., self.num_classes :]], dim=-1)).squeeze(-1)

    def summary(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """Means over groups of classes, for the log: `ratio/GROUP`, `gamma/GROUP`, ...

        Ratios count up to 1, which is also what a class gets of which nothing was seen. Groups
        without classes are left out. Waits for the device once.
        """
        columns = {"ratio": self.statistics.ratio().clamp(max=1), **self.modulation()._asdict()}
        held = torch.stack([values[: self.num_classes] for values in columns.values()]).cpu()
        return {
            f"{name}/{group}": float(values[list(labels)].mean())
            for name, values in zip(columns, held, strict=True)
            for group, labels in groups.items()
            if len(labels)
        }

    def initial_bias(self, prior_probability: float) -> Tensor:
        """(K,) bias of a classifier that scores every class with `prior_probability`.

        A mapped logit has the prior before its offset. The objectness logit says "no object" with
        1 - prior: the published start, unlikely as a class, would cost units at every background.
        """
        bias = torch.full((self.num_logits,), math.log(prior_probability / (1 - prior_probability)))
        bias[self.num_classes :] *= -1
        return bias if self.logit_map is None else bias / self.logit_map.factor

    def _call(
        self,
        labels: Matrices,
        normalizer: Tensor,
        quality: Matrices | None,
        checked: Tensor | None,
        logits: tuple[Tensor, ...] | None = None,
    ) -> dict[str, Any]:
        """The arguments that both ways to the loss have in common."""
        if self.needs_quality and quality is None:
            raise ValueError("this loss needs `quality`, the IoU of each positive's box")
        modulation, targets = self.modulation(), as_tuple(labels)
        groups, rows = self._groups(targets, checked, logits), None
        if groups is not None:
            modulation, rows = groups.shape(modulation)
        if self.varifocal and quality is not None:  # who misses its object learns nothing of it
            missed = [q <= 0 for q in as_tuple(quality)]
            targets = tuple(
                torch.where(m & (t >= 0), BACKGROUND, t)
                for m, t in zip(missed, targets, strict=True)
            )
        if self.objectness:  # background is the class of the objectness logit
            targets = [torch.where(t == BACKGROUND, self.num_classes, t) for t in targets]
        return {
            **modulation._asdict(),
            "labels": targets,
            "scale": self.weight / normalizer,
            "quality": quality if self.needs_quality else None,
            "groups": rows,
            "varifocal": self.varifocal,
            "backend": self.backend,
        }

    def _groups(
        self,
        labels: tuple[Tensor, ...],
        checked: Tensor | None,
        logits: tuple[Tensor, ...] | None,
    ) -> Groups | None:
        """Rows by what makes their negatives count less; None where nothing does."""
        groups = None if checked is None else images_of_rows(checked, labels)
        if self.row_policy is None:
            return groups
        if self.row_policy.needs_logits:
            if logits is None:
                raise ValueError("this loss sees logits first. Set model.head.fused_loss: false")
            logits = tuple(matrix.detach() for matrix in logits)
        own = self.row_policy(labels, logits)
        return own if groups is None else own.times(groups)

    def _note(self, sums: LossSums, scale: Tensor) -> None:
        if not sums.loss.requires_grad:  # evaluation, or a frozen classifier
            return
        classes = slice(self.num_classes)
        weight = scale if self.note_scaled else of_plain_sums()
        if self.logit_map is not None:
            weight = weight * self.logit_map.factor
        self.statistics.note(sums.positive[classes], sums.negative[classes], weight=weight)
