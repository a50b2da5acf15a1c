"""A batch is cut into as many pieces as it takes, and nothing else changes."""

import random

import numpy as np
import pytest
import torch
from helpers.processes import run_in_processes
from helpers.short_of_memory import rehearse_with_little_memory
from helpers.tiny_detector import TinyDetector

from dense_lt.engine.checkpoint import latest_checkpoint, load_checkpoint
from dense_lt.engine.checkpoint_writer import CheckpointWriter
from dense_lt.engine.ema import WeightAverage
from dense_lt.engine.pieces import MemoryFit, more_pieces, split_batch
from dense_lt.engine.run_folder import RunFolder
from dense_lt.engine.step import TrainingStep

CPU = torch.device("cpu")


class _Detector(TinyDetector):
    """Has batch normalisation and dropout, and no memory for more than `most` images at once.

    What it lacks it notices as late as it can: when everything that can change has changed.
    """

    def __init__(self, most, *, fails_in_backward=False):
        super().__init__(dropout=0.2)
        self.norm = torch.nn.BatchNorm2d(8)
        self.most = most
        self.fails_in_backward = fails_in_backward
        self.tries = []

    def forward(self, images, targets=None, *, normalizer=None):
        losses = super().forward(images, targets, normalizer=normalizer)
        random.random()
        np.random.random()
        self.tries.append(len(targets))
        if len(targets) > self.most:
            if not self.fails_in_backward:
                raise torch.OutOfMemoryError("out of memory")
            losses["box"].register_hook(_fail)
        return losses


def _fail(gradient):
    raise torch.OutOfMemoryError("out of memory")


def _make_step(most=4, micro_batches=None, **options):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    detector = _Detector(most, **options).double()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1, momentum=0.9)
    optimizer.param_groups[0]["initial_lr"] = 0.1
    pieces = MemoryFit(detector) if micro_batches is None else micro_batches
    step = TrainingStep(detector, optimizer, lambda done: 1.0, device=CPU, micro_batches=pieces)
    step.average = WeightAverage(detector, optimizer, decay=0.9, warmup=10)
    return step


@pytest.mark.parametrize("fails_in_backward", [False, True])
def test_a_step_that_did_not_fit_is_made_again_as_if_nothing_had_been(
    make_batch, fails_in_backward
):
    """4 images at once and 2 do not fit, so it is 4 pieces: all states equal those of a run that
    was cut into 4 from the start, bit for bit."""
    runs, losses = [], []
    for options in ({"most": 1, "fails_in_backward": fails_in_backward}, {"micro_batches": 4}):
        runs.append(_make_step(**options))
        batches = (make_batch(4, number, objects=(3, 0, 1, 2)) for number in (1, 2, 3))
        losses.append([runs[-1](batch, number + 1).losses for number, batch in enumerate(batches)])
    assert losses[0] == losses[1]
    found, wanted = runs
    assert found.detector.tries == [4, 2, *[1] * 12]
    states = [step.detector.state_dict() | step.average.state_dict() for step in (found, wanted)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert found.average.steps == 3
    assert found.detector.norm.num_batches_tracked == 12
    assert found.detector.statistics.dropped == 0


def test_random_numbers_go_on_as_without_the_failed_try(make_batch):
    ends = []
    for options in ({"most": 2}, {"micro_batches": 2}):
        _make_step(**options)(make_batch(4, 1), 1)
        ends.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert ends[0] == ends[1]


def test_the_number_stays_and_rises_again_only_with_need(make_batch, caplog):
    caplog.set_level("INFO")
    step = _make_step(2)
    step(make_batch(4, 1), 1)
    assert step.fit.pieces == 2
    assert "out of memory with 4 images in 1 piece(s); going on with 2 pieces" in caplog.text
    step(make_batch(4, 2), 2)
    step.detector.most = 1
    step(make_batch(4, 3), 3)
    assert step.fit.pieces == 4
    assert step.detector.tries == [4, 2, 2, 2, 2, 2, 1, 1, 1, 1]


def test_an_image_that_does_not_fit_by_itself_is_the_end(make_batch):
    step = _make_step(0)
    with pytest.raises(torch.OutOfMemoryError):
        step(make_batch(2, 1), 1)
    assert step.detector.tries == [2, 1]


def test_a_checkpoint_keeps_the_number(make_batch, categories, tmp_path):
    step = _make_step(1)
    step(make_batch(4, 1), 1)
    writer = CheckpointWriter(
        RunFolder(tmp_path).checkpoints,
        step.detector,
        step.optimizer,
        batch_size=4,
        keep=1,
        categories=categories,
        config={},
        fit=step.fit,
    )
    writer(1)
    writer.close()
    assert load_checkpoint(latest_checkpoint(tmp_path)).micro_batches == 4


@pytest.mark.parametrize(
    ("message", "tries"),
    [("DefaultCPUAllocator: can't allocate memory", [4, 2, 2]), ("shapes differ", [4])],
)
def test_every_lack_of_memory_counts_and_nothing_else(make_batch, monkeypatch, message, tries):
    step = _make_step(2)
    monkeypatch.setattr(torch, "OutOfMemoryError", lambda _: RuntimeError(message))
    if len(tries) == 1:
        with pytest.raises(RuntimeError, match=message):
            step(make_batch(4, 1), 1)
    else:
        step(make_batch(4, 1), 1)
    assert step.detector.tries == tries


@pytest.mark.parametrize(
    ("pieces", "images", "more"), [(1, 6, 2), (2, 6, 6), (1, 9, 3), (4, 8, 8), (8, 8, None)]
)
def test_pieces_at_least_double_and_are_equal(pieces, images, more):
    assert more_pieces(pieces, images) == more


def test_splitting_keeps_order_and_padding(make_batch):
    batch = make_batch(6, 1)
    pieces = split_batch(batch, 3)
    assert [[info.image_id for info in piece.infos] for piece in pieces] == [
        [100, 101],
        [102, 103],
        [104, 105],
    ]
    assert torch.equal(torch.cat([piece.images.pixels for piece in pieces]), batch.images.pixels)
    assert all(len(piece.images.sizes) == len(piece.targets) == 2 for piece in pieces)


def test_processes_agree_on_the_most_that_one_of_them_needs():
    """Only the second is short of memory; both go on with its pieces, to the result of those."""
    first, second = run_in_processes(rehearse_with_little_memory, 2)
    assert first["pieces"] == second["pieces"] == [2, 2, 2, 4]
    for name, tensor in first["wanted"].items():
        assert torch.equal(first["found"][name], tensor), name
        assert torch.equal(second["found"][name], tensor), name
