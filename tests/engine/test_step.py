"""One optimizer step: equal for any number of pieces, and harmless when it must not happen."""

import math

import pytest
import torch
from helpers.shared_steps import train_share

from dense_lt.engine.step import TrainingStep

CPU = torch.device("cpu")


def _constant(done):
    return 1.0


def _make_step(detector, *, schedule=_constant, lr=0.1, **options):
    optimizer = torch.optim.SGD(detector.parameters(), lr=lr, momentum=0.9)
    for group in optimizer.param_groups:
        group["initial_lr"] = lr
    return TrainingStep(detector, optimizer, schedule, device=CPU, **options)


def _weights(detector):
    return {name: tensor.clone() for name, tensor in detector.state_dict().items()}


@pytest.mark.parametrize("pieces", [2, 4])
def test_micro_batches_equal_the_undivided_batch(tiny_detector, make_batch, pieces):
    """Loss, gradient norm, weights and statistics, though the pieces hold 3, 0, 1 and 2 objects."""
    results, ends = [], []
    for micro_batches in (1, pieces):
        step = _make_step(tiny_detector().double(), micro_batches=micro_batches, clip_norm=1.0)
        for number in (1, 2, 3):
            result = step(make_batch(4, number, objects=(3, 0, 1, 2)), number)
        results.append({**result.losses, "norm": result.gradient_norm})
        ends.append(_weights(step.detector))
    for whole, cut in (results, ends):
        for name, value in whole.items():
            torch.testing.assert_close(cut[name], value, rtol=1e-12, atol=1e-12)


def test_statistics_are_committed_once_per_step(tiny_detector, make_batch):
    detector = tiny_detector()
    step = _make_step(detector, micro_batches=2)
    for number in (1, 2):
        step(make_batch(4, number), number)
    assert detector.statistics.steps == 2
    assert detector.statistics.pending().abs().sum() == 0


def test_learning_rate_follows_the_schedule_from_its_start(tiny_detector, make_batch):
    step = _make_step(tiny_detector(), schedule=lambda done: 1 / (done + 1), lr=0.4)
    rates = [step(make_batch(2, number), number).lr for number in (1, 2, 4)]
    assert rates == pytest.approx([0.4, 0.2, 0.1])


def test_gradient_norm_is_told_before_clipping_and_limits_the_update(tiny_detector, make_batch):
    """Plain first SGD step: the weights move by lr times a gradient of norm `clip_norm`."""
    detector = tiny_detector()
    before = torch.cat([p.detach().flatten() for p in detector.parameters()])
    result = _make_step(detector, lr=0.5, clip_norm=0.01)(make_batch(4, 0), 1)
    after = torch.cat([p.detach().flatten() for p in detector.parameters()])
    assert result.gradient_norm > 0.1
    assert (after - before).norm().item() == pytest.approx(0.5 * 0.01, rel=1e-4)


def test_a_batch_without_objects_trains(tiny_detector, make_batch):
    result = _make_step(tiny_detector())(make_batch(2, 0, objects=(0, 0)), 1)
    assert all(loss.isfinite() for loss in result.losses.values())


def test_bf16_keeps_weights_in_float32(tiny_detector, make_batch):
    detector = tiny_detector()
    result = _make_step(detector, precision="bf16")(make_batch(2, 0), 1)
    assert result.gradient_norm.dtype == torch.float32
    assert detector.classifier.weight.dtype == torch.float32
    exact = _make_step(tiny_detector())(make_batch(2, 0), 1)
    ratio = result.losses["classification"].float() / exact.losses["classification"]
    assert ratio.item() == pytest.approx(1, abs=0.02)


def test_a_loss_that_is_not_finite_stops_before_anything_is_written(
    tiny_detector, make_batch, tmp_path
):
    detector = tiny_detector()
    step = _make_step(detector, lr=0.25, failures=tmp_path / "failures")
    step(make_batch(2, 0), 1)
    with torch.no_grad():
        detector.sizes.weight[0, 0] = math.nan
    before = _weights(detector)
    momentum = [state["momentum_buffer"].clone() for state in step.optimizer.state.values()]
    file = tmp_path / "failures" / "step_2.pt"
    with pytest.raises(FloatingPointError) as caught:
        step(make_batch(2, 5, objects=(2, 1)), 2)
    message = str(caught.value)
    for part in (
        "step 2",
        "box nan",
        "learning rate 0.25",
        "image ids 500, 501",
        f"The batch is in {file}",
        "Lower optimizer.lr",
    ):
        assert part in message
    dropped = before.pop("statistics.dropped")
    assert detector.statistics.dropped == dropped + 1
    for name, tensor in before.items():
        assert torch.equal(detector.state_dict()[name].nan_to_num(), tensor.nan_to_num()), name
    for old, state in zip(momentum, step.optimizer.state.values(), strict=True):
        assert torch.equal(state["momentum_buffer"], old)
    saved = torch.load(file, weights_only=True)
    assert saved["image_ids"] == [500, 501]
    assert torch.equal(saved["pixels"], make_batch(2, 5).images.pixels)
    assert [len(target["labels"]) for target in saved["targets"]] == [2, 1]


def test_micro_batches_equal_the_undivided_batch_with_the_real_detector():
    """Four steps of the one-stage detector whose box loss does not depend on predicted IoUs."""
    whole, cut = (train_share("one_stage_unweighted", pieces) for pieces in (1, 4))
    for name in ("losses", "norms"):
        torch.testing.assert_close(cut[name], whole[name], rtol=2e-4, atol=2e-6)
    for name, tensor in whole["state"].items():
        torch.testing.assert_close(cut["state"][name], tensor, rtol=2e-4, atol=2e-6, msg=name)
