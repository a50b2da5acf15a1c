"""Two processes equal one that has their joint batch."""

import signal

import pytest
import torch
from helpers.equal_processes import STEPS, train_both
from helpers.processes import run_in_processes
from helpers.shared_steps import everything, train_share

EXACT = {"rtol": 1e-10, "atol": 1e-12}
"""float64: only the order of additions differs."""
ROUNDED = {"rtol": 2e-4, "atol": 2e-6}
"""float32 losses and weights after four steps."""

OF_THE_LARGEST = {"one_stage": (1e-4, 2e-2), "two_stage": (1e-6, 1e-2)}
"""Differences as a share of the largest number of each tensor: in the first ten steps, and after
50, in which they grow. One stage is computed in float32, two stages in float64."""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found."""
    return run_in_processes(everything, 2, str(tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize(
    ("scenario", "model", "tolerance"),
    [
        ("tiny", "tiny", EXACT),
        ("tiny in pieces", "tiny", EXACT),
        ("one_stage", "one_stage", ROUNDED),
        ("one_stage in pieces", "one_stage_unweighted", ROUNDED),
    ],
)
def test_two_processes_equal_one_with_the_joint_batch(two, scenario, model, tolerance):
    """Losses, gradient norms, weights and statistics of four steps, some without any object."""
    expected = train_share(model, 1)
    for rank in (0, 1):
        found = two[rank][scenario]
        for name in ("losses", "norms"):
            torch.testing.assert_close(found[name], expected[name], **tolerance)
        for name, tensor in expected["state"].items():
            torch.testing.assert_close(found["state"][name], tensor, **tolerance, msg=name)


def test_processes_hold_equal_weights_and_statistics_bit_for_bit(two):
    first, second = (found["one_stage"]["state"] for found in two)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_failure_in_one_process_stops_all(two):
    assert all("not finite" in found["failure"] for found in two)
    assert "box nan" in two[1]["failure"]


def test_a_signal_to_one_process_stops_all(two):
    assert [found["stopped"] for found in two] == [signal.SIGTERM] * 2


def test_one_checkpoint_holds_the_random_states_of_all(two):
    assert [found["states"] for found in two] == [2, 2]


@pytest.fixture(scope="module")
def one():
    """What one process finds with whole batches."""
    return train_both()


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_fifty_steps_of_several_processes_equal_those_of_one(one, count):
    """Each draws its own random numbers, and some have no object in a step, or nobody has."""
    for found in run_in_processes(train_both, count):
        for model, (exact, after_all) in OF_THE_LARGEST.items():
            expected, own = one[model], found[model]
            assert len(own["losses"]) == STEPS
            for name in ("losses", "norms"):
                first, all_of_them = own[name][:10], own[name]
                _assert_near(first, expected[name][:10], exact, f"{model} {name}")
                _assert_near(all_of_them, expected[name], after_all, f"{model} {name}")
            assert own["gradients"].keys() == expected["gradients"].keys()
            for name, gradient in expected["gradients"].items():
                _assert_near(own["gradients"][name], gradient, exact, f"{model} {name}")
            for name, start in expected["start"].items():
                moved = expected["state"][name] - start
                _assert_near(own["state"][name] - start, moved, after_all, f"{model} {name}")


def _assert_near(found, expected, tolerance, name):
    largest = expected.double().abs().max()
    difference = (found.double() - expected.double()).abs().max()
    assert difference <= tolerance * largest, f"{name}: {difference:g} of {largest:g}"
