import logging

import pytest
import torch
from torch import nn

from dense_lt.evaluation.detector_facts import save_facts
from dense_lt.models.heads.dense import DenseHead, TowerShape


@pytest.mark.parametrize(("num_logits", "written"), [(3, True), (4, False)])
def test_a_classifier_without_weights_of_its_own_for_a_class_is_told(
    tmp_path, caplog, num_logits, written
):
    head = DenseHead(
        in_channels=4,
        num_logits=num_logits,
        priors_per_location=1,
        tower=TowerShape(channels=4, num_convs=1, norm_groups=2),
        logit_bias=torch.zeros(num_logits),
    )
    (tmp_path / "classifier.json").write_text("of another detector", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        norms = save_facts(
            nn.ModuleDict({"head": head}), [], torch.device("cpu"), [1, 2, 3], tmp_path
        )
    assert norms is not None
    assert (tmp_path / "classifier.json").is_file() == written
    assert ("so --tau-norm is not for these predictions" in caplog.text) != written
