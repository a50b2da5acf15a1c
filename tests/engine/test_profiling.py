"""Every moment of a step belongs to one part, and measuring leaves nothing behind."""

import itertools

import pytest
import torch

from dense_lt.engine import profiling
from dense_lt.engine.profiling import (
    StepProfile,
    Stopwatch,
    check_trace,
    profile_steps,
    write_trace,
)
from dense_lt.engine.schedules import StepSchedule, Warmup
from dense_lt.engine.step import TrainingStep
from dense_lt.utils.errors import ConfigError, MachineError

CPU = torch.device("cpu")


@pytest.fixture
def make_step(tiny_detector):
    def make(**options):
        detector = tiny_detector()
        optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
        optimizer.param_groups[0]["initial_lr"] = 0.01
        schedule = StepSchedule(Warmup(0, 1.0), (100,), 0.1)
        return TrainingStep(detector, optimizer, schedule, device=CPU, **options)

    return make


def test_time_goes_to_the_innermost_part(monkeypatch):
    """Outer open from 0 to 10, inner from 2 to 5: 7 and 3."""
    clock = iter([0.0, 2.0, 5.0, 10.0])
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: next(clock))
    profile = StepProfile(steps=2)
    watch = Stopwatch(CPU, profile)
    watch.start("outer")
    watch.start("inner")
    watch.stop()
    watch.stop()
    assert profile.seconds == {"outer": 7.0, "inner": 3.0}
    assert profile.rows() == [("outer", 3500.0, 0.7), ("inner", 1500.0, 0.3)]


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_every_part_is_measured_and_the_sum_is_the_whole(make_step, make_batches, micro_batches):
    step = make_step(micro_batches=micro_batches)
    profile = profile_steps(step, make_batches(), steps=3, warmup=1)
    parts = {name for name, *_ in profile.rows()}
    own = {name for name, _ in step.detector.named_children() if name != "statistics"}
    assert own <= parts
    assert {profiling.DATA, profiling.BACKWARD, profiling.OPTIMIZER, profiling.REST} <= parts
    assert sum(share for *_, share in profile.rows()) == pytest.approx(1)
    assert profile.peak_bytes > 1 << 20


def test_nothing_stays_behind(make_step, make_batches):
    step = make_step()
    profile = profile_steps(step, make_batches(), steps=1, warmup=0)
    before = dict(profile.seconds)
    step(next(make_batches()), 2)
    assert profile.seconds == before
    assert "backward" not in vars(step)


def test_training_is_the_same_under_the_profile(make_step, make_batches):
    profiled, plain = make_step(), make_step()
    profile_steps(profiled, make_batches(), steps=2, warmup=1)
    for number, batch in enumerate(itertools.islice(make_batches(), 3), start=1):
        plain(batch, number)
    for one, two in zip(profiled.detector.parameters(), plain.detector.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_trace_is_written(make_step, make_batches, tmp_path):
    write_trace(make_step(), make_batches(), tmp_path / "deep" / "trace.json")
    assert "traceEvents" in (tmp_path / "deep" / "trace.json").read_text()


def test_a_trace_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"--trace .*: cannot be written: it is a folder"):
        check_trace(tmp_path)
    with pytest.raises(ConfigError, match=r"trace\.json: cannot be written: (Not a d|File exists)"):
        check_trace(tmp_path / "file" / "trace.json")


def test_a_trace_that_torch_did_not_write_is_an_error(
    make_step, make_batches, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.profiler.profile, "export_chrome_trace", lambda self, path: None)
    (tmp_path / "trace.json").write_text("of yesterday")
    with pytest.raises(MachineError, match=r"trace\.json: torch could not write"):
        write_trace(make_step(), make_batches(), tmp_path / "trace.json")
