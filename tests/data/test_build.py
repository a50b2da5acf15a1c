import logging
from itertools import islice
from pathlib import Path

import pytest
from helpers.annotation_files import coco_content, lvis_content, write_images, write_json
from helpers.drawn_sets import small_drawn

from dense_lt.config.data import DataConfig, JsonDatasetConfig
from dense_lt.config.sampling import RepeatFactorSamplerConfig
from dense_lt.config.transforms import AlbumentationConfig, ResizeConfig, TransformsConfig
from dense_lt.data.build import (
    annotation_files,
    build_datasets,
    build_train_loader,
    build_val_loader,
    steps_per_epoch,
)
from dense_lt.data.order.build import build_order
from dense_lt.utils.errors import ConfigError, DataError

KEEP_SIZE = TransformsConfig(resize=None)
FLIPS = TransformsConfig(resize=None, horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> DataConfig:
    """The small drawn set, flipped and transposed in training."""
    folder = tmp_path_factory.mktemp("data") / "drawn"
    return DataConfig(
        dataset=small_drawn(folder),
        train_transforms=FLIPS,
        val_transforms=KEEP_SIZE,
        workers=0,
        pad_to_multiple_of=16,
        cache_images_mb=1,
    )


def _files(folder: Path, train=None, val=None, **settings) -> DataConfig:
    """A set of COCO files below `folder`; images in `folder`/images."""
    train, val = train or coco_content(), val or coco_content()
    write_images(folder / "images", train)
    write_json(folder / "train.json", train)
    write_json(folder / "val.json", val)
    section = {"kind": "coco", "root": folder}
    for split in ("train", "val"):
        section[split] = {"annotations": f"{split}.json", "images": ["images"]}
    defaults = {"train_transforms": KEEP_SIZE, "val_transforms": KEEP_SIZE, "workers": 0}
    dataset = JsonDatasetConfig.model_validate(section)
    return DataConfig.model_validate({**defaults, "dataset": dataset, **settings})


def test_the_drawn_set_is_drawn_when_first_asked_for(drawn):
    files = annotation_files(drawn)
    assert [files[split].name for split in ("train", "val")] == ["train.json", "val.json"]
    train, val, categories = build_datasets(drawn, seed=0)
    assert train is not None
    assert val is not None
    assert (len(train), len(val), len(categories)) == (24, 12, 7)
    assert categories.image_counts == (20, 12, 8, 4, 2, 1, 1)


def test_paths_are_relative_to_the_root_unless_they_are_absolute():
    split = {"annotations": "a.json", "images": ["one"]}
    section = {"kind": "lvis", "root": "data", "train": split}
    section["val"] = {**split, "annotations": "/b.json"}
    config = DataConfig(dataset=JsonDatasetConfig.model_validate(section))
    assert annotation_files(config) == {"train": Path("data/a.json"), "val": Path("/b.json")}


def test_a_batch_has_the_size_asked_for_and_is_padded(drawn):
    train, _, _ = build_datasets(drawn, seed=0, splits=("train",))
    assert train is not None
    batch = next(iter(build_train_loader(train, drawn, batch_size=5, seed=0)))
    assert batch.images.pixels.shape == (5, 3, 48, 48)
    assert len(batch.targets) == len(batch.infos) == 5


@pytest.mark.parametrize("start", [0, 7, 24, 100])
def test_a_loader_goes_on_from_any_sample(drawn, start):
    train, _, _ = build_datasets(drawn, seed=0, splits=("train",))
    assert train is not None
    whole = build_train_loader(train, drawn, batch_size=1, seed=0)
    expected = [batch.images.pixels for batch in islice(whole, start, start + 6)]
    resumed = build_train_loader(train, drawn, batch_size=2, seed=0, start=start)
    seen = [pixels for batch in islice(resumed, 3) for pixels in batch.images.pixels]
    assert all((one[0] == other).all() for one, other in zip(expected, seen, strict=True))


def test_two_processes_train_on_what_one_would(drawn):
    train, _, _ = build_datasets(drawn, seed=0, splits=("train",))
    assert train is not None
    alone = next(iter(build_train_loader(train, drawn, batch_size=4, seed=0)))
    ranks = [
        next(iter(build_train_loader(train, drawn, batch_size=2, seed=0, rank=rank, world_size=2)))
        for rank in range(2)
    ]
    assert alone.infos == ranks[0].infos + ranks[1].infos


@pytest.mark.parametrize("world_size", [1, 2, 5, 13])
def test_validation_sees_every_image_once_over_all_processes(drawn, world_size):
    _, val, _ = build_datasets(drawn, seed=0, splits=("val",))
    assert val is not None
    seen = [
        info.image_id
        for rank in range(world_size)
        for batch in build_val_loader(val, drawn, batch_size=2, rank=rank, world_size=world_size)
        for info in batch.infos
    ]
    assert sorted(seen) == val.table.image_ids.tolist()


def test_a_quick_look_evaluates_the_first_images_of_the_file(drawn):
    _, val, _ = build_datasets(drawn, seed=0, splits=("val",))
    assert val is not None
    loader = build_val_loader(val, drawn, batch_size=4, images=5)
    seen = [info.image_id for batch in loader for info in batch.infos]
    assert seen == val.table.image_ids.tolist()[:5]


def test_validation_is_not_augmented(drawn):
    _, val, _ = build_datasets(drawn, seed=0, splits=("val",))
    assert val is not None
    (first, *_) = build_val_loader(val, drawn, batch_size=1)
    assert (first.images.pixels[0].permute(1, 2, 0).numpy() == val.read_image(0)).all()


def test_images_are_resized_as_the_section_says(tmp_path):
    resize = TransformsConfig(resize=ResizeConfig(short=(60,), long=100))
    config = _files(tmp_path, train_transforms=resize)
    train, _, _ = build_datasets(config, seed=0)
    assert train is not None
    assert [train[i]["info"].input_size for i in range(3)] == [(60, 80), (100, 40), (52, 100)]


def test_groups_come_from_the_training_file_even_when_only_validation_is_built(tmp_path):
    val = coco_content()
    val["annotations"] = []
    config = _files(tmp_path, val=val, group_thresholds=(1, 2))
    train, _, categories = build_datasets(config, seed=0, splits=("val",))
    assert train is None
    assert categories.image_counts == (0, 2, 1)
    assert categories.groups == ("rare", "common", "rare")


def test_with_stored_categories_the_training_file_is_not_needed(tmp_path):
    config = _files(tmp_path)
    _, _, stored = build_datasets(config, seed=0)
    (tmp_path / "train.json").unlink()
    _, val, categories = build_datasets(config, seed=0, categories=stored, splits=("val",))
    assert val is not None
    assert categories is stored


def test_stored_categories_must_be_those_of_the_file(tmp_path):
    config = _files(tmp_path)
    _, _, stored = build_datasets(config, seed=0)
    other = coco_content()
    other["categories"][0]["name"] = "cat"
    write_json(tmp_path / "val.json", other)
    with pytest.raises(DataError, match=r"val.json: 1 fault.*\n.*class 40 -> cat"):
        build_datasets(config, seed=0, categories=stored, splits=("val",))


def test_validation_with_other_categories_than_training_is_one_error(tmp_path):
    val = coco_content()
    val["categories"].append({"id": 1, "name": "one"})
    with pytest.raises(DataError, match=r"1 unknown \(1 one\)"):
        build_datasets(_files(tmp_path, val=val), seed=0)


def test_missing_images_stop_before_the_first_step(tmp_path):
    config = _files(tmp_path)
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"train.json: 1 of 3 images are missing \(b.png\)") as told:
        build_datasets(config, seed=0)
    assert "or data.on_bad_image=skip to go on without them" in str(told.value)


def test_missing_images_can_be_skipped(tmp_path, caplog):
    config = _files(tmp_path, on_bad_image="skip")
    (tmp_path / "images" / "b.png").unlink()
    with caplog.at_level(logging.WARNING):
        train, val, _ = build_datasets(config, seed=0)
    assert "1 of 3 images are missing (b.png)" in caplog.text
    assert "Training goes on with the other 2 images" in caplog.text
    assert "on_bad_image" not in caplog.text  # it is set
    assert train is not None
    assert val is not None
    assert train.table.image_ids.tolist() == [11, 8]  # and the epoch is as much shorter
    assert train[0]["target"]["labels"].tolist() == [2, 1, 2]
    assert steps_per_epoch(train, config, 1) == 2
    loader = build_train_loader(train, config, batch_size=3, seed=0)
    assert all(len(batch.infos) == 3 for batch in islice(loader, 4))
    evaluated = build_val_loader(val, config, batch_size=2)
    assert [info.image_id for batch in evaluated for info in batch.infos] == [11, 8]


@pytest.mark.parametrize(
    "runs",
    [
        {"size": [50, 20], "counts": "\x01\x02zz"},
        {"size": [50, 20], "counts": [5, 5]},
        {"size": [20, 50], "counts": [1000]},
    ],
)
def test_an_image_with_a_mask_that_cannot_be_decoded_can_be_skipped(tmp_path, caplog, runs):
    train = coco_content()
    train["annotations"][1]["segmentation"] = runs
    with pytest.raises(DataError, match=r"annotation 0 of image 5: `segmentation.*\n.*=skip"):
        build_datasets(_files(tmp_path, train=train), seed=0, masks=True)
    config = _files(tmp_path, train=train, on_bad_image="skip")
    data, _, _ = build_datasets(config, seed=0, masks=True)
    assert "masks that cannot be decoded: 1; their images are skipped" in caplog.text
    assert data is not None
    loader = build_train_loader(data, config, batch_size=3, seed=0)
    seen = {info.image_id for batch in islice(loader, 4) for info in batch.infos}
    assert seen == {11, 8}
    assert "annotation 0 of image 5: `segmentation` cannot be used" in caplog.text


def test_nothing_is_trained_without_a_single_image(tmp_path):
    config = _files(tmp_path, on_bad_image="skip")
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"train.json: 3 of 3 images are missing"):
        build_datasets(config, seed=0)


def test_a_mistyped_path_is_told_before_any_file_is_read(tmp_path):
    config = _files(tmp_path)
    (tmp_path / "train.json").write_text("not JSON, but nobody looks")
    (tmp_path / "val.json").unlink()
    with pytest.raises(DataError, match=r"val\.json: there is no such annotation file"):
        build_datasets(config, seed=0)


def test_an_unknown_transform_is_told_before_any_file_is_read(tmp_path):
    extra = (AlbumentationConfig(name="Fliip"),)
    config = _files(tmp_path, train_transforms=TransformsConfig(extra=extra))
    (tmp_path / "train.json").write_text("not JSON, but nobody looks")
    with pytest.raises(ConfigError, match="no transform 'Fliip'"):
        build_datasets(config, seed=0)


def test_training_images_without_annotations_are_left_out_on_request(tmp_path):
    """The third image has none; validation keeps it."""
    for rule, expected in (("keep", [11, 5, 8]), ("drop", [11, 5])):
        train, val, _ = build_datasets(_files(tmp_path, train_empty_images=rule), seed=0)
        assert train.table.image_ids.tolist() == expected
        assert len(val) == 3
    nothing = {**coco_content(), "annotations": []}
    with pytest.raises(DataError, match=r"no image has an annotation.*train_empty_images=keep"):
        build_datasets(_files(tmp_path, nothing, train_empty_images="drop"), seed=0)


def test_invalid_boxes_are_dropped_on_request(tmp_path):
    train = coco_content()
    train["annotations"][0]["bbox"][2] = 0
    with pytest.raises(DataError, match=r"data\.drop_invalid_boxes=true"):
        build_datasets(_files(tmp_path, train), seed=0)
    splits = build_datasets(_files(tmp_path, train, drop_invalid_boxes=True), seed=0)
    assert splits.train is not None
    assert splits.train.table.num_instances == 3


def test_images_with_too_many_objects_are_counted(tmp_path, caplog):
    config = _files(tmp_path, max_objects_per_image=2)
    with caplog.at_level(logging.INFO):
        train, val, _ = build_datasets(config, seed=0)
    assert "train.json: 1 images have more than 2 objects" in caplog.text
    assert train is not None
    assert val is not None
    assert len(train[0]["target"]["labels"]) == 2
    assert len(val[0]["target"]["labels"]) == 3


def test_masks_come_only_when_asked_for(tmp_path):
    config = _files(tmp_path)
    with_masks, without = (build_datasets(config, seed=0, masks=m).train for m in (True, False))
    assert with_masks is not None
    assert without is not None
    assert "masks" in with_masks[0]["target"]
    assert "masks" not in without[0]["target"]


def test_repeat_factors_lengthen_the_epoch(tmp_path):
    """Image 1 has factor sqrt(2.7) = 1.643, image 2 sqrt(1.35) = 1.162, the empty one 1."""
    sampler = RepeatFactorSamplerConfig(kind="repeat_factor", threshold=0.9)
    config = _files(tmp_path, sampler=sampler)
    train, _, _ = build_datasets(config, seed=0)
    assert train is not None
    order = build_order(train, config, seed=0, batch_size=2)
    assert order.expected() == pytest.approx([2.7**0.5, 1.35**0.5, 1])
    assert steps_per_epoch(train, config, 2) == pytest.approx((2.7**0.5 + 1.35**0.5 + 1) / 2)
    ceil = config.model_copy(update={"sampler": sampler.model_copy(update={"rounding": "ceil"})})
    assert steps_per_epoch(train, ceil, 2) == 2.5
    plain = _files(tmp_path)
    assert steps_per_epoch(train, plain, 2) == 1.5
    assert build_order(train, plain, seed=0, batch_size=2).expected().tolist() == [1, 1, 1]


def test_decoding_less_than_resizing_asks_for_is_refused():
    sizes = ResizeConfig(short=(320, 480), long=800)
    with pytest.raises(ValueError, match=r"`decode_short_side` 400 is less.*set it to 480 or more"):
        DataConfig(
            train_transforms=TransformsConfig(resize=sizes),
            val_transforms=KEEP_SIZE,
            decode_short_side=400,
        )


def test_batches_of_like_shape_are_put_together_on_request(tmp_path):
    content = lvis_content()
    content["images"] = [
        {"id": i, "file_name": f"{i}.png", "width": 20 + 20 * (i % 2), "height": 30}
        for i in range(1, 21)
    ]
    content["annotations"] = []
    config = _files(tmp_path, content, content, aspect_grouping=True, pad_to_multiple_of=1)
    train, _, _ = build_datasets(config, seed=0)
    assert train is not None
    loader = build_train_loader(train, config, batch_size=5, seed=0)
    widths = [{size[1] for size in batch.images.sizes} for batch in islice(loader, 8)]
    assert all(len(one) == 1 for one in widths)
