"""Numbers reach other trackers, a run keeps its name there, and none of them stops a training.

Fakes stand for the packages, which are optional; where they are installed, they are tried too.
"""

import json
import math
import random
import sys
from types import SimpleNamespace

import pytest
import torch

from dense_lt.config.experiment import ExperimentConfig
from dense_lt.engine import build
from dense_lt.engine.build import build_periods, build_recorder
from dense_lt.engine.run_folder import RunFolder, check_free, clear
from dense_lt.engine.trackers import (
    Forgiven,
    MlflowWriter,
    Tracked,
    WandbWriter,
    check_trackers,
    curves,
    start_tracker,
)
from dense_lt.utils.errors import ConfigError

CONFIG = {"train": {"steps": 3, "ema": None}, "data": {"sizes": [1, 2]}, "name": "x"}


class _FakeWandb(SimpleNamespace):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__(started=[], logged=[], defined=[], finished=0, Settings=dict)

    def init(self, **options):
        self.started.append(options)
        return self

    def define_metric(self, name, **options):
        self.defined.append((name, options))

    def log(self, values):
        self.logged.append(values)

    def finish(self):
        self.finished += 1


class _FakeMlflow(SimpleNamespace):
    """Both the package and its client."""

    def __init__(self):
        named = {"Metric": lambda *own: own, "Param": lambda *own: own}
        super().__init__(entities=SimpleNamespace(**named), created=[], logged=[], states=[])

    def MlflowClient(self, *, tracking_uri):  # noqa: N802 - as the package has it
        self.uri = tracking_uri
        return self

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="7") if self.created else None

    def create_experiment(self, name):
        return f"experiment {name}"

    def create_run(self, experiment, *, run_name):
        self.created.append((experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run{len(self.created)}"))

    def update_run(self, run_id, *, status):
        self.states.append((run_id, status))

    def set_terminated(self, run_id):
        self.states.append((run_id, "FINISHED"))

    def log_batch(self, run_id, metrics=(), params=()):
        assert len(params) <= 100
        self.logged.append((run_id, [*metrics, *params]))


@pytest.fixture
def tracked(tmp_path):
    return Tracked("x", RunFolder(tmp_path), CONFIG)


@pytest.fixture
def wandb(monkeypatch):
    fake = _FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def mlflow(monkeypatch):
    fake = _FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


def test_curves_are_named_by_kind_and_finite():
    values = {"time": 1e9, "eta": 3.0, "loss": 0.5, "APr": None, "broken": math.inf}
    assert curves("train", values) == {"train/loss": 0.5}


def test_wandb_is_told_where_and_what_and_has_an_axis_of_its_own(wandb, tracked, tmp_path):
    writer = WandbWriter(tracked, project="p", entity=None, mode="offline")
    writer.write("train", 20, {"loss": 0.5})
    writer.close()
    (options,) = wandb.started
    wanted = {"project": "p", "entity": None, "mode": "offline", "name": "x", "config": CONFIG}
    assert options.items() >= {**wanted, "dir": str(tmp_path), "resume": "allow"}.items()
    assert wandb.defined == [("step", {}), ("*", {"step_metric": "step"})]
    assert wandb.logged == [{"step": 20, "train/loss": 0.5}]
    assert wandb.finished == 1


def test_a_resumed_run_goes_on_in_the_same_run_of_wandb_and_an_overwritten_one_does_not(
    wandb, tracked
):
    for _ in range(2):
        WandbWriter(tracked, project="p", entity=None, mode="offline")
    with pytest.raises(ConfigError, match=r"there is a run already \(trackers\.json\)"):
        check_free(tracked.folder, resume=False, overwrite=False)
    clear(tracked.folder)
    WandbWriter(tracked, project="p", entity=None, mode="offline")
    first, second, third = (options["id"] for options in wandb.started)
    assert first == second != third


def test_mlflow_gets_settings_once_and_metrics_by_names_that_it_allows(mlflow, tracked):
    writer = MlflowWriter(tracked, experiment="e", uri="sqlite:///x.db")
    writer.write("evaluation", 20, {"AR@300": 0.25, "AP": math.nan})
    writer.close()
    again = MlflowWriter(tracked, experiment="e", uri="sqlite:///x.db")
    again.close()
    assert mlflow.uri == "sqlite:///x.db"
    assert mlflow.created == [("experiment e", "x")]
    (_, settings), (run_id, ((name, value, _, step),)) = mlflow.logged
    assert settings == [
        ("train.steps", "3"),
        ("train.ema", "None"),
        ("data.sizes", "[1, 2]"),
        ("name", "x"),
    ]
    assert (run_id, name, value, step) == ("run1", "evaluation/AR_300", 0.25, 20)
    assert mlflow.states == [("run1", "RUNNING"), ("run1", "FINISHED")] * 2


def test_both_have_their_name_in_one_file(wandb, mlflow, tracked, tmp_path):
    WandbWriter(tracked, project="p", entity=None, mode="offline")
    MlflowWriter(tracked, experiment="e", uri="u")
    stored = json.loads((tmp_path / "trackers.json").read_text())
    assert stored == {"wandb": wandb.started[0]["id"], "mlflow": "run1"}


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_missing_is_told_with_the_command_that_installs_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"trackers: {name} .*`pip install dense_lt\[{name}\]`"):
        check_trackers(["tensorboard", name])
    check_trackers(["tensorboard"])


def test_a_folder_of_that_name_is_not_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())
    with pytest.raises(ConfigError, match=r"pip install dense_lt\[wandb\]"):
        check_trackers(["wandb"])


class _Fails:
    """From its second number on, and it draws random numbers before."""

    def __init__(self):
        self.numbers = 0

    def write(self, kind, step, values):
        random.random()
        torch.rand(1)
        self.numbers += 1
        if self.numbers > 1:
            raise OSError("the server is gone")

    def close(self):
        raise AssertionError("it is not asked any more")


def test_a_tracker_that_fails_is_told_once_and_left_out_and_draws_nothing(caplog):
    failing = _Fails()
    writer = Forgiven("wandb", failing)
    before = random.getstate(), torch.get_rng_state()
    for step in range(5):
        writer.write("train", step, {"loss": 1.0})
    writer.close()
    assert failing.numbers == 2
    assert len(caplog.records) == 1
    assert "wandb has failed and gets nothing more of this run (OSError: the server" in caplog.text
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def _unreachable():
    raise ValueError("api_key not configured")


def test_a_tracker_that_cannot_start_stops_a_run_that_has_not_begun():
    with pytest.raises(ConfigError, match=r"wandb could not be started .*api_key.*take wandb out"):
        start_tracker("wandb", _unreachable, done=0)


def test_a_run_that_goes_on_goes_on_without_a_tracker_that_cannot_start(caplog):
    assert start_tracker("wandb", _unreachable, done=40) == []
    assert "api_key not configured); the run goes on without it" in caplog.text


def _record(detector, categories, folder, trackers=("wandb",)):
    settings = {
        "name": "x",
        "output": folder,
        "schedule": {"kind": "cosine"},
        "train": {"steps": 5},
        "trackers": trackers,
        "wandb": {"project": "p", "entity": "team"},
    }
    config = ExperimentConfig.model_validate(settings)
    run, periods = RunFolder(folder), build_periods(config.train, 1.0)
    recorder = build_recorder(config, detector, categories, run=run, periods=periods, done=0)
    recorder.evaluated(5, {"AP": 0.5})
    recorder.close()
    return run


def test_the_recorder_of_a_run_writes_to_the_trackers_that_are_asked_for(
    wandb, tiny_detector, categories, tmp_path
):
    run = _record(tiny_detector(), categories, tmp_path)
    assert wandb.started[0]["project"] == "p"
    assert wandb.started[0]["entity"] == "team"
    assert wandb.started[0]["config"]["train"]["steps"] == 5
    assert wandb.logged[-1]["evaluation/AP"] == 0.5
    assert run.metrics.is_file()
    assert not run.tensorboard.exists()


def test_a_tracker_that_has_started_is_closed_when_the_next_one_cannot(
    wandb, tiny_detector, categories, tmp_path, monkeypatch
):
    monkeypatch.setattr(build, "MlflowWriter", lambda *_, **__: _unreachable())
    with pytest.raises(ConfigError, match="mlflow could not be started"):
        _record(tiny_detector(), categories, tmp_path, trackers=["wandb", "mlflow"])
    assert wandb.finished == 1


def test_a_single_tracker_need_not_be_a_list(wandb, tiny_detector, categories, tmp_path):
    _record(tiny_detector(), categories, tmp_path, trackers="wandb")
    assert len(wandb.started) == 1


def test_only_the_main_process_writes(wandb, tiny_detector, categories, tmp_path, monkeypatch):
    monkeypatch.setattr(build.distributed, "is_main", lambda: False)
    _record(tiny_detector(), categories, tmp_path)
    assert wandb.started == []
    assert list(tmp_path.iterdir()) == []


def test_the_real_wandb_writes_offline_and_goes_on_under_the_same_id(tracked, tmp_path):
    pytest.importorskip("wandb", reason="wandb, an optional package, is not installed")
    for done in (0, 1):
        (writer,) = start_tracker(
            "wandb",
            lambda: WandbWriter(tracked, project="p", entity=None, mode="offline"),
            done=done,
        )
        writer.write("train", 20 + done, {"loss": 0.5})
        writer.close()
        assert writer._writer is not None, "it has not failed"
    own = json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    files = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert {file.name for file in files} == {f"run-{own}.wandb"}


def test_the_real_mlflow_has_all_points_of_a_resumed_run(tracked, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow, an optional package, is not installed")
    pytest.importorskip("sqlalchemy", reason="sqlalchemy, which mlflow needs, is not installed")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for done in (0, 1):
        (writer,) = start_tracker(
            "mlflow", lambda: MlflowWriter(tracked, experiment="e", uri=uri), done=done
        )
        writer.write("evaluation", 20 + done, {"AR@300": 0.5 + done})
        writer.close()
        assert writer._writer is not None, "it has not failed"
    own = json.loads((tmp_path / "trackers.json").read_text())["mlflow"]
    client = mlflow.MlflowClient(tracking_uri=uri)
    points = client.get_metric_history(own, "evaluation/AR_300")
    assert [(point.step, point.value) for point in points] == [(20, 0.5), (21, 1.5)]
    assert client.get_run(own).data.params["train.steps"] == "3"
    assert client.get_run(own).info.status == "FINISHED"
