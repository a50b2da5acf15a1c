"""A step is the same whether one process, two processes or four micro-batches take it."""

import pytest
import torch
from helpers.shared_training import train, train_in_processes


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=2e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["equalized_focal", "eql_v2"])
@pytest.mark.parametrize("micro_batches", [2, 4])
@pytest.mark.parametrize("fused", [False, True])
def test_micro_batches_are_the_whole_batch(kind, micro_batches, fused):
    assert_same(train(kind, fused=fused, micro_batches=micro_batches), train(kind))


def test_two_processes_are_one(tmp_path):
    """EQL v2, too, which counts gradients before they are divided by the positives."""
    cases = [("equalized_focal", True), ("equalized_focal", False), ("eql_v2", True)]
    for (kind, _), shared in zip(cases, train_in_processes(tmp_path, 2, cases), strict=True):
        assert_same(shared, train(kind))
