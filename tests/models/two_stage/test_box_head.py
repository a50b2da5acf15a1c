import math

import pytest
import torch
from torch.nn import functional

from dense_lt.models.two_stage.box_head import BoxHead, NormalizedLinear, linear_classifier
from dense_lt.models.two_stage.regions import RegionPooling, Regions

BIAS = torch.tensor([-1.0, 0.0, 2.0])
REGIONS = Regions(torch.tensor([[0.0, 0, 8, 8], [4, 4, 16, 16]]), torch.tensor([0, 0]))


def make(**settings):
    torch.manual_seed(0)
    return BoxHead(
        pooling=RegionPooling((4,), size=2),
        in_channels=3,
        channels=50,
        num_layers=2,
        classifier=linear_classifier(50, BIAS),
        **settings,
    )


def test_a_head_gives_a_box_for_every_class_or_one_for_all():
    levels = [torch.randn(1, 3, 8, 8)]
    specific = make(num_boxes=3)(levels, REGIONS)
    assert specific.logits.shape == (2, 3)
    assert specific.codes.shape == (2, 3, 4)
    rows, labels = torch.tensor([1, 0]), torch.tensor([2, 1])
    assert torch.equal(specific.codes_of(rows, labels)[0], specific.codes[1, 2])
    agnostic = make(num_boxes=1)(levels, REGIONS)
    assert torch.equal(agnostic.codes_of(rows, labels)[0], agnostic.codes[1, 0])


@pytest.mark.parametrize(
    ("initialization", "bound"),
    [("xavier", math.sqrt(6 / (12 + 50))), ("torch", math.sqrt(1 / 12))],
)
def test_layers_start_within_the_bound_of_their_initialization(initialization, bound):
    weight = make(num_boxes=1, initialization=initialization).layers[0].weight
    assert 0.95 * bound < weight.abs().max() <= bound


def test_the_bias_of_the_classifier_is_the_one_that_is_given():
    assert torch.equal(linear_classifier(5, BIAS).bias, BIAS)


def test_a_normalized_classifier_gives_the_cosine_times_its_temperature():
    classifier = linear_classifier(5, BIAS, temperature=20.0)
    assert isinstance(classifier, NormalizedLinear)
    features = torch.randn(4, 5)
    cosine = functional.cosine_similarity(features[:, None], classifier.weight[None], dim=-1)
    torch.testing.assert_close(classifier(features), 20 * cosine + BIAS)
