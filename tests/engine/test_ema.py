"""The average of weights follows them, stands in for them, and outlives a stop."""

import math

import pytest
import torch
from helpers.tiny_detector import TinyDetector, draw_batch
from torch import nn

from dense_lt.balance.statistics import commit_all
from dense_lt.engine.checkpoint import load_checkpoint, restore_training
from dense_lt.engine.checkpoint_writer import CheckpointWriter
from dense_lt.engine.ema import WeightAverage


def test_the_average_by_hand():
    """decay 0.5, warm-up 1: of 1 remains 0.5 (1 - 1/e), and of that 0.5 (1 - 1/e^2)."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    average = WeightAverage(layer, optimizer, decay=0.5, warmup=1)
    layer.weight.grad = torch.ones(1, 1)
    optimizer.step()  # the weight is 0 now
    first = 0.5 * (1 - math.exp(-1))
    assert average.state_dict()["weight"].item() == pytest.approx(first)
    layer.weight.grad = torch.zeros(1, 1)
    optimizer.step()
    second = 0.5 * (1 - math.exp(-2)) * first
    assert average.state_dict()["weight"].item() == pytest.approx(second)


def test_counted_things_are_not_averaged():
    """Gradient statistics and the number of batches are those of the detector."""
    torch.manual_seed(0)
    detector = nn.ModuleDict({"tiny": TinyDetector(), "norm": nn.BatchNorm2d(3)})
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1)
    average = WeightAverage(detector, optimizer, decay=0.9, warmup=5)
    detector["norm"](torch.rand(2, 3, 4, 4))
    detector["tiny"].statistics.positive.fill_(7.0)
    average.update()
    state, own = average.state_dict(), detector.state_dict()
    assert state.keys() == own.keys()
    assert torch.equal(state["tiny.statistics.positive"], own["tiny.statistics.positive"])
    assert state["norm.num_batches_tracked"] == 1
    assert not torch.equal(state["norm.running_mean"], own["norm.running_mean"])


def test_the_averages_stand_in_and_leave_again():
    torch.manual_seed(0)
    detector = TinyDetector()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1)
    average = WeightAverage(detector, optimizer, decay=0.9, warmup=5)
    run(detector, optimizer, steps=range(2))
    own = {k: v.clone() for k, v in detector.state_dict().items()}
    wanted = {k: v.clone() for k, v in average.state_dict().items()}
    with average.in_place():
        inside = {k: v.clone() for k, v in detector.state_dict().items()}
    assert any(not torch.equal(own[k], wanted[k]) for k in own)
    assert all(torch.equal(inside[k], wanted[k]) for k in own)
    assert all(torch.equal(detector.state_dict()[k], own[k]) for k in own)
    assert all(torch.equal(average.state_dict()[k], wanted[k]) for k in own)


def run(detector, optimizer, steps):
    for step in steps:
        batch = draw_batch(2, step)
        optimizer.zero_grad()
        sum(detector(batch.images, batch.targets).values()).backward()
        optimizer.step()
        commit_all(detector)


def parts():
    torch.manual_seed(0)
    detector = TinyDetector()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1, momentum=0.9)
    return detector, optimizer, WeightAverage(detector, optimizer, decay=0.9, warmup=3)


def test_a_resumed_average_equals_an_uninterrupted_one(tmp_path, categories):
    whole, optimizer, expected = parts()
    run(whole, optimizer, range(6))

    detector, optimizer, average = parts()
    run(detector, optimizer, range(3))
    writer = CheckpointWriter(
        tmp_path,
        detector,
        optimizer,
        batch_size=2,
        keep=1,
        categories=categories,
        config={},
        average=average,
    )
    writer(3)
    path = writer.wait()
    writer.close()

    detector, optimizer, average = parts()
    checkpoint = load_checkpoint(path)
    restore_training(detector, checkpoint)
    optimizer.load_state_dict(checkpoint.optimizer)
    average.restore(checkpoint.model, steps=checkpoint.step)
    run(detector, optimizer, range(3, 6))
    for name, value in expected.state_dict().items():
        assert torch.equal(average.state_dict()[name], value), name
    for name, value in whole.state_dict().items():
        assert torch.equal(detector.state_dict()[name], value), name
    assert not torch.equal(checkpoint.model["stem.weight"], checkpoint.trained["stem.weight"])
