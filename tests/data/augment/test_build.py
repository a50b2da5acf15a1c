import logging
from itertools import islice

import pytest
import torch
from helpers.annotation_files import lvis_content, write_set
from helpers.drawn_sets import small_drawn

from dense_lt.config.data import DataConfig, JsonDatasetConfig
from dense_lt.config.transforms import TransformsConfig
from dense_lt.data.build import build_datasets, build_train_loader
from dense_lt.utils.errors import DataError

EVERYTHING = {
    "mosaic": {"probability": 0.7, "size": (64, 64)},
    "affine": {"scale": (0.5, 1.5)},
    "mixup": {"probability": 0.5},
    "copy_paste": {"rule": "repeat_factor", "companions": 0.5},
    "resize": {"kind": "long_side", "sizes": (48, 64, 80, 96)},
    "horizontal_flip": 0.5,
    "hsv": {},
    "fill": 114,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data") / "drawn"


def _config(folder, *, workers=0, **transforms) -> DataConfig:
    return DataConfig(
        dataset=small_drawn(folder),
        train_transforms=TransformsConfig.model_validate(transforms),
        val_transforms=TransformsConfig(resize=None),
        workers=workers,
        pad_to_multiple_of=16,
    )


def _batches(config, count, *, masks=True, **options):
    train, _, _ = build_datasets(config, seed=0, splits=("train",), masks=masks)
    assert train is not None
    options = {"batch_size": 4, "seed": 0, **options}
    return list(islice(build_train_loader(train, config, **options), count))


def _equal(one, two) -> bool:
    pairs = zip(one.targets, two.targets, strict=True)
    return torch.equal(one.images.pixels, two.images.pixels) and all(
        torch.equal(a["boxes"], b["boxes"])
        and torch.equal(a["labels"], b["labels"])
        and torch.equal(a["masks"].points, b["masks"].points)
        for a, b in pairs
    )


def test_everything_together_is_the_same_in_other_processes_and_after_resuming(folder):
    """Steps 0 to 4 in this process; then in two workers; then two processes from step 2 on."""
    batches = _batches(_config(folder, **EVERYTHING), 5)
    assert len({batch.images.pixels.shape for batch in batches}) > 1
    worked = _batches(_config(folder, workers=2, **EVERYTHING), 5)
    assert all(map(_equal, batches, worked))
    for rank in (0, 1):
        own = _batches(
            _config(folder, **EVERYTHING), 3, batch_size=2, start=8, rank=rank, world_size=2
        )
        for whole, part in zip(batches[2:], own, strict=True):
            shared = slice(2 * rank, 2 * rank + 2)
            assert torch.equal(whole.images.pixels[shared], part.images.pixels)
            for a, b in zip(whole.targets[shared], part.targets, strict=True):
                assert torch.equal(a["boxes"], b["boxes"])
                assert torch.equal(a["checked"], b["checked"])


def test_all_processes_of_a_step_get_one_size(folder):
    config = _config(folder, resize={"kind": "long_side", "sizes": tuple(range(48, 97, 16))})
    ranks = [_batches(config, 12, batch_size=2, rank=rank, world_size=3) for rank in range(3)]
    sizes = [{batch.images.pixels.shape[2:] for batch in step} for step in zip(*ranks, strict=True)]
    assert all(len(own) == 1 for own in sizes)
    assert len(set().union(*sizes)) > 2


def test_mixing_ends_so_many_epochs_before_the_end(folder, caplog):
    """24 images an epoch; 5 epochs are 120 samples, the last 2 epochs begin at sample 72."""
    config = _config(
        folder, mosaic={"size": (64, 64)}, resize=None, unmixed_last_epochs=2, horizontal_flip=0.5
    )
    with caplog.at_level(logging.INFO):
        batches = _batches(config, 30, samples=120)
    assert "images are mixed up to sample 72 of 120" in caplog.text
    sides = [batch.images.sizes[0][0] for batch in batches]
    assert sides == [64] * 18 + [48] * 12
    resumed = _batches(config, 2, samples=120, start=68)
    assert [batch.images.sizes[0][0] for batch in resumed] == [64, 48]


def test_a_run_that_ends_before_mixing_begins_is_told_so(folder, caplog):
    config = _config(folder, mosaic={"size": (64, 64)}, resize=None, unmixed_last_epochs=15)
    assert _batches(config, 1, samples=48)[0].images.sizes[0] == (48, 48)
    assert "is 15, but the run has only 2 epochs: images are never mixed" in caplog.text


def test_the_end_of_mixing_is_not_known_without_a_length(folder):
    config = _config(folder, mosaic={"size": (64, 64)}, resize=None, unmixed_last_epochs=15)
    assert _batches(config, 1)[0].images.sizes[0] == (64, 64)


def test_outlines_are_used_for_pasting_but_not_learnt_by_a_box_detector(folder):
    config = _config(folder, copy_paste={"probability": 1.0, "images": (5, 5)}, resize=None)
    pasted = _batches(config, 1, masks=False)[0]
    plain = _batches(_config(folder, resize=None), 1, masks=False)[0]
    assert not any("masks" in target for target in pasted.targets)
    more = [
        len(a["labels"]) - len(b["labels"])
        for a, b in zip(pasted.targets, plain.targets, strict=True)
    ]
    assert sum(more) > 8


def _boxes_only(folder, shape) -> DataConfig:
    content = lvis_content()
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    for name in ("train", "val"):
        write_set(folder, content, name)
    split = {"images": ["."]}
    dataset = JsonDatasetConfig.model_validate(
        {
            "kind": "lvis",
            "root": folder,
            "train": {"annotations": "train.json", **split},
            "val": {"annotations": "val.json", **split},
        }
    )
    transforms = {"copy_paste": {"probability": 1.0, "shape": shape}, "resize": None}
    return DataConfig(
        dataset=dataset,
        train_transforms=TransformsConfig.model_validate(transforms),
        val_transforms=TransformsConfig(resize=None),
        workers=0,
    )


def test_files_without_outlines_can_paste_boxes_only(tmp_path):
    with pytest.raises(DataError, match=r"none of its 4 objects has a `segmentation`.*shape=box"):
        build_datasets(_boxes_only(tmp_path, "mask"), seed=0)
    batch = _batches(_boxes_only(tmp_path, "box"), 1, masks=False)[0]
    assert sum(len(target["labels"]) for target in batch.targets) > 4


def test_a_partner_that_cannot_be_read_spoils_no_batch(tmp_path):
    config = _config(tmp_path / "set", mosaic={"size": (64, 64)}, resize=None)
    train, _, _ = build_datasets(config, seed=0, splits=("train",))
    assert train is not None
    (tmp_path / "set" / train.table.file_names[3]).write_bytes(b"no image")
    config = config.model_copy(update={"on_bad_image": "skip"})
    loader = build_train_loader(train, config, batch_size=4, seed=0)
    assert [len(batch.infos) for batch in islice(loader, 8)] == [4] * 8
    assert len(loader.skipped) == 1
    assert train.table.file_names[3] in next(iter(loader.skipped))


def test_images_that_are_kept_in_memory_are_not_written_to(folder):
    kept = _config(folder, **EVERYTHING).model_copy(update={"cache_images_mb": 8})
    train, _, _ = build_datasets(kept, seed=0, splits=("train",), masks=True)
    assert train is not None
    before = [train.read_image(index).copy() for index in range(len(train))]
    batches = list(islice(build_train_loader(train, kept, batch_size=4, seed=0), 5))
    assert all(map(_equal, batches, _batches(_config(folder, **EVERYTHING), 5)))
    assert all((train.read_image(i) == pixels).all() for i, pixels in enumerate(before))


def test_validation_is_never_mixed(folder):
    config = _config(folder, **EVERYTHING)
    _, val, _ = build_datasets(config, seed=0)
    assert val is not None
    assert val[0]["image"].shape == (3, 48, 48)
