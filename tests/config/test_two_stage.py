from pathlib import Path
from typing import get_args

import pytest
from helpers.tiny_two_stage import config_of
from pydantic import ValidationError

from dense_lt.config.frequency_losses import FrequencyLossConfig
from dense_lt.config.load import load_config
from dense_lt.utils.errors import ConfigError

SOFTMAX = Path(__file__).parents[2] / "configs" / "drawn" / "two_stage_softmax.yaml"
BY_FREQUENCY = {
    get_args(s.model_fields["kind"].annotation)[0] for s in get_args(FrequencyLossConfig)
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proposals": {"background_iou": 0.8}}, "`background_iou` 0.8 must not be above"),
        ({"proposals": {"levels": (3, 6)}}, r"`proposals.levels` is \[3, 6\] but `pyramid.levels`"),
        ({"pool": {"levels": (1, 2)}}, r"`pool.levels` is \[1, 2\] but `pyramid.levels`"),
        ({"proposals": {"anchors": {"sizes": (8.0,)}}}, "`sizes` is for one anchor a location"),
        (
            {"proposals": {"kind": "dense", "priors": {"sizes": (8.0,)}}},
            "`priors.sizes` has 1 entries but `proposals.levels` has 3 levels",
        ),
        ({"semantic": {}, "cascade": {}}, "set `cascade` and `mask`, or `semantic: null`"),
        ({"semantic": {}, "mask": {}}, "`semantic` belongs to a cascade with masks"),
        (
            {"semantic": {"level": 5}, "cascade": {}, "mask": {}},
            r"`semantic.level` is 5 but `pyramid.levels` is \[2, 4\]",
        ),
        ({"cascade": {"ious": (0.5, 0.6, 1.2)}}, r"`ious` must lie within \(0, 1\]"),
        ({"cascade": {}, "regions": {"positive_iou": 0.6}}, "`regions.positive_iou` is 0.6 but"),
        ({"loss": {"kind": "bags", "boundaries": (10, 10)}}, r"must rise, got \[10, 10\]"),
        (
            {"box_loss": {"kind": "smooth_l1", "weighting": "iou"}},
            "all weigh the same .* got `weighting: iou`",
        ),
        (
            {"proposals": {"box_loss": {"kind": "smooth_l1", "divide_by": "positives"}}},
            "the number of samples, got .* `divide_by: positives`",
        ),
        (
            {"proposals": {"kind": "dense", "head": {"fused_loss": True}}},
            "`head.fused_loss: true` never makes the logits",
        ),
        (
            {"proposals": {"kind": "dense", "loss": {"kind": "focal", "federated": True}}},
            "`loss.federated: true` is about the classes of an image",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        config_of(**changes)


@pytest.mark.parametrize("kind", sorted(BY_FREQUENCY))
def test_proposals_have_no_class_frequencies(kind):
    with pytest.raises(ValidationError, match=f"`loss.kind: {kind}` looks at how often"):
        config_of(proposals={"kind": "dense", "loss": {"kind": kind}})


@pytest.mark.parametrize(
    "kind",
    [
        "softmax",
        "class_balanced_softmax",
        "logit_adjusted_softmax",
        "softmax_eql",
        "seesaw",
        "bags",
    ],
)
def test_a_softmax_over_all_classes_cannot_leave_classes_out(kind):
    with pytest.raises(ValidationError, match="`federated: true` leaves classes out"):
        config_of(loss={"kind": kind, "federated": True})


def test_regions_are_pooled_from_the_levels_that_backbone_and_pyramid_both_have():
    assert config_of(pool={"levels": None}).pooled_levels == (2, 4)
    wider = {"levels": (2, 6), "above": "max_pool"}
    assert config_of(pyramid=wider, pool={"levels": None}).pooled_levels == (2, 5)
    assert config_of(pool={"levels": (3, 4)}).pooled_levels == (3, 4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.proposals=dense", "model.proposals: expected a section whose `kind` is one of rpn"),
        ("model.proposals=null", "`kind` is one of rpn, dense, got None"),
        ("model.loss=eql_v2", "model.loss: expected a section whose `kind` is one of softmax, "),
        ("model.pool=3", "model.pool: expected a section"),
    ],
)
def test_a_word_in_place_of_a_section_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(SOFTMAX, [override])


def test_another_kind_of_proposals_forgets_the_settings_of_the_old_one():
    proposals = load_config(SOFTMAX, ["model.proposals.kind=dense"]).model.proposals
    assert proposals.levels is None
    assert proposals.loss.kind == "focal"


def test_masks_are_scored_only_where_they_are_predicted(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: run\nmodel: {kind: two_stage}\nschedule: {kind: cosine}\ntrain: {steps: 1}\n"
    )
    wanted = ["evaluation.iou_types=[segm]"]
    with pytest.raises(ConfigError, match="this two_stage model predicts no masks"):
        load_config(path, wanted)
    assert load_config(path, [*wanted, "model.mask={}"]).model.mask.channels == 256
