"""Parameters, channels and priors of every published detector, worked out by hand.

Figures of the papers and of their code: ResNet-50, P3-P7 of 256 channels, two towers of four 3x3
convolutions with GroupNorm; YOLOX-IP on its own backbone. 1203 classes, an input of 800 x 1344.
"""

from pathlib import Path

import pytest
import torch

from dense_lt.config.load import load_config
from dense_lt.models.build import build_detector
from dense_lt.models.priors import PriorGenerator

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = CONFIGS / "lvis"
CLASSES = 1203
# 7x7 stem 9,408; with all 1x1 and 3x3 convolutions 23,454,912 weights; scale and shift of norms:
# 64 in the stem, (64 + 64 + 256) x 3 + 256, (128 + 128 + 512) x 4 + 512, (256 + 256 + 1024) x 6
# + 1024, (512 + 512 + 2048) x 3 + 2048 in the stages, 26,560 channels in all
RESNET = 23_454_912 + 2 * 26_560
# 23 instead of 6 blocks in the third stage: 1x1 from 1024 to 256 channels, 3x3, 1x1 back
RESNET_101 = RESNET + 17 * (1024 * 256 + 256 * 256 * 9 + 256 * 1024 + 2 * (256 + 256 + 1024))
# 1x1 from 512, 1024, 2048 channels to 256; three 3x3 and the two of stride 2, all with bias
PYRAMID = (512 + 1024 + 2048) * 256 + 3 * 256 + 5 * (256 * 256 * 9 + 256)
# 8 convolutions without bias, each with scale and shift of its norm
TOWERS = 8 * (256 * 256 * 9 + 2 * 256)
# 100x168, 50x84, 25x42, 13x21, 7x11
LOCATIONS = 16_800 + 4_200 + 1_050 + 273 + 77


def last(channels, priors, values):
    """A 3x3 convolution from the tower to `values` numbers a prior."""
    return channels * 9 * priors * values + priors * values


def yolox_head(width, level_channels):
    """A head of one level: 1x1 stem, 2 x 2 convolutions 3x3, 1x1 to logits, codes and quality."""
    stem = level_channels * width + 2 * width
    towers = 4 * (width * width * 9 + 2 * width)
    return stem + towers + 2 * (width + 1) * (CLASSES + 4 + 1)


def meta_detector(recipe, classes=CLASSES, folder=RECIPES):
    config = load_config(folder / f"{recipe}.yaml", ["data.dataset.root=somewhere"]).model
    backbone = config.backbone.model_copy(update={"pretrained": False})
    with torch.device("meta"):
        return build_detector(config.model_copy(update={"backbone": backbone}), classes)


def prior_boxes(recipe, strides, size):
    """Boxes of all priors on an input of `size`; real ones, a meta tensor has no numbers."""
    config = load_config(RECIPES / f"{recipe}.yaml", ["data.dataset.root=somewhere"]).model
    generator = PriorGenerator(strides, **config.priors.model_dump())
    return generator.for_image_size(size, torch.device("cpu")).boxes


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("recipe", "priors", "quality", "scales"),
    [
        ("efl_improved_baseline_r50_2x", 2, True, 0),
        ("retinanet_r50_2x_efl", 9, False, 0),
        ("fcos_r50_2x_efl", 1, True, 5),
        ("atss_r50_2x_efl", 1, True, 5),
        ("paa_r50_2x_efl", 1, True, 5),
    ],
)
def test_detectors_on_resnet_50(recipe, priors, quality, scales):
    detector = meta_detector(recipe)
    head = TOWERS + last(256, priors, CLASSES) + last(256, priors, 4) + scales
    head += last(256, priors, 1) if quality else 0
    assert count(detector.pyramid.backbone) == RESNET
    assert count(detector.pyramid) == RESNET + PYRAMID
    assert count(detector.head) == head
    assert count(detector) == RESNET + PYRAMID + head
    assert detector.head.classifier.out_channels == priors * CLASSES
    assert detector.pyramid.strides == (8, 16, 32, 64, 128)
    assert len(prior_boxes(recipe, (8, 16, 32, 64, 128), (800, 1344))) == priors * LOCATIONS


def test_the_improved_baseline_has_37_7_million_parameters():
    """Backbone, pyramid, towers, classifier (256 x 9 x 2406 + 2406), codes, quality."""
    assert count(meta_detector("efl_improved_baseline_r50_2x")) == (
        23_508_032 + 3_868_672 + 4_722_688 + 5_545_830 + 18_440 + 4_610
    )


@pytest.mark.parametrize(
    ("recipe", "backbone", "classes"),
    [
        ("lvis/efl_improved_baseline_r101_2x", RESNET_101, 1203),
        ("openimages/efl_improved_baseline_r50_180k", RESNET, 500),
        ("openimages/efl_improved_baseline_r101_180k", RESNET_101, 500),
    ],
)
def test_the_improved_baseline_on_the_larger_backbone_and_on_open_images(recipe, backbone, classes):
    detector = meta_detector(recipe, classes, CONFIGS)
    head = TOWERS + sum(last(256, 2, values) for values in (classes, 4, 1))
    assert count(detector.pyramid.backbone) == backbone
    assert count(detector.head) == head
    assert count(detector) == backbone + PYRAMID + head
    assert detector.head.classifier.out_channels == 2 * classes
    assert detector.priors.priors_per_location == 2


@pytest.mark.parametrize(("size", "width"), [("s", 128), ("m", 192)])
@pytest.mark.parametrize("loss", ["efl", "eqfl"])
def test_yolox_ip(size, width, loss):
    """Levels of width, 2 width and 4 width channels; 640 x 640 has 80^2 + 40^2 + 20^2 cells."""
    detector = meta_detector(f"{loss}_yolox_ip_{size}")
    expected = sum(yolox_head(width, width * factor) for factor in (1, 2, 4))
    assert count(detector.head) == expected
    assert [c.out_channels for c in detector.head.classifiers] == [2 * CLASSES] * 3
    assert detector.pyramid.channels == (width, 2 * width, 4 * width)
    boxes = prior_boxes(f"{loss}_yolox_ip_{size}", (8, 16, 32), (640, 640))
    assert len(boxes) == 2 * (6400 + 1600 + 400)
    # scales 3 and 4 at strides 8, 16, 32, centred on the corner of the first cell
    sides = (boxes[:, 2] - boxes[:, 0]).unique().tolist()
    assert sides == [24, 32, 48, 64, 96, 128]
    assert boxes[0].tolist() == [-12, -12, 12, 12]


def test_sizes_and_centres_of_the_improved_baseline():
    """Scales 6 and 8 at strides 8 to 128; the first cell's middle is at (4, 4)."""
    recipe, strides = "efl_improved_baseline_r50_2x", (8, 16, 32, 64, 128)
    boxes = prior_boxes(recipe, strides, (800, 1344))
    sides = (boxes[:, 2] - boxes[:, 0]).unique().tolist()
    assert sides == [48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    assert boxes[:2].tolist() == [[-20, -20, 28, 28], [-28, -28, 36, 36]]
