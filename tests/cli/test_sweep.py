"""A sweep is a list of runs with names of their own."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from dense_lt.cli import sweep as sweep_module
from dense_lt.cli.jobs import Failure
from dense_lt.cli.main import main
from dense_lt.cli.sweep import plan
from dense_lt.config.load import load_config, save_config
from dense_lt.config.sweeps import load_sweep
from dense_lt.utils.errors import ConfigError


@pytest.fixture
def configs(tmp_path):
    paths = [tmp_path / "focal.yaml", tmp_path / "efl.yaml"]
    for path in paths:
        path.write_text("name: x\n")
    return paths


def test_every_configuration_meets_every_seed(configs, tmp_path):
    jobs = plan(configs, tmp_path, seeds=[0, 1], data_seeds=[5, 6], overrides=["device=cpu"])
    names = [job.folder.name for job in jobs]
    expected = [f"{c}_data{d}_seed{s}" for c in ("focal", "efl") for d in (5, 6) for s in (0, 1)]
    assert names == expected
    assert jobs[0].overrides == (
        "name=focal_data5_seed0",
        f"output={tmp_path}",
        "seed=0",
        "data.dataset.seed=5",
        "device=cpu",
    )


def test_a_single_seed_is_not_in_the_name(configs, tmp_path):
    jobs = plan(configs, tmp_path, seeds=[3], data_seeds=None, overrides=[])
    assert [job.folder.name for job in jobs] == ["focal", "efl"]
    assert "seed=3" in jobs[0].overrides
    assert not any(text.startswith("data.") for text in jobs[0].overrides)


def test_two_configurations_of_one_name_are_refused(configs, tmp_path):
    with pytest.raises(ConfigError, match="several configurations are called efl"):
        plan([*configs, tmp_path / "other" / "efl.yaml"], tmp_path, **NOTHING)


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such configuration file"):
        plan([tmp_path / "none.yaml"], tmp_path, **NOTHING)


ROOT = Path(__file__).parents[2]
LISTS = sorted((ROOT / "configs").glob("*/sweeps/*.yaml"))
NOTHING = {"seeds": [0], "data_seeds": None, "overrides": []}


def test_bad_settings_are_found_before_anything_is_trained(configs, tmp_path, capsys):
    command = ["sweep", str(configs[0]), "train.stepz=1", "--out", str(tmp_path / "runs")]
    assert main(command) == 2
    assert "stepz" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_settings_without_a_configuration_are_refused(tmp_path, capsys):
    assert main(["sweep", "seed=1", "--out", str(tmp_path)]) == 2
    assert "no CONFIG" in capsys.readouterr().err


@pytest.fixture
def trained(monkeypatch):
    """What a sweep would have trained and compared: folders with their overrides, and the page."""
    seen = {}

    def train_and_compare(jobs, page, *, at_once, dry_run):
        seen.update(jobs={job.folder.name: job.overrides for job in jobs}, page=page)
        return 0

    monkeypatch.setattr(sweep_module, "_train_and_compare", train_and_compare)
    return seen


def write_list(folder, **changes):
    content = {
        "out": str(folder / "runs"),
        "seeds": [0, 1],
        "settings": ["train.epochs=1"],
        "runs": [
            {"name": "plain", "config": "efl.yaml"},
            {"name": "alpha_8", "config": "efl.yaml", "settings": ["model.loss.alpha=8"]},
        ],
    }
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_a_list_names_its_runs_and_their_settings(configs, tmp_path, trained):
    assert main(["sweep", str(write_list(tmp_path))]) == 0
    assert list(trained["jobs"]) == ["plain_seed0", "plain_seed1", "alpha_8_seed0", "alpha_8_seed1"]
    assert trained["jobs"]["alpha_8_seed1"] == (
        *("name=alpha_8_seed1", f"output={tmp_path / 'runs'}", "seed=1"),
        *("train.epochs=1", "model.loss.alpha=8"),
    )
    assert trained["page"] == tmp_path / "runs" / "table"


def test_a_run_goes_on_from_that_of_its_own_seed(configs, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        sweep_module,
        "_train_and_compare",
        lambda jobs, page, at_once, dry_run: seen.extend(jobs) or 0,
    )
    runs = [
        {"name": "plain", "config": "efl.yaml"},
        {"name": "bags", "config": "efl.yaml", "init_from": "plain"},
    ]
    words = ["--data-seeds", "5", "6"]
    assert main(["sweep", str(write_list(tmp_path, runs=runs)), *words]) == 0
    assert [job.after for job in seen[:4]] == [None] * 4
    assert [job.after for job in seen[4:]] == [job.folder for job in seen[:4]]
    assert f"model.init_from={tmp_path}/runs/plain_data6_seed1" in seen[7].overrides


def test_the_command_goes_before_the_list(configs, tmp_path, trained):
    words = ["--seeds", "5", "--out", str(tmp_path / "other"), "train.epochs=2"]
    assert main(["sweep", str(write_list(tmp_path)), *words]) == 0
    assert list(trained["jobs"]) == ["plain", "alpha_8"]
    assert trained["jobs"]["plain"][-2:] == ("train.epochs=1", "train.epochs=2")
    assert trained["page"] == tmp_path / "other" / "table"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": [1]}, "table.yaml: seedz: unknown key; did you mean seeds?; allowed here: "),
        ({"runs": []}, "table.yaml: runs: tuple should have at least 1 item"),
        (
            {"runs": [{"name": "a", "config": "efl.yaml", "x": 1}]},
            "runs.0.x: unknown key; allowed",
        ),
        ({"seeds": ["a"]}, "table.yaml: seeds.0: input should be a valid integer"),
        ({"runs": [{"name": "a/b", "config": "efl.yaml"}]}, "runs.0.name: a folder is called that"),
        ({"runs": [{"name": "a", "config": "efl.yaml"}] * 2}, "several runs are called a"),
        ({"runs": [{"name": "a", "config": "none.yaml"}]}, "none.yaml: there is no such config"),
        ({"runs": [{"name": "table", "config": "efl.yaml"}], "seeds": [0]}, "as the list is"),
        (
            {"runs": [{"name": "a", "config": "efl.yaml", "init_from": "b"}]},
            "table.yaml: a: init_from: b is not a run before it in the list (it is the first",
        ),
        ({"settings": ["epochs"]}, "table.yaml: settings.0: expected section.key=value"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(configs, tmp_path, trained, capsys, changes, message):
    assert main(["sweep", str(write_list(tmp_path, **changes))]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "instead"),
    [
        ("seed=7", "--seeds"),
        ("output=there", "--out"),
        ("name=x", "`name` in a list"),
        ("data.dataset.seed=1", "--data-seeds"),
    ],
)
def test_settings_that_a_sweep_makes_itself_are_refused(
    configs, tmp_path, capsys, setting, instead
):
    command = ["sweep", str(configs[0]), "--out", str(tmp_path / "runs"), setting]
    assert main(command) == 2
    assert f"{setting}: a sweep sets that for every run; give {instead}" in capsys.readouterr().err


def test_a_list_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["sweep", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: there is no such configuration" in capsys.readouterr().err


def test_a_list_comes_alone_and_configurations_need_a_folder(configs, tmp_path, capsys):
    assert main(["sweep", str(write_list(tmp_path)), str(configs[0])]) == 2
    assert "this is a list of runs; give it alone" in capsys.readouterr().err
    assert main(["sweep", str(configs[0])]) == 2
    assert "--out is missing" in capsys.readouterr().err


def plan_list(path):
    """The jobs of a list with one seed."""
    plans = load_sweep(path)
    return [
        job
        for own in plans.runs
        for job in plan(
            [path.parent / own.config],
            Path(plans.out),
            seeds=plans.seeds,
            data_seeds=None,
            overrides=[],
            name=own.name,
            init_from=own.init_from,
        )
    ]


@pytest.fixture
def compared(monkeypatch):
    """The folders that were compared; the statuses of runs that fail are given by name."""
    seen = SimpleNamespace(folders=[], statuses={})

    def run_jobs(jobs, *, at_once):
        ended = [(own.folder, seen.statuses.get(own.folder.name, 0)) for own in jobs]
        return [Failure(folder, status, "  why") for folder, status in ended if status]

    def run(arguments):
        seen.folders = [path.name for path in arguments.runs]
        return 0

    monkeypatch.setattr("dense_lt.cli.jobs.run_jobs", run_jobs)
    monkeypatch.setattr("dense_lt.cli.compare.run", run)
    monkeypatch.setattr("dense_lt.data.build.annotation_files", lambda data: None)
    return seen


def test_runs_that_fail_are_told_at_the_end_and_the_others_compared(tmp_path, compared, capsys):
    paths = [tmp_path / f"{name}.yaml" for name in ("focal", "efl", "eqlv2")]
    for path in paths:
        path.write_text(f"base: {ROOT}/configs/drawn/equalized_focal.yaml")
    command = ["sweep", *map(str, paths), "--out", str(tmp_path / "runs")]
    assert main(command) == 0
    assert compared.folders == ["focal", "efl", "eqlv2"]
    compared.statuses = {"focal": 3, "eqlv2": 2}
    assert main(command) == 3
    assert compared.folders == ["efl"]
    message = capsys.readouterr().err
    assert "error: 2 of 3 runs failed; the same command tries them again:" in message
    assert f"{tmp_path}/runs/focal: the run ended with status 3; it printed\n  why" in message
    assert f"The comparison is of the other 1, against {tmp_path}/runs/efl." in message
    compared.folders, compared.statuses = [], {"focal": 2, "efl": 137, "eqlv2": 4}
    assert main(command) == 137
    assert compared.folders == []


def test_a_run_that_is_there_with_other_settings_is_not_taken_for_another(
    configs, tmp_path, compared, capsys
):
    folder = tmp_path / "runs" / "plain_seed0"
    folder.mkdir(parents=True)
    efl = tmp_path / "efl.yaml"
    efl.write_text(f"base: {ROOT}/configs/drawn/equalized_focal.yaml")
    overrides = ["name=plain_seed0", "train.epochs=1", "data.workers=1"]
    save_config(load_config(efl, overrides), folder / "config.yaml")
    runs = [{"name": "plain", "config": "efl.yaml"}]
    assert main(["sweep", str(write_list(tmp_path, runs=runs))]) == 0
    assert main(["sweep", str(write_list(tmp_path, runs=runs)), "model.loss.scale=4"]) == 2
    assert "plain_seed0: a run of that name was made with other settings (model.loss.scale)" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("text", ["", "seed: [", "seed: 0\nseed: 1"])
def test_damaged_settings_of_an_earlier_run_are_named(configs, tmp_path, compared, capsys, text):
    folder = tmp_path / "runs" / "focal"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(text)
    assert main(["sweep", str(configs[0]), "--out", str(tmp_path / "runs")]) == 2
    message = capsys.readouterr().err
    assert f"{folder}/config.yaml: " in message
    assert f"remove {folder}, and that is trained again" in message


def test_a_dry_run_says_what_would_be_trained_and_leaves_everything(tmp_path, compared, capsys):
    runs = [
        {"name": "ground", "config": "efl.yaml"},
        {"name": "plain", "config": "efl.yaml", "init_from": "ground"},
    ]
    efl = tmp_path / "efl.yaml"
    efl.write_text(f"base: {ROOT}/configs/drawn/equalized_focal.yaml")
    path = write_list(tmp_path, runs=runs)
    out = tmp_path / "runs"
    for seed, step in ((0, 7), (1, 3)):
        folder = out / f"ground_seed{seed}"
        overrides = [f"name=ground_seed{seed}", f"output={out}", f"seed={seed}"]
        overrides.append("train.epochs=1")
        (folder / "evaluation").mkdir(parents=True)
        save_config(load_config(efl, overrides), folder / "config.yaml")
        (folder / "metrics.jsonl").write_text(f'{{"step": {step}, "total_steps": 7}}\n')
    (out / "ground_seed0" / "evaluation" / "results.json").write_text('{"step": 7}')
    before = sorted(tmp_path.rglob("*"))
    assert main(["sweep", str(path), "--dry-run", "--seeds", "0", "1", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"finished   {out}/ground_seed0",
        f"goes on    {out}/ground_seed1, at step 3 of 7",
        f"to train   {out}/ground_seed2",
        *(f"to train   {out}/plain_seed{seed}, after ground_seed{seed}" for seed in range(3)),
        "dry run: 6 runs (1 finished, 1 goes on, 4 to train); nothing was trained or written",
    ]
    assert sorted(tmp_path.rglob("*")) == before
    assert compared.folders == []
    assert main(["sweep", str(path), "--dry-run", "model.loss.scale=4"]) == 2


def test_runs_of_open_images_are_trained_and_how_to_compare_them_is_told(
    tmp_path, compared, capsys
):
    drawn, apart = tmp_path / "drawn.yaml", tmp_path / "apart.yaml"
    drawn.write_text(f"base: {ROOT}/configs/drawn/equalized_focal.yaml")
    base = ROOT / "configs/openimages/efl_improved_baseline_r50_180k.yaml"
    apart.write_text(f"base: {base}\ndata: {{dataset: {{root: here}}}}")
    out = tmp_path / "runs"
    assert main(["sweep", str(drawn), str(apart), "--out", str(out)]) == 0
    assert compared.folders == ["drawn"]
    printed = capsys.readouterr().out
    assert f"--protocol openimages` compares the predictions.csv of\n  {out}/apart\n" in printed
    compared.folders = []
    assert main(["sweep", str(apart), "--out", str(out)]) == 0
    assert compared.folders == []


def test_a_run_whose_start_was_trained_anew_is_not_kept(tmp_path, compared, capsys):
    efl = tmp_path / "efl.yaml"
    efl.write_text(f"base: {ROOT}/configs/drawn/equalized_focal.yaml")
    runs = [{"name": "first", "config": "efl.yaml"}]
    runs += [{"name": "then", "config": "efl.yaml", "init_from": "first"}]
    command = ["sweep", str(write_list(tmp_path, runs=runs, seeds=[0], settings=[]))]
    for job in plan_list(Path(command[1])):
        job.folder.mkdir(parents=True)
        save_config(load_config(job.config, job.overrides), job.folder / "config.yaml")
    first, then = (tmp_path / "runs" / name / "environment.json" for name in ("first", "then"))
    first.write_text('{"started": "2026-01-01T10:00:00+00:00"}')
    then.write_text('{"started": "2026-01-01T10:05:00+00:00"}')
    assert main(command) == 0
    first.write_text('{"started": "2026-01-02T10:00:00+00:00"}')
    assert main(command) == 2
    assert f"runs/then: it went on from {first.parent}, which has been" in capsys.readouterr().err
    first.unlink()
    assert main(command) == 2


def test_a_seed_that_was_trained_alone_is_one_of_several_later(tmp_path, compared):
    efl = tmp_path / "efl.yaml"
    efl.write_text(f"base: {ROOT}/configs/drawn/equalized_focal.yaml")
    folder = tmp_path / "runs" / "efl"
    folder.mkdir(parents=True)
    save_config(load_config(efl, ["seed=0"]), folder / "config.yaml")
    command = ["sweep", str(efl), "--out", str(folder.parent)]
    for seeds, folders in (
        (["0"], ["efl"]),
        (["1"], ["efl_seed1"]),
        (["0", "1"], ["efl", "efl_seed1"]),
    ):
        assert main([*command, "--seeds", *seeds]) == 0
        assert compared.folders == folders
    folder.rename(folder.with_name("efl_seed0"))
    assert main([*command, "--seeds", "0"]) == 0
    assert compared.folders == ["efl_seed0"]


def test_other_data_are_not_those_of_a_run_that_is_there(tmp_path, compared, capsys):
    own = tmp_path / "own.yaml"
    own.write_text(f"base: {ROOT}/configs/own_data.yaml")
    folder = tmp_path / "runs" / "own"
    folder.mkdir(parents=True)
    save_config(load_config(own, [f"data.dataset.root={tmp_path}/a"]), folder / "config.yaml")
    command = ["sweep", str(own), "--out", str(folder.parent)]
    assert main([*command, f"data.dataset.root={tmp_path}/b/../a"]) == 0
    assert main([*command, f"data.dataset.root={tmp_path}/b"]) == 2
    assert "was made with other settings (data.dataset.root)" in capsys.readouterr().err


def test_data_seeds_of_other_data_than_the_drawing_are_refused(tmp_path, compared, capsys):
    own = tmp_path / "own.yaml"
    own.write_text(f"base: {ROOT}/configs/own_data.yaml")
    command = ["sweep", str(own), f"data.dataset.root={tmp_path}", "--data-seeds", "0", "1"]
    assert main([*command, "--out", str(tmp_path / "runs")]) == 2
    assert "own.yaml: data seeds are of the drawn data set" in capsys.readouterr().err


def test_a_list_with_a_wrong_word_for_its_runs_is_still_a_list(tmp_path, capsys):
    path = tmp_path / "table.yaml"
    path.write_text("out: runs\nrunz: []\n")
    assert main(["sweep", str(path)]) == 2
    assert "table.yaml: runz: unknown key; did you mean runs?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0", "0"], "efl_seed0: two runs would lie there"),
        (["--seeds", "1", "2", "--data-seeds", "3", "3"], "efl_data3_seed1: two runs would lie"),
        (["--jobs", "0"], "--jobs 0: at least one run has to go on at once"),
        (["--jobs", "-1"], "--jobs -1: at least one"),
    ],
)
def test_words_that_make_no_sense_are_refused(tmp_path, compared, capsys, words, message):
    efl = tmp_path / "efl.yaml"
    efl.write_text(f"base: {ROOT}/configs/drawn/equalized_focal.yaml")
    assert main(["sweep", str(efl), "--out", str(tmp_path / "runs"), *words]) == 2
    assert message in capsys.readouterr().err
    assert compared.folders == []


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_every_run_of_a_repository_list_is_one_that_can_be_trained(path):
    plans = load_sweep(path)
    for own in plans.runs:
        given = () if "drawn" in path.parts else ("data.dataset.root=somewhere",)
        load_config(path.parent / own.config, (*plans.settings, *own.settings, *given))


def test_lists_that_share_a_folder_mean_the_same_by_a_name():
    meant = {}
    for path in LISTS:
        plans = load_sweep(path)
        for own in plans.runs:
            resolved = ((path.parent / own.config).resolve(), (*plans.settings, *own.settings))
            assert meant.setdefault((plans.out, own.name), resolved) == resolved
    assert len(LISTS) == 11
