"""Time and peak memory of our detectors against torchvision's, 1203 classes, R50, one image.

    python benchmarks/detectors.py --rounds 1
    python benchmarks/detectors.py --heads mask_rcnn --size 480 800

RetinaNet (nine anchors a location, towers without norm, L1 on codes) and FCOS (a point, GroupNorm,
GIoU, centerness), each with the same backbone, pyramid, frozen layers and inference settings as
torchvision's: score above 0.05, 1,000 candidates a level, NMS 0.5, 300 detections. The classifiers
are scaled so that logits have the mean -6.9 and the spread 1.5, as trained ones may: 0.4 % of the
scores pass the threshold. ATSS and PAA (one anchor a location) run against torchvision's FCOS, the
improved baseline (two, and a quality branch) against its RetinaNet, and against FCOS the head of
YOLOX-IP (one for every level, two convolutions of 256 channels a tower, two anchors).

Mask R-CNN is torchvision's with softmax, and ours with the same weights, which finds the same:
pyramid P2-P6, 2,000 proposals in training and 1,000 in inference, 512 regions, 100 detections;
logits have the spread 2.5, so that there are so many. Masks stay 28 x 28, none is pasted.

Every pass is made in a process of its own. Time is process CPU time of one thread after a pass over
a small image, memory the most that was resident beyond the model; rounds take turns, and the least
of each counts. `--profile CASE WORK` prints where the time goes.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mask_rcnn_cases as mask_rcnn
import torch
from dense_cases import OURS, RIVALS
from loss_memory import resident
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.retinanet import _default_anchorgen
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from train_step import draw

from dense_lt.config.model import OneStageConfig
from dense_lt.models.build import build_detector
from dense_lt.structures import ImageBatch

CLASSES = 1203
SMALL = (128, 160)
LOGIT_MEAN, LOGIT_SPREAD, SOFTMAX_SPREAD = -6.9, 1.5, 2.5
LIMITS = {"score_threshold": 0.05, "pre_nms_top_k": 1000, "nms_iou": 0.5, "max_detections": 300}
THEIR_LIMITS = {
    "score_thresh": 0.05,
    "topk_candidates": 1000,
    "nms_thresh": 0.5,
    "detections_per_img": 300,
}
HEADS = [*OURS, "mask_rcnn"]

Step = Callable[[], object]


def ours(head: str, losses: str = "focal") -> nn.Module:
    """Our detector, in channels-last memory as training has it."""
    if head == "mask_rcnn":
        return mask_rcnn.ours(CLASSES)
    config = OneStageConfig.model_validate(
        {
            "backbone": {"name": "resnet50.tv_in1k", "norm": "frozen", "frozen_stages": 2},
            "loss": {"kind": losses},
            "inference": LIMITS,
            **OURS[head],
        }
    )
    detector = build_detector(config, CLASSES)
    return detector.to(memory_format=torch.channels_last)


def theirs(head: str) -> nn.Module:
    """The one of torchvision on the same backbone and pyramid."""
    if head == "mask_rcnn":
        return mask_rcnn.theirs(CLASSES)
    head = RIVALS.get(head, head)
    body = resnet50(norm_layer=FrozenBatchNorm2d)
    backbone = _resnet_fpn_extractor(
        body, 3, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256)
    )
    if head == "fcos":
        return FCOS(backbone, CLASSES, **THEIR_LIMITS)
    return RetinaNet(backbone, CLASSES, anchor_generator=_default_anchorgen(), **THEIR_LIMITS)


def classifiers_of(detector: nn.Module) -> Sequence[nn.Conv2d | nn.Linear]:
    """The layers that make the logits: one, or one for every level."""
    own = getattr(getattr(detector, "head", None), "classifiers", None)
    if own is not None:
        return own
    if hasattr(detector, "inference"):
        path = "head.classifier"
    elif hasattr(detector, "roi_heads"):
        path = "roi_heads.box_predictor.cls_score"
    else:
        path = "head.classification_head.cls_logits"
    return (detector.get_submodule(path),)  # type: ignore[return-value]


def make(case: str) -> nn.Module:
    """The detector of a case, with logits as of a trained one."""
    torch.manual_seed(0)
    whose, head = case.split()
    detector = ours(head) if whose == "ours" else theirs(head)
    classifiers, seen = classifiers_of(detector), []
    hooks = [
        classifier.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
        for classifier in classifiers
    ]
    with torch.no_grad():
        inference(detector.eval(), SMALL)()
        for hook in hooks:
            hook.remove()
        spread = torch.cat(
            [(level - level.mean(dim=1, keepdim=True)).flatten() for level in seen]
        ).std()
        wanted = SOFTMAX_SPREAD if head == "mask_rcnn" else LOGIT_SPREAD
        for classifier in classifiers:
            classifier.weight.mul_(wanted / spread)
            assert classifier.bias is not None
            classifier.bias.fill_(LOGIT_MEAN)
    return detector


def inputs(detector: nn.Module, size: tuple[int, int]) -> tuple[object, Sequence[object]]:
    """One image with ten objects, as the detector takes it."""
    images, targets = draw(size, CLASSES)
    if getattr(detector, "mask", None) is not None:
        targets = [mask_rcnn.with_masks(target) for target in targets]
    if hasattr(detector, "inference"):
        padded = torch.zeros(
            1, 3, -(-size[0] // 32) * 32, -(-size[1] // 32) * 32, dtype=torch.uint8
        )
        padded[:, :, : size[0], : size[1]] = images.pixels
        return ImageBatch(padded, images.sizes), targets
    pixels = [image.float() / 255 for image in images.pixels]
    if hasattr(detector, "roi_heads"):
        return pixels, [mask_rcnn.as_torchvision(target, size) for target in targets]
    return pixels, targets


def inference(detector: nn.Module, size: tuple[int, int]) -> Step:
    """From pixels to detections."""
    images, _ = inputs(detector, size)
    detector.eval()
    _fix_size(detector, size)

    def run() -> object:
        with torch.inference_mode():
            return detector(images)

    return run


def training(detector: nn.Module, size: tuple[int, int]) -> Step:
    """Forward and backward."""
    images, targets = inputs(detector, size)
    detector.train()
    _fix_size(detector, size)

    def run() -> object:
        detector.zero_grad(set_to_none=True)
        losses: Mapping[str, Tensor] = detector(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        return None

    return run


def _fix_size(detector: nn.Module, size: tuple[int, int]) -> None:
    """Keep torchvision from resizing what has its size already."""
    if hasattr(detector, "transform"):
        detector.transform.min_size, detector.transform.max_size = (min(size),), max(size)


WORKS = {"inference": inference, "training": training}


def measure(case: str, work: str, size: tuple[int, int]) -> dict[str, float]:
    """CPU seconds and bytes of one pass, after one over a small image."""
    torch.set_num_threads(1)
    detector = make(case)
    WORKS[work](detector, SMALL)()
    step = WORKS[work](detector, size)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the model's making has left would not count as needed
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark, anew
    before, start = resident("VmRSS"), time.process_time()
    step()
    return {"seconds": time.process_time() - start, "bytes": resident("VmHWM") - before}


def profile(case: str, work: str, size: tuple[int, int]) -> None:
    """Print the operators that take most of the time."""
    torch.set_num_threads(1)
    detector = make(case)
    step = WORKS[work](detector, size)
    step()
    with torch.profiler.profile() as profiler:
        step()
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25))


def in_a_process(case: str, work: str, size: tuple[int, int], most: int) -> dict[str, float]:
    """What `measure` finds; infinite if it needs more than `most` bytes of data."""
    command = [sys.executable, __file__, "--case", case, work, *map(str, size)]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)),
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "can't allocate memory" in done.stderr or done.returncode == -9:
        return {"seconds": float("inf"), "bytes": float("inf")}
    raise RuntimeError(done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs=2, type=int, default=(800, 1333))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--heads", nargs="+", default=HEADS, choices=HEADS)
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--most-memory", type=float, default=12, help="GiB a process may have")
    parser.add_argument("--case", nargs=4)
    parser.add_argument("--profile", nargs=2, metavar=("CASE", "WORK"))
    arguments = parser.parse_args()
    size = tuple(arguments.size)
    if arguments.case:
        case, work, height, width = arguments.case
        print(json.dumps(measure(case, work, (int(height), int(width)))))
        return
    if arguments.profile:
        profile(*arguments.profile, size)
        return
    print(
        "| head | work | ours, s | torchvision, s | ratio | ours, MiB | torchvision, MiB | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    most = int(arguments.most_memory * 2**30)
    for head in arguments.heads:
        for work in arguments.works:
            found: dict[str, list[dict[str, float]]] = {"ours": [], "torchvision": []}
            for _ in range(arguments.rounds):
                for whose, results in found.items():
                    results.append(in_a_process(f"{whose} {head}", work, size, most))
            cells = [head, work]
            for figure, unit, digits in (("seconds", 1, 2), ("bytes", 2**20, 0)):
                own, other = (min(r[figure] for r in results) for results in found.values())
                cells += [f"{x / unit:,.{digits}f}" for x in (own, other)]
                cells.append(f"{own / other:.2f}")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
