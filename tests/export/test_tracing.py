"""From modules to programs: which sizes are left open, and what is said of modules that cannot."""

import pytest
import torch
from torch import nn

from dense_lt.export.files import read, write
from dense_lt.export.tracing import least_side, trace, trial_images, trial_sizes
from dense_lt.models.priors import PriorGenerator
from dense_lt.utils.errors import ConfigError


class Brightness(nn.Module):
    """The mean of every image, and how far it is filled."""

    def forward(self, pixels, sizes):
        return pixels.float().mean((1, 2, 3)), sizes.prod(1) / (pixels.shape[2] * pixels.shape[3])


class Grid(nn.Module):
    """Boxes of 128 pixels over the image."""

    def forward(self, pixels, sizes):
        cells = tuple((side + 127) // 128 for side in pixels.shape[-2:])
        return PriorGenerator((128,)).boxes_of_levels([cells], pixels.device)


class FixedSize(nn.Module):
    """As vision transformers are, whose positions are learnt for one size."""

    def forward(self, pixels, sizes):
        return (pixels * torch.arange(96),)


class Unknown(nn.Module):
    """Makes use of what ONNX does not have."""

    def forward(self, pixels, sizes):
        return (torch.linalg.eigvals(pixels.float()[:, 0, :32, :32]).real,)


@pytest.mark.parametrize("multiple_of", [1, 16, 128])
def test_sizes_that_are_left_open_take_any(multiple_of):
    first, second = trial_sizes(multiple_of)
    program = trace(Brightness(), first, multiple_of).module()
    for images in (trial_images(1, second), trial_images(5, first)):
        torch.testing.assert_close(program(*images), Brightness()(*images))


def test_trial_sizes_are_two_multiples_and_never_one_cell():
    for multiple_of in (1, 32, 48, 128, 640):
        sizes = trial_sizes(multiple_of)
        assert len(set(sizes)) == 2
        for side in (side for size in sizes for side in size):
            assert side % multiple_of == 0
            assert side >= max(96, 2 * multiple_of)


def test_the_coarsest_map_may_have_any_number_of_cells_from_two_on():
    """Traced with one, torch.export would take its cells for a constant."""
    assert least_side(32, 128) == 160
    assert least_side(16, 32) == 48
    sizes = trial_sizes(32, 128)
    assert min(min(size) for size in sizes) >= 256
    program = trace(Grid(), sizes[0], 32, 128).module()
    for size in (*sizes, (160, 512)):
        images = trial_images(1, size)
        torch.testing.assert_close(program(*images), Grid()(*images))


def test_trial_images_have_structure_and_padding():
    pixels, sizes = trial_images(3, (64, 96))
    assert pixels.shape == (3, 3, 64, 96)
    assert pixels.dtype == torch.uint8
    for image, (height, width) in zip(pixels, sizes.tolist(), strict=True):
        assert image[:, :height, :width].float().std() > 10
        assert not image[:, height:].any()
        assert not image[:, :, width:].any()
    assert sizes.unique(dim=0).shape == (3, 2)


def test_a_module_for_one_size_is_refused_with_the_option_that_helps():
    with pytest.raises(ConfigError, match="may need a fixed size: give --size HEIGHT WIDTH"):
        trace(FixedSize(), (64, 96), 32)
    program = trace(FixedSize(), (64, 96), None).module()
    images = trial_images(3, (64, 96))
    torch.testing.assert_close(program(*images), FixedSize()(*images))


def test_a_module_for_another_size_is_refused():
    with pytest.raises(ConfigError, match="at 64 x 64 pixels; try another --size or backbone"):
        trace(FixedSize(), (64, 64), None)


def test_what_onnx_does_not_have_is_named(tmp_path):
    program = trace(Unknown(), (32, 64), None)
    with pytest.raises(ConfigError, match=r"cannot write this detector: .*eig.*--format torch"):
        write(program, tmp_path / "a.onnx", "onnx", names=["values"], metadata={})
    assert list(tmp_path.iterdir()) == []
    write(program, tmp_path / "a.pt2", "torch", names=["values"], metadata={"step": "3"})
    images = trial_images(1, (32, 64))
    torch.testing.assert_close(read(tmp_path / "a.pt2", "torch")(*images), Unknown()(*images))
