from dataclasses import replace

import numpy as np
import pytest

from dense_lt.report import diagnosis
from dense_lt.report.comparison import compare
from dense_lt.report.curves import by_rank
from dense_lt.report.diagnosis_section import diagnosis_section


@pytest.fixture
def comparison(make_run):
    return compare([make_run("a", explained=True), make_run("old", prior=0.2)])


def with_counts(run, what, **counts):
    """The run, with other counts of its rare classes."""
    own = getattr(run.diagnosis, what)
    group_of = {c.category_id: c.group for c in run.classes}
    changed = {
        name: [
            counts[name] if name in counts and group_of[i] == "rare" else number
            for i, number in zip(run.diagnosis.category_ids, numbers, strict=True)
        ]
        for name, numbers in own.items()
    }
    return replace(run, diagnosis=replace(run.diagnosis, **{what: changed}))


def test_shares_are_of_the_objects_and_detections_of_a_group(make_run):
    run = with_counts(make_run("a", explained=True), "objects", covered=7, candidate=3)
    experiment = compare([run]).experiments[0]
    assert diagnosis.stage_shares(experiment, "rare") == pytest.approx(
        {"proposed": None, "covered": 0.7, "candidate": 0.3, "named": 0.5}
    )
    assert diagnosis.stage_shares(experiment, "common")["covered"] == pytest.approx(0.9)
    kinds = diagnosis.kind_shares(experiment, "rare")
    assert kinds["true"] == pytest.approx(0.5)
    assert kinds["confusion_frequent"] == pytest.approx(0.4)
    assert sum(kinds.values()) == pytest.approx(1)


def test_shares_are_means_over_the_runs_that_have_them(make_run):
    runs = [make_run(f"a_seed{seed}", seed=seed, explained=True) for seed in (0, 1)]
    runs[1] = with_counts(runs[1], "objects", covered=7)
    runs.append(make_run("a_seed2", seed=2))
    experiment = compare(runs).experiments[0]
    assert diagnosis.stage_shares(experiment, "rare")["covered"] == pytest.approx(0.8)


def test_scores_are_means_over_classes_and_unknown_without_a_diagnosis(comparison):
    assert diagnosis.mean_scores(comparison.experiments[0], "rare") == pytest.approx((0.4, 0.2))
    assert diagnosis.mean_scores(comparison.experiments[1], "rare") == (None, None)


def test_bins_with_few_detections_are_left_out_of_the_reliability(comparison):
    scores, precision = diagnosis.reliability(comparison.experiments[0], "rare")
    np.testing.assert_allclose(scores, (10 * np.arange(10) + 5) / 100)
    np.testing.assert_allclose(precision, np.arange(10) / 10)
    assert len(diagnosis.reliability(comparison.experiments[0], "rare", fewest=101)[0]) == 0


def test_norms_go_by_rank_and_have_mean_one(comparison):
    run = comparison.experiments[0].runs[0]
    norms = diagnosis.relative_norms(comparison.experiments[0])
    images = np.array([run.classes[label].train_images for label in by_rank(run)])
    np.testing.assert_allclose(norms, (own := 1 + 0.1 * np.log10(images)) / own.mean())
    assert diagnosis.relative_norms(comparison.experiments[1]) is None


def test_confused_pairs_have_names_groups_and_counts_of_every_experiment(comparison):
    (pair,) = diagnosis.confused_pairs(comparison, "rare")
    assert (pair.group, pair.named_group, pair.counts) == ("rare", "frequent", (4.0, 0.0))
    assert diagnosis.confused_pairs(comparison, "common") == []


def test_the_page_says_where_most_rare_objects_are_lost(make_run, tmp_path):
    run = make_run("a", explained=True)
    texts = []
    for counts in ({"covered": 2, "candidate": 2, "named": 2}, {"candidate": 5}, {"named": 1}):
        section = diagnosis_section(compare([with_counts(run, "objects", **counts)]), tmp_path)
        texts.append(section.blocks[0].texts[0])
    assert "before classification: no box covers them (80.0 %)" in texts[0]
    assert "in classification: a box covers them, but none of their class (40.0 %)" in texts[1]
    assert "in ranking: another class outscores theirs (70.0 %)" in texts[2]


def test_what_is_lost_before_classification_is_told_from_what_it_threw_away(make_run, tmp_path):
    texts = []
    for name, proposed, covered in (("a", 3, 3), ("b", 9, 2)):
        run = with_counts(
            make_run(name, explained=True, proposed=proposed),
            "objects",
            **{"covered": covered, "candidate": 2, "named": 2},
        )
        texts.append(diagnosis_section(compare([run]), tmp_path).blocks[0].texts[0])
    assert "30.0 % have a candidate, 30.0 % are covered" in texts[0]
    assert "before classification: no candidate covers them (70.0 %)" in texts[0]
    assert "a candidate covers them, but no box that was kept (70.0 %)" in texts[1]


def test_recall_of_candidates_is_shown_beside_runs_that_did_not_save_it(make_run, tmp_path):
    runs = [make_run("new", explained=True, proposed=9), make_run("old", explained=True, prior=0.2)]
    comparison = compare(runs)
    shares = diagnosis.candidate_shares(comparison.experiments[0], "rare")
    assert shares == pytest.approx({"10": 0.3, "100": 0.7, "1000": 0.9})
    assert diagnosis.candidate_shares(comparison.experiments[1], "rare") == {}
    section = diagnosis_section(comparison, tmp_path)
    (table,) = (b for b in section.blocks if getattr(b, "label", "") == "Diagnosis by group")
    rows = [[cell.text for cell in row] for row in table.rows if row[0].text == "rare"]
    assert rows[1] == ["rare", "objects covered by: one of the 100 best candidates", "70.0", "n/a"]
    assert rows[3] == ["rare", "objects covered by: a candidate", "90.0", "n/a"]
    assert diagnosis.stages_known(compare(runs[1:])) == ["covered", "candidate", "named"]


def test_without_a_diagnosis_or_groups_the_reason_is_said(make_run, tmp_path):
    run = make_run("a")
    (only,) = diagnosis_section(compare([run]), tmp_path).blocks
    assert only.text == "a: no diagnosis: the run did not save it."
    bare = replace(run, classes=tuple(replace(c, group=None) for c in run.classes))
    first, _ = diagnosis_section(compare([bare]), tmp_path).blocks
    assert "frequency groups are not known" in first.text
