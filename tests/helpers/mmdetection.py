"""mmdetection's two-stage detectors in plain functions of a state dict under its own names.

Written from the descriptions of its modules: names and shapes of tensors, and what they compute.
"""

import torch
from helpers.united_perception import Network, conv, norm
from torch.nn import functional
from torchvision.ops import roi_align


def resnet(blocks, groups=1, base_width=64):
    """Bottlenecks, `blocks` a stage; of a ResNeXt with `groups` of `base_width` channels."""
    shapes = conv("backbone.conv1", 3, 64, 7, bias=False) | norm("backbone.bn1", 64)
    below = 64
    for stage, count in enumerate(blocks):
        planes = 64 * 2**stage
        width = planes * base_width // 64 * groups
        for block in range(count):
            at = f"backbone.layer{stage + 1}.{block}"
            shapes |= conv(f"{at}.conv1", below, width, 1, bias=False) | norm(f"{at}.bn1", width)
            shapes |= conv(f"{at}.conv2", width // groups, width, 3, bias=False)
            shapes |= norm(f"{at}.bn2", width)
            shapes |= conv(f"{at}.conv3", width, 4 * planes, 1, bias=False)
            shapes |= norm(f"{at}.bn3", 4 * planes)
            if block == 0:
                shapes |= conv(f"{at}.downsample.0", below, 4 * planes, 1, bias=False)
                shapes |= norm(f"{at}.downsample.1", 4 * planes)
            below = 4 * planes
    return shapes


def linear(name, below, above):
    return {f"{name}.weight": (above, below), f"{name}.bias": (above,)}


def shapes_of(body, classes, *, width=256, hidden=1024, stages=None, htc=False):
    """A detector with EQL v2: Mask R-CNN, with `stages` a cascade of boxes for all classes."""
    shapes = dict(body)
    for level in range(4):
        shapes |= conv(f"neck.lateral_convs.{level}.conv", 256 * 2**level, width, 1)
        shapes |= conv(f"neck.fpn_convs.{level}.conv", width, width, 3)
    shapes |= conv("rpn_head.rpn_conv", width, width, 3)
    shapes |= conv("rpn_head.rpn_cls", width, 3, 1) | conv("rpn_head.rpn_reg", width, 12, 1)
    for stage in range(stages or 1):
        box, mask = (f"roi_head.{kind}_head" for kind in ("bbox", "mask"))
        if stages:
            box, mask = f"{box}.{stage}", f"{mask}.{stage}"
        shapes |= linear(f"{box}.shared_fcs.0", width * 49, hidden)
        shapes |= linear(f"{box}.shared_fcs.1", hidden, hidden)
        shapes |= linear(f"{box}.fc_cls", hidden, classes + 1)
        shapes |= linear(f"{box}.fc_reg", hidden, 4 if stages else 4 * classes)
        sums = ("pos_grad", "neg_grad", "pos_neg")
        shapes |= {f"{box}.loss_cls.{name}": (classes,) for name in sums}
        for layer in range(4):
            shapes |= conv(f"{mask}.convs.{layer}.conv", width, width, 3)
        shapes |= {f"{mask}.upsample.weight": (width, width, 2, 2)}
        shapes |= {f"{mask}.upsample.bias": (width,)} | conv(
            f"{mask}.conv_logits", width, classes, 1
        )
        if htc and stage:
            shapes |= conv(f"{mask}.conv_res.conv", width, width, 1)
    return shapes | (semantic_head(classes + 1, width) if htc else {})


def semantic_head(classes, width):
    at = "roi_head.semantic_head"
    shapes = conv(f"{at}.conv_embedding.conv", width, width, 1)
    shapes |= conv(f"{at}.conv_logits", width, classes, 1)
    for level in range(5):
        shapes |= conv(f"{at}.lateral_convs.{level}.conv", width, width, 1)
    for layer in range(4):
        shapes |= conv(f"{at}.convs.{layer}.conv", width, width, 3)
    return shapes


def draw(shapes, seed=0):
    """Values that keep features in range, all of them different."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var") or "loss_cls" in name:
            state[name] = torch.rand(shape, generator=generator) + 0.5
        elif len(shape) > 1:
            spread = (2 / torch.Size(shape[1:]).numel()) ** 0.5
            state[name] = torch.randn(shape, generator=generator) * spread
        elif ".bn" in name and name.endswith("weight"):
            state[name] = torch.rand(shape, generator=generator) * 0.5 + 0.5
        else:
            state[name] = torch.randn(shape, generator=generator) * 0.1
    for name in [name for name in state if name.endswith("pos_neg")]:
        positive, negative = (state[name.replace("pos_neg", f"{x}_grad")] for x in ("pos", "neg"))
        state[name] = positive / (negative + 1e-10)
    return state


class TwoStage(Network):
    """Applies a state dict; ResNets have one block of bottlenecks a stage."""

    def __init__(self, state):
        super().__init__(state, eps=1e-5)

    def levels(self, pixels):
        """P2 to P6 of normalised `pixels`."""
        x = self.norm("backbone.bn1", self.conv("backbone.conv1", pixels, 2)).relu()
        x, maps = functional.max_pool2d(x, 3, 2, 1), []
        for stage in range(4):
            at, stride = f"backbone.layer{stage + 1}.0", 2 if stage else 1
            y = self.norm(f"{at}.bn1", self.conv(f"{at}.conv1", x)).relu()
            y = self.norm(f"{at}.bn2", self.conv(f"{at}.conv2", y, stride)).relu()
            y = self.norm(f"{at}.bn3", self.conv(f"{at}.conv3", y))
            x = self.norm(f"{at}.downsample.1", self.conv(f"{at}.downsample.0", x, stride))
            x = (x + y).relu()
            maps.append(self.conv(f"neck.lateral_convs.{stage}.conv", x))
        for i in (2, 1, 0):
            maps[i] = maps[i] + functional.interpolate(maps[i + 1], maps[i].shape[-2:])
        maps = [self.conv(f"neck.fpn_convs.{i}.conv", x) for i, x in enumerate(maps)]
        return [*maps, functional.max_pool2d(maps[-1], 1, 2)]

    def proposals(self, levels):
        """Of every level: objectness (B, n) and deltas (B, n, 4), anchor after anchor."""
        outputs = []
        for level in levels:
            x = self.conv("rpn_head.rpn_conv", level).relu()
            logits, deltas = self.conv("rpn_head.rpn_cls", x), self.conv("rpn_head.rpn_reg", x)
            logits = logits.permute(0, 2, 3, 1).flatten(1)
            outputs.append((logits, deltas.permute(0, 2, 3, 1).reshape(*logits.shape, 4)))
        return outputs

    def semantics(self, levels):
        """Logits and features of the whole image at stride 8."""
        at, size = "roi_head.semantic_head", levels[1].shape[-2:]
        x = self.conv(f"{at}.lateral_convs.1.conv", levels[1]).relu()
        for i in (0, 2, 3, 4):
            level = functional.interpolate(levels[i], size, mode="bilinear", align_corners=True)
            x = x + self.conv(f"{at}.lateral_convs.{i}.conv", level).relu()
        for i in range(4):
            x = self.conv(f"{at}.convs.{i}.conv", x).relu()
        return self.conv(f"{at}.conv_logits", x), self.conv(f"{at}.conv_embedding.conv", x).relu()

    def boxes(self, levels, regions, stage=""):
        """Logits (N, K) and deltas (N, 4 or 4 C) of `regions` (N, 5): image and xyxy."""
        x = self.pool(levels, regions, 7).flatten(1)
        for layer in (0, 1):
            x = self.linear(f"roi_head.bbox_head{stage}.shared_fcs.{layer}", x).relu()
        return [
            self.linear(f"roi_head.bbox_head{stage}.{name}", x) for name in ("fc_cls", "fc_reg")
        ]

    def masks(self, levels, regions, stages=("",)):
        """Mask logits (N, C, 28, 28) of the last of `stages`, features flow from the others."""
        pooled, before = self.pool(levels, regions, 14), None
        for stage in stages:
            at, x = f"roi_head.mask_head{stage}", pooled
            if before is not None:
                x = x + self.conv(f"{at}.conv_res.conv", before).relu()
            for layer in range(4):
                x = self.conv(f"{at}.convs.{layer}.conv", x).relu()
            before = x
        weight, bias = (self.state[f"{at}.upsample.{part}"] for part in ("weight", "bias"))
        return self.conv(
            f"{at}.conv_logits", functional.conv_transpose2d(x, weight, bias, 2).relu()
        )

    def pool(self, levels, regions, size):
        """From P2 below a side of 112 pixels, P3 below 224, P4 below 448, else P5.

        A sixth map is that of the semantic head: its features are added.
        """
        pooled = []
        for region in regions:
            side = ((region[3] - region[1]) * (region[4] - region[2])).sqrt()
            level = int((side / 56 + 1e-6).log2().floor().clamp(0, 3))
            stride = 4 * 2**level
            pooled.append(roi_align(levels[level], region[None], size, 1 / stride, 0, True))
        if len(levels) == 5:
            return torch.cat(pooled)
        context = roi_align(levels[5], regions, 14, 1 / 8, 0, True)
        return torch.cat(pooled) + functional.adaptive_avg_pool2d(context, size)

    def linear(self, name, x):
        return functional.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])
