"""How much have positives pulled and negatives pushed each class so far?

`note` collects what a loss finds during an optimizer step, `commit` adds it to the sums of the run,
once per step and over all processes. Between two commits the ratio stands still, whatever the
number of micro-batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dense_lt.utils.distributed import sum_over_processes, world_size
from dense_lt.utils.errors import DataError

_EPSILON = 1e-10
"""Added to the negative sum, as in the published systems."""


class GradientStatistics(nn.Module):
    """Running sums, per class, of |dL/dlogit| over positive and over negative entries.

    Buffers, saved with the model and in float64, since in float32 the steps of a long run would
    vanish beside the sums of frequent classes:
        positive, negative: (C,) sums.
        steps, dropped: () int64, optimizer steps that were added, and that were thrown away.
        class_table: () int64, digest of the classes' names (`tie_to_classes`), 0 if not given.

    What is pending is not a buffer: DistributedDataParallel would overwrite it with that of the
    first process. The loss must stay outside activation checkpointing, which would run it, and
    with it `note`, twice.

    Args:
        num_classes: C.
        decay: factor on the sums at every commit; 1 keeps the whole life, as published.
        count_prior: start of both sums, so that a ratio starts near 1; 0 as published.
        common_negative: the least that counts as negative gradient of any class, as a fraction of
            the mean positive gradient of a class; see `ratio`. 0 as published.
    """

    positive: Tensor
    negative: Tensor
    steps: Tensor
    dropped: Tensor
    class_table: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        decay: float = 1.0,
        count_prior: float = 0.0,
        common_negative: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.decay = decay
        self.count_prior = count_prior
        self.common_negative = common_negative
        for name in ("positive", "negative"):
            sums = torch.full((num_classes,), count_prior, dtype=torch.float64)
            self.register_buffer(name, sums)
        for name in ("steps", "dropped", "class_table"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self._pending: Tensor | None = None  # (2, C) float64
        self.register_load_state_dict_pre_hook(_check_classes)

    @torch.no_grad()
    def note(self, positive: Tensor, negative: Tensor, *, weight: Tensor | float = 1.0) -> None:
        """Add the sums (C,) of one call, times `weight`, to what is pending."""
        sums = torch.stack([positive, negative]).double() * weight
        self._pending = sums if self._pending is None else self._pending + sums

    @torch.no_grad()
    def ratio(self) -> Tensor:
        """(C,) float32 positive / negative in [0, inf]; inf where nothing was seen of either.

        With `common_negative` b > 0 the ratio is P / max(N, b mean(P)): negatives count for every
        class at least as much as b times the positives of a mean class. N - P is the gradient that
        moved a class's bias from its start, so P / N says nothing about a class that starts below
        its equilibrium, and less with every step about any other. A class with more than b mean(P)
        of positive gradient is not touched: its ratio is the published one, clamped or above 1.
        """
        # decayed sums of a class that is not noted any more would fall below it
        negative = self.negative + (_EPSILON if self.decay == 1 else 0.0)
        unseen = (self.positive + self.negative) == 0
        if self.common_negative:
            least = self.common_negative * self.positive.mean()
            negative = torch.maximum(negative, least)
        return torch.where(unseen, torch.inf, self.positive / negative).float()

    def commit(self, *, weight: float = 1.0) -> None:
        """Close an optimizer step of this tracker alone; see `commit_all`."""
        _commit([self], weight)

    def discard(self) -> None:
        """Forget what is pending, because the optimizer skipped this step."""
        self._pending = None
        self.dropped += 1

    def pending(self) -> Tensor:
        """(2, C) float64 positive and negative sums since the last commit, of this process."""
        if self._pending is None:
            return self.positive.new_zeros(2, self.num_classes)
        return self._pending

    @torch.no_grad()
    def _add(self, sums: Tensor) -> None:
        """Add sums (2, C) over all processes, or count a dropped step if they are not finite."""
        finite = torch.isfinite(sums).all()  # stays on the device
        for total, own in zip((self.positive, self.negative), sums, strict=True):
            total.copy_(torch.where(finite, self.decay * total + own, total))
        self.steps += finite
        self.dropped += ~finite
        self._pending = None


def of_plain_sums() -> float:
    """Weight of a note that is a sum over this process's rows, whatever the loss is divided by.

    Losses are divided by the positives per process, so their notes are W times a share of those of
    the joint batch, and are committed with 1/W. With this weight a plain sum is so, too.
    """
    return float(world_size())


def named_statistics(model: nn.Module) -> dict[str, GradientStatistics]:
    """All trackers inside `model`, by module name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, GradientStatistics)
    }


def tie_to_classes(model: nn.Module, names: Sequence[str]) -> None:
    """Stamp every tracker in `model` with its classes, `names` in label order.

    From then on a checkpoint whose statistics were collected with other classes is refused.
    """
    digest = hashlib.sha256("\n".join(names).encode()).digest()
    for statistics in named_statistics(model).values():
        statistics.class_table.fill_(int.from_bytes(digest[:7]) + 1)


def commit_all(model: nn.Module, *, weight: float = 1.0) -> None:
    """Close an optimizer step: add what is pending everywhere to the sums, over all processes.

    Every process must call this once per step. All trackers travel in one all-reduce; the sums are
    added, not averaged. Sums of a tracker that are not finite are dropped and counted, without
    waiting for the device.

    Args:
        model: whose trackers are meant.
        weight: factor on what is pending, where the loss that was noted is not that of the whole
            step: 1/K if a step averages K losses, 1/W if W processes average their gradients.
    """
    _commit(list(named_statistics(model).values()), weight)


def discard_all(model: nn.Module) -> None:
    """Forget what is pending in every tracker of `model`; count the step as dropped."""
    for statistics in named_statistics(model).values():
        statistics.discard()


def _commit(trackers: Sequence[GradientStatistics], weight: float) -> None:
    if not trackers:
        return
    packed = torch.cat([tracker.pending().flatten() for tracker in trackers]) * weight
    totals = sum_over_processes(packed)
    sizes = [2 * tracker.num_classes for tracker in trackers]
    for tracker, sums in zip(trackers, totals.split(sizes), strict=True):
        tracker._add(sums.view(2, -1))


def _check_classes(
    statistics: GradientStatistics, stored: Mapping[str, Tensor], prefix: str, *_: object
) -> None:
    """Refuse sums of other classes; forget what is pending."""
    sums = stored.get(f"{prefix}positive")
    if sums is not None and len(sums) != statistics.num_classes:
        raise DataError(
            f"checkpoint: `{prefix}positive` holds gradient statistics of {len(sums)} classes but "
            f"this model has {statistics.num_classes}. They belong to the class table they were "
            "collected with: use that data set, or start without the statistics"
        )
    table, own = stored.get(f"{prefix}class_table"), int(statistics.class_table)
    if table is not None and int(table) and own not in (0, int(table)):
        raise DataError(
            f"checkpoint: the gradient statistics `{prefix}positive` were collected with other "
            f"classes, or another order of them, than the {statistics.num_classes} of this run. "
            "Use that data set, or start without the statistics"
        )
    statistics._pending = None
