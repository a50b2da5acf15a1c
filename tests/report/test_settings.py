from helpers.fake_runs import draw_categories

from dense_lt.report.settings import experiment_key, flatten, setting_differences


def differences(*runs):
    return {d.key: (d.values, d.kind) for d in setting_differences([(run,) for run in runs])}


def test_sections_become_dotted_keys_and_lists_stay_whole():
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1, 2]}) == {"a.b": 1, "a.c": {}, "d": [1, 2]}


def test_runs_that_differ_in_seeds_and_name_repeat_one_experiment(make_run):
    first = make_run("a", seed=0, data_seed=0)
    assert experiment_key(first) == experiment_key(make_run("b", seed=1, data_seed=0))
    assert experiment_key(first) == experiment_key(make_run("c", seed=0, data_seed=1))


def test_the_machine_does_not_make_another_experiment(make_run):
    first, second = make_run("a", seed=0), make_run("b", seed=1)
    second.config["device"] = "cuda"
    second.config["train"]["log_every"] = 5
    second.config["data"]["prefetch_batches"] = 8
    assert experiment_key(first) == experiment_key(second)


def test_other_objects_are_another_experiment_but_for_seeds_of_the_drawing(make_run):
    runs = [make_run(name, seed=seed) for seed, name in enumerate("ab")]
    for run, digest in zip(runs, ("1f", "2e"), strict=True):
        object.__setattr__(run.results, "ground_truth", digest)
    assert experiment_key(runs[0]) == experiment_key(runs[1])
    assert differences(*runs)["result.ground_truth"] == (("1f", "2e"), "data or scoring")
    for run in runs:
        del run.config["data"]["dataset"]["seed"]
    assert experiment_key(runs[0]) != experiment_key(runs[1])


def test_the_size_of_evaluated_batches_is_no_matter_of_the_machine(make_run):
    """Group normalisation sees how images are padded."""
    first, second = make_run("a"), make_run("b")
    for run, size in ((first, 4), (second, 1)):
        run.config.setdefault("evaluation", {})["batch_size"] = size
    assert experiment_key(first) != experiment_key(second)
    assert differences(first, second)["evaluation.batch_size"][1] == "data or scoring"


def test_each_seed_may_go_on_from_a_run_of_its_own_seed(make_run):
    runs = [make_run(f"bags_seed{s}", seed=s) for s in (0, 1)]
    for seed, run in enumerate(runs):
        run.config["model"]["init_from"] = f"runs/softmax_data0_seed{seed}"
    assert experiment_key(runs[0]) == experiment_key(runs[1])
    other = make_run("other", seed=0)
    other.config["model"]["init_from"] = "runs/eql_v2_seed0"
    assert experiment_key(runs[0]) != experiment_key(other)
    assert differences(runs[0], other)["model.init_from"][0] == ("runs/softmax", "runs/eql_v2")


def test_another_setting_is_another_experiment(make_run):
    assert experiment_key(make_run("a")) != experiment_key(make_run("b", prior=0.01))


def test_a_run_that_was_trained_shorter_is_another_experiment(make_run):
    assert experiment_key(make_run("a")) != experiment_key(make_run("b", step=100))


def test_runs_without_settings_are_experiments_of_their_own(make_run):
    runs = [make_run(name) for name in "ab"]
    for run in runs:
        object.__setattr__(run, "config", None)
    assert experiment_key(runs[0]) != experiment_key(runs[1])


def test_every_setting_that_differs_is_listed_with_both_values(make_run):
    found = differences(make_run("a"), make_run("b", loss="equalized_focal", prior=0.01))
    assert found == {
        "model.head.prior_probability": (("0.1", "0.01"), "model"),
        "model.loss.kind": (("focal", "equalized_focal"), "model"),
        "model.loss.scale": (("-", "8.0"), "model"),
    }


def test_seeds_of_an_experiment_are_compared_as_a_set(make_run):
    runs = [[make_run(f"{name}{seed}", seed=seed) for seed in order] for name, order in
            (("a", (0, 1)), ("b", (1, 0)))]  # fmt: skip
    assert setting_differences(runs) == []


def test_other_data_and_other_scoring_are_told_from_another_model(make_run):
    found = differences(
        make_run("a"), make_run("b", data_seed=1, max_detections=100, protocol="coco")
    )
    assert found["data.dataset.seed"][1] == "data or scoring"
    assert found["result.max_detections"] == (("300", "100"), "data or scoring")
    assert found["result.protocol"] == (("lvis", "coco"), "data or scoring")


def test_another_class_table_counts_as_other_data(make_run):
    other = draw_categories(names=("otter",))
    found = differences(make_run("a"), make_run("b", categories=other))
    assert list(found) == ["result.classes"]
    assert found["result.classes"][1] == "data or scoring"


def test_training_and_machine_are_kinds_of_their_own(make_run):
    first, second = make_run("a"), make_run("b", step=400)
    second.config["train"]["steps"] = 400
    second.config["device"] = "cuda"
    second.config["data"]["workers"] = 4
    second.config["evaluation"]["images"] = 100
    second.environment["threads"] = 8
    found = differences(first, second)
    assert {key: kind for key, (_, kind) in found.items()} == {
        "evaluation.images": "data or scoring",
        "train.steps": "training",
        "result.step": "training",
        "data.workers": "machine",
        "device": "machine",
        "environment.threads": "machine",
    }
