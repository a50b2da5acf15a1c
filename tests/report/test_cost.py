from dataclasses import replace

import pytest

from dense_lt.report.comparison import compare
from dense_lt.report.cost import COSTS, cost_section, peak_memory, training_seconds
from dense_lt.report.document import Bullets, Paragraph, Table


def parts(runs):
    section = cost_section(compare(runs))
    table = next(block for block in section.blocks if isinstance(block, Table))
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    bullets = [text for b in section.blocks if isinstance(b, Bullets) for text in b.texts]
    texts = [b.text for b in section.blocks if isinstance(b, Paragraph)]
    return section, rows, bullets, texts


def two_stage(run):
    run.config["model"]["kind"] = "two_stage"
    return run


def test_training_time_is_that_of_the_steps(make_run):
    """Lines at 20 and 60 of 16 images a step: 320 images at 32, then 640 at 64, are 20 s."""
    run = make_run("a")
    lines = [{"step": 20, "images_per_second": 32.0}, {"step": 60, "images_per_second": 64.0}]
    again = {"step": 60, "images_per_second": 64.0}  # logged twice by a resumed run
    run = replace(run, train_lines=(*lines, again))
    assert training_seconds(run) == pytest.approx(20)
    assert training_seconds(replace(run, train_lines=({"step": 20},))) is None
    assert training_seconds(replace(run, config=None)) is None
    assert peak_memory(run) is None


def test_cost_stands_beside_accuracy_in_the_units_said(make_run):
    section, rows, bullets, texts = parts([make_run("a", explained=True)])
    assert section.title == "Cost beside accuracy"
    assert rows["parameters, million"] == ["2.50"]
    assert rows["GFLOPs an image"] == ["1.23"]
    assert rows["inference, ms an image"] == ["10"]
    assert rows["training, minutes"] == ["7.7"]  # 920 steps x 16 images / 32 a second
    assert rows["peak memory in training, MiB"] == ["1420"]
    assert rows["APr"][0] == f"{100 * make_run('b').results.metrics['APr']:.1f}"
    assert bullets == []
    assert "80 x 96 pixels" in texts[0]


def test_what_an_old_run_did_not_save_is_not_available_with_the_reason(make_run):
    _, rows, bullets, _ = parts([make_run("old"), make_run("new", prior=0.2, explained=True)])
    assert rows["parameters, million"] == ["n/a", "2.50"]
    assert bullets[0].startswith("parameters, million n/a (old): the run was evaluated before")
    assert len(bullets) == 4


def test_one_stage_against_two_stage_says_what_is_equal_and_what_is_not(make_run):
    runs = [make_run("dense", explained=True), two_stage(make_run("regions", explained=True))]
    section, rows, _, texts = parts(runs)
    assert section.title == "One-stage against two-stage: cost beside accuracy"
    assert rows["detector"] == ["one-stage", "two-stage"]
    assert texts[-1] == (
        "One-stage and two-stage have in common: sampler, data, backbone, schedule, optimizer, "
        "evaluation, machine."
    )
    runs[1].config["optimizer"]["lr"] = 0.5
    runs[1].config["data"]["sampler"] = {"kind": "repeat_factor"}
    assert parts(runs)[3][-1].endswith(
        "They differ in: sampler (data.sampler.kind); optimizer (optimizer.lr)."
    )


def test_cost_is_the_mean_over_seeds(make_run):
    runs = [make_run(f"a_seed{seed}", seed=seed, explained=True) for seed in (0, 1)]
    runs[1] = replace(runs[1], cost={**runs[1].cost, "parameters": 3_500_000})
    assert COSTS["parameters"].value(compare(runs).experiments[0]) == 3_000_000


def test_nothing_is_called_equal_where_settings_are_unknown(make_run):
    known, unknown = make_run("known", explained=True), make_run("unknown", explained=True)
    object.__setattr__(unknown, "config", None)
    *_, texts = parts([known, unknown])
    assert texts[-1] == (
        "Whether sampler, schedule and the like were equal is not known: unknown has no stored "
        "settings."
    )
