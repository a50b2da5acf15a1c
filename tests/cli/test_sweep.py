"""A sweep is a list of runs with names of their own."""

import pytest

from dense_lt.cli.main import main
from dense_lt.cli.sweep import plan
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


NOTHING = {"seeds": [0], "data_seeds": None, "overrides": []}


def test_bad_settings_are_found_before_anything_is_trained(configs, tmp_path, capsys):
    command = ["sweep", str(configs[0]), "train.stepz=1", "--out", str(tmp_path / "runs")]
    assert main(command) == 2
    assert "stepz" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_settings_without_a_configuration_are_refused(tmp_path, capsys):
    assert main(["sweep", "seed=1", "--out", str(tmp_path)]) == 2
    assert "no CONFIG" in capsys.readouterr().err
