"""The loop: step, log, checkpoint, evaluate, each at its period."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from dense_lt.engine.metrics import Recorder
from dense_lt.engine.signals import StopSignal
from dense_lt.engine.step import TrainingStep
from dense_lt.engine.writers import Metrics
from dense_lt.structures import Batch
from dense_lt.utils.seeding import RandomStates, kept_random_states, restore_random_states


@dataclass(frozen=True)
class Periods:
    """How long a run is, and how often what happens, in optimizer steps."""

    total: int
    log: int
    checkpoint: int
    evaluate: int | None = None  # None: at the end only
    statistics: int | None = None  # None: at evaluations only


def fit(
    step: TrainingStep,
    batches: Iterable[Batch],
    *,
    done: int,
    periods: Periods,
    recorder: Recorder,
    save: Callable[[int], None],
    evaluate: Callable[[int], Metrics],
    random_states: RandomStates | None = None,
) -> signal.Signals | None:
    """Train from step `done` + 1 to the end.

    Args:
        step: makes one optimizer step.
        batches: endless; its first batch is that of step `done` + 1.
        done: optimizer steps that lie behind, 0 in a fresh run.
        periods: when to do what.
        recorder: what is told of every step.
        save: writes the checkpoint of a step; called before the evaluation of the same step.
        evaluate: metrics of the detector as it is; the engine does not know how.
        random_states: of the checkpoint that is resumed.

    Returns:
        None at the end; the signal if one asked to stop, after the checkpoint has been written.

    Raises:
        FloatingPointError: the loss is not finite any more.
    """

    def run_evaluation(number: int) -> None:
        with kept_random_states():  # an evaluation more or less must not change the training
            recorder.evaluated(number, evaluate(number))
        step.detector.train()

    with StopSignal() as stop:
        stream = _start(batches, random_states)
        step.detector.train()
        for number in range(done + 1, periods.total + 1):
            with recorder.waiting_for_data():
                batch = next(stream)
            recorder.note(step(batch, number))
            last = number == periods.total
            evaluates = _due(number, periods.evaluate)
            if number == 1 or _due(number, periods.log) or last:
                recorder.log(number)
            if _due(number, periods.statistics):
                recorder.keep_statistics(number)
            stopped = stop.agreed(step.device)
            if _due(number, periods.checkpoint) or evaluates or last or stopped:
                save(number)
            if stopped:
                return stopped
            if evaluates and not last:
                run_evaluation(number)
    run_evaluation(periods.total)
    return None


def _start(batches: Iterable[Batch], random_states: RandomStates | None) -> Iterator[Batch]:
    """The stream of batches, and random numbers as they were when the run was left."""
    stream = iter(batches)
    if random_states is None:
        return stream
    first = next(stream)  # a loader draws a seed with its first batch, as it did in step 1
    restore_random_states(random_states)
    return chain([first], stream)


def _due(step: int, period: int | None) -> bool:
    return period is not None and step % period == 0
