"""A step is the same whether one process, two processes or four micro-batches take it."""

import pytest
import torch
from helpers.shared_training import train, train_in_processes


def assert_same(ours, theirs, *, factor=1.0):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        scale = factor if name in ("positive", "negative") else 1.0
        torch.testing.assert_close(ours[name], value * scale, rtol=2e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["equalized_focal", "eql_v2"])
@pytest.mark.parametrize("micro_batches", [2, 4])
@pytest.mark.parametrize("fused", [False, True])
def test_micro_batches_are_the_whole_batch(kind, micro_batches, fused):
    assert_same(train(kind, fused=fused, micro_batches=micro_batches), train(kind))


def test_two_processes_are_one(tmp_path):
    cases = [("equalized_focal", True), ("equalized_focal", False), ("eql_v2", True)]
    for (kind, _), shared in zip(cases, train_in_processes(tmp_path, 2, cases), strict=True):
        # EQL v2 counts gradients before the normaliser, in which the number of processes cancels;
        # the factor is common to both signs and leaves the ratio alone
        assert_same(shared, train(kind), factor=0.5 if kind == "eql_v2" else 1.0)
