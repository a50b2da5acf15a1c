import pytest

from dense_lt.report.comparison import compare


def with_metrics(make_run, name, *, ap, rare, **options):
    metrics = {"AP": ap, "APr": rare}
    return make_run(name, metrics=metrics, by_max_detections={"300": metrics}, **options)


def test_repetitions_are_grouped_and_named_after_what_they_share(make_run):
    names = ["efl_0.1_data0_seed0", "efl_0.1_data0_seed1", "efl_0.1_data1_seed0"]
    seeds = [(0, 0), (1, 0), (0, 1)]
    runs = [
        make_run(name, seed=seed, data_seed=data)
        for name, (seed, data) in zip(names, seeds, strict=True)
    ]
    comparison = compare([*runs, make_run("focal", prior=0.01)])
    assert [e.label for e in comparison.experiments] == ["efl_0.1", "focal"]
    assert [len(e.runs) for e in comparison.experiments] == [3, 1]


def test_experiments_of_the_same_name_are_told_apart_by_folder(make_run):
    runs = [make_run("a/focal"), make_run("b/focal", prior=0.01), make_run("efl", prior=0.5)]
    labels = [e.label for e in compare(runs).experiments]
    assert labels == ["a/focal", "b/focal", "efl"]


def test_the_reference_comes_first(make_run):
    runs = [make_run(name, prior=prior) for name, prior in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    assert [e.label for e in compare(runs, runs[2]).experiments] == ["c", "a", "b"]


def test_means_and_differences_are_those_done_by_hand(make_run):
    focal = [
        with_metrics(make_run, f"focal{s}", seed=s, ap=ap, rare=rare)
        for s, ap, rare in ((0, 0.20, 0.07), (1, 0.22, 0.08), (2, 0.24, 0.12))
    ]
    efl = [
        with_metrics(make_run, f"efl{s}", loss="equalized_focal", seed=s, ap=ap, rare=rare)
        for s, ap, rare in ((2, 0.24, 0.22), (0, 0.21, 0.17), (1, 0.21, 0.18))
    ]
    comparison = compare([*focal, *efl])
    reference, other = comparison.experiments
    assert reference.estimate("APr", 300).mean == pytest.approx(0.09)
    # Seed by seed the rare classes gain 0.10 each time, whatever order the runs come in.
    rare = comparison.difference(other, "APr", 300)
    assert rare.mean == pytest.approx(0.10)
    assert rare.half_width == pytest.approx(0, abs=1e-9)
    assert not rare.contains_zero
    # AP: 0.01, -0.01, 0.00 is noise.
    overall = comparison.difference(other, "AP", 300)
    assert overall.mean == pytest.approx(0, abs=1e-9)
    assert overall.contains_zero


def test_runs_of_other_seeds_are_not_paired(make_run):
    runs = [make_run("a0", seed=0), make_run("a1", seed=1)]
    same = [make_run(f"b{s}", seed=s, prior=0.2) for s in (0, 1)]
    other = [make_run(f"c{s}", seed=s, prior=0.3) for s in (5, 6)]
    comparison = compare([*runs, *same, *other])
    assert [comparison.is_paired(e) for e in comparison.experiments] == [True, True, False]


def test_the_same_seed_twice_is_noticed(make_run):
    comparison = compare([make_run("a", seed=0), make_run("b", seed=0)])
    assert comparison.experiments[0].repeats_a_seed
    assert not compare([make_run("c", seed=0), make_run("d", seed=1)]).experiments[0].repeats_a_seed


def test_a_cap_that_a_run_was_not_scored_at_is_undefined(make_run):
    comparison = compare([make_run("a"), with_metrics(make_run, "b", ap=0.2, rare=0.1, prior=0.2)])
    assert ("APr", 30) in comparison.metrics
    assert comparison.experiments[1].estimate("APr", 30).mean is None
    assert comparison.difference(comparison.experiments[1], "APr", 30).mean is None


def test_runs_on_other_classes_get_a_class_table_of_their_own(make_run):
    from helpers.fake_runs import draw_categories

    other = draw_categories(names=("otter",))
    runs = [make_run("a"), make_run("b", data_seed=1, categories=other)]
    comparison = compare(runs)
    assert len(comparison.experiments) == 1
    assert [len(data.runs[0]) for data in comparison.data_sets] == [1, 1]
    assert comparison.data_sets[1].classes[0].name == "otter"


def test_class_ap_is_the_mean_over_seeds(make_run):
    runs = [make_run("a", seed=0), make_run("b", seed=1)]
    mean = compare(runs).data_sets[0].average_precision(0)
    assert mean[4] == pytest.approx((runs[0].classes[4].AP + runs[1].classes[4].AP) / 2)


def test_of_many_experiments_the_reference_and_the_best_for_rare_classes_get_lines(make_run):
    rare = [0.01, 0.30, 0.02, 0.29, 0.28, None, 0.27, 0.26, 0.25]
    runs = [
        with_metrics(make_run, f"run{n}", ap=0.5 - n / 100, rare=own, prior=0.1 + n / 100)
        for n, own in enumerate(rare)
    ]
    few = compare(runs[:6])
    assert few.drawn() is few
    many = compare(runs)
    drawn = many.drawn()
    assert [own.label for own in drawn.experiments] == [
        "run0",
        "run1",
        "run3",
        "run4",
        "run6",
        "run7",
    ]
    assert [len(own) for own in drawn.data_sets[0].runs] == [1] * 6
    assert drawn.data_sets[0].runs[2][0].name == "run3"
    assert drawn.reference is many.reference
    unknown = [
        with_metrics(make_run, f"u{n}", ap=n / 100, rare=None, prior=0.1 + n / 100)
        for n in range(8)
    ]
    assert [own.label for own in compare(unknown).drawn().experiments] == [
        *("u0", "u3", "u4", "u5", "u6", "u7")
    ]
