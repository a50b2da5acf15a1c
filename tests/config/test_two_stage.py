import pytest
from helpers.tiny_two_stage import config_of
from pydantic import ValidationError

from dense_lt.config.load import load_config
from dense_lt.utils.errors import ConfigError


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
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        config_of(**changes)


def test_masks_are_scored_only_where_they_are_predicted(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: run\nmodel: {kind: two_stage}\nschedule: {kind: cosine}\ntrain: {steps: 1}\n"
    )
    wanted = ["evaluation.iou_types=[segm]"]
    with pytest.raises(ConfigError, match="this two_stage model predicts no masks"):
        load_config(path, wanted)
    assert load_config(path, [*wanted, "model.mask={}"]).model.mask.channels == 256
