from dense_lt.report.comparison import MOST_SIDE_BY_SIDE, compare
from dense_lt.report.document import Figure, Paragraph
from dense_lt.report.figures import group_figures, ratio_section
from dense_lt.report.runs import Snapshot


def warnings(run, ratio, folder):
    snapshot = Snapshot(935, "head.loss.statistics", (ratio,) * len(run.classes))
    object.__setattr__(run, "snapshots", (snapshot,))
    blocks = ratio_section(compare([run]), folder).blocks
    return [b.text for b in blocks if isinstance(b, Paragraph) and b.is_warning]


def test_an_equalized_loss_without_anything_to_equalize_is_called_inactive(make_run, tmp_path):
    (text,) = warnings(make_run("efl", loss="equalized_focal"), 0.96, tmp_path)
    assert text.startswith("efl: the mean gradient ratio of the rare classes is above 0.95")
    assert "model.head.prior_probability" in text


def test_an_active_loss_and_plain_focal_are_not_warned_of(make_run, tmp_path):
    assert warnings(make_run("efl", loss="equalized_focal"), 0.9, tmp_path) == []
    assert warnings(make_run("focal"), 1.0, tmp_path) == []


def test_a_ratio_that_was_recorded_once_makes_no_curve(make_run, tmp_path):
    run = make_run("efl")
    object.__setattr__(run, "snapshots", run.snapshots[-1:])
    section = ratio_section(compare([run]), tmp_path)
    assert [block.name for block in section.blocks if isinstance(block, Figure)] == [
        "ratio_by_rank"
    ]
    assert "recorded once" in section.blocks[-1].text


def test_many_experiments_have_a_line_each_in_the_figure_by_group(make_run, tmp_path):
    runs = [make_run(f"m{i}", prior=0.1 + i / 100) for i in range(MOST_SIDE_BY_SIDE + 1)]
    wide, tall = (group_figures(compare(own), tmp_path)[0] for own in (runs[:-1], runs))

    assert ">rare<" in wide.svg
    assert "AP (%) of classes" in tall.svg
    assert all(f">m{i}<" in tall.svg for i in range(len(runs)))
