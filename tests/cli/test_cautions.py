"""Settings that cannot do what they seem to be for are told before a run starts."""

from pathlib import Path

import pytest

from dense_lt.cli.cautions import (
    starts_from,
    warn_if_best_is_last,
    warn_if_frozen_at_random,
    warn_if_no_norm_is_meant,
)
from dense_lt.config.experiment import TrainConfig
from dense_lt.config.model import BackboneConfig, OneStageConfig
from dense_lt.engine.loop import Periods
from dense_lt.models.backbone import Backbone


def model(init_from=None, **backbone):
    return OneStageConfig(backbone=BackboneConfig(**backbone), init_from=init_from)


@pytest.mark.parametrize(
    ("settings", "told", "mend"),
    [
        ({"frozen_stages": 2}, "backbone.frozen_stages: 2: kept", "or else model.backbone.froz"),
        ({"norm": "fixed_statistics"}, "backbone.norm: fixed_statistics: kept", "norm=train or g"),
        ({"frozen_stages": 3, "norm": "frozen"}, "stages: 3, model.backbone.norm", "=0 and model."),
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
