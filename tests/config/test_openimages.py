import re

import pytest

from dense_lt.config.load import load_config, save_config
from dense_lt.utils.errors import ConfigError

TEXT = """name: run
data:
  dataset:
    kind: openimages
    classes: c.csv
    train: {boxes: b.csv, images: [i]}
    val: {boxes: b.csv, images: [i]}
schedule: {kind: cosine}
train: {steps: 1}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(TEXT)
    return path


def test_three_files_are_enough_and_its_own_rules_score_it(path, tmp_path):
    config = load_config(path)
    assert config.evaluation.protocols == ("openimages",)
    assert config.data.dataset.group_of == "ignore"
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config


def test_other_evaluation_settings_leave_the_protocol_alone(path):
    assert load_config(path, ["evaluation.images=5"]).evaluation.protocols == ("openimages",)
    both = load_config(path, ["evaluation.protocols=[openimages-expanded, openimages]"])
    assert both.evaluation.protocols == ("openimages-expanded", "openimages")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("evaluation.protocols=[lvis]", "has lvis, but `data.dataset.kind` is openimages; use"),
        ("evaluation.iou_types=[segm]", "Open Images has boxes only; remove segm"),
        ("data.dataset.expand_boxes=true", "`expand_boxes` needs the file of the `hierarchy`"),
        ("data.dataset.group_of=forget", "'ignore', 'use' or 'drop'"),
        ("data.dataset.train.images=[]", "data.dataset.train.images"),
        ("data.dataset.train.masks=m.csv", "data.dataset.train.masks"),
    ],
)
def test_what_cannot_be_is_one_message(path, override, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_config(path, [override])


def test_the_rules_of_open_images_are_for_open_images(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "name: run\nschedule: {kind: cosine}\ntrain: {steps: 1}\n"
        "evaluation: {protocols: [openimages]}\n"
    )
    with pytest.raises(ConfigError, match="those of Open Images need its own files"):
        load_config(tmp_path / "run.yaml")
