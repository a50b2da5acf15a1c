"""Factors on the learning rate, worked out by hand."""

import pytest

from dense_lt.engine.schedules import CosineSchedule, StepSchedule, Warmup


def test_warmup_is_a_straight_line_that_ends_exactly_at_one():
    """From 0.2 in 4 steps: 0.2, 0.4, 0.6, 0.8, then 1."""
    warmup = Warmup(4, 0.2)
    assert [warmup(done) for done in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert warmup(4) == warmup(1000) == 1.0


def test_a_quadratic_warmup():
    """From 0 in 4 steps with power 2: 0, 1/16, 4/16, 9/16, then 1 (YOLOX)."""
    warmup = Warmup(4, 0.0, 2.0)
    assert [warmup(done) for done in range(5)] == pytest.approx([0, 1 / 16, 1 / 4, 9 / 16, 1])


def test_no_warmup_starts_at_one():
    assert Warmup(0, 0.001)(0) == 1.0


def test_step_schedule_divides_at_each_milestone():
    schedule = StepSchedule(Warmup(2, 0.5), milestones=(4, 6), factor=0.1)
    expected = [0.5, 0.75, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert [schedule(done) for done in range(8)] == pytest.approx(expected)


def test_a_milestone_within_the_warmup_counts_too():
    """Half-way up at step 2 (0.5), and the milestone at 1 is reached: 0.05."""
    assert StepSchedule(Warmup(4, 0.0), (1,), 0.1)(2) == pytest.approx(0.05)


def test_cosine_passes_its_middle_and_ends_at_the_final_factor():
    """2 warm-up steps, 8 of cosine to 0.2: half-way (step 6) lies at (1 + 0.2) / 2."""
    schedule = CosineSchedule(Warmup(2, 0.0), total_steps=10, final_factor=0.2)
    assert [schedule(0), schedule(1), schedule(2)] == [0.0, 0.5, 1.0]
    assert schedule(6) == pytest.approx(0.6)
    assert schedule(10) == pytest.approx(0.2)
    assert schedule(50) == pytest.approx(0.2)


def test_cosine_with_a_warmup_as_long_as_the_run_does_not_divide_by_zero():
    schedule = CosineSchedule(Warmup(10, 0.1), total_steps=10, final_factor=0.0)
    assert schedule(9) == pytest.approx(0.91)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (
            StepSchedule(Warmup(500, 0.001), (60000, 80000), 0.1),
            "linear warm-up from 0.001 over 500 steps, then times 0.1 at steps 60000, 80000",
        ),
        (
            CosineSchedule(Warmup(0, 1.0), 900, 0.01),
            "no warm-up, then a cosine down to 0.01 at step 900",
        ),
        (
            CosineSchedule(Warmup(200, 0.001), 6, 0.01),  # a run of 6 steps
            "linear warm-up from 0.001 over 200 steps, then 0.01 at once",
        ),
    ],
)
def test_schedules_say_in_words_what_they_do(schedule, text):
    assert str(schedule) == text
