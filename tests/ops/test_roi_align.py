"""Pooling by gathering gives torchvision's numbers and gradients."""

import pytest
import torch
from torchvision.ops import roi_align as theirs

from dense_lt.ops import roi_align as module
from dense_lt.ops.roi_align import roi_align


def make_rows(count, images, side, generator):
    """Regions of all sizes, some outside of the image, some without any extent."""
    centre = torch.rand(count, 2, generator=generator) * side * 1.4 - 0.2 * side
    extent = torch.rand(count, 2, generator=generator) ** 3 * side * 1.5
    extent[::7] = 0
    image = torch.randint(0, images, (count, 1), generator=generator).float()
    return torch.cat([image, centre - extent / 2, centre + extent / 2], dim=1)


def both(features, rows, **options):
    found = []
    for pool in (theirs, roi_align):
        own = features.clone().requires_grad_()
        pooled = pool(own, rows, *options.values())
        slope = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
        pooled.backward(slope)
        found.append((pooled.detach(), own.grad))
    return found


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 5, 7])
def test_values_and_gradients_are_torchvisions(size, sampling_ratio, aligned):
    generator = torch.Generator().manual_seed(10 * size + sampling_ratio)
    features = torch.randn(3, 6, 11, 17, generator=generator)
    rows = make_rows(60, 3, 17 * 4, generator)
    options = {"size": size, "scale": 0.25, "ratio": sampling_ratio, "aligned": aligned}
    (expected, expected_slope), (pooled, slope) = both(features, rows, **options)
    assert pooled.shape == (60, 6, size, size)
    assert pooled.is_contiguous()
    torch.testing.assert_close(pooled, expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(slope, expected_slope, atol=5e-5, rtol=1e-5)


def test_points_exactly_on_the_margins(monkeypatch):
    """At -1 and at the length a sample still counts, as the pixel at the edge."""
    features = torch.arange(16.0).view(1, 1, 4, 4) + 1
    rows = torch.tensor([[0, -1.5, -1.5, 0.5, 0.5], [0, 3.5, 3.5, 5.5, 5.5], [0, -9, 0, -5, 3]])
    options = {"size": 1, "scale": 1.0, "ratio": 1, "aligned": True}
    (expected, _), (pooled, _) = both(features, rows, **options)
    torch.testing.assert_close(pooled, expected)
    assert pooled.flatten().tolist() == [1.0, 16.0, 0.0]


def test_no_region_and_no_gradient_for_regions():
    features = torch.randn(1, 4, 8, 8, requires_grad=True)
    assert roi_align(features, torch.zeros(0, 5), 7, 0.5, 2, True).shape == (0, 4, 7, 7)
    rows = torch.tensor([[0.0, 1, 1, 9, 9]], requires_grad=True)
    roi_align(features, rows, 7, 0.5, 2, True).sum().backward()
    assert rows.grad is None
    assert features.grad is not None


@pytest.mark.parametrize(
    ("sampling_ratio", "calls"), [(1, 0), (4, 0), (5, 1), (0, 1)], ids=["1", "4", "5", "adaptive"]
)
def test_cells_of_many_points_go_to_torchvision(monkeypatch, sampling_ratio, calls):
    seen = []

    def watched(features, rows, *rest):
        seen.append(len(rows))
        return theirs(features, rows, *rest)

    monkeypatch.setattr(module, "torchvision_roi_align", watched)
    rows = torch.tensor([[0.0, 0, 0, 8, 8], [0, 0, 0, 40, 40]])
    roi_align(torch.randn(1, 4, 40, 40), rows, 4, 1.0, sampling_ratio, True)
    assert len(seen) == calls
    assert sum(seen) == (0 if not calls else 2 if sampling_ratio else 1)


def test_a_traced_graph_has_torchvisions_operator():
    def pool(features, rows):
        return roi_align(features, rows, 7, 0.5, 2, True)

    class Pool(torch.nn.Module):
        def forward(self, features, rows):
            return pool(features, rows)

    inputs = torch.randn(1, 4, 8, 8), torch.tensor([[0.0, 1, 1, 9, 9]])
    graph = torch.export.export(Pool(), inputs).graph
    assert any("roi_align" in str(node.target) for node in graph.nodes)
    assert not any("embedding_bag" in str(node.target) for node in graph.nodes)
