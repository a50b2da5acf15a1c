"""The loop does everything at its time, and can be left and taken up again."""

import itertools
import json
import os
import signal

import pytest
import torch

from dense_lt.engine.checkpoint import (
    latest_checkpoint,
    load_checkpoint,
    restore_model,
)
from dense_lt.engine.checkpoint_writer import CheckpointWriter
from dense_lt.engine.loop import Periods, fit
from dense_lt.engine.metrics import Recorder
from dense_lt.engine.resume import own_random_states
from dense_lt.engine.run_folder import RunFolder
from dense_lt.engine.schedules import CosineSchedule, Warmup
from dense_lt.engine.step import TrainingStep
from dense_lt.engine.writers import StatisticsWriter
from dense_lt.utils.errors import DataError, MachineError
from dense_lt.utils.seeding import seed_everything


class _Run:
    """A run of the tiny detector, put together as the train command does, in `folder`."""

    def __init__(self, folder, detector, categories, make_batches, *, resume=False, total=20):
        seed_everything(5)
        self.detector = detector
        optimizer = torch.optim.AdamW(detector.parameters(), lr=0.01)
        for group in optimizer.param_groups:
            group["initial_lr"] = 0.01
        self.states, self.done = None, 0
        if resume:
            checkpoint = load_checkpoint(latest_checkpoint(folder))
            restore_model(detector, checkpoint)
            optimizer.load_state_dict(checkpoint.optimizer)
            self.states, self.done = own_random_states(checkpoint), checkpoint.step
        self.step = TrainingStep(
            detector,
            optimizer,
            CosineSchedule(Warmup(4, 0.1), 20, 0.01),
            device=torch.device("cpu"),
            clip_norm=1.0,
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.statistics = folder / "statistics.json"
        self.recorder = Recorder(
            detector,
            categories,
            writers=[self],
            total_steps=total,
            done=self.done,
            statistics_writer=StatisticsWriter(self.statistics, done=self.done),
        )
        self.writer = CheckpointWriter(
            RunFolder(folder).checkpoints,
            detector,
            optimizer,
            batch_size=4,
            keep=2,
            categories=categories,
            config={},
        )
        self.batches = make_batches(start=self.done)
        self.total = total
        self.events = []

    def write(self, kind, step, values):
        self.events.append((kind, step))

    def close(self):
        pass

    def save(self, step):
        self.events.append(("save", step))
        self.writer(step)
        self.writer.wait()

    def evaluate(self, step):
        torch.rand(step)  # an evaluation may draw random numbers
        self.detector.eval()
        return {"AP": 0.5}

    def fit(self, *, log=10, checkpoint=100, evaluate=None, statistics=None):
        return fit(
            self.step,
            self.batches,
            done=self.done,
            periods=Periods(self.total, log, checkpoint, evaluate, statistics),
            recorder=self.recorder,
            save=self.save,
            evaluate=self.evaluate,
            random_states=self.states,
        )


@pytest.fixture
def make_run(tiny_detector, categories, make_batches, tmp_path):
    def make(name="run", **options):
        detector = tiny_detector(dropout=0.2)
        return _Run(tmp_path / name, detector, categories, make_batches, **options)

    return make


def test_everything_happens_at_its_period_and_once_at_the_end(make_run):
    run = make_run(total=8)
    assert run.fit(log=3, checkpoint=4, evaluate=5) is None
    assert run.events == [
        ("train", 1),
        ("train", 3),
        ("save", 4),
        ("save", 5),  # a checkpoint goes before every evaluation, which may fail
        ("evaluation", 5),
        ("train", 6),
        ("train", 8),
        ("save", 8),
        ("evaluation", 8),
    ]


def test_gradient_sums_are_recorded_at_their_period_and_at_evaluations(make_run):
    run = make_run(total=8)
    run.fit(evaluate=6, statistics=3)
    snapshots = json.loads(run.statistics.read_text())["snapshots"]
    assert {len(snapshot["classifier_norms"]) for snapshot in snapshots} == {3}
    assert [snapshot["step"] for snapshot in snapshots] == [3, 6, 8]


def test_the_detector_trains_on_after_an_evaluation(make_run):
    run = make_run(total=4)
    run.fit(evaluate=2)
    assert run.detector.training


def test_ten_and_ten_steps_equal_twenty_bit_for_bit(make_run):
    """Weights, buffers, optimizer state; with dropout, so that random states count."""
    whole = make_run("whole")
    whole.fit()
    make_run("halves", total=10).fit()
    second = make_run("halves", resume=True)
    second.fit()
    assert second.done == 10
    expected = load_checkpoint(latest_checkpoint(whole.writer._folder.parent))
    found = load_checkpoint(latest_checkpoint(second.writer._folder.parent))
    assert expected.step == found.step == 20
    for name, tensor in expected.model.items():
        assert torch.equal(found.model[name], tensor), name
    for key, state in expected.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(found.optimizer["state"][key][name], value), (key, name)
    assert torch.equal(found.random_states[0]["torch"], expected.random_states[0]["torch"])


def test_evaluations_do_not_change_the_training(make_run):
    often = make_run("often")
    often.fit(evaluate=3)
    never = make_run("never")
    never.fit()
    for name, tensor in never.detector.state_dict().items():
        assert torch.equal(often.detector.state_dict()[name], tensor), name


def test_a_finished_run_that_is_resumed_is_evaluated_again_and_not_trained(make_run):
    make_run(total=5).fit()
    again = make_run(resume=True, total=5)
    again.fit()
    assert again.events == [("evaluation", 5)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_with_a_checkpoint(make_run, number):
    run = make_run()
    batches = run.batches

    def interrupted():
        for step, batch in enumerate(batches, start=1):
            if step == 7:
                os.kill(os.getpid(), number)
            yield batch

    run.batches = interrupted()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run.fit() == number
    assert run.events[-1] == ("save", 7)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert make_run(resume=True).done == 7


def test_a_signal_ends_an_evaluation_at_once(make_run):
    """A checkpoint goes before it; what follows is that of a run stopped after a step."""
    run = make_run(total=8)
    run.evaluate = lambda step: os.kill(os.getpid(), signal.SIGTERM)
    assert run.fit(evaluate=5) == signal.SIGTERM
    assert run.events[-1] == ("save", 5)


@pytest.mark.parametrize("error", [MachineError("the disk is gone"), DataError("bad image")])
def test_when_no_batch_comes_the_last_step_is_saved(make_run, error):
    run = make_run()
    batches = run.batches

    def interrupted():
        yield from itertools.islice(batches, 6)
        raise error

    run.batches = interrupted()
    with pytest.raises(type(error), match=str(error)):
        run.fit()
    assert run.events[-1] == ("save", 6)
    whole = make_run("whole")
    whole.fit()
    again = make_run(resume=True)
    again.fit()
    for name, tensor in whole.detector.state_dict().items():
        assert torch.equal(again.detector.state_dict()[name], tensor), name


def test_a_step_without_memory_names_itself_and_saves_nothing(make_run, monkeypatch):
    run = make_run()

    def greedy(detector, images, targets, **options):
        return torch.empty(1 << 60, dtype=torch.uint8)

    monkeypatch.setattr(type(run.detector), "forward", greedy)
    with pytest.raises(MachineError, match=r"step 1: memory ran out .*train\.micro_batches"):
        run.fit()
    assert run.events == []


def test_an_evaluation_without_memory_says_what_helps_there(make_run):
    run = make_run(total=3)
    run.evaluate = lambda step: torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(MachineError, match=r"evaluation at step 3.*lower evaluation\.batch_size"):
        run.fit()
    assert run.events[-1] == ("save", 3)


def test_losses_fall(make_run, caplog):
    caplog.set_level("INFO")
    run = make_run(total=60)
    batch = next(run.batches)
    run.batches = iter(lambda: batch, None)
    first = sum(run.step(batch, 1).losses.values()).item()
    run.fit()
    assert sum(run.step(batch, 60).losses.values()).item() < 0.7 * first
