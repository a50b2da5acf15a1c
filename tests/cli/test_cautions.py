"""Settings that cannot do what they seem to be for are told before a run starts."""

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from torch import nn

from dense_lt.cli.cautions import (
    starts_from,
    warn_if_best_is_last,
    warn_if_frozen_at_random,
    warn_if_head_norm_does_nothing,
    warn_if_loss_is_another,
    warn_if_maps_end_early,
    warn_if_no_norm_is_meant,
    warn_if_ratio_is_not_read,
    warn_if_scales_are_not_read,
    warn_of_settings,
)
from dense_lt.config.experiment import TrainConfig
from dense_lt.config.losses import CountFreeLossConfig
from dense_lt.config.model import AnchorsConfig, BackboneConfig, OneStageConfig
from dense_lt.config.schema import kind_values
from dense_lt.config.two_stage import TwoStageConfig
from dense_lt.engine.loop import Periods
from dense_lt.losses.build import build_classification_loss
from dense_lt.models.backbone import Backbone
from dense_lt.models.priors import PriorGenerator


def model(init_from=None, frozen=(), loss=None, **backbone):
    return OneStageConfig.model_validate(
        {
            "backbone": backbone,
            "init_from": init_from,
            "frozen": list(frozen),
            "loss": loss or {"kind": "focal"},
        }
    )


@pytest.mark.parametrize(
    ("settings", "told", "mend"),
    [
        ({"frozen_stages": 2}, "backbone.frozen_stages: 2: kept", "or else model.backbone.froz"),
        ({"norm": "fixed_statistics"}, "backbone.norm: fixed_statistics: kept", "norm=train or g"),
        ({"frozen_stages": 3, "norm": "frozen"}, "stages: 3, model.backbone.norm", "=0 and model."),
        ({"frozen": ["pyramid.*"]}, "model.frozen: ['pyramid.*']: kept", "or else model.frozen=[]"),
    ],
)
def test_what_is_frozen_at_random_is_told_with_the_ways_out(settings, told, mend, caplog):
    warn_if_frozen_at_random(model(**settings))
    (message,) = caplog.messages
    assert told in message
    assert "set model.backbone.pretrained=true, model.backbone.weights=FILE or model.ini" in message
    assert mend in message


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"pretrained": True, "frozen_stages": 2}, "timm's pretrained weights"),
        ({"weights": "a.pth", "norm": "frozen"}, "weights a.pth"),
        ({"init_from": Path("runs/x"), "frozen_stages": 2}, "model.init_from runs/x"),
        ({"init_from": Path("runs/x"), "frozen": ["*"]}, "model.init_from runs/x"),
        ({"norm": "group"}, "random weights"),
        ({}, "random weights"),
    ],
)
def test_a_backbone_that_is_loaded_or_trains_is_nothing_to_tell(settings, start, caplog):
    own = model(**settings)
    warn_if_frozen_at_random(own)
    assert caplog.messages == []
    assert starts_from(own) == start


@pytest.mark.parametrize("norm", ["frozen", "fixed_statistics"])
def test_fixing_norms_that_a_backbone_does_not_have_is_told(norm, caplog):
    without = Backbone("test_convnext", levels=(3, 4), norm=norm)
    warn_if_no_norm_is_meant(BackboneConfig(name="test_convnext", norm=norm), without)
    (message,) = caplog.messages
    assert f"norm: {norm} does nothing: test_convnext has no batch normalisation; set" in message
    caplog.clear()
    for name in ("test_resnet", "test_efficientnet"):  # norms with and without their activation
        backbone = Backbone(name, levels=(3, 4), norm=norm)
        warn_if_no_norm_is_meant(BackboneConfig(name=name, norm=norm), backbone)
    warn_if_no_norm_is_meant(BackboneConfig(name="test_convnext"), without)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("name", "multiple", "told"),
    [("test_convnext", 8, True), ("test_convnext", 16, False), ("test_resnet", 8, False)],
)
def test_maps_that_end_before_the_image_does_are_told(name, multiple, told, caplog):
    backbone = Backbone(name, levels=(3, 4)).eval()
    priors = PriorGenerator(backbone.strides)
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 5 * multiple, 5 * multiple))
    expected = priors.for_image_size((5 * multiple, 5 * multiple), torch.device("cpu"))
    assert (priors(maps).counts != expected.counts) == told
    warn_if_maps_end_early(BackboneConfig(name=name), backbone, multiple)
    beginning = "data.pad_to_multiple_of: 8: at stride 16 test_convnext has 2 cells for 40 pixels"
    assert [message[: len(beginning)] for message in caplog.messages] == [beginning] * told
    assert all(message.endswith("set data.pad_to_multiple_of=16") for message in caplog.messages)


STATISTICS = {"common_negative": 0.05, "count_prior": 1}


@pytest.mark.parametrize(
    "section", get_args(CountFreeLossConfig), ids=lambda section: kind_values(section)[0]
)
def test_a_correction_of_a_ratio_that_no_loss_reads_is_told(section, caplog):
    """Read is what makes a difference to how classes are weighted or focused."""
    (kind,) = kind_values(section)
    loss = build_classification_loss(section(kind=kind), num_classes=2)
    shapes = []
    for negative in (1.0, 100.0):
        loss.statistics.positive.fill_(1.0)
        loss.statistics.negative.copy_(torch.tensor([negative, 2.0]))
        shapes.append([torch.as_tensor(own).tolist() for own in loss.modulation()])
    reads = shapes[0] != shapes[1]
    warn_if_ratio_is_not_read(model(loss={"kind": kind, "statistics": STATISTICS}))
    told = [f"the loss {kind} does not look at them" in message for message in caplog.messages]
    assert told == ([] if reads else [True])


def test_only_corrections_that_are_set_are_named(caplog):
    warn_if_ratio_is_not_read(model())
    assert caplog.messages == []
    warn_if_ratio_is_not_read(model(loss={"kind": "focal", "statistics": {"count_prior": 2}}))
    (message,) = caplog.messages
    assert message.startswith("model.loss.statistics.count_prior: 2 changes only the ratios")
    assert "equalized_focal, equalized_quality_focal, eql_v2, eql_v2_focal" in message


def test_sums_that_softmax_eql_reads_may_begin_above_0(caplog):
    for correction in ({"count_prior": 1}, STATISTICS):
        loss = {"kind": "softmax_eql", "statistics": correction}
        warn_if_ratio_is_not_read(
            TwoStageConfig.model_validate({"kind": "two_stage", "loss": loss})
        )
    (message,) = caplog.messages
    assert message.startswith("model.loss.statistics.common_negative: 0.05 changes")


@pytest.mark.parametrize(("every", "said"), [(None, "is null"), (10, "is 10"), (12, "is 12")])
def test_keeping_the_best_of_one_evaluation_is_told(every, said, caplog):
    section = TrainConfig(steps=10, keep_best="APr", evaluate_every=every)
    warn_if_best_is_last(section, Periods(10, log=1, checkpoint=1, evaluate=every))
    (message,) = caplog.messages
    assert (
        f"train.keep_best: APr is measured at the end only (train.evaluate_every {said}" in message
    )


@pytest.mark.parametrize(("best", "every"), [("APr", 5), (None, None)])
def test_the_best_of_several_and_no_best_are_nothing_to_tell(best, every, caplog):
    section = TrainConfig(steps=10, keep_best=best, evaluate_every=every)
    warn_if_best_is_last(section, Periods(10, log=1, checkpoint=1, evaluate=every))
    assert caplog.messages == []


def dense(path, **settings):
    """A model whose dense detector, at `path`, has `settings`."""
    if path == "model":
        return OneStageConfig.model_validate(settings)
    proposals = {"kind": "dense", **settings}
    return TwoStageConfig.model_validate({"kind": "two_stage", "proposals": proposals})


@pytest.mark.parametrize("path", ["model", "model.proposals"])
@pytest.mark.parametrize("scales", [[2, 3], [3]])
def test_scales_beside_sizes_are_told(path, scales, caplog):
    sizes = [8, 16, 32, 64, 128]
    warn_if_scales_are_not_read(dense(path, priors={"scales": scales, "sizes": sizes}))
    (message,) = caplog.messages
    assert message.startswith(f"{path}.priors.scales: {[float(one) for one in scales]} does not")
    assert message.endswith(f"set {path}.priors.sizes=null to use the scales")


@pytest.mark.parametrize(
    "priors",
    [
        {"sizes": [8, 16, 32, 64, 128]},
        {"sizes": [8, 16, 32, 64, 128], "scales": [8]},
        {"scales": [2, 3]},
    ],
)
def test_scales_that_are_read_or_left_by_a_head_file_are_nothing_to_tell(priors, caplog):
    warn_if_scales_are_not_read(dense("model", priors=priors))
    warn_if_scales_are_not_read(TwoStageConfig(kind="two_stage"))
    assert caplog.messages == []


@pytest.mark.parametrize("path", ["model", "model.proposals"])
def test_a_frozen_norm_of_a_new_head_is_told_whatever_the_backbone_starts_from(path, caplog):
    own = dense(path, head={"norm": "frozen_batch"})
    pretrained = own.model_copy(update={"backbone": BackboneConfig(pretrained=True)})
    warn_if_head_norm_does_nothing(pretrained)
    (message,) = caplog.messages
    assert message.startswith(f"{path}.head.norm: frozen_batch does nothing")
    caplog.clear()
    warn_if_head_norm_does_nothing(own.model_copy(update={"init_from": Path("runs/x")}))
    warn_if_head_norm_does_nothing(dense(path, head={"norm": "batch"}))
    assert caplog.messages == []


@pytest.mark.parametrize("make", [OneStageConfig, TwoStageConfig])
@pytest.mark.parametrize(("drawn", "told"), [(44, False), (45, True), (50, True)])
def test_drawing_every_class_is_told(make, drawn, told, caplog):
    loss = {"kind": "federated_loss", "num_classes": drawn}
    kind = "one_stage" if make is OneStageConfig else "two_stage"
    warn_if_loss_is_another(make.model_validate({"kind": kind, "loss": loss}), num_classes=45)
    expected = [f"model.loss.num_classes: {drawn}: with 45 classes next to none is left out"]
    assert [message[: len(expected[0])] for message in caplog.messages] == expected * told


@pytest.mark.parametrize(("alpha", "told"), [(0, False), (0.25, True), (1, False), (4, False)])
def test_the_focal_alpha_in_place_of_the_boost_is_told(alpha, told, caplog):
    warn_if_loss_is_another(model(loss={"kind": "eql_v2_focal", "alpha": alpha}), num_classes=45)
    assert ["model.loss.focal_alpha: 0.25" in message for message in caplog.messages] == [
        True
    ] * told


def test_a_run_is_told_all_of_it_when_it_starts(caplog):
    own = model(loss={"kind": "federated_loss"}).model_copy(
        update={
            "head": OneStageConfig().head.model_copy(update={"norm": "frozen_batch"}),
            "priors": AnchorsConfig(scales=(2, 3), sizes=(8, 16, 32, 64, 128)),
        }
    )
    data = SimpleNamespace(pad_to_multiple_of=32)
    config = SimpleNamespace(model=own, data=data, train=TrainConfig(steps=10))
    parts = SimpleNamespace(
        detector=nn.Identity(), periods=None, data=SimpleNamespace(categories=range(45))
    )
    warn_of_settings(config, parts)
    settings = ("model.head.norm", "model.priors.scales", "model.loss.num_classes")
    assert [message.split(":")[0] for message in caplog.messages] == list(settings)
