import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib
import pytest
from helpers.fake_runs import draw_categories

from dense_lt.report import sections
from dense_lt.report.comparison import compare
from dense_lt.report.document import Document
from dense_lt.report.gallery import ExampleOptions
from dense_lt.report.numbers import comparison_numbers
from dense_lt.report.page import render_page
from dense_lt.report.write import write_report

NO_EXAMPLES = ExampleOptions(count=0)
LIMIT = 3_000_000  # bytes of a page


def write(runs, folder):
    return write_report(runs, folder, examples=NO_EXAMPLES).read_text(encoding="utf-8")


def page_without_figures(runs):
    """What takes no drawing, which is what takes the time."""
    comparison = compare(runs)
    parts = (
        sections.overview(comparison),
        sections.by_group(comparison, []),
        sections.class_table(comparison),
        sections.settings(comparison),
    )
    return render_page(Document("title", parts))


def table_row(page, first):
    """Texts of the cells of the first row that starts with `first`."""
    row = re.search(rf'<tr><th scope="row" class="name">{first}.*?</tr>', page).group()
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]


def test_a_report_is_a_page_its_markdown_its_figures_and_its_numbers(make_run, tmp_path):
    runs = [
        make_run("focal", explained=True, proposed=9),
        make_run("efl", loss="equalized_focal", rare_gain=0.1, explained=True),
    ]
    page = write(runs, tmp_path / "out")
    folder = tmp_path / "out" / "figures"
    figures = {path.stem for path in folder.glob("*.png")}
    assert {path.stem for path in folder.glob("*.svg")} == figures
    assert figures == {
        *("ap_by_group_300", "ap_by_group_30", "ap_by_training_images", "ap_by_step"),
        *("ratio_by_rank", "ratio_by_step", "losses", "mapping_function", "balance_by_step"),
        *("classifier_norms", "objects_found", "error_kinds", "reliability", "mean_scores"),
        "classifier_norms_by_step",
    }
    tables = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert tables == {
        *("what_was_scored.tex", "scores_by_group.tex", "cost_beside_accuracy.tex"),
        *("diagnosis_by_group.tex", "confused_rare_classes.tex", "classes.tex"),
        "settings_that_differ.tex",
    }
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert {f"figures/{name}.png" for name in figures} == set(
        re.findall(r"figures/[^)]+", markdown)
    )
    assert page.count("<svg") == len(figures)
    numbers = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert numbers["reference"] == "focal"
    assert numbers["experiments"][0]["cost"]["parameters"] == 2_500_000
    stages = {"proposed": 0.9, "covered": 0.9, "candidate": 0.8, "named": 0.5}
    rare = numbers["experiments"][0]["diagnosis"]["rare"]
    assert rare["stages"] == pytest.approx(stages)
    assert rare["candidates"] == pytest.approx({"10": 0.3, "100": 0.7, "1000": 0.9})
    assert numbers["experiments"][0]["classifier_norms_by_group"][0]["steps"][-1] == 935
    assert numbers["confused_rare_classes"][0]["counts"] == [4.0, 4.0]
    assert len(page) < LIMIT


def test_the_table_shows_the_numbers_of_the_runs_and_their_differences(make_run):
    runs = [make_run("focal"), make_run("efl", loss="equalized_focal")]
    for run, rare in zip(runs, (0.0741, 0.1823), strict=True):
        run.results.by_max_detections["300"]["APr"] = rare
    page = page_without_figures(runs)
    assert table_row(page, "APr") == ["APr rare classes", "7.4", "18.2 +10.8"]
    assert table_row(page, "APl") == ["APl large objects", "n/a", "n/a"]
    assert "APl is n/a: the ground truth holds no large object" in page
    assert "Single runs: no intervals" in page


def test_repetitions_show_mean_interval_and_noise(make_run):
    runs = []
    for name, prior, rares in (
        ("focal", 0.1, (0.07, 0.08, 0.12)),
        ("efl", 0.2, (0.08, 0.08, 0.12)),
    ):
        for seed, rare in enumerate(rares):
            run = make_run(f"{name}_seed{seed}", seed=seed, prior=prior)
            run.results.by_max_detections["300"]["APr"] = rare
            runs.append(run)
    page = page_without_figures(runs)
    # Means 9.0 and 9.33; half-width of the first 4.3027 * sqrt(7 / 3) = 6.6 (as done by hand in
    # test_intervals); differences 1, 0, 0 have mean 0.33 and half-width 1.4.
    reference, other = table_row(page, "APr")[1:]
    assert reference == "9.0 ± 6.6"
    assert other.startswith("9.3 ± ")
    assert other.endswith("≈ +0.3")
    numbers = comparison_numbers(compare(runs))
    entry = next(m for m in numbers["experiments"][1]["metrics"] if m["metric"] == "APr")
    assert entry["difference"]["mean"] == pytest.approx(0.01 / 3)
    assert entry["difference"]["half_width"] == pytest.approx(0.01435, abs=1e-4)
    assert entry["values"] == [0.08, 0.08, 0.12]


def test_a_single_run_gives_a_page(make_run, tmp_path):
    page = write([make_run("focal")], tmp_path / "out")
    assert "there is nothing to compare it with" in page
    assert "There is one experiment, so nothing differs" in page


def test_unlike_runs_are_seen_to_be_unlike(make_run):
    runs = [make_run("a"), make_run("b", protocol="coco"), make_run("c", data_seed=1, prior=0.2)]
    page = page_without_figures(runs)
    warning = re.search(r'<div class="warning".*?</div>', page).group()
    assert "differ in their data or in how they were scored" in warning
    assert "result.protocol" in warning
    assert "data.dataset.seed" in warning


def test_the_console_is_told_of_unlike_runs(make_run, tmp_path, caplog):
    write([make_run("a"), make_run("b", prior=0.01)], tmp_path / "alike")
    assert not caplog.text
    write([make_run("d"), make_run("c", protocol="coco")], tmp_path / "unlike")
    assert "differ in their data or in how they were scored (result.protocol)" in caplog.text


def test_like_runs_get_no_warning(make_run):
    page = page_without_figures([make_run("a"), make_run("b", prior=0.01)])
    assert 'class="warning"' not in page


def test_other_training_is_named_beside_the_verdict(make_run):
    runs = [make_run("a"), make_run("b")]
    runs[1].config["optimizer"]["lr"] = 0.04
    page = page_without_figures(runs)
    assert "The runs were also trained differently (optimizer.lr)" in page


def test_the_same_seed_twice_is_warned_of(make_run):
    page = page_without_figures([make_run("a"), make_run("b")])
    assert "two runs have the same seeds" in page


def test_what_a_run_did_not_store_is_said_and_not_a_crash(make_run, tmp_path):
    bare = [
        replace(run, snapshots=(), train_lines=(), evaluation_lines=(), config=None, environment={})
        for run in (make_run("a"), make_run("b", prior=0.2))
    ]
    page = write(bare, tmp_path / "out")
    assert "the runs stored no gradient statistics" in page
    assert "a: no diagnosis: the run did not save it" in page
    assert "parameters, million n/a: the run was evaluated before this was saved" in page
    assert "Classifier norms are not drawn" in page
    assert "the runs have no metrics.jsonl" in page
    assert "a, b: no settings are stored" in page


def test_scores_without_training_counts_give_a_page(make_run, tmp_path):
    run = make_run("scored")
    unknown = tuple(
        replace(c, group=None, train_images=None, train_instances=None) for c in run.classes
    )
    counts = run.results.counts | {"categories_by_group": None, "categories_with_annotations": None}
    for metrics in run.results.by_max_detections.values():
        metrics.update(APr=None, APc=None, APf=None)
    results = replace(run.results, counts=counts, per_class=unknown)
    page = write([replace(run, classes=unknown, results=results, snapshots=())], tmp_path / "out")
    assert "the results do not say how many training images" in page
    assert "groups not known" in page
    assert "APr is n/a: frequency groups are not known" in page


def test_one_evaluation_makes_no_curve_and_says_so(make_run, tmp_path):
    run = make_run("a")
    page = write([replace(run, evaluation_lines=run.evaluation_lines[:1])], tmp_path / "out")
    assert "the runs were evaluated once, at the end" in page


def test_classes_without_ground_truth_or_training_images_are_drawn_or_left_out(make_run, tmp_path):
    run = make_run("a")
    classes = list(run.classes)
    classes[0] = replace(classes[0], AP=None)
    classes[1] = replace(classes[1], train_images=0)
    page = write([replace(run, classes=tuple(classes))], tmp_path / "out")
    assert ">n/a</td>" in page


def test_evil_names_are_text_in_every_file(make_run, tmp_path):
    evil = "<script>alert(1)</script> $x_{"
    categories = draw_categories(names=(evil, "a|b", "_hidden"))
    runs = [
        make_run("_a", run="_<b>$\\frac$"),
        make_run("b", categories=categories, run=evil, explained=True),
    ]
    page = write(runs, tmp_path / "out")
    assert page.count("<script>") == 1
    assert "<script>" not in (tmp_path / "out" / "report.md").read_text()
    assert "<script>" not in (tmp_path / "out" / "tables" / "classes.tex").read_text()
    for path in (tmp_path / "out" / "figures").glob("*.svg"):
        assert not any(e.tag.endswith("script") for e in ElementTree.parse(path).iter())
    # The drawings hold run names too, in their legends.
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(svg)


def test_the_same_runs_give_the_same_bytes_and_leave_matplotlib_alone(make_run, tmp_path):
    before = dict(matplotlib.rcParams)
    page = write([make_run("a")], tmp_path / "out")
    assert dict(matplotlib.rcParams) == before
    assert page == write([make_run("again/a")], tmp_path / "again")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_many_runs_of_many_classes_still_make_a_small_page(make_run, tmp_path):
    categories = draw_categories(
        frequent=400, common=400, rare=400, names=tuple(map(str, range(1200)))
    )
    runs = [make_run(f"run{i}", prior=0.01 * (i + 1), categories=categories) for i in range(9)]
    assert len(write(runs, tmp_path / "out")) < LIMIT


def test_reading_and_comparing_runs_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys; import dense_lt.report.write, dense_lt.cli.compare; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
