import pytest
import torch
from helpers.tiny_two_stage import build as build_two_stage
from torch import nn

from dense_lt.evaluation.classifier import ClassifierWeights, norms_of, weights_of
from dense_lt.models.heads.dense import DenseHead, TowerShape
from dense_lt.utils.errors import DataError


def _detector(num_logits: int = 3, *, quality: bool = False) -> nn.Module:
    head = DenseHead(
        in_channels=4,
        num_logits=num_logits,
        priors_per_location=2,
        tower=TowerShape(channels=4, num_convs=1, norm_groups=2),
        logit_bias=torch.arange(num_logits) * 1.0,
        quality_bias=0.0 if quality else None,
    )
    return nn.ModuleDict({"head": head})


def test_norms_are_those_of_all_priors_of_a_class():
    """Prior by prior, class 1 owns filters 1 and 4, of 4 x 3 x 3 ones each: the root of 72."""
    detector = _detector()
    weight = detector["head"].classifier.weight
    with torch.no_grad():
        weight.zero_()
        weight[[1, 4]] = 1.0
    weights = weights_of(detector, [30, 70, 50])
    assert weights is not None
    assert weights.of_category[70] == pytest.approx((72**0.5, 1.0))
    assert weights.of_category[50] == pytest.approx((0.0, 2.0))
    assert not weights.has_quality


def test_a_quality_branch_is_seen():
    weights = weights_of(_detector(quality=True), [1, 2, 3])
    assert weights is not None
    assert weights.has_quality


def test_other_classifiers_have_no_weights_of_a_class():
    assert weights_of(_detector(num_logits=4), [1, 2, 3]) is None  # with objectness or background
    assert weights_of(nn.Linear(2, 2), [1, 2]) is None
    assert weights_of(_detector(), ["/m/1", "/m/2", "/m/3"]) is None


def test_classifiers_of_every_level_have_no_common_weights():
    heads = nn.ModuleDict({"a": _detector(), "b": _detector()})
    assert weights_of(heads, [1, 2, 3]) is None


def test_weights_survive_their_file(tmp_path):
    weights = ClassifierWeights({3: (1.5, -4.0), 8: (0.25, 0.0)}, has_quality=True)
    weights.save(tmp_path / "classifier.json")
    assert ClassifierWeights.load(tmp_path / "classifier.json") == weights
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(DataError, match=r"other\.json: holds no classifier weights"):
        ClassifierWeights.load(tmp_path / "other.json")


def test_norms_leave_the_logit_of_background_out_and_the_heads_of_levels_are_averaged():
    detector = _detector(num_logits=4)
    with torch.no_grad():
        detector["head"].classifier.weight.zero_()
        detector["head"].classifier.weight[[1, 5]] = 1.0  # class 1 of both priors
        detector["head"].classifier.weight[[3, 7]] = 9.0  # background
    assert norms_of(detector, [30, 70, 50]) == pytest.approx({30: 0, 70: 72**0.5, 50: 0})
    two = nn.ModuleDict({"a": detector, "b": _detector(num_logits=4)})
    with torch.no_grad():
        two["b"]["head"].classifier.weight.zero_()
    assert norms_of(two, [30, 70, 50])[70] == pytest.approx(72**0.5 / 2)


def test_there_are_no_norms_without_a_row_for_every_class():
    assert norms_of(_detector(num_logits=6), [1, 2, 3]) is None
    assert norms_of(nn.Linear(2, 2), [1, 2]) is None
    assert norms_of(_detector(), ["/m/1", "/m/2", "/m/3"]) is None


def test_two_logits_of_objectness_are_left_out_too():
    detector = _detector(num_logits=5)
    with torch.no_grad():
        detector["head"].classifier.weight.zero_()
        detector["head"].classifier.weight[[1, 6]] = 1.0  # class 1 of both priors
        detector["head"].classifier.weight[[3, 4, 8, 9]] = 9.0
    assert norms_of(detector, [30, 70, 50]) == pytest.approx({30: 0, 70: 72**0.5, 50: 0})


def test_a_region_loss_says_where_its_classes_are():
    bags = build_two_stage(loss={"kind": "bags"})  # groups [0, 1], [2], [3]
    weight = bags.head.classifier.weight.detach()
    norms = norms_of(bags, [5, 6, 7, 8])
    rows = {5: 1, 6: 2, 7: 4, 8: 6}  # the first row of a group is that of the others
    assert norms == pytest.approx({own: float(weight[row].norm()) for own, row in rows.items()})
    pairs = build_two_stage(loss={"kind": "eql_v2", "classifier": "2c_softmax"})
    weight = pairs.head.classifier.weight
    expected = (weight[5:9] - weight[:4]).norm(dim=1).tolist()
    assert list(norms_of(pairs, [5, 6, 7, 8]).values()) == pytest.approx(expected)


def test_every_stage_of_a_cascade_counts():
    detector = build_two_stage(loss={"kind": "bags"}, cascade={})
    weights = [stage.head.classifier.weight[[1, 2, 4, 6]] for stage in detector.stages]
    expected = torch.stack([own.norm(dim=1) for own in weights]).mean(dim=0).tolist()
    assert list(norms_of(detector, [5, 6, 7, 8]).values()) == pytest.approx(expected)


def test_a_learnt_scale_counts_as_part_of_the_weights():
    detector = build_two_stage(head={"classifier": "scaled"}, loss={"kind": "sigmoid"})
    classifier = detector.head.classifier
    with torch.no_grad():
        classifier.scale.copy_(torch.arange(1.0, 5.0))
    expected = (classifier.weight.norm(dim=1) * classifier.scale).tolist()
    assert list(norms_of(detector, [5, 6, 7, 8]).values()) == pytest.approx(expected)
    of_category = weights_of(torch.nn.ModuleDict({"head": detector.head}), [5, 6, 7, 8]).of_category
    assert [norm for norm, _ in of_category.values()] == pytest.approx(expected)


def test_the_classifier_of_proposals_is_not_that_of_the_classes():
    heads = nn.ModuleDict({"proposals": _detector(), "own": _detector()})
    with torch.no_grad():
        heads["own"]["head"].classifier.weight.fill_(1.0)
    assert norms_of(heads, [1, 2, 3])[2] == pytest.approx(72**0.5)
