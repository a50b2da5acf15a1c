import logging
import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest
from helpers.annotation_files import coco_content, lvis_content, write_json

from dense_lt.data import store
from dense_lt.data.lvis import read_annotations
from dense_lt.data.store import cache_folder, read_once
from dense_lt.utils.errors import DataError


@pytest.fixture
def file(tmp_path):
    return write_json(tmp_path / "train.json", lvis_content())


def _never_read(monkeypatch) -> None:
    monkeypatch.setattr(store, "read_annotations", lambda *_, **__: pytest.fail("read again"))


@pytest.mark.parametrize("content", [coco_content(), lvis_content()], ids=["coco", "lvis"])
@pytest.mark.parametrize("masks", [True, False])
def test_what_was_kept_is_what_was_read(tmp_path, monkeypatch, content, masks):
    path = write_json(tmp_path / "train.json", content)
    expected, categories = read_annotations(path, masks=masks)
    read_once(path, tmp_path / "cache", min_bytes=0, masks=masks)
    _never_read(monkeypatch)
    table, same = read_once(path, tmp_path / "cache", min_bytes=0, masks=masks)
    assert same == categories
    for name in ("image_ids", "boxes", "labels", "offsets", "areas", "crowd"):
        kept, own = getattr(table, name), getattr(expected, name)
        assert kept.dtype == own.dtype
        assert np.array_equal(kept, own)
    for index in range(len(expected)):
        assert table.file_names[index] == expected.file_names[index]
        assert table.negatives_of(index, 3) == expected.negatives_of(index, 3)
    for instance in range(expected.num_instances):
        assert table.segmentation(instance) == expected.segmentation(instance)


def test_a_table_without_a_single_object_is_kept_as_well(tmp_path, monkeypatch):
    path = write_json(tmp_path / "train.json", {**coco_content(), "annotations": []})
    read_once(path, tmp_path / "cache", min_bytes=0)
    _never_read(monkeypatch)
    table, _ = read_once(path, tmp_path / "cache", min_bytes=0)
    assert table.boxes.shape == (0, 4)


def test_a_changed_file_is_read_again_even_if_its_size_and_time_are_the_same(file, tmp_path):
    before = file.stat()
    read_once(file, tmp_path / "cache", min_bytes=0)
    file.write_text(file.read_text().replace('"id": 11', '"id": 12'))
    file.write_text(file.read_text().replace('"image_id": 11', '"image_id": 12'))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    table, _ = read_once(file, tmp_path / "cache", min_bytes=0)
    assert 12 in table.image_ids


def test_a_file_that_was_moved_is_known(file, tmp_path, monkeypatch):
    read_once(file, tmp_path / "cache", min_bytes=0)
    moved = file.rename(tmp_path / "moved.json")
    _never_read(monkeypatch)
    table, _ = read_once(moved, tmp_path / "cache", min_bytes=0)
    assert table.source == str(moved)


def test_a_file_that_changes_while_it_is_read_is_told_and_not_kept(file, tmp_path, monkeypatch):
    def change(path, **options):
        found = read_annotations(path, **options)
        path.write_text(path.read_text() + " ")
        return found

    monkeypatch.setattr(store, "read_annotations", change)
    with pytest.raises(DataError, match=r"train\.json: was changed while it was read"):
        read_once(file, tmp_path / "cache", min_bytes=0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_other_options_are_read_again(file, tmp_path):
    _, first = read_once(file, tmp_path / "cache", min_bytes=0)
    table, _ = read_once(file, tmp_path / "cache", min_bytes=0, masks=False)
    assert table.segmentations is None
    _, same = read_once(file, tmp_path / "cache", min_bytes=0, categories=first)
    assert same is first
    assert len(list((tmp_path / "cache").iterdir())) == 3


PARTS = [
    "boxes.npy",
    "categories.json",
    "file_names.offsets.npy",
    "segmentations.bin",
    "entry.json",
]


def _flip_first(path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def _flip_last(path) -> None:
    """The last byte but one: after the last of a JSON file comes nothing but a line's end."""
    content = bytearray(path.read_bytes())
    content[-2] ^= 4
    path.write_bytes(content)


def _cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-1] if path.suffix != ".json" else b"{}")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", [_flip_first, _flip_last, _cut, os.unlink])
def test_a_damaged_entry_is_made_again_with_a_line_that_says_so(
    file, tmp_path, caplog, part, damage
):
    read_once(file, tmp_path / "cache", min_bytes=0)
    (entry,) = (tmp_path / "cache").iterdir()
    sound = {path.name: path.read_bytes() for path in entry.iterdir()}
    damage(entry / part)
    with caplog.at_level(logging.WARNING):
        table, _ = read_once(file, tmp_path / "cache", min_bytes=0)
    (said,) = caplog.messages
    assert "is damaged" in said
    assert part in said
    assert said.endswith("reading anew")
    assert table.segmentation(0) == [[2, 3, 12, 3, 12, 15, 2, 15]]
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == sound


def test_an_entry_of_an_older_version_is_made_again_with_a_line_that_says_so(
    file, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(store, "REVISION", store.REVISION - 1)
    read_once(file, tmp_path / "cache", min_bytes=0)
    monkeypatch.undo()
    with caplog.at_level(logging.WARNING):
        read_once(file, tmp_path / "cache", min_bytes=0)
    (said,) = caplog.messages
    assert f"is of revision {store.REVISION - 1} and not {store.REVISION}" in said
    assert len(list((tmp_path / "cache").iterdir())) == 1


class _Kill:
    """A file that ends the process in the middle of being written."""

    def __init__(self, file) -> None:
        self.file, self.name = file, file.name

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def _read_and_die(path, folder, at) -> None:
    if at == "reading":
        read = store.read_annotations
        store.read_annotations = lambda path, *, content, **options: read(
            path, content=_Kill(content), **options
        )
    else:  # all is written but not yet in its place
        store.Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    read_once(path, folder, min_bytes=0)


@pytest.mark.parametrize("at", ["reading", "the end"])
def test_an_interrupted_build_leaves_nothing_half_read(file, tmp_path, caplog, at):
    cache = tmp_path / "cache"
    process = multiprocessing.get_context("fork").Process(
        target=_read_and_die, args=(file, cache, at)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert left.name.startswith(".unfinished-")
    with caplog.at_level(logging.WARNING):
        table, _ = read_once(file, cache, min_bytes=0)
    assert caplog.messages == []
    assert table.num_instances == 4
    assert left.is_dir()  # its process might have been alive


def test_what_nobody_needs_is_removed_when_another_entry_is_made(file, tmp_path):
    cache = tmp_path / "cache"
    read_once(file, cache, min_bytes=0)
    (entry,) = cache.iterdir()
    dead = cache / f".unfinished-{entry.name}-01234567"
    alive = cache / f".unfinished-{entry.name}-89abcdef"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "segmentations.bin").touch()
    others = cache / "of_somebody_else"
    others.mkdir()
    hours_ago = time.time() - 2 * 3600
    for path in (dead / "segmentations.bin", dead, alive, others):
        os.utime(path, (hours_ago, hours_ago))
    read_once(file, cache, min_bytes=0, masks=False)
    assert entry.is_dir()
    assert alive.is_dir()
    assert not dead.exists()
    month_ago = time.time() - (store.KEEP_DAYS + 1) * 86400
    os.utime(entry / "entry.json", (month_ago, month_ago))
    os.utime(others, (month_ago, month_ago))
    read_once(file, cache, min_bytes=0, thresholds=(1, 2))
    assert not entry.exists()
    assert others.is_dir()


def test_opening_an_entry_keeps_it(file, tmp_path):
    read_once(file, tmp_path / "cache", min_bytes=0)
    (entry,) = (tmp_path / "cache").iterdir()
    os.utime(entry / "entry.json", (1, 1))
    read_once(file, tmp_path / "cache", min_bytes=0)
    assert time.time() - (entry / "entry.json").stat().st_mtime < 3600


def _read_together(path, folder, barrier, found) -> None:
    read = store.read_annotations

    def wait_and_read(*arguments, **options):
        barrier.wait(60)  # all are building before any has finished
        return read(*arguments, **options)

    store.read_annotations = wait_and_read
    table, _ = read_once(path, folder, min_bytes=0)
    found.put((table.num_instances, table.segmentation(0), table.boxes.path is not None))


def test_processes_that_build_at_once_do_not_clash(file, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(3), context.Queue()
    arguments = (file, tmp_path / "cache", barrier, found)
    processes = [context.Process(target=_read_together, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    results = [found.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert results == [(4, [[2, 3, 12, 3, 12, 15, 2, 15]], True)] * 3
    (entry,) = (tmp_path / "cache").iterdir()
    assert entry.name.startswith("annotations-")


def test_a_kept_table_travels_as_paths(file, tmp_path):
    read_once(file, tmp_path / "cache", min_bytes=0)
    table, _ = read_once(file, tmp_path / "cache", min_bytes=0)
    copy = pickle.loads(pickle.dumps(table))
    assert copy.boxes.path == table.boxes.path
    assert copy.segmentations.content.path == table.segmentations.content.path
    assert copy.segmentation(2) == table.segmentation(2)


def test_a_folder_that_cannot_be_written_to_stops_nothing(file, tmp_path):
    (tmp_path / "cache").write_text("a file")
    table, _ = read_once(file, tmp_path / "cache", min_bytes=0)
    assert table.num_instances == 4


def test_small_files_are_not_kept(file, tmp_path):
    read_once(file, tmp_path / "cache")
    read_once(file, None, min_bytes=0)
    assert not (tmp_path / "cache").exists()


def test_faults_are_told_and_nothing_is_kept(tmp_path):
    path = write_json(tmp_path / "train.json", {"images": []})
    with pytest.raises(DataError, match=r"train\.json: 3 faults"):
        read_once(path, tmp_path / "cache", min_bytes=0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_folder_follows_the_users_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dense_lt" / "annotations"
    assert cache_folder(tmp_path / "runs") == tmp_path / "runs"
    assert cache_folder(False) is None
