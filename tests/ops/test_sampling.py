import torch

from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.ops.sampling import generator_of, sample_matches


def test_positives_up_to_their_share_then_background_and_nothing_ignored():
    torch.manual_seed(0)
    matches = torch.tensor([3] * 10 + [BACKGROUND] * 20 + [IGNORE] * 30)
    rows = sample_matches(matches, count=12, positive_fraction=0.5)
    assert len(rows) == len(set(rows.tolist())) == 12
    assert (matches[rows] >= 0).tolist() == [True] * 6 + [False] * 6
    assert (matches[rows] != IGNORE).all()


def test_background_fills_what_positives_leave():
    matches = torch.tensor([0, 1] + [BACKGROUND] * 20)
    assert sorted(matches[sample_matches(matches, count=8, positive_fraction=0.5)].tolist()) == [
        *[BACKGROUND] * 6,
        0,
        1,
    ]


def test_fewer_come_back_where_there_are_not_enough():
    matches = torch.tensor([0, BACKGROUND, IGNORE])
    assert sorted(sample_matches(matches, count=9, positive_fraction=0.5).tolist()) == [0, 1]
    assert len(sample_matches(matches[:0], count=9, positive_fraction=0.5)) == 0


def test_the_generator_of_torch_decides():
    matches = torch.full((100,), BACKGROUND)
    torch.manual_seed(3)
    first = sample_matches(matches, count=10, positive_fraction=0.5)
    second = sample_matches(matches, count=10, positive_fraction=0.5)
    torch.manual_seed(3)
    assert torch.equal(first, sample_matches(matches, count=10, positive_fraction=0.5))
    assert not torch.equal(first, second)


def test_the_seed_of_an_image_decides_whatever_was_drawn_before():
    """So the same regions learn, whichever process has the image; other uses draw others."""
    matches = torch.full((100,), BACKGROUND)
    target = {"boxes": torch.zeros(0, 4), "chance": torch.tensor(7)}

    def draw(use):
        generator = generator_of(target, use)
        return sample_matches(matches, count=10, positive_fraction=0.5, generator=generator)

    first = draw(0)
    torch.rand(3)
    assert torch.equal(first, draw(0))
    assert not torch.equal(first, draw(1))
    assert generator_of({"boxes": torch.zeros(0, 4)}, 0) is None
