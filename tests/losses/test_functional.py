"""The losses as functions equal their formulas by autograd, on rows and on maps."""

import textwrap
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional as plain

from dense_lt.balance.statistics import GradientStatistics
from dense_lt.losses import functional as losses

C = 5
COUNTS = (2, 9, 40, 300, 5000)
P, G = (0.1, 0.5, 2.0, 3.0, 9.0), (4.0, 2.0, 2.5, 3.0, 8.0)
DOCUMENT = Path(__file__).parents[2] / "docs" / "losses.md"


def statistics():
    own = GradientStatistics(C)
    own.note(torch.tensor(P), torch.tensor(G))
    own.commit()
    return own


RATIO = (torch.tensor(P) / torch.tensor(G)).double()
N_J = torch.tensor(COUNTS).double()


def bce(z, y):
    return plain.binary_cross_entropy_with_logits(z, y, reduction="none")


def focal(z, y, gamma=2.0, alpha=0.25):
    p = z.sigmoid()
    return torch.where(y > 0, alpha * (1 - p) ** gamma, (1 - alpha) * p**gamma) * bce(z, y)


def efl(z, y):
    gamma = 2 + 8 * (1 - RATIO.clamp(max=1))
    return gamma / 2 * focal(z, y, gamma)


def eql(z, y):
    found = y.sum(1, keepdim=True) > 0
    return torch.where(found & (N_J < 100) & (y == 0), 0, 1) * bce(z, y)


def eql_v2(z, y):
    f = torch.sigmoid(12 * (RATIO - 0.8))
    weight = torch.where(y[:, :C] > 0, 1 + 4 * (1 - f), f)
    if z.shape[1] > C:
        weight = torch.cat([weight, torch.ones(len(z), 1)], dim=1)
    return weight * bce(z, y)


def ecm(z, y):
    others = N_J.sum() - N_J
    weight = others / N_J * torch.log(1 + N_J / others)
    return weight * bce(2 * z + torch.log(N_J / others) / 4, y)


def cross_entropy(z, y, offset=0.0, weight=1.0):
    extra = z.shape[1] - C
    offset = plain.pad(torch.as_tensor(offset).expand(C), (0, extra))
    weight = plain.pad(torch.as_tensor(weight).expand(C), (0, extra), value=1.0)
    return -weight * y * (z + offset).log_softmax(1)


def softmax_eql(z, y):
    received = torch.tensor(P).double()
    return cross_entropy(z, y, (received / received.mean()).log())


def adjusted(z, y):
    return cross_entropy(z, y, (N_J / N_J.mean()).log())


def balanced(z, y):
    weight = (1 - 0.999) / (1 - 0.999**N_J)
    return cross_entropy(z, y, weight=weight / weight.mean())


def seesaw(z, y):
    own = y[:, :C].argmax(1)
    p = z[:, :C].detach().softmax(1)
    mitigation = torch.minimum(N_J / N_J[own][:, None], torch.tensor(1.0)) ** 0.8
    mine = p.gather(1, own[:, None]).clamp(min=0.01)
    factor = (mitigation * (p / mine).clamp(min=1) ** 2).scatter(1, own[:, None], 1.0)
    cost = -y[:, :C] * (z[:, :C] + factor.log()).log_softmax(1)
    if z.shape[1] == C:
        return cost
    pair = torch.stack([y[:, :C].sum(1), y[:, C]], dim=1)
    return torch.cat([cost, -pair * z[:, C:].log_softmax(1)], dim=1)


# name -> function, formula (N, K), additional logits, whether a row can have no class
CASES = {
    "focal": (losses.focal_loss, focal, 0, True),
    "efl": (losses.equalized_focal_loss, efl, 0, True),
    "eql": (partial(losses.equalization_loss, threshold=100), eql, 0, True),
    "eql v2": (losses.equalization_loss_v2, eql_v2, 0, True),
    "eql v2 with none": (losses.equalization_loss_v2, eql_v2, 1, True),
    "ecm": (losses.effective_class_margin_loss, ecm, 0, True),
    "federated, all drawn": (losses.federated_loss, bce, 0, True),
    "softmax eql": (losses.softmax_equalization_loss, softmax_eql, 0, False),
    "softmax eql with none": (losses.softmax_equalization_loss, softmax_eql, 1, True),
    "adjusted": (losses.logit_adjusted_loss, adjusted, 0, False),
    "adjusted with none": (losses.logit_adjusted_loss, adjusted, 1, True),
    "balanced": (losses.class_balanced_loss, balanced, 0, False),
    "balanced with none": (losses.class_balanced_loss, balanced, 1, True),
    "seesaw": (losses.seesaw_loss, seesaw, 0, False),
    "seesaw with none": (losses.seesaw_loss, seesaw, 2, True),
}
ADAPTIVE = {
    losses.equalized_focal_loss,
    losses.equalization_loss_v2,
    losses.softmax_equalization_loss,
}


def call(function, logits, targets, **more):
    if function in ADAPTIVE:
        return function(logits, targets, statistics(), **more)
    if function is losses.focal_loss:
        return function(logits, targets, **more)
    return function(logits, targets, COUNTS, **more)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(12,), (2, 3, 4)], ids=["rows", "maps"])
def test_value_and_gradient_are_those_of_the_formula(case, shape):
    function, formula, extra, knows_none = CASES[case]
    generator = torch.Generator().manual_seed(1)
    size = (shape[0], C + extra, *shape[1:])
    logits = (2 * torch.randn(size, generator=generator, dtype=torch.float64)).requires_grad_()
    targets = torch.randint(0, C + int(knows_none), shape, generator=generator)
    targets.view(-1)[[0, 7]] = 255
    value = call(function, logits, targets, ignore_index=255)
    kept = targets != 255
    rows = logits.movedim(1, -1)[kept]
    columns = min(C + extra, C + 1)  # seesaw has two logits for none
    hot = plain.one_hot(targets[kept], C + 1)[:, :columns].double()
    expected = formula(rows, hot).sum() / len(rows)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    found, wanted = (torch.autograd.grad(v, logits)[0] for v in (value, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_in_which_nothing_counts_costs_nothing(case):
    function, _, extra, _ = CASES[case]
    logits = torch.randn(3, C + extra, requires_grad=True)
    value = call(function, logits, torch.full((3,), -100))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


def test_the_normalizer_divides_the_sum_over_rows():
    logits, targets = torch.randn(6, C), torch.tensor([0, 1, 5, 5, 5, 5])
    mean = losses.focal_loss(logits, targets)
    positives = losses.focal_loss(logits, targets, normalizer=(targets < C).sum())
    torch.testing.assert_close(positives, 3 * mean)


def test_a_batch_without_any_class_may_be_divided_as_documented():
    targets = torch.tensor([C, C, -100])
    rows = ((targets >= 0) & (targets < C)).sum().clamp(1)
    logits = torch.randn(3, C, requires_grad=True)
    losses.equalized_focal_loss(logits, targets, GradientStatistics(C), normalizer=rows).backward()
    assert rows == 1
    assert logits.grad.isfinite().all()
    with pytest.raises(ValueError, match="normalizer 0: a loss is divided by a number above 0"):
        losses.focal_loss(logits, targets, normalizer=0)


def test_margins_of_a_single_class_without_background_are_finite():
    loss = losses.effective_class_margin_loss(torch.zeros(3, 1), torch.tensor([0, 1, 0]), [5])
    assert loss.isfinite()


def test_statistics_move_when_a_step_is_over_and_change_the_next_loss():
    own = GradientStatistics(C)
    logits = torch.zeros(8, C, requires_grad=True)
    targets = torch.zeros(8, dtype=torch.int64)
    first = losses.equalized_focal_loss(logits, targets, own)
    second = losses.equalized_focal_loss(logits, targets, own)
    assert first.item() == second.item()
    own.commit()
    assert own.ratio()[1:].tolist() == [0] * (C - 1)
    assert losses.equalized_focal_loss(logits, targets, own).item() != first.item()


def test_a_baseline_can_be_watched_by_the_same_statistics():
    own = GradientStatistics(C)
    losses.focal_loss(torch.zeros(4, C, requires_grad=True), torch.arange(4), statistics=own)
    own.commit()
    assert (own.positive[:4] > 0).all()


@pytest.mark.parametrize(
    ("size", "targets", "message"),
    [
        ((2, C), [0, 1, 2], r"targets \(3,\) do not fit logits \(2, 5\)"),
        ((2, C + 2), [0, 1], "7 columns, but 5 classes take 6"),
        ((2, C), [0, C], r"targets lie in \[0, 5\] but must lie in \[0, 4\]"),
        ((2, C), [-1, 0], r"targets lie in \[-1, 0\]"),
    ],
)
def test_what_does_not_fit_is_refused(size, targets, message):
    with pytest.raises(ValueError, match=message):
        losses.logit_adjusted_loss(torch.zeros(size), torch.tensor(targets), COUNTS)


def test_the_example_of_the_documentation_runs(capsys):
    section = DOCUMENT.read_text().split("## The losses without a detector")[1].split("\n## ")[0]
    lines = section.splitlines()
    code = [line for line in lines if line.startswith("    ") or not line.strip()]
    torch.manual_seed(0)
    exec(textwrap.dedent("\n".join(code)), {})
    assert "tensor([" in capsys.readouterr().out


def test_the_documentation_names_every_function():
    text = DOCUMENT.read_text()
    names = [
        n for n, own in vars(losses).items() if getattr(own, "__module__", "") == losses.__name__
    ]
    names = [name for name in names if name[0] != "_"]
    assert len(names) == 10
    assert [name for name in names if f"| `{name}`" not in text] == []
