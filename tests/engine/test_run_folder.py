"""A run never writes over another one by accident."""

import json

import pytest

from dense_lt.engine.run_folder import (
    RunFolder,
    check_free,
    clear,
    given_back,
    occupied,
    read_own_json,
    write_atomically,
    write_environment,
)
from dense_lt.utils.errors import ConfigError, DataError


def test_a_fresh_folder_is_free_also_with_files_of_others(tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    check_free(RunFolder(tmp_path), resume=False, overwrite=False)
    check_free(RunFolder(tmp_path / "new"), resume=False, overwrite=False)


def test_a_folder_with_a_run_asks_for_resume_or_overwrite(tmp_path):
    run = RunFolder(tmp_path)
    run.config.write_text("name: x")
    with pytest.raises(ConfigError, match=r"config\.yaml\)\. Add --resume .*, --overwrite"):
        check_free(run, resume=False, overwrite=False)
    check_free(run, resume=True, overwrite=False)
    check_free(run, resume=False, overwrite=True)


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="exclude each other"):
        check_free(RunFolder(tmp_path), resume=True, overwrite=True)


def test_clearing_leaves_what_a_run_did_not_write(tmp_path):
    run = RunFolder(tmp_path)
    (tmp_path / "notes.md").write_text("mine")
    run.metrics.write_text("{}")
    run.checkpoints.mkdir()
    (run.checkpoints / "latest").write_text("x")
    clear(run)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.md"]
    clear(RunFolder(tmp_path / "not there"))


def test_atomic_writing_replaces_and_leaves_nothing_behind(tmp_path):
    for text in ("first", "second"):
        write_atomically(tmp_path / "file", text)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "second")]


def test_the_environment_of_the_start_stays_and_resumptions_are_added(tmp_path):
    run = RunFolder(tmp_path)
    write_environment(run, {"command": "train a"}, step=0)
    write_environment(run, {"command": "train a --resume"}, step=10)
    write_environment(run, {"command": "train a --resume"}, step=30)
    stored = json.loads(run.environment.read_text())
    assert stored["command"] == "train a"
    assert [entry["step"] for entry in stored["resumed"]] == [10, 30]


def test_a_folder_that_a_run_is_in_is_refused_to_others_until_it_ends(tmp_path):
    run = RunFolder(tmp_path / "run")
    with (
        occupied(run),
        pytest.raises(ConfigError, match="another process is training"),
        occupied(run),
    ):
        pass
    with occupied(run):
        assert run.path.is_dir()


def test_a_run_that_cannot_begin_leaves_no_folder_but_the_files_of_others(tmp_path):
    for name, mine in (("new", False), ("old", True)):
        run = RunFolder(tmp_path / name)
        if mine:
            run.path.mkdir()
            (run.path / "notes.md").write_text("mine")
        with pytest.raises(ZeroDivisionError), occupied(run), given_back(run):
            _fail_after_writing(run)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "old",
        "old/notes.md",
    ]


def _fail_after_writing(run):
    run.metrics.write_text("{}")
    raise ZeroDivisionError


@pytest.mark.parametrize("text", ["", '{"snapshots": [', "[]", "\x00"])
def test_a_damaged_file_of_the_run_is_named_with_what_it_costs_to_go_without(tmp_path, text):
    run = RunFolder(tmp_path)
    run.environment.write_text(text)
    with pytest.raises(DataError, match=r"environment\.json: damaged .*without how it was started"):
        write_environment(run, {"gpu": "none"}, step=20)
    assert run.environment.read_text() == text
    run.environment.unlink()
    write_environment(run, {"gpu": "none"}, step=20)
    assert json.loads(run.environment.read_text()) == {"gpu": "none"}
    assert read_own_json(tmp_path / "absent.json", held="nothing") == {}


def test_other_training_data_than_before_are_told_once(tmp_path, caplog):
    run = RunFolder(tmp_path)
    for step, data in ((0, "a"), (10, "a"), (20, "b"), (30, "b")):
        write_environment(run, {"training_data": data}, step=step)
        assert ("the training images or their objects are not those" in caplog.text) == (step == 20)
        caplog.clear()
    stored = json.loads(run.environment.read_text())
    del stored["training_data"]
    run.environment.write_text(json.dumps({**stored, "resumed": []}))  # of a version before
    write_environment(run, {"training_data": "c"}, step=40)
    assert not caplog.text
