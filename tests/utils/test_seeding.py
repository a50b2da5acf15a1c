"""Chance can be seeded, kept and put back."""

import random

import numpy as np
import torch

from dense_lt.utils.seeding import (
    kept_random_states,
    make_deterministic,
    random_states,
    restore_random_states,
    seed_everything,
)


def _draw() -> list[float]:
    normal = [random.gauss(0, 1), np.random.normal(), torch.randn(()).item()]
    return [random.random(), np.random.rand(), torch.rand(()).item(), *normal]


def test_the_same_seed_draws_the_same_numbers():
    seed_everything(3)
    first = _draw()
    seed_everything(3)
    assert _draw() == first
    seed_everything(4)
    assert _draw() != first


def test_states_survive_a_file_of_tensors_and_plain_python(tmp_path):
    seed_everything(0)
    _draw()  # leaves half a pair of normal numbers behind, in python and in numpy
    torch.save(random_states(), tmp_path / "states.pt")
    expected = _draw()
    seed_everything(9)
    restore_random_states(torch.load(tmp_path / "states.pt", weights_only=True))
    assert _draw() == expected


def test_what_is_drawn_inside_kept_random_states_does_not_count():
    seed_everything(0)
    expected = _draw()
    seed_everything(0)
    with kept_random_states():
        _draw()
    assert _draw() == expected


def test_deterministic_algorithms_do_not_fill_every_new_tensor():
    before = torch.are_deterministic_algorithms_enabled()
    make_deterministic(torch.device("cpu"))
    try:
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)
