import argparse
from pathlib import Path

import pytest
from helpers.fake_runs import write_run

from dense_lt.cli import compare
from dense_lt.config.load import load_config
from dense_lt.report.runs import read_run
from dense_lt.report.settings import experiment_key
from dense_lt.utils.errors import ConfigError, DataError

CONFIG = Path(__file__).parents[2] / "configs" / "drawn" / "class_weighted_focal.yaml"


@pytest.fixture
def runs(tmp_path):
    """Two runs, as words of a command line."""
    return [
        str(write_run(tmp_path / "focal")),
        str(write_run(tmp_path / "efl", loss="equalized_focal", rare_gain=0.1)),
    ]


def run(*words):
    parser = argparse.ArgumentParser()
    compare.configure(parser)
    return compare.run(parser.parse_args([str(word) for word in words]))


def test_the_command_writes_a_report_and_ends_with_table_and_path(runs, tmp_path, capsys):
    assert run(*runs, "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[:3] == ["run", "AP", "AP50"]
    assert out.splitlines()[-1] == str(tmp_path / "out" / "index.html")
    assert "There are no example images" in (tmp_path / "out" / "report.md").read_text()


def test_differences_are_to_the_reference_asked_for(runs, tmp_path):
    run(*runs, "--out", tmp_path / "out", "--reference", runs[1], "--examples", 0)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Against efl, focal is" in text
    assert "Example images" not in text


def test_a_run_given_twice_is_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="this run is given twice; give every run once"):
        run(runs[0], f"{runs[0]}/", "--out", tmp_path / "out")


def test_a_reference_must_be_compared(runs, tmp_path):
    with pytest.raises(
        ConfigError, match=r"--reference .*efl: this is not one of the runs compared"
    ):
        run(runs[0], "--out", tmp_path / "out", "--reference", runs[1])


def test_a_file_is_no_folder_to_write_into(runs, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="this is a file; give a folder"):
        run(*runs, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [("--examples", -1, "must be 0 or more"), ("--score-threshold", 1.5, r"must be in \[0, 1\]")],
)
def test_numbers_out_of_range_are_refused(runs, tmp_path, option, value, allowed):
    with pytest.raises(ConfigError, match=f"{option} {value}: {allowed}"):
        run(*runs, "--out", tmp_path / "out", option, value)


def test_a_missing_run_is_named_before_anything_is_written(runs, tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such run folder"):
        run(runs[0], tmp_path / "nowhere", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_that_did_not_exist_yet_are_at_their_defaults(tmp_path):
    new = load_config(CONFIG)
    now = new.model_dump(mode="json")
    before = {**now, "seed": 1, "data": dict(now["data"]), "train": dict(now["train"])}
    del before["data"]["prefetch_batches"], before["data"]["decode_short_side"]
    del before["train"]["ema"]
    stored = [
        read_run(write_run(tmp_path / name, config=config))
        for name, config in (("now", now), ("before", before))
    ]
    assert len({experiment_key(run) for run in stored}) == 2
    complete = [compare.with_default_settings(run) for run in stored]
    assert len({experiment_key(run) for run in complete}) == 1
    assert complete[0].config == now


def test_settings_that_are_not_known_leave_a_run_as_it_is_stored(tmp_path):
    run = read_run(write_run(tmp_path / "other", config={"optimiser": "another program's"}))
    assert compare.with_default_settings(run) is run
    alone = read_run(write_run(tmp_path / "alone", config=None) / "evaluation" / "results.json")
    object.__setattr__(alone, "config", None)
    assert compare.with_default_settings(alone) is alone
