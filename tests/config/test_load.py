from itertools import permutations
from operator import attrgetter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.config.load import load_config, save_config
from dense_lt.config.region_losses import SoftmaxLossConfig
from dense_lt.utils.errors import ConfigError

MINIMAL = """
name: test
schedule: {kind: step, milestones: [3]}
train: {steps: 10}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="run.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_later_files_and_overrides_win(write):
    write("optimizer: {lr: 0.1, momentum: 0.5}\nseed: 1", "a.yaml")
    write("optimizer: {lr: 0.2}\nseed: 2", "b.yaml")
    path = write("base: [a.yaml, b.yaml]\nseed: 3\n" + MINIMAL)
    config = load_config(path, ["seed=4"])
    assert (config.optimizer.lr, config.optimizer.momentum, config.seed) == (0.2, 0.5, 4)


def test_another_kind_replaces_the_whole_section(write):
    write("model: {loss: {kind: equalized_focal, scale: 4}}", "a.yaml")
    path = write("base: a.yaml\nmodel: {loss: {kind: focal, gamma: 1}}\n" + MINIMAL)
    assert load_config(path).model.loss.model_dump()["gamma"] == 1


def test_the_backbone_stays_when_another_kind_of_model_is_named(write):
    write("model: {backbone: {name: resnet18}, head: {num_convs: 2}}", "a.yaml")
    path = write("base: a.yaml\nmodel: {kind: two_stage}\n" + MINIMAL)
    assert load_config(path).model.backbone.name == "resnet18"
    model = load_config(path, ["model.kind=one_stage"]).model
    assert (model.backbone.name, model.head.num_convs) == ("resnet18", 4)


@pytest.mark.parametrize(
    ("base", "override", "same", "forgotten"),
    [
        (
            "model: {loss: {kind: equalized_focal, weight: 4, scale: 2, federated: true, "
            "statistics: {common_negative: 0.05}}}",
            "model.loss.kind=eql_v2_focal",
            {"federated": True, "statistics.common_negative": 0.05},
            {"weight": 1.0},
        ),
        (
            "schedule: {kind: step, unit: epochs, warmup: 1, warmup_factor: 0.5, milestones: [2]}\n"
            "train: {steps: null, epochs: 3}",
            "schedule.kind=cosine",
            {"unit": "epochs", "warmup": 1, "warmup_factor": 0.5},
            {"final_factor": 0.01},
        ),
        (
            "optimizer: {kind: sgd, lr: 0.1, base_batch_size: 128, weight_decay: 0.001, "
            "lr_factors: {head.*: 2}, layer_decay: 0.9}",
            "optimizer.kind=adamw",
            {"base_batch_size": 128, "layer_decay": 0.9, "lr_factors": {"head.*": 2}},
            {"lr": 1e-4, "weight_decay": 0.05},
        ),
        (
            "data: {sampler: {kind: repeat_factor, threshold: 0.03, rounding: ceil}}",
            "data.sampler.kind=instance_aware_repeat_factor",
            {"threshold": 0.03, "rounding": "ceil"},
            {},
        ),
        (
            "data: {sampler: {kind: repeat_factor, exponent: 0.3}}",
            "data.sampler.kind=square_root",
            {},
            {"exponent": 0.5},  # of the same name, but of another thing
        ),
        (
            "model: {backbone: {name: resnet18, norm: group, frozen_stages: 2, weights: a.pth, "
            "options: {layers: [1, 1, 1, 1]}, mean: [0.4, 0.4, 0.4], std: [1, 1, 1]}}",
            "model.backbone.name=resnet34",
            {"norm": "group", "frozen_stages": 2},
            {"weights": None, "options": {}, "mean": None, "std": None},
        ),
    ],
)
def test_another_choice_keeps_what_means_the_same_and_forgets_the_rest(
    write, base, override, same, forgotten
):
    write(MINIMAL, "minimal.yaml")
    path = write("base: minimal.yaml\n" + base)
    section = override.partition("=")[0].rpartition(".")[0]
    found = attrgetter(section)(load_config(path, [override]))
    for key, value in (same | forgotten).items():
        assert attrgetter(key)(found) == value, key


def test_what_another_choice_cannot_do_is_not_dropped_in_silence(write):
    path = write("model: {kind: two_stage, loss: {kind: sigmoid, federated: true}}\n" + MINIMAL)
    with pytest.raises(ConfigError, match=r"kind=softmax': model\.loss: `federated: true` leaves"):
        load_config(path, ["model.loss.kind=softmax"])


def test_the_options_of_one_backbone_do_not_reach_that_of_another_kind_of_model(write):
    write("model: {backbone: {name: resnet18, options: {layers: [1, 1, 1, 1]}}}", "a.yaml")
    write("model: {kind: two_stage, backbone: {name: resnet50, pretrained: true}}", "b.yaml")
    path = write("base: [a.yaml, b.yaml]\n" + MINIMAL)
    backbone = load_config(path).model.backbone
    assert (backbone.name, backbone.pretrained, backbone.options) == ("resnet50", True, {})


def test_another_kind_of_model_has_the_kinds_of_its_own_defaults(write):
    path = write("model: {kind: two_stage, loss: {weight: 4}}\n" + MINIMAL)
    assert load_config(path).model.loss.model_dump() == SoftmaxLossConfig(weight=4).model_dump()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model.loss.scale=4", "model.loss.kind=equalized_focal"],
            {"model.loss.scale": 4, "model.loss.kind": "equalized_focal"},
        ),
        (
            ["data.sampler.exponent=0.3", "data.sampler={kind: repeat_factor, threshold: 0.1}"],
            {"data.sampler.exponent": 0.3, "data.sampler.threshold": 0.1},
        ),
        (
            ["data.sampler.exponent=0.3", "data={sampler: {kind: repeat_factor}, workers: 0}"],
            {"data.sampler.exponent": 0.3, "data.workers": 0},
        ),
        (
            ["model.loss.mu=0.5", "model.loss.kind=eql_v2", "model={kind: two_stage}"],
            {"model.loss.mu": 0.5, "model.loss.kind": "eql_v2", "model.kind": "two_stage"},
        ),
        (
            ["model.backbone.options={output_stride: 16}", "model.backbone.name=resnet34"],
            {"model.backbone.options": {"output_stride": 16}, "model.backbone.name": "resnet34"},
        ),
    ],
)
def test_overrides_may_stand_in_any_order(write, overrides, expected):
    path = write("model: {loss: {kind: focal}, backbone: {name: resnet18}}\n" + MINIMAL)
    for order in permutations(overrides):
        config = load_config(path, order)
        assert {key: attrgetter(key)(config) for key in expected} == expected


def test_a_section_that_is_begun_keeps_what_its_default_states(write):
    """The pyramid of two stages is another than that of one."""
    model = load_config(write(MINIMAL), ["model.kind=two_stage", "model.pyramid.channels=64"]).model
    assert (model.pyramid.levels, model.pyramid.above) == ((2, 6), "max_pool")
    assert model.pyramid.channels == 64


def test_lists_are_replaced_whole(write):
    path = write("model: {priors: {scales: [1, 2, 3]}}\n" + MINIMAL)
    assert load_config(path, ["model.priors.scales=[4]"]).model.priors.scales == (4.0,)


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "1.E-4", "0.0001"])
def test_every_way_to_write_a_small_number_is_a_number(write, text):
    assert load_config(write(MINIMAL), [f"optimizer.lr={text}"]).optimizer.lr == 1e-4


def test_numbers_in_free_form_options_are_numbers(write):
    config = load_config(write(MINIMAL), ["model.backbone.options={drop_path_rate: 1e-1}"])
    assert config.model.backbone.options == {"drop_path_rate": 0.1}


@given(
    lr=st.floats(1e-6, 10, allow_nan=False),
    batch=st.integers(1, 512),
    scale=st.floats(0, 16),
    name=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,20}", fullmatch=True),
)
def test_the_saved_configuration_loads_to_an_equal_one(tmp_path_factory, lr, batch, scale, name):
    folder = tmp_path_factory.mktemp("config")
    content = yaml.safe_load(MINIMAL) | {
        "name": name,
        "optimizer": {"kind": "sgd", "lr": lr},
        "model": {"loss": {"kind": "equalized_focal", "scale": scale}},
        "train": {"steps": 10, "batch_size": batch},
    }
    (folder / "a.yaml").write_text(yaml.safe_dump(content))
    config = load_config(folder / "a.yaml")
    save_config(config, folder / "b.yaml")
    assert load_config(folder / "b.yaml") == config


BAD_SETTINGS = [
    ("modle: {}", (), r"run\.yaml: modle: unknown key; did you mean model\?"),
    ("", ("model.head.norm_group=3",), r"norm_group=3': model\.head\.norm_group: .*norm_groups\?"),
    ("", ("model.loss.kind=equalised_focal",), r"model\.loss: .*did you mean equalized_focal\?"),
    ("", ("model.loss.scale=3",), r"model\.loss\.scale: unknown key.*allowed here: alpha"),
    ("", ("train.batch_size=many",), r"train\.batch_size: .*valid integer.*got 'many'"),
    ("", ("train.batch_size=0",), r"train\.batch_size: .*greater than 0, got 0"),
    ("", ("optimizer.lr=.nan",), r"optimizer\.lr: .*finite"),
    ("", ("model.head.prior_probability=1",), r"prior_probability: .*less than 1, got 1"),
    ("", ("model.priors.scales=[a]",), r"model\.priors\.scales\.0: .*valid number"),
    ("", ("schedule.milestones=[5, 3]",), r"schedule: `milestones` must rise, got \[5\.0, 3\.0\]"),
    ("", ("train.epochs=3",), r"train: give exactly one of `steps` and `epochs`"),
    ("", ("schedule.unit=epochs",), r"`schedule\.unit: epochs` needs `train\.epochs`"),
    ("", ("evaluation.max_detections=[1000]",), r"asks for 1000 .* keeps 300; raise the latter"),
    ("", ("evaluation.iou_types=[segm]",), r"this one_stage model predicts no masks; remove it"),
    (
        "",
        ("train.micro_batches=3",),
        r"batch_size` 16 is not divisible by `train\.micro_batches` 3",
    ),
    (
        "",
        ("train.micro_batches=auto", "model.assigner.kind=simota"),
        r"`model\.assigner\.kind: simota` reads predictions, .* set `train\.micro_batches: 1`",
    ),
    (
        "",
        ("train.micro_batches=auto", "train.sync_batch_norm=true"),
        r"train: `micro_batches: auto` needs .* `sync_batch_norm` makes impossible; give a number",
    ),
    (
        "",
        ("train.compile=true", "train.activation_checkpointing=true"),
        r"train: `compile` decides by itself .*; set `activation_checkpointing: false`",
    ),
    ("", ("trackers=[wandb, comet]",), r"trackers\.1: .*'tensorboard', 'wandb' or 'mlflow'"),
    (
        "",
        ("train.compile=reduce-overhead", "train.micro_batches=2"),
        r"train: `compile: reduce-overhead`: .* set `micro_batches: 1`, or `compile: true`",
    ),
    (
        "",
        ("train.micro_batches=2", "model.assigner.kind=simota"),
        r"`model\.assigner\.kind: simota` reads predictions, .* set `train\.micro_batches: 1`",
    ),
    (
        "",
        ("model.pyramid.kind=path_aggregation",),
        r"`pyramid\.kind: path_aggregation` .* set `head\.shared: false`",
    ),
    (
        "",
        ("model.pyramid=fpn",),
        r"model\.pyramid: expected a section whose `kind` is one of fpn, path_aggregation, got 'f",
    ),
    ("", ("model.head.channels=100",), r"`norm_groups` 32 must divide `channels` 100"),
    ("", ("model.priors.sizes=[1, 2]",), r"2 entries but `pyramid\.levels` has 5 levels"),
    ("", ("model.assigner.kind=fcos",), r"unknown kind 'fcos'.*allowed: atss, max_iou, center"),
    (
        "",
        ("model.assigner.kind=max_iou", "model.assigner.top_k=9"),
        r"assigner\.top_k: unknown key",
    ),
    (
        "",
        ("model.assigner={kind: max_iou, background_iou: .6}",),
        r"model\.assigner: `background_iou` 0\.6 must not be above `positive_iou` 0\.5",
    ),
    (
        "",
        ("model.assigner.kind=max_iou", "model.box_coder=distance"),
        r"model: `assigner\.kind: max_iou` gives objects to priors .* set it to delta",
    ),
    (
        "",
        ("model.assigner.kind=max_iou", "model.quality_loss.target=centerness"),
        r"no centerness; set `quality_loss\.target: iou`",
    ),
    (
        "",
        ("model.assigner.kind=center", "model.box_coder=distance"),
        r"needs one prior per location but `priors` has 2; set `priors\.scales.*head_fcos\.yaml",
    ),
    (
        "",
        ("model.assigner.kind=center", "model.priors.scales=[1]"),
        r"distances from a point .* got `box_coder: delta`; set it to distance.*head_fcos\.yaml",
    ),
    (
        "",
        ("model.assigner={kind: center, size_limits: [64, 128]}",),
        r"`assigner\.size_limits` has 2 entries but `pyramid\.levels` has 5 levels; give one limit",
    ),
    (
        "",
        ("model.assigner={kind: center, size_limits: [64, 32]}",),
        r"model\.assigner: `size_limits` must rise, got \[64\.0, 32\.0\]",
    ),
    ("", ("model.pyramid.levels=[4, 7]",), r"starts at 4 but `backbone_levels` at 3"),
    ("", ("data.dataset.kind=lvis",), r"data\.dataset\.train: is missing and has no default"),
    ("", ("data.group_thresholds=[100, 10]",), r"`group_thresholds` must rise, got \[100, 10\]"),
    ("", ("data.val_transforms.horizontal_flip=.5",), r"`val_transforms` may only set `resize`"),
    ("", ("train.batch_size",), r"override 'train\.batch_size': expected section\.key=value"),
    ("", ("model.backbone={pretrained: true, weights: a.pth}",), r"exclude each other; set one"),
    (
        "",
        ("model.backbone.mean=[123.675, 116.28, 103.53]",),
        r"model\.backbone: `mean` is of RGB in \[0, 1\], got \[123\.675, .*; divide by 255",
    ),
    ("", ("model.backbone.std=[1, 57.12, 1]",), r"`std` is of RGB in \[0, 1\], .* divide by 255"),
    (
        "",
        ("model.backbone.options={out_indices: [1, 2]}",),
        r"model\.backbone: `options` cannot have `out_indices`: .* `pyramid\.backbone_levels`",
    ),
    ("", ("model.backbone.options={features_only: true}",), r"always asked for; leave it out"),
    ("", ("model.backbone.options={pretrained: true}",), r"set `backbone\.pretrained`"),
    ("", ("model.backbone.options={checkpoint_path: a.pth}",), r"set `backbone\.weights`"),
    ("name: other", (), r"run\.yaml: key 'name' occurs twice \(line \d+\); keep one"),
    ("base: run.yaml", (), r"run\.yaml: `base` runs in a circle: .*run\.yaml -> .*run\.yaml"),
    ("base: absent.yaml", (), r"run\.yaml: base: absent\.yaml: there is no file"),
    ("base: {a: 1}", (), r"run\.yaml: base: expected a file name or a list"),
    ("x: [", (), r"run\.yaml: not valid YAML"),
]


@pytest.mark.parametrize(("text", "overrides", "message"), BAD_SETTINGS)
def test_a_mistake_is_named_with_its_place_and_its_mend(write, text, overrides, message):
    path = write(MINIMAL + text + "\n")
    with pytest.raises(ConfigError, match=message):
        load_config(path, overrides)


@pytest.mark.parametrize(
    ("mean", "std"),
    [("[0, 0, 0]", "[0.00392157, 0.00392157, 0.00392157]"), ("[0.5, 0.5, 0.5]", "[1, 1, 1]")],
)
def test_pixels_that_are_scaled_but_not_normalised_are_allowed(write, mean, std):
    given = [f"model.backbone.mean={mean}", f"model.backbone.std={std}"]
    backbone = load_config(write(MINIMAL), given).model.backbone
    assert (list(backbone.mean), list(backbone.std)) == (yaml.safe_load(mean), yaml.safe_load(std))


def test_a_file_that_is_not_a_mapping_is_refused(write):
    with pytest.raises(ConfigError, match=r"expected `key: value` lines, found list"):
        load_config(write("- 1"))


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot read this configuration"):
        load_config(Path("absent.yaml"))


@pytest.mark.parametrize(
    ("overrides", "blamed"),
    [
        (
            ("data.dataset.kind=lvis", "data.dataset.root=x"),
            "override 'data.dataset.kind=lvis': data",
        ),
        (
            ("schedule.milestones=[3, 2]", "schedule.unit=epochs"),
            r"override 'schedule.milestones=[3, 2]': schedule: `milestones` must rise",
        ),
        (
            ("model.head.channels=100", "model.head.num_convs=1"),
            "override 'model.head.channels=100'",
        ),
    ],
)
def test_the_setting_that_a_message_is_about_is_blamed_and_not_the_last(write, overrides, blamed):
    with pytest.raises(ConfigError) as caught:
        load_config(write(MINIMAL), overrides)
    assert blamed in str(caught.value)


def test_of_two_settings_that_do_not_fit_the_one_set_last_is_blamed(write):
    write("model: {head: {norm_groups: 32, channels: 64}}", "base.yaml")
    path = write("base: base.yaml\n" + MINIMAL)
    for override in ("model.head.channels=100", "model.head.norm_groups=7"):
        with pytest.raises(ConfigError) as caught:
            load_config(path, [override, "model.head.num_convs=1"])
        assert str(caught.value).startswith(f"override {override!r}: model.head: `norm_groups`")


def test_a_wrong_key_is_blamed_on_the_base_file_that_has_it(write):
    write("model: {hed: {}}", "base.yaml")
    with pytest.raises(ConfigError, match=r"base\.yaml: model\.hed: unknown key"):
        load_config(write("base: base.yaml\n" + MINIMAL))


def test_all_mistakes_are_told_at_once(write):
    with pytest.raises(ConfigError) as caught:
        load_config(write(MINIMAL), ["seed=-1", "threads=0"])
    assert len(str(caught.value).splitlines()) == 2


def test_a_required_setting_asks_for_its_value(write):
    path = write(
        MINIMAL
        + """
data:
  dataset:
    kind: coco
    root: !required the folder with the photographs
    train: {annotations: train.json, images: [train]}
    val: {annotations: val.json, images: [val]}
"""
    )
    with pytest.raises(ConfigError, match=r"photographs; add data\.dataset\.root=VALUE"):
        load_config(path)
    dataset = load_config(path, ["data.dataset.root=photos"]).data.dataset
    assert dataset.kind == "coco"
    assert dataset.root == Path("photos")


def test_a_configuration_does_not_change_after_loading(write):
    config = load_config(write(MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
