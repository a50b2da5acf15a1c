"""Collectives in one process; with two they are tested in tests/engine/test_processes.py."""

import pytest
import torch

from dense_lt.utils import distributed


def test_one_process_is_its_own_world():
    assert not distributed.is_distributed()
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather_objects("own") == ["own"]
    assert distributed.broadcast_object("own") == "own"
    distributed.barrier()


def test_sums_and_means_of_one_process_are_its_values_without_gradient():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    for over_processes in (distributed.sum_over_processes, distributed.mean_over_processes):
        assert over_processes(values).tolist() == [1.0, 2.0]
        assert not over_processes(values).requires_grad


@pytest.mark.parametrize(("own", "normalizer"), [(0.0, 1.0), (0.5, 1.0), (7.0, 7.0)])
def test_a_normalizer_is_at_least_one(own, normalizer):
    assert distributed.normalizer_over_processes(torch.tensor(own)).item() == normalizer


def test_without_torchrun_no_group_is_joined(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.process_group(torch.device("cpu")):
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(("stated", "count"), [(None, 0), ("0", 0), ("2", 2)])
def test_torchrun_says_how_often_it_has_started_a_run_again(monkeypatch, stated, count):
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    if stated:
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", stated)
    assert distributed.restarts() == count
