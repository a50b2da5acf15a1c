import torch

from dense_lt.models.assigners.forecast import ClassScores

LEVELS = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)).tensor_split([12, 20])
ROWS = torch.tensor([29, 0, 13, 12, 11, 13])
LABELS = torch.tensor([4, 1, 1])


def objectness(logits):
    """Five classes, and a logit that says no object."""
    return logits[:, :-1].sigmoid() * (1 - logits[:, -1:].sigmoid())


def test_parts_of_the_scores_are_those_of_the_whole():
    scores = ClassScores(LEVELS, objectness, num_classes=5)
    whole = objectness(torch.cat(LEVELS))
    assert torch.equal(scores(), whole)
    assert torch.equal(scores(ROWS), whole[ROWS])
    assert torch.equal(scores(labels=LABELS), whole[:, LABELS])
    assert torch.equal(scores(ROWS, LABELS), whole[ROWS][:, LABELS])


def test_of_no_rows_there_is_nothing():
    scores = ClassScores(LEVELS, objectness, num_classes=5)
    assert scores(ROWS[:0]).shape == (0, 5)
    assert scores(ROWS, LABELS[:0]).shape == (6, 0)


def test_only_what_is_asked_for_is_made():
    """At LVIS size the scores of one image are 200 MB."""
    seen = []
    scores = ClassScores(LEVELS, lambda own: seen.append(own.numel()) or own, num_classes=6)
    scores(ROWS, LABELS)
    scores(labels=LABELS)
    assert seen == [18, 36, 24, 30]
