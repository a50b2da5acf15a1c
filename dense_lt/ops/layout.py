"""The only place that knows how a convolution's channels and cells become priors and logits.

A dense convolution gives (B, A*K, H, W) with channels ordered (prior, logit). Priors of a level
are ordered (y, x, prior at this location). In channels-last memory the result is a view: nothing
is copied.
"""

from __future__ import annotations

from torch import Tensor


def rows_of_map(output: Tensor, num_values: int) -> Tensor:
    """(B, A*K, H, W) -> (B, H*W*A, K) for K = `num_values`; a view if `output` is channels-last."""
    batch = output.shape[0]
    return output.permute(0, 2, 3, 1).reshape(batch, -1, num_values)  # (B, H, W, A*K) -> rows
