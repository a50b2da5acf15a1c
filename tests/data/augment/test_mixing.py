import numpy as np
import pytest
from helpers.shapes import assert_in_step, ellipse, painted

from dense_lt.data.augment.affine import RandomAffine
from dense_lt.data.augment.mixing import Mixing
from dense_lt.data.augment.mixup import Mixup
from dense_lt.data.sampling import Draw
from dense_lt.data.transforms import Annotated

GENTLE = RandomAffine(degrees=5, translate=0.1, scale=(0.8, 1.2), shear=1)


class Scenes:
    """Stands for a data set of images with an object each; the class is the number of the image."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 6

    def raw(self, index: int) -> Annotated:
        self.asked.append(index)
        return painted((60, 80), [ellipse((30, 28), (20, 15), 0.3)], first_label=index)


def _mix(mixing: Mixing, *, seed: int = 0, mixed: bool = True) -> tuple[Annotated, Scenes]:
    scenes = Scenes()
    sample = scenes.raw(5)
    scenes.asked.clear()
    draw = Draw(5, 0, mixed=mixed)
    return mixing(scenes, sample, draw, np.random.default_rng(seed)), scenes


def test_a_mosaic_of_four_images_has_the_size_that_was_asked_for():
    for seed in range(10):
        sample, scenes = _mix(Mixing(mosaic_size=(64, 96)), seed=seed)
        assert sample.image.shape == (64, 96, 3)
        assert len(scenes.asked) == 3
        assert set(sample.labels.tolist()) <= {5, *scenes.asked}
        assert_in_step(sample, tolerance=1.5)


def test_an_affine_map_keeps_the_size_of_a_single_image():
    sample, scenes = _mix(Mixing(affine=GENTLE))
    assert sample.image.shape == (60, 80, 3)
    assert scenes.asked == []
    assert_in_step(sample, tolerance=1.5)


def test_mixup_follows_the_mosaic_and_asks_for_one_more():
    mixing = Mixing(mosaic_size=(64, 64), affine=GENTLE, mixup=Mixup())
    sample, scenes = _mix(mixing)
    assert sample.image.shape == (64, 64, 3)
    assert len(scenes.asked) == 4


@pytest.mark.parametrize("part", ["mosaic", "affine", "mixup"])
def test_a_chance_of_zero_leaves_the_image_alone(part):
    parts = {"mosaic_size": (64, 64), "affine": GENTLE, "mixup": Mixup()}
    name = "mosaic_size" if part == "mosaic" else part
    for chance, changes in ((0.0, False), (1.0, True)):
        mixing = Mixing(**{name: parts[name], f"{part}_chance": chance})
        sample, _ = _mix(mixing)
        before = Scenes().raw(5).image
        same = sample.image.shape == before.shape and bool((sample.image == before).all())
        assert same != changes


def test_chances_are_as_stated():
    mixing = Mixing(mosaic_size=(32, 32), mosaic_chance=0.3)
    sizes = [_mix(mixing, seed=seed)[0].image.shape[0] for seed in range(300)]
    assert 0.2 < np.mean(np.array(sizes) == 32) < 0.4


def test_nothing_is_mixed_at_the_end_of_training():
    mixing = Mixing(mosaic_size=(64, 64), affine=GENTLE, mixup=Mixup())
    sample, scenes = _mix(mixing, mixed=False)
    assert scenes.asked == []
    assert (sample.image == Scenes().raw(5).image).all()


@pytest.mark.parametrize("mixed", [True, False])
def test_outlines_that_are_not_learnt_end_with_mixing(mixed):
    sample, _ = _mix(Mixing(mosaic_size=(64, 64), outlines=False), mixed=mixed)
    assert sample.masks is None


def test_the_same_generator_mixes_the_same():
    mixing = Mixing(mosaic_size=(64, 64), affine=GENTLE, mixup=Mixup())
    (one, _), (two, _), (three, _) = (_mix(mixing, seed=seed) for seed in (1, 1, 2))
    assert (one.image == two.image).all()
    assert (one.boxes == two.boxes).all()
    assert (one.image != three.image).any()
