import logging
from itertools import islice

import pytest
from helpers.annotation_files import lvis_content, write_set
from PIL import Image

from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.loading import BatchLoader
from dense_lt.data.lvis import read_annotations
from dense_lt.data.sampling import Draw
from dense_lt.data.transforms import ShortSide, Transform
from dense_lt.utils.errors import ConfigError, DataError


def _dataset(folder, *, spoilt=(), transform=None, masks=False) -> DetectionDataset:
    path = write_set(folder, lvis_content())
    for name in spoilt:
        (folder / name).write_bytes(b"no image")
    table, categories = read_annotations(path)
    transform = transform or Transform()
    return DetectionDataset(table, categories, [folder], transform, seed=0, masks=masks)


def _loader(dataset, draws, *, bad_images="error", workers=0) -> BatchLoader:
    batches = [[Draw(index, position) for position, index in enumerate(one)] for one in draws]
    return BatchLoader(dataset, batches, workers=workers, bad_images=bad_images, multiple_of=1)


def _ids(loader) -> list[list[int]]:
    return [[info.image_id for info in batch.infos] for batch in loader]


def test_batches_come_in_order(tmp_path):
    assert _ids(_loader(_dataset(tmp_path), [[0, 1], [2]])) == [[11, 5], [8]]


def test_a_bad_image_stops_with_its_name(tmp_path):
    loader = _loader(_dataset(tmp_path, spoilt=["b.png"]), [[0], [1]])
    with pytest.raises(DataError, match=r"b\.png: cannot be decoded.*data\.on_bad_image=skip"):
        list(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_stops_a_run_with_workers_by_the_same_one_line(tmp_path, workers):
    loader = _loader(_dataset(tmp_path, spoilt=["b.png"]), [[0], [1], [2]], workers=workers)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert "Traceback" not in str(caught.value)
    assert "b.png" in str(caught.value)


def test_in_training_a_good_image_takes_its_place(tmp_path, caplog):
    dataset = _dataset(tmp_path, spoilt=["b.png", "empty.png"])
    loader = _loader(dataset, [[1], [0], [2], [1]], bad_images="replace")
    with caplog.at_level(logging.WARNING):
        assert _ids(loader) == [[11], [11], [11], [11]]
    assert len(loader.skipped) == 2
    assert "skipped (2 so far)" in caplog.text
    assert len(caplog.messages) == 2  # each once, however often it is met
    assert "on_bad_image" not in caplog.text  # it is set


def _many(folder, count: int, *, spoilt: range) -> DetectionDataset:
    content = lvis_content()
    content["annotations"] = []
    content["images"] = [
        {**content["images"][0], "id": number, "file_name": f"{number}.png"}
        for number in range(count)
    ]
    table, categories = read_annotations(write_set(folder, content))
    for number in spoilt:
        (folder / f"{number}.png").write_bytes(b"no image")
    return DetectionDataset(table, categories, [folder], Transform(), seed=0)


def test_a_block_of_bad_images_is_replaced_from_all_over_the_data_set(tmp_path):
    """Not by its neighbour, which would then come a dozen times an epoch."""
    dataset = _many(tmp_path, 24, spoilt=range(12))
    draws = [list(range(24))] * 20
    batches = [
        [Draw(index, 24 * number + place) for place, index in enumerate(one)]
        for number, one in enumerate(draws)
    ]
    runs = {}
    for workers in (0, 2):
        loader = BatchLoader(
            dataset, batches, workers=workers, bad_images="replace", seed=3, multiple_of=1
        )
        runs[workers] = _ids(loader)
    assert runs[0] == runs[2]
    substitutes = [number for batch in runs[0] for number in batch[:12]]
    counts = [substitutes.count(number) for number in range(24)]
    assert counts[:12] == [0] * 12
    assert min(counts[12:]) >= 8  # 20 on average
    assert max(counts) <= 36
    resumed = BatchLoader(
        dataset, batches[7:], workers=0, bad_images="replace", seed=3, multiple_of=1
    )
    assert _ids(resumed) == runs[0][7:]


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_may_have_to_be_turned_are_told_once(tmp_path, caplog, workers):
    dataset = _dataset(tmp_path)
    mark = Image.Exif()
    mark[0x0112] = 3
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as file:
            file.save(tmp_path / name, exif=mark)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            list(_loader(dataset, [[0], [1], [2], [0]], workers=workers))
    (message,) = caplog.messages
    assert ".png: its EXIF orientation is 3" in message


def test_in_validation_it_is_left_out(tmp_path):
    loader = _loader(
        _dataset(tmp_path, spoilt=["b.png"]), [[0, 1], [1], [2]], bad_images="leave_out"
    )
    assert _ids(loader) == [[11], [8]]
    assert len(loader.skipped) == 1


def test_a_set_without_one_good_image_stops(tmp_path):
    dataset = _dataset(tmp_path, spoilt=["a.png", "b.png", "empty.png"])
    with pytest.raises(DataError, match="not one of its images can be used"):
        list(_loader(dataset, [[0]], bad_images="replace"))


def test_a_transform_that_fails_in_a_worker_is_one_line(tmp_path):
    crop = Transform(extra=[("RandomCrop", {"height": 99, "width": 99, "p": 1.0})])
    loader = _loader(_dataset(tmp_path, transform=crop), [[0]], workers=1)
    with pytest.raises(ConfigError, match="RandomCrop: failed on an image of 40 x 30 pixels"):
        list(loader)


def test_batches_are_the_same_with_any_number_of_workers(tmp_path):
    jitter = ("ColorJitter", {"p": 1.0})
    transform = Transform(resizer=ShortSide((20, 30), 99), horizontal_flip=0.5, extra=[jitter])
    dataset = _dataset(tmp_path, transform=transform)
    draws = [[0, 1], [2, 0], [1, 1]]
    runs = [list(_loader(dataset, draws, workers=workers)) for workers in (0, 2)]
    for alone, shared in zip(*runs, strict=True):
        assert (alone.images.pixels == shared.images.pixels).all()
        assert alone.infos == shared.infos


@pytest.mark.parametrize("workers", [0, 1])
def test_outlines_travel_with_a_batch(tmp_path, workers):
    (batch,) = _loader(_dataset(tmp_path, masks=True), [[0, 2]], workers=workers)
    assert [len(target["masks"]) for target in batch.targets] == [3, 0]
    assert batch.targets[0]["masks"].points.shape == (12, 2)


def test_the_space_around_images_is_black_whatever_was_in_memory(tmp_path):
    for workers in (0, 1):
        loader = _loader(_dataset(tmp_path), [[0, 1, 2]] * 4, workers=workers)
        for batch in loader:
            assert batch.images.sizes == ((30, 40), (50, 20), (17, 33))
            for pixels, (height, width) in zip(
                batch.images.pixels, batch.images.sizes, strict=True
            ):
                assert not pixels[:, height:].any()
                assert not pixels[:, :, width:].any()


def test_an_endless_loader_can_be_left_and_asked_again(tmp_path):
    loader = _loader(_dataset(tmp_path), [[0], [1]] * 10)
    assert len(list(islice(loader, 2))) == 2
    assert len(loader) == 20
    assert len(_ids(loader)) == 20
