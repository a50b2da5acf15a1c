"""United-Perception's EFL and EQFL detectors: names and orders of their weights, and ours.

Three things differ besides names. The classifier's channels may be class-first there (`Layout`).
The first convolution of YOLOX-IP reads blue, green, red, and the four pixels of a cell in rows;
ours reads red, green, blue, and columns. All norms have counters there, ours not when frozen.

Source: names, orders and buffers read off the public repository ModelTC/United-Perception, commit
52aaeb9. The published files themselves were not at hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.models.importers.fitting import check_fit, first_state_dict
from dense_lt.utils.errors import DataError

State = Mapping[str, Tensor]

Layout = Literal["anchor_first", "class_first"]
"""Channel of prior a (of A) and class c (of C) in the classifier: a C + c, which is ours and was
theirs before May 2022, when the published weights appeared; or c A + a, their default since."""

CLEARLY = 0.1
"""Two layouts whose rows are alike by cosines closer than this are not told apart."""

_STATISTICS = "loss.classification.statistics."
_RATIO = "post_process.cls_loss.pos_neg"
_COUNTER = "num_batches_tracked"
_STEM = "pyramid.backbone.stem.block.0.weight"

_Rules = tuple[tuple[str, str], ...]

RETINA: _Rules = (
    (r"^pyramid\.backbone\.body\.conv1\.", "backbone.layer0.0."),
    (r"^pyramid\.backbone\.body\.bn1\.", "backbone.layer0.1."),
    (r"^pyramid\.backbone\.body\.(layer\d\.)", r"backbone.\1"),
    *((rf"^pyramid\.fpn\.inner_blocks\.{i}\.0\.", f"neck.c{i + 3}_lateral.") for i in range(3)),
    *((rf"^pyramid\.fpn\.layer_blocks\.{i}\.0\.", f"neck.p{i + 3}_conv.") for i in range(3)),
    *((rf"^pyramid\.above\.{i}\.", f"neck.p{i + 6}_conv.") for i in range(2)),
    (r"^head\.class_tower\.", "roi_head.cls_subnet."),
    (r"^head\.box_tower\.", "roi_head.box_subnet."),
    (r"^head\.classifier\.", "roi_head.cls_subnet_pred."),
    (r"^head\.box_regressor\.", "roi_head.box_subnet_pred."),
    (r"^head\.quality_predictor\.", "roi_head.iou_pred."),
)
"""From our names to theirs, on a ResNet; one after the other."""

_BLOCK = r"(weight|bias|running_mean|running_var|num_batches_tracked)$"
YOLOX: _Rules = (
    (r"^pyramid\.backbone\.stem\.block\.", "backbone.stem.conv_block."),
    *((rf"^pyramid\.backbone\.stages\.{i}\.", f"backbone.dark{i + 2}.") for i in range(4)),
    (r"^backbone\.dark5\.1\.enter\.", "backbone.dark5.1.conv_block1."),
    (r"^backbone\.dark5\.1\.join\.", "backbone.dark5.1.conv_block2."),
    (r"^pyramid\.reduce\.0\.", "neck.reduce_conv1."),
    (r"^pyramid\.reduce\.1\.", "neck.lateral_conv0."),
    (r"^pyramid\.down\.0\.", "neck.C3_p3."),
    (r"^pyramid\.down\.1\.", "neck.C3_p4."),
    (r"^pyramid\.stride\.0\.", "neck.bu_conv2."),
    (r"^pyramid\.stride\.1\.", "neck.bu_conv1."),
    (r"^pyramid\.up\.0\.", "neck.C3_n3."),
    (r"^pyramid\.up\.1\.", "neck.C3_n4."),
    (r"\.through\.0\.(\d)\.", r".conv1.\1."),
    *(
        (rf"\.through\.{i + 1}\.blocks\.{j}\.", f".m.{i}.conv{j + 1}.")
        for i in range(12)
        for j in range(2)
    ),
    (r"\.past\.", ".conv2."),
    (r"\.join\.", ".conv3."),
    (r"^head\.levels\.(\d)\.stem\.", r"roi_head.stems.\1."),
    *(
        (
            rf"^head\.levels\.(\d)\.{ours}_tower\.{3 * i + j}\.",
            rf"roi_head.{theirs}_convs.\1.{i}.{j}.",
        )
        for ours, theirs in (("class", "cls"), ("box", "reg"))
        for i in range(2)
        for j in range(2)
    ),
    (r"^head\.levels\.(\d)\.classifier\.", r"roi_head.cls_preds.\1."),
    (r"^head\.levels\.(\d)\.box_regressor\.", r"roi_head.reg_preds.\1."),
    (r"^head\.levels\.(\d)\.quality_predictor\.", r"roi_head.obj_preds.\1."),
    # a block is a list of convolution, norm, activation here, and a module with names there
    (r"^(?!roi_head\.\w+_preds)(.*)\.0\.(weight)$", r"\1.conv.\2"),
    (rf"^(?!roi_head\.\w+_preds)(.*)\.1\.{_BLOCK}", r"\1.bn1.\2"),
)
"""From our names to theirs, on YOLOX's backbone; one after the other."""

EARLIER_NAMES = (
    (r"^module\.", ""),
    (r"^backbone\.conv1\.", "backbone.layer0.0."),
    (r"^backbone\.bn1\.", "backbone.layer0.1."),
)
"""That their loader accepts too, and what it makes of them."""


def their_name(name: str) -> str | None:
    """Our name of a tensor -> theirs; None for what only we have."""
    if name.startswith(_STATISTICS):
        sums = {"positive": "pos_grad", "negative": "neg_grad"}
        own = sums.get(name.removeprefix(_STATISTICS))
        return own and f"post_process.cls_loss.{own}"
    is_yolox = re.match(r"pyramid\.(backbone\.st|reduce|down|stride|up)|head\.levels", name)
    own = name
    for pattern, replacement in YOLOX if is_yolox else RETINA:
        own = re.sub(pattern, replacement, own)
    return None if own.startswith(("pyramid.", "head.", "loss.")) else own


def weights_of(stored: Mapping[str, object]) -> dict[str, Tensor]:
    """The weights in a file of theirs: the average of a run that kept one, as they evaluate it.

    Args:
        stored: the file: a state dict, or a checkpoint that holds one under `model` or
            `state_dict`, and perhaps one under `ema`.

    Raises:
        DataError: there is none.
    """
    average = stored.get("ema")
    candidates = [average.get("ema_state_dict")] if isinstance(average, Mapping) else []
    candidates += [stored.get("model"), stored.get("state_dict"), stored]
    return first_state_dict(stored, candidates, source="United-Perception")


def from_united_perception(
    stored: State, wanted: State, *, num_priors: int, layout: Layout | None = None
) -> dict[str, Tensor]:
    """Weights and gradient statistics under our names.

    Args:
        stored: see `weights_of`.
        wanted: `state_dict()` of the detector they are for.
        num_priors: A, priors a location.
        layout: of the classifier; None finds it out.

    Raises:
        DataError: a tensor is missing, unknown or of another shape, or the layout is not clear.
    """
    current = {_current(name): tensor for name, tensor in stored.items()}
    names = {their_name(name): name for name in wanted}
    ignored = {name for name in current if name == _RATIO or _counts_nothing(name, names)}
    found = {
        names.get(name, f"{name} (their name)"): tensor
        for name, tensor in current.items()
        if name not in ignored
    }
    check_fit(
        found,
        {name: tensor for name, tensor in wanted.items() if their_name(name) is not None},
        source="United-Perception",
        mend="Give the configuration of the same backbone, head, loss and number of classes",
    )
    classifiers = {name: found[name] for name in found if _is_classifier(name)}
    chosen = layout or find_layout(classifiers, num_priors)
    if chosen == "class_first":
        for name, tensor in classifiers.items():
            found[name] = tensor.unflatten(0, (-1, num_priors)).transpose(0, 1).flatten(0, 1)
    if _STEM in found:
        found[_STEM] = found[_STEM][:, _stem_order()]
    return {name: tensor.to(wanted[name].dtype).contiguous() for name, tensor in found.items()}


def to_united_perception(
    stored: State, *, num_priors: int, layout: Layout = "anchor_first"
) -> dict[str, Tensor]:
    """The inverse: our weights and gradient statistics under their names.

    Raises:
        DataError: a part of the detector has no counterpart there.
    """
    found = {}
    for name, tensor in stored.items():
        own = their_name(name)
        if own is None:
            if name.startswith("loss."):
                continue
            raise DataError(
                f"United-Perception weights: {name} has no counterpart there; its detectors are "
                "the improved baseline on a ResNet and YOLOX-IP"
            )
        if name == _STEM:
            tensor = tensor[:, _stem_order()]
        if _is_classifier(name) and layout == "class_first":
            tensor = tensor.unflatten(0, (num_priors, -1)).transpose(0, 1).flatten(0, 1)
        found[own] = tensor.float() if name.startswith(_STATISTICS) else tensor.contiguous()
        if own.endswith("running_var"):
            counter = own.removesuffix("running_var") + _COUNTER
            found.setdefault(counter, torch.zeros((), dtype=torch.int64))
    positive = found.get("post_process.cls_loss.pos_grad")
    if positive is not None:
        negative = found["post_process.cls_loss.neg_grad"]
        seen = (positive + negative).any()
        ratio = (positive / (negative + 1e-10)).clamp(0, 1)
        found[_RATIO] = ratio if seen else torch.ones_like(positive)
    return found


def load_united_perception(
    detector: nn.Module, stored: State, *, num_priors: int, layout: Layout | None = None
) -> None:
    """Load their weights and gradient statistics into a detector.

    Args:
        detector: built from one of the EFL or EQFL recipes, for as many classes.
        stored: see `weights_of`.
        num_priors: see `from_united_perception`.
        layout: see `from_united_perception`.

    Raises:
        DataError: see `from_united_perception`; nothing has been loaded.
    """
    wanted = detector.state_dict()
    found = from_united_perception(stored, wanted, num_priors=num_priors, layout=layout)
    detector.load_state_dict({**wanted, **found})


def find_layout(classifiers: State, num_priors: int) -> Layout:
    """The layout in which the priors of a class have learnt alike.

    Rows of one class, for priors of nearly the same size, are close after training; rows of
    neighbouring classes are not. Rows are compared without what all of them have in common.

    Args:
        classifiers: weights (A C, F, ...) and biases (A C,) by name; only the former are read.
        num_priors: A.

    Raises:
        DataError: neither layout is clearly the one, as before training.
    """
    if num_priors == 1:
        return "anchor_first"
    likeness = {"anchor_first": 0.0, "class_first": 0.0}
    weights = [tensor.flatten(1).double() for tensor in classifiers.values() if tensor.ndim > 1]
    for weight in weights:
        rows = functional.normalize(weight - weight.mean(dim=0), dim=1)
        by_prior = rows.unflatten(0, (num_priors, -1))
        by_class = rows.unflatten(0, (-1, num_priors)).transpose(0, 1)
        for name, grouped in (("anchor_first", by_prior), ("class_first", by_class)):
            cosines = (grouped[0] * grouped[1]).sum(dim=1)
            likeness[name] += cosines.mean().item() / len(weights)
    if abs(likeness["anchor_first"] - likeness["class_first"]) < CLEARLY:
        raise DataError(
            "United-Perception weights: the classifier could be class-first or anchor-first; the "
            f"mean cosine of a class's priors would be {likeness['class_first']:.3f} or "
            f"{likeness['anchor_first']:.3f}. Say which it is with --layout (`class_first` for "
            "runs of their code since May 2022, unless class_first was set to false)"
        )
    return max(likeness, key=lambda name: likeness[name])  # type: ignore[return-value]


def _current(name: str) -> str:
    for pattern, replacement in EARLIER_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _counts_nothing(name: str, names: Mapping[str | None, str]) -> bool:
    """Batches seen by a norm that is frozen here: `names` has the norm, but no counter."""
    norm = name.removesuffix(_COUNTER)
    return norm != name and name not in names and f"{norm}running_var" in names


def _is_classifier(name: str) -> bool:
    return re.fullmatch(r"head\.(levels\.\d\.)?classifier\.(weight|bias)", name) is not None


def _stem_order() -> Tensor:
    """Their input channel of each of our twelve; its own inverse."""
    pixels = [(row, column) for column in (0, 1) for row in (0, 1)]
    return torch.tensor([6 * row + 3 * column + 2 - c for row, column in pixels for c in range(3)])
