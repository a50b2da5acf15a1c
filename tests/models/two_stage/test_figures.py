"""Parameters, channels and anchors of the published two-stage detectors, worked out by hand.

Figures of the papers and of their code: ResNets whose stem and first stage are frozen, P2-P6 of 256
channels, three anchors a location, two layers of 1024, boxes and masks of every class. 1203 classes
of LVIS v1, 1230 of LVIS v0.5, 500 of Open Images.
"""

from pathlib import Path

import pytest
import torch

from dense_lt.config.load import load_config
from dense_lt.models.build import build_detector
from dense_lt.models.priors import PriorGenerator

CONFIGS = Path(__file__).parents[3] / "configs"
# see test_figures.py of the one-stage detectors
RESNET = 23_454_912 + 2 * 26_560
RESNET_101 = RESNET + 17 * (1024 * 256 + 256 * 256 * 9 + 256 * 1024 + 2 * (256 + 256 + 1024))
# 7x7 stem and its norm; per block 1x1, 3x3, 1x1 and norms, from 64 and twice from 256 channels,
# the first with a 1x1 from 64 to 256 beside it
FROZEN = (9_408 + 128) + (
    (64 * 64 + 256 * 64 * 2)
    + 3 * (64 * 64 * 9 + 64 * 256 + 2 * (64 + 64 + 256))
    + (64 * 256 + 2 * 256)
)
# 64 groups of 4 channels in the first stage, 256 in all, and twice as many in each that follows; a
# 3x3 sees the channels of its group alone
RESNEXT_101 = (9_408 + 128) + sum(
    blocks * (2 * width * out + 9 * width * width // 64 + 2 * (2 * width + out))
    + (below - out) * width
    + (below * out + 2 * out)
    for blocks, width, out, below in (
        (3, 256, 256, 64),
        (4, 512, 512, 256),
        (23, 1024, 1024, 512),
        (3, 2048, 2048, 1024),
    )
)
# 1x1 from 256 to 2048 channels, and a 3x3 for each of P2 to P5; P6 has no weights
PYRAMID = (256 + 512 + 1024 + 2048) * 256 + 4 * 256 + 4 * (256 * 256 * 9 + 256)
# 3x3, then a score and four codes for each of three anchors
PROPOSALS = 256 * 256 * 9 + 256 + 3 * (256 + 1) + 12 * (256 + 1)
# 7 x 7 cells of 256 channels to 1024, and again to 1024
LAYERS = 256 * 49 * 1024 + 1024 + 1024 * 1024 + 1024
# four 3x3 and an upsampling of 2x2
MASK_LAYERS = 4 * (256 * 256 * 9 + 256) + 256 * 256 * 4 + 256


def boxes(logits, values):
    return LAYERS + 1025 * (logits + values)


def masks(classes):
    return MASK_LAYERS + 257 * classes


def settings(recipe):
    return load_config(CONFIGS / f"{recipe}.yaml", ["data.dataset.root=somewhere"]).model


def meta_detector(recipe, classes):
    config = settings(recipe)
    backbone = config.backbone.model_copy(update={"pretrained": False})
    with torch.device("meta"):
        return build_detector(config.model_copy(update={"backbone": backbone}), classes)


def count(module, *, trained=False):
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


@pytest.mark.parametrize(
    ("recipe", "backbone", "logits", "classes"),
    [
        ("lvis/mask_rcnn_r50_1x_softmax", RESNET, 1204, 1203),
        ("lvis/mask_rcnn_r50_1x_sigmoid", RESNET, 1203, 1203),
        ("lvis/mask_rcnn_r101_2x_eql_v2", RESNET_101, 1204, 1203),
        ("openimages/faster_rcnn_r50_180k_eql_v2", RESNET, 501, 500),
    ],
)
def test_mask_and_faster_rcnn(recipe, backbone, logits, classes):
    detector = meta_detector(recipe, classes)
    total = backbone + PYRAMID + PROPOSALS + boxes(logits, 4 * classes)
    if classes != 500:
        total += masks(classes)
        assert count(detector.mask) == masks(classes)
    assert count(detector.pyramid.backbone) == backbone
    assert count(detector.pyramid) == backbone + PYRAMID
    assert detector.pyramid.strides == detector.proposals.priors.strides == (4, 8, 16, 32, 64)
    assert count(detector.proposals) == PROPOSALS
    assert count(detector.head) == boxes(logits, 4 * classes)
    assert count(detector) == total
    assert count(detector, trained=True) == total - FROZEN
    norms = [m for m in detector.train().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_mask_rcnn_has_50_million_parameters():
    """Backbone, pyramid, proposals, boxes, masks, worked out once more as plain numbers.

    Boxes: 13,895,680 of the layers, 1025 x (1204 + 4 x 1203); masks: 2,622,720 and 257 x 1203.
    """
    assert count(meta_detector("lvis/mask_rcnn_r50_1x_softmax", 1203)) == (
        23_508_032 + 3_344_384 + 593_935 + 20_062_080 + 2_931_891
    )


def test_htc_on_resnext_101_for_the_1230_classes_of_v05():
    """Three stages with one box for all classes; two of the mask heads take features in, by a 1x1.

    ResNeXt-101 64x4d of torchvision has 83,455,272 parameters, 2,049,000 of them classify.
    """
    detector = meta_detector("lvis/v05_htc_x101_64x4d_eql_v2", 1230)
    assert RESNEXT_101 == 83_455_272 - 2_049_000
    assert count(detector.pyramid.backbone) == RESNEXT_101
    assert count(detector.pyramid) == RESNEXT_101 + PYRAMID
    stages = 3 * (boxes(1231, 4) + masks(1230)) + 2 * (256 * 256 + 256)
    assert count(detector) == RESNEXT_101 + PYRAMID + PROPOSALS + stages
    assert detector.interleaved
    assert detector.mask_flow
    coders = [stage.loss.coder.deviations for stage in detector.stages]
    assert [deviations[0] for deviations in coders] == [0.1, 0.05, 0.033]
    assert [stage.sampler.assigner.positive_iou for stage in detector.stages] == [0.5, 0.6, 0.7]


def test_anchors_have_the_area_of_eight_strides_and_sit_on_corners():
    """At 800 x 1344: 200x336, 100x168, 50x84, 25x42 and 13x21 cells with three anchors each.

    Stride 4: area 32^2; ratio 1/2 has height 32 / sqrt(2) = 22.63 and width 45.25.
    """
    anchors = settings("lvis/mask_rcnn_r50_1x_softmax").proposals.anchors
    shapes = anchors.model_dump(include={"scales", "ratios", "center"})
    priors = PriorGenerator((4, 8, 16, 32, 64), **shapes)  # real ones: a meta tensor has no numbers
    boxes = priors.for_image_size((800, 1344), torch.device("cpu")).boxes
    assert len(boxes) == 3 * (67_200 + 16_800 + 4_200 + 1_050 + 273)
    first = torch.tensor([[-22.63, -11.31], [-16, -16], [-11.31, -22.63]])
    torch.testing.assert_close(boxes[:3], torch.cat([first, -first], 1), rtol=0, atol=0.01)
    areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt().round().unique()
    assert areas.tolist() == [32, 64, 128, 256, 512]
