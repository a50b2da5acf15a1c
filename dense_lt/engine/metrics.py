"""How is training going? Averages between log lines, one aligned line, ratios at evaluations."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from dense_lt.balance.statistics import GradientStatistics, named_statistics
from dense_lt.data.categories import GROUPS, CategoryTable
from dense_lt.engine.box_watch import BoxWatch
from dense_lt.engine.score_watch import ScoreWatch
from dense_lt.engine.step import StepResult
from dense_lt.engine.writers import Metrics, MetricWriter, StatisticsWriter
from dense_lt.losses.classification import SigmoidLoss
from dense_lt.models.classifier_norms import classifier_norms
from dense_lt.models.detector import Detector
from dense_lt.utils import distributed
from dense_lt.utils.logs import duration

_logger = logging.getLogger(__name__)

SCORES_EVERY = 10
"""Steps of a line, the first among them, of which one shows its scores."""

INACTIVE_RATIO = 0.95
"""Above this mean ratio of rare classes, equalized focal loss is focal loss with a rounding."""


class Recorder:
    """Collects what the steps report, and tells console, files and TensorBoard.

    Losses stay on the device until a line is due: adding them up does not wait for it. Every
    process has a recorder, because a line shows means over all of them; only one has writers.
    """

    def __init__(
        self,
        detector: Detector,
        categories: CategoryTable,
        *,
        writers: Sequence[MetricWriter],
        total_steps: int,
        done: int = 0,
        statistics_writer: StatisticsWriter | None = None,
        equalizing: str | None = None,
    ) -> None:
        """Start recording.

        Args:
            detector: whose gradient statistics are recorded.
            categories: for their frequency groups.
            writers: where numbers go; empty in every process but the main one.
            total_steps: optimizer steps of the whole run.
            done: steps that lie behind when this process starts.
            statistics_writer: where gradient sums go at evaluations; None in other processes.
            equalizing: short name of a loss that equalizes, to be told when it has nothing to do.
        """
        self._detector = detector
        self._categories = categories
        self._writers = writers
        self._total_steps = total_steps
        self._done_before = done
        self._statistics_writer = statistics_writer
        self._equalizing = equalizing
        self._scores = ScoreWatch(detector, categories) if writers else None
        self._boxes = BoxWatch(detector)
        self._started = time.monotonic()
        self._step_started = self._started
        self._clear()

    def _clear(self) -> None:
        self._steps, self._images = 0, 0
        self._seconds, self._waited = 0.0, 0.0
        self._sums: dict[str, Tensor] = {}

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Put this around fetching the next batch; it is also where the clock of a step starts."""
        self._step_started = time.monotonic()
        yield
        self._waited += time.monotonic() - self._step_started
        if self._scores is not None and self._steps % SCORES_EVERY == 0:
            self._scores.look_once()

    def note(self, result: StepResult) -> None:
        """Add one step's numbers to the line that is being collected."""
        values = {f"loss/{name}": loss for name, loss in result.losses.items()}
        values["gradient_norm"] = result.gradient_norm
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._lr = result.lr
        self._images += result.num_images
        self._steps += 1
        self._seconds += time.monotonic() - self._step_started

    def log(self, step: int) -> None:
        """Write the means since the last line, and start the next. All processes meet here."""
        sums = {name: total.double() for name, total in self._sums.items()} | self._boxes.take()
        means = distributed.mean_over_processes(torch.stack(list(sums.values())) / self._steps)
        values: dict[str, float | None] = dict(zip(sums, means.tolist(), strict=True))
        boxes = self._boxes.judge(values, steps=self._steps, processes=distributed.world_size())
        losses = [value or 0.0 for name, value in values.items() if name.startswith("loss/")]
        per_step = (time.monotonic() - self._started) / (step - self._done_before)
        values = {
            "time": round(time.time(), 3),
            "loss": sum(losses),
            **values,
            **boxes,
            "lr": self._lr,
            "images_per_second": self._images * distributed.world_size() / self._seconds,
            "data_wait": self._waited / self._steps,
            "memory_mb": _memory_mb(),
            "eta": per_step * (self._total_steps - step),
            "total_steps": self._total_steps,
            **self._balance(step),
        }
        _logger.info("%s", training_line(step, values))
        self._write("train", step, values)
        self._clear()

    def evaluated(self, step: int, metrics: Metrics) -> None:
        """Write an evaluation's metrics, with the mean gradient ratio of each frequency group."""
        values = {**metrics, **self._ratios()}
        self._warn_once(step)
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
        _logger.info("evaluation at step %d: %s", step, shown)
        self._write("evaluation", step, {"time": round(time.time(), 3), **values})
        self.keep_statistics(step)

    def keep_statistics(self, step: int) -> None:
        """Write the gradient sums of every class, and its classifier's length, after `step`."""
        if self._statistics_writer is not None:
            norms = classifier_norms(self._detector, len(self._categories))
            self._statistics_writer.write(step, self._detector, classifier_norms=norms)

    def close(self) -> None:
        """Close every writer."""
        for writer in self._writers:
            writer.close()

    def _ratios(self) -> dict[str, float | None]:
        """`gradient_ratio/GROUP`, with the module's name between if several losses keep them."""
        found: dict[str, float | None] = {}
        statistics = self._trackers()
        for name, own in statistics.items():
            prefix = f"{name}/" if len(statistics) > 1 else ""
            for group, mean in ratio_by_group(own.ratio(), self._categories).items():
                found[f"gradient_ratio/{prefix}{group}"] = mean
        return found

    def _balance(self, step: int) -> dict[str, float | None]:
        """Ratio, exponents, weights and scores of each group, of all losses that have them."""
        if not self._writers:
            return {}
        values = self._ratios()
        self._warn_once(step)
        losses = {
            name: module
            for name, module in self._detector.named_modules()
            if isinstance(module, SigmoidLoss) and module.num_classes == len(self._categories)
        }
        groups = {group: self._categories.labels_in_group(group) for group in GROUPS}
        for name, loss in losses.items():
            prefix = f"{name}/" if len(losses) > 1 else ""
            shown = loss.summary(groups).items()  # whose ratios are there already
            values |= {prefix + key: value for key, value in shown if not key.startswith("ratio/")}
        return values if self._scores is None else values | self._scores.means()

    def _warn_once(self, step: int) -> None:
        """Once the warm-up is over, tell of an equalized loss that has nothing to equalize."""
        if not self._equalizing or step <= self._total_steps / 10:
            return
        trackers = list(self._trackers().values())
        sums = torch.stack([own.positive + own.negative for own in trackers]).sum(0)
        means = torch.stack([own.ratio().clamp(0, 1) for own in trackers]).mean(0)
        seen, ratio = torch.stack([sums > 0, means]).cpu()  # one wait for the device
        labels = {group: self._categories.labels_in_group(group) for group in GROUPS}
        known = {group: [label for label in own if seen[label]] for group, own in labels.items()}
        ratios = {group: ratio[own].mean().item() if own else None for group, own in known.items()}
        if warn_if_inactive(self._equalizing, ratios, _remedy(trackers)):
            self._equalizing = None

    def _trackers(self) -> dict[str, GradientStatistics]:
        """Those of the data's classes, by module name."""
        found = named_statistics(self._detector)
        return {k: own for k, own in found.items() if own.num_classes == len(self._categories)}

    def _write(self, kind: str, step: int, values: Metrics) -> None:
        for writer in self._writers:
            writer.write(kind, step, values)


def ratio_by_group(ratio: Tensor, categories: CategoryTable) -> dict[str, float | None]:
    """Mean gradient ratio of the classes of each group.

    Args:
        ratio: (C,) in [0, inf]; above 1, and inf where nothing was seen yet, count as 1, which is
            what equalized focal loss makes of them.
        categories: C classes.

    Returns:
        Mean in [0, 1] of each of GROUPS, None for a group without classes.
    """
    clamped = ratio.clamp(0, 1).cpu()
    labels = {group: categories.labels_in_group(group) for group in GROUPS}
    return {group: clamped[own].mean().item() if own else None for group, own in labels.items()}


def warn_if_inactive(loss: str, ratios: Mapping[str, float | None], remedy: str) -> bool:
    """Say that a `loss` that equalizes trains like the one it equalizes, if so; whether it did.

    With few classes, or a low prior probability, negatives push so little that the ratio stays
    near 1 for the rarest classes too, and nothing is left to equalize.

    Args:
        loss: its short name.
        ratios: mean gradient ratio of each group, rarest first; None for one without classes.
        remedy: what may be done about the statistics.
    """
    group, ratio = next(((g, r) for g, r in ratios.items() if r is not None), ("", 0.0))
    if ratio <= INACTIVE_RATIO:
        return False
    _logger.warning(
        "%s is inactive with this prior and learning rate: mean gradient ratio of %s classes above "
        "%.2f (it is %.3f), so it trains like the loss that it equalizes. If rare classes stay "
        "behind, raise model.head.prior_probability (0.1 on small data), or %s, or lower "
        "optimizer.lr; docs/losses.md says more.",
        loss,
        group,
        INACTIVE_RATIO,
        ratio,
        remedy,
    )
    return True


def _remedy(trackers: Sequence[GradientStatistics]) -> str:
    """What may be done about the statistics of a loss that has nothing to equalize."""
    if prior := max(own.count_prior for own in trackers):
        return f"lower model.loss.statistics.count_prior (it is {prior:g}, beside sums of gradient)"
    if common := max(own.common_negative for own in trackers):
        return f"raise model.loss.statistics.common_negative (it is {common:g})"
    return "set model.loss.statistics.common_negative=0.1"


def training_line(step: int, values: Metrics) -> str:
    """One line of the log; columns stay under each other."""
    total = int(values["total_steps"] or 0)
    parts = "  ".join(
        f"{name.removeprefix('loss/')} {value:.4f}"
        for name, value in values.items()
        if name.startswith("loss/")
    )
    return (
        f"step {step:>{len(str(total))}}/{total}  loss {values['loss']:.4f}  {parts}  "
        f"lr {values['lr']:.2e}  gradient {values['gradient_norm']:.3g}  "
        f"{values['images_per_second']:.1f} images/s  data {values['data_wait']:.3f} s  "
        f"{values['memory_mb']:.0f} MB  left {duration(values['eta'] or 0)}{_ratios_shown(values)}"
    )


def _ratios_shown(values: Metrics) -> str:
    """The gradient ratios of rare, common and frequent classes, where there is one loss."""
    ratios = [values.get(f"gradient_ratio/{group}") for group in GROUPS]
    if all(ratio is None for ratio in ratios):
        return ""
    return "  ratio " + " ".join("n/a" if ratio is None else f"{ratio:.2f}" for ratio in ratios)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _memory_mb() -> float:
    """Largest amount of memory so far, MiB: of the GPU where there is one, else of the process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
