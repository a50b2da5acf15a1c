import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.ops.box_coding import DeltaBoxCoder, DistanceBoxCoder

CODERS = [DeltaBoxCoder(), DeltaBoxCoder((0.1, 0.1, 0.2, 0.2)), DistanceBoxCoder()]
coordinate = st.floats(1, 500)


@pytest.mark.parametrize("coder", CODERS, ids=lambda c: type(c).__name__)
@given(x=coordinate, y=coordinate, left=st.floats(1, 100), up=st.floats(1, 100), size=coordinate)
def test_decoding_undoes_encoding(coder, x, y, left, up, size):
    """The prior is a square of `size` around (x, y), which lies inside the box."""
    size = max(size, 10.0)
    priors = torch.tensor([[x - size / 2, y - size / 2, x + size / 2, y + size / 2]]).double()
    boxes = torch.tensor([[x - left, y - up, x + 2 * left, y + 3 * up]]).double()
    decoded = coder.decode(coder.encode(boxes, priors), priors)
    torch.testing.assert_close(decoded, boxes, rtol=1e-9, atol=1e-9)


def test_deltas_by_hand():
    """Prior 10x20 around (5, 10); box 20x20 around (10, 10): dx = 5/10, dw = ln 2."""
    priors = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    expected = torch.tensor([[0.5, 0.0, 0.6931472, 0.0]])
    torch.testing.assert_close(DeltaBoxCoder().encode(boxes, priors), expected)


def test_deviations_divide_the_deltas_by_hand():
    """The example above: 0.5 / 0.1 and ln 2 / 0.2."""
    priors = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    coder = DeltaBoxCoder((0.1, 0.1, 0.2, 0.2))
    expected = torch.tensor([[5.0, 0.0, 3.4657359, 0.0]])
    torch.testing.assert_close(coder.encode(boxes, priors), expected)


def test_distances_by_hand():
    """Prior 8x8 around (4, 4): half size 4. Sides 4, 2, 8, 16 px away: ln 1, ln .5, ln 2, ln 4."""
    priors = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    boxes = torch.tensor([[0.0, 2.0, 12.0, 20.0]])
    expected = torch.tensor([[1.0, 0.5, 2.0, 4.0]]).log()
    torch.testing.assert_close(DistanceBoxCoder().encode(boxes, priors), expected)


@pytest.mark.parametrize("coder", CODERS, ids=lambda c: type(c).__name__)
def test_half_precision_codes_give_float32_boxes_and_extremes_stay_finite(coder):
    codes = torch.full((1, 4), 1000.0, dtype=torch.bfloat16)
    boxes = coder.decode(codes, torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    assert boxes.dtype == torch.float32
    assert boxes.isfinite().all()
