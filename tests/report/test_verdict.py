from dense_lt.report.comparison import MOST_SIDE_BY_SIDE, compare
from dense_lt.report.verdict import verdict


def metrics(ap, rare, common, frequent):
    own = {"AP": ap, "APr": rare, "APc": common, "APf": frequent}
    return {"metrics": own, "by_max_detections": {"300": own}}


def test_single_runs_are_said_to_be_single(make_run):
    focal = make_run("focal", **metrics(0.234, 0.074, 0.285, 0.404))
    efl = make_run("efl", loss="equalized_focal", **metrics(0.283, 0.182, 0.301, 0.403))
    leaders, against, chance = verdict(compare([focal, efl]))
    assert leaders == (
        "Highest in percent, at 300 detections per image: efl on AP (28.3; next 23.4), "
        "APr (18.2; next 7.4) and APc (30.1; next 28.5); focal on APf (40.4; next 40.3)."
    )
    assert against == (
        "Against focal, efl is higher on AP (+4.9), APr (+10.8) and APc (+1.6), "
        "lower on APf (-0.1)."
    )
    assert "no intervals" in chance


def test_a_difference_inside_its_interval_is_called_noise(make_run):
    runs = [
        make_run(f"{name}{seed}", seed=seed, prior=prior, **metrics(0.2, rare, 0.3, frequent))
        for name, prior, rares, frequents in (
            ("focal", 0.1, (0.070, 0.080), (0.400, 0.410)),
            ("efl", 0.2, (0.170, 0.181), (0.409, 0.400)),
        )
        for seed, rare, frequent in zip((0, 1), rares, frequents, strict=True)
    ]
    sentences = verdict(compare(runs))
    assert len(sentences) == 2
    assert "better on APr (+10.1)" in sentences[1]
    assert "within the noise on" in sentences[1]
    assert "APf (-0.1)" in sentences[1].split("within the noise on")[1]


def test_one_run_is_reported_without_a_winner(make_run):
    (sentence,) = verdict(compare([make_run("focal", **metrics(0.2, None, 0.3, 0.4))]))
    assert sentence.startswith("focal: AP 20.0, APr n/a, APc 30.0, APf 40.0 (percent")


def test_an_undefined_group_is_not_compared(make_run):
    runs = [make_run(n, prior=p, **metrics(0.2, None, 0.3, 0.4)) for n, p in (("a", 0.1), ("b", 1))]
    assert not any("APr" in sentence for sentence in verdict(compare(runs)))


def test_many_experiments_get_no_sentence_each(make_run):
    runs = [make_run(f"m{i}", prior=0.1 + i / 100) for i in range(MOST_SIDE_BY_SIDE + 1)]

    assert len(verdict(compare(runs[:-1]))) == MOST_SIDE_BY_SIDE + 1
    assert len(verdict(compare(runs))) == 2
