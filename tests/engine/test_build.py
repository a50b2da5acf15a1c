"""From sections to objects."""

import pytest
import torch

from dense_lt.config.experiment import TrainConfig
from dense_lt.config.optimization import (
    AdamWConfig,
    CosineScheduleConfig,
    SgdConfig,
    StepScheduleConfig,
)
from dense_lt.engine.build import (
    build_optimizer,
    build_periods,
    build_schedule,
    build_step,
    images_per_process,
)
from dense_lt.engine.run_folder import RunFolder
from dense_lt.engine.schedules import CosineSchedule, StepSchedule, Warmup
from dense_lt.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("epochs", "steps_per_epoch", "steps"), [(2, 10.0, 20), (2, 10.3, 21), (0.01, 10.0, 1)]
)
def test_epochs_become_whole_steps(epochs, steps_per_epoch, steps):
    section = TrainConfig(epochs=epochs, log_every=3)
    periods = build_periods(section, steps_per_epoch)
    assert (periods.total, periods.log, periods.evaluate) == (steps, 3, None)


def test_steps_are_taken_as_they_are():
    assert build_periods(TrainConfig(steps=7), 100.0).total == 7


def test_an_odd_share_of_the_batch_is_refused():
    section = TrainConfig.model_construct(steps=1, batch_size=6, micro_batches=4)
    with pytest.raises(ConfigError, match=r"train\.batch_size: 6 images .* give a multiple of 4"):
        images_per_process(section)
    assert images_per_process(TrainConfig(steps=1, batch_size=8, micro_batches=4)) == 8


@pytest.mark.parametrize(("stored", "first"), [(1, 1), (4, 4), (3, 1)])
def test_a_run_that_finds_its_pieces_goes_on_with_those_it_had_if_they_fit_the_batch(
    tiny_detector, tmp_path, stored, first
):
    detector = tiny_detector()
    section = TrainConfig(steps=1, batch_size=8, micro_batches="auto")
    assert images_per_process(section) == 8
    step = build_step(
        section,
        detector,
        build_optimizer(SgdConfig(), detector, batch_size=8),
        lambda done: 1.0,
        device=torch.device("cpu"),
        run=RunFolder(tmp_path),
        pieces=stored,
    )
    assert step.fit.pieces == first


def test_sgd_gets_the_scaled_learning_rate(tiny_detector):
    section = SgdConfig(lr=0.02, base_batch_size=16, momentum=0.8, weight_decay=0.5)
    optimizer = build_optimizer(section, tiny_detector(), batch_size=8)
    assert isinstance(optimizer, torch.optim.SGD)
    for group in optimizer.param_groups:
        assert group["lr"] == group["initial_lr"] == pytest.approx(0.01)
        assert group["momentum"] == 0.8
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]


def test_adamw_gets_its_betas(tiny_detector):
    section = AdamWConfig(kind="adamw", betas=(0.8, 0.9))
    optimizer = build_optimizer(section, tiny_detector(), batch_size=16)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    "section", [SgdConfig(nesterov=True), SgdConfig(momentum=0.0), AdamWConfig(kind="adamw")]
)
def test_fused_optimizers_make_the_same_steps(tiny_detector, section):
    ends = []
    for fused in (False, True):
        detector = tiny_detector()
        chosen = section.model_copy(update={"fused": fused})
        optimizer = build_optimizer(chosen, detector, batch_size=1600)
        assert all(bool(group["fused"]) == fused for group in optimizer.param_groups)
        for step in range(5):
            generator = torch.Generator().manual_seed(step)
            for parameter in detector.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        ends.append([parameter.detach() for parameter in detector.parameters()])
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-5, atol=1e-6)
    assert not torch.equal(ends[0][0], tiny_detector().stem.weight)


def test_optimizers_are_fused_by_themselves_on_gpus_only(tiny_detector):
    optimizer = build_optimizer(SgdConfig(), tiny_detector(), batch_size=16)
    assert not any(group["fused"] for group in optimizer.param_groups)
    assert SgdConfig().fused == "auto"


def test_a_schedule_in_epochs_becomes_steps():
    section = StepScheduleConfig(unit="epochs", warmup=0.5, warmup_factor=0.1, milestones=(2, 3))
    schedule = build_schedule(section, total_steps=400, steps_per_epoch=100.4)
    assert schedule == StepSchedule(Warmup(50, 0.1), (201, 301), 0.1)


@pytest.mark.parametrize(
    ("unit", "milestones", "epochs", "told"),
    [
        ("epochs", (16, 22), 12, "16 and 22 epochs, but the run ends after 12, so"),
        ("epochs", (8, 12), 12, "12 epochs, but the run ends after 12, so"),
        ("steps", (600, 1300), 12, "1300 steps, but the run ends after 1200, so"),
        ("epochs", (8, 11), 12, None),
    ],
)
def test_milestones_that_a_run_does_not_reach_are_told(unit, milestones, epochs, told, caplog):
    section = StepScheduleConfig(unit=unit, warmup=0, milestones=milestones)
    build_schedule(section, total_steps=100 * epochs, steps_per_epoch=100.0)
    assert [f"schedule.milestones: {told}" in own for own in caplog.messages] == [True] * bool(told)


def test_a_constant_end_that_is_the_whole_run_is_told(caplog):
    section = CosineScheduleConfig(kind="cosine", unit="epochs", warmup=1, constant_end=15)
    build_schedule(section, total_steps=1700, steps_per_epoch=100.0)
    assert caplog.messages == []
    build_schedule(section, total_steps=1200, steps_per_epoch=100.0)
    assert "schedule.constant_end: 15 epochs, of 12 in all, leave no time" in caplog.text


def test_cosine_ends_with_the_run():
    section = CosineScheduleConfig(kind="cosine", warmup=10, warmup_factor=0.1, final_factor=0.2)
    schedule = build_schedule(section, total_steps=400, steps_per_epoch=100.0)
    assert schedule == CosineSchedule(Warmup(10, 0.1), 400, 0.2)


def test_a_warmup_longer_than_the_run_is_told(caplog):
    build_schedule(CosineScheduleConfig(kind="cosine"), total_steps=50, steps_per_epoch=1.0)
    assert "schedule.warmup: 500 steps, but the run has only 50" in caplog.text
