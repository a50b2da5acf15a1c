import pytest
import torch

from dense_lt.balance.statistics import commit_all, named_statistics
from dense_lt.config.model import OneStageConfig
from dense_lt.models.build import build_detector
from dense_lt.models.csp_darknet import CspDarknet, Focus
from dense_lt.models.pafpn import PathAggregation
from dense_lt.structures import ImageBatch
from dense_lt.utils.errors import ConfigError

SMALL = {"depth": 0.33, "width": 0.125}
CLASSES = 5


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def block(below, above, kernel):
    """A convolution without bias, and scale and shift of its norm."""
    return below * above * kernel**2 + 2 * above


def stage(below, above, depth):
    """Two 1x1 blocks to half of the channels, bottlenecks, and a 1x1 block that joins both."""
    half = above // 2
    bottleneck = block(half, half, 1) + block(half, half, 3)
    return 2 * block(below, half, 1) + depth * bottleneck + block(2 * half, above, 1)


@pytest.mark.parametrize(("size", "width", "depth"), [("s", 32, 1), ("m", 48, 2)])
def test_parameters_of_the_published_sizes(size, width, depth):
    """Channels w, 2w, 4w, 8w, 16w with w = 64 x 0.5 or 0.75; depths 1, 3, 3, 1 times 1 or 2."""
    c = [width * 2**i for i in range(5)]
    expected = block(12, c[0], 3)
    for i, times in enumerate((1, 3, 3, 1)):
        expected += block(c[i], c[i + 1], 3) + stage(c[i + 1], c[i + 1], depth * times)
    expected += block(c[4], c[4] // 2, 1) + block(c[4] * 2, c[4], 1)  # pyramid pooling
    with torch.device("meta"):
        backbone = CspDarknet(f"csp_darknet_{size}")
        pyramid = PathAggregation(backbone, depth={"s": 0.33, "m": 0.67}[size])
    assert parameters(backbone) == expected
    assert backbone.channels == tuple(c[2:])
    for fine, coarse in ((c[2], c[3]), (c[3], c[4])):
        expected += block(coarse, fine, 1) + stage(2 * fine, fine, depth)
        expected += block(fine, fine, 3) + stage(2 * fine, coarse, depth)
    assert parameters(pyramid) == expected


def test_every_second_pixel_becomes_channels():
    focus = Focus(4)
    focus.block = torch.nn.Identity()
    pixels = torch.arange(2 * 4.0).view(1, 1, 2, 4).expand(1, 3, 2, 4)
    parts = focus(pixels)[0, ::3]  # the first colour of every part
    assert parts.tolist() == [[[0, 2]], [[4, 6]], [[1, 3]], [[5, 7]]]


@pytest.mark.parametrize("size", [(64, 96), (61, 75), (32, 200)])
def test_maps_have_the_size_of_their_stride_rounded_up(size):
    backbone = CspDarknet("csp_darknet_s", options=SMALL)
    pyramid = PathAggregation(backbone, depth=0.33)
    for maps in (backbone(torch.rand(2, 3, *size)), pyramid(torch.rand(2, 3, *size))):
        expected = [
            (2, c, -(-size[0] // s), -(-size[1] // s))
            for c, s in zip(backbone.channels, (8, 16, 32), strict=True)
        ]
        assert [tuple(x.shape) for x in maps] == expected


@pytest.mark.parametrize("residual", [False, True])
def test_bottlenecks_of_the_pyramid_add_their_input_if_asked_to(residual):
    backbone = CspDarknet("csp_darknet_s", options=SMALL)
    pyramid = PathAggregation(backbone, depth=0.33, residual=residual).eval()
    bottlenecks = [stage.through[1] for stage in (*pyramid.down, *pyramid.up)]
    assert {bottleneck.adds for bottleneck in bottlenecks} == {residual}


def test_frozen_stages_do_not_train():
    backbone = CspDarknet("csp_darknet_s", options=SMALL, frozen_stages=2).train()
    assert not backbone.stem.training
    assert not any(p.requires_grad for p in backbone.stages[0].parameters())
    assert all(p.requires_grad for p in backbone.stages[1].parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "csp_darknet_q"}, "allowed: csp_darknet_s"),
        ({"options": {"layers": 3}}, "allowed: depth, width"),
        ({"levels": (3, 6)}, "levels 1 to 5"),
    ],
)
def test_what_it_does_not_have_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        CspDarknet(**{"name": "csp_darknet_s", **arguments})


def build(assigner="atss", fused="auto", kind="equalized_focal"):
    torch.manual_seed(0)
    settings = {
        "backbone": {"name": "csp_darknet_s", "options": SMALL},
        "pyramid": {"kind": "path_aggregation", "depth": 0.33},
        "priors": {"scales": (3.0, 4.0), "center": "corner"},
        "assigner": {"kind": assigner},
        "head": {
            "channels": 16,
            "num_convs": 1,
            "norm": "batch",
            "activation": "silu",
            "shared": False,
            "stem": True,
            "output_kernel": 1,
            "fused_loss": fused,
        },
        "box_loss": {"kind": "giou", "l1_weight": 0.25},
        "loss": {"kind": kind},
    }
    return build_detector(OneStageConfig.model_validate(settings), CLASSES)


def batch():
    pixels = torch.randint(
        0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    boxes = torch.tensor([[5.0, 5, 40, 40], [30, 20, 90, 60]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([2, 4])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    return ImageBatch(pixels, ((64, 96),) * 2), targets


@pytest.mark.parametrize("kind", ["equalized_focal", "equalized_quality_focal"])
def test_fused_and_unfused_losses_of_heads_per_level_train_the_same(kind):
    results = []
    for fused in (False, True):
        detector = build(fused=fused, kind=kind)
        losses = detector(*batch())
        sum(losses.values()).backward()
        commit_all(detector)
        (statistics,) = named_statistics(detector).values()
        gradient = torch.cat([p.grad.flatten() for p in detector.parameters()])
        results.append((losses["classification"], gradient, statistics.negative))
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(plain, fused, rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("assigner", ["atss", "paa", "simota", "task_aligned"])
def test_every_assigner_trains_it(assigner):
    detector = build(assigner)
    for targets in (batch()[1], batch()[1][1:] * 2):
        detector.zero_grad()
        losses = detector(batch()[0], targets)
        assert all(loss.isfinite() for loss in losses.values())
        sum(losses.values()).backward()
        assert [n for n, p in detector.named_parameters() if p.grad is None] == []


def test_a_shared_head_is_refused():
    with pytest.raises(ValueError, match=r"set `head.shared: false`"):
        OneStageConfig.model_validate({"pyramid": {"kind": "path_aggregation"}})
