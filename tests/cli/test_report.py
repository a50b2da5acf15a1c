import argparse

import pytest
from helpers.fake_runs import write_run

from dense_lt.cli import report
from dense_lt.utils.errors import ConfigError


def run(*words):
    parser = argparse.ArgumentParser()
    report.configure(parser)
    return report.run(parser.parse_args([str(word) for word in words]))


def test_one_run_gives_a_page_of_its_own_beside_it(tmp_path, capsys):
    folder = write_run(tmp_path / "focal")
    assert run(folder, "--examples", 0) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(folder / "report" / "index.html")
    assert "tables/: " in "\n".join(lines)
    text = (folder / "report" / "report.md").read_text()
    assert text.startswith("# Report: focal")
    # The fake run has no predictions to make a diagnosis from.
    assert "no diagnosis: the run did not save it; from its predictions:" in text


def test_a_file_is_no_folder_and_no_number_of_examples_is_negative(tmp_path):
    folder = write_run(tmp_path / "focal")
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="this is a file; give a folder"):
        run(folder, "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="--examples -1: must be 0 or more"):
        run(folder, "--examples", -1)
