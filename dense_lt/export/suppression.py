"""Class-wise non-maximum suppression of a batch: in torch, and as the operator that ONNX has."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision.ops import nms


class Suppression(Protocol):
    """Keeps what no better box of its class and image overlaps."""

    def __call__(
        self, boxes: Tensor, scores: Tensor, iou: float, threshold: float, most: int
    ) -> Tensor:
        """Suppress.

        Args:
            boxes: (B, n, 4) xyxy.
            scores: (B, C, n).
            iou: an overlap above it suppresses.
            threshold: only scores above it count.
            most: what may stop a class: how many are wanted in all.

        Returns:
            (k, 3) int64: image, class and box of those that are kept, in any order.
        """
        ...


def suppress(boxes: Tensor, scores: Tensor, iou: float, threshold: float, most: int) -> Tensor:
    """See `Suppression`; every class of every image is moved apart, in float64."""
    images, labels, rows = (scores > threshold).nonzero().unbind(1)
    groups = images * scores.shape[1] + labels
    extent = boxes.max() - boxes.min().clamp(max=0) + 1
    apart = boxes[images, rows].double() + (groups * extent.double())[:, None]
    kept = nms(apart, scores[images, labels, rows].double(), iou)
    return torch.stack([images[kept], labels[kept], rows[kept]], dim=1)


@torch.library.custom_op("dense_lt::non_maximum_suppression", mutates_args=())
def suppress_in_onnx(
    boxes: Tensor, scores: Tensor, iou: float, threshold: float, most: int
) -> Tensor:
    """See `Suppression`; stays one operator when it is traced, which becomes ONNX's."""
    return suppress(boxes, scores, iou, threshold, most)


@suppress_in_onnx.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, threshold: float, most: int) -> Tensor:
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(count, 3, dtype=torch.int64)


def onnx_translations() -> dict[Any, Any]:
    """Operator -> how ONNX says it, of those that torch's exporter does not know."""
    import onnxscript

    opset: Any = onnxscript.opset18

    def non_maximum_suppression(
        boxes: Any, scores: Any, iou: float, threshold: float, most: int
    ) -> Any:
        return opset.NonMaxSuppression(boxes, scores, most, iou, threshold)

    def sort(
        values: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False
    ) -> Any:
        count = opset.Gather(opset.Shape(values), opset.Constant(value_ints=[dim]))
        return opset.TopK(values, count, axis=dim, largest=int(descending))  # first of equals first

    return {
        torch.ops.aten.sort.stable: sort,
        torch.ops.dense_lt.non_maximum_suppression.default: non_maximum_suppression,
        torch.sym_min: lambda first, second: opset.Min(first, second),
    }
