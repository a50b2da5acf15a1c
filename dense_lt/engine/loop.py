"""The loop: step, log, checkpoint, evaluate, each at its period."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain

from dense_lt.engine.failures import EVALUATION_MEND, TRAINING_MEND, memory_told
from dense_lt.engine.metrics import Recorder
from dense_lt.engine.signals import StopRequested, StopSignal
from dense_lt.engine.step import TrainingStep
from dense_lt.engine.writers import Metrics
from dense_lt.structures import Batch
from dense_lt.utils import distributed
from dense_lt.utils.errors import DataError, MachineError, of_one_process
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
        DataError: a batch cannot be made; in a run of one process the last step has been saved.
        MachineError: likewise, or memory ran out.
    """

    def run_evaluation(number: int) -> None:
        what = f"evaluation at step {number}"
        # an evaluation more or less must not change the training
        with kept_random_states(), stop.at_once(), memory_told(what, EVALUATION_MEND):
            recorder.evaluated(number, evaluate(number))
        step.detector.train()

    with StopSignal() as stop, suppress(StopRequested):
        stream = _start(batches, random_states)
        step.detector.train()
        for number in range(done + 1, periods.total + 1):
            with recorder.waiting_for_data(), _saving(save, number - 1, done):
                batch = next(stream)
            with memory_told(f"step {number}", TRAINING_MEND):
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
    return stop.received


def _start(batches: Iterable[Batch], random_states: RandomStates | None) -> Iterator[Batch]:
    """The stream of batches, and random numbers as they were when the run was left."""
    stream = iter(batches)
    if random_states is None:
        return stream
    first = next(stream)  # a loader draws a seed with its first batch, as it did in step 1
    restore_random_states(random_states)
    return chain([first], stream)


@contextmanager
def _saving(save: Callable[[int], None], last: int, done: int) -> Iterator[None]:
    """Save step `last` if no batch comes for the next one: what has been learnt is whole.

    Not with several processes, where the others are on their way into the next step.
    """
    try:
        yield
    except (DataError, MachineError) as error:
        if distributed.is_distributed():
            of_one_process(error, distributed.rank())
        elif last > done:
            save(last)
        raise


def _due(step: int, period: int | None) -> bool:
    return period is not None and step % period == 0
