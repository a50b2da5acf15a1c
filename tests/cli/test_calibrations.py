import json

import pytest
from helpers.evaluation_cases import make_case

from dense_lt.cli import main as cli
from dense_lt.evaluation.classifier import ClassifierWeights
from dense_lt.evaluation.results import EvaluationResult


@pytest.fixture
def files(tmp_path):
    """Annotations that are those of the training, too, and predictions."""
    document, records = make_case(0, images=12)
    (tmp_path / "gt.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "found.json").write_text(json.dumps(records), encoding="utf-8")
    for number, annotation in enumerate(document["annotations"]):
        annotation |= {"bbox": [3 + number % 7, 3, 4, 4], "area": 16}
    (tmp_path / "train.json").write_text(json.dumps(document), encoding="utf-8")
    weights = {c["id"]: (1.0 + i, -2.0) for i, c in enumerate(document["categories"])}
    ClassifierWeights(weights, has_quality=False).save(tmp_path / "classifier.json")
    return tmp_path


def _score(folder, *options):
    paths = ["--gt", str(folder / "gt.json"), "--predictions", str(folder / "found.json")]
    required = [*paths, "--out", str(folder / "out"), "--resamples", "100", "--max-dets", "3"]
    return cli.main(["eval", "score", *required, *options])


def test_every_method_is_scored_beside_the_raw_scores(files, capsys):
    methods = ["--norcal", "0.5", "1", "--logit-adjustment", "1", "--temperature", "0.2"]
    methods += ["--tau-norm", "1", "--fracal", "2"]
    assert _score(files, *methods, "--train-annotations", str(files / "train.json")) == 0
    assert "difference to found" in capsys.readouterr().out
    names = ["norcal_0.5", "norcal_1", "logit_adjustment_1", "temperature_0.2", "tau-norm_1"]
    raw = EvaluationResult.load(files / "out" / "results.json")
    for name in (*names, "fracal_2"):
        result = EvaluationResult.load(files / "out" / f"results_{name}.json")
        assert result.rules["calibration"].lower().replace(" ", "_") == name
        assert result.counts == raw.counts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fracal", "2"], "--fracal looks at where the training objects are"),
        (["--norcal", "1"], "give --train-annotations or --categories"),
        (["--tau-norm", "1", "--classifier", "x.json"], "x.json is not there"),
    ],
)
def test_what_a_method_needs_is_asked_for(files, capsys, options, message):
    assert _score(files, *options) == 2
    assert message in capsys.readouterr().err


def test_the_original_packages_take_no_calibrated_scores(files, capsys):
    train = ["--train-annotations", str(files / "train.json")]
    assert _score(files, "--norcal", "1", "--backend", "lvis", *train) == 2
    assert "--backend lvis scores what the file says" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", ["--norcal", "--logit-adjustment", "--temperature", "--tau-norm"]
)
@pytest.mark.parametrize("strength", ["nan", "inf", "-1", "0", "1e9", "much"])
def test_strengths_out_of_range_are_refused(files, capsys, option, strength):
    with pytest.raises(SystemExit):
        _score(files, option, strength)
    message = f"argument {option}: {strength!r}: it must be a number above 0 to 10"
    assert message in capsys.readouterr().err


def test_fracal_without_its_second_part_is_a_strength(files, capsys):
    train = ["--train-annotations", str(files / "train.json")]
    assert _score(files, "--fracal", "0", *train) == 0
    with pytest.raises(SystemExit):
        _score(files, "--fracal", "-1", *train)
    assert "it must be a number from 0 to 10" in capsys.readouterr().err


def test_validation_in_place_of_training_is_noted(files, capsys):
    assert _score(files, "--train-annotations", str(files / "train.json")) == 0
    assert "come from validation" not in capsys.readouterr().out
    assert _score(files, "--train-annotations", str(files / "gt.json")) == 0
    assert "--train-annotations is the file of --gt" in capsys.readouterr().out
