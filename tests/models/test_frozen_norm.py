from __future__ import annotations

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from dense_lt.models.frozen_norm import FrozenNorm, FrozenNormAct, freeze_norms


def trained_norm(kind: type[nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    norm = kind(6)
    for name, tensor in norm.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(6, generator=generator) + (0.5 if "var" in name else -0.2))
    return norm.to(dtype).eval()


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_batch_normalisation_in_evaluation(kind, layout):
    norm = trained_norm(kind)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours, theirs = (
        x.clone(memory_format=layout).requires_grad_(),
        x.clone(memory_format=layout).requires_grad_(),
    )

    out, expected = freeze_norms(norm).train()(ours), norm(theirs)
    (out**2).sum().backward()
    (expected**2).sum().backward()

    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert out.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_short_features_stay_short(kind):
    norm = trained_norm(kind, torch.float32)
    x = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(1)).bfloat16()

    out = freeze_norms(norm)(x)

    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), norm(x.float()), rtol=2e-2, atol=2e-2)


def test_every_norm_of_a_model_is_replaced_and_none_has_parameters():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(BatchNormAct2d(4), nn.GroupNorm(2, 4))
    )
    before = {name: value for name, value in model.state_dict().items() if "batches" not in name}

    frozen = freeze_norms(model)

    assert [type(m) for m in frozen.modules() if isinstance(m, FrozenNorm | FrozenNormAct)] == [
        FrozenNorm,
        FrozenNormAct,
    ]
    assert [name for name, _ in frozen.named_parameters() if name[0] == "1"] == []
    assert frozen.state_dict().keys() == before.keys()
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name])
