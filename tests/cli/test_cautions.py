"""Settings that cannot do what they seem to be for are told before a run starts."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from dense_lt.cli.cautions import (
    starts_from,
    warn_if_best_is_last,
    warn_if_frozen_at_random,
    warn_if_no_norm_is_meant,
    warn_if_ratio_is_not_read,
)
from dense_lt.config.experiment import TrainConfig
from dense_lt.config.losses import CountFreeLossConfig
from dense_lt.config.model import BackboneConfig, OneStageConfig
from dense_lt.config.schema import kind_values
from dense_lt.config.two_stage import TwoStageConfig
from dense_lt.engine.loop import Periods
from dense_lt.losses.build import build_classification_loss
from dense_lt.models.backbone import Backbone


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
