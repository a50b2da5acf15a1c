import hashlib
import json
import multiprocessing
from pathlib import Path

import pytest
from helpers.drawn_sets import small_drawn

from dense_lt.config.data import DrawnConfig
from dense_lt.data.drawn import build
from dense_lt.data.drawn.build import annotation_paths, drawn_folder, ensure_drawn
from dense_lt.data.lvis import read_annotations
from dense_lt.data.screening import scan
from dense_lt.utils.errors import DataError

RECORDED = "0aa29b3f0f15d7d2397d5ec6f66bb393da96aa77556bfd28c1ba309eefe309a4"
RECORDED_DEFAULT = "c6ec7feb10bcd5e1aa711496a5cc454672942464c3576618daee61e2357493c0"


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return ensure_drawn(small_drawn(tmp_path_factory.mktemp("data") / "set"))


def test_the_bytes_are_the_recorded_ones(drawn):
    """Other bytes mean other data for everybody: raise REVISION, and record the new hash."""
    assert _hash(drawn) == RECORDED


@pytest.mark.slow
def test_the_bytes_of_the_default_set_are_the_recorded_ones(tmp_path):
    assert _hash(ensure_drawn(DrawnConfig(folder=tmp_path / "set"))) == RECORDED_DEFAULT


def test_another_seed_gives_other_images_and_classes(drawn, tmp_path):
    other = ensure_drawn(small_drawn(tmp_path / "set", seed=1))
    assert (other / "train/000001.png").read_bytes() != (drawn / "train/000001.png").read_bytes()
    names = [
        [category["name"] for category in _load(annotation_paths(folder)["train"])["categories"]]
        for folder in (drawn, other)
    ]
    assert names[0] != names[1]


def test_both_files_keep_every_rule_and_share_their_categories(drawn):
    paths = annotation_paths(drawn)
    assert all(scan(path, masks=True).faults == [] for path in paths.values())
    contents = {split: _load(path) for split, path in paths.items()}
    assert contents["train"]["categories"] == contents["val"]["categories"]
    ids = [{image["id"] for image in content["images"]} for content in contents.values()]
    assert not ids[0] & ids[1]
    for content in contents.values():
        assert all((drawn / image["file_name"]).is_file() for image in content["images"])
        assert all(len(image["neg_category_ids"]) == 2 for image in content["images"])


def test_training_counts_are_those_asked_for_and_validation_is_balanced(drawn):
    paths = annotation_paths(drawn)
    _, train = read_annotations(paths["train"])
    _, val = read_annotations(paths["val"])
    assert train.image_counts == (20, 12, 8, 4, 2, 1, 1)
    assert val.image_counts == (3,) * 7
    records = _load(paths["val"])["categories"]
    assert tuple(record["image_count"] for record in records) == train.image_counts
    assert tuple(record["instance_count"] for record in records) == train.instance_counts


def test_a_set_that_is_there_is_not_drawn_again(drawn, monkeypatch):
    monkeypatch.setattr(build, "_draw_into", lambda *_: pytest.fail("drawn again"))
    assert ensure_drawn(small_drawn(drawn)) == drawn


def test_other_settings_than_recorded_are_named(drawn):
    with pytest.raises(
        DataError, match=r"drawn with other settings: seed was 0, now 5; rare was 3"
    ):
        ensure_drawn(small_drawn(drawn, seed=5, rare=2))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "holiday.txt").write_text("photographs")
    with pytest.raises(DataError, match="is there already but is no drawn data set"):
        ensure_drawn(small_drawn(tmp_path))
    assert (tmp_path / "holiday.txt").read_text() == "photographs"


def test_an_empty_folder_is_filled(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert ensure_drawn(small_drawn(folder)) == folder
    assert (folder / "settings.json").is_file()


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_draw_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ensure_drawn(small_drawn(tmp_path / "set"))
    assert list(tmp_path.iterdir()) == []


def test_processes_that_draw_at_once_end_with_one_whole_set(drawn, tmp_path):
    folder = tmp_path / "set"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=ensure_drawn, args=(small_drawn(folder),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert _hash(folder) == _hash(drawn)
    assert list(tmp_path.iterdir()) == [folder]


def test_without_a_folder_the_settings_name_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {drawn_folder(small_drawn(None, seed=seed)).as_posix() for seed in (0, 1)}
    assert len(names) == 2
    assert all(name.startswith("data/drawn/48px_seed") for name in names)
    assert drawn_folder(DrawnConfig()).name.startswith("80px_seed0_")


def test_the_settings_are_recorded(drawn):
    settings = json.loads((drawn / "settings.json").read_text())
    assert settings["seed"] == 0
    assert settings["frequent_images"] == [20, 12]
    assert "folder" not in settings
