from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dense_lt.models.backbone import Backbone, usable_backbones
from dense_lt.utils.errors import ConfigError, DataError

SMALL = {"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1]}


def make(**settings):
    return Backbone("resnet18", levels=(3, 5), options=SMALL, **settings)


@pytest.mark.parametrize(
    ("name", "levels", "options"),
    [
        ("resnet18", (2, 5), SMALL),
        ("mobilenetv3_small_050", (3, 5), {}),
        ("convnext_atto", (3, 5), {}),
        ("swin_tiny_patch4_window7_224", (3, 5), {"strict_img_size": False}),
        ("vit_tiny_patch16_224", (4, 4), {"dynamic_img_size": True}),
    ],
)
def test_every_family_gives_channels_first_maps_at_its_strides(name, levels, options):
    backbone = Backbone(name, levels=levels, options=options).eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(2, 3, 64, 96))
    assert backbone.strides == tuple(2**level for level in range(levels[0], levels[1] + 1))
    for x, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert x.shape == (2, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("resnet19", (3, 5), r"timm .* has no 'resnet19'; close to it: .*resnet18"),
        ("vit_tiny_patch16_224", (3, 5), r"strides \[16, 16, 16\], none at \[8, 32\]; set .*\[4\]"),
        ("vit_tiny_patch16_224", (4, 4), r"does not accept images of 64x64.*dynamic_img_size"),
    ],
)
def test_a_backbone_that_does_not_fit_says_what_does(name, levels, message):
    with pytest.raises(ConfigError, match=message):
        Backbone(name, levels=levels)


def test_an_unknown_option_is_named():
    with pytest.raises(ConfigError, match=r"'resnet18' with options \{'depth': 3\}"):
        Backbone("resnet18", levels=(3, 5), options={"depth": 3})


@pytest.mark.parametrize("layers", [[1, 1], [1], 3])
def test_options_of_another_length_are_refused_as_such(layers):
    with pytest.raises(
        ConfigError, match=r"'resnet18' with options .*layers.*model\.backbone\.opt"
    ):
        Backbone("resnet18", levels=(3, 4), options={"layers": layers})


def test_frozen_stages_are_the_stem_and_the_first_stages():
    backbone = make(frozen_stages=2).train()
    frozen = {n.split(".")[1] for n, p in backbone.named_parameters() if not p.requires_grad}
    training = {n.split(".")[1] for n, p in backbone.named_parameters() if p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    assert training == {"layer2", "layer3", "layer4"}


def test_a_stem_without_a_map_of_its_own_is_frozen_with_the_first_stage():
    backbone = Backbone("test_convnext", levels=(2, 4), frozen_stages=1)
    frozen = {n.split(".")[1] for n, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"stem_0", "stem_1", "stages_0"}


def test_norms_of_frozen_stages_keep_their_statistics_while_training():
    backbone = make(frozen_stages=2).train()
    before = backbone.state_dict()["body.bn1.running_mean"].clone()
    later = backbone.state_dict()["body.layer2.0.bn1.running_mean"].clone()
    backbone(torch.randn(2, 3, 64, 64))
    assert torch.equal(backbone.state_dict()["body.bn1.running_mean"], before)
    assert not torch.equal(backbone.state_dict()["body.layer2.0.bn1.running_mean"], later)


def test_more_frozen_stages_than_there_are_is_refused():
    with pytest.raises(ConfigError, match=r"frozen_stages: 'mobilenetv3_small_050' has \d stages"):
        Backbone("mobilenetv3_small_050", levels=(3, 5), frozen_stages=9)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_group_norm_replaces_every_batch_norm(name):
    backbone = Backbone(name, levels=(3, 5), norm="group")
    assert not [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert [m for m in backbone.modules() if isinstance(m, nn.GroupNorm)]
    assert backbone(torch.randn(1, 3, 64, 64))[0].isfinite().all()


def test_norms_of_fixed_statistics_train_scale_and_shift_alone():
    backbone = make(norm="fixed_statistics", frozen_stages=1).train()
    norms = {n: m for n, m in backbone.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}
    sum(x.square().mean() for x in backbone(torch.randn(2, 3, 64, 64) + 3)).backward()
    for name, norm in norms.items():
        assert torch.equal(norm.running_mean, before[name])
        assert (norm.weight.grad is None) == name.endswith("body.bn1"), "the stem is frozen"


def test_frozen_norm_has_nothing_to_train():
    names = [n for n, _ in make(norm="frozen").named_parameters() if "bn" in n]
    assert names == []


def test_a_local_file_of_weights_is_loaded_whole(tmp_path):
    torch.manual_seed(1)
    trained = make()
    path = tmp_path / "weights.safetensors"
    save_file(trained.body.state_dict(), path)
    torch.manual_seed(2)
    loaded = make(weights=path)
    assert not torch.equal(make().body.conv1.weight, trained.body.conv1.weight)
    for key, value in trained.body.state_dict().items():
        assert torch.equal(loaded.body.state_dict()[key], value), key


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"stem.weight": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match=r"weights\.safetensors has no weights for \d+ layers"):
        make(weights=path)


def test_a_missing_file_of_weights_is_named():
    with pytest.raises(ConfigError, match=r"weights: there is no file absent\.pth"):
        make(weights=Path("absent.pth"))


def test_a_damaged_file_of_weights_is_told_as_such(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(make().body.state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"weights\.safetensors: is no file.*it ends early"):
        make(weights=path)


def test_loading_weights_leaves_the_random_state_alone(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(make().body.state_dict(), path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make(weights=path)
    assert torch.equal(torch.rand(3), expected)


def test_usable_backbones_leave_out_single_stride_models():
    assert "resnet18" in list(usable_backbones("resnet18*"))
    assert list(usable_backbones("vit_tiny_patch16_224")) == []
