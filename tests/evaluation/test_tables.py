from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns

from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.evaluation.tables import format_results

SETTINGS = ScoreSettings(resamples=50)


def test_the_table_shows_every_run_and_cap_in_per_cent():
    truth, found = columns(*make_case(0, images=20))
    result = score(truth, found, ScoreSettings(caps=(300, 30)), run="mine")
    text = format_results([result, score(truth, Predictions.empty(), run="nothing")])
    assert "300 per image" in text
    assert f"{100 * (result.metrics['AP'] or 0):.2f}" in text
    lines = [line for line in text.splitlines() if line.startswith(("AP", "AR", "at most"))]
    assert len({len(line) for line in lines if "n/a" not in line}) == 1


def test_intervals_stand_beside_the_headline():
    truth, found = columns(*make_case(0, images=20))
    result = score(truth, found, SETTINGS)
    assert result.intervals is not None
    low, high = result.intervals["metrics"]["AP"]
    assert f"[{100 * low:.2f}, {100 * high:.2f}]" in format_results([result])


def test_differences_that_may_be_chance_are_marked():
    truth, found = columns(*make_case(0, images=40))
    first = score(truth, found, SETTINGS, run="first")
    same = score(truth, found, SETTINGS, run="same")
    nothing = score(truth, Predictions.empty(), SETTINGS, run="nothing")
    text = format_results([first, same, nothing])
    section = text[text.index("difference to first") :]
    line = next(line for line in section.splitlines() if line.startswith("AP "))
    assert "+0.00 [+0.00, +0.00] ~" in line
    assert not line.endswith("~")
    assert line.count("-") >= 3


def test_differences_are_shown_for_every_protocol():
    truth, found = columns(*make_case(0, images=20))
    results = [
        score(truth, own, ScoreSettings(protocol, resamples=50), run=name)
        for name, own in (("first", found), ("nothing", Predictions.empty()))
        for protocol in ("lvis", "pool")
    ]
    text = format_results(results)
    for protocol in ("lvis", "pool"):
        section = text[text.index(f"difference to first ({protocol}, bbox)") :]
        assert section.splitlines()[2].split() == ["nothing"]


def test_runs_on_other_images_have_no_differences():
    results = [score(*columns(*make_case(seed)), SETTINGS) for seed in (0, 1)]
    assert "difference to" not in format_results(results)
