from dataclasses import replace

import pytest
from helpers.open_images_files import CAT, DOG, write_open_images, write_photographs

from dense_lt.config.data import DataConfig
from dense_lt.config.openimages import OpenImagesConfig
from dense_lt.config.transforms import ResizeConfig, TransformsConfig
from dense_lt.data.build import annotation_files, build_datasets, build_train_loader
from dense_lt.data.openimages.build import open_images_faults
from dense_lt.utils.errors import DataError


def config_of(folder, **options) -> DataConfig:
    write_open_images(folder, sizes=False)
    write_photographs(folder / "images")
    split = {"boxes": "boxes.csv", "labels": "labels.csv", "images": ["images"]}
    dataset = OpenImagesConfig.model_validate(
        {
            "kind": "openimages",
            "root": folder,
            "classes": "classes.csv",
            "hierarchy": "tree.json",
            "train": split,
            "val": split,
            **options,
        }
    )
    resize = TransformsConfig(resize=ResizeConfig(short=(32,), long=64))
    return DataConfig(
        dataset=dataset,
        train_transforms=resize,
        val_transforms=resize,
        workers=0,
        cache_annotations=False,
    )


def test_both_splits_are_built_and_samples_say_what_was_checked(tmp_path):
    config = config_of(tmp_path)
    train, val, categories = build_datasets(config, seed=0)
    assert train is not None
    assert val is not None
    assert (len(train), len(val)) == (2, 3)  # cc has no box
    assert annotation_files(config) == dict.fromkeys(("train", "val"), tmp_path / "boxes.csv")
    assert len(categories) == 5
    sample = train[0]
    assert sample["target"]["labels"].tolist() == [CAT]  # the group of cars is a crowd
    # there is a pet that has no box of its own, and cars that nobody boxed one by one
    assert sample["target"]["checked"].tolist() == [False, True, True, True, False]
    batch = next(iter(build_train_loader(train, config, batch_size=2, seed=0)))
    assert sorted(label for own in batch.targets for label in own["labels"].tolist()) == [
        CAT,
        DOG,
        4,
    ]


def test_options_reach_the_training_split(tmp_path):
    config = config_of(
        tmp_path, group_of="use", expand_boxes=True, train_without_boxes=True, expand_labels=False
    )
    train, _, _ = build_datasets(config, seed=0)
    assert train is not None
    assert (len(train), train.table.num_instances) == (3, 7)
    assert not train.table.crowd.any()


def test_a_mistyped_path_is_found_before_anything_is_read(tmp_path):
    config = config_of(tmp_path)
    (tmp_path / "tree.json").unlink()
    with pytest.raises(DataError, match=r"tree\.json: there is no such annotation file"):
        build_datasets(config, seed=0)


def test_every_fault_of_every_file_is_listed(tmp_path):
    config = config_of(tmp_path)
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write("aa,/m/cat,0.5,0.5,0,1,0\naa,/m/cat,5,9,0,1,0\naa,/m/cat,0,1,0,1,4\n")
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("aa,x,/m/cat,-1\n")
    assert isinstance(config.dataset, OpenImagesConfig)
    found = open_images_faults(config.dataset, drop_invalid_boxes=False)
    boxes, labels = found[tmp_path / "boxes.csv"], found[tmp_path / "labels.csv"]
    assert [one.where for one in boxes] == ["line 6", "line 7", "line 8"]
    assert all(one.fatal for one in boxes)
    assert [str(one) for one in labels] == [
        "line 6: `Confidence` is -1.0: must be from 0 (absent) to 1 (present); correct the label"
    ]
    mended = open_images_faults(config.dataset, drop_invalid_boxes=True)[tmp_path / "boxes.csv"]
    assert [one.fatal for one in mended] == [False, False, True]


def test_columns_are_kept_and_sizes_with_them(tmp_path, monkeypatch):
    from dense_lt.data.openimages import once
    from dense_lt.data.openimages.assemble import Options
    from dense_lt.data.openimages.once import read_open_images_once

    files = write_open_images(tmp_path, sizes=False)
    files = replace(files, image_folders=(write_photographs(tmp_path / "images"),))
    table, categories = read_open_images_once(files, folder=tmp_path / "cache", min_bytes=0)
    with monkeypatch.context() as patch:
        patch.setattr(once, "read_open_images", lambda *_, **__: pytest.fail("read again"))
        again, same = read_open_images_once(files, folder=tmp_path / "cache", min_bytes=0)
    assert same == categories
    assert again.heights.tolist() == table.heights.tolist()
    assert again.boxes.tolist() == table.boxes.tolist()
    assert again.flags is not None
    assert again.flags.tolist() == table.flags.tolist()
    assert again.negatives is not None
    assert again.negatives[0].tolist() == table.negatives[0].tolist()
    other = Options(group_of="drop")
    dropped, _ = read_open_images_once(files, other, folder=tmp_path / "cache", min_bytes=0)
    assert dropped.num_instances == table.num_instances - 1


def test_images_that_come_later_are_not_overlooked(tmp_path):
    """Without an image its size is made up; that must not be kept once the image is there."""
    files = write_open_images(tmp_path, sizes=False)
    files = replace(files, image_folders=(tmp_path / "images",))
    from dense_lt.data.openimages.once import read_open_images_once

    table, _ = read_open_images_once(files, folder=tmp_path / "cache", min_bytes=0)
    assert table.heights[0] == 1024
    write_photographs(tmp_path / "images")
    table, _ = read_open_images_once(files, folder=tmp_path / "cache", min_bytes=0)
    assert table.heights[0] == 40
