import json

import torch
from helpers.oracle_detector import OracleDetector, loader
from torch import nn

from dense_lt.evaluation.cost import Cost, measure_cost

CPU = torch.device("cpu")


class OneConvolution(OracleDetector):
    """Sees the image through a 1x1 convolution from 3 to 5 channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 1)
        self.images = 0

    def forward(self, images, targets=None, *, normalizer=None):
        self.images += len(images.pixels)
        self.conv(images.pixels.float())
        return super().forward(images)


def test_a_convolution_costs_two_operations_for_each_weight_and_pixel(tmp_path):
    """64 x 96 pixels, 15 weights; 15 + 5 parameters; one image, whatever the batch."""
    detector = OneConvolution().eval()
    cost = measure_cost(detector, list(loader()), CPU)
    assert cost == Cost(parameters=20, flops=2 * 15 * 64 * 96, input_size=(64, 96))
    assert detector.images == 1
    cost.save(tmp_path / "cost.json")
    assert json.loads((tmp_path / "cost.json").read_text())["input_size"] == [64, 96]


def test_compiled_parts_count_like_others():
    detector = OneConvolution().eval()
    detector.conv.compile(backend="eager")
    cost = measure_cost(detector, list(loader()), CPU)
    assert cost is not None
    assert cost.flops == 2 * 15 * 64 * 96


def test_without_images_there_is_no_cost():
    assert measure_cost(OneConvolution(), [], CPU) is None
