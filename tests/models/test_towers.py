import pytest
import torch
from torch import nn
from torch.nn import functional

from dense_lt.models.heads.dense import DenseHead, PerLevelHead
from dense_lt.models.heads.towers import DeformableConvolution, TowerShape, make_tower


def head_of(**shape):
    torch.manual_seed(0)
    return DenseHead(
        in_channels=6,
        num_logits=3,
        priors_per_location=2,
        tower=TowerShape(**{"channels": 8, "num_convs": 2, "norm_groups": 4, **shape}),
        logit_bias=torch.full((3,), -2.0),
        quality_bias=-1.0,
    )


@pytest.mark.parametrize("initialization", ["normal", "torch"])
@pytest.mark.parametrize("deformable", ["none", "all"])
def test_convolutions_start_normal_or_as_torch_makes_them_and_scores_at_their_prior(
    initialization, deformable
):
    head = head_of(initialization=initialization, norm="none", deformable=deformable)
    kernels = [
        m.weight
        for m in head.modules()
        if isinstance(m, nn.Conv2d | DeformableConvolution) and m.weight.any()
    ]
    assert len(kernels) == 7
    for weight in kernels:
        bound = weight[0].numel() ** -0.5  # torch's is uniform
        most = float(weight.detach().abs().max())
        assert 0.9 * bound < most <= bound if initialization == "torch" else most < 0.05
    assert bool(head.box_regressor.bias.any()) == (initialization == "torch")
    assert head.classifier.bias.tolist() == [-2] * 6
    assert head.quality_predictor.bias.tolist() == [-1] * 2


def kinds(tower):
    return [type(layer).__name__ for layer in tower]


@pytest.mark.parametrize(
    ("norm", "name"),
    [("group", "GroupNorm"), ("batch", "BatchNorm2d"), ("frozen_batch", "FrozenNorm")],
)
def test_a_norm_follows_every_convolution_which_then_has_no_bias(norm, name):
    tower = make_tower(6, TowerShape(channels=8, num_convs=2, norm_groups=4, norm=norm))
    assert kinds(tower) == ["Conv2d", name, "ReLU"] * 2
    assert tower[0].bias is None


def test_without_norm_convolutions_have_a_bias():
    tower = make_tower(6, TowerShape(channels=8, num_convs=2, norm="none", activation="silu"))
    assert kinds(tower) == ["Conv2d", "SiLU"] * 2
    assert tower[0].bias is not None


@pytest.mark.parametrize(("deformable", "expected"), [("none", 0), ("last", 1), ("all", 2)])
def test_the_last_or_all_convolutions_are_deformable(deformable, expected):
    head = head_of(deformable=deformable)
    found = sum(isinstance(m, DeformableConvolution) for m in head.class_tower)
    assert found == expected
    if deformable == "last":
        assert isinstance(head.box_tower[3], DeformableConvolution)
    head([torch.rand(1, 6, 5, 7)]).codes[0].sum().backward()
    assert all(p.grad is not None for p in head.box_tower.parameters())


def test_a_deformable_convolution_starts_on_its_grid_with_weights_of_one_half():
    torch.manual_seed(0)
    layer, x = DeformableConvolution(4, 5), torch.rand(2, 4, 6, 7)
    torch.testing.assert_close(layer(x), functional.conv2d(x, layer.weight, padding=1) / 2)


def test_offsets_move_the_points():
    """One cell to the right for all nine points, full weight: the map moves one cell left."""
    torch.manual_seed(0)
    layer, x = DeformableConvolution(4, 5), torch.rand(1, 4, 6, 9)
    with torch.no_grad():
        layer.offsets.bias[1:18:2] = 1.0
        layer.offsets.bias[18:] = 100.0
    plain = functional.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(layer(x)[..., 1:-2], plain[..., 2:-1], rtol=1e-5, atol=1e-6)


def test_a_stem_a_small_kernel_and_the_start_of_scores():
    head = head_of(stem=True, output_kernel=1, norm="batch")
    assert head.stem[0].kernel_size == head.classifier.kernel_size == (1, 1)
    assert head.class_tower[0].in_channels == 8
    assert head.classifier.bias.tolist() == [-2.0] * 6
    assert head.quality_predictor.bias.tolist() == [-1.0] * 2


def test_a_head_per_level_takes_maps_of_different_channels():
    torch.manual_seed(0)
    shape = TowerShape(channels=8, num_convs=1, norm_groups=4, stem=True)
    heads = [
        DenseHead(
            in_channels=channels,
            num_logits=3,
            priors_per_location=2,
            tower=shape,
            logit_bias=torch.zeros(3),
        )
        for channels in (4, 6)
    ]
    levels = [torch.rand(1, 4, 4, 5), torch.rand(1, 6, 2, 3)]
    together = PerLevelHead(heads)(levels)
    for index, (head, level) in enumerate(zip(heads, levels, strict=True)):
        alone = head([level])
        assert torch.equal(together.logits[index], alone.logits[0])
        assert torch.equal(together.quality[index], alone.quality[0])
    assert [len(x[0]) for x in together.codes] == [40, 12]
    inputs = PerLevelHead(heads)(levels, with_logits=False).classifier_inputs
    assert [x.shape[1] for x in inputs] == [8, 8]
    assert all(isinstance(c, nn.Conv2d) for c in PerLevelHead(heads).classifiers)
