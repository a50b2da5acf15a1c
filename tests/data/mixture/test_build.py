from itertools import islice
from pathlib import Path

import pytest
from helpers.annotation_files import coco_content, lvis_content, write_images, write_json
from PIL import Image

from dense_lt.config.data import DataConfig
from dense_lt.config.transforms import TransformsConfig
from dense_lt.data.build import build_datasets, build_train_loader, steps_per_epoch
from dense_lt.data.mixture.dataset import ConcatenatedDataset
from dense_lt.data.order.build import build_order


def _part(folder: Path, content, **options) -> dict:
    """Files of the same names in every folder, with other pixels."""
    write_images(folder, content)
    path = write_json(folder / "train.json", content)
    split = {"annotations": path, "images": [folder]}
    return {"dataset": {"kind": "coco", "train": split, "val": split}, **options}


def _mixture(folder: Path, *, first=None, **second) -> DataConfig:
    other = coco_content()
    other["categories"][0]["name"] = "vehicle"  # of id 40, "class 40" in the first
    other["images"] = other["images"][:2]
    for image in other["images"]:
        image["width"] += 5
    second = {"names": {"vehicle": "class 40"}, **second}
    parts = [
        _part(folder / "a", lvis_content(), **(first or {})),
        _part(folder / "b", other, **second),
    ]
    keep = TransformsConfig(resize=None)
    dataset = {"kind": "mixture", "parts": parts}
    return DataConfig.model_validate(
        {"dataset": dataset, "train_transforms": keep, "val_transforms": keep, "workers": 0}
    )


def test_images_and_objects_come_from_the_part_they_belong_to(tmp_path):
    train, val, categories = build_datasets(_mixture(tmp_path), seed=0, masks=True)
    assert isinstance(train, ConcatenatedDataset)
    assert val is not None
    assert (len(train), len(val)) == (5, 3)
    assert [train[index]["info"].input_size for index in range(5)] == [
        *((30, 40), (50, 20), (17, 33)),
        *((30, 45), (50, 25)),
    ]
    assert train[3]["target"]["labels"].tolist() == train[0]["target"]["labels"].tolist()
    assert train.read_image(4).shape == train.raw(4).image.shape == (50, 25, 3)
    assert categories.names == ("class -3", "class 7", "class 40")
    assert categories.image_counts == (0, 4, 2)


def test_without_weights_every_image_has_its_turn(tmp_path):
    config = _mixture(tmp_path)
    train, _, _ = build_datasets(config, seed=0)
    assert train is not None
    assert steps_per_epoch(train, config, 5) == 1
    (batch,) = islice(build_train_loader(train, config, batch_size=5, seed=0), 1)
    assert sorted(batch.images.sizes) == [(17, 33), (30, 40), (30, 45), (50, 20), (50, 25)]


def test_weights_share_the_stream(tmp_path):
    config = _mixture(tmp_path, first={"weight": 1}, weight=4)
    train, _, _ = build_datasets(config, seed=0)
    assert train is not None
    order = build_order(train, config, seed=0, batch_size=1)
    drawn = [draw.index for draw in islice(order.draws(), 50)]
    assert sum(index < 3 for index in drawn) == 10


def test_the_counts_of_a_checkpoint_are_not_added_twice(tmp_path):
    config = _mixture(tmp_path)
    _, _, categories = build_datasets(config, seed=0)
    again = build_datasets(config, seed=0, categories=categories)
    assert again.categories.image_counts == categories.image_counts


def test_a_missing_image_of_any_part_is_told(tmp_path):
    config = _mixture(tmp_path).model_copy(update={"on_bad_image": "skip"})
    (tmp_path / "b" / "a.png").unlink()
    train, _, _ = build_datasets(config, seed=0)
    assert train is not None
    assert train.missing is not None
    assert "1 of 2 images are missing (a.png)" in train.missing


def test_a_doubt_of_any_part_is_told(tmp_path):
    train, _, _ = build_datasets(_mixture(tmp_path), seed=0)
    assert train is not None
    mark = Image.Exif()
    mark[0x0112] = 2
    with Image.open(tmp_path / "b" / "a.png") as file:
        file.save(tmp_path / "b" / "a.png", exif=mark)
    for index in range(len(train)):
        train.read_image(index)
    assert train.doubt is not None
    assert f"{tmp_path / 'b' / 'a.png'}: its EXIF orientation is 2" in train.doubt


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"weight": 1}, {}, "`weight` must be set in all `parts` or in none"),
        ({"names": {"a": "b"}}, {}, "`names` of the first of `parts` must be empty"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path, first, second, message):
    with pytest.raises(ValueError, match=message):
        _mixture(tmp_path, first=first, **second)
