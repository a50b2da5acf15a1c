"""United-Perception's EFL detectors in plain functions of a state dict under its own names.

Written from the descriptions of its modules: names and shapes of tensors, and what they compute.
"""

import torch
from torch.nn import functional

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in BATCH_NORM} | {
        f"{name}.num_batches_tracked": ()
    }


def conv(name, below, above, kernel, *, bias=True):
    shapes = {f"{name}.weight": (above, below, kernel, kernel)}
    return shapes | ({f"{name}.bias": (above,)} if bias else {})


def statistics(classes):
    return {f"post_process.cls_loss.{x}": (classes,) for x in ("pos_grad", "neg_grad", "pos_neg")}


def shapes_of_resnet(blocks, classes, priors=2):
    """The improved baseline: a ResNet of `blocks` bottlenecks a stage, pyramid, head, loss."""
    shapes = resnet(blocks)
    for level in (3, 4, 5):
        shapes |= conv(f"neck.c{level}_lateral", 2 ** (level + 6), 256, 1)
        shapes |= conv(f"neck.p{level}_conv", 256, 256, 3)
    for level in (6, 7):
        shapes |= conv(f"neck.p{level}_conv", 256, 256, 3)
    for tower in ("cls", "box"):
        for index in range(0, 12, 3):
            shapes |= conv(f"roi_head.{tower}_subnet.{index}", 256, 256, 3, bias=False)
            at = f"roi_head.{tower}_subnet.{index + 1}"
            shapes |= {f"{at}.weight": (256,), f"{at}.bias": (256,)}
    for name, values in (("cls_subnet_pred", classes), ("box_subnet_pred", 4), ("iou_pred", 1)):
        shapes |= conv(f"roi_head.{name}", 256, priors * values, 3)
    return shapes | statistics(classes)


def resnet(blocks):
    shapes = conv("backbone.layer0.0", 3, 64, 7, bias=False) | norm("backbone.layer0.1", 64)
    below = 64
    for stage, count in enumerate(blocks, start=1):
        width = 32 * 2**stage
        for block in range(count):
            at = f"backbone.layer{stage}.{block}"
            sides = ((below, width, 1), (width, width, 3), (width, 4 * width, 1))
            for index, (old, new, kernel) in enumerate(sides, start=1):
                shapes |= conv(f"{at}.conv{index}", old, new, kernel, bias=False)
                shapes |= norm(f"{at}.bn{index}", new)
            if block == 0:
                shapes |= conv(f"{at}.downsample.0", below, 4 * width, 1, bias=False)
                shapes |= norm(f"{at}.downsample.1", 4 * width)
            below = 4 * width
    return shapes


def block(name, below, above, kernel):
    return conv(f"{name}.conv", below, above, kernel, bias=False) | norm(f"{name}.bn1", above)


def csp(name, below, above, depth):
    half = above // 2
    shapes = block(f"{name}.conv1", below, half, 1) | block(f"{name}.conv2", below, half, 1)
    for index in range(depth):
        shapes |= block(f"{name}.m.{index}.conv1", half, half, 1)
        shapes |= block(f"{name}.m.{index}.conv2", half, half, 3)
    return shapes | block(f"{name}.conv3", 2 * half, above, 1)


def shapes_of_yolox(width, depth, classes, head=None, priors=2):
    """YOLOX-IP: 32 channels and 1 for -S, 48 and 2 for -M; the head has four times the width."""
    c = [width * 2**i for i in range(5)]
    head = head or 4 * width
    shapes = block("backbone.stem.conv_block", 12, c[0], 3)
    for i, times in enumerate((1, 3, 3, 1)):
        at = f"backbone.dark{i + 2}"
        shapes |= block(f"{at}.0", c[i], c[i + 1], 3)
        shapes |= csp(f"{at}.{2 if i == 3 else 1}", c[i + 1], c[i + 1], times * depth)
    shapes |= block("backbone.dark5.1.conv_block1", c[4], c[4] // 2, 1)
    shapes |= block("backbone.dark5.1.conv_block2", c[4] * 2, c[4], 1)
    shapes |= block("neck.lateral_conv0", c[4], c[3], 1) | csp("neck.C3_p4", c[4], c[3], depth)
    shapes |= block("neck.reduce_conv1", c[3], c[2], 1) | csp("neck.C3_p3", c[3], c[2], depth)
    shapes |= block("neck.bu_conv2", c[2], c[2], 3) | csp("neck.C3_n3", c[3], c[3], depth)
    shapes |= block("neck.bu_conv1", c[3], c[3], 3) | csp("neck.C3_n4", c[4], c[4], depth)
    for level, below in enumerate(c[2:]):
        shapes |= block(f"roi_head.stems.{level}", below, head, 1)
        for tower in ("cls", "reg"):
            for index in range(2):
                shapes |= block(f"roi_head.{tower}_convs.{level}.{index}", head, head, 3)
        for name, values in (("cls", classes), ("reg", 4), ("obj", 1)):
            shapes |= conv(f"roi_head.{name}_preds.{level}", head, priors * values, 1)
    return shapes | statistics(classes)


def draw(shapes, seed=0):
    """Values that keep features in range, all of them different."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var") or "cls_loss" in name:
            state[name] = torch.rand(shape, generator=generator) + 0.5
        elif len(shape) == 4:
            spread = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
            state[name] = torch.randn(shape, generator=generator) * spread
        elif name.endswith("weight"):
            state[name] = torch.rand(shape, generator=generator) * 0.5 + 0.5
        else:
            state[name] = torch.randn(shape, generator=generator) * 0.1
    positive, negative = (state[f"post_process.cls_loss.{x}"] for x in ("pos_grad", "neg_grad"))
    state["post_process.cls_loss.pos_neg"] = (positive / (negative + 1e-10)).clamp(0, 1)
    return state


class Network:
    """Applies a state dict."""

    def __init__(self, state, eps):
        self.state, self.eps = state, eps

    def conv(self, name, x, stride=1):
        weight = self.state[f"{name}.weight"]
        bias = self.state.get(f"{name}.bias")
        return functional.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    def norm(self, name, x):
        weight, bias, mean, variance = (self.state[f"{name}.{part}"] for part in BATCH_NORM)
        return functional.batch_norm(x, mean, variance, weight, bias, eps=self.eps)

    def block(self, name, x, stride=1):
        return functional.silu(self.norm(f"{name}.bn1", self.conv(f"{name}.conv", x, stride)))

    def csp(self, name, x, depth, *, adds=True):
        through = self.block(f"{name}.conv1", x)
        for i in range(depth):
            inner = self.block(f"{name}.m.{i}.conv1", through)
            inner = self.block(f"{name}.m.{i}.conv2", inner)
            through = through + inner if adds else inner
        past = self.block(f"{name}.conv2", x)
        return self.block(f"{name}.conv3", torch.cat([through, past], 1))


def resnet_maps(net, pixels, blocks):
    x = net.norm("backbone.layer0.1", net.conv("backbone.layer0.0", pixels, 2)).relu()
    x, features = functional.max_pool2d(x, 3, 2, 1), []
    for stage, count in enumerate(blocks, start=1):
        for index in range(count):
            at, stride = f"backbone.layer{stage}.{index}", 2 if index == 0 and stage > 1 else 1
            y = net.norm(f"{at}.bn1", net.conv(f"{at}.conv1", x)).relu()
            y = net.norm(f"{at}.bn2", net.conv(f"{at}.conv2", y, stride)).relu()
            y = net.norm(f"{at}.bn3", net.conv(f"{at}.conv3", y))
            if index == 0:
                x = net.norm(f"{at}.downsample.1", net.conv(f"{at}.downsample.0", x, stride))
            x = (x + y).relu()
        features.append(x)
    return features


def resnet_outputs(state, pixels, blocks):
    """Per level: maps of logits, codes and IoU logits. `pixels`: RGB, normalised."""
    net = Network(state, eps=1e-5)
    features = resnet_maps(net, pixels, blocks)
    laterals = [net.conv(f"neck.c{i + 3}_lateral", x) for i, x in enumerate(features[1:])]
    for i in (1, 0):
        laterals[i] = laterals[i] + functional.interpolate(laterals[i + 1], laterals[i].shape[-2:])
    levels = [net.conv(f"neck.p{i + 3}_conv", x) for i, x in enumerate(laterals)]
    below = laterals[-1]
    for level in (6, 7):
        below = net.conv(f"neck.p{level}_conv", below, 2)
        levels.append(below)
    outputs = []
    for level in levels:
        towers = []
        for tower in ("cls", "box"):
            x = level
            for i in range(0, 12, 3):
                at = f"roi_head.{tower}_subnet"
                scale, shift = state[f"{at}.{i + 1}.weight"], state[f"{at}.{i + 1}.bias"]
                x = functional.group_norm(net.conv(f"{at}.{i}", x), 32, scale, shift).relu()
            towers.append(x)
        names = (("cls_subnet_pred", 0), ("box_subnet_pred", 1), ("iou_pred", 1))
        outputs.append([net.conv(f"roi_head.{name}", towers[i]) for name, i in names])
    return outputs


def yolox_outputs(state, pixels, depth):
    """Per level: maps of logits, codes and IoU logits. `pixels`: BGR, 0 to 255."""
    net = Network(state, eps=1e-3)
    batch, _, height, width = pixels.shape
    x = pixels.view(batch, 3, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
    x = net.block("backbone.stem.conv_block", x.reshape(batch, 12, height // 2, width // 2))
    c = []
    for i, times in enumerate((1, 3, 3, 1)):
        at = f"backbone.dark{i + 2}"
        x = net.block(f"{at}.0", x, 2)
        if i == 3:
            x = net.block(f"{at}.1.conv_block1", x)
            x = torch.cat([x, *(functional.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], 1)
            x = net.block(f"{at}.1.conv_block2", x)
        x = net.csp(f"{at}.{2 if i == 3 else 1}", x, times * depth, adds=i < 3)
        c.append(x)
    _, c3, c4, c5 = c
    top = net.block("neck.lateral_conv0", c5)
    middle = torch.cat([functional.interpolate(top, c4.shape[-2:]), c4], 1)
    narrow = net.block("neck.reduce_conv1", net.csp("neck.C3_p4", middle, depth))
    fine = torch.cat([functional.interpolate(narrow, c3.shape[-2:]), c3], 1)
    p3 = net.csp("neck.C3_p3", fine, depth)
    p4 = torch.cat([net.block("neck.bu_conv2", p3, 2), narrow], 1)
    p4 = net.csp("neck.C3_n3", p4, depth)
    p5 = torch.cat([net.block("neck.bu_conv1", p4, 2), top], 1)
    p5 = net.csp("neck.C3_n4", p5, depth)
    outputs = []
    for i, level in enumerate((p3, p4, p5)):
        stem, towers = net.block(f"roi_head.stems.{i}", level), []
        for tower in ("cls", "reg"):
            x = net.block(f"roi_head.{tower}_convs.{i}.0", stem)
            towers.append(net.block(f"roi_head.{tower}_convs.{i}.1", x))
        names = (("cls_preds", 0), ("reg_preds", 1), ("obj_preds", 1))
        outputs.append([net.conv(f"roi_head.{name}.{i}", towers[j]) for name, j in names])
    return outputs


def logits_of(output, priors, layout):
    """(B, A C, H, W) -> (B, H W A, C), as their post-processing reads it in either layout."""
    batch, _, height, width = output.shape
    if layout == "class_first":
        output = output.view(batch, -1, priors, height, width).permute(0, 3, 4, 2, 1)
    else:
        output = output.permute(0, 2, 3, 1)
    return output.reshape(batch, height * width * priors, -1)
