"""What happens in one optimizer step: forward, backward, clip, check, write, commit statistics.

Several processes equal one process with their joint batch. The loss of each is divided by the
positives per process of the whole step, and DistributedDataParallel averages the gradients:
mean_r(L_r / (n / W)) = sum_r L_r / n. Batch normalisation is the exception: its statistics are
those of each process's own images.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from dense_lt.balance.statistics import commit_all, discard_all
from dense_lt.engine.failures import not_finite_error
from dense_lt.engine.optimizers import set_learning_rate
from dense_lt.engine.pieces import MemoryFit, split_batch
from dense_lt.engine.schedules import Schedule
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch, Losses
from dense_lt.utils import distributed


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step gives to the log; tensors on the device, since reading one waits for it."""

    losses: Losses  # of this process's images, detached
    gradient_norm: Tensor  # () before clipping
    lr: float
    num_images: int  # of this process


class TrainingStep:
    """Calling it makes one optimizer step.

    Attributes:
        detector: the model itself, never wrapped.
        optimizer: its optimizer; every group holds `initial_lr`.
        fit: what finds the number of pieces, None where it is given.
    """

    def __init__(
        self,
        detector: Detector,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        device: torch.device,
        micro_batches: int | MemoryFit = 1,
        clip_norm: float | None = None,
        precision: str = "fp32",
        failures: Path | None = None,
    ) -> None:
        """Prepare the step.

        Args:
            detector: already on `device`.
            optimizer: over the detector's parameters.
            schedule: factor on the learning rate.
            device: where batches are moved to.
            micro_batches: pieces a batch is cut into, or what finds their number.
            clip_norm: largest L2 norm of the gradient, None for no limit.
            precision: "fp32" or "bf16" (autocast of the forward pass).
            failures: folder for a batch whose loss is not finite, None to keep none.
        """
        self.detector = detector
        self.optimizer = optimizer
        self.device = device
        self._schedule = schedule
        self.fit = micro_batches if isinstance(micro_batches, MemoryFit) else None
        self._micro_batches = micro_batches if isinstance(micro_batches, int) else 1
        self._clip_norm = clip_norm
        self._autocast = precision == "bf16"
        self._failures = failures
        self._model = _over_processes(detector, device)

    def __call__(self, batch: Batch, step: int) -> StepResult:
        """Make optimizer step number `step`, counted from 1, with this process's `batch`.

        Raises:
            FloatingPointError: a loss or the gradient is not finite in any process. Neither the
                weights nor the statistics have been touched.
        """
        lr = set_learning_rate(self.optimizer, self._schedule(step - 1))
        batch = batch.to(self.device)
        losses = self.backward(batch)
        norm = get_total_norm(p.grad for p in self.detector.parameters() if p.grad is not None)
        finite = norm.isfinite() & _total(losses).isfinite()
        failures = distributed.sum_over_processes(1.0 - finite.float())
        if failures.item():  # the one line of a step that waits for the device
            discard_all(self.detector)
            facts = {name: loss.item() for name, loss in losses.items()}
            facts |= {"gradient norm": norm.item(), "learning rate": lr}
            raise not_finite_error(
                batch,
                facts,
                step=step,
                detector=self.detector,
                folder=self._failures,
                clip_norm=self._clip_norm,
            )
        if self._clip_norm is not None:
            clip_grads_with_norm_(self.detector.parameters(), self._clip_norm, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # Every process has noted gradients of W times its share of the joint batch's loss.
        commit_all(self.detector, weight=1 / distributed.world_size())
        return StepResult(losses, norm, lr, len(batch.infos))

    def backward(self, batch: Batch) -> Losses:
        """Leave the gradient of `batch`, on the device, in the parameters; losses, detached."""
        if self.fit is None:
            return self._accumulate(self._model, batch, self._micro_batches)
        if distributed.is_distributed():
            self.fit.rehearse(batch, partial(self._accumulate, self.detector, batch))
            return self._accumulate(self._model, batch, self.fit.pieces)
        return self.fit(len(batch.infos), partial(self._accumulate, self._model, batch))

    def _accumulate(self, model: nn.Module, batch: Batch, number: int) -> Losses:
        """Forward and backward of `model`, the detector or what wraps it, piece after piece."""
        pieces = split_batch(batch, number)
        # Every piece is divided by the positives of the whole step, so that their sum is the loss
        # of the undivided batch. (Losses that divide by something only the forward pass knows,
        # such as the sum of predicted IoUs, are equal to it only approximately.)
        normalizer = self._positives_per_process(batch) if len(pieces) > 1 else None
        totals: Losses = {}
        for piece in pieces:
            with _gradient_sync(model, wanted=piece is pieces[-1]):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
                    losses = model(piece.images, piece.targets, normalizer=normalizer)
                _total(losses).backward()
            for name, loss in losses.items():
                totals[name] = totals[name] + loss.detach() if name in totals else loss.detach()
        return totals

    def _positives_per_process(self, batch: Batch) -> Tensor:
        own = self.detector.count_positives(batch.images, batch.targets)
        return distributed.normalizer_over_processes(own.float())


def _total(losses: Losses) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _gradient_sync(model: nn.Module, *, wanted: bool) -> AbstractContextManager[None]:
    """Processes exchange gradients once per step: with the last piece."""
    if wanted or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def _over_processes(detector: Detector, device: torch.device) -> nn.Module:
    """The detector, wrapped so that gradients are averaged when there are several processes."""
    if not distributed.is_distributed():
        return detector
    # The gradient statistics, buffers too, are equal everywhere after every commit; broadcasting
    # them would only write the same numbers into tensors that the forward pass has read.
    return DistributedDataParallel(
        detector,
        device_ids=[device.index] if device.type == "cuda" else None,
        broadcast_buffers=False,
    )
