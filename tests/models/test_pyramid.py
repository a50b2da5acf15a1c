import pytest
import torch

from dense_lt.models.backbone import Backbone
from dense_lt.models.pyramid import PixelNormalizer, Pyramid
from dense_lt.structures import ImageBatch


def make(levels, backbone_levels=(3, 5), above="convolution", initialization="kaiming_uniform"):
    options = {"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1]}
    backbone = Backbone("resnet18", levels=backbone_levels, options=options)
    return Pyramid(backbone, levels=levels, channels=16, above=above, initialization=initialization)


@pytest.mark.parametrize("levels", [(3, 7), (3, 6), (3, 5), (3, 4), (3, 3)])
@pytest.mark.parametrize("size", [(64, 64), (72, 136), (80, 80)])
def test_level_l_has_stride_two_to_the_l(levels, size):
    maps = make(levels)(torch.zeros(1, 3, *size))
    assert len(maps) == levels[1] - levels[0] + 1
    for level, x in zip(range(levels[0], levels[1] + 1), maps, strict=True):
        assert x.shape[-2:] == tuple(-(-side // 2**level) for side in size)


@pytest.mark.parametrize("above", ["convolution", "lateral_convolution"])
def test_levels_above_come_from_p5_with_relu_or_from_the_lateral_of_c5_without(above):
    torch.manual_seed(0)
    pyramid = make((3, 7), above=above)
    pixels = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        p5, p6, p7 = pyramid(pixels)[2:]
        c5 = pyramid.backbone(pixels)[-1]
        first, second = pyramid.above
        if above == "convolution":
            expected = first(p5), second(first(p5).relu())
        else:
            lateral = pyramid.fpn.inner_blocks[-1](c5)
            expected = first(lateral), second(first(lateral))
    torch.testing.assert_close((p6, p7), expected)
    assert (p6 < 0).any(), "else ReLU would change nothing"


@pytest.mark.parametrize("initialization", ["kaiming_uniform", "xavier_uniform", "xavier_normal"])
def test_convolutions_start_as_their_formula_says(initialization):
    """Variance 1 / inputs, or 2 / (inputs + outputs); uniform up to sqrt(3) deviations."""
    torch.manual_seed(0)
    pyramid = make((3, 7), initialization=initialization)
    layers = [m for part in (pyramid.fpn, pyramid.above) for m in part.modules()]
    layers = [m for m in layers if isinstance(m, torch.nn.Conv2d)]
    assert len(layers) == 3 + 3 + 2
    for layer in layers:
        inputs, outputs = layer.weight[0].numel(), layer.weight[:, 0].numel()
        variance = 1 / inputs if initialization[0] == "k" else 2 / (inputs + outputs)
        values = layer.weight.detach() / variance**0.5
        assert float(values.std()) == pytest.approx(1, abs=0.1)
        assert (float(values.abs().max()) < 1.74) == initialization.endswith("uniform")
        assert not layer.bias.any()


@pytest.mark.parametrize("levels", [(3, 7), (3, 4)])
@pytest.mark.parametrize("above", ["convolution", "lateral_convolution"])
def test_every_parameter_gets_a_gradient(levels, above):
    """A parameter without gradient would stop DistributedDataParallel."""
    pyramid = make(levels, above=above)
    sum(x.square().mean() for x in pyramid(torch.randn(2, 3, 128, 128))).backward()
    assert [n for n, p in pyramid.named_parameters() if p.grad is None] == []


def test_normalisation_by_hand_and_padding_is_exactly_zero():
    """(128 / 255 - 0.5) / 0.25 = 0.0078431"""
    pixels = torch.full((2, 3, 4, 6), 128, dtype=torch.uint8)
    images = ImageBatch(pixels, sizes=((4, 6), (2, 3)))
    normalised = PixelNormalizer((0.5,) * 3, (0.25,) * 3)(images)
    torch.testing.assert_close(normalised[0], torch.full((3, 4, 6), 0.0078431373))
    assert normalised[1].count_nonzero() == 3 * 2 * 3
    assert (normalised[1, :, 2:] == 0).all()
    assert (normalised[1, :, :, 3:] == 0).all()
